//! What messages say.
//!
//! Invariant: facts alone. Which change came before is told, that it was the
//! cause is not; times are those of the reader's zone, with its name.

use model::incident::IncidentId;
use model::{ContactName, Timestamp};

use super::chain::Row;
use super::due::Message;
use super::id_of;
use crate::oncall::zone;
use crate::state::{Incident, Over, Relief, State};

/// Causes that a page tells: how it began; the timeline has them all.
const CAUSES_MAX: usize = 3;
/// Incidents that a digest names; the rest is a number.
const NAMED_MAX: usize = 10;

pub(super) fn page(state: &State, row: Row<'_>, now: Timestamp) -> Message {
    let incident = row
        .notice
        .incident()
        .and_then(|id| state.incidents.get(&id));
    let (subject, body) = incident.map_or_else(Default::default, |incident| {
        (subject(incident), lines(state, incident, row.contact, now))
    });
    Message {
        id: id_of(&row.notice, row.contact),
        notice: row.notice,
        contact: row.contact.clone(),
        channel: row.channel.clone(),
        urgency: row.urgency,
        subject,
        body,
    }
}

fn subject(incident: &Incident) -> String {
    let verify = match incident.relief {
        Some(Relief::Done { .. }) => ": rolled back, please verify",
        Some(Relief::Running { .. }) => ": being rolled back",
        Some(Relief::Failing { .. }) | None => "",
    };
    format!("[{}] {}{verify}", incident.severity, incident.title)
}

fn lines(state: &State, incident: &Incident, reader: &ContactName, now: Timestamp) -> String {
    let clock = |at: Timestamp| clock(state, reader, at);
    let mut lines = vec![format!(
        "Incident {}, {}, detected {}.",
        incident.id,
        incident.severity,
        clock(incident.detected_at)
    )];
    lines.extend(match (incident.alerts_total, incident.alerts.len()) {
        (0, _) => None,
        (1, 0) => Some("1 alert, which is over.".to_owned()),
        (1, _) => Some("1 alert, which fires.".to_owned()),
        (all, firing) => Some(format!("{all} alerts, {firing} of them fire.")),
    });
    let services: Vec<&str> = incident.services.iter().map(|it| it.as_str()).collect();
    if services.len() > 1 {
        lines.push(format!("Touches {}.", services.join(", ")));
    }
    let first_causes = incident.causes.iter().take(CAUSES_MAX);
    lines.extend(first_causes.map(|(at, cause)| format!("{}: {cause}.", clock(*at))));
    lines.extend(incident.changes.iter().map(|change| {
        format!(
            "Began {} after wave {} of release {} of {} in {}.",
            change.before_ms,
            change.wave.saturating_add(1),
            change.release,
            change.service,
            change.environment
        )
    }));
    lines.extend(relief(incident, &clock));
    if let Some(since) = incident.calm_since() {
        lines.push(format!("Nothing of it is seen since {}.", clock(since)));
    }
    let flapping = incident.alerts.iter().filter(|id| {
        let alert = state.alerts.get(id);
        alert.is_some_and(|alert| alert.flaps(now))
    });
    match flapping.count() {
        0 => {}
        count => lines.push(format!("{count} of its alerts come and go.")),
    }
    lines.join("\n")
}

fn relief(incident: &Incident, clock: &impl Fn(Timestamp) -> String) -> Option<String> {
    Some(match incident.relief.as_ref()? {
        Relief::Running { release, since } => {
            format!(
                "Release {release} is being rolled back since {}.",
                clock(*since)
            )
        }
        Relief::Done {
            release,
            at,
            took_ms,
        } => {
            let at = clock(*at);
            format!("Rolled back {at}: release {release}, in {took_ms}. Please verify.")
        }
        Relief::Failing { release, since } => format!(
            "The rollback of release {release} does not end, since {}.",
            clock(*since)
        ),
    })
}

pub(super) fn over(
    state: &State,
    incident: &Incident,
    over: &Over,
    reader: &ContactName,
) -> (String, String) {
    let at = clock(state, reader, over.at);
    (
        format!("[resolved] {}", incident.title),
        format!("Incident {} was resolved by {} {at}.", incident.id, over.by),
    )
}

pub(super) fn digest(
    state: &State,
    incidents: impl ExactSizeIterator<Item = IncidentId>,
) -> (String, String) {
    let count = incidents.len();
    let known = incidents.filter_map(|id| state.incidents.get(&id));
    let named = known.take(NAMED_MAX);
    let mut lines: Vec<String> = named
        .map(|it| format!("{} [{}] {}", it.id, it.severity, it.title))
        .collect();
    if count > lines.len() {
        lines.push(format!("and {} more", count - lines.len()));
    }
    let noun = if count == 1 {
        "incident waits"
    } else {
        "incidents wait"
    };
    (format!("{count} more {noun} for you"), lines.join("\n"))
}

/// The time of day where the reader lives.
fn clock(state: &State, reader: &ContactName, at: Timestamp) -> String {
    let contact = state.setup.contacts.get(reader);
    let zone = contact.and_then(|contact| zone::find(&contact.zone));
    let there = at.to_zoned(zone.unwrap_or(jiff::tz::TimeZone::UTC));
    there.strftime("%H:%M:%S %Z").to_string()
}
