//! Seconds of which nothing is known, and a new bundle of which nothing is heard.
//!
//! Invariant: silence is only counted here; no evidence comes from it.

use crate::strata::Cell;

/// So many requests ought to have come before their absence counts as silence: by
/// chance that happens once in a million times.
const EXPECTED_MIN: f64 = 14.0;
/// The new bundle's share of the traffic is known from the last minute or so of its own.
const FORGOTTEN_EACH_TICK: f64 = 1.0 / 60.0;

/// Seconds of which it is known one by one whether something was told.
pub(crate) const LOOKED_BACK: u64 = 64;

/// What was not heard.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Silence {
    /// Seconds since the comparison began of which nothing was told.
    pub(crate) missing: u64,
    /// The newest seconds, the last one lowest; 1 for told.
    told: u64,
    next: u64,
    canary: f64,
    control: f64,
    /// The control's requests since the canary's last.
    waiting: f64,
    seconds: u64,
}

impl Silence {
    pub(crate) fn observe(&mut self, at: u64, total: Cell) {
        let gap = at.saturating_sub(self.next);
        self.missing = self.missing.saturating_add(gap);
        let shift = u32::try_from(gap.saturating_add(1)).unwrap_or(u32::MAX);
        self.told = self.told.checked_shl(shift).unwrap_or(0) | 1;
        self.next = at.saturating_add(1);
        self.waiting += total.control.n as f64;
        if total.canary.n > 0 {
            self.canary += total.canary.n as f64 - self.canary * FORGOTTEN_EACH_TICK;
            self.control += self.waiting - self.control * FORGOTTEN_EACH_TICK;
            self.waiting = 0.0;
            self.seconds = 0;
        } else if total.control.n > 0 {
            self.seconds += 1;
        }
    }

    /// How many of the newest `seconds`, [`LOOKED_BACK`] at most, are missing.
    pub(crate) fn missing_lately(&self, seconds: u64) -> u64 {
        let seconds = seconds.min(LOOKED_BACK);
        let looked_at = if seconds == LOOKED_BACK {
            u64::MAX
        } else {
            (1 << seconds) - 1
        };
        seconds - u64::from((self.told & looked_at).count_ones())
    }

    /// Seconds in a row in which the control had requests and the canary had none although it
    /// had before; 0 while so few requests were to be expected that it may be chance.
    pub(crate) fn silent(&self) -> u64 {
        let is_silence = self.waiting * self.canary > EXPECTED_MIN * self.control;
        if is_silence { self.seconds } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tick::Sums;

    fn second(silence: &mut Silence, at: u64, canary: u64, control: u64) {
        let sums = |n| Sums { n, e: 0 };
        silence.observe(
            at,
            Cell {
                canary: sums(canary),
                control: sums(control),
            },
        );
    }

    #[test]
    fn a_bundle_that_stops_answering_is_silent_at_once_when_it_was_busy() {
        let mut silence = Silence::default();
        (0..10).for_each(|at| second(&mut silence, at, 50, 950));
        (10..13).for_each(|at| second(&mut silence, at, 0, 950));
        assert_eq!((silence.silent(), silence.missing), (3, 0));
        second(&mut silence, 20, 1, 950);
        assert_eq!((silence.silent(), silence.missing), (0, 7));
    }

    #[test]
    fn what_was_missing_long_ago_is_not_missing_lately() {
        let mut silence = Silence::default();
        assert_eq!(silence.missing_lately(0), 0);
        second(&mut silence, 0, 1, 1);
        second(&mut silence, 10, 1, 1);
        assert_eq!((silence.missing, silence.missing_lately(11)), (9, 9));
        assert_eq!(silence.missing_lately(1), 0);
        (11..74).for_each(|at| second(&mut silence, at, 1, 1));
        assert_eq!((silence.missing, silence.missing_lately(74)), (9, 0));
        second(&mut silence, 200, 1, 1);
        assert_eq!((silence.missing, silence.missing_lately(201)), (135, 63));
    }

    #[test]
    fn a_bundle_with_few_requests_is_silent_only_when_it_is_no_chance() {
        let mut silence = Silence::default();
        for at in 0..100 {
            second(&mut silence, at, u64::from(at % 10 == 0), 5);
        }
        (100..150).for_each(|at| second(&mut silence, at, 0, 5));
        assert_eq!(silence.silent(), 0);
        (150..260).for_each(|at| second(&mut silence, at, 0, 5));
        assert!(silence.silent() > 140, "{silence:?}");
    }

    #[test]
    fn neither_a_quiet_service_nor_one_that_was_never_heard_is_silent() {
        let mut silence = Silence::default();
        (0..100).for_each(|at| second(&mut silence, at, 0, 950));
        assert_eq!(silence.silent(), 0);
        (100..110).for_each(|at| second(&mut silence, at, 50, 950));
        (110..900).for_each(|at| second(&mut silence, at, 0, 0));
        assert_eq!(silence.silent(), 0);
    }
}
