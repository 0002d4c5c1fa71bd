//! `effect-before-cause`: traffic back before it was lost, a rollback of what was
//! found only later, an acknowledgement of an alert to come.
//!
//! Invariant: what may have come before the outage for its own reasons (an early
//! alert, a rollback that was its cause) is never told.

use super::{Code, Finding};
use crate::clock::{Half, Hedge, Time};
use crate::layout::Kind;
use crate::outage::{begin_rows, end_rows};
use crate::prose::Fact;
use crate::reading::Reading;
use crate::role::Role;
use crate::rows::Row;

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    if reading.is_several() {
        return Vec::new();
    }
    let mut found: Vec<Finding> = Vec::new();
    found.extend(
        reading
            .facts
            .iter()
            .filter_map(|fact| back_too_soon(reading, fact)),
    );
    found.extend(row_too_soon(reading));
    found.extend(acknowledged_too_soon(reading));
    found.extend(
        reading
            .facts
            .windows(2)
            .filter_map(|pair| undone_too_soon(&pair[0], &pair[1])),
    );
    found
}

fn is_restored(fact: &Fact) -> bool {
    fact.roles
        .iter()
        .any(|role| matches!(role, Role::Restored(_)))
}

/// A sentence has traffic back before the timeline begins.
fn back_too_soon(reading: &Reading, fact: &Fact) -> Option<Finding> {
    let told = !matches!(fact.kind, Kind::Actions | Kind::Lessons | Kind::Timeline);
    if !told || !is_restored(fact) || fact.hedge != Hedge::Exact || fact.time.half == Half::Open {
        return None;
    }
    let begin = begin_rows(reading).next()?;
    if begin.time.half == Half::Open
        || fact
            .date
            .as_ref()
            .zip(reading.day())
            .is_some_and(|(a, b)| !a.agrees(b))
    {
        return None;
    }
    // Around the whole timeline: not in it, but before its first line.
    let first = reading.main_rows().min_by_key(|row| row.at)?;
    let last = reading.main_rows().max_by_key(|row| row.at)?;
    let gap = |row: &Row| reading.gap(fact.clock(), row.clock());
    let before = gap(first)?;
    const LONG: i64 = 8 * 60;
    if !(-LONG..0).contains(&before) || last.at - first.at > LONG {
        return None;
    }
    let role = fact
        .roles
        .iter()
        .find(|role| matches!(role, Role::Restored(_)))?;
    let message = format!(
        "{} is told at {}, before the outage began at {} (line {})",
        role.words(),
        fact.time.words(),
        begin.time.words(),
        begin.place.line,
    );
    let repair = match fitting_hour(reading, fact, *role) {
        Some(time) => format!("{} would fit", time.words()),
        None => format!("mend this time, or line {}", begin.place.line),
    };
    Some(Finding::new(Code::EffectBeforeCause, fact.place, message, repair).with(begin.place))
}

/// The same minute of the only hour in which the time would fit the timeline.
fn fitting_hour(reading: &Reading, fact: &Fact, role: Role) -> Option<Time> {
    let repaired = |row: &&Row| {
        row.is(Role::RollbackSucceeded) || row.is(Role::Restart) || row.is(Role::Begin)
    };
    let from = reading
        .main_rows()
        .filter(repaired)
        .max_by_key(|row| row.at)?;
    let to = end_rows(reading).last()?;
    let hours = (0..24u16).map(|hour| {
        let minute = hour * 60 + fact.time.minute % 60;
        let half = match fact.time.half {
            Half::Am | Half::Pm if minute < 720 => Half::Am,
            Half::Am | Half::Pm => Half::Pm,
            Half::Day | Half::Open => fact.time.half,
        };
        Time { minute, half }
    });
    let whole = role == Role::Restored(100);
    let mut fits = hours.filter(|time| {
        let since = (time.of() - from.time.of()).rem_euclid(crate::clock::DAY);
        let all = to.at - from.at;
        if whole {
            since == all
        } else {
            since > 0 && since <= all
        }
    });
    let first = fits.next()?;
    fits.next().is_none().then_some(first)
}

/// A line has all traffic back, and only after it comes the one that loses it.
fn row_too_soon(reading: &Reading) -> Option<Finding> {
    let begin = begin_rows(reading).next()?;
    let end = end_rows(reading).last()?;
    let again = reading
        .main_rows()
        .any(|row| row.at > begin.at && (row.is(Role::Mitigated) || row.is(Role::Fixed)));
    if end.place > begin.place || end.at >= begin.at || again || begin.near || end.near {
        return None;
    }
    // A list that goes back in time is in order.
    let rows: Vec<Row> = reading.main_rows().cloned().collect();
    if crate::rows::descends(&rows) {
        return None;
    }
    let message = format!(
        "all is back at {}, before the outage begins at {} (line {})",
        end.time.words(),
        begin.time.words(),
        begin.place.line,
    );
    let repair = format!("mend this time, or line {}", begin.place.line);
    Some(Finding::new(Code::EffectBeforeCause, end.place, message, repair).with(begin.place))
}

/// The only acknowledgement comes before every alert.
fn acknowledged_too_soon(reading: &Reading) -> Option<Finding> {
    let mut rows = reading.main_rows().filter(|row| row.is(Role::Acknowledge));
    let (row, None) = (rows.next()?, rows.next()) else {
        return None;
    };
    let alert = reading
        .main_rows()
        .filter(|it| it.is(Role::Detect))
        .min_by_key(|it| it.at)?;
    if row.at >= alert.at || row.near || alert.near {
        return None;
    }
    let message = format!(
        "the alert is acknowledged at {}, but it comes at {} (line {})",
        row.time.words(),
        alert.time.words(),
        alert.place.line,
    );
    let repair = format!("mend this time, or line {}", alert.place.line);
    Some(Finding::new(Code::EffectBeforeCause, row.place, message, repair).with(alert.place))
}

/// Told in this order: the cause is found, then it is undone, at an earlier time.
fn undone_too_soon(found: &Fact, undone: &Fact) -> Option<Finding> {
    let rollback = [
        Role::RollbackStarted,
        Role::RollbackFailed,
        Role::RollbackSucceeded,
    ];
    let undoes = undone.roles.iter().any(|role| rollback.contains(role));
    let had = ["had ", "earlier", "already", "previously", "again"];
    let plain = |fact: &Fact| {
        fact.leads
            && fact.hedge == Hedge::Exact
            && fact.time.half != Half::Open
            && !had.iter().any(|word| fact.clause.contains(word))
    };
    let same = found.section == undone.section && found.date == undone.date;
    // Further back it is rather over midnight.
    let gap = found.time.of() - undone.time.of();
    const FAR: i64 = 6 * 60;
    if !same
        || !undoes
        || !found.roles.contains(&Role::Identify)
        || !plain(found)
        || !plain(undone)
        || !(1..FAR).contains(&gap)
    {
        return None;
    }
    let message = format!(
        "the cause is found at {}, but undone already at {} (line {})",
        found.time.words(),
        undone.time.words(),
        undone.place.line,
    );
    let repair = format!("mend this time, or line {}", undone.place.line);
    Some(Finding::new(Code::EffectBeforeCause, found.place, message, repair).with(undone.place))
}
