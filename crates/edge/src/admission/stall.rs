//! Whether a backend answers nobody.
//!
//! All its slots are taken and no answer has come for much longer than answers
//! take. Its clients' leaving frees no slot, so a backend that hangs is full
//! soon, gets nothing more, and the first answer to what it has tells that it
//! lives again: no probe is sent, and nothing is left to be done for nobody.
//!
//! Invariant: a stalled backend has no free slot.

use std::time::Duration;

/// Quiet for less is the noise of a scheduler or a collector.
const QUIET_MIN: Duration = Duration::from_millis(100);
/// Mean times to answer: of independent exponential times, all slots are silent
/// for so long once in ages.
const QUIET_MEANS: u32 = 8;
/// Before the first answer: a process that has just started is slow at first.
const QUIET_UNKNOWN: Duration = Duration::from_secs(1);

/// One backend's silence.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// Since when all its slots have been taken.
    full_since: Option<Duration>,
    answered_at: Duration,
    since: Option<Duration>,
    ended_at: Duration,
}

impl Stall {
    /// Whether all its slots are taken from `now` on.
    pub(super) fn full(&mut self, full: bool, now: Duration) {
        if !full {
            self.full_since = None;
        } else if self.full_since.is_none() {
            self.full_since = Some(now);
        }
    }

    pub(super) fn answered(&mut self, now: Duration) {
        self.answered_at = now;
        self.end(now);
    }

    /// When it is stalled, if it is full and stays full and silent. What filled
    /// it has the whole time too: one that had nothing to do was silent before.
    pub(super) fn at(&self, mean: Option<Duration>) -> Option<Duration> {
        let quiet = mean.map_or(QUIET_UNKNOWN, |mean| (mean * QUIET_MEANS).max(QUIET_MIN));
        let full_since = self.full_since?;
        Some(full_since.max(self.answered_at) + quiet)
    }

    pub(super) fn begin(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }

    /// Whether it had been stalled.
    pub(super) fn end(&mut self, now: Duration) -> bool {
        let was = self.since.take().is_some();
        if was {
            self.ended_at = now;
        }
        was
    }

    /// Since when it is.
    pub(super) fn since(&self) -> Option<Duration> {
        self.since
    }

    /// Whether a request sent then has lived through a stall.
    pub(super) fn spans(&self, sent_at: Duration) -> bool {
        self.since.is_some() || sent_at < self.ended_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn silence_is_measured_from_the_last_answer_or_from_when_it_was_full() {
        let mut stall = Stall::default();
        assert_eq!(stall.at(None), None);
        stall.full(true, MS * 500);
        stall.full(true, MS * 505);
        assert_eq!(stall.at(None), Some(MS * 1500));
        assert_eq!(stall.at(Some(MS * 5)), Some(MS * 600));
        stall.answered(MS * 510);
        assert_eq!(stall.at(Some(MS * 20)), Some(MS * 670));
        stall.begin(MS * 670);
        stall.begin(MS * 700);
        assert_eq!(stall.since(), Some(MS * 670));
        assert!(stall.spans(MS * 900));
        stall.answered(MS * 1000);
        assert_eq!(stall.since(), None);
        assert!(stall.spans(MS * 900) && !stall.spans(MS * 1000));
        stall.full(false, MS * 1000);
        assert_eq!(stall.at(None), None);
    }
}
