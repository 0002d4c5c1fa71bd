//! `out-of-order`: a line of a timeline that stands among later ones.
//!
//! Invariant: a list that is not by time at all (by team, by host) is left
//! alone, and so is a step back that may be the next day.

use super::slips::slipped;
use super::{Code, Finding};
use crate::clock::HALF_DAY;
use crate::reading::Reading;
use crate::rows::{self, Row};

/// Of so many lines one may be out of place before the list counts as unordered.
const ONE_IN: usize = 6;

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    let lists = reading.rows.chunk_by(|a, b| a.list == b.list);
    lists.flat_map(one).collect()
}

fn one(list: &[Row]) -> Vec<Finding> {
    let slips = slipped(list);
    let mut rows: Vec<&Row> = list
        .iter()
        .filter(|row| !row.near && !slips.iter().any(|(slip, _)| slip.place == row.place))
        .collect();
    let down = rows::descends(list);
    if down {
        rows.reverse();
    }
    let zones = rows
        .iter()
        .filter_map(|row| row.zone.as_ref())
        .map(|zone| &zone.family);
    let mut zones: Vec<&String> = zones.collect();
    zones.dedup();
    // Lines in several zones need all their offsets to be put in order.
    if rows.len() < 3 || zones.len() > 1 {
        return Vec::new();
    }
    let times = unrolled(&rows);
    let kept = longest(&times);
    let lost = rows.len() - kept.len();
    if lost == 0 || lost > (rows.len() / ONE_IN).max(1) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for at in (0..rows.len()).filter(|at| !kept.contains(at)) {
        let (row, time) = (rows[at], times[at]);
        // A line that it stands on the wrong side of.
        let other = (0..rows.len())
            .filter(|it| kept.contains(it))
            .find(|it| (*it < at && times[*it] > time) || (*it > at && times[*it] < time));
        let Some(other) = other.map(|other| rows[other]) else {
            continue;
        };
        let after = (row.place < other.place) == (row.at > other.at);
        let message = format!(
            "{} (line {}) stands {} {} (line {}) in a timeline that goes {}",
            row.time.words(),
            row.place.line,
            if row.place < other.place {
                "before"
            } else {
                "after"
            },
            other.time.words(),
            other.place.line,
            if down { "back in time" } else { "on in time" },
        );
        let repair = if after || !down {
            "move the line to its place, or mend its time"
        } else {
            "mend its time, or move the line to its place"
        };
        found.push(Finding::new(Code::OutOfOrder, row.place, message, repair).with(other.place));
    }
    found
}

/// Minutes that go on over midnight wherever a step back is larger than a
/// quarter of a day: then it is rather the next day.
fn unrolled(rows: &[&Row]) -> Vec<i64> {
    let mut ahead = 0;
    let mut found = Vec::with_capacity(rows.len());
    let mut last: Option<i64> = None;
    for row in rows {
        let at = row.at + ahead;
        if last.is_some_and(|last| at - last < -HALF_DAY / 2 && at - last > -2 * HALF_DAY)
            && row.date.is_none()
        {
            ahead += 2 * HALF_DAY;
        }
        let at = row.at + ahead;
        last = Some(at);
        found.push(at);
    }
    found
}

/// The places of a longest part that never goes back; of two that could go, the
/// one that steps back goes, not the one before it.
fn longest(times: &[i64]) -> Vec<usize> {
    // From its end and upside down the first of several has the earliest lines.
    let turned: Vec<i64> = times.iter().rev().map(|time| -time).collect();
    let last = times.len().saturating_sub(1);
    let mut found: Vec<usize> = rising(&turned).into_iter().map(|at| last - at).collect();
    found.reverse();
    found
}

fn rising(times: &[i64]) -> Vec<usize> {
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; times.len()];
    for (at, time) in times.iter().enumerate() {
        let length = tails.partition_point(|tail| times[*tail] <= *time);
        before[at] = length.checked_sub(1).and_then(|it| tails.get(it)).copied();
        match tails.get_mut(length) {
            Some(tail) => *tail = at,
            None => tails.push(at),
        }
    }
    let mut found = Vec::new();
    let mut at = tails.last().copied();
    while let Some(now) = at {
        found.push(now);
        at = before[now];
    }
    found.reverse();
    found
}
