//! What follows from time passing and from what is watched.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Digest, Event, Generation, HostName, Millis, OrderKind, ReleaseId, StagePlan, Timestamp,
    Verdict,
};
use release::{GatesAhead, Outlook, Release, Status, Step, next};

use super::looks::looks;
use super::{gates as wanted, rollback};
use crate::state::Slot;
use crate::{SlotStatus, State, Watch, freezes, gates};

/// Every active release takes at most one step.
pub(super) fn tick(state: &State, watch: &Watch, now: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    // Ways back first: nothing forward may delay them.
    for release in active(state) {
        let Status::RollingBack(started) = &release.status else {
            continue;
        };
        let owed = rollback::owed(state, release, now);
        if owed.is_empty() && outstanding(state, release).is_empty() {
            let took_ms = Millis::between(started.started_at, now);
            events.push(Event::RollbackCompleted {
                release: release.id,
                took_ms,
            });
        }
        events.extend(owed);
    }
    // Whoever is told anything in this tick is not told to go forward for another service.
    let mut leased: BTreeSet<HostName> = told(&events).cloned().collect();
    for release in active(state).filter(|r| matches!(r.status, Status::Rolling { .. })) {
        let new = step(state, watch, release, &leased, now);
        leased.extend(told(&new).cloned());
        events.extend(new);
    }
    number(state, &mut events);
    events
}

fn told(events: &[Event]) -> impl Iterator<Item = &HostName> {
    events.iter().filter_map(|event| match event {
        Event::HostOrdered { order } => Some(&order.host),
        _ => None,
    })
}

/// Two services of one host may both be ordered back in one tick: each order
/// gets a generation of its own.
fn number(state: &State, events: &mut [Event]) {
    let mut newest: BTreeMap<HostName, Generation> = BTreeMap::new();
    for event in events {
        if let Event::HostOrdered { order } = event {
            let known = state.hosts.get(&order.host).map(|host| host.generation);
            let newest = newest
                .entry(order.host.clone())
                .or_insert(known.unwrap_or_default());
            *newest = newest.next();
            order.generation = *newest;
        }
    }
}

/// Why a release doesn't go on at this moment, in one sentence; `None` once it is over.
pub fn waiting(state: &State, watch: &Watch, release: &Release, now: Timestamp) -> Option<String> {
    match &release.status {
        Status::Good | Status::RolledBack(_) => None,
        Status::RollingBack(_) => {
            let outstanding = outstanding(state, release);
            let count = outstanding.len();
            let (host, why) = outstanding.into_iter().next()?;
            let s = if count == 1 { "" } else { "s" };
            Some(format!("{count} host{s} on the way back; {host}: {why}"))
        }
        Status::Rolling { .. } => {
            let plan = stage_plan(state, release);
            let outlook = outlook(state, watch, release, &plan, &BTreeSet::new(), now);
            match next(release, &outlook, now) {
                Step::Wait(reason) | Step::Hold(reason) => Some(reason),
                Step::Gate(gating) => wanted::held_up(state, watch, release, &gating, now),
                Step::Order(_)
                | Step::StartWave(_)
                | Step::Pass(_)
                | Step::Advance
                | Step::RollBack(_) => None,
            }
        }
    }
}

fn active(state: &State) -> impl Iterator<Item = &Release> {
    state
        .releases
        .values()
        .filter(|release| release.is_active())
}

/// Hosts that are not back yet, and what is in the way.
pub fn outstanding(state: &State, release: &Release) -> BTreeMap<HostName, String> {
    let slots = state.slots(&release.service);
    let on_the_way = slots.filter_map(|(host, slot)| {
        let order = slot.way_back_of(release.id)?;
        // A host that was taken out of the topology is nobody's to wait for.
        state.topology.host(host)?;
        Some((host, slot, order))
    });
    on_the_way
        .map(|(host, slot, order)| {
            let why = match &slot.status {
                SlotStatus::RevertFailing { phase, reason } => {
                    format!("{phase} fails: {reason}; try `plimsoll agent revert --local` there")
                }
                SlotStatus::Failed { phase, reason } => format!("{phase}: {reason}"),
                SlotStatus::Idle
                | SlotStatus::Ordered { .. }
                | SlotStatus::Holding { .. }
                | SlotStatus::Confirmed { .. } => {
                    format!(
                        "ordered back to {}, not confirmed yet",
                        order.digest.short()
                    )
                }
            };
            (host.clone(), why)
        })
        .collect()
}

/// The plan of the environment in which the release is.
pub(crate) fn stage_plan(state: &State, release: &Release) -> StagePlan {
    let plan = state
        .bundles
        .get(&release.digest)
        .and_then(|bundle| bundle.plan.stages.get(&release.stage()?.environment));
    plan.cloned().unwrap_or_default()
}

fn step(
    state: &State,
    watch: &Watch,
    release: &Release,
    leased: &BTreeSet<HostName>,
    now: Timestamp,
) -> Vec<Event> {
    let plan = stage_plan(state, release);
    let outlook = outlook(state, watch, release, &plan, leased, now);
    let place = release
        .stage()
        .map(|stage| (stage.environment.clone(), stage.begun));
    let exposure = || rollback::exposure(state, watch, release);
    let judged = |verdict: Verdict| {
        let (environment, begun) = place.clone()?;
        let wave = u32::try_from(begun.checked_sub(1)?).ok()?;
        let exposure = exposure();
        Some(Event::WaveJudged {
            release: release.id,
            environment,
            wave,
            verdict,
            exposure,
            explanation: None,
        })
    };
    match next(release, &outlook, now) {
        Step::Wait(_) => Vec::new(),
        Step::Order(hosts) => order_forward(state, release, &hosts, now),
        Step::Gate(gating) => wanted::carry_out(state, watch, release, gating, leased, now),
        Step::StartWave(wave) => place
            .into_iter()
            .map(|(environment, _)| Event::WaveStarted {
                release: release.id,
                environment,
                wave,
            })
            .collect(),
        Step::Pass(verdict) => judged(verdict).into_iter().collect(),
        Step::Advance => advance(state, watch, release),
        Step::Hold(needs) => {
            let Some((environment, begun)) = place else {
                return Vec::new();
            };
            let wave = u32::try_from(begun.saturating_sub(1)).unwrap_or(u32::MAX);
            vec![Event::WaveHeld {
                release: release.id,
                environment,
                wave,
                needs,
                explanation: None,
            }]
        }
        Step::RollBack(verdict) => {
            let mut events: Vec<Event> = judged(verdict.clone()).into_iter().collect();
            events.extend(rollback::by_verdict(state, watch, release, verdict, now));
            events
        }
    }
}

fn order_forward(
    state: &State,
    release: &Release,
    hosts: &[HostName],
    now: Timestamp,
) -> Vec<Event> {
    let (service, id) = (&release.service, release.id);
    let order = |host| {
        let (digest, kind) = match behind(state, release, host) {
            Some(base) => (base, OrderKind::Rollback),
            None => (release.digest, OrderKind::Forward),
        };
        rollback::order(state, host, service, id, digest, kind, now)
    };
    hosts
        .iter()
        .filter_map(order)
        .map(|order| Event::HostOrdered { order })
        .collect()
}

/// What a host of the last environment must run first: the release was tested
/// against the good bundle, and this host runs another (a person took it back, or
/// it was away). A host that still runs what it was born with takes any.
fn behind(state: &State, release: &Release, host: &HostName) -> Option<Digest> {
    let base = release.base?;
    let slot = state.slot(host, &release.service)?;
    let last = state.topology.environments.last()?;
    let released = state.bundles.contains_key(&slot.running);
    let elsewhere = slot.running != base && slot.running != release.digest;
    let serves = state.environment_of(host) == Some(&last.name);
    (serves && released && elsewhere).then_some(base)
}

/// Into the next environment, or good.
fn advance(state: &State, watch: &Watch, release: &Release) -> Vec<Event> {
    let environments = &state.topology.environments;
    let entered = |name| release.stages.iter().any(|stage| stage.environment == name);
    let Some(environment) = environments.iter().find(|next| !entered(next.name.clone())) else {
        let exposure = rollback::exposure(state, watch, release);
        return vec![Event::ReleaseGood {
            release: release.id,
            exposure,
        }];
    };
    let name = environment.name.clone();
    let hosts: Vec<_> = state.topology.hosts_of(&name, &release.service).collect();
    let plan = state
        .bundles
        .get(&release.digest)
        .and_then(|bundle| bundle.plan.stages.get(&name));
    let mut waves = release::waves::draw(&plan.cloned().unwrap_or_default(), &hosts);
    let last = environments.last().is_some_and(|last| last.name == name);
    if last && release.break_glass.is_some() {
        release::waves::one_first(&mut waves);
    }
    vec![Event::StageStarted {
        release: release.id,
        environment: name,
        waves,
        attestation: release.attestation.clone().filter(|_| last),
    }]
}

fn outlook<'a>(
    state: &State,
    watch: &Watch,
    release: &Release,
    plan: &'a StagePlan,
    leased: &BTreeSet<HostName>,
    now: Timestamp,
) -> Outlook<'a> {
    // Collected once: to look for each of ten thousand hosts in a list of as many takes seconds.
    let environments = state.topology.environments.iter();
    let declared: BTreeSet<&HostName> = environments
        .flat_map(|environment| environment.hosts.iter().map(|host| &host.name))
        .collect();
    let hosts = release
        .reached()
        .filter(|(_, host)| declared.contains(host))
        .map(|(_, host)| {
            (
                host.clone(),
                looks(state, watch, release, host, leased, now),
            )
        })
        .collect();
    let frozen = |environment| freezes::frozen_for(state, watch, release, environment, now);
    let next = gates::next_environment(state, release);
    let ahead = (!gates::serving(state, release)).then(|| GatesAhead {
        demands: gates::demands(state, watch, release, now),
        rehearsing: wanted::rehearsing(state, watch, release, now),
        next_is_last: next.is_some_and(|(_, last)| last),
    });
    Outlook {
        hosts,
        verdict: watch.judged(state, release, now).verdict,
        frozen: release.stage().and_then(|stage| frozen(&stage.environment)),
        frozen_next: next.and_then(|(environment, _)| frozen(&environment.name)),
        plan,
        gates: ahead,
    }
}

/// The release that a slot's newest order belongs to, if that is still active.
pub(crate) fn active_of(state: &State, slot: &Slot) -> Option<ReleaseId> {
    let id = slot.order.as_ref()?.release;
    state
        .releases
        .get(&id)
        .filter(|release| release.is_active())
        .map(|release| release.id)
}

/// A person passes a held wave.
pub(super) fn carry_on(
    _state: &State,
    _watch: &Watch,
    _by: model::Actor,
    release: ReleaseId,
    _reason: String,
    _now: Timestamp,
) -> Result<Vec<Event>, model::Refusal> {
    Err(model::Refusal::new(
        model::refusal::Code::NotFound,
        format!("release {release} is not held"),
        "See `plimsoll status`.",
    ))
}
