//! Who is on call.
//!
//! A schedule is a pile of layers; the topmost that covers an instant says who
//! it is, unless somebody took over. Handoffs and restrictions are wall-clock
//! times of the schedule's zone, resolved by [`zone::instant`].
//!
//! Invariant: at each instant at most one contact is on call for a schedule.

pub mod calendar;
pub mod check;
pub mod commands;
mod shifts;
pub mod zone;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span};
use model::incident::{Day, Layer, Override, Restriction, Schedule};
use model::{ContactName, ScheduleName, Timestamp};

pub use shifts::{PREVIEW_DAYS_MAX, Shift, gaps, shifts};

use crate::state::State;

/// Why somebody is on call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// It is their turn, counted from 0 since the layer began.
    Layer { layer: usize, turn: u64 },
    /// They took over.
    Override { id: u64 },
}

/// A schedule with its zone found, and what changed since it was declared.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    schedule: &'a Schedule,
    overrides: &'a [Override],
    zone: TimeZone,
}

impl<'a> Plan<'a> {
    /// None if there is no such zone.
    pub fn new(schedule: &'a Schedule, overrides: &'a [Override]) -> Option<Plan<'a>> {
        Some(Plan {
            zone: zone::find(&schedule.zone)?,
            schedule,
            overrides,
        })
    }

    /// The schedule of this name; none if there is none, or its zone is unknown.
    pub fn of(state: &'a State, name: &ScheduleName) -> Option<Plan<'a>> {
        let overrides = state.schedules.get(name).map(|it| &*it.overrides);
        Plan::new(state.setup.schedules.get(name)?, overrides.unwrap_or(&[]))
    }

    /// Who is on call at an instant, and why.
    pub fn on_call(&self, at: Timestamp) -> Option<(&'a ContactName, Source)> {
        let mut overrides = self.overrides.iter();
        if let Some(entry) = overrides.find(|it| it.from <= at && at < it.until) {
            return Some((&entry.contact, Source::Override { id: entry.id }));
        }
        self.by_layers(at)
    }

    /// Who would be, had nobody taken over.
    pub fn by_layers(&self, at: Timestamp) -> Option<(&'a ContactName, Source)> {
        let layers = self.schedule.layers.iter().enumerate().rev();
        layers
            .filter(|(_, layer)| open_at(&self.zone, &layer.only, at))
            .find_map(|(index, layer)| {
                let turn = turn_at(&self.zone, layer, at)?;
                let place = turn.checked_rem(layer.contacts.len() as u64)?;
                let contact = layer.contacts.get(usize::try_from(place).ok()?)?;
                let source = Source::Layer { layer: index, turn };
                Some((contact, source))
            })
    }
}

/// When a turn of a layer begins.
fn turn_starts(zone: &TimeZone, layer: &Layer, turn: u64) -> Option<Timestamp> {
    let days = i64::from(layer.every_days).checked_mul(i64::try_from(turn).ok()?)?;
    let span = Span::new().try_days(days).ok()?;
    let date = layer.starts_on.checked_add(span).ok()?;
    Some(zone::instant(zone, date, layer.handoff))
}

/// Which turn it is, counted from 0; none before the layer begins.
fn turn_at(zone: &TimeZone, layer: &Layer, at: Timestamp) -> Option<u64> {
    if layer.every_days == 0 {
        return None;
    }
    let days = days_between(layer.starts_on, local_date(zone, at));
    let guess = days.div_euclid(i64::from(layer.every_days));
    // The handoff is some hours into its day, and a day may be missing: the guess is off by one at most.
    let turns = (guess - 1..=guess + 1).rev();
    let mut turns = turns.filter_map(|turn| u64::try_from(turn).ok());
    turns.find(|turn| turn_starts(zone, layer, *turn).is_some_and(|start| start <= at))
}

fn local_date(zone: &TimeZone, at: Timestamp) -> Date {
    zone.to_datetime(at).date()
}

fn days_between(from: Date, until: Date) -> i64 {
    let hours = from.duration_until(until).as_hours();
    hours.div_euclid(24)
}

/// Whether hours of some days cover an instant; no hours cover all.
fn open_at(zone: &TimeZone, only: &[Restriction], at: Timestamp) -> bool {
    let today = local_date(zone, at);
    let days = [today.yesterday().ok(), Some(today)];
    only.is_empty()
        || days.into_iter().flatten().any(|day| {
            let mut windows = only.iter().filter_map(|it| window(zone, it, day));
            windows.any(|(from, until)| from <= at && at < until)
        })
}

/// A restriction's hours that begin on a day, if it has any then.
fn window(zone: &TimeZone, only: &Restriction, day: Date) -> Option<(Timestamp, Timestamp)> {
    let wanted = only.days.is_empty() || only.days.contains(&Day::from(day.weekday()));
    let from = zone::instant(zone, day, only.from);
    // Samoa left out a Friday: what belongs to it is not done on Saturday instead.
    if !wanted || local_date(zone, from) != day {
        return None;
    }
    let last = match only.until > only.from {
        true => day,
        false => day.tomorrow().ok()?,
    };
    Some((from, zone::instant(zone, last, only.until)))
}

/// The day before or after an instant, for ranges that must include its neighbours.
fn days_from(at: Timestamp, days: i64) -> Timestamp {
    let span = SignedDuration::from_hours(24 * days);
    let edge = if days < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    at.checked_add(span).unwrap_or(edge)
}
