//! A schedule as a row of shifts: what people look at before they save it.
//!
//! Invariant: shifts follow one another without overlap and cover the asked
//! range; where nobody is on call stands a shift without a contact.

use std::collections::BTreeSet;

use jiff::civil::Date;
use model::incident::Layer;
use model::{ContactName, Timestamp};

use super::{Plan, Source, days_from, local_date, turn_at, turn_starts, window};

/// The longest range that is looked at: a year and what is left of its weeks.
pub const PREVIEW_DAYS_MAX: i64 = 400;

/// Somebody, or nobody, is on call for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
    /// Who and why; none in a gap.
    pub who: Option<(ContactName, Source)>,
}

/// Who is on call in a range, at most [`PREVIEW_DAYS_MAX`] long.
pub fn shifts(plan: &Plan<'_>, from: Timestamp, until: Timestamp) -> Vec<Shift> {
    let until = until.min(days_from(from, PREVIEW_DAYS_MAX));
    real(plan, from, until)
}

/// The same without a bound of its own.
pub(super) fn real(plan: &Plan<'_>, from: Timestamp, until: Timestamp) -> Vec<Shift> {
    row(plan, from, until, Plan::on_call)
}

/// Who would be, had nobody taken over.
pub(super) fn layered(plan: &Plan<'_>, from: Timestamp, until: Timestamp) -> Vec<Shift> {
    row(plan, from, until, Plan::by_layers)
}

/// Where nobody is on call.
pub fn gaps(plan: &Plan<'_>, from: Timestamp, until: Timestamp) -> Vec<Shift> {
    let mut all = shifts(plan, from, until);
    // Two neighbours without anybody were merged by `row` already.
    all.retain(|shift| shift.who.is_none());
    all
}

fn row<'a>(
    plan: &Plan<'a>,
    from: Timestamp,
    until: Timestamp,
    who: impl Fn(&Plan<'a>, Timestamp) -> Option<(&'a ContactName, Source)>,
) -> Vec<Shift> {
    let mut edges = edges(plan, from, until);
    edges.insert(from);
    let mut row: Vec<Shift> = Vec::new();
    for edge in edges.into_iter().filter(|at| (from..until).contains(at)) {
        let who = who(plan, edge).map(|(contact, source)| (contact.clone(), source));
        match row.last_mut() {
            Some(last) if last.who == who => {}
            last => {
                if let Some(last) = last {
                    last.until = edge;
                }
                row.push(Shift {
                    from: edge,
                    until,
                    who,
                });
            }
        }
    }
    row
}

/// When the turns began that an instant lies in: shifts from there on are whole.
pub(super) fn turns_began(plan: &Plan<'_>, at: Timestamp) -> Timestamp {
    let starts = plan.schedule.layers.iter().filter_map(|layer| {
        let turn = turn_at(&plan.zone, layer, at)?;
        turn_starts(&plan.zone, layer, turn)
    });
    let began = starts.min().unwrap_or(at).min(at);
    began.max(days_from(at, -PREVIEW_DAYS_MAX))
}

/// Every instant of a range at which it may be somebody else's turn.
fn edges(plan: &Plan<'_>, from: Timestamp, until: Timestamp) -> BTreeSet<Timestamp> {
    let mut edges = BTreeSet::new();
    for entry in plan.overrides {
        edges.extend([entry.from, entry.until]);
    }
    let days = days(local_date(&plan.zone, from), local_date(&plan.zone, until));
    for layer in &plan.schedule.layers {
        edges.extend(handoffs(plan, layer, from, until));
        for only in &layer.only {
            let windows = days.iter().filter_map(|day| window(&plan.zone, only, *day));
            edges.extend(windows.flat_map(|(from, until)| [from, until]));
        }
    }
    edges
}

fn handoffs(plan: &Plan<'_>, layer: &Layer, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    if layer.every_days == 0 {
        return Vec::new();
    }
    let first = turn_at(&plan.zone, layer, from).unwrap_or(0);
    let starts = (first..).map_while(|turn| turn_starts(&plan.zone, layer, turn));
    starts.take_while(|start| *start < until).collect()
}

/// The days of a range, and the one before, whose hours may reach into it.
fn days(first: Date, last: Date) -> Vec<Date> {
    let first = first.yesterday().unwrap_or(first);
    let next = |day: &Date| day.tomorrow().ok();
    let days = std::iter::successors(Some(first), next);
    days.take_while(|day| *day <= last).collect()
}
