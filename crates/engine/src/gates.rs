//! What stands around a release: what its service demands, who must probe,
//! what an approval binds to.
//!
//! Invariant: everything here is read from the state; nothing is remembered besides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use check::compat::{self, Place};
use model::gate::Demand;
use model::{
    Bundle, CatalogEntry, CheckSet, Digest, EnvironmentName, Finding, Gate, GateLook, HostName,
    ReleaseId, ServiceName, Statement, Timestamp, canonical,
};
use release::gates::Probing;
use release::{Demands, Release, Status};

use crate::state::BreakGlass;
use crate::{State, Watch, freezes};

/// Hosts of a zone that probe: three see a broken network that one may miss, and a thousand would be a flood.
const PROBERS_PER_ZONE: usize = 3;
/// So many of them must have answered, if there are so many.
const PROBERS_NEEDED: usize = 2;

static NO_RULES: LazyLock<CheckSet> = LazyLock::new(CheckSet::default);

/// What is demanded of a service's changes.
pub(crate) fn rules<'a>(state: &'a State, service: &ServiceName) -> &'a CheckSet {
    let spec = state.topology.services.get(service);
    spec.map_or(&*NO_RULES, |spec| &spec.checks)
}

/// Whether the release has entered the last environment.
pub(crate) fn serving(state: &State, release: &Release) -> bool {
    let last = state.topology.environments.last();
    last.is_some_and(|last| {
        let mut stages = release.stages.iter();
        stages.any(|stage| stage.environment == last.name)
    })
}

/// The next environment of the release, and whether it is the last.
pub(crate) fn next_environment<'a>(
    state: &'a State,
    release: &Release,
) -> Option<(&'a model::Environment, bool)> {
    let environments = &state.topology.environments;
    let entered = |name: &EnvironmentName| release.stages.iter().any(|s| s.environment == *name);
    let at = environments.iter().position(|next| !entered(&next.name))?;
    Some((&environments[at], at + 1 == environments.len()))
}

/// The test host that rehearses: the first of the last environment before production.
pub(crate) fn rehearsal_host<'a>(state: &'a State, release: &'a Release) -> Option<&'a HostName> {
    let environments = &state.topology.environments;
    let before = environments.len().checked_sub(2)?;
    let environment = &environments[before].name;
    let mut stages = release.stages.iter();
    let stage = stages.find(|stage| stage.environment == *environment);
    let drawn = stage.and_then(|stage| stage.waves.first()?.hosts.first());
    drawn.or_else(|| {
        let mut hosts = state.topology.hosts_of(environment, &release.service);
        hosts.next().map(|host| &host.name)
    })
}

/// Old files on new packages, and new files on old packages, when both changed.
pub(crate) fn mixed(state: &State, release: &Release) -> Option<(Bundle, Bundle)> {
    let new = state.bundles.get(&release.digest)?;
    let old = state.bundles.get(&release.base?)?;
    let both = old.files != new.files && old.packages != new.packages;
    if !both || old.packages.is_empty() || new.packages.is_empty() {
        return None;
    }
    let old_files = Bundle {
        files: old.files.clone(),
        ..new.clone()
    };
    let old_packages = Bundle {
        packages: old.packages.clone(),
        ..new.clone()
    };
    Some((old_files, old_packages))
}

/// The test environments as they are: who, where, with what deployed.
pub(crate) fn fingerprint(state: &State, service: &ServiceName) -> Digest {
    let environments = &state.topology.environments;
    let tests = environments
        .iter()
        .take(environments.len().saturating_sub(1));
    let hosts: Vec<_> = tests
        .flat_map(|environment| {
            let hosts = state.topology.hosts_of(&environment.name, service);
            hosts.map(|host| {
                let class = host.class.as_ref();
                let facts = class.and_then(|class| state.topology.classes.get(class));
                (&environment.name, &host.name, &host.zone, class, facts)
            })
        })
        .collect();
    canonical::digest(&hosts).unwrap_or_else(|error| unreachable!("hosts encode: {error}"))
}

/// Who probes for the release, zone by zone of every environment that uses a reference.
pub(crate) fn probing(state: &State, release: &Release) -> Vec<Probing> {
    let mut list = Vec::new();
    for environment in &state.topology.environments {
        let mut references = release.checked.references.iter();
        if !references.any(|reference| reference.used_in(&environment.name)) {
            continue;
        }
        let mut zones: BTreeMap<_, Vec<HostName>> = BTreeMap::new();
        for host in state.topology.hosts_of(&environment.name, &release.service) {
            let zone = zones.entry(&host.zone).or_default();
            // A host without an agent can't be asked, and can't be released to either.
            if zone.len() < PROBERS_PER_ZONE && state.slot(&host.name, &release.service).is_some() {
                zone.push(host.name.clone());
            }
        }
        list.extend(zones.into_iter().map(|(zone, hosts)| Probing {
            place: format!("{}, {zone}", environment.name),
            quorum: hosts.len().clamp(1, PROBERS_NEEDED),
            hosts,
        }));
    }
    list
}

/// The break-glass that the release uses.
fn glass<'a>(state: &'a State, release: &Release) -> Option<&'a BreakGlass> {
    state.break_glasses.get(&release.break_glass?)
}

/// Gates that the release's break-glass leaves out: while it is good, and for
/// what it let into the last environment.
pub(crate) fn waived(state: &State, release: &Release, now: Timestamp) -> BTreeSet<Gate> {
    let used = glass(state, release);
    let used = used.filter(|glass| now < glass.expires_at || serving(state, release));
    used.map(|glass| glass.gates.iter().copied().collect())
        .unwrap_or_default()
}

/// So many people other than the author must agree.
pub fn approvals_needed(state: &State, release: &Release) -> u32 {
    if release.checked.risks.is_empty() {
        return 0;
    }
    rules(state, &release.service).approvals
}

/// What an approval binds to: bundle (with its plan), base, rules and evidence. `None` before the test has passed.
pub fn binds(release: &Release) -> Option<Digest> {
    Some(release.tested.as_ref()?.record.binds())
}

/// Who agreed to exactly what is there now, other than the author.
pub(crate) fn approved_by(release: &Release) -> Vec<String> {
    let Some(bound) = binds(release) else {
        return Vec::new();
    };
    let valid = release
        .approvals
        .iter()
        .filter(|approval| approval.binds == bound && approval.by.name != release.author.name);
    valid.map(|approval| approval.by.name.clone()).collect()
}

/// Whether enough people agreed, or nobody must.
pub(crate) fn approved(state: &State, release: &Release) -> bool {
    let needed = approvals_needed(state, release) as usize;
    // Whether its break-glass is still good is looked at again when production opens.
    let left_out = glass(state, release).is_some_and(|it| it.gates.contains(&Gate::Approval));
    approved_by(release).len() >= needed || left_out
}

/// Why what was checked and tested counts no longer; `None` while it does.
pub fn attestation_void(state: &State, release: &Release, now: Timestamp) -> Option<String> {
    let again = "push again, so that it is tested as things are now";
    let Some(tested) = &release.tested else {
        if state.topology.environments.len() < 2 {
            return Some(format!(
                "the pipeline has no environment before the last one any more; {again}"
            ));
        }
        let moved = release.checked.check_set? != rules(state, &release.service).digest();
        return moved.then(|| format!("the rules changed since its files were checked; {again}"));
    };
    let record = &tested.record;
    if now >= tested.expires_at {
        let first = if serving(state, release) {
            format!(
                "turn it back (`plimsoll rollback {}`), then ",
                release.service
            )
        } else {
            String::new()
        };
        return Some(format!(
            "its test counted until {}; {first}{again}",
            tested.expires_at
        ));
    }
    // What was opened stays open: the last environment's own waves and judge watch over it.
    if serving(state, release) {
        return None;
    }
    if record.base != state.good(&release.service) {
        return Some(format!(
            "another bundle became good since the test; {again}"
        ));
    }
    if record.check_set != rules(state, &release.service).digest() {
        return Some(format!("the rules changed since the test; {again}"));
    }
    if record.environment != fingerprint(state, &release.service) {
        return Some(format!(
            "the test environment changed since the test; {again}"
        ));
    }
    None
}

/// What the surroundings demand of a release.
pub(crate) fn demands(state: &State, watch: &Watch, release: &Release, now: Timestamp) -> Demands {
    let rules = rules(state, &release.service);
    let waived = waived(state, release, now);
    let rolling = matches!(release.status, Status::Rolling { .. });
    let last = state.topology.environments.last().map(|last| &last.name);
    let frozen = last
        .filter(|_| rolling)
        .and_then(|last| freezes::frozen_for(state, watch, release, last, now));
    let host = rehearsal_host(state, release).cloned();
    let has_check = state
        .bundles
        .get(&release.digest)
        .is_some_and(|bundle| bundle.commands.check.is_some());
    let hostile = rules.hostile && has_check && !release.checked.hostile.is_empty();
    let mixed = (rules.matrix != Demand::Off)
        .then(|| mixed(state, release))
        .flatten();
    Demands {
        rehearsal: host.clone().filter(|_| !rules.rehearsal.off),
        revert_within: rules.rehearsal.revert_within_ms,
        load: rules.rehearsal.load.is_some(),
        matrix: rules.matrix,
        mixed: mixed.map(|(files, packages)| (files.digest(), packages.digest())),
        hostile: host.filter(|_| hostile),
        probing: probing(state, release),
        approvals: approvals_needed(state, release),
        approved_by: approved_by(release),
        countersigners: countersigners_missing(rules, release),
        void: attestation_void(state, release, now).filter(|_| rolling),
        frozen,
        checks: checks_words(rules, release),
        compatibility: compatibility_words(state, release),
        waived,
    }
}

/// How many keys the rules name, when none of them has signed yet.
fn countersigners_missing(rules: &CheckSet, release: &Release) -> usize {
    let signed = release.attestation.iter().flat_map(|it| &it.signatures);
    let keys: Vec<&String> = signed.map(|signature| &signature.keyid).collect();
    if rules.countersigners.iter().any(|key| keys.contains(&key)) {
        return 0;
    }
    rules.countersigners.len()
}

fn counted(count: usize, one: &str, many: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    }
}

fn checks_words(rules: &CheckSet, release: &Release) -> String {
    let parts = [
        counted(rules.schemas.len(), "schema", "schemas"),
        counted(rules.policies.len(), "policy", "policies"),
        counted(rules.guards.len(), "guard", "guards"),
        Some("no literal secrets".into()),
        counted(release.checked.warnings.len(), "warning", "warnings"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(", ")
}

fn compatibility_words(state: &State, release: &Release) -> String {
    let places = places(state, &release.service);
    if places.iter().all(|place| place.deployed.is_empty()) {
        return "nothing else is deployed, as far as is declared".into();
    }
    let labels: Vec<&str> = places.iter().map(|place| place.label.as_str()).collect();
    format!("with what is deployed on {}", labels.join(", "))
}

/// Where a release of the service stands at each gate.
pub fn gates(state: &State, watch: &Watch, release: &Release, now: Timestamp) -> Vec<GateLook> {
    let demands = demands(state, watch, release, now);
    release::gates::checklist(release, &demands, serving(state, release))
}

/// What is deployed beside a service, in any environment, at one moment. To
/// compare a bundle with it may take seconds, in which nothing else is decided:
/// who only wants to know takes this along and compares elsewhere.
#[derive(Debug, Clone)]
pub struct Beside {
    places: Vec<Place>,
    catalog: Vec<CatalogEntry>,
}

impl Beside {
    /// As `state` has it now.
    pub fn of(state: &State, service: &ServiceName) -> Beside {
        Beside {
            places: places(state, service),
            catalog: state.topology.catalog.clone(),
        }
    }

    /// Conflicts of a bundle with it.
    pub fn conflicts(&self, bundle: &Bundle) -> Vec<Finding> {
        compat::compatible(bundle, &self.places, &self.catalog)
    }
}

/// Classes of hosts that run the service, with all that is deployed on them.
fn places(state: &State, service: &ServiceName) -> Vec<Place> {
    let good = |other: &ServiceName| state.bundles.get(&state.good(other)?);
    compat::places(&state.topology, service, good)
}

/// What is to be signed: releases that passed everything and have no attestation yet.
pub(crate) fn statement(state: &State, release: &Release) -> Option<Statement> {
    let rolling = matches!(release.status, Status::Rolling { .. });
    let tested = release.tested.as_ref()?;
    let wanted = rolling && release.attestation.is_none() && approved(state, release);
    if !wanted || serving(state, release) {
        return None;
    }
    let record = &tested.record;
    let predicate = model::attest::Predicate {
        release: release.id,
        base: record.base,
        check_set: record.check_set,
        environment: record.environment,
        evidence: record.digest(),
        approved_by: approved_by(release),
        issued_at: record.ended_at,
        expires_at: tested.expires_at,
    };
    Some(Statement::new(
        release.service.clone(),
        release.digest,
        predicate,
    ))
}

/// The break-glass that a release of `service` may use now.
pub(crate) fn usable<'a>(
    state: &'a State,
    id: u64,
    service: &ServiceName,
    now: Timestamp,
) -> Option<&'a BreakGlass> {
    state.break_glasses.get(&id).filter(|glass| {
        glass.service == *service && glass.confirmed_by.is_some() && glass.expires_at > now
    })
}

/// The id of a task: who asked for what, and which time.
pub(crate) fn task_id(release: ReleaseId, kind: &str, round: u32) -> String {
    format!("r{release}-{kind}-{round}")
}
