//! `clock-slip`: am for pm, or pm for am.
//!
//! Invariant: a time is a slip only if the other half of the day fits closely
//! where its own doesn't fit at all.

use super::{Code, Finding};
use crate::clock::{DAY, HALF_DAY, Hedge, Time};
use crate::layout::Kind;
use crate::outage::is_summary;
use crate::place::Place;
use crate::prose::Fact;
use crate::reading::Reading;
use crate::rows::{self, Row};

/// Lines of a timeline are so near to each other that a slip can be told.
const NEIGHBOUR_MINUTES: i64 = 90;
/// A longer timeline may well have one minute of the clock twice.
const TIMELINE_MINUTES_MAX: i64 = 8 * 60;

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    let mut found = Vec::new();
    for list in reading.rows.chunk_by(|a, b| a.list == b.list) {
        let found_rows = slipped(list);
        found.extend(found_rows.into_iter().map(|(row, near)| {
            let right = row.time.other_half();
            let message = format!(
                "{} does not fit beside {} (line {}); {} does",
                row.time.words(),
                near.time.words(),
                near.place.line,
                right.words(),
            );
            let repair = format!("write {}", right.words());
            Finding::new(Code::ClockSlip, row.place, message, repair).with(near.place)
        }));
    }
    if !reading.is_several() {
        found.extend(
            reading
                .facts
                .iter()
                .filter_map(|fact| in_prose(reading, fact)),
        );
    }
    found
}

/// Lines that fit only half a day later or before, each with its neighbour.
pub(super) fn slipped(list: &[Row]) -> Vec<(&Row, &Row)> {
    let mut list: Vec<&Row> = list.iter().filter(|row| !row.near).collect();
    let owned: Vec<Row> = list.iter().map(|row| (*row).clone()).collect();
    if rows::descends(&owned) {
        list.reverse();
    }
    let mut found = Vec::new();
    for at in 1..list.len() {
        let (before, row) = (list[at - 1], list[at]);
        let step = row.time.of() - before.time.of();
        let told = row.time.is_told() && before.time.is_told();
        let dated = row.next_day || row.date != before.date;
        // Beyond half a day back it is the next day; a little back is out of order.
        if !told || dated || !(-HALF_DAY..-HALF_DAY / 2).contains(&step) {
            continue;
        }
        if found
            .iter()
            .any(|(slip, _): &(&Row, &Row)| slip.place == before.place)
        {
            continue;
        }
        let near = |a: i64, b: i64| (0..=NEIGHBOUR_MINUTES).contains(&(b - a));
        let earlier = at.checked_sub(2).map(|at| list[at].time.of());
        let later = list.get(at + 1).map(|next| next.time.of());
        // This line half a day later: near the one before, and not after the next.
        let forward = row.time.of() + HALF_DAY;
        let this = near(before.time.of(), forward) && later.is_none_or(|later| forward <= later);
        // The line before half a day earlier: near this one, and not before its own.
        let back = before.time.of() - HALF_DAY;
        let that = near(back, row.time.of()) && earlier.is_none_or(|earlier| earlier <= back);
        match (that, this) {
            (true, false) => found.push((before, row)),
            (false, true) => found.push((row, before)),
            // Both fit; the one whose mending leaves the others where they are.
            (true, true) if later.is_some_and(|later| later < before.time.of()) => {
                found.push((before, row));
            }
            (true, true) => found.push((row, before)),
            (false, false) => {}
        }
    }
    found
}

/// A time in a sentence that the timeline has half a day away.
fn in_prose(reading: &Reading, fact: &Fact) -> Option<Finding> {
    let told = is_summary(fact.kind)
        || matches!(
            fact.kind,
            Kind::Cause | Kind::Resolution | Kind::Detection | Kind::Other | Kind::Timeline
        );
    if !told || !fact.time.is_told() || fact.hedge == Hedge::Near {
        return None;
    }
    let recurs = [
        "every",
        "daily",
        "nightly",
        "each ",
        "usual",
        "schedul",
        "will ",
        "previous",
        "next ",
        "day before",
    ];
    if recurs.iter().any(|word| fact.clause.contains(word)) {
        return None;
    }
    let list: Vec<&Row> = reading.main_rows().collect();
    let gap = |row: &Row| reading.gap(fact.clock(), row.clock());
    if list.len() < 3 || list.iter().any(|row| gap(row).is_none_or(|gap| gap == 0)) {
        return None;
    }
    let row = list
        .iter()
        .find(|row| gap(row).is_some_and(|gap| gap.abs() == DAY / 2) && row.time.is_told())?;
    // A round minute is no evidence; then both must tell of the same.
    let round = fact.time.minute.is_multiple_of(15);
    let same = fact.roles.iter().any(|role| row.is(*role));
    let days = fact.date.as_ref().zip(reading.day());
    if (round && !same) || days.is_some_and(|(a, b)| !a.agrees(b)) {
        return None;
    }
    // Which of the two is near all others?
    let mut others = list.iter().filter(|it| it.place != row.place);
    let first = others.clone().map(|it| it.at).min()?;
    if others
        .clone()
        .any(|it| it.at - first > TIMELINE_MINUTES_MAX)
    {
        return None;
    }
    let near = |gap: i64| gap.abs() <= NEIGHBOUR_MINUTES;
    let sentence = others.clone().any(|it| gap(it).is_some_and(near));
    let line = others.any(|it| near(it.at - row.at));
    let told = |here: Time, place: Place, other: Time, there: Place| {
        let (at, line) = (other.words(), there.line);
        let message = format!("{} here, but {at} in line {line}", here.words());
        Finding::new(Code::ClockSlip, place, message, format!("write {at}")).with(there)
    };
    match (sentence, line) {
        (true, false) => Some(told(row.time, row.place, fact.time, fact.place)),
        (false, true) => Some(told(fact.time, fact.place, row.time, row.place)),
        (true, true) | (false, false) => None,
    }
}
