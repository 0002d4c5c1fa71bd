//! `date-missing` and `date-mismatch`.
//!
//! Invariant: only dates that stand with the outage's own times are held
//! against each other; a report has many others.

use super::{Code, Finding};
use crate::calendar::{self, WrittenDate};
use crate::layout::Kind;
use crate::outage::{begin_rows, is_summary};
use crate::place::Place;
use crate::prose::Fact;
use crate::reading::{DateAt, Reading};
use crate::role::Role;

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(missing(reading));
    found.extend(reading.dates.iter().filter_map(weekday));
    found.extend(against_timeline(reading));
    found.extend(against_change(reading));
    found
}

/// Times without any day.
fn missing(reading: &Reading) -> Option<Finding> {
    let place = reading
        .rows
        .first()
        .map(|row| row.place)
        .or(reading.first_time)?;
    let told = !reading.dates.is_empty() || month_told(reading);
    if told || reading.times < 2 {
        return None;
    }
    let message = format!("{} times of day are told, and no date", reading.times);
    Some(Finding::new(
        Code::DateMissing,
        place,
        message,
        "write the day of the incident, with its year",
    ))
}

/// "August 2023": a month is better than nothing, and dates come in other languages.
fn month_told(reading: &Reading) -> bool {
    const DAYS: &str = "yesterday today monday tuesday wednesday thursday friday saturday sunday";
    reading.blocks.iter().any(|block| {
        calendar::words(&block.text.low).iter().any(|(_, word)| {
            let year =
                word.len() == 4 && word.parse().is_ok_and(|it: u16| (1990..2100).contains(&it));
            year || (word.len() > 4 && DAYS.split(' ').any(|day| day == *word))
        })
    })
}

/// A weekday that the date doesn't have, or a day that no month has.
fn weekday(at: &DateAt) -> Option<Finding> {
    let written = &at.token.date;
    // Leap days that don't exist cause outages, so reports tell of them.
    let told = at.timed && matches!(at.kind, Kind::Intro | Kind::Summary | Kind::Timeline);
    if told && written.impossible() && (written.month, written.day) != (2, 29) {
        let message = format!("no year has {}", written.words());
        return Some(Finding::new(
            Code::DateMismatch,
            at.place,
            message,
            "mend the day or the month",
        ));
    }
    let (told, day) = (at.token.weekday?, written.certain()?);
    if day.weekday() == told {
        return None;
    }
    let name = |weekday: jiff::civil::Weekday| format!("{weekday:?}");
    let message = format!(
        "{} was a {}, not a {}",
        written.words(),
        name(day.weekday()),
        name(told)
    );
    Some(Finding::new(
        Code::DateMismatch,
        at.place,
        message,
        "mend the weekday or the date",
    ))
}

/// The summary's day of the outage, and the timeline's.
fn against_timeline(reading: &Reading) -> Option<Finding> {
    if reading.is_several() {
        return None;
    }
    let begin = begin_rows(reading).next()?;
    let row_day = begin.date.as_ref()?;
    // A timeline that has the summary's day anywhere is at peace with it.
    let has = |day: &WrittenDate| {
        reading
            .main_rows()
            .filter_map(|row| row.date.as_ref())
            .any(|it| it.agrees(day))
    };
    let windows = reading
        .windows
        .iter()
        .filter(|window| is_summary(window.kind))
        .filter_map(|window| Some((window.date.as_ref()?, window.place)));
    let facts = reading
        .facts
        .iter()
        .filter(|fact| is_summary(fact.kind) && is_begin(fact))
        .filter_map(|fact| Some((fact.date.as_ref()?, fact.place)));
    let (day, place) = windows.chain(facts).find(|(day, _)| !has(day))?;
    // The same minute can't be on two days, unless clocks of two zones tell it.
    let zones = reading
        .zones
        .iter()
        .any(|it| it.zone.family != reading.zones[0].zone.family);
    (!zones).then(|| differ(day, place, row_day, begin.place))
}

fn is_begin(fact: &Fact) -> bool {
    fact.roles.contains(&Role::Begin)
}

fn differ(day: &WrittenDate, place: Place, other: &WrittenDate, there: Place) -> Finding {
    let message = format!(
        "{} here, but {} in line {}",
        day.words(),
        other.words(),
        there.line
    );
    Finding::new(Code::DateMismatch, place, message, "mend one of the two").with(there)
}

/// The same change at the same minute on two days.
fn against_change(reading: &Reading) -> Option<Finding> {
    if reading.is_several() {
        return None;
    }
    let rows = reading
        .main_rows()
        .filter(|row| row.is(Role::Change) || row.is(Role::Begin));
    for row in rows {
        let row_day = row.date.as_ref().or(reading.day())?;
        let fact = reading.facts.iter().find(|fact| {
            let same = fact.roles.iter().any(|role| row.is(*role));
            same && fact.time == row.time
                && fact.zone.is_none()
                && fact
                    .date
                    .as_ref()
                    .is_some_and(|date| !date.agrees(row_day) && !near(date, row_day))
        });
        if let Some((fact, date)) = fact.and_then(|fact| Some((fact, fact.date.as_ref()?))) {
            return Some(differ(date, fact.place, row_day, row.place));
        }
    }
    None
}

/// One day more or less is rather the night between them.
fn near(a: &WrittenDate, b: &WrittenDate) -> bool {
    match (a.full(), b.full()) {
        (Some(a), Some(b)) => a.until(b).is_ok_and(|span| span.get_days().abs() <= 1),
        _ => false,
    }
}
