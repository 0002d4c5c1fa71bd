//! What people and hosts say about gates, and what gates want done.
//!
//! Invariant: nothing here is asked before a rollback, and nothing here can
//! stop one.

use std::collections::{BTreeMap, BTreeSet};

use model::gate::{GateState, Probe, TestRecord, Trial};
use model::refusal::Code;
use model::{
    Actor, BundlePath, Digest, Envelope, Event, Gate, HostName, OrderKind, Refusal, ReleaseId,
    ServiceName, Statement, Task, TaskKind, TaskOutcome, TaskResult, Timestamp,
};
use release::gates::{Act, Came};
use release::state::Seen;
use release::{Gating, HostLooks, RehearsalHost, Release, Status};

use super::{RESULTS_MAX, bounded, looks, rollback, unknown_service};
use crate::state::BreakGlass;
use crate::watch::STAGING_ALLOWANCE;
use crate::{SlotStatus, State, Watch, due, gates};

/// Gates that may be left out in an emergency. Static checks, compatibility,
/// health in test and the attestation never are.
const BREAKABLE: &[Gate] = &[
    Gate::Rehearsal,
    Gate::Matrix,
    Gate::Hostile,
    Gate::References,
    Gate::Approval,
    Gate::Freeze,
];

/// Most probes and trials that a test's record repeats. It is one event, and one
/// that the journal can't hold would stand in the way of every other. Past this
/// they are in the journal where each host told them.
const RECORD_PROBES_MAX: usize = 1_500;
const RECORD_TRIALS_MAX: usize = 500;

/// Somebody agrees to a high-risk change.
pub(super) fn approve(
    state: &State,
    by: Actor,
    id: ReleaseId,
    binds: Digest,
    note: String,
) -> Result<Vec<Event>, Refusal> {
    bounded("note", &note)?;
    let Some(release) = state.releases.get(&id) else {
        return Err(Refusal::new(
            Code::UnknownRelease,
            format!("there is no release {id}"),
            "`plimsoll releases` lists them.",
        ));
    };
    let no_need =
        |message: String, next: &str| Err(Refusal::new(Code::NoApprovalNeeded, message, next));
    if !matches!(release.status, Status::Rolling { .. }) {
        return no_need(
            format!("release {id} is over"),
            "An approval can't be given afterwards; push again if it is still wanted.",
        );
    }
    if gates::approvals_needed(state, release) == 0 {
        return no_need(
            format!("release {id} touches no high-risk option"),
            "Nothing: it goes on by itself.",
        );
    }
    let Some(bound) = gates::binds(release) else {
        return no_need(
            format!(
                "the test of release {id} has not ended yet, so there is no evidence to approve"
            ),
            "Wait until its test has passed (`plimsoll status`), look at the evidence, then approve.",
        );
    };
    if by.name == release.author.name {
        return Err(Refusal::new(
            Code::OwnApproval,
            format!("{} is the author of release {id}", by.name),
            "Ask somebody else to look at it: `plimsoll approve` with a token of their own.",
        ));
    }
    if bound != binds {
        return Err(Refusal::new(
            Code::ApprovalMoved,
            format!(
                "release {id} is not what was looked at any more: bundle, base, rules or evidence changed"
            ),
            format!("Look at it as it is now (`plimsoll releases show {id}`), then approve that."),
        ));
    }
    if gates::approved_by(release).contains(&by.name) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::Approved {
        release: id,
        by,
        binds,
        note,
    }])
}

/// The shell signed a statement; it counts if it is still the one that is wanted.
pub(super) fn attest(
    state: &State,
    id: ReleaseId,
    envelope: Envelope,
    statement: &Statement,
) -> Vec<Event> {
    let release = state.releases.get(&id);
    let wanted = release.and_then(|release| gates::statement(state, release));
    if wanted.as_ref() != Some(statement) {
        return Vec::new();
    }
    vec![Event::Attested {
        release: id,
        envelope,
    }]
}

/// What came of tasks. What was not asked for, or is known, is skipped.
pub(super) fn results(
    state: &State,
    host: &HostName,
    results: Vec<TaskResult>,
) -> Result<Vec<Event>, Refusal> {
    if !state.hosts.contains_key(host) {
        return Err(super::unknown_host(host));
    }
    if results.len() > RESULTS_MAX {
        return Err(Refusal::new(
            Code::TooLarge,
            format!("{} results at once; at most {RESULTS_MAX}", results.len()),
            "Send them in smaller batches.",
        ));
    }
    let asked = due::tasks(state, host);
    let mut seen = Vec::new();
    let mut events = Vec::new();
    for result in results {
        let Some(release) = state.releases.get(&result.release) else {
            continue;
        };
        let rolling = matches!(release.status, Status::Rolling { .. });
        if !rolling || seen.contains(&result.id) {
            continue;
        }
        seen.push(result.id.clone());
        let task = asked
            .iter()
            .find(|task| task.id == result.id && task.release == result.release);
        events.extend(fact(release, host, task, result));
    }
    Ok(events)
}

fn fact(
    release: &Release,
    host: &HostName,
    asked: Option<&Task>,
    result: TaskResult,
) -> Option<Event> {
    let (id, host) = (release.id, host.clone());
    match result.outcome {
        TaskOutcome::Probed { probes } => {
            all_probed(asked?, &probes).then_some(Event::ReferencesProbed {
                release: id,
                host,
                round: release.seen.round,
                probes,
            })
        }
        TaskOutcome::Tried { trials } => {
            all_tried(asked?, &trials).then_some(Event::HostileTried {
                release: id,
                host,
                trials,
            })
        }
        // A load has left the list when its totals come.
        TaskOutcome::Loaded { requests, failed } => {
            let rehearsal = release.seen.rehearsal.as_ref()?;
            let wanted = rehearsal.host == host
                && rehearsal.load.is_none()
                && result.id == gates::task_id(id, "load", 0);
            wanted.then_some(Event::LoadMeasured {
                release: id,
                host,
                requests,
                failed,
            })
        }
        TaskOutcome::Broken { reason } => {
            let kind = result.id.split('-').nth(1).unwrap_or_default();
            let task = format!("{kind} {host}");
            let news = release.seen.broken.get(&task) != Some(&reason);
            (asked.is_some() && news).then_some(Event::TaskBroken {
                release: id,
                host,
                task,
                reason,
            })
        }
    }
}

/// An answer to half of a question is none: each reference once, and no other.
fn all_probed(task: &Task, probes: &[Probe]) -> bool {
    let TaskKind::Probe { references, .. } = &task.kind else {
        return false;
    };
    let answered: BTreeSet<u32> = probes.iter().map(|probe| probe.reference).collect();
    answered.len() == probes.len() && references.keys().eq(&answered)
}

/// Each document was tried with something.
fn all_tried(task: &Task, trials: &[Trial]) -> bool {
    let TaskKind::Hostile { documents, .. } = &task.kind else {
        return false;
    };
    let tried: BTreeSet<&BundlePath> = trials.iter().map(|trial| &trial.file).collect();
    documents.iter().collect::<BTreeSet<_>>() == tried
}

/// Somebody asks to go past gates.
pub(super) fn ask_break_glass(
    state: &State,
    by: Actor,
    service: ServiceName,
    gates: Vec<Gate>,
    reason: String,
    expires_at: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    if !state.topology.services.contains_key(&service) {
        return Err(unknown_service(state, &service));
    }
    let bad = |message: String| {
        Err(Refusal::new(
            Code::BadRequest,
            message,
            "Name why, and which of rehearsal, matrix, hostile, references, approval and freeze to leave out.",
        ))
    };
    if reason.trim().is_empty() {
        return bad("a break-glass needs a reason".into());
    }
    if gates.is_empty() {
        return bad("a break-glass needs at least one gate to leave out".into());
    }
    if let Some(gate) = gates.iter().find(|gate| !BREAKABLE.contains(gate)) {
        return bad(format!("{gate} can't be left out, in no emergency"));
    }
    let id = state.break_glasses.keys().last().copied().unwrap_or(0) + 1;
    Ok(vec![Event::BreakGlassAsked {
        id,
        by,
        service,
        gates,
        reason,
        expires_at,
    }])
}

fn glass(state: &State, id: u64) -> Result<&BreakGlass, Refusal> {
    state.break_glasses.get(&id).ok_or_else(|| {
        Refusal::new(
            Code::NoBreakGlass,
            format!("there is no break-glass {id}"),
            "`plimsoll break-glass list` shows them.",
        )
    })
}

/// A second person agrees.
pub(super) fn confirm_break_glass(
    state: &State,
    by: Actor,
    id: u64,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let glass = glass(state, id)?;
    if glass.expires_at <= now {
        return Err(Refusal::new(
            Code::NoBreakGlass,
            format!("break-glass {id} was good until {:.0}", glass.expires_at),
            "Ask for a new one: `plimsoll break-glass ask`.",
        ));
    }
    if glass.confirmed_by.is_some() {
        return Ok(Vec::new());
    }
    if glass.asked_by.name == by.name {
        return Err(Refusal::new(
            Code::SecondPerson,
            format!("{} asked for break-glass {id}", by.name),
            "Somebody else must agree, with a token of their own.",
        ));
    }
    Ok(vec![Event::BreakGlassConfirmed { id, by }])
}

/// Somebody looked at it afterwards.
pub(super) fn review_break_glass(
    state: &State,
    by: Actor,
    id: u64,
    words: String,
) -> Result<Vec<Event>, Refusal> {
    bounded("words", &words)?;
    let glass = glass(state, id)?;
    if words.trim().is_empty() {
        return Err(Refusal::new(
            Code::BadRequest,
            "a review needs words: what was found?",
            "Say what happened and what follows from it.",
        ));
    }
    if glass.reviewed_by.is_some() {
        return Ok(Vec::new());
    }
    Ok(vec![Event::BreakGlassReviewed { id, by, words }])
}

/// How the rehearsing host looks.
pub(super) fn rehearsing(
    state: &State,
    watch: &Watch,
    release: &Release,
    now: Timestamp,
) -> Option<RehearsalHost> {
    let rehearsal = release.seen.rehearsal.as_ref()?;
    // A host that was taken out of the topology can't be ordered anything.
    state.topology.host(&rehearsal.host)?;
    let slot = state.slot(&rehearsal.host, &release.service)?;
    let order = slot.order.as_ref()?;
    let came = match &slot.status {
        SlotStatus::Confirmed { since } => Came::Done { at: *since },
        SlotStatus::Failed { phase, reason } => Came::Failed {
            reason: format!("{phase}: {reason}"),
        },
        SlotStatus::RevertFailing { phase, reason } => Came::Failed {
            reason: format!("can't go back ({phase}: {reason})"),
        },
        SlotStatus::Idle | SlotStatus::Ordered { .. } | SlotStatus::Holding { .. } => {
            let listened = order.issued_at.max(watch.since());
            let within = order
                .confirm_within_ms
                .0
                .saturating_add(STAGING_ALLOWANCE.0);
            let within = model::Millis(within);
            if now > within.after(listened) {
                Came::Failed {
                    reason: format!("not confirmed within {within}"),
                }
            } else {
                Came::Open
            }
        }
    };
    Some(RehearsalHost {
        ordered: order.digest,
        ordered_at: order.issued_at,
        state: came,
        home: slot.home_from(&[release.digest]),
    })
}

/// Why what a gate wants can't be done yet, in one sentence.
pub(super) fn held_up(
    state: &State,
    watch: &Watch,
    release: &Release,
    gating: &Gating,
    now: Timestamp,
) -> Option<String> {
    let (Gating::Act(Act::Back(host, _) | Act::Forward(host, _)) | Gating::Rehearse(host)) = gating
    else {
        return None;
    };
    if matches!(gating, Gating::Rehearse(_)) && looks::was_told(state, release, host) {
        return None;
    }
    match looks::may_be_ordered(state, watch, &release.service, host, &BTreeSet::new(), now) {
        HostLooks::Blocked(reason) => Some(format!("rehearsal waits: {reason}")),
        HostLooks::Ready
        | HostLooks::Draining { .. }
        | HostLooks::Drained
        | HostLooks::Ordered
        | HostLooks::Confirmed
        | HostLooks::Silent { .. }
        | HostLooks::Rehearsing
        | HostLooks::Back { .. }
        | HostLooks::Failed { .. } => None,
    }
}

/// Does what a gate wants.
pub(super) fn carry_out(
    state: &State,
    watch: &Watch,
    release: &Release,
    gating: Gating,
    leased: &BTreeSet<HostName>,
    now: Timestamp,
) -> Vec<Event> {
    let id = release.id;
    let order = |host: &HostName, digest, kind| {
        let looks = looks::may_be_ordered(state, watch, &release.service, host, leased, now);
        if looks != HostLooks::Ready {
            return Vec::new();
        }
        let order = rollback::order(state, host, &release.service, id, digest, kind, now);
        order
            .map(|order| Event::HostOrdered { order })
            .into_iter()
            .collect()
    };
    match gating {
        // One that the release went past, and that was not told yet, is told first.
        Gating::Rehearse(host) if !looks::was_told(state, release, &host) => Vec::new(),
        Gating::Rehearse(host) => vec![Event::RehearsalStarted { release: id, host }],
        Gating::Act(Act::Back(host, digest)) => order(&host, digest, OrderKind::Rollback),
        Gating::Act(Act::Forward(host, digest)) => order(&host, digest, OrderKind::Forward),
        Gating::Act(Act::Ended(host, result)) => vec![Event::RehearsalStepped {
            release: id,
            host,
            result,
        }],
        Gating::Mix => {
            let mixed = gates::mixed(state, release);
            let host = release.seen.rehearsal.as_ref().map(|it| it.host.clone());
            let started =
                mixed
                    .zip(host)
                    .map(|((old_files, old_packages), host)| Event::MatrixStarted {
                        release: id,
                        host,
                        old_files,
                        old_packages,
                    });
            started.into_iter().collect()
        }
        Gating::Seal => vec![sealed(state, watch, release, now)],
        Gating::Recheck(reason) => vec![Event::RecheckStarted {
            release: id,
            reason,
        }],
        Gating::Wait(_) | Gating::Fail(_) | Gating::Open => Vec::new(),
    }
}

/// Every host that probed, with what it found as far as there is room.
fn probes_told(seen: &Seen) -> BTreeMap<HostName, Vec<Probe>> {
    let mut room = RECORD_PROBES_MAX;
    let hosts = seen.probes.iter();
    hosts
        .map(|(host, (_, probes))| {
            let told: Vec<Probe> = probes.iter().take(room).cloned().collect();
            room -= told.len();
            (host.clone(), told)
        })
        .collect()
}

fn sealed(state: &State, watch: &Watch, release: &Release, now: Timestamp) -> Event {
    let rules = gates::rules(state, &release.service);
    let seen = &release.seen;
    let rehearsal = seen.rehearsal.as_ref();
    let looks = gates::gates(state, watch, release, now);
    let waived = looks.iter().filter(|look| look.state == GateState::Waived);
    let record = TestRecord {
        digest: release.digest,
        base: release.base,
        check_set: rules.digest(),
        environment: gates::fingerprint(state, &release.service),
        hosts: release.reached().map(|(_, host)| host.clone()).collect(),
        rehearsal: rehearsal.map_or_else(Vec::new, |rehearsal| rehearsal.steps.clone()),
        load: rehearsal.and_then(|rehearsal| rehearsal.load),
        trials: seen
            .trials
            .values()
            .flat_map(|(_, trials)| trials)
            .take(RECORD_TRIALS_MAX)
            .cloned()
            .collect(),
        probes: probes_told(seen),
        waived: waived.map(|look| look.gate).collect(),
        ended_at: now,
    };
    Event::TestPassed {
        release: release.id,
        record,
        expires_at: rules.attestation_valid_ms.after(now),
    }
}
