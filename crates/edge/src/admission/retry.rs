//! How many second tries the service can afford.
//!
//! A budget as in Finagle: each request earns a part of a try, and time earns
//! some for those who have few requests. What fails for a few is tried again;
//! what fails for all is not doubled.
//!
//! Invariant: tries in any time are at most [`SAVED_MAX`] and what was earned in it.

use std::time::Duration;

/// In millionths of a try: a tenth for each request.
const PER_REQUEST: u64 = 100_000;
/// For each microsecond: three tries a second.
const PER_MICRO: u64 = 3;
const ONE: u64 = 1_000_000;
/// A hundred tries: more failures at once are an outage, and tries don't end it.
const SAVED_MAX: u64 = 100 * ONE;

/// Ten tries are there from the first request on: a host that is down when the
/// gateway starts is seen for what it is after a few, and nobody need notice.
const AT_START: u64 = 10 * ONE;

/// What is left.
#[derive(Debug)]
pub(super) struct Budget {
    saved: u64,
    at: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            saved: AT_START,
            at: Duration::ZERO,
        }
    }
}

impl Budget {
    pub(super) fn earn(&mut self) {
        self.saved = (self.saved + PER_REQUEST).min(SAVED_MAX);
    }

    /// Takes one try, if there is one.
    pub(super) fn spend(&mut self, now: Duration) -> bool {
        let micros = now.saturating_sub(self.at).as_micros();
        let micros = u64::try_from(micros).unwrap_or(SAVED_MAX).min(SAVED_MAX);
        self.at = now;
        self.saved = (self.saved + micros * PER_MICRO).min(SAVED_MAX);
        let enough = self.saved >= ONE;
        if enough {
            self.saved -= ONE;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_requests_and_three_a_second() {
        let mut budget = Budget::default();
        let mut tries = 0;
        // A hundred seconds of ten requests, all of which fail.
        for n in 0_u32..1000 {
            budget.earn();
            let now = Duration::from_millis(100) * n;
            tries += u32::from(budget.spend(now));
        }
        assert!((405..=411).contains(&tries), "{tries}");
        let burst = (0..1000).filter(|_| budget.spend(Duration::from_secs(3600)));
        assert_eq!(burst.count(), 100);
    }
}
