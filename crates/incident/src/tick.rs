//! What follows by itself as time passes.
//!
//! Invariant: nothing is said twice. A shell asks, journals, folds, and asks
//! again until nothing follows; each time it is one kind of thing, so that what
//! comes next is decided from what came before.

use model::Timestamp;
use model::incident::IncidentEvent;

use crate::alerts::{self, Leases};
use crate::state::State;
use crate::{escalation, incidents};

/// What follows at `now`; empty when nothing does.
pub fn tick(state: &State, leases: &Leases, now: Timestamp) -> Vec<IncidentEvent> {
    let now = state.time(now);
    let kinds: [&dyn Fn() -> Vec<IncidentEvent>; 5] = [
        &|| alerts::ended(state, leases, now),
        &|| incidents::assigned(state, now),
        &|| incidents::calmed(state, now),
        &|| escalation::pages(state, now),
        &|| escalation::tests_begun(state, now),
    ];
    let mut answers = kinds.iter().map(|kind| kind());
    answers
        .find(|events| !events.is_empty())
        .unwrap_or_default()
}
