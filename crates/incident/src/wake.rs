//! When to ask again although nothing happened.
//!
//! Invariant: until then [`crate::tick`] has nothing to say and [`crate::due`]
//! gives the same messages.

use model::Timestamp;

use crate::alerts::{self, Leases, Standing};
use crate::escalation::{
    OVER_WITHIN, ROLLBACK_WITHIN, VERIFY_WITHIN, next_slot, next_step_at, rows_change_at,
    tests_end_at,
};
use crate::incidents::CALM_FOR;
use crate::state::{Incident, Relief, State};

/// The next instant after `now` at which something may follow by itself.
pub fn wake_at(state: &State, leases: &Leases, now: Timestamp) -> Option<Timestamp> {
    let now = state.time(now);
    let mut times: Vec<Timestamp> = Vec::new();
    times.extend(leases.next_end(state));
    for silence in state.silences.values() {
        times.extend([silence.starts_at, silence.ends_at]);
    }
    for (fingerprint, _) in state.firing() {
        if let Some(Standing::Resolved(_, until)) = alerts::standing(state, fingerprint, now) {
            times.push(until);
        }
    }
    for incident in state.incidents.values() {
        of_incident(state, incident, now, &mut times);
    }
    for contact in state.contacts.values() {
        let rate = crate::escalation::RATE_WITHIN;
        times.extend(contact.recent(now).map(|at| rate.after(at)));
        times.extend(contact.digest_at.map(|at| rate.after(at)));
        times.extend(tests_end_at(contact));
    }
    let contacts = state.setup.contacts.values();
    times.extend(contacts.filter_map(|contact| next_slot(state, contact, now)));
    times.into_iter().filter(|at| *at > now).min()
}

fn of_incident(state: &State, incident: &Incident, now: Timestamp, times: &mut Vec<Timestamp>) {
    if let Some(over) = &incident.over {
        times.push(OVER_WITHIN.after(over.at));
        return;
    }
    times.extend(incident.calm_since().map(|since| CALM_FOR.after(since)));
    times.extend(incident.held.as_ref().map(|held| held.until));
    times.extend(match &incident.relief {
        Some(Relief::Running { since, .. }) => Some(ROLLBACK_WITHIN.after(*since)),
        Some(Relief::Done { at, .. }) => Some(VERIFY_WITHIN.after(*at)),
        Some(Relief::Failing { .. }) | None => None,
    });
    if !incident.held_at(now) {
        times.extend(next_step_at(state, incident));
        times.extend(rows_change_at(state, incident, now));
    }
}
