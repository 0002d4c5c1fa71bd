//! `prose-disagrees`: a sentence and a line of the timeline tell the same at
//! different times.
//!
//! Invariant: compared is only what both tell once, without "about" or "by",
//! and a sentence whose time is any fitting line's is at peace.

use super::{Code, Finding};
use crate::clock::Hedge;
use crate::layout::Kind;
use crate::prose::Fact;
use crate::reading::Reading;
use crate::role::Role;
use crate::rows::Row;

/// Minutes are cut off by some and rounded by others.
const SAME_MINUTES: i64 = 1;
/// Further apart they rather tell of two things.
const FAR_MINUTES: i64 = 6 * 60;

/// What is told once in an incident, and by which words.
const TOLD: &[(Role, &[&str])] = &[
    (
        Role::Begin,
        &[
            "outage",
            "incident",
            "downtime",
            "disruption",
            "interruption",
            "went down",
            "crash",
        ],
    ),
    (Role::Detect, &["alert", "page"]),
    (Role::RollbackFailed, &["roll", "revert", "withdr", "back"]),
    (
        Role::RollbackSucceeded,
        &["roll", "revert", "withdr", "back", "reverse"],
    ),
    (
        Role::Restored(100),
        &[
            "restored",
            "back",
            "routed",
            "online",
            "normal",
            "recovered",
            "resolved",
        ],
    ),
    (
        Role::Change,
        &["push", "deploy", "releas", "upgrad", "insert"],
    ),
];

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    if reading.is_several() {
        return Vec::new();
    }
    let roles = TOLD.iter();
    roles
        .flat_map(|(role, words)| of_role(reading, *role, words))
        .collect()
}

fn of_role(reading: &Reading, role: Role, words: &[&str]) -> Vec<Finding> {
    let says = |low: &str| words.iter().any(|word| low.contains(word));
    let mut rows = reading.main_rows().filter(|row| {
        row.is(role) && (role != Role::Detect || says(&row.text.to_ascii_lowercase()))
    });
    let (Some(row), None) = (rows.next(), rows.next()) else {
        return Vec::new();
    };
    let told: Vec<&Fact> = reading
        .facts
        .iter()
        .filter(|fact| {
            is_plain(fact) && fact.roles.contains(&role) && (says(&fact.clause) || fact.field)
        })
        .collect();
    // Two sentences that tell of two times may tell of two things.
    let differs = told
        .windows(2)
        .any(|pair| pair[0].time.apart(pair[1].time, 0) > SAME_MINUTES);
    if row.near || (differs && role != Role::Begin) {
        return Vec::new();
    }
    told.into_iter()
        .filter_map(|fact| one(reading, role, row, fact))
        .collect()
}

fn is_plain(fact: &Fact) -> bool {
    let other = [
        "some ", "partial", "again", "second ", "first ", "another", "previous", "earlier",
        "staging", "test env", "would",
    ];
    fact.hedge == Hedge::Exact
        && !matches!(fact.kind, Kind::Actions | Kind::Lessons)
        && !other.iter().any(|word| fact.clause.contains(word))
}

fn one(reading: &Reading, role: Role, row: &Row, fact: &Fact) -> Option<Finding> {
    let gap = |row: &Row| reading.gap(fact.clock(), row.clock());
    let apart = gap(row)?;
    if !(SAME_MINUTES + 1..=FAR_MINUTES).contains(&apart.abs()) {
        return None;
    }
    if fact
        .date
        .as_ref()
        .zip(reading.day())
        .is_some_and(|(a, b)| !a.agrees(b))
    {
        return None;
    }
    // Another line at that time may be what the sentence means; only of the
    // outage's beginning the change before it isn't.
    let meant = reading.main_rows().any(|it| {
        let there = gap(it).is_none_or(|gap| gap.abs() <= SAME_MINUTES);
        there
            && (role != Role::Begin
                || it.is(Role::Begin)
                || it.is(Role::Symptom)
                || it.is(Role::Detect))
    });
    // What was pushed before may have been built, merged or announced first.
    let early =
        role == Role::Change && apart < 0 && !matches!(fact.kind, Kind::Cause | Kind::Summary);
    if meant || early {
        return None;
    }
    let message = format!(
        "{} is told at {} here and at {} in the timeline (line {})",
        role.words(),
        fact.time.words(),
        row.time.words(),
        row.place.line,
    );
    let repair = format!(
        "write {}, or mend line {}",
        row.time.words(),
        row.place.line
    );
    Some(Finding::new(Code::ProseDisagrees, fact.place, message, repair).with(row.place))
}
