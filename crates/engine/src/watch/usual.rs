//! What a service's traffic is like while nothing is released.
//!
//! Invariant: seconds in which the whole fleet fails are no part of it. A judge that took a
//! fleet's failing start, or an outage, for usual would find nothing wrong with the next release.

use std::collections::VecDeque;

use judge::{Baseline, FleetWatch, History, Tick};

/// Seconds in doubt that are kept. What is in doubt for longer than that without becoming an
/// alarm is little, and is learnt.
const DOUBTFUL_MAX: usize = 30;

/// A history, and the newest seconds, which may not belong to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Usual {
    history: History,
    /// Seconds that sources told of, among those learnt.
    seconds: u64,
    /// The first second of all.
    first: Option<i64>,
    /// Not learnt yet.
    newest: VecDeque<Heard>,
}

#[derive(Debug, Clone)]
struct Heard {
    at: i64,
    tick: Tick,
    covers: u64,
}

impl Usual {
    /// A second without a release; `covers`: of how many seconds it tells.
    pub(super) fn hear(&mut self, at: i64, tick: Tick, covers: u64) {
        self.newest.push_back(Heard { at, tick, covers });
    }

    /// Learns what is out of doubt, and drops what belongs to an alarm.
    pub(super) fn learn(&mut self, fleet: &FleetWatch) {
        let doubts = fleet.doubts_since();
        let doubtful = |at: i64| doubts.is_some_and(|since| at.unsigned_abs() >= since);
        while let Some(oldest) = self.newest.front() {
            let doubtful = doubtful(oldest.at);
            let full = self.newest.len() > DOUBTFUL_MAX;
            if doubtful && !fleet.is_alarmed() && !full {
                return;
            }
            let Some(oldest) = self.newest.pop_front() else {
                return;
            };
            if doubtful && fleet.is_alarmed() {
                continue;
            }
            let first = *self.first.get_or_insert(oldest.at);
            self.history.observe(&Tick {
                at: oldest.at.abs_diff(first),
                ..oldest.tick
            });
            self.seconds += oldest.covers;
        }
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Usual traffic, and over how many seconds it was seen.
    pub(super) fn baseline(&self) -> Option<(Baseline, u64)> {
        Some((self.history.baseline()?, self.seconds))
    }
}
