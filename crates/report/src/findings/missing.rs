//! `begin-missing`, `restored-missing`, `detection-missing`, `trigger-missing`.
//!
//! Invariant: only a report with a timeline is asked for them, and any word
//! anywhere that may tell it is enough.

use super::{Code, Finding};
use crate::outage::{self, Outage};
use crate::reading::Reading;
use crate::role::Role;
use crate::rows::Row;

/// A shorter list is an excerpt.
const ROWS_MIN: usize = 3;

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    let rows: Vec<&Row> = reading.main_rows().collect();
    let [first, .., last] = rows.as_slice() else {
        return Vec::new();
    };
    if rows.len() < ROWS_MIN || reading.is_several() {
        return Vec::new();
    }
    let outage = outage::of(reading);
    let mut found = Vec::new();
    found.extend(begin(reading, &rows, &outage).map(|it| it.with(first.place)));
    found.extend(restored(reading, &rows, &outage).map(|it| it.with(last.place)));
    found.extend(detection(reading, &rows, &outage));
    found.extend(trigger(reading, &rows, &outage));
    found
}

fn says(reading: &Reading, words: &[&str]) -> bool {
    reading
        .blocks
        .iter()
        .any(|block| words.iter().any(|word| block.text.low.contains(word)))
}

fn row_says(rows: &[&Row], words: &[&str]) -> bool {
    rows.iter().any(|row| {
        let low = row.text.to_ascii_lowercase();
        words.iter().any(|word| low.contains(word))
    })
}

fn begin(reading: &Reading, rows: &[&Row], outage: &Outage) -> Option<Finding> {
    let role = |role: Role| rows.iter().any(|row| row.is(role));
    // Only what ends an outage shows that there was one.
    let ends = role(Role::Restored(100)) || role(Role::RollbackSucceeded);
    let unknown = rows.iter().any(|row| is_unknown(row));
    if outage.begin.is_some() || !reading.claims.is_empty() || !ends || unknown {
        return None;
    }
    let first = rows.first()?;
    let message = format!(
        "no line, sentence or span says when the outage began; the timeline begins with {} (line {})",
        first.time.words(),
        first.place.line,
    );
    Some(Finding::new(
        Code::BeginMissing,
        first.place,
        message,
        "add the line at which requests began to fail",
    ))
}

/// It may tell that it began, in words that nobody thought of.
fn is_unknown(row: &Row) -> bool {
    let symptoms = [
        "error", "fail", "down", "stop", "crash", "slow", "latency", "timeout", "high", "unavail",
    ];
    let low = row.text.to_ascii_lowercase();
    let back = matches!(
        row.roles.first(),
        Some(
            Role::RollbackStarted
                | Role::RollbackFailed
                | Role::RollbackSucceeded
                | Role::Restart
                | Role::Restored(_)
        )
    );
    row.roles.is_empty() || (!back && symptoms.iter().any(|word| low.contains(word)))
}

fn restored(reading: &Reading, rows: &[&Row], outage: &Outage) -> Option<Finding> {
    let told = [
        "restor",
        "resolv",
        "recover",
        "back",
        "normal",
        "fixed",
        "mitigat",
        "online",
        "operational",
        "complet",
        "closed",
        "ended",
        "ends",
        "over",
        "stabl",
        "clear",
        "working",
        "available",
        "healthy",
        "success",
        "100",
        "resum",
        "return",
        "end of",
    ];
    let ongoing = [
        "ongoing",
        "still investigating",
        "in progress",
        "continue to monitor",
        "not yet resolved",
    ];
    let begins = rows.iter().any(|row| row.is(Role::Begin));
    let tail = |rows: &[&Row]| {
        let after: Vec<&Row> = rows
            .iter()
            .skip(1)
            .filter(|row| !back_only(row))
            .copied()
            .collect();
        row_says(&after, &told)
    };
    if outage.restored.is_some()
        || !reading.claims.is_empty()
        || !begins
        || tail(rows)
        || says(reading, &ongoing)
    {
        return None;
    }
    let last = rows.last()?;
    let message = format!(
        "no line, sentence or span says when all was back; the timeline ends with {} (line {})",
        last.time.words(),
        last.place.line,
    );
    Some(Finding::new(
        Code::RestoredMissing,
        last.place,
        message,
        "add the line at which all traffic was served again",
    ))
}

/// A rollback alone brings nothing back, and neither does a restart.
fn back_only(row: &Row) -> bool {
    let rollback = row.is(Role::RollbackStarted)
        || row.is(Role::RollbackFailed)
        || row.is(Role::RollbackSucceeded);
    let partly = row
        .roles
        .iter()
        .any(|role| matches!(role, Role::Restored(percent) if *percent < 100));
    rollback || partly || (row.is(Role::Restart) && row.roles.len() == 1)
}

fn detection(reading: &Reading, rows: &[&Row], outage: &Outage) -> Option<Finding> {
    let told = [
        "alert",
        "page",
        "detect",
        "notic",
        "monitor",
        "report",
        "complain",
        "ticket",
        "discover",
        "found",
        "observ",
        "aware",
        "identif",
        "investigat",
        "alarm",
        "notif",
        "call",
        "learn",
        "saw",
        "spotted",
        "acknowledg",
    ];
    // A title names the report itself.
    let mut blocks = reading.blocks.iter().filter(|block| {
        block.shape != crate::layout::Shape::Heading
            && !matches!(block.kind, crate::layout::Kind::Actions)
    });
    let seen = blocks.any(|block| {
        let low = block
            .text
            .low
            .replace("incident report", "")
            .replace("postmortem report", "");
        told.iter().any(|word| low.contains(word))
    });
    let (begin, _) = (outage.begin?, outage.restored?);
    if seen || rows.len() <= ROWS_MIN {
        return None;
    }
    let message = format!(
        "nothing says who or what noticed the outage after {} (line {})",
        begin.time.words(),
        begin.place.line,
    );
    Some(Finding::new(
        Code::DetectionMissing,
        begin.place,
        message,
        "add the line at which somebody was alerted, or saw it",
    ))
}

fn trigger(reading: &Reading, rows: &[&Row], outage: &Outage) -> Option<Finding> {
    let told = [
        "cause",
        "because",
        "due to",
        "trigger",
        "chang",
        "deploy",
        "push",
        "releas",
        "upgrad",
        "updat",
        "config",
        "migrat",
        "led to",
        "result",
        "bug",
        "overload",
        "traffic spike",
        "expired",
        "fault",
        "attack",
        "exhaust",
        "leak",
        "hardware",
        "power",
        "network",
        "disk",
        "reason",
        "why",
        "human error",
        "mistake",
        "cut",
        "misconfig",
        "limit",
        "quota",
        "load",
        "certificate",
    ];
    let (begin, _) = (outage.begin?, outage.restored?);
    if says(reading, &told) || rows.len() <= ROWS_MIN {
        return None;
    }
    let message = format!(
        "nothing says what led to the outage at {} (line {})",
        begin.time.words(),
        begin.place.line,
    );
    Some(Finding::new(
        Code::TriggerMissing,
        begin.place,
        message,
        "say what changed before it, or that it isn't known",
    ))
}
