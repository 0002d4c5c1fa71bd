//! A backend that fails while others don't is left alone for a while.
//!
//! Timeouts count, except while it is stalled: then it gets nothing anyway, and
//! its first answer says more than a clock does.
//!
//! Invariant: who is ejected decides nothing here; the pool keeps at least one
//! backend, and at least half, and sheds what those can't take.

use std::time::Duration;

/// Failures in a row.
pub(super) const STRAIGHT: u32 = 5;
/// Requests of a window from which a share counts.
const SHARE_OF: u32 = 20;
/// Counts of one to two of these are looked at.
const HALF: Duration = Duration::from_secs(5);
/// The first time; twice as long each time.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// After so long without, the next is a first one.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// One backend's failures.
#[derive(Debug, Default)]
pub(super) struct Outlier {
    straight: u32,
    /// Good and bad in this half window, and in the one before.
    halves: [(u32, u32); 2],
    half_began: Duration,
    until: Option<Duration>,
    times: u32,
}

impl Outlier {
    /// A request ended; whether the backend should be ejected.
    pub(super) fn note(&mut self, good: bool, now: Duration) -> bool {
        let age = now.saturating_sub(self.half_began);
        if age >= HALF {
            self.halves[1] = if age < HALF * 2 {
                self.halves[0]
            } else {
                (0, 0)
            };
            self.halves[0] = (0, 0);
            self.half_began = now;
        }
        if good {
            self.straight = 0;
            self.halves[0].0 += 1;
            return false;
        }
        self.straight = self.straight.saturating_add(1);
        self.halves[0].1 += 1;
        let good = self.halves[0].0 + self.halves[1].0;
        let bad = self.halves[0].1 + self.halves[1].1;
        self.until.is_none() && (self.is_failing() || (good + bad >= SHARE_OF && bad > good))
    }

    /// Whether the last requests all failed.
    pub(super) fn is_failing(&self) -> bool {
        self.straight >= STRAIGHT
    }

    pub(super) fn eject(&mut self, now: Duration) {
        let last = self.until.unwrap_or(self.half_began);
        if now.saturating_sub(last) >= FORGET_AFTER {
            self.times = 0;
        }
        let span = FIRST * 2_u32.pow(self.times.min(4));
        self.until = Some(now + span.min(LONGEST));
        self.times += 1;
    }

    /// Until when it is ejected.
    pub(super) fn until(&self) -> Option<Duration> {
        self.until
    }

    /// It is tried again, with nothing held against it but the number of times.
    pub(super) fn readmit(&mut self, now: Duration) {
        self.until = None;
        self.straight = 0;
        self.halves = [(0, 0); 2];
        self.half_began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn five_in_a_row_or_more_than_half_of_twenty() {
        let mut outlier = Outlier::default();
        let row: Vec<bool> = (0..5).map(|_| outlier.note(false, S)).collect();
        assert_eq!(row, [false, false, false, false, true]);
        let mut outlier = Outlier::default();
        let asked: Vec<bool> = (0..21).map(|n| outlier.note(n % 2 == 1, S)).collect();
        assert_eq!(asked.iter().position(|it| *it), Some(20));
        // What is two windows old is forgotten.
        assert!(!outlier.note(false, S * 12));
    }

    #[test]
    fn each_time_is_longer_and_a_good_while_forgets() {
        let mut outlier = Outlier::default();
        let mut now = S;
        let mut spans = Vec::new();
        for _ in 0..6 {
            outlier.eject(now);
            let until = outlier.until().unwrap();
            spans.push((until - now).as_secs());
            now = until;
            outlier.readmit(now);
        }
        assert_eq!(spans, [5, 10, 20, 40, 60, 60]);
        outlier.eject(now + FORGET_AFTER);
        assert_eq!(outlier.until(), Some(now + FORGET_AFTER + FIRST));
    }
}
