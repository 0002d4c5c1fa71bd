//! One backend: what it may be given, what it has, how it does.
//!
//! Invariant: `in_flight` is the number of slots that are active or hung;
//! lost ones count against the limit instead.

use std::collections::BTreeSet;
use std::time::Duration;

use super::eject::Outlier;
use super::estimate::Estimator;
use super::limit::{LimitSource, limit};
use super::pick::CLOSED;
use super::stall::Stall;
use super::words::{BackendSpec, Settings, Slot};

/// Answers, in limits, after which a slot that is beyond its deadline is given
/// up: those that were behind it at the backend have all come out by then.
const LOST_AFTER_LIMITS: u64 = 2;

#[derive(Debug)]
pub(super) struct Backend {
    pub(super) spec: BackendSpec,
    pub(super) removed: bool,
    /// Its place in its pool's picks.
    pub(super) leaf: usize,
    pub(super) in_flight: u32,
    /// By deadline.
    pub(super) hung: BTreeSet<(Duration, Slot)>,
    pub(super) lost: BTreeSet<Slot>,
    pub(super) answers: u64,
    pub(super) stall: Stall,
    pub(super) outlier: Outlier,
    pub(super) estimate: Estimator,
    /// It was started anew, or couldn't be reached, since its last good answer.
    pub(super) cold: bool,
    pub(super) alarm: Option<Duration>,
    /// Which of all sends its last one was.
    pub(super) used: u64,
    pub(super) limit: u32,
    pub(super) source: LimitSource,
    pub(super) share: Share,
}

/// What a backend adds to its pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) limit: u64,
    /// Slots that are not hung.
    pub(super) live: u64,
    /// Requests in a thousand seconds.
    pub(super) capacity: u64,
}

impl Backend {
    pub(super) fn new(spec: BackendSpec, now: Duration) -> Backend {
        Backend {
            spec,
            removed: false,
            leaf: 0,
            in_flight: 0,
            hung: BTreeSet::new(),
            lost: BTreeSet::new(),
            answers: 0,
            stall: Stall::default(),
            outlier: Outlier::default(),
            estimate: Estimator::new(now),
            cold: false,
            alarm: None,
            used: 0,
            limit: 1,
            source: LimitSource::Estimated,
            share: Share::default(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.in_flight >= self.limit
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.outlier.until().is_some()
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stall.since().is_some()
    }

    /// Draws the limit and what follows from it anew; whether a stall ended by that.
    pub(super) fn refresh(&mut self, settings: &Settings, now: Duration) -> bool {
        let lost = count(self.lost.len());
        let estimated = self.estimate.limits();
        let spec = &self.spec;
        (self.limit, self.source) = limit(
            spec.declared,
            spec.configured,
            settings.gateways,
            estimated,
            lost,
        );
        let full = self.is_full();
        self.estimate.full(full, now);
        self.stall.full(full, now);
        let recovered = !full && self.stall.end(now);
        self.share = if self.is_ejected() || self.is_stalled() || self.removed {
            Share::default()
        } else {
            let live = self.limit.saturating_sub(count(self.hung.len()));
            Share {
                limit: u64::from(self.limit),
                live: u64::from(live),
                capacity: capacity(live, self.estimate.base()),
            }
        };
        recovered
    }

    /// The key by which the least loaded is found; of equals, the longest unused.
    pub(super) fn load(&self) -> u64 {
        /// Bits for the turn: a year of a million sends a second before it begins anew.
        const TURN_BITS: u32 = 45;
        if self.is_full() || self.is_ejected() || self.is_stalled() || self.removed {
            return CLOSED;
        }
        let part = u64::from(self.in_flight) * 0x1_0000 / u64::from(self.limit);
        (part << TURN_BITS) | (self.used & ((1 << TURN_BITS) - 1))
    }

    /// A hung slot that the backend will not come back to.
    pub(super) fn next_lost(&self, now: Duration) -> Option<Slot> {
        let (deadline, slot) = self.hung.first()?;
        (*deadline <= now && self.limit > 1).then_some(*slot)
    }

    /// Whether enough was answered since `answers_then`.
    pub(super) fn has_passed(&self, answers_then: u64) -> bool {
        self.answers - answers_then >= u64::from(self.limit) * LOST_AFTER_LIMITS
    }

    /// Everything that an older process had is gone.
    pub(super) fn restart(&mut self, epoch: u64, now: Duration) -> Vec<Slot> {
        self.spec.epoch = epoch;
        self.cold = true;
        self.stall.end(now);
        self.stall.full(false, now);
        self.outlier.readmit(now);
        self.estimate.spoil();
        self.drop_dead()
    }

    /// Slots that nobody waits for, hung and lost.
    pub(super) fn drop_dead(&mut self) -> Vec<Slot> {
        let hung = std::mem::take(&mut self.hung);
        let lost = std::mem::take(&mut self.lost);
        let hung = hung.into_iter().map(|(_, slot)| slot);
        hung.chain(lost).collect()
    }
}

/// Little's law. Before anything is known a millisecond is assumed for each
/// request: nobody shall be refused for a guess.
fn capacity(live: u32, base: Option<Duration>) -> u64 {
    const UNKNOWN: Duration = Duration::from_millis(1);
    const SHORTEST: Duration = Duration::from_micros(1);
    let micros = base.unwrap_or(UNKNOWN).max(SHORTEST).as_micros();
    let micros = u64::try_from(micros).unwrap_or(u64::MAX);
    u64::from(live) * 1_000_000_000 / micros
}

/// As a number of slots, of which there are fewer than 2^32.
pub(super) fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
