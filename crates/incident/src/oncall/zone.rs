//! Wall-clock times to instants, by the zones that are built in.
//!
//! Invariant: each wall-clock time is exactly one instant. One that exists
//! twice (clocks went back) is the first of the two. One that does not exist
//! (clocks went forward) is as long after the jump as it would have been after
//! its beginning: 02:30 of a skipped hour is 03:30. So does RFC 5545, and a later
//! time of the same day is never before an earlier one.

use jiff::civil::{Date, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use model::Timestamp;

/// A zone by its IANA name; UTC when that is empty.
pub fn find(name: &str) -> Option<TimeZone> {
    match name {
        "" => Some(TimeZone::UTC),
        name => TimeZoneDatabase::bundled().get(name).ok(),
    }
}

/// When it is this time on this day there.
pub fn instant(zone: &TimeZone, date: Date, time: Time) -> Timestamp {
    let there = zone.to_ambiguous_timestamp(date.to_datetime(time));
    // Fails at the ends of time alone.
    there.compatible().unwrap_or(match date.year() < 0 {
        true => Timestamp::MIN,
        false => Timestamp::MAX,
    })
}
