//! What happens to incidents.
//!
//! Invariant: an alert points at the incident whose set it is in, and at no other.

use model::incident::{Cause, Fingerprint, IncidentEvent, IncidentId, UpdateStatus};
use model::{ServiceName, Timestamp};

use crate::state::{Incident, Over, Relief, State, Turn, TurnKind};

/// Incidents that are over and are remembered: more than 90 days of them for most, which the status page looks back.
const OVER_KEPT_MAX: usize = 1000;
/// Points that are remembered of an incident; a flapping one would have thousands.
const TURNS_KEPT_MAX: usize = 200;
/// Causes, notes and updates that are remembered of one each; the journal has them all.
const WORDS_KEPT_MAX: usize = 200;

pub(super) fn evolve(state: &mut State, event: &IncidentEvent, at: Timestamp) {
    match event {
        IncidentEvent::Opened { .. } => opened(state, event, at),
        IncidentEvent::Joined { .. } => joined(state, event, at),
        IncidentEvent::Merged { incident, into, by } => {
            let over = Over {
                at,
                by: by.clone(),
                merged_into: Some(*into),
            };
            merged(state, *incident, *into, over);
        }
        IncidentEvent::Resolved { incident, by, .. } => {
            let over = Over {
                at,
                by: by.clone(),
                merged_into: None,
            };
            change(state, *incident, at, |it| {
                it.over.get_or_insert(over);
                it.held = None;
            });
            forget(state);
        }
        IncidentEvent::Reopened { incident, .. } => change(state, *incident, at, reopened),
        IncidentEvent::CauseEnded { incident, key } => change(state, *incident, at, |it| {
            it.troubles.remove(key);
        }),
        IncidentEvent::Confirmed { incident, by, .. } => change(state, *incident, at, |it| {
            it.confirmed.get_or_insert((by.clone(), at));
        }),
        IncidentEvent::SeveritySet {
            incident, severity, ..
        } => change(state, *incident, at, |it| {
            it.severity = *severity;
            it.severity_said = true;
        }),
        IncidentEvent::DutyTaken {
            incident,
            duty,
            contact,
            ..
        } => change(state, *incident, at, |it| {
            it.duties.insert(*duty, contact.clone());
        }),
        IncidentEvent::Noted {
            incident,
            by,
            words,
        } => change(state, *incident, at, |it| {
            keep(&mut it.notes, (at, by.clone(), words.clone()));
        }),
        IncidentEvent::Updated {
            incident,
            by,
            status,
            words,
        } => change(state, *incident, at, |it| {
            let update: (_, _, UpdateStatus, _) = (at, by.clone(), *status, words.clone());
            keep(&mut it.updates, update);
        }),
        _ => {}
    }
}

fn change(state: &mut State, id: IncidentId, at: Timestamp, with: impl FnOnce(&mut Incident)) {
    if let Some(incident) = state.incidents.get_mut(&id) {
        with(incident);
        turn(incident, at);
    }
}

fn reopened(incident: &mut Incident) {
    let merged = incident.over.as_ref().map(|it| it.merged_into.is_some());
    if merged == Some(false) {
        incident.over = None;
        incident.reopened += 1;
        incident.held = None;
        for page in &mut incident.pages {
            page.stale = true;
        }
    }
}

fn keep<T>(list: &mut Vec<T>, item: T) {
    list.push(item);
    let surplus = list.len().saturating_sub(WORDS_KEPT_MAX);
    list.drain(..surplus);
}

fn opened(state: &mut State, event: &IncidentEvent, at: Timestamp) {
    let IncidentEvent::Opened {
        incident: id,
        by,
        service,
        group,
        title,
        severity,
        cause,
        alerts,
        changes,
    } = event
    else {
        return;
    };
    if state.incidents.contains_key(id) {
        return;
    }
    state.incidents_given = state.incidents_given.max(id.0);
    let mut incident = Incident {
        id: *id,
        service: service.clone(),
        services: service.iter().cloned().collect(),
        groups: [group.clone()].into(),
        title: title.clone(),
        severity: *severity,
        severity_said: false,
        by_machine: by.role.is_none(),
        detected_at: at,
        confirmed: by.role.map(|_| (by.clone(), at)),
        duties: Default::default(),
        alerts: Default::default(),
        alerts_total: 0,
        troubles: Default::default(),
        causes: Vec::new(),
        changes: changes.clone(),
        relief: None,
        updates: Vec::new(),
        notes: Vec::new(),
        turns: vec![Turn {
            at,
            kind: TurnKind::Troubled(*severity),
        }],
        over: None,
        reopened: 0,
        held: None,
        pages: Vec::new(),
        paged: Default::default(),
        told: Default::default(),
    };
    caused(&mut incident, cause.as_ref(), at);
    state.incidents.insert(*id, incident);
    attach(state, *id, alerts, at);
}

fn joined(state: &mut State, event: &IncidentEvent, at: Timestamp) {
    let IncidentEvent::Joined {
        incident: id,
        service,
        severity,
        cause,
        alerts,
    } = event
    else {
        return;
    };
    if let Some(incident) = state.incidents.get_mut(id) {
        let service: Option<&ServiceName> = service.as_ref();
        incident.services.extend(service.cloned());
        if !incident.severity_said {
            incident.severity = incident.severity.min(*severity);
        }
        caused(incident, cause.as_ref(), at);
    }
    attach(state, *id, alerts, at);
}

/// What is seen from inside: trouble until its end, and how far a rollback is.
fn caused(incident: &mut Incident, cause: Option<&Cause>, at: Timestamp) {
    let Some(cause) = cause else { return };
    incident.troubles.extend(cause.key());
    match cause {
        Cause::RollbackStarted { release, .. } => {
            incident.relief = Some(Relief::Running {
                release: *release,
                since: at,
            });
        }
        Cause::RollbackCompleted { release, took_ms } => {
            incident.troubles.remove(&format!("release:{release}"));
            incident.relief = Some(Relief::Done {
                release: *release,
                at,
                took_ms: *took_ms,
            });
        }
        Cause::RollbackFailing { release, .. } => {
            incident.relief = Some(Relief::Failing {
                release: *release,
                since: at,
            });
        }
        Cause::VerdictFailed { .. }
        | Cause::HostRevertFailing { .. }
        | Cause::AgentsSilent { .. }
        | Cause::ServiceFailing { .. }
        | Cause::Person { .. } => {}
    }
    keep(&mut incident.causes, (at, cause.clone()));
}

/// Alerts belong to it from now on, and to no other.
fn attach(state: &mut State, id: IncidentId, alerts: &[Fingerprint], at: Timestamp) {
    for fingerprint in alerts {
        let known = state.incidents.contains_key(&id);
        let Some(alert) = state.alerts.get_mut(fingerprint).filter(|_| known) else {
            continue;
        };
        let before = alert.incident.replace(id);
        let (group, firing) = (alert.group.clone(), alert.ended.is_none());
        let other = before.filter(|other| *other != id);
        if let Some(other) = other.and_then(|other| state.incidents.get_mut(&other)) {
            other.alerts.remove(fingerprint);
            turn(other, at);
        }
        if let Some(incident) = state.incidents.get_mut(&id) {
            incident.groups.insert(group);
            incident.alerts_total += 1;
            if firing {
                incident.alerts.insert(*fingerprint);
            }
        }
    }
    change(state, id, at, |_| {});
}

fn merged(state: &mut State, id: IncidentId, into: IncidentId, over: Over) {
    let target = state.incidents.get(&into);
    if id == into || target.is_none_or(|it| it.over.is_some()) {
        return;
    }
    let Some(incident) = state.incidents.get_mut(&id) else {
        return;
    };
    let at = over.at;
    incident.over = Some(over);
    incident.held = None;
    let alerts: Vec<Fingerprint> = std::mem::take(&mut incident.alerts).into_iter().collect();
    let troubles = std::mem::take(&mut incident.troubles);
    let (services, groups) = (incident.services.clone(), incident.groups.clone());
    let (severity, confirmed) = (incident.severity, incident.confirmed.clone());
    turn(incident, at);
    attach(state, into, &alerts, at);
    change(state, into, at, |it| {
        it.troubles.extend(troubles);
        it.services.extend(services);
        it.groups.extend(groups);
        if !it.severity_said {
            it.severity = it.severity.min(severity);
        }
        it.confirmed = it.confirmed.take().or(confirmed);
    });
    forget(state);
}

/// Writes down that an incident is worse, better or over.
pub(super) fn turn(incident: &mut Incident, at: Timestamp) {
    // What only a person saw is there until a person says otherwise.
    let only_said = incident.alerts_total == 0
        && incident
            .causes
            .iter()
            .all(|(_, cause)| cause.key().is_none());
    let kind = if incident.over.is_some() {
        TurnKind::Resolved
    } else if incident.troubled() || only_said {
        TurnKind::Troubled(incident.severity)
    } else {
        TurnKind::Calm
    };
    if incident.turns.last().is_none_or(|last| last.kind != kind) {
        incident.turns.push(Turn { at, kind });
    }
    if incident.turns.len() > TURNS_KEPT_MAX {
        // The first one stays: it is when it began.
        incident.turns.remove(1);
    }
}

fn forget(state: &mut State) {
    let over = state.incidents.values().filter(|it| it.over.is_some());
    let ids: Vec<IncidentId> = over.map(|it| it.id).collect();
    let surplus = ids.len().saturating_sub(OVER_KEPT_MAX);
    for id in ids.iter().take(surplus) {
        if let Some(gone) = state.incidents.remove(id) {
            for fingerprint in gone.alerts {
                if let Some(alert) = state.alerts.get_mut(&fingerprint) {
                    alert.incident = None;
                }
            }
        }
    }
}
