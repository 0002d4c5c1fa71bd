//! The way back.
//!
//! Invariant: nothing here looks at freezes, quarantine, verdicts, leases,
//! health or how far any release came. Who asks was checked before (signature
//! and role); the one thing checked here is that a named target was good.

use std::collections::BTreeSet;

use model::refusal::Code;
use model::{
    Actor, Digest, Event, Exposure, Generation, HostName, Millis, Order, OrderKind, Refusal,
    ReleaseId, RollbackCause, Rule, ServiceName, StagePlan, Timestamp, Verdict,
};
use release::{Release, Status};

use super::{bounded, unknown_service};
use crate::state::Slot;
use crate::{SlotStatus, State, Watch};

/// A host that failed its way back is told again after this long: it may have a reason that passes.
const RETRY_AFTER: Millis = Millis::seconds(5);
/// The longer that goes on, the less often, down to this: thousands of hosts that
/// go on saying no must not fill the journal. A person's new order comes at once.
const RETRY_AFTER_MAX: Millis = Millis::seconds(60);

/// A person asks for the way back.
#[expect(
    clippy::too_many_arguments,
    reason = "the fields of one input, taken apart once"
)]
pub(super) fn by_person(
    state: &State,
    watch: &Watch,
    by: Actor,
    service: ServiceName,
    release: Option<ReleaseId>,
    to: Option<Digest>,
    reason: String,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    let Some(known) = state.services.get(&service) else {
        if state.topology.services.contains_key(&service) {
            return Ok(Vec::new());
        }
        return Err(unknown_service(state, &service));
    };
    if let Some(to) = to
        && !was_good(state, &service, to)
    {
        let goods: Vec<String> = known.goods.iter().map(|good| good.digest.short()).collect();
        return Err(Refusal::new(
            Code::TargetNeverGood,
            format!("bundle {} was never good for {service}", to.short()),
            if goods.is_empty() {
                "Leave the target out: each host then goes back to what it ran before.".to_owned()
            } else {
                format!("Good were: {}. Or leave the target out.", goods.join(", "))
            },
        ));
    }
    let newest_good = known.goods.last().map(|good| good.release);
    let named = match release.or(known.active).or(newest_good) {
        Some(id) => match state.releases.get(&id) {
            Some(release) if release.service == service => Some(release),
            _ => {
                return Err(Refusal::new(
                    Code::UnknownRelease,
                    format!("there is no release {id} of {service} to undo"),
                    "Leave the release out to undo the newest, or look it up with `plimsoll releases`.",
                ));
            }
        },
        None => None,
    };
    let Some(named) = named else {
        // Never released: every host runs what it ran when it joined, and there is nothing to undo.
        return Ok(Vec::new());
    };
    let undone = matches!(named.status, Status::RolledBack(_));
    if undone && to.is_none() {
        return Ok(Vec::new());
    }
    let active = known.active.filter(|active| *active != named.id);
    let mut releases: Vec<&Release> = active
        .iter()
        .filter_map(|id| state.releases.get(id))
        .collect();
    releases.push(named);
    let cause = RollbackCause::Person { reason };
    Ok(turn_back(state, watch, &releases, &by, &cause, to, now))
}

/// A verdict asks for it.
pub(super) fn by_verdict(
    state: &State,
    watch: &Watch,
    release: &Release,
    verdict: Verdict,
    now: Timestamp,
) -> Vec<Event> {
    let cause = RollbackCause::Verdict { verdict };
    turn_back(
        state,
        watch,
        &[release],
        &Actor::plimsoll(),
        &cause,
        None,
        now,
    )
}

/// What was around a change may be mended without changing it: then it may come again.
fn blames_content(cause: &RollbackCause) -> bool {
    match cause {
        RollbackCause::Person { .. } => true,
        RollbackCause::Verdict { verdict } => match verdict {
            Verdict::Fail { rule, .. } => match rule {
                // What hurts the whole fleet may have another cause.
                Rule::References | Rule::Attestation | Rule::Fleet => false,
                Rule::FailureBudget
                | Rule::Errors
                | Rule::Latency
                | Rule::Crashes
                | Rule::Heartbeats
                | Rule::Saturation
                | Rule::Custom
                | Rule::Silence
                | Rule::NotConfirmed
                | Rule::HealthFailing
                | Rule::CrashLoop
                | Rule::Rehearsal
                | Rule::Matrix
                | Rule::Hostile => true,
            },
            Verdict::Pass { .. } | Verdict::Insufficient { .. } => true,
        },
    }
}

fn was_good(state: &State, service: &ServiceName, digest: Digest) -> bool {
    let as_release = state
        .services
        .get(service)
        .is_some_and(|service| service.goods.iter().any(|good| good.digest == digest));
    // What a test host was born with is its own word, and nothing that customers were served.
    let last = state.topology.environments.last().map(|last| &last.name);
    let served = |host| state.environment_of(host) == last;
    as_release
        || state
            .slots(service)
            .any(|(host, slot)| served(host) && slot.homes.contains(&digest))
}

fn turn_back(
    state: &State,
    watch: &Watch,
    releases: &[&Release],
    by: &Actor,
    cause: &RollbackCause,
    to: Option<Digest>,
    now: Timestamp,
) -> Vec<Event> {
    let Some(newest) = releases.last() else {
        return Vec::new();
    };
    let service = &newest.service;
    let mut events = Vec::new();
    let mut left = Vec::new();
    for release in releases {
        events.push(Event::RollbackStarted {
            release: release.id,
            service: service.clone(),
            by: by.clone(),
            cause: cause.clone(),
            to,
            exposure: exposure(state, watch, release),
        });
        if to == Some(release.digest) {
            continue;
        }
        left.push(release.digest);
        // A change that met no host showed nothing; it may come again.
        let met = |slot: &Slot| {
            slot.order
                .as_ref()
                .is_some_and(|order| order.release == release.id)
        };
        if blames_content(cause) && state.slots(service).any(|(_, slot)| met(slot)) {
            events.push(Event::DigestQuarantined {
                service: service.clone(),
                digest: release.digest,
                release: release.id,
            });
        }
    }
    let ids: BTreeSet<ReleaseId> = releases.iter().map(|release| release.id).collect();
    let mut told = 0;
    for (host, slot) in state.slots(service) {
        if to.is_none() && !must_go_back(slot, &ids, &left) {
            continue;
        }
        let digest = to.unwrap_or_else(|| slot.home_from(&left));
        let order = order(
            state,
            host,
            service,
            newest.id,
            digest,
            OrderKind::Rollback,
            now,
        );
        events.extend(order.map(|order| Event::HostOrdered { order }));
        told += 1;
    }
    if told == 0 {
        events.extend(ids.into_iter().map(|release| Event::RollbackCompleted {
            release,
            took_ms: Millis(0),
        }));
    }
    events
}

/// Whether a slot runs, or was told to run, what is being left; or is still on a way back.
fn must_go_back(slot: &Slot, releases: &BTreeSet<ReleaseId>, left: &[Digest]) -> bool {
    let Some(order) = &slot.order else {
        return false;
    };
    match order.kind {
        // What a restart leaves is what a release put there.
        OrderKind::Forward | OrderKind::Restart => {
            releases.contains(&order.release) || left.contains(&order.digest)
        }
        OrderKind::Rollback => {
            let done = matches!(slot.status, SlotStatus::Confirmed { .. });
            !done || left.contains(&order.digest)
        }
    }
}

/// Orders that a rollback still owes: to hosts that it should have told and has
/// not (the appends of a large fleet's rollback are several, and the process
/// may end between two), and again to hosts that said they did otherwise.
pub(super) fn owed(state: &State, release: &Release, now: Timestamp) -> Vec<Event> {
    let service = &release.service;
    let (stays, started_at) = match &release.status {
        Status::RollingBack(rollback) => (rollback.to == Some(release.digest), rollback.started_at),
        Status::Rolling { .. } | Status::Good | Status::RolledBack(_) => return Vec::new(),
    };
    let left: &[Digest] = if stays { &[] } else { &[release.digest] };
    let target = |slot: &Slot| {
        let order = slot.order.as_ref()?;
        match (order.kind, &slot.status) {
            (OrderKind::Forward | OrderKind::Restart, _) => {
                let ours = order.release == release.id || order.digest == release.digest;
                ours.then(|| slot.home_from(left))
            }
            (OrderKind::Rollback, SlotStatus::Failed { .. }) => {
                let tried_for = Millis::between(started_at, order.issued_at);
                let pause = tried_for.clamp(RETRY_AFTER, RETRY_AFTER_MAX);
                let due = pause.after(order.issued_at) <= now;
                slot.way_back_of(release.id)
                    .filter(|_| due)
                    .map(|order| order.digest)
            }
            (OrderKind::Rollback, _) => None,
        }
    };
    let owed = state
        .slots(service)
        .filter_map(|(host, slot)| Some((host, target(slot)?)));
    let orders = owed.filter_map(|(host, digest)| {
        order(
            state,
            host,
            service,
            release.id,
            digest,
            OrderKind::Rollback,
            now,
        )
    });
    orders.map(|order| Event::HostOrdered { order }).collect()
}

/// An order for one host; `None` when the host is in no environment any more and so can't be reached.
pub(super) fn order(
    state: &State,
    host: &HostName,
    service: &ServiceName,
    release: ReleaseId,
    digest: Digest,
    kind: OrderKind,
    now: Timestamp,
) -> Option<Order> {
    let (environment, declared) = state.topology.host(host)?;
    let generation = state
        .hosts
        .get(host)
        .map_or(Generation(0), |host| host.generation)
        .next();
    let plan = state
        .bundles
        .get(&digest)
        .and_then(|bundle| bundle.plan.stages.get(&environment.name));
    let confirm_within_ms = plan.map_or_else(
        || StagePlan::default().confirm_within_ms,
        |plan| plan.confirm_within_ms,
    );
    Some(Order {
        host: host.clone(),
        service: service.clone(),
        generation,
        kind,
        digest,
        release,
        issued_at: now,
        confirm_within_ms,
        environment: environment.name.clone(),
        zone: declared.zone.clone(),
        address: declared.services.get(service).cloned().unwrap_or_default(),
    })
}

/// Whom a release has met in the last environment of the pipeline, where customers are.
pub fn exposure(state: &State, watch: &Watch, release: &Release) -> Exposure {
    let Some(serving) = state.topology.environments.last() else {
        return Exposure::default();
    };
    let hosts = release
        .reached()
        .filter(|(environment, host)| {
            let slot = state.slot(host, &release.service);
            let ordered = slot.is_some_and(|slot| {
                slot.order
                    .as_ref()
                    .is_some_and(|order| order.release == release.id)
            });
            **environment == serving.name && ordered
        })
        .count();
    let seen = watch.exposure(&serving.name, &release.service, release.digest);
    Exposure {
        hosts: u32::try_from(hosts).unwrap_or(u32::MAX),
        ..seen
    }
}
