//! Where a firing alert stands: in an incident, or quiet for a reason.
//!
//! Invariant: it is one of the two for each alert that fires, but for the moment
//! between its arrival and the next tick.

use model::incident::{Fingerprint, IncidentId, Severity};
use model::{Millis, Timestamp};

use super::severity_of;
use crate::incidents::depends;
use crate::state::{AlertState, State};

/// A person ended the incident while the alert fires; after so long it is opened again.
pub(crate) const RESOLVED_HOLDS: Millis = Millis::seconds(1800);

/// Where an alert stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is part of this open incident.
    In(IncidentId),
    /// These silences match it.
    Silenced(Vec<String>),
    /// What its service depends on has this incident, and the alert is no more than a warning.
    Inhibited(IncidentId),
    /// Its severity is info: it is shown, and asks nobody.
    Info,
    /// A person ended its incident while it fires. It is opened again at that time.
    Resolved(IncidentId, Timestamp),
    /// The next tick gives it a place.
    Unassigned,
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Standing::In(incident) => write!(f, "part of incident {incident}"),
            Standing::Silenced(ids) => write!(f, "silenced by {}", ids.join(", ")),
            Standing::Inhibited(incident) => {
                write!(f, "follows from incident {incident}, which it depends on")
            }
            Standing::Info => f.pad("info asks nobody"),
            Standing::Resolved(incident, until) => {
                write!(
                    f,
                    "incident {incident} was resolved; opened again at {until}"
                )
            }
            Standing::Unassigned => f.pad("new"),
        }
    }
}

/// Where a firing alert stands at `now`; none if it doesn't fire.
pub fn standing(state: &State, fingerprint: Fingerprint, now: Timestamp) -> Option<Standing> {
    let alert = state.alerts.get(&fingerprint)?;
    let now = state.time(now);
    alert.ended.is_none().then(|| stands(state, alert, now))
}

pub(crate) fn stands(state: &State, alert: &AlertState, now: Timestamp) -> Standing {
    let incident = alert.incident.and_then(|id| state.incidents.get(&id));
    if let Some(incident) = incident.filter(|it| it.over.is_none()) {
        return Standing::In(incident.id);
    }
    let silencing = state.silencing(alert, now);
    if !silencing.is_empty() {
        return Standing::Silenced(silencing.iter().map(|it| it.id.clone()).collect());
    }
    if severity_of(alert) == Severity::Sev4 {
        return Standing::Info;
    }
    if let Some(incident) = inhibitor(state, alert) {
        return Standing::Inhibited(incident);
    }
    let over = incident.and_then(|it| Some((it.id, it.over.as_ref()?)));
    match over {
        Some((id, over)) if RESOLVED_HOLDS.after(over.at) > now => {
            Standing::Resolved(id, RESOLVED_HOLDS.after(over.at))
        }
        _ => Standing::Unassigned,
    }
}

/// An open incident of at least SEV2 with something that the alert's service depends on.
fn inhibitor(state: &State, alert: &AlertState) -> Option<IncidentId> {
    if severity_of(alert) != Severity::Sev3 {
        return None;
    }
    let service = alert.service.as_ref()?;
    let mut worse = state.open().filter(|it| it.severity <= Severity::Sev2);
    let found = worse.find(|incident| {
        let mut services = incident.services.iter();
        services.any(|other| other != service && depends(&state.setup, service, other))
    });
    found.map(|incident| incident.id)
}
