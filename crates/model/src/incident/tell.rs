//! The same events in the words of a timeline: one line each, for people.
//!
//! Invariant: a line says who and what; when is the reader's to add.

use std::fmt;

use super::{Cause, Duty, IncidentEvent, Outcome};

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::VerdictFailed {
                release,
                wave,
                reason,
            } => write!(f, "wave {} of release {release} failed: {reason}", wave + 1),
            Cause::RollbackStarted { release, reason } => {
                write!(f, "release {release} is rolled back: {reason}")
            }
            Cause::RollbackCompleted { release, took_ms } => {
                write!(f, "release {release} was rolled back in {took_ms}")
            }
            Cause::RollbackFailing { release, reason } => {
                write!(
                    f,
                    "the rollback of release {release} does not end: {reason}"
                )
            }
            Cause::HostRevertFailing { host, reason } => {
                write!(f, "{host} can't find its way back: {reason}")
            }
            Cause::AgentsSilent {
                environment,
                hosts,
                of,
            } => write!(f, "{hosts} of {of} agents of {environment} are silent"),
            Cause::ServiceFailing {
                service,
                environment,
                since,
            } => write!(
                f,
                "{service} fails in {environment} since {}",
                since.strftime("%H:%M:%S UTC")
            ),
            Cause::Person { words } => f.pad(words),
        }
    }
}

impl Cause {
    /// Without its reason: a title.
    pub fn headline(&self) -> String {
        match self {
            Cause::VerdictFailed { release, wave, .. } => {
                format!("wave {} of release {release} failed", wave + 1)
            }
            Cause::RollbackStarted { release, .. } => format!("release {release} is rolled back"),
            Cause::RollbackFailing { release, .. } => {
                format!("the rollback of release {release} does not end")
            }
            Cause::HostRevertFailing { host, .. } => format!("{host} can't find its way back"),
            Cause::RollbackCompleted { .. }
            | Cause::AgentsSilent { .. }
            | Cause::ServiceFailing { .. }
            | Cause::Person { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Duty::Commander => "commander",
            Duty::Communications => "communications",
            Duty::Operations => "operations",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Sent => f.pad("sent"),
            Outcome::Delivered => f.pad("delivered"),
            Outcome::Failed { reason } => write!(f, "not delivered: {reason}"),
            Outcome::DeadLetter { reason } => write!(f, "given up: {reason}"),
        }
    }
}

/// Who did what, in one line.
impl fmt::Display for IncidentEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.incident() {
            Some(incident) => write!(f, "incident {incident}: {}", about_incident(self)),
            None => f.pad(&about_rest(self)),
        }
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn plus(words: &str) -> String {
    match words {
        "" => String::new(),
        words => format!(": {words}"),
    }
}

/// The line without the incident's number.
fn about_incident(event: &IncidentEvent) -> String {
    match event {
        IncidentEvent::Opened {
            by,
            title,
            severity,
            ..
        } => format!("{by} opened it as {severity}: {title}"),
        IncidentEvent::Joined {
            service,
            cause,
            alerts,
            ..
        } => match (cause, service) {
            (Some(cause), _) => cause.to_string(),
            (None, Some(service)) => format!("{} more alerts of {service}", alerts.len()),
            (None, None) => format!("{} more alerts", alerts.len()),
        },
        IncidentEvent::CauseEnded { key, .. } => format!("{key} is well again"),
        IncidentEvent::Confirmed { by, words, .. } => format!("{by} confirmed it{}", plus(words)),
        IncidentEvent::SeveritySet {
            by,
            severity,
            words,
            ..
        } => format!("{by} made it {severity}{}", plus(words)),
        IncidentEvent::DutyTaken { duty, contact, .. } => format!("{contact} takes {duty}"),
        IncidentEvent::Noted { by, words, .. } => format!("{by}: {words}"),
        IncidentEvent::Updated {
            by, status, words, ..
        } => format!("{by} told users ({}): {words}", status.as_str()),
        IncidentEvent::Merged { into, by, .. } => format!("{by} merged it into incident {into}"),
        IncidentEvent::Resolved { by, words, .. } => format!("{by} resolved it{}", plus(words)),
        IncidentEvent::Reopened { by, words, .. } => format!("{by} opened it again{}", plus(words)),
        IncidentEvent::Acknowledged { by, via, until, .. } => {
            format!("{by} acknowledged it by {} until {until}", via.as_str())
        }
        IncidentEvent::AcknowledgementEnded { .. } => "the acknowledgement ran out".into(),
        IncidentEvent::PageBegan { .. }
        | IncidentEvent::PageStepped { .. }
        | IncidentEvent::PageExhausted { .. }
        | IncidentEvent::Notified { .. } => about_page(event),
        // Not about an incident, so never asked for here.
        IncidentEvent::SetupDeclared { .. }
        | IncidentEvent::OverrideSet { .. }
        | IncidentEvent::OverrideRemoved { .. }
        | IncidentEvent::AlertFired { .. }
        | IncidentEvent::AlertResolved { .. }
        | IncidentEvent::AlertsOverflowed { .. }
        | IncidentEvent::SilenceSet { .. }
        | IncidentEvent::SilenceExpired { .. }
        | IncidentEvent::TestPaged { .. }
        | IncidentEvent::MaintenanceSet { .. }
        | IncidentEvent::MaintenanceEnded { .. } => String::new(),
    }
}

fn about_page(event: &IncidentEvent) -> String {
    match event {
        IncidentEvent::PageBegan {
            policy, urgency, ..
        } => format!("{policy} is told, urgency {}", urgency.as_str()),
        IncidentEvent::PageStepped {
            policy,
            level,
            recipients,
            skipped,
            ..
        } => {
            let skips = skipped
                .iter()
                .map(|it| format!("nobody at level {}; ", it.level));
            let skips: String = skips.collect();
            format!("{skips}{policy} level {level}: {}", list(recipients))
        }
        IncidentEvent::PageExhausted { policy, .. } => {
            format!("{policy} has nobody left to ask, and nobody answered")
        }
        IncidentEvent::Notified {
            notice,
            contact,
            outcome,
        } => format!("{contact} by {}: {outcome}", notice.channel()),
        _ => String::new(),
    }
}

fn about_rest(event: &IncidentEvent) -> String {
    match event {
        IncidentEvent::SetupDeclared { by, setup } => format!(
            "{by} declared {} contacts, {} schedules, {} policies",
            setup.contacts.len(),
            setup.schedules.len(),
            setup.policies.len()
        ),
        IncidentEvent::OverrideSet {
            by,
            schedule,
            entry,
        } => format!(
            "{by} put {} on {schedule} from {} until {}",
            entry.contact, entry.from, entry.until
        ),
        IncidentEvent::OverrideRemoved { by, schedule, id } => {
            format!("{by} removed override {id} of {schedule}")
        }
        IncidentEvent::AlertFired { alert, group, .. } => {
            let name = alert.labels.get("alertname").unwrap_or(group);
            format!("alert {name} fires ({})", alert.labels.fingerprint())
        }
        IncidentEvent::AlertResolved { fingerprint, .. } => format!("alert {fingerprint} is over"),
        IncidentEvent::AlertsOverflowed { group, total, .. } => {
            format!("{total} alerts of {group} are counted and not kept")
        }
        IncidentEvent::SilenceSet { by, silence } => {
            format!("{by} set silence {} until {}", silence.id, silence.ends_at)
        }
        IncidentEvent::SilenceExpired { by, silence } => format!("{by} ended silence {silence}"),
        IncidentEvent::TestPaged { contact, number } => format!("test {number} of {contact}"),
        IncidentEvent::Notified {
            notice,
            contact,
            outcome,
        } => format!("{contact} by {}: {outcome}", notice.channel()),
        IncidentEvent::MaintenanceSet { by, maintenance } => {
            format!("{by} announced {}", maintenance.title)
        }
        IncidentEvent::MaintenanceEnded { by, id } => format!("{by} ended maintenance {id}"),
        _ => String::new(),
    }
}
