//! How one host looks to a release: can it be told, has it done it, does it do harm.
//!
//! Invariant: silence alone is never health. A host that nothing is known of is
//! neither confirmed nor failed.

use std::collections::BTreeSet;

use model::{DrainCause, HostName, Millis, OrderKind, Rule, ServiceName, Timestamp};
use release::{HostLooks, Release};

use super::capacity;
use crate::state::Slot;
use crate::watch::{CRASH_LOOP_EXITS, LOST_AFTER, SILENT_AFTER, STAGING_ALLOWANCE};
use crate::{SlotStatus, State, Watch, gates};

pub(super) fn looks(
    state: &State,
    watch: &Watch,
    release: &Release,
    host: &HostName,
    leased: &BTreeSet<HostName>,
    now: Timestamp,
) -> HostLooks {
    let Some(slot) = state.slot(host, &release.service) else {
        return HostLooks::Blocked(format!(
            "host {host} has no agent for {} yet",
            release.service
        ));
    };
    let rehearsal = release.seen.rehearsal.as_ref();
    if rehearsal.is_some_and(|it| it.host == *host && it.current().is_some()) {
        return rehearses(slot, watch.silent_for(host, now));
    }
    let silent = watch.silent_for(host, now);
    let Some(order) = slot.forward_of(release.id) else {
        if let Some(reason) = not_at_base(slot, release) {
            return HostLooks::Back { reason };
        }
        if gates::serving(state, release)
            && let Some(void) = gates::attestation_void(state, release, now)
        {
            return HostLooks::Blocked(void);
        }
        let looks = may_be_ordered(state, watch, &release.service, host, leased, now);
        return drained(state, watch, release, host, looks, now);
    };
    let failed = |rule, reason: String| HostLooks::Failed { rule, reason };
    match &slot.status {
        SlotStatus::Failed { phase, reason } => HostLooks::Back {
            reason: format!("at {phase}: {reason}"),
        },
        SlotStatus::RevertFailing { phase, reason } => failed(
            Rule::NotConfirmed,
            format!("can't go back by itself ({phase}: {reason})"),
        ),
        SlotStatus::Idle | SlotStatus::Ordered { .. } | SlotStatus::Holding { .. } => {
            // While this process was not there to listen, no host could confirm.
            let listened = order.issued_at.max(watch.since());
            let within = Millis(
                order
                    .confirm_within_ms
                    .0
                    .saturating_add(STAGING_ALLOWANCE.0),
            );
            let deadline = within.after(listened);
            if now > deadline {
                let reason = format!("not confirmed within {within}");
                return failed(Rule::NotConfirmed, reason);
            }
            HostLooks::Ordered
        }
        SlotStatus::Confirmed { .. } if silent >= LOST_AFTER => {
            failed(Rule::HealthFailing, format!("not heard from for {silent}"))
        }
        SlotStatus::Confirmed { .. } => confirmed(watch, &release.service, host, slot, silent),
    }
}

/// How a host that could be ordered looks when it gets no new requests.
fn drained(
    state: &State,
    watch: &Watch,
    release: &Release,
    host: &HostName,
    looks: HostLooks,
    now: Timestamp,
) -> HostLooks {
    let drain = state
        .slot(host, &release.service)
        .and_then(|slot| slot.drain.as_ref());
    let (Some(drain), Some(environment)) = (drain, state.environment_of(host)) else {
        return looks;
    };
    let cause = DrainCause::Release {
        release: release.id,
    };
    let place = (environment, &release.service);
    let waits = match looks {
        HostLooks::Blocked(reason) => Some(reason),
        _ => capacity::emptying(watch, place, host, drain, now),
    };
    match (drain.cause == cause, waits) {
        (true, Some(reason)) => HostLooks::Draining { reason },
        (true, None) => HostLooks::Drained,
        // It was out before its turn came.
        (false, Some(reason)) => HostLooks::Blocked(reason),
        (false, None) => HostLooks::Ready,
    }
}

/// Whether the host's newest order is the release's.
pub(super) fn was_told(state: &State, release: &Release, host: &HostName) -> bool {
    let slot = state.slot(host, &release.service);
    let order = slot.and_then(|slot| slot.order.as_ref());
    order.is_some_and(|order| order.release == release.id)
}

/// Back and forth on purpose, as long as the host can be told what comes next.
fn rehearses(slot: &Slot, silent: Millis) -> HostLooks {
    let failed = |reason: String| HostLooks::Failed {
        rule: Rule::Rehearsal,
        reason,
    };
    match &slot.status {
        SlotStatus::RevertFailing { phase, reason } => {
            failed(format!("can't go back by itself ({phase}: {reason})"))
        }
        // While an order is open, its own deadline decides.
        SlotStatus::Ordered { .. } | SlotStatus::Holding { .. } => HostLooks::Rehearsing,
        SlotStatus::Idle | SlotStatus::Confirmed { .. } | SlotStatus::Failed { .. }
            if silent >= LOST_AFTER =>
        {
            failed(format!("not heard from for {silent}"))
        }
        SlotStatus::Idle | SlotStatus::Confirmed { .. } | SlotStatus::Failed { .. } => {
            HostLooks::Rehearsing
        }
    }
}

/// Why a host that runs another bundle than the one this was tested against
/// could not be brought to that first. It is not told again and again.
fn not_at_base(slot: &Slot, release: &Release) -> Option<String> {
    let order = slot.order.as_ref()?;
    let ours = order.release == release.id && order.kind == OrderKind::Rollback;
    match &slot.status {
        SlotStatus::Failed { phase, reason } if ours => Some(format!(
            "could not be brought to {}, against which this was tested (at {phase}: {reason})",
            order.digest.short()
        )),
        SlotStatus::Failed { .. }
        | SlotStatus::Idle
        | SlotStatus::Ordered { .. }
        | SlotStatus::Holding { .. }
        | SlotStatus::Confirmed { .. }
        | SlotStatus::RevertFailing { .. } => None,
    }
}

fn confirmed(
    watch: &Watch,
    service: &ServiceName,
    host: &HostName,
    slot: &Slot,
    silent: Millis,
) -> HostLooks {
    if let Some(reason) = &slot.unhealthy {
        return HostLooks::Failed {
            rule: Rule::HealthFailing,
            reason: reason.clone(),
        };
    }
    // A process that has just started knows nothing of its health yet.
    if watch.seen_at(host).is_none() {
        return HostLooks::Silent {
            reason: format!("{host}, not heard from since this control plane began"),
        };
    }
    let generation = slot.order.as_ref().map(|order| order.generation);
    let beat = watch
        .last_beat(host, service)
        .filter(|beat| Some(beat.generation) == generation);
    if let Some(beat) = beat {
        let exits = beat.exits_lately();
        if exits >= CRASH_LOOP_EXITS {
            let reason = format!("its service exited {exits} times in the last minutes");
            return HostLooks::Failed {
                rule: Rule::CrashLoop,
                reason,
            };
        }
        if beat.healthy == Some(false) {
            return HostLooks::Failed {
                rule: Rule::HealthFailing,
                reason: beat.reason.clone(),
            };
        }
    }
    if silent >= SILENT_AFTER {
        return HostLooks::Silent {
            reason: format!("{host}, not heard from for {silent}"),
        };
    }
    HostLooks::Confirmed
}

/// The lease: one forward change on a host at a time, whichever service it is for.
pub(super) fn may_be_ordered(
    state: &State,
    watch: &Watch,
    service: &ServiceName,
    host: &HostName,
    leased: &BTreeSet<HostName>,
    now: Timestamp,
) -> HostLooks {
    let silent = watch.silent_for(host, now);
    // A process that has just started has heard nobody; it waits for a first sign of life.
    if watch.seen_at(host).is_none() || silent >= SILENT_AFTER {
        return HostLooks::Blocked(format!("host {host} has not been heard from for {silent}"));
    }
    let slots = state
        .hosts
        .get(host)
        .into_iter()
        .flat_map(|host| &host.slots);
    let busy = slots.into_iter().find(|(_, slot)| slot.in_change());
    match busy {
        Some((busy, _)) if busy == service => HostLooks::Blocked(format!(
            "host {host} is still carrying out an earlier order"
        )),
        Some((busy, _)) => HostLooks::Blocked(format!("host {host} is being changed for {busy}")),
        None if leased.contains(host) => {
            HostLooks::Blocked(format!("host {host} is being changed for another service"))
        }
        None => HostLooks::Ready,
    }
}
