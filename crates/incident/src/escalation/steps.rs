//! From one step of a policy to the next.
//!
//! Invariant: a step that reaches nobody takes no time, and is named with the one after it.

use std::collections::BTreeSet;

use model::incident::{IncidentEvent, Policy, Skipped, Step, Target, Urgency};
use model::{ContactName, PolicyName, Timestamp};

use super::{hushed, policies, urgency};
use crate::oncall::Plan;
use crate::state::{Incident, Page, State};

/// What follows for pages as time passes.
pub(crate) fn pages(state: &State, now: Timestamp) -> Vec<IncidentEvent> {
    let mut events = Vec::new();
    for incident in state.open() {
        if incident.held_at(now) {
            continue;
        }
        if incident.held.is_some() {
            let incident = incident.id;
            events.push(IncidentEvent::AcknowledgementEnded { incident });
            continue;
        }
        if !hushed(state, incident, now) {
            let policies = policies(state, incident);
            events.extend(
                policies
                    .iter()
                    .filter_map(|it| next(state, incident, it, now)),
            );
        }
    }
    events
}

fn next(
    state: &State,
    incident: &Incident,
    name: &PolicyName,
    now: Timestamp,
) -> Option<IncidentEvent> {
    let wanted = urgency(incident, now);
    let calm = incident.calm_since().is_some();
    let began = |generation: u32| IncidentEvent::PageBegan {
        incident: incident.id,
        policy: name.clone(),
        generation,
        urgency: wanted,
    };
    let page = incident.pages.iter().find(|page| page.policy == *name);
    let Some(page) = page else {
        // What a rollback mended is told even if it was over before anybody could be asked.
        return (!calm || incident.relief.is_some()).then(|| began(1));
    };
    let anew = page.stale || page.urgency < wanted;
    if anew {
        return (!calm).then(|| began(page.generation.saturating_add(1)));
    }
    let due_at = step_at(state, page)?;
    let paused = calm && !page.levels.is_empty();
    (due_at <= now && !paused).then(|| step(state, incident, page, now))
}

/// When the next step of a page is reached, if it has one.
fn step_at(state: &State, page: &Page) -> Option<Timestamp> {
    let told = page.urgency == Urgency::Low && !page.levels.is_empty();
    if page.exhausted || told {
        return None;
    }
    let Some(last) = page.levels.last() else {
        return Some(page.began_at);
    };
    let policy = state.setup.policies.get(&page.policy);
    let wait = policy.and_then(|policy| Some(step_of(policy, last.level)?.wait_ms));
    // A policy that was removed meanwhile has nobody left to ask.
    Some(wait.map_or(last.at, |wait| wait.after(last.at)))
}

/// When the pages of an incident take their next step.
pub(crate) fn next_step_at<'a>(
    state: &'a State,
    incident: &'a Incident,
) -> impl Iterator<Item = Timestamp> {
    let pages = incident.pages.iter().filter(|page| !page.stale);
    pages.filter_map(|page| step_at(state, page))
}

fn step_of(policy: &Policy, level: u32) -> Option<&Step> {
    let steps = u32::try_from(policy.steps.len()).ok()?;
    let place = usize::try_from(level.checked_rem(steps)?).ok()?;
    policy.steps.get(place)
}

fn step(state: &State, incident: &Incident, page: &Page, now: Timestamp) -> IncidentEvent {
    let first = page
        .levels
        .last()
        .map_or(0, |last| last.level.saturating_add(1));
    let mut skipped = Vec::new();
    if let Some(policy) = state.setup.policies.get(&page.policy) {
        let steps = u32::try_from(policy.steps.len()).unwrap_or(u32::MAX);
        let levels = steps.saturating_mul(policy.repeat.saturating_add(1));
        for level in first..levels {
            let Some(step) = step_of(policy, level) else {
                break;
            };
            let (recipients, uncovered) = resolved(state, step, now);
            if !recipients.is_empty() {
                return IncidentEvent::PageStepped {
                    incident: incident.id,
                    policy: page.policy.clone(),
                    generation: page.generation,
                    level,
                    recipients: recipients.into_iter().collect(),
                    skipped,
                };
            }
            skipped.push(Skipped { level, uncovered });
        }
    }
    IncidentEvent::PageExhausted {
        incident: incident.id,
        policy: page.policy.clone(),
        generation: page.generation,
        skipped,
    }
}

/// Whom a step reaches now, and its schedules on which nobody is on call.
fn resolved(
    state: &State,
    step: &Step,
    now: Timestamp,
) -> (BTreeSet<ContactName>, Vec<model::ScheduleName>) {
    let mut recipients = BTreeSet::new();
    let mut uncovered = Vec::new();
    for target in &step.targets {
        let contact = match target {
            Target::Contact(contact) => Some(contact.clone()),
            Target::Schedule(schedule) => {
                let plan = Plan::of(state, schedule);
                let found = plan.and_then(|plan| Some(plan.on_call(now)?.0.clone()));
                if found.is_none() {
                    uncovered.push(schedule.clone());
                }
                found
            }
        };
        let known = contact.filter(|it| state.setup.contacts.contains_key(it));
        recipients.extend(known);
    }
    (recipients, uncovered)
}
