//! What people ask for, but for the way back.

use model::refusal::Code;
use model::{
    Actor, Bundle, Digest, Event, Refusal, ReleaseId, Scope, ServiceName, TokenId, Topology,
};

use super::{bounded, unknown_service};
use crate::State;
use crate::state::scope_key;

pub(super) fn set_topology(
    state: &State,
    by: Actor,
    topology: Topology,
) -> Result<Vec<Event>, Refusal> {
    let problems = topology.problems();
    if !problems.is_empty() {
        return Err(Refusal::new(
            Code::InvalidTopology,
            problems.join("; "),
            "Correct plimsoll.toml; `plimsoll check` shows each place.",
        ));
    }
    if state.topology == topology {
        return Ok(Vec::new());
    }
    Ok(vec![Event::TopologySet { by, topology }])
}

pub(super) fn revoke(state: &State, by: Actor, token: TokenId) -> Result<Vec<Event>, Refusal> {
    if !state.tokens.values().any(|known| known.id == token) {
        return Err(Refusal::new(
            Code::NotFound,
            format!("there is no token {token}"),
            "Look up its id in the journal (token_issued).",
        ));
    }
    Ok(vec![Event::TokenRevoked { by, token }])
}

pub(super) fn propose(
    state: &State,
    by: Actor,
    bundle: Bundle,
    base: Option<Digest>,
    message: String,
) -> Result<Vec<Event>, Refusal> {
    bounded("message", &message)?;
    let service = bundle.service.clone();
    if !state.topology.services.contains_key(&service) {
        return Err(unknown_service(state, &service));
    }
    let problems = bundle.problems();
    if !problems.is_empty() {
        return Err(Refusal::new(
            Code::InvalidBundle,
            problems.join("; "),
            "Correct the bundle and push again.",
        ));
    }
    let digest = bundle.digest();
    may_begin(state, &service, digest)?;
    pipeline_has_hosts(state, &service)?;
    let good = state.good(&service);
    if base.is_some() && base != good {
        let good = good.map_or("nothing".to_owned(), |good| good.short());
        return Err(Refusal::new(
            Code::BaseMoved,
            format!("the change was prepared against another bundle; {good} is good now"),
            "Look at what changed meanwhile (`plimsoll releases`), then push again.",
        ));
    }
    let release = ReleaseId(state.releases_given + 1);
    Ok(vec![Event::ReleaseProposed {
        release,
        service,
        digest,
        bundle,
        base: good,
        author: by,
        message,
        checked: model::Checked::default(),
        break_glass: None,
    }])
}

fn may_begin(state: &State, service: &ServiceName, digest: Digest) -> Result<(), Refusal> {
    if let Some(freeze) = state.frozen(service) {
        return Err(Refusal::new(
            Code::Frozen,
            format!(
                "releases of {} are frozen by {}: {}",
                freeze.scope, freeze.by, freeze.reason
            ),
            "Wait for the thaw, or ask who froze it. Rollbacks go on working.",
        ));
    }
    let Some(known) = state.services.get(service) else {
        return Ok(());
    };
    if let Some(active) = known.active {
        return Err(Refusal::new(
            Code::ReleaseInProgress,
            format!("release {active} of {service} is on its way"),
            format!(
                "Watch it with `plimsoll status`, or turn it back with `plimsoll rollback {service}`."
            ),
        ));
    }
    if let Some(release) = known.quarantined.get(&digest) {
        return Err(Refusal::new(
            Code::Quarantined,
            format!(
                "bundle {} was rolled back in release {release}",
                digest.short()
            ),
            format!(
                "Change what was wrong. If it was not the bundle's fault: `plimsoll releases lift {service} {digest} --reason …`."
            ),
        ));
    }
    if state.good(service) == Some(digest) {
        return Err(Refusal::new(
            Code::AlreadyGood,
            format!(
                "bundle {} is what {service} runs, and it is good",
                digest.short()
            ),
            "There is nothing to release.",
        ));
    }
    Ok(())
}

/// A pipeline without a test host before production would be a direct push.
fn pipeline_has_hosts(state: &State, service: &ServiceName) -> Result<(), Refusal> {
    let environments = &state.topology.environments;
    for environment in environments {
        if state
            .topology
            .hosts_of(&environment.name, service)
            .next()
            .is_none()
        {
            return Err(Refusal::new(
                Code::NoHosts,
                format!(
                    "environment {} has no host that runs {service}",
                    environment.name
                ),
                "Give each environment of the pipeline at least one host for the service in plimsoll.toml.",
            ));
        }
    }
    if environments.len() < 2 {
        return Err(Refusal::new(
            Code::NoHosts,
            format!(
                "the pipeline has {} environments; a release needs one to test in and one to serve from",
                environments.len()
            ),
            "Declare at least `test` and `production` in plimsoll.toml.",
        ));
    }
    Ok(())
}

pub(super) fn freeze(
    state: &State,
    by: Actor,
    scope: Scope,
    reason: String,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    if let Scope::Service(service) = &scope
        && !state.topology.services.contains_key(service)
    {
        return Err(unknown_service(state, service));
    }
    Ok(vec![Event::Frozen {
        by,
        scope,
        reason,
        until: None,
    }])
}

pub(super) fn thaw(
    state: &State,
    by: Actor,
    scope: Scope,
    reason: String,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    if !state.freezes.contains_key(&scope_key(&scope)) {
        return Err(Refusal::new(
            Code::NothingToLift,
            format!("{scope} is not frozen"),
            "`plimsoll status` shows what is.",
        ));
    }
    Ok(vec![Event::Thawed { by, scope, reason }])
}

pub(super) fn lift(
    state: &State,
    by: Actor,
    service: ServiceName,
    digest: Digest,
    reason: String,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    let known = state.services.get(&service);
    if !known.is_some_and(|known| known.quarantined.contains_key(&digest)) {
        return Err(Refusal::new(
            Code::NothingToLift,
            format!("bundle {} of {service} is not quarantined", digest.short()),
            "`plimsoll releases` shows which bundles were rolled back.",
        ));
    }
    Ok(vec![Event::QuarantineLifted {
        by,
        service,
        digest,
        reason,
    }])
}
