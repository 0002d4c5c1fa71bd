//! Who is asked after whom, until somebody answers.
//!
//! An incident has one page for each policy that it concerns, and a page takes
//! the policy's steps one after the other. Who is on call is found when a step
//! is reached and journaled with it. An acknowledgement is a lease: when it
//! ends before the incident does, everybody is asked anew in the next
//! generation.
//!
//! Invariant: a level of a page is reached once in a generation, however many
//! alerts join its incident; nobody is asked while somebody has it.

mod chain;
mod due;
mod steps;
mod weekly;
mod words;

use std::collections::BTreeSet;

use model::incident::{Notice, Severity, Urgency};
use model::{ContactName, Millis, PolicyName, ServiceName, Timestamp};

pub use due::{Message, RATE_MAX, RATE_WITHIN, due};
pub use weekly::{TestRate, test_now, test_rate};

pub(crate) use chain::changes_at as rows_change_at;
pub(crate) use due::OVER_WITHIN;
pub(crate) use steps::{next_step_at, pages};
pub(crate) use weekly::{begun as tests_begun, next_slot, rows_end_at as tests_end_at};

use crate::incidents::depends;
use crate::state::{Incident, Relief, State};

/// An acknowledgement holds for so long when its policy doesn't say.
pub const ACKNOWLEDGED_FOR: Millis = Millis::seconds(1800);
/// An automatic rollback is given so long before somebody is woken for it all the same.
pub const ROLLBACK_WITHIN: Millis = Millis::seconds(300);
/// After it, errors are given so long to end.
pub const VERIFY_WITHIN: Millis = Millis::seconds(300);

/// A message's id: its idempotency key with every provider.
pub fn id_of(notice: &Notice, contact: &ContactName) -> String {
    format!("{notice}@{contact}")
}

/// Who is asked about an incident: those of the service that it began with, and of services that it was traced to.
/// What merely depends on another service of it asks nobody: there is nothing that its people could do.
pub fn policies(state: &State, incident: &Incident) -> Vec<PolicyName> {
    let setup = &state.setup;
    let of = |service: &ServiceName| {
        let care = setup.services.get(service);
        let own = care.and_then(|care| care.policy.as_ref());
        own.or(setup.default_policy.as_ref())
    };
    let began = incident.service.as_ref();
    let concerned = incident.services.iter().filter(|service| {
        let mut others = incident.services.iter();
        began == Some(service) || !others.any(|other| depends(setup, service, other))
    });
    let mut found: BTreeSet<&PolicyName> = concerned.filter_map(of).collect();
    if incident.services.is_empty() {
        found.extend(setup.default_policy.as_ref());
    }
    found.into_iter().cloned().collect()
}

/// How long an acknowledgement of an incident holds.
pub fn acknowledged_for(state: &State, incident: &Incident) -> Millis {
    let names = policies(state, incident);
    let policies = names.iter().filter_map(|it| state.setup.policies.get(it));
    let times = policies.filter_map(|policy| policy.acknowledged_for_ms);
    times.min().unwrap_or(ACKNOWLEDGED_FOR)
}

/// Whether somebody is to be woken. Not for a warning, and not for what an automatic rollback is about to mend.
pub fn urgency(incident: &Incident, now: Timestamp) -> Urgency {
    if incident.severity >= Severity::Sev3 {
        return Urgency::Low;
    }
    let mends = match &incident.relief {
        Some(Relief::Running { since, .. }) => ROLLBACK_WITHIN.after(*since) > now,
        Some(Relief::Done { at, .. }) => {
            VERIFY_WITHIN.after(*at) > now || incident.calm_since().is_some()
        }
        Some(Relief::Failing { .. }) | None => false,
    };
    match mends {
        true => Urgency::Low,
        false => Urgency::High,
    }
}

/// Whether all that it consists of is silenced.
pub fn hushed(state: &State, incident: &Incident, now: Timestamp) -> bool {
    let silenced = |id| {
        let alert = state.alerts.get(id);
        alert.is_none_or(|alert| !state.silencing(alert, now).is_empty())
    };
    let all = !incident.alerts.is_empty() && incident.alerts.iter().all(silenced);
    all && incident.troubles.is_empty() && incident.machines_own()
}

/// Whether nobody is told about it although it is open, and why.
pub fn waiting(state: &State, incident: &Incident, now: Timestamp) -> Option<String> {
    let now = state.time(now);
    if incident.over.is_some() {
        return None;
    }
    if let Some(held) = incident.held.as_ref().filter(|held| now < held.until) {
        return Some(format!("{} has it until {}", held.by, held.until));
    }
    if hushed(state, incident, now) {
        return Some("all its alerts are silenced".to_owned());
    }
    if policies(state, incident).is_empty() {
        return Some("no policy says who is to be asked: declare a default policy".to_owned());
    }
    if let Some(since) = incident.calm_since() {
        return Some(format!("nothing of it is seen since {since}"));
    }
    let lost = incident.pages.iter().find(|page| page.exhausted);
    lost.map(|page| format!("{} has nobody left to ask", page.policy))
}
