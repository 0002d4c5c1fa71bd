//! When it began, when it ended, and what else could be meant by that.
//!
//! Invariant: the answer is one that the report itself gives; nothing is guessed.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::clock::{DAY, Hedge, Time};
use crate::layout::Kind;
use crate::place::Place;
use crate::reading::Reading;
use crate::role::Role;
use crate::rows::Row;

/// A moment, and where it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    pub time: Time,
    pub place: Place,
    /// The day, if it is known.
    pub day: Option<Date>,
}

impl Moment {
    /// ISO 8601 without a zone: `2024-05-12T10:00`, or `10:00` when the day isn't known.
    pub fn iso(&self) -> String {
        let (hour, minute) = (self.time.minute / 60, self.time.minute % 60);
        match self.day {
            Some(day) => format!("{day}T{hour:02}:{minute:02}"),
            None => format!("{hour:02}:{minute:02}"),
        }
    }
}

/// The outage as the report tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    pub begin: Option<Moment>,
    pub restored: Option<Moment>,
    /// From one to the other.
    pub minutes: Option<i64>,
    /// What is claimed of that, in minutes.
    pub claimed: Option<i64>,
}

/// The outage: from the timeline, else from the summary, else from the prose.
pub(crate) fn of(reading: &Reading) -> Outage {
    let begin = begin_rows(reading).next();
    let end = end_rows(reading).last();
    let of_row = |row: &Row| Moment {
        time: row.time,
        place: row.place,
        day: day_of(reading, row),
    };
    let window = reading
        .windows
        .iter()
        .find(|window| is_summary(window.kind));
    let window = window.or(reading.windows.first());
    let fact = |role: Role| {
        let told = |kind: Kind| !matches!(kind, Kind::Actions | Kind::Lessons);
        let fact = reading.facts.iter().find(|fact| {
            told(fact.kind) && fact.hedge != Hedge::Bound && fact.roles.contains(&role)
        })?;
        let day = fact
            .date
            .as_ref()
            .and_then(|date| date.certain())
            .or(reading.date);
        Some(Moment {
            time: fact.time,
            place: fact.place,
            day,
        })
    };
    let in_window = |time: Time| {
        window.map(|window| Moment {
            time,
            place: window.place,
            day: window
                .date
                .as_ref()
                .and_then(|date| date.certain())
                .or(reading.date),
        })
    };
    let from = begin
        .map(of_row)
        .or_else(|| in_window(window?.from))
        .or_else(|| fact(Role::Begin));
    let to = end
        .map(of_row)
        .or_else(|| in_window(window?.to))
        .or_else(|| fact(Role::Restored(100)));
    let minutes = match (begin, end, window) {
        (Some(begin), Some(end), _) => Some(between(begin, end)),
        (None, None, Some(window)) => (!window.days).then(|| window.minutes()),
        _ => match (from, to) {
            (Some(from), Some(to)) => Some((to.time.of() - from.time.of()).rem_euclid(DAY)),
            _ => None,
        },
    };
    Outage {
        begin: from,
        restored: to,
        minutes,
        claimed: reading.claims.first().map(|claim| claim.span.minutes),
    }
}

/// From one line to a later one; a step back is one over midnight.
pub(crate) fn between(from: &Row, to: &Row) -> i64 {
    let gap = to.at - from.at;
    if gap < 0 { gap.rem_euclid(DAY) } else { gap }
}

fn day_of(reading: &Reading, row: &Row) -> Option<Date> {
    let known =
        reading.date.is_some() || row.date.as_ref().is_some_and(|date| date.full().is_some());
    let epoch = jiff::civil::date(1970, 1, 1);
    let days = jiff::Span::new().try_days(row.at.div_euclid(DAY)).ok()?;
    known.then(|| epoch.checked_add(days).ok()).flatten()
}

/// Lines of the main timeline that say that it begins.
pub(crate) fn begin_rows(reading: &Reading) -> impl Iterator<Item = &Row> {
    reading.main_rows().filter(|row| row.is(Role::Begin))
}

/// Lines of the main timeline that say that all is back.
pub(crate) fn end_rows(reading: &Reading) -> impl Iterator<Item = &Row> {
    reading
        .main_rows()
        .filter(|row| row.is(Role::Restored(100)))
}

pub(crate) fn is_summary(kind: Kind) -> bool {
    matches!(kind, Kind::Intro | Kind::Summary | Kind::Impact)
}
