//! What follows from time passing and from what is watched.

use std::collections::{BTreeMap, BTreeSet};

use model::bundle::Undecided;
use model::{
    Digest, DrainCause, Event, Generation, HostName, Millis, OrderKind, ReleaseId, Rule, StagePlan,
    Timestamp, Verdict,
};
use release::{GatesAhead, HostLooks, Outlook, Release, Status, Step, next};

use super::capacity::{self, Capacity, First};
use super::looks::looks;
use super::{fleet, gates as wanted, restart, rollback, traffic, verdicts};
use crate::state::Slot;
use crate::watch::{CRASH_LOOP_EXITS, Judged};
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
    events.extend(capacity::let_in(state, now));
    events.extend(traffic::tick(state, watch, now));
    let again = restart::tick(state, watch, &leased, now);
    leased.extend(told(&again).cloned());
    events.extend(again);
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
                Step::Wait(reason) | Step::Hold(reason) | Step::PassUndecided(reason) => {
                    Some(reason)
                }
                Step::Gate(gating) => wanted::held_up(state, watch, release, &gating, now),
                Step::Order(_)
                | Step::StartWave(_)
                | Step::Pass(_)
                | Step::Advance
                | Step::Stop(_)
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
    let stage = release.stage();
    match next(release, &outlook, now) {
        Step::Wait(_) => Vec::new(),
        Step::Order(hosts) => order_forward(state, watch, release, &hosts, now),
        Step::Gate(gating) => wanted::carry_out(state, watch, release, gating, leased, now),
        Step::StartWave(wave) => stage
            .into_iter()
            .map(|stage| Event::WaveStarted {
                release: release.id,
                environment: stage.environment.clone(),
                wave,
            })
            .collect(),
        Step::Pass(verdict) => verdicts::judged(state, watch, release, verdict, false, now),
        Step::PassUndecided(_) => {
            let evidence = watch.judged(state, release, now).wave;
            let verdict = Verdict::Pass { evidence };
            verdicts::judged(state, watch, release, verdict, true, now)
        }
        Step::Advance => advance(state, watch, release),
        Step::Hold(needs) => verdicts::held(state, watch, release, &needs, now),
        Step::Stop(verdict) => verdicts::stopped(state, watch, release, verdict, now),
        Step::RollBack(verdict) => {
            let mut events = verdicts::judged(state, watch, release, verdict.clone(), false, now);
            events.extend(rollback::by_verdict(state, watch, release, verdict, now));
            events
        }
    }
}

/// Out of the routes first, and once it is empty to the host.
fn order_forward(
    state: &State,
    watch: &Watch,
    release: &Release,
    hosts: &[HostName],
    now: Timestamp,
) -> Vec<Event> {
    let (service, id) = (&release.service, release.id);
    let Some(stage) = release.stage() else {
        return Vec::new();
    };
    let capacity = stage_capacity(state, watch, release, &stage_plan(state, release), now);
    let serving = capacity.map_or(0, |it| it.serving());
    let of_host = |host: &HostName| {
        let place = (&stage.environment, service);
        if let First::Drain = capacity::first(state, watch, place, host, serving, now) {
            return Some(Event::HostDrained {
                host: host.clone(),
                service: service.clone(),
                cause: DrainCause::Release { release: id },
            });
        }
        let (digest, kind) = match behind(state, release, host) {
            Some(base) => (base, OrderKind::Rollback),
            None => (release.digest, OrderKind::Forward),
        };
        let order = rollback::order(state, host, service, id, digest, kind, now)?;
        Some(Event::HostOrdered { order })
    };
    hosts.iter().filter_map(of_host).collect()
}

/// Who may go where the release is now.
fn stage_capacity(
    state: &State,
    watch: &Watch,
    release: &Release,
    plan: &StagePlan,
    now: Timestamp,
) -> Option<Capacity> {
    let environment = &release.stage()?.environment;
    let usual = || capacity::usual_floor(state, environment);
    let floor = plan.floor_permille.unwrap_or_else(usual);
    let place = (environment, &release.service);
    Some(Capacity::of(state, watch, place, floor, now))
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
    let mut capacity = stage_capacity(state, watch, release, plan, now);
    let here = release.stage().map(|stage| &stage.environment);
    let mut hosts = BTreeMap::new();
    // In the order of the waves, in which they are told.
    for (environment, host) in release
        .reached()
        .filter(|(_, host)| declared.contains(host))
    {
        let mut looks = looks(state, watch, release, host, leased, now);
        if let (HostLooks::Ready, Some(capacity)) = (&looks, &mut capacity)
            && Some(environment) == here
            && let Err(reason) = capacity.take(host)
        {
            looks = HostLooks::Blocked(reason);
        }
        hosts.insert(host.clone(), looks);
    }
    let frozen = |environment| {
        restart::in_the_way(state, &release.service, environment)
            .or_else(|| traffic::in_the_way(state, &release.service, environment))
            .or_else(|| freezes::frozen_for(state, watch, release, environment, now))
    };
    let judged = watch.judged(state, release, now);
    let next = gates::next_environment(state, release);
    let ahead = (!gates::serving(state, release)).then(|| GatesAhead {
        demands: gates::demands(state, watch, release, now),
        rehearsing: wanted::rehearsing(state, watch, release, now),
        next_is_last: next.is_some_and(|(_, last)| last),
    });
    Outlook {
        fleet: fleet::blamed(state, watch, release, &judged),
        control_looping: control_looping(state, watch, release, &hosts),
        irreversible: is_irreversible(state, release),
        passes_undecided: passes_undecided(release, plan, &judged),
        verdict: judged.verdict,
        frozen: release.stage().and_then(|stage| frozen(&stage.environment)),
        frozen_next: next.and_then(|(environment, _)| frozen(&environment.name)),
        plan,
        gates: ahead,
        hosts,
    }
}

/// Whether only people send the release back.
pub(crate) fn is_irreversible(state: &State, release: &Release) -> bool {
    let bundle = state.bundles.get(&release.digest);
    bundle.is_some_and(|bundle| bundle.plan.irreversible)
}

/// Whether a wave that can't be judged in time passes.
fn passes_undecided(release: &Release, plan: &StagePlan, judged: &Judged) -> bool {
    let wanted = match plan.judge.undecided {
        Undecided::Advance => true,
        Undecided::Hold => false,
    };
    let counted = judged.wave.canary.requests > 0;
    wanted && counted && !judged.doubts && release.checked.risks.is_empty()
}

/// How many hosts of the old bundle exit again and again, and of how many.
fn control_looping(
    state: &State,
    watch: &Watch,
    release: &Release,
    hosts: &BTreeMap<HostName, HostLooks>,
) -> (usize, usize) {
    let loops = |looks: &HostLooks| matches!(looks, HostLooks::Failed { rule, .. } if *rule == Rule::CrashLoop);
    let Some(stage) = release.stage().filter(|_| hosts.values().any(loops)) else {
        return (0, 0);
    };
    let declared = state
        .topology
        .hosts_of(&stage.environment, &release.service);
    let control = declared.filter_map(|host| {
        let slot = state.slot(&host.name, &release.service)?;
        let beat = watch.last_beat(&host.name, &release.service)?;
        (slot.running != release.digest).then_some(beat)
    });
    control.fold((0, 0), |(looping, of), beat| {
        let loops = beat.exits_lately() >= CRASH_LOOP_EXITS;
        (looping + usize::from(loops), of + 1)
    })
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
