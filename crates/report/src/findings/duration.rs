//! `duration-mismatch`: how long it lasted, against when it began and ended.
//!
//! Invariant: a span that is the length of any outage that the report tells of,
//! in its timeline or its summary, is no contradiction.

use super::{Code, Finding};
use crate::clock::Hedge;
use crate::outage::{begin_rows, between, end_rows};
use crate::prose::Claim;
use crate::reading::Reading;
use crate::role::Role;
use crate::rows::Row;

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    if reading.is_several() {
        return reading
            .claims
            .iter()
            .filter_map(|claim| in_section(reading, claim))
            .collect();
    }
    reading
        .claims
        .iter()
        .filter_map(|claim| one(reading, claim))
        .collect()
}

fn one(reading: &Reading, claim: &Claim) -> Option<Finding> {
    let begins: Vec<&Row> = begin_rows(reading).collect();
    let ends: Vec<&Row> = end_rows(reading).collect();
    let (Some(begin), Some(end)) = (begins.first(), ends.last()) else {
        return in_section(reading, claim);
    };
    let fits = |minutes: i64| (minutes - claim.span.minutes).abs() <= claim.span.tolerance;
    let spans = begins
        .iter()
        .flat_map(|begin| ends.iter().map(|end| between(begin, end)));
    // Mitigation ends an outage for many; so does what the summary says of it.
    let mitigated = reading.main_rows().filter(|row| row.is(Role::Mitigated));
    let to_mitigated = mitigated.map(|row| between(begin, row));
    let windows = reading
        .windows
        .iter()
        .filter(|it| !it.days)
        .map(|it| it.minutes());
    if spans.chain(to_mitigated).chain(windows).any(fits) || begin.near || end.near {
        return None;
    }
    // Several outages add up to more than one of them.
    if begins.len() > 1 && ends.len() > 1 {
        return None;
    }
    let truth = between(begin, end);
    let mut message = format!(
        "{} are claimed here, but the timeline has {}: from {} (line {}) to {} (line {})",
        minutes(claim.span.minutes),
        minutes(truth),
        begin.time.words(),
        begin.place.line,
        end.time.words(),
        end.place.line,
    );
    if let Some(other) = other_span(reading, begin, end, fits) {
        message = format!("{message}; {other}");
    }
    let repair = format!(
        "write {}, or say what the span counts from and to",
        minutes(truth)
    );
    Some(Finding::new(Code::DurationMismatch, claim.place, message, repair).with(end.place))
}

/// Which other span of the timeline the claim is.
fn other_span(
    reading: &Reading,
    begin: &Row,
    end: &Row,
    fits: impl Fn(i64) -> bool,
) -> Option<String> {
    let told = |from: &Row, from_role: Role, to: &Row, to_role: Role| {
        format!(
            "it is the span from {} at {} (line {}) to {} at {} (line {})",
            from_role.words(),
            from.time.words(),
            from.place.line,
            to_role.words(),
            to.time.words(),
            to.place.line,
        )
    };
    let back = Role::Restored(100);
    for role in [Role::Change, Role::Detect, Role::Acknowledge] {
        let mut rows = reading.main_rows().filter(|row| row.is(role));
        if let Some(row) = rows.find(|row| row.at <= end.at && fits(between(row, end))) {
            return Some(told(row, role, end, back));
        }
    }
    for role in [Role::Closed, Role::RollbackSucceeded, Role::Fixed] {
        let mut rows = reading.main_rows().filter(|row| row.is(role));
        if let Some(row) = rows.find(|row| row.at >= begin.at && fits(between(begin, row))) {
            return Some(told(begin, Role::Begin, row, role));
        }
    }
    None
}

/// Without a timeline: the claim against the only window of its own section.
fn in_section(reading: &Reading, claim: &Claim) -> Option<Finding> {
    let own = |section: usize| section == claim.section;
    let mut windows = reading.windows.iter().filter(|it| own(it.section));
    let window = windows.next()?;
    let only =
        windows.next().is_none() && reading.claims.iter().filter(|it| own(it.section)).count() == 1;
    let gap = (window.minutes() - claim.span.minutes).abs();
    // Whole days more are no contradiction of two times of day.
    let fits = gap <= claim.span.tolerance || claim.span.minutes > 20 * 60;
    if !only || fits || window.days || window.hedge == Hedge::Near || claim.kind != window.kind {
        return None;
    }
    let truth = window.minutes();
    let message = format!(
        "{} are claimed here, but from {} to {} (line {}) are {}",
        minutes(claim.span.minutes),
        window.from.words(),
        window.to.words(),
        window.place.line,
        minutes(truth),
    );
    let repair = format!("write {}, or mend the times", minutes(truth));
    Some(Finding::new(Code::DurationMismatch, claim.place, message, repair).with(window.place))
}

/// "37 minutes", "3 h 42 min".
fn minutes(minutes: i64) -> String {
    match (minutes / 60, minutes % 60) {
        (0, 1) => "1 minute".to_owned(),
        (0, minutes) => format!("{minutes} minutes"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}
