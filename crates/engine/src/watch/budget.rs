//! How many requests failed lately, minute by minute.
//!
//! Invariant: at most [`MINUTES_MAX`] minutes are remembered for a service; a
//! control plane that has just started remembers none, and says nothing.

use std::collections::VecDeque;

use model::{BundleCounts, ErrorBudget, Millis, Permille, Timestamp};

/// A day: the longest window of an error budget that is kept in memory.
pub(super) const MINUTES_MAX: usize = 24 * 60;
const MINUTE_MS: i64 = 60_000;

/// Counts of one service in one environment, over all bundles.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent(VecDeque<(i64, BundleCounts)>);

impl Recent {
    pub(super) fn add(&mut self, news: BundleCounts, now: Timestamp) {
        let minute = now.as_millisecond().div_euclid(MINUTE_MS);
        match self.0.back_mut() {
            // A clock that was set back adds to the newest minute.
            Some((newest, counts)) if *newest >= minute => *counts = counts.plus(news),
            Some(_) | None => self.0.push_back((minute, news)),
        }
        if self.0.len() > MINUTES_MAX {
            self.0.pop_front();
        }
    }

    /// Counts of the newest `window`, in whole minutes.
    pub(super) fn sum(&self, window: Millis, now: Timestamp) -> BundleCounts {
        let minute = now.as_millisecond().div_euclid(MINUTE_MS);
        let window = i64::try_from(window.0).unwrap_or(i64::MAX) / MINUTE_MS;
        let since = minute.saturating_sub(window.max(1));
        let recent = self.0.iter().filter(|(at, _)| *at > since);
        recent.fold(BundleCounts::default(), |sum, (_, counts)| {
            sum.plus(*counts)
        })
    }

    /// In words, when more failed than the budget has.
    pub(super) fn spent(&self, budget: &ErrorBudget, now: Timestamp) -> Option<String> {
        let sum = self.sum(budget.window_ms, now);
        if sum.requests < budget.requests_min.max(1) {
            return None;
        }
        // Compared without rounding: a budget of nothing is spent by the first failure.
        let allowed = u128::from(sum.requests) * u128::from(budget.failed_permille_max.get());
        if u128::from(sum.failed) * 1000 <= allowed {
            return None;
        }
        Some(format!(
            "its error budget is spent: {} of {} requests failed in {} ({}; the budget is {})",
            sum.failed,
            sum.requests,
            Millis(budget.window_ms.0),
            Permille::of(sum.failed, sum.requests),
            budget.failed_permille_max
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_and_comes_back_with_time() {
        let budget = ErrorBudget {
            failed_permille_max: Permille::new(10).unwrap(),
            window_ms: Millis::seconds(600),
            requests_min: 100,
        };
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |minutes: u64| Millis::seconds(60 * minutes).after(start);
        let counts = |requests, failed| BundleCounts { requests, failed };
        let mut recent = Recent::default();
        assert_eq!(recent.spent(&budget, start), None);
        recent.add(counts(50, 50), at(0));
        assert_eq!(recent.spent(&budget, at(0)), None, "too few to say");
        recent.add(counts(5000, 0), at(1));
        assert_eq!(recent.spent(&budget, at(1)), None);
        recent.add(counts(10, 10), at(2));
        assert!(recent.spent(&budget, at(2)).is_some());
        assert_eq!(recent.spent(&budget, at(12)), None, "it is over");
        for minute in 0..3000 {
            recent.add(counts(1, 0), at(minute));
        }
        assert!(recent.0.len() <= MINUTES_MAX);
    }
}
