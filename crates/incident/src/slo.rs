//! What is promised, how fast the budget of errors is used, and what will be full when.
//!
//! Two windows must agree before anybody is told: the long one says that it
//! matters, the short one that it still goes on (multi-window, multi-burn-rate
//! alerts of "The Site Reliability Workbook", chapter 5). Findings become alerts
//! like any other ([`Burn::alert`]), so they are silenced, grouped and ended as
//! all of them are. Nothing here is journaled.
//!
//! Invariant: comparisons are made with integers, so equal counts give equal
//! answers everywhere.

mod ring;
pub mod rules;
pub mod slope;

use std::collections::BTreeMap;

use model::incident::Objective;
use model::{Millis, Timestamp};

pub use ring::Ring;

use crate::alerts::{Incoming, RESOLVE_AFTER};

/// The long window must hold so many requests: below it one failure is a share that looks like an outage.
pub const EVENTS_MIN: u64 = 100;
/// And so many bad ones.
pub const BAD_MIN: u64 = 10;
/// The name of alerts about budgets.
pub const BURN_ALERT: &str = "ErrorBudgetBurn";

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const MILLION: u64 = 1_000_000;

/// Two windows, and how many times too fast the budget is used in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Seconds.
    pub long: u64,
    /// Seconds.
    pub short: u64,
    /// In tenths: 144 is 14.4 times.
    pub factor_tenths: u64,
    /// Whether somebody is woken.
    pub page: bool,
}

/// The worst first. 14.4 uses 2 % of a month's budget in an hour, 6 uses 5 % in six, 3 and 1 use 10 % in one and three days.
pub const WINDOWS: [Windows; 4] = [
    windows(HOUR, 5 * MINUTE, 144, true),
    windows(6 * HOUR, 30 * MINUTE, 60, true),
    windows(DAY, 2 * HOUR, 30, false),
    windows(3 * DAY, 6 * HOUR, 10, false),
];

const fn windows(long: u64, short: u64, factor_tenths: u64, page: bool) -> Windows {
    Windows {
        long,
        short,
        factor_tenths,
        page,
    }
}

/// Requests of one objective, in memory that does not grow with time.
#[derive(Debug, Clone)]
pub struct Counters {
    /// For windows up to an hour.
    seconds: Ring,
    /// For windows up to three days.
    minutes: Ring,
    /// For the objective's own window.
    hours: Ring,
    window: u64,
    since: Option<Timestamp>,
}

/// Good requests, and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Kept the promise.
    pub good: u64,
    /// There were.
    pub total: u64,
}

impl Count {
    /// Broke it.
    pub fn bad(self) -> u64 {
        self.total.saturating_sub(self.good)
    }
}

/// The budget is used too fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Burn {
    /// Which windows say so.
    pub windows: Windows,
    /// What they counted in the long one.
    pub count: Count,
    /// How many times too fast, in tenths.
    pub factor_tenths: u64,
    /// When the budget is gone at this rate; none: it is.
    pub gone_in: Option<Millis>,
    /// In a sentence.
    pub words: String,
}

impl Counters {
    /// Nothing was counted yet.
    pub fn new(objective: &Objective) -> Counters {
        let window = u64::from(objective.window_days.max(1)) * DAY;
        Counters {
            seconds: Ring::new(30, HOUR),
            minutes: Ring::new(5 * MINUTE, 3 * DAY),
            hours: Ring::new(HOUR, window),
            window,
            since: None,
        }
    }

    /// Requests that ended about `at`. What is older than a window is not of it.
    pub fn add(&mut self, at: Timestamp, count: Count) {
        self.since = Some(self.since.map_or(at, |since| since.min(at)));
        for ring in [&mut self.seconds, &mut self.minutes, &mut self.hours] {
            ring.add(at, count);
        }
    }

    /// Requests of the newest `window` seconds.
    pub fn of(&self, window: u64, now: Timestamp) -> Count {
        let ring = match window {
            0..=HOUR => &self.seconds,
            window if window <= 3 * DAY => &self.minutes,
            _ => &self.hours,
        };
        ring.sum(window, now)
    }

    /// How much of the budget is left, in thousandths; the traffic so far stands for the whole window.
    pub fn left_permille(&self, objective: &Objective, now: Timestamp) -> u64 {
        let count = self.of(self.window, now);
        let since = self.since.unwrap_or(now);
        let covered = (Millis::between(since, now).0 / 1000).clamp(HOUR, self.window);
        let expected = u128::from(count.total) * u128::from(self.window) / u128::from(covered);
        let allowed = expected * u128::from(spare(objective));
        let used = u128::from(count.bad()) * u128::from(MILLION) * 1000;
        let used = used.checked_div(allowed).unwrap_or(0);
        1000 - u64::try_from(used).unwrap_or(1000).min(1000)
    }
}

/// Bad requests of a million that the promise bears.
fn spare(objective: &Objective) -> u64 {
    MILLION
        .saturating_sub(u64::from(objective.target_ppm))
        .max(1)
}

/// How many times too fast, in tenths, rounded down.
fn factor(count: Count, objective: &Objective) -> u64 {
    let bad = u128::from(count.bad()) * u128::from(MILLION) * 10;
    let borne = u128::from(count.total) * u128::from(spare(objective));
    let factor = bad.checked_div(borne).unwrap_or(0);
    u64::try_from(factor).unwrap_or(u64::MAX)
}

/// The worst that two windows agree on, if any.
pub fn burn(objective: &Objective, counters: &Counters, now: Timestamp) -> Option<Burn> {
    WINDOWS.into_iter().find_map(|windows| {
        let long = counters.of(windows.long, now);
        let short = counters.of(windows.short, now);
        let enough = long.total >= EVENTS_MIN && long.bad() >= BAD_MIN;
        let fast = [long, short]
            .iter()
            .all(|count| factor(*count, objective) >= windows.factor_tenths);
        if !enough || !fast {
            return None;
        }
        let factor_tenths = factor(long, objective);
        let left = counters.left_permille(objective, now);
        let gone_ms = u128::from(counters.window) * 10 * u128::from(left);
        let gone_ms = gone_ms.checked_div(u128::from(factor_tenths))?;
        let gone_in = (left > 0).then(|| Millis(u64::try_from(gone_ms).unwrap_or(u64::MAX)));
        Some(Burn {
            words: words(objective, long, factor_tenths, gone_in),
            windows,
            count: long,
            factor_tenths,
            gone_in,
        })
    })
}

fn words(objective: &Objective, count: Count, factor: u64, gone_in: Option<Millis>) -> String {
    let share = count.bad().saturating_mul(MILLION) / count.total.max(1);
    let budget = match objective.window_days {
        28..=31 => "the month's budget".to_owned(),
        7 => "the week's budget".to_owned(),
        days => format!("the budget of {days} days"),
    };
    let gone = match gone_in {
        None => "is gone".to_owned(),
        Some(span) => format!("is gone in {}", about(span)),
    };
    format!(
        "{} % of requests fail, {} % are borne ({}.{} times too many): {budget} {gone}",
        percent(share),
        percent(spare(objective)),
        factor / 10,
        factor % 10
    )
}

/// Parts of a million as per cent, without zeros at the end.
fn percent(ppm: u64) -> String {
    let text = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A span as people say it.
pub(crate) fn about(span: Millis) -> String {
    let seconds = span.0 / 1000;
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7200 => (seconds / MINUTE, "min"),
        7200..172_800 => (seconds / HOUR, "hours"),
        _ => (seconds / DAY, "days"),
    };
    format!("{count} {unit}")
}

impl Burn {
    /// The same as an alert that lasts until it is told no more.
    pub fn alert(&self, objective: &Objective, now: Timestamp) -> Incoming {
        let severity = if self.windows.page {
            "error"
        } else {
            "warning"
        };
        let labels = [
            ("alertname", BURN_ALERT),
            ("objective", &objective.name),
            ("service", objective.service.as_str()),
            ("severity", severity),
        ];
        told(&labels, &self.words, now)
    }
}

/// An alert of our own.
pub(crate) fn told(labels: &[(&str, &str)], summary: &str, now: Timestamp) -> Incoming {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Incoming {
        labels: labels.collect(),
        annotations: BTreeMap::from([("summary".to_owned(), summary.to_owned())]),
        starts_at: Some(now),
        ends_at: Some(RESOLVE_AFTER.after(now)),
        generator_url: String::new(),
        source: "plimsoll".to_owned(),
    }
}

#[cfg(test)]
mod tests;
