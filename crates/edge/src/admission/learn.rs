//! What the end of a request says of its backend.
//!
//! Invariant: nothing is learned from what was sent to an older process, and no
//! time to answer from what has lived through a stall.

use std::time::Duration;

use super::Admission;
use super::slots::{Held, Stage};
use super::words::{BackendKey, Outcome};

/// A pool that couldn't be reached for less than this begins without a ramp:
/// that is an ordinary restart, and few are waiting to come back.
const RAMP_AFTER: Duration = Duration::from_secs(5);

impl Admission {
    /// A slot of the present process ended.
    pub(super) fn learn(&mut self, held: &Held, outcome: Outcome, now: Duration) {
        let key = held.backend;
        let Some(backend) = self.backends.get_mut(&key) else {
            return;
        };
        let active = held.stage == Stage::Active;
        match outcome {
            Outcome::Ok | Outcome::Failed => {
                let spans = backend.stall.spans(held.sent_at);
                backend.answers += 1;
                let was_stalled = backend.is_stalled();
                backend.stall.answered(now);
                if spans {
                    backend.estimate.spoil();
                } else if active && outcome == Outcome::Ok {
                    let rtt = now.saturating_sub(held.sent_at);
                    backend.estimate.answered(rtt, now);
                }
                let pool = backend.spec.pool;
                if was_stalled {
                    self.recount(pool, now);
                }
                self.lose(key, now);
            }
            Outcome::ConnectFailed | Outcome::Closed => {}
            Outcome::Unsent => return,
        }
        let good = outcome == Outcome::Ok;
        if good {
            self.recovered(key, now);
        }
        if active {
            self.judge(key, good, now);
            if let Some(backend) = self.backends.get_mut(&key) {
                let unreachable = outcome == Outcome::ConnectFailed;
                backend.cold |= unreachable && backend.outlier.is_failing();
            }
        }
    }

    /// Gives up a slot that many later answers have passed.
    fn lose(&mut self, key: BackendKey, now: Duration) {
        let Some(backend) = self.backends.get_mut(&key) else {
            return;
        };
        let Some(slot) = backend.next_lost(now) else {
            return;
        };
        let held = self.slots.get_mut(slot);
        let Some(held) = held.filter(|it| backend.has_passed(it.answers_then)) else {
            return;
        };
        held.stage = Stage::Lost;
        backend.hung.remove(&(held.entry.deadline, slot));
        backend.lost.insert(slot);
        backend.in_flight -= 1;
        if let Some(pool) = self.pools.get_mut(&held.pool) {
            pool.release(held.entry.flow);
            pool.ramp.trouble();
        }
    }

    /// A good answer has come: an outage is over.
    fn recovered(&mut self, key: BackendKey, now: Duration) {
        let Some(pool_key) = self.backends.get(&key).map(|it| it.spec.pool) else {
            return;
        };
        if let Some(pool) = self.pools.get_mut(&pool_key)
            && let Some(since) = pool.outage.take()
            && now.saturating_sub(since) >= RAMP_AFTER
        {
            let mut members = pool.members.iter().filter_map(|it| self.backends.get(it));
            if members.all(|it| it.cold) {
                pool.ramp.begin(now);
            }
        }
        if let Some(backend) = self.backends.get_mut(&key) {
            backend.cold = false;
        }
    }

    /// Counts a result for or against a backend.
    pub(super) fn judge(&mut self, key: BackendKey, good: bool, now: Duration) {
        let Some(backend) = self.backends.get_mut(&key) else {
            return;
        };
        let pool_key = backend.spec.pool;
        let Some(pool) = self.pools.get_mut(&pool_key) else {
            return;
        };
        let failing = backend.outlier.is_failing();
        let wanted = backend.outlier.note(good, now);
        // Looking at all members costs time, so only when one of them changed.
        let mut changed = backend.outlier.is_failing() && !failing;
        let calm = !backend.is_full() && pool.queue.is_empty();
        pool.ramp.ended(good, calm, now);
        if wanted && !backend.removed && pool.ejected < pool.ejected_max() {
            backend.outlier.eject(now);
            let until = backend.outlier.until();
            changed = true;
            self.refresh(key, now);
            if let Some(until) = until {
                self.arm(key, until);
            }
        }
        if changed {
            self.recount(pool_key, now);
        }
    }
}
