//! What people do with schedules.
//!
//! Invariant: overrides of a schedule never overlap, whatever is asked.

use model::incident::{IncidentEvent, Override, Setup};
use model::refusal::Code;
use model::{Actor, ContactName, Refusal, ScheduleName, Timestamp};

use super::check::problems;
use super::{PREVIEW_DAYS_MAX, Plan, Shift, days_from, shifts};
use crate::commands::{contact_known, missing};
use crate::state::State;

/// Most overrides of a schedule that are not over.
pub const OVERRIDES_MAX: usize = 200;
/// A take without an end lasts at most so long, also when the shift is longer.
const TAKE_DAYS_MAX: i64 = 14;

type Decided = Result<Vec<IncidentEvent>, Refusal>;

/// Declares contacts, schedules, policies and the rest.
///
/// # Errors
/// With every problem that there is, one in a line.
pub fn declare(state: &State, by: &Actor, setup: Setup, now: Timestamp) -> Decided {
    let found = problems(state, &setup, state.time(now));
    if found.is_empty() {
        return Ok(vec![IncidentEvent::SetupDeclared {
            by: by.clone(),
            setup: Box::new(setup),
        }]);
    }
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    let next = "Mend all of it; nothing of it was taken.";
    Err(Refusal::new(Code::InvalidSetup, lines.join("\n"), next))
}

/// A range in which somebody is on call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
}

/// Somebody is on call for a range instead of whoever it is.
///
/// # Errors
/// When the schedule or contact is unknown, the range makes no sense, or another override is in the way.
pub fn set_override(
    state: &State,
    by: &Actor,
    schedule: &ScheduleName,
    contact: ContactName,
    range: &Range,
    now: Timestamp,
) -> Decided {
    let plan = plan(state, schedule)?;
    let contact = contact_known(state, contact)?;
    fits(state, &plan, range, now)?;
    let mut others = plan.overrides.iter();
    if let Some(other) = others.find(|it| it.from < range.until && range.from < it.until) {
        let words = format!(
            "override {} has {} on {schedule} from {} until {}",
            other.id, other.contact, other.from, other.until
        );
        let next = "Remove that one first, or take over, which goes before it.";
        return Err(Refusal::new(Code::BadRequest, words, next));
    }
    Ok(vec![placed(state, by, schedule, 1, contact, range)])
}

/// Somebody takes over now, until a time or until the shift ends. What others took in that time is cut.
///
/// # Errors
/// When the schedule or contact is unknown, or the time makes no sense.
pub fn take(
    state: &State,
    by: &Actor,
    schedule: &ScheduleName,
    contact: ContactName,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Decided {
    let now = state.time(now);
    let plan = plan(state, schedule)?;
    let contact = contact_known(state, contact)?;
    let ahead = shifts(&plan, now, days_from(now, TAKE_DAYS_MAX));
    let ends = ahead.first().map_or(now, |shift| shift.until);
    let range = Range {
        from: now,
        until: until.unwrap_or(ends),
    };
    fits(state, &plan, &range, now)?;
    let mut events = cut_out(state, by, schedule, &plan, &[&range], now);
    let given = 1 + set(&events);
    events.push(placed(state, by, schedule, given, contact, &range));
    Ok(events)
}

/// Two shifts change hands: the one in which `one` lies, and the one in which `other` does.
///
/// # Errors
/// When the schedule is unknown, an instant is past or in a gap, or both are in the same hands already.
pub fn swap(
    state: &State,
    by: &Actor,
    schedule: &ScheduleName,
    one: Timestamp,
    other: Timestamp,
    now: Timestamp,
) -> Decided {
    let now = state.time(now);
    let plan = plan(state, schedule)?;
    let ahead = shifts(&plan, now, days_from(now, PREVIEW_DAYS_MAX));
    let find = |at: Timestamp| {
        let mut row = ahead.iter().filter(|it| it.from <= at && at < it.until);
        let shift = row.next();
        let held = shift.and_then(|it| Some((it, &it.who.as_ref()?.0)));
        held.ok_or_else(|| unfit(format!("nobody is on {schedule} at {at}, or it is past")))
    };
    let (first, second): ((&Shift, _), (&Shift, _)) = (find(one)?, find(other)?);
    if first.1 == second.1 {
        return Err(unfit(format!("both shifts are {}'s", first.1)));
    }
    let ranges = [first, second].map(|(shift, _)| Range {
        from: shift.from,
        until: shift.until,
    });
    let mut events = cut_out(state, by, schedule, &plan, &[&ranges[0], &ranges[1]], now);
    for (range, contact) in ranges.iter().zip([second.1, first.1]) {
        let given = 1 + set(&events);
        events.push(placed(state, by, schedule, given, contact.clone(), range));
    }
    Ok(events)
}

/// Removes an override.
///
/// # Errors
/// When there is none with that number.
pub fn remove_override(state: &State, by: &Actor, schedule: &ScheduleName, id: u64) -> Decided {
    let known = state.schedules.get(schedule).map(|it| &*it.overrides);
    if !known.unwrap_or(&[]).iter().any(|it| it.id == id) {
        return Err(missing(format!("{schedule} has no override {id}")));
    }
    Ok(vec![removed(by, schedule, id)])
}

fn plan<'a>(state: &'a State, schedule: &ScheduleName) -> Result<Plan<'a>, Refusal> {
    Plan::of(state, schedule).ok_or_else(|| missing(format!("there is no schedule {schedule}")))
}

fn fits(state: &State, plan: &Plan<'_>, range: &Range, now: Timestamp) -> Result<(), Refusal> {
    let now = state.time(now);
    let ahead = plan.overrides.iter().filter(|it| it.until > now).count();
    if ahead >= OVERRIDES_MAX {
        let words = format!("there are {ahead} overrides ahead, at most {OVERRIDES_MAX}");
        let next = "Change the schedule itself.";
        return Err(Refusal::new(Code::TooLarge, words, next));
    }
    if range.from >= range.until || range.until <= now {
        return Err(unfit(
            "it must end after it begins, and in the future".to_owned(),
        ));
    }
    if range.until > days_from(now, PREVIEW_DAYS_MAX) {
        return Err(unfit(format!(
            "it ends more than {PREVIEW_DAYS_MAX} days ahead"
        )));
    }
    Ok(())
}

/// Takes ranges out of the overrides that are there, and leaves the rest of each.
fn cut_out(
    state: &State,
    by: &Actor,
    schedule: &ScheduleName,
    plan: &Plan<'_>,
    ranges: &[&Range],
    now: Timestamp,
) -> Vec<IncidentEvent> {
    let mut events = Vec::new();
    for entry in plan.overrides.iter().filter(|it| it.until > now) {
        let mut rest = vec![Range {
            from: entry.from,
            until: entry.until,
        }];
        for range in ranges {
            rest = rest.iter().flat_map(|it| without(it, range)).collect();
        }
        let whole = rest.len() == 1 && rest[0].from == entry.from && rest[0].until == entry.until;
        if whole {
            continue;
        }
        events.push(removed(by, schedule, entry.id));
        for range in &rest {
            let given = 1 + set(&events);
            let contact = entry.contact.clone();
            events.push(placed(state, by, schedule, given, contact, range));
        }
    }
    events
}

fn without(range: &Range, out: &Range) -> Vec<Range> {
    let left = Range {
        from: range.from,
        until: range.until.min(out.from),
    };
    let right = Range {
        from: range.from.max(out.until),
        until: range.until,
    };
    let parts = [left, right].into_iter();
    parts.filter(|part| part.from < part.until).collect()
}

/// How many numbers were given in these events.
fn set(events: &[IncidentEvent]) -> u64 {
    let set = |event: &&IncidentEvent| matches!(event, IncidentEvent::OverrideSet { .. });
    events.iter().filter(set).count() as u64
}

fn placed(
    state: &State,
    by: &Actor,
    schedule: &ScheduleName,
    given: u64,
    contact: ContactName,
    range: &Range,
) -> IncidentEvent {
    IncidentEvent::OverrideSet {
        by: by.clone(),
        schedule: schedule.clone(),
        entry: Override {
            id: state.overrides_given + given,
            contact,
            from: range.from,
            until: range.until,
        },
    }
}

fn removed(by: &Actor, schedule: &ScheduleName, id: u64) -> IncidentEvent {
    IncidentEvent::OverrideRemoved {
        by: by.clone(),
        schedule: schedule.clone(),
        id,
    }
}

fn unfit(words: String) -> Refusal {
    Refusal::new(Code::BadRequest, words, "Look at the schedule's shifts.")
}
