//! Alerts, incidents and paging beside releases: what people ask for, what the
//! control plane sees by itself, and who should be told.
//!
//! What is seen from inside is a level, like everything else here: each tick says
//! what is wrong, the incident machine says what of that is news.
//!
//! Invariant: nothing here stands in the way of a release or a way back; a page
//! follows from what they journaled.

use std::borrow::Cow;
use std::collections::BTreeSet;

use incident::alerts::Incoming;
use incident::commands::{self, Ask};
use incident::incidents::{Observation, ended, observe, troubles};
use incident::oncall::commands as oncall;
use incident::oncall::commands::Range;
use incident::slo::Count;
use incident::status::{self, View};
use incident::{Message, alerts, escalation};
use model::event::RollbackCause;
use model::incident::{
    Cause, IncidentEvent, IncidentId, Maintenance, NewestChange, Notice, Outcome, Setup, Severity,
    Silence,
};
use model::refusal::Code;
use model::{
    Actor, ContactName, EnvironmentName, Event, HostName, Millis, Refusal, ScheduleName,
    ServiceName, Timestamp, Verdict,
};
use release::{Release, Status};

use crate::decide::outstanding;
use crate::watch::SILENT_AFTER;
use crate::{SlotStatus, State, Watch};

/// A change counts as newest while it is younger than this: what broke later than
/// that broke by something else more often than not.
const NEWEST_WITHIN: Millis = Millis::seconds(3600);
/// A way back that takes longer than this is failing: hosts need a minute, and have
/// their own deadlines before.
const BACK_WITHIN: Millis = Millis::seconds(120);
/// Releases that ended longer ago are not looked at for what they did.
const ENDED_WITHIN: Millis = Millis::seconds(600);
/// So many hosts of an environment are silent together before it is told as one thing.
const SILENT_MIN: usize = 2;
/// And at least one of so many.
const SILENT_ONE_OF: usize = 5;
/// A service that fails is noticed this much later at most.
const LOOK_EVERY: Millis = Millis(500);
/// Requests of so many minutes say how well a component is now: as long as the short window of objectives.
const PAGE_COUNTS: Millis = Millis::seconds(300);
/// Kinds of things that follow from one another within a tick; each is one step.
const STEPS_MAX: usize = 16;

/// What people and senders ask for.
#[derive(Debug, Clone)]
pub enum IncidentInput {
    /// A sender told of alerts. Never refused.
    Alerts(Vec<Incoming>),
    /// Contacts, schedules, policies, components and objectives, all of them.
    Declare { by: Actor, setup: Box<Setup> },
    /// A person opens an incident.
    Open {
        by: Actor,
        service: Option<ServiceName>,
        title: String,
        severity: Severity,
    },
    /// Something about one incident.
    About {
        by: Actor,
        incident: IncidentId,
        ask: Ask,
    },
    /// These alerts page nobody for a time.
    Silence { by: Actor, silence: Silence },
    /// A silence ends early.
    Expire { by: Actor, id: String },
    /// Work is announced.
    Maintain { by: Actor, work: Maintenance },
    /// It ends early.
    EndMaintenance { by: Actor, id: u64 },
    /// Somebody is on call instead.
    Override {
        by: Actor,
        schedule: ScheduleName,
        contact: ContactName,
        range: Range,
    },
    /// Somebody takes over now, until a time or the end of the shift.
    Take {
        by: Actor,
        schedule: ScheduleName,
        contact: ContactName,
        until: Option<Timestamp>,
    },
    /// Two shifts change hands: those in which these instants lie.
    Swap {
        by: Actor,
        schedule: ScheduleName,
        one: Timestamp,
        other: Timestamp,
    },
    /// Not any more.
    RemoveOverride {
        by: Actor,
        schedule: ScheduleName,
        id: u64,
    },
    /// A contact is tested now.
    TestPage { contact: ContactName },
    /// What became of a message.
    Told {
        notice: Notice,
        contact: ContactName,
        outcome: Outcome,
    },
}

/// What follows from `input`.
pub(crate) fn decide(
    state: &State,
    watch: &Watch,
    input: IncidentInput,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let known = &state.incidents;
    let events = match input {
        IncidentInput::Alerts(batch) => alerts::intake(known, watch.leases(), &batch, now).events,
        IncidentInput::Declare { by, setup } => oncall::declare(known, &by, *setup, now)?,
        IncidentInput::Open {
            by,
            service,
            title,
            severity,
        } => {
            known_service(state, service.as_ref())?;
            commands::open_incident(known, &by, service, &title, severity)?
        }
        IncidentInput::About { by, incident, ask } => {
            commands::ask(known, incident, &by, ask, now)?
        }
        IncidentInput::Silence { by, silence } => commands::silence(known, &by, silence, now)?,
        IncidentInput::Expire { by, id } => commands::expire(known, &by, &id, now)?,
        IncidentInput::Maintain { by, work } => commands::maintain(known, &by, work, now)?,
        IncidentInput::EndMaintenance { by, id } => commands::end_maintenance(known, &by, id)?,
        IncidentInput::Override {
            by,
            schedule,
            contact,
            range,
        } => oncall::set_override(known, &by, &schedule, contact, &range, now)?,
        IncidentInput::Take {
            by,
            schedule,
            contact,
            until,
        } => oncall::take(known, &by, &schedule, contact, until, now)?,
        IncidentInput::Swap {
            by,
            schedule,
            one,
            other,
        } => oncall::swap(known, &by, &schedule, one, other, now)?,
        IncidentInput::RemoveOverride { by, schedule, id } => {
            oncall::remove_override(known, &by, &schedule, id)?
        }
        IncidentInput::TestPage { contact } => escalation::test_now(known, contact, now)?,
        // Also of a message that is not wanted any more: that it was sent is a fact.
        IncidentInput::Told {
            notice,
            contact,
            outcome,
        } => vec![IncidentEvent::Notified {
            notice,
            contact,
            outcome,
        }],
    };
    Ok(with_changes(state, events, now))
}

/// What follows by itself: what is seen from inside, alerts that end, pages that begin or go on.
pub(crate) fn tick(state: &State, watch: &Watch, now: Timestamp) -> Vec<Event> {
    let mut known = Cow::Borrowed(&state.incidents);
    let mut all = Vec::new();
    let take = |known: &mut Cow<'_, incident::State>, new: Vec<IncidentEvent>| {
        for event in with_changes(state, new, now) {
            if let Event::Incident(event) = &event {
                known.to_mut().evolve(event, now);
            }
            all.push(event);
        }
    };
    let mut take = take;
    let seen = seen(state, watch, now);
    let wrong: BTreeSet<String> = seen.iter().filter_map(|it| it.cause.key()).collect();
    for observation in seen {
        let new = observe(&known, observation, now);
        take(&mut known, new);
    }
    let lasting = troubles(&known).into_iter().map(str::to_owned);
    let over: Vec<String> = lasting.filter(|key| !wrong.contains(key)).collect();
    for key in over {
        let new = ended(&known, &key);
        take(&mut known, new);
    }
    for _ in 0..STEPS_MAX {
        let new = incident::tick(&known, watch.leases(), now);
        if new.is_empty() {
            break;
        }
        take(&mut known, new);
    }
    all
}

/// What users are told now: the incidents, and the newest minutes of requests where they are served.
pub fn page(state: &State, watch: &Watch, now: Timestamp) -> View {
    // Users meet the last environment; what fails in those before it is nobody's outage.
    let last = state.topology.environments.last();
    let lately = last.map(|it| watch.lately(&it.name, PAGE_COUNTS, now));
    let counts = lately.unwrap_or_default().into_iter();
    let counts = counts.map(|(service, counts)| {
        let good = counts.requests.saturating_sub(counts.failed);
        let total = counts.requests;
        (service, Count { good, total })
    });
    status::view(&state.incidents, &counts.collect(), now)
}

/// Messages that should be on their way.
pub fn messages(state: &State, now: Timestamp) -> Vec<Message> {
    incident::due(&state.incidents, now)
}

/// When something may follow by itself.
pub(crate) fn wake_at(state: &State, watch: &Watch, now: Timestamp) -> Option<Timestamp> {
    // What is seen from inside makes no noise: it is looked for.
    let served = !state.topology.services.is_empty();
    let look = served.then(|| LOOK_EVERY.after(now));
    let next = incident::wake_at(&state.incidents, watch.leases(), now);
    next.into_iter().chain(look).min()
}

/// Incidents that open say which changes came shortly before.
fn with_changes(state: &State, events: Vec<IncidentEvent>, now: Timestamp) -> Vec<Event> {
    let newest = |service: &ServiceName| newest(state, service, now);
    let events = incident::incidents::with_changes(events, newest);
    events.into_iter().map(Event::Incident).collect()
}

/// The newest waves that touched a service, the newest first.
fn newest(state: &State, service: &ServiceName, now: Timestamp) -> Vec<NewestChange> {
    let releases = state.releases.values();
    let concerned = releases.filter(|it| it.service == *service);
    let mut changes: Vec<NewestChange> = concerned
        .flat_map(|release| {
            let begun = release.stages.iter().filter(|stage| stage.begun > 0);
            begun.map(move |stage| NewestChange {
                service: release.service.clone(),
                release: release.id,
                environment: stage.environment.clone(),
                wave: u32::try_from(stage.begun - 1).unwrap_or(u32::MAX),
                before_ms: Millis::between(stage.wave_began_at, now),
            })
        })
        .filter(|change| change.before_ms <= NEWEST_WITHIN)
        .collect();
    changes.sort_by_key(|change| (change.before_ms, change.release));
    changes
}

/// Everything that is wrong now, as far as the control plane sees it by itself.
fn seen(state: &State, watch: &Watch, now: Timestamp) -> Vec<Observation> {
    let observed = |service: Option<&ServiceName>, cause| Observation {
        service: service.cloned(),
        cause,
        changes: Vec::new(),
    };
    let mut all = Vec::new();
    for (environment, service, since) in failing(state, watch) {
        let cause = Cause::ServiceFailing {
            service: service.clone(),
            environment,
            since,
        };
        all.push(observed(Some(service), cause));
    }
    for release in state.releases.values() {
        let causes = of_release(state, release, now);
        all.extend(causes.map(|cause| observed(Some(&release.service), cause)));
    }
    for (host, service, reason) in stuck(state) {
        let cause = Cause::HostRevertFailing { host, reason };
        all.push(observed(Some(service), cause));
    }
    all.extend(silent(state, watch, now).map(|cause| observed(None, cause)));
    all
}

/// Services of the last environment whose requests fail as a whole, whichever bundle answers.
fn failing<'a>(
    state: &'a State,
    watch: &'a Watch,
) -> impl Iterator<Item = (EnvironmentName, &'a ServiceName, Timestamp)> {
    // Users are served from the last environment; what fails before it is the gates' business.
    let last = state.topology.environments.last();
    last.into_iter().flat_map(move |environment| {
        let services = state.topology.services.keys();
        services.filter_map(move |service| {
            let since = watch.fleet_fails_since(&environment.name, service)?;
            Some((environment.name.clone(), service, since))
        })
    })
}

/// What a release that reached the last environment did there.
fn of_release<'a>(
    state: &'a State,
    release: &'a Release,
    now: Timestamp,
) -> impl Iterator<Item = Cause> + 'a {
    let last = state.topology.environments.last().map(|it| &it.name);
    let stage = release
        .stage()
        .filter(|it| Some(&it.environment) == last && it.begun > 0);
    let back = match &release.status {
        Status::RollingBack(back) | Status::RolledBack(back) => Some(back),
        Status::Rolling { .. } | Status::Good => None,
    };
    // What a person sends back they know of.
    let judged = back.and_then(|back| match &back.cause {
        RollbackCause::Verdict {
            verdict: Verdict::Fail { reason, .. },
        } => Some((back, reason)),
        _ => None,
    });
    let found = stage.zip(judged).map(|(stage, (back, reason))| {
        let id = release.id;
        let mut causes = Vec::new();
        match back.took_ms {
            None => {
                causes.push(Cause::VerdictFailed {
                    release: id,
                    wave: u32::try_from(stage.begun - 1).unwrap_or(u32::MAX),
                    reason: reason.clone(),
                });
                causes.push(Cause::RollbackStarted {
                    release: id,
                    reason: reason.clone(),
                });
                causes.extend(failing_back(state, release, back.started_at, now));
            }
            Some(took_ms) => {
                let ended = took_ms.after(back.started_at);
                if Millis::between(ended, now) <= ENDED_WITHIN {
                    causes.push(Cause::RollbackCompleted {
                        release: id,
                        took_ms,
                    });
                }
            }
        }
        causes
    });
    found.into_iter().flatten()
}

fn failing_back(
    state: &State,
    release: &Release,
    since: Timestamp,
    now: Timestamp,
) -> Option<Cause> {
    if Millis::between(since, now) < BACK_WITHIN {
        return None;
    }
    let outstanding = outstanding(state, release);
    let (host, why) = outstanding.iter().next()?;
    Some(Cause::RollbackFailing {
        release: release.id,
        reason: format!("{} hosts are not back; {host}: {why}", outstanding.len()),
    })
}

/// Hosts that can't find their way back.
fn stuck(state: &State) -> impl Iterator<Item = (HostName, &ServiceName, String)> {
    state.hosts.iter().flat_map(|(host, known)| {
        let slots = known.slots.iter();
        slots.filter_map(move |(service, slot)| match &slot.status {
            SlotStatus::RevertFailing { phase, reason } => {
                Some((host.clone(), service, format!("{phase} fails: {reason}")))
            }
            SlotStatus::Idle
            | SlotStatus::Ordered { .. }
            | SlotStatus::Holding { .. }
            | SlotStatus::Confirmed { .. }
            | SlotStatus::Failed { .. } => None,
        })
    })
}

/// Environments of which many agents are silent together.
fn silent<'a>(
    state: &'a State,
    watch: &'a Watch,
    now: Timestamp,
) -> impl Iterator<Item = Cause> + 'a {
    state
        .topology
        .environments
        .iter()
        .filter_map(move |environment| {
            let joined = environment.hosts.iter().map(|host| &host.name);
            let joined = joined.filter(|host| state.hosts.contains_key(*host));
            let (mut of, mut hosts) = (0, 0);
            for host in joined {
                of += 1;
                hosts += usize::from(watch.silent_for(host, now) >= SILENT_AFTER);
            }
            let many = hosts >= SILENT_MIN && hosts * SILENT_ONE_OF >= of;
            many.then(|| Cause::AgentsSilent {
                environment: environment.name.clone(),
                hosts: u32::try_from(hosts).unwrap_or(u32::MAX),
                of: u32::try_from(of).unwrap_or(u32::MAX),
            })
        })
}

fn known_service(state: &State, service: Option<&ServiceName>) -> Result<(), Refusal> {
    match service {
        Some(service) if !state.topology.services.contains_key(service) => Err(Refusal::new(
            Code::UnknownService,
            format!("service {service} is not in the topology"),
            "Leave the service out, or correct its name (`plimsoll status` lists them).",
        )),
        Some(_) | None => Ok(()),
    }
}
