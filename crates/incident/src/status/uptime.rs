//! How much of each of the newest 90 days a component was there.
//!
//! Invariant: what two incidents share counts once, and a day has no more bad
//! seconds than seconds.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use model::incident::{Component, Severity};
use model::{Millis, Timestamp};

use super::{shown, touches};
use crate::oncall::zone;
use crate::state::{Incident, State, TurnKind};

/// Days that are looked back, today among them.
pub const DAYS: usize = 90;
/// A second of a partial outage counts so much of a hundred (as Statuspage counts it).
const PARTIAL_PERCENT: u64 = 30;

/// A day, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// Which.
    pub date: Date,
    /// Seconds of major outages.
    pub major_s: u64,
    /// Seconds of partial outages beside them.
    pub partial_s: u64,
}

impl Day {
    /// Share of a day on which it was there, in parts of a million.
    pub fn up_ppm(days: &[Day]) -> u64 {
        let seconds = 86_400 * days.len().max(1) as u64;
        let bad = days
            .iter()
            .map(|day| day.major_s * 100 + day.partial_s * PARTIAL_PERCENT);
        let bad: u64 = bad.sum();
        1_000_000 - (bad * 10_000 / seconds).min(1_000_000)
    }
}

type Span = (Timestamp, Timestamp);

/// The newest [`DAYS`] days, the newest last.
pub fn uptime(state: &State, component: &Component, now: Timestamp) -> Vec<Day> {
    let incidents = state.incidents.values();
    let ours = incidents.filter(|it| shown(it) && touches(it, component));
    let mut spans: Vec<(Severity, Span)> = ours.flat_map(|it| bad(it, now)).collect();
    spans.sort_by_key(|(_, span)| *span);
    let major = spans.iter().filter(|it| it.0 == Severity::Sev1);
    let major = merged(major.map(|(_, span)| *span));
    let all = merged(spans.iter().map(|(_, span)| *span));
    let today = TimeZone::UTC.to_datetime(now).date();
    let dates = std::iter::successors(Some(today), |date| date.yesterday().ok());
    let mut days: Vec<Day> = dates
        .take(DAYS)
        .map(|date| {
            let (from, until) = (midnight(date), midnight(date.tomorrow().unwrap_or(date)));
            let major_s = within(&major, from, until);
            Day {
                date,
                major_s,
                partial_s: within(&all, from, until).saturating_sub(major_s),
            }
        })
        .collect();
    days.reverse();
    days
}

fn midnight(date: Date) -> Timestamp {
    zone::instant(&TimeZone::UTC, date, jiff::civil::Time::midnight())
}

/// When an incident was an outage.
fn bad(incident: &Incident, now: Timestamp) -> Vec<(Severity, Span)> {
    let ends = incident
        .turns
        .iter()
        .skip(1)
        .map(|turn| turn.at)
        .chain([now]);
    let spans = incident.turns.iter().zip(ends);
    let outages = spans.filter_map(|(turn, end)| match turn.kind {
        TurnKind::Troubled(severity) if severity <= Severity::Sev2 => {
            Some((severity, (turn.at, end)))
        }
        TurnKind::Troubled(_) | TurnKind::Calm | TurnKind::Resolved => None,
    });
    outages.collect()
}

/// Spans in the order of their beginnings, put together where they touch.
fn merged(spans: impl Iterator<Item = Span>) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::new();
    for (from, until) in spans {
        match out.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            Some(_) | None => out.push((from, until)),
        }
    }
    out
}

fn within(spans: &[Span], from: Timestamp, until: Timestamp) -> u64 {
    let inside = spans
        .iter()
        .map(|span| (span.0.max(from), span.1.min(until)));
    let inside = inside.filter(|(from, until)| from < until);
    inside
        .map(|(from, until)| Millis::between(from, until).0 / 1000)
        .sum()
}
