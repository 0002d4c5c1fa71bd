//! What people ask for, but for the way back.

use model::refusal::Code;
use model::{
    Actor, Bundle, Checked, Digest, Event, Finding, Gate, Refusal, ReleaseId, Role, Scope,
    ServiceName, Severity, Timestamp, TokenId, Topology,
};

use super::{bounded, unknown_service};
use crate::{State, Watch, freezes, gates};

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
    let untested = untested_entries(state, &topology);
    if !untested.is_empty() {
        return Err(Refusal::new(
            Code::InvalidTopology,
            untested.join("; "),
            "Bring these hosts back first (`plimsoll rollback`), or wait until what they run is good.",
        ));
    }
    Ok(vec![Event::TopologySet { by, topology }])
}

/// Hosts that would stand in the last environment with something that no test
/// has let there: a way past every gate, since nobody would have to order them
/// anything. What a host was born with, and what became good, may come along.
fn untested_entries(state: &State, topology: &Topology) -> Vec<String> {
    let Some(last) = topology.environments.last() else {
        return Vec::new();
    };
    let served = state.topology.environments.last();
    let mut found = Vec::new();
    for host in &last.hosts {
        let there = served.is_some_and(|served| served.hosts.iter().any(|it| it.name == host.name));
        let slots = state.hosts.get(&host.name).filter(|_| !there);
        let slots = slots.into_iter().flat_map(|known| &known.slots);
        for (service, slot) in slots.filter(|(name, _)| host.services.contains_key(*name)) {
            let ordered = slot.order.as_ref().filter(|_| slot.in_change());
            let mut digests = ordered
                .map(|order| order.digest)
                .into_iter()
                .chain([slot.running]);
            if let Some(digest) = digests.find(|digest| !slot.homes.contains(digest)) {
                found.push(format!(
                    "host {} would enter {} with bundle {} of {service}, which is not good yet",
                    host.name,
                    last.name,
                    digest.short()
                ));
            }
        }
    }
    found
}

pub(super) fn issue(
    by: Actor,
    token: TokenId,
    name: String,
    role: Role,
    hash: Digest,
) -> Result<Vec<Event>, Refusal> {
    bounded("name", &name)?;
    Ok(vec![Event::TokenIssued {
        by,
        token,
        name,
        role,
        hash,
    }])
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

/// A proposal, without who made it.
pub(super) struct Change {
    pub(super) bundle: Bundle,
    pub(super) base: Option<Digest>,
    pub(super) message: String,
    pub(super) checked: Checked,
    pub(super) break_glass: Option<u64>,
}

pub(super) fn propose(
    state: &State,
    watch: &Watch,
    by: Actor,
    change: Change,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    bounded("message", &change.message)?;
    let (bundle, base) = (&change.bundle, change.base);
    let service = bundle.service.clone();
    well_formed(state, bundle)?;
    let digest = bundle.digest();
    let past_freeze = break_glass(state, &change, now)?;
    if !past_freeze && let Some(reason) = freezes::frozen(state, watch, &service, None, now) {
        return Err(Refusal::new(
            Code::Frozen,
            reason,
            "Wait for the thaw, or ask who froze it. Rollbacks go on working.",
        ));
    }
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
    compatible(state, bundle)?;
    let release = ReleaseId(state.releases_given + 1);
    Ok(vec![Event::ReleaseProposed {
        release,
        service,
        digest,
        bundle: change.bundle,
        base: good,
        author: by,
        message: change.message,
        checked: change.checked,
        break_glass: change.break_glass,
    }])
}

/// Whether a bundle is of a known service and keeps the laws of its form.
///
/// # Errors
/// A refusal that names what it breaks.
pub fn well_formed(state: &State, bundle: &Bundle) -> Result<(), Refusal> {
    if !state.topology.services.contains_key(&bundle.service) {
        return Err(unknown_service(state, &bundle.service));
    }
    let problems = bundle.problems();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(
        Code::InvalidBundle,
        problems.join("; "),
        "Correct the bundle and push again.",
    ))
}

/// Whether the change breaks the glass of a freeze.
fn break_glass(state: &State, change: &Change, now: Timestamp) -> Result<bool, Refusal> {
    let Some(id) = change.break_glass else {
        return Ok(false);
    };
    let service = &change.bundle.service;
    match gates::usable(state, id, service, now) {
        Some(glass) => Ok(glass.gates.contains(&Gate::Freeze)),
        None => Err(Refusal::new(
            Code::NoBreakGlass,
            format!(
                "break-glass {id} can't be used for {service}: it is unknown, over, for another service, or nobody else has agreed yet"
            ),
            format!(
                "`plimsoll break-glass list` shows them; a second person agrees with `plimsoll break-glass confirm {id}`."
            ),
        )),
    }
}

/// What is deployed must go with it, before any host sees it.
fn compatible(state: &State, bundle: &Bundle) -> Result<(), Refusal> {
    let findings = gates::Beside::of(state, &bundle.service).conflicts(bundle);
    let denied: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Deny)
        .collect();
    if denied.is_empty() {
        return Ok(());
    }
    let words: Vec<&str> = denied
        .iter()
        .map(|finding| finding.message.as_str())
        .collect();
    let help = denied.iter().find_map(|finding| finding.help.clone());
    Err(Refusal::new(
        Code::Incompatible,
        words.join("\n"),
        help.unwrap_or_else(|| "Change what it needs, or deploy what it needs first.".into()),
    )
    .with(findings))
}

fn may_begin(state: &State, service: &ServiceName, digest: Digest) -> Result<(), Refusal> {
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
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    match &scope {
        Scope::Everything => {}
        Scope::Service(service) if state.topology.services.contains_key(service) => {}
        Scope::Service(service) => return Err(unknown_service(state, service)),
        Scope::Environment(name) => {
            let environments = state.topology.environments.iter();
            let known: Vec<&str> = environments.map(|it| it.name.as_str()).collect();
            if !known.contains(&name.as_str()) {
                return Err(Refusal::new(
                    Code::NotFound,
                    format!(
                        "there is no environment {name} (known: {})",
                        known.join(", ")
                    ),
                    "Correct the name.",
                ));
            }
        }
    }
    if let Some(until) = until.filter(|until| *until <= now) {
        return Err(Refusal::new(
            Code::BadRequest,
            format!("the freeze would end at {until}, which is over"),
            "Name a time to come, or none.",
        ));
    }
    Ok(vec![Event::Frozen {
        by,
        scope,
        reason,
        until,
    }])
}

pub(super) fn thaw(
    state: &State,
    by: Actor,
    scope: Scope,
    reason: String,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    if !freezes::frozen_by_person(state, &scope, now) {
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
