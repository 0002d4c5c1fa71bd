//! Alerts from their senders to the journal.
//!
//! Senders tell an alert again and again while it fires; only that it began
//! and that it ended is journaled. How long it may be silent before it counts
//! as ended lives in [`Leases`], outside of [`State`].
//!
//! Invariant: intake refuses nothing that can be read. What is too much is
//! counted under one summary alert of its group, which is told like any other.

mod intake;
mod leases;
pub mod matchers;
mod standing;

use std::collections::BTreeMap;

use model::incident::{AlertEnd, Fingerprint, IncidentEvent, Severity};
use model::{Millis, ServiceName, Timestamp};

pub use intake::{Incoming, Intake, Invalid, intake};
pub use leases::Leases;
pub(crate) use standing::RESOLVED_HOLDS;
pub use standing::{Standing, standing};

use crate::state::{AlertState, State};

/// Most alerts that fire at the same time and are kept one by one: a fleet of a thousand hosts with ten alerts each.
/// Beyond it they are counted by group.
pub const FIRING_MAX: usize = 10_000;
/// Summary alerts beyond [`FIRING_MAX`], one for each group; beyond it there is one for all other groups.
pub const SUMMARIES_MAX: usize = 100;
/// Most annotations of an alert; the rest is left out, for they don't tell it from others.
pub const ANNOTATIONS_MAX: usize = 32;
/// Longest annotation, in bytes; the rest is cut off.
pub const ANNOTATION_BYTES_MAX: usize = 2048;
/// Longest address of a generator, in bytes; the rest is cut off.
pub const URL_BYTES_MAX: usize = 2048;
/// An alert without an end is over when it isn't told again for so long (Alertmanager's `resolve_timeout`).
pub const RESOLVE_AFTER: Millis = Millis::seconds(300);
/// The longest that an alert fires without being told again: what is sent by hand often names the end of a day.
pub const LEASE_MAX: Millis = Millis::seconds(7 * 24 * 3600);
/// An alert that fired so often within [`FLAPPING_WITHIN`] flaps: it is over only when it was quiet for [`FLAPPING_CALM`].
pub const FLAPPING_FIRES: usize = 4;
/// See [`FLAPPING_FIRES`].
pub const FLAPPING_WITHIN: Millis = Millis::seconds(1800);
/// See [`FLAPPING_FIRES`].
pub const FLAPPING_CALM: Millis = Millis::seconds(600);

/// The name of summary alerts.
pub const SUMMARY: &str = "TooManyAlerts";
/// What groups are made by when nothing is declared.
const GROUP_BY: [&str; 2] = ["service", "alertname"];

/// The group of labels: the declared ones with their values, as `service=api,alertname=Down`.
pub fn group_of(state: &State, labels: &BTreeMap<String, String>) -> String {
    let declared = state.setup.group_by.iter().map(String::as_str);
    let names: Vec<&str> = match state.setup.group_by.is_empty() {
        true => GROUP_BY.to_vec(),
        false => declared.collect(),
    };
    let parts = names.into_iter().map(|name| {
        let value = labels.get(name).map_or("", String::as_str);
        format!("{name}={}", cut(value, ANNOTATION_BYTES_MAX / 8))
    });
    parts.collect::<Vec<_>>().join(",")
}

/// The service that labels name, if they do.
pub fn service_of(labels: &BTreeMap<String, String>) -> Option<ServiceName> {
    labels.get("service")?.parse().ok()
}

/// How bad an alert is. One that doesn't say is an error: rather look in vain than not at all.
pub fn severity_of(alert: &AlertState) -> Severity {
    let said = alert.alert.labels.get("severity");
    said.and_then(Severity::from_words)
        .unwrap_or(Severity::Sev2)
}

impl AlertState {
    /// Whether it comes and goes.
    pub fn flaps(&self, now: Timestamp) -> bool {
        let recent = self.fires.iter().rev();
        let recent = recent.take_while(|at| FLAPPING_WITHIN.after(**at) > now);
        recent.count() >= FLAPPING_FIRES
    }
}

/// Alerts that weren't told again in time.
pub fn ended(state: &State, leases: &Leases, now: Timestamp) -> Vec<IncidentEvent> {
    let over = state
        .firing()
        .filter(|(fingerprint, alert)| leases.until(*fingerprint, alert) <= now);
    over.map(|(fingerprint, _)| resolved(fingerprint, now, AlertEnd::LeaseEnded))
        .collect()
}

fn resolved(fingerprint: Fingerprint, ended_at: Timestamp, why: AlertEnd) -> IncidentEvent {
    IncidentEvent::AlertResolved {
        fingerprint,
        ended_at,
        why,
    }
}

/// The beginning of a text, at most so many bytes of it, and no half character.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
