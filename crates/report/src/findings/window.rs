//! `summary-window-mismatch`: "from ... to ..." in the summary, against the timeline.
//!
//! Invariant: a window is held against lines that say "begins" and "is back";
//! without them only against an alert that comes before it.

use super::{Code, Finding};
use crate::clock::{Hedge, Time};
use crate::outage::{begin_rows, end_rows, is_summary};
use crate::prose::Window;
use crate::reading::Reading;
use crate::role::Role;
use crate::rows::Row;

/// Clocks that are read to the minute differ by one.
const SAME_MINUTES: i64 = 1;
/// What is told to be around a time.
const NEAR_MINUTES: i64 = 15;

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    if reading.is_several() {
        return Vec::new();
    }
    let windows = reading
        .windows
        .iter()
        .filter(|window| is_summary(window.kind));
    windows.flat_map(|window| one(reading, window)).collect()
}

fn one(reading: &Reading, window: &Window) -> Vec<Finding> {
    let reach = match window.hedge {
        Hedge::Exact => SAME_MINUTES,
        Hedge::Near => NEAR_MINUTES,
        Hedge::Bound => return Vec::new(),
    };
    let gap = |time: Time, row: &Row| reading.gap((time, window.zone.as_ref()), row.clock());
    let fits =
        |time: Time, row: &Row| gap(time, row).is_none_or(|gap| gap.abs() <= reach) || row.near;
    let mut found = Vec::new();
    let begins: Vec<&Row> = begin_rows(reading).collect();
    let starts = |row: &&Row| {
        row.is(Role::Begin)
            || row.is(Role::Detect)
            || row.is(Role::Symptom)
            || row.is(Role::Declared)
    };
    // A first symptom may well be what the summary counts from.
    let told = reading
        .main_rows()
        .filter(starts)
        .any(|row| fits(window.from, row));
    match begins.first() {
        Some(begin) if !told => {
            let what = "the timeline lets it begin at";
            found.push(finding(window, window.from, begin, what));
        }
        None if !told => found.extend(late_start(reading, window, fits)),
        _ => {}
    }
    let ends: Vec<&Row> = end_rows(reading).collect();
    let any = reading
        .main_rows()
        .any(|row| fits(window.to, row) && !row.is(Role::Change));
    if let Some(end) = ends.last().filter(|_| !any) {
        found.push(finding(
            window,
            window.to,
            end,
            "the timeline lets it end at",
        ));
    }
    found
}

/// No line begins it, but an alert comes before the window does.
fn late_start(
    reading: &Reading,
    window: &Window,
    fits: impl Fn(Time, &Row) -> bool,
) -> Option<Finding> {
    if reading.main_rows().any(|row| fits(window.from, row)) {
        return None;
    }
    let detect = reading.main_rows().find(|row| row.is(Role::Detect))?;
    let gap = reading.gap((window.from, window.zone.as_ref()), detect.clock())?;
    (gap > 0).then(|| {
        finding(
            window,
            window.from,
            detect,
            "the timeline has the alert already at",
        )
    })
}

fn finding(window: &Window, time: Time, row: &Row, what: &str) -> Finding {
    let message = format!(
        "the outage is told from {} to {}, but {what} {} (line {})",
        window.from.words(),
        window.to.words(),
        row.time.words(),
        row.place.line,
    );
    let repair = format!(
        "write {} here instead of {}, or mend line {}",
        row.time.words(),
        time.words(),
        row.place.line
    );
    Finding::new(Code::SummaryWindowMismatch, window.place, message, repair).with(row.place)
}
