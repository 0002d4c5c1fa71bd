//! What happens to pages and messages.
//!
//! Invariant: a level is entered once in a generation, and generations only grow.

use model::Timestamp;
use model::incident::{IncidentEvent, Notice, Outcome};

use crate::escalation::id_of;
use crate::state::{Held, Level, Page, State, Test, Told};

/// Times of sending that are remembered for each contact; more than its rate allows.
const SENT_KEPT_MAX: usize = 64;
/// Tests that are remembered for each contact: a year of them.
const TESTS_KEPT_MAX: usize = 52;
/// Outcomes that are remembered of an incident. Beyond it new ones are passed over, and their messages repeated by nobody:
/// a policy within its bounds has fewer in a generation.
const TOLD_KEPT_MAX: usize = 50_000;

pub(super) fn evolve(state: &mut State, event: &IncidentEvent, at: Timestamp) {
    match event {
        IncidentEvent::PageBegan { .. } => began(state, event, at),
        IncidentEvent::PageStepped { .. } => stepped(state, event, at),
        IncidentEvent::PageExhausted {
            incident,
            policy,
            generation,
            ..
        } => {
            let pages = state.incidents.get_mut(incident).map(|it| &mut it.pages);
            for page in pages.into_iter().flatten() {
                page.exhausted |= page.policy == *policy && page.generation == *generation;
            }
        }
        IncidentEvent::Acknowledged {
            incident,
            by,
            until,
            ..
        } => {
            let incident = state.incidents.get_mut(incident);
            if let Some(incident) = incident.filter(|it| it.over.is_none()) {
                incident.held = Some(Held {
                    by: by.clone(),
                    at,
                    until: *until,
                });
            }
        }
        IncidentEvent::AcknowledgementEnded { incident } => {
            if let Some(incident) = state.incidents.get_mut(incident) {
                incident.held = None;
                for page in &mut incident.pages {
                    page.stale = true;
                }
            }
        }
        IncidentEvent::Notified {
            notice,
            contact,
            outcome,
        } => {
            let told = Told {
                at,
                contact: contact.clone(),
                outcome: outcome.clone(),
            };
            notified(state, notice, told);
        }
        IncidentEvent::TestPaged { contact, number } => {
            let known = state.contacts.entry(contact.clone()).or_default();
            if known.tests.last().is_none_or(|last| last.number < *number) {
                known.tests.push(Test {
                    number: *number,
                    at,
                    told: Default::default(),
                });
                let surplus = known.tests.len().saturating_sub(TESTS_KEPT_MAX);
                known.tests.drain(..surplus);
            }
        }
        _ => {}
    }
}

fn began(state: &mut State, event: &IncidentEvent, at: Timestamp) {
    let IncidentEvent::PageBegan {
        incident,
        policy,
        generation,
        urgency,
    } = event
    else {
        return;
    };
    let Some(incident) = state.incidents.get_mut(incident) else {
        return;
    };
    let before = incident.pages.iter().position(|it| it.policy == *policy);
    if let Some(before) = before {
        if incident.pages[before].generation >= *generation {
            return;
        }
        incident.pages.remove(before);
        let old = format!("page:{}:{policy}:", incident.id);
        incident.told.retain(|id, _| !id.starts_with(&old));
    }
    incident.pages.push(Page {
        policy: policy.clone(),
        generation: *generation,
        urgency: *urgency,
        began_at: at,
        levels: Vec::new(),
        exhausted: false,
        stale: false,
    });
}

fn stepped(state: &mut State, event: &IncidentEvent, at: Timestamp) {
    let IncidentEvent::PageStepped {
        incident,
        policy,
        generation,
        level,
        recipients,
        skipped,
    } = event
    else {
        return;
    };
    let incident = state.incidents.get_mut(incident);
    let mut pages = incident.into_iter().flat_map(|it| &mut it.pages);
    let page = pages.find(|it| it.policy == *policy && it.generation == *generation);
    let Some(page) = page else { return };
    if page.levels.last().is_none_or(|last| last.level < *level) {
        page.levels.push(Level {
            level: *level,
            at,
            recipients: recipients.clone(),
            skipped: skipped.clone(),
        });
    }
}

fn notified(state: &mut State, notice: &Notice, told: Told) {
    let id = id_of(notice, &told.contact);
    match notice {
        Notice::Page {
            incident,
            policy,
            generation,
            ..
        } => {
            let Some(known) = state.incidents.get_mut(incident) else {
                return;
            };
            // The outcome of an older generation says nothing of this one.
            let mut pages = known.pages.iter();
            if !pages.any(|page| page.policy == *policy && page.generation == *generation) {
                return;
            }
            let reached = matches!(told.outcome, Outcome::Sent | Outcome::Delivered);
            let first = !known.told.contains_key(&id);
            if reached {
                known.paged.insert(told.contact.clone());
            }
            if reached && first {
                let contact = state.contacts.entry(told.contact.clone()).or_default();
                contact.sent.push(told.at);
                let surplus = contact.sent.len().saturating_sub(SENT_KEPT_MAX);
                contact.sent.drain(..surplus);
            }
            record(&mut known.told, id, told);
        }
        Notice::Over { incident, .. } => {
            if let Some(incident) = state.incidents.get_mut(incident) {
                record(&mut incident.told, id, told);
            }
        }
        Notice::Digest { number, .. } => {
            let contact = state.contacts.entry(told.contact).or_default();
            if *number > contact.digests {
                contact.digests = *number;
                contact.digest_at = Some(told.at);
            }
        }
        Notice::Test { number, .. } => {
            let contact = state.contacts.entry(told.contact.clone()).or_default();
            let mut tests = contact.tests.iter_mut();
            if let Some(test) = tests.find(|test| test.number == *number) {
                record(&mut test.told, id, told);
            }
        }
    }
}

/// A receipt is the last word; before it, the newest counts.
fn record(all: &mut std::collections::BTreeMap<String, Told>, id: String, told: Told) {
    let known = all.get(&id);
    let settled = known.is_some_and(|known| known.outcome == Outcome::Delivered);
    let room = known.is_some() || all.len() < TOLD_KEPT_MAX;
    if !settled && room {
        all.insert(id, told);
    }
}
