//! Weekly windows on the clock of a place.
//!
//! Zones come from the database that is built in, so the answer is the same on
//! every machine and in every replay.
//!
//! Invariant: a window's ends are times on the wall. The hour that a clock
//! skips belongs to the moment of the jump, and the one that it repeats is
//! covered both times if the window covers it at all: a freeze is never shorter
//! than it reads.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use model::FreezeWindow;

const DAY_MINUTES: i64 = 24 * 60;
const WEEK_MINUTES: i64 = 7 * DAY_MINUTES;

/// The zone's name as the database spells it; `None` when it knows no such zone.
pub fn zone_name(name: &str) -> Option<String> {
    zone(name)?.iana_name().map(str::to_owned)
}

/// Every zone's name.
pub(crate) fn zone_names() -> Vec<String> {
    let names = TimeZoneDatabase::bundled();
    names.available().map(|name| name.to_string()).collect()
}

fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// Until when the window covers `now`; `None` when it doesn't.
///
/// A zone that is unknown covers nothing: `plimsoll.toml` with one is refused.
pub fn window_at(window: &FreezeWindow, now: Timestamp) -> Option<Timestamp> {
    let zone = zone(&window.zone)?;
    let (from, to) = (i64::from(window.from_minute), i64::from(window.to_minute));
    if from >= WEEK_MINUTES || to >= WEEK_MINUTES || from == to {
        return None;
    }
    // When the week turns in between, it ends in the week after.
    let to = if to < from { to + WEEK_MINUTES } else { to };
    let monday = monday_of(zone.to_datetime(now).date())?;
    // What began in the week before may still hold. At the ends of time there is no other week.
    let mondays = [monday.checked_sub(Span::new().days(7)).ok(), Some(monday)];
    let covers = mondays.into_iter().flatten().filter_map(|monday| {
        let begins = begins(&zone, wall(monday, from)?)?;
        let ends = ends(&zone, wall(monday, to)?)?;
        (begins <= now && now < ends).then_some(ends)
    });
    covers.max()
}

fn monday_of(date: Date) -> Option<Date> {
    let days = date.weekday().since(Weekday::Monday);
    date.checked_sub(Span::new().days(i64::from(days))).ok()
}

/// The time on the wall so many minutes after a Monday began, by the calendar and not by the clock.
fn wall(monday: Date, minutes: i64) -> Option<DateTime> {
    let date = monday
        .checked_add(Span::new().days(minutes / DAY_MINUTES))
        .ok()?;
    let minutes = minutes % DAY_MINUTES;
    let (hour, minute) = (i8::try_from(minutes / 60), i8::try_from(minutes % 60));
    Some(date.at(hour.ok()?, minute.ok()?, 0, 0))
}

/// The first moment at which the wall shows `at` or more.
fn begins(zone: &TimeZone, at: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(at);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => ambiguous.unambiguous().ok(),
        AmbiguousOffset::Gap { .. } => jump(zone, at),
        AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
    }
}

/// The last moment at which the wall begins to show `at` or more.
fn ends(zone: &TimeZone, at: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(at);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => ambiguous.unambiguous().ok(),
        AmbiguousOffset::Gap { .. } => jump(zone, at),
        AmbiguousOffset::Fold { .. } => ambiguous.later().ok(),
    }
}

/// The moment at which the clock skips `at`.
fn jump(zone: &TimeZone, at: DateTime) -> Option<Timestamp> {
    let before = zone.to_ambiguous_timestamp(at).earlier().ok()?;
    let next = zone.following(before).next();
    next.map(|transition| transition.timestamp())
}

#[cfg(test)]
mod tests;
