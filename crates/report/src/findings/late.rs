//! `late-detection`: most of the outage was over before anybody knew, and the
//! report doesn't say why; or says that they knew at once.
//!
//! Invariant: a report that looks into its own detection is at peace.

use super::{Code, Finding};
use crate::clock::Hedge;
use crate::outage::{begin_rows, between, end_rows};
use crate::reading::Reading;
use crate::role::Role;
use crate::rows::Row;

/// Sooner than this, somebody looked at it first.
const LATE_MINUTES: i64 = 30;
/// What is at once, immediate or prompt comes within so many minutes.
const PROMPT_MINUTES: i64 = 15;

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    found(reading).into_iter().collect()
}

fn found(reading: &Reading) -> Option<Finding> {
    if reading.is_several() {
        return None;
    }
    let begin = begin_rows(reading).next()?;
    let end = end_rows(reading).last()?;
    let known = |row: &&Row| {
        row.is(Role::Detect)
            || row.is(Role::Acknowledge)
            || row.is(Role::Declared)
            || row.is(Role::Identify)
            || row.text.to_ascii_lowercase().contains("investigat")
    };
    let detect = reading.main_rows().filter(known).min_by_key(|row| row.at)?;
    let prompt = reading.facts.iter().any(|fact| {
        fact.hedge == Hedge::Exact
            && fact.roles.contains(&Role::Detect)
            && fact.time.apart(detect.time, 0) <= 1
            && ["immediately", "promptly", "at once", "instantly"]
                .iter()
                .any(|word| fact.clause.contains(word))
    });
    let late = between(begin, detect);
    let all = between(begin, end);
    if detect.at <= begin.at || begin.near || detect.near || late > all {
        return None;
    }
    let unseen = late >= LATE_MINUTES && late * 2 > all && !is_explained(reading);
    let contradicted = prompt && late > PROMPT_MINUTES;
    if !(unseen || contradicted) {
        return None;
    }
    let message = format!(
        "the outage is noticed at {}, {late} of its {all} minutes after it began at {} (line {})",
        detect.time.words(),
        begin.time.words(),
        begin.place.line,
    );
    let repair = if prompt && !unseen {
        "mend one of the times, or don't call it prompt"
    } else {
        "mend one of the times, or say why nobody was alerted before"
    };
    Some(Finding::new(Code::LateDetection, detect.place, message, repair).with(begin.place))
}

/// Some sentence, other than the line itself, is about how it was noticed.
fn is_explained(reading: &Reading) -> bool {
    let words = [
        "alert",
        "monitor",
        "detect",
        "notice",
        "unaware",
        "no one",
        "nobody",
        "visib",
        "dashboard",
        "synthetic",
    ];
    let rows: Vec<u32> = reading.rows.iter().map(|row| row.place.line).collect();
    reading.blocks.iter().any(|block| {
        !rows.contains(&block.text.place(0).line)
            && words.iter().any(|word| block.text.low.contains(word))
    })
}
