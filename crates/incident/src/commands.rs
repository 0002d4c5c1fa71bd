//! What people ask for, and the expected nos.
//!
//! Invariant: who may do it was checked before; here is only whether it makes
//! sense in this state.

use model::incident::{
    Cause, Duty, IncidentEvent, IncidentId, Maintenance, Severity, Silence, UpdateStatus, Via,
};
use model::refusal::Code;
use model::{Actor, ContactName, Millis, Refusal, ServiceName, Timestamp};

use crate::alerts::matchers;
use crate::escalation::acknowledged_for;
use crate::incidents::TITLE_BYTES_MAX;
use crate::state::{Incident, State};

/// Longest text of a note, an update or a comment, in bytes.
pub const WORDS_BYTES_MAX: usize = 4096;
/// Most silences that are not over: each is held against each new alert.
pub const SILENCES_MAX: usize = 1000;
/// Most announced works that are not over.
pub const MAINTENANCES_MAX: usize = 100;
/// The longest acknowledgement: what is longer is no answer any more.
pub const ACKNOWLEDGED_MAX: Millis = Millis::seconds(24 * 3600);

type Decided = Result<Vec<IncidentEvent>, Refusal>;

/// Something that a person asks for about one incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// It is one.
    Confirm { words: String },
    /// It is this bad.
    Severity { severity: Severity, words: String },
    /// I do this.
    Duty { duty: Duty, contact: ContactName },
    /// For the record.
    Note { words: String },
    /// For users.
    Update { status: UpdateStatus, words: String },
    /// It is part of another.
    Merge { into: IncidentId },
    /// It is over.
    Resolve { words: String },
    /// It is not.
    Reopen { words: String },
    /// I have it; for so long, or as its policy says.
    Acknowledge { via: Via, for_ms: Option<Millis> },
}

/// What a person says about an incident.
///
/// # Errors
/// When there is no such incident, it is over (or is not), or the words are too long.
pub fn ask(state: &State, id: IncidentId, by: &Actor, ask: Ask, now: Timestamp) -> Decided {
    let now = state.time(now);
    let incident = known(state, id)?;
    words_of(&ask)?;
    let by = by.clone();
    let event = match ask {
        Ask::Note { words } => IncidentEvent::Noted {
            incident: id,
            by,
            words,
        },
        Ask::Update { status, words } => IncidentEvent::Updated {
            incident: id,
            by,
            status,
            words,
        },
        Ask::Reopen { words } => IncidentEvent::Reopened {
            incident: over(incident)?,
            by,
            words,
        },
        Ask::Confirm { words } => IncidentEvent::Confirmed {
            incident: open(incident)?,
            by,
            words,
        },
        Ask::Severity { severity, words } => IncidentEvent::SeveritySet {
            incident: open(incident)?,
            by,
            severity,
            words,
        },
        Ask::Duty { duty, contact } => IncidentEvent::DutyTaken {
            incident: open(incident)?,
            by,
            duty,
            contact: contact_known(state, contact)?,
        },
        Ask::Merge { into } => {
            open(known(state, into)?)?;
            if into == id {
                return Err(refused(id, "can't be part of itself"));
            }
            IncidentEvent::Merged {
                incident: open(incident)?,
                into,
                by,
            }
        }
        Ask::Resolve { words } => IncidentEvent::Resolved {
            incident: open(incident)?,
            by,
            words,
        },
        Ask::Acknowledge { via, for_ms } => IncidentEvent::Acknowledged {
            incident: open(incident)?,
            by,
            via,
            until: for_ms
                .unwrap_or_else(|| acknowledged_for(state, incident))
                .min(ACKNOWLEDGED_MAX)
                .after(now),
        },
    };
    Ok(vec![event])
}

/// A person opens an incident.
///
/// # Errors
/// When the title is empty or too long.
pub fn open_incident(
    state: &State,
    by: &Actor,
    service: Option<ServiceName>,
    title: &str,
    severity: Severity,
) -> Decided {
    if title.trim().is_empty() || title.len() > TITLE_BYTES_MAX {
        let words = format!("a title has 1 to {TITLE_BYTES_MAX} bytes");
        return Err(Refusal::new(Code::BadRequest, words, "Say it in a line."));
    }
    let id = IncidentId(state.incidents_given + 1);
    Ok(vec![IncidentEvent::Opened {
        incident: id,
        by: by.clone(),
        group: format!("person:{id}"),
        service,
        title: title.to_owned(),
        severity,
        cause: Some(Cause::Person {
            words: title.to_owned(),
        }),
        alerts: Vec::new(),
        changes: Vec::new(),
    }])
}

/// Sets a silence, or changes the one with its id. A past start becomes now, as in Alertmanager.
///
/// # Errors
/// When its matchers or times make no sense, or there are too many.
pub fn silence(state: &State, by: &Actor, silence: Silence, now: Timestamp) -> Decided {
    let now = state.time(now);
    let mut problems = matchers::problems(&silence.matchers);
    let starts_at = silence.starts_at.max(now);
    if starts_at >= silence.ends_at {
        problems.push("it must end after it starts, and in the future".to_owned());
    }
    if silence.comment.len().max(silence.created_by.len()) > WORDS_BYTES_MAX {
        problems.push(format!("more than {WORDS_BYTES_MAX} bytes of words"));
    }
    if silence.id.is_empty() || silence.id.len() > 64 {
        problems.push("its id has 1 to 64 bytes".to_owned());
    }
    if !problems.is_empty() {
        let next = "Mend the matchers or the times, and send it again.";
        return Err(Refusal::new(Code::BadRequest, problems.join("; "), next));
    }
    let others = state.silences.values().filter(|it| it.id != silence.id);
    if others.filter(|it| it.ends_at > now).count() >= SILENCES_MAX {
        let words = format!("there are {SILENCES_MAX} silences already");
        return Err(Refusal::new(
            Code::TooLarge,
            words,
            "End those that nobody needs.",
        ));
    }
    Ok(vec![IncidentEvent::SilenceSet {
        by: by.clone(),
        silence: Silence {
            starts_at,
            ..silence
        },
    }])
}

/// Ends a silence. It is not deleted; one that is over already stays as it is.
///
/// # Errors
/// When there is none with that id.
pub fn expire(state: &State, by: &Actor, id: &str, now: Timestamp) -> Decided {
    let silence = state.silences.get(id);
    let silence = silence.ok_or_else(|| missing(format!("there is no silence {id:?}")))?;
    let over = silence.ends_at <= state.time(now);
    let expired = IncidentEvent::SilenceExpired {
        by: by.clone(),
        silence: id.to_owned(),
    };
    Ok(if over { Vec::new() } else { vec![expired] })
}

/// Announces work, anew (`id` 0) or changed.
///
/// # Errors
/// When its times or components make no sense, or there are too many.
pub fn maintain(state: &State, by: &Actor, work: Maintenance, now: Timestamp) -> Decided {
    let now = state.time(now);
    let mut problems = Vec::new();
    if work.starts_at >= work.ends_at || work.ends_at <= now {
        problems.push("it must end after it starts, and in the future".to_owned());
    }
    if work.title.trim().is_empty() || work.title.len() > TITLE_BYTES_MAX {
        problems.push(format!("a title has 1 to {TITLE_BYTES_MAX} bytes"));
    }
    if work.words.len() > WORDS_BYTES_MAX {
        problems.push(format!("more than {WORDS_BYTES_MAX} bytes of words"));
    }
    let declared =
        |id: &&model::ComponentName| state.setup.components.iter().any(|it| it.id == **id);
    let unknown = work.components.iter().filter(|id| !declared(id));
    problems.extend(unknown.map(|id| format!("there is no component {id}")));
    if work.id != 0 && !state.maintenances.contains_key(&work.id) {
        return Err(missing(format!("no maintenance {}", work.id)));
    }
    if !problems.is_empty() {
        let next = "Mend it and send it again.";
        return Err(Refusal::new(Code::BadRequest, problems.join("; "), next));
    }
    let ahead = state.maintenances.values().filter(|it| it.ends_at > now);
    if work.id == 0 && ahead.count() >= MAINTENANCES_MAX {
        let words = format!("{MAINTENANCES_MAX} works are announced already");
        return Err(Refusal::new(Code::TooLarge, words, "End some of them."));
    }
    let id = match work.id {
        0 => state.maintenances_given + 1,
        id => id,
    };
    Ok(vec![IncidentEvent::MaintenanceSet {
        by: by.clone(),
        maintenance: Maintenance { id, ..work },
    }])
}

/// Ends announced work early.
///
/// # Errors
/// When there is none with that number.
pub fn end_maintenance(state: &State, by: &Actor, id: u64) -> Decided {
    if !state.maintenances.contains_key(&id) {
        return Err(missing(format!("no maintenance {id}")));
    }
    let by = by.clone();
    Ok(vec![IncidentEvent::MaintenanceEnded { by, id }])
}

fn known(state: &State, id: IncidentId) -> Result<&Incident, Refusal> {
    let incident = state.incidents.get(&id);
    incident.ok_or_else(|| missing(format!("there is no incident {id}")))
}

fn open(incident: &Incident) -> Result<IncidentId, Refusal> {
    match &incident.over {
        None => Ok(incident.id),
        Some(over) => Err(match over.merged_into {
            Some(into) => refused(incident.id, &format!("is part of incident {into}")),
            None => refused(incident.id, &format!("is over since {}", over.at)),
        }),
    }
}

fn over(incident: &Incident) -> Result<IncidentId, Refusal> {
    let over = incident.over.as_ref();
    if over.is_none_or(|it| it.merged_into.is_some()) {
        return Err(refused(incident.id, "is not over, or is part of another"));
    }
    Ok(incident.id)
}

pub(crate) fn contact_known(state: &State, contact: ContactName) -> Result<ContactName, Refusal> {
    match state.setup.contacts.contains_key(&contact) {
        true => Ok(contact),
        false => Err(missing(format!("there is no contact {contact}"))),
    }
}

fn words_of(ask: &Ask) -> Result<(), Refusal> {
    let (words, needed) = match ask {
        Ask::Note { words } | Ask::Update { words, .. } => (words.as_str(), true),
        Ask::Confirm { words }
        | Ask::Severity { words, .. }
        | Ask::Resolve { words }
        | Ask::Reopen { words } => (words.as_str(), false),
        Ask::Duty { .. } | Ask::Merge { .. } | Ask::Acknowledge { .. } => ("", false),
    };
    if words.len() > WORDS_BYTES_MAX {
        let text = format!("{} bytes of words, at most {WORDS_BYTES_MAX}", words.len());
        return Err(Refusal::new(Code::TooLarge, text, "Say it in fewer words."));
    }
    if needed && words.trim().is_empty() {
        let text = "there are no words in it";
        return Err(Refusal::new(Code::BadRequest, text, "Say something."));
    }
    Ok(())
}

pub(crate) fn missing(words: String) -> Refusal {
    Refusal::new(Code::NotFound, words, "Look at what there is.")
}

fn refused(id: IncidentId, words: &str) -> Refusal {
    let next = "Look at where it stands; what is over can be opened again.";
    Refusal::new(Code::IncidentOver, format!("incident {id} {words}"), next)
}
