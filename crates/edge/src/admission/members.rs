//! Which backends there are, and which of them take requests.
//!
//! Invariant: after each call here a pool's picks, sums and marks are those of
//! its members, and nobody waits for a backend that is open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::backend::Backend;
use super::pool::Pool;
use super::words::{Action, BackendKey, BackendSpec, PoolKey, Slot, Why};
use super::{Admission, queue};

impl Admission {
    /// Takes the service's backends. What is known of those that stay is kept;
    /// one with another epoch has forgotten what it was sent; one that is no
    /// longer there gets nothing more and ends what it has.
    pub fn set_backends(&mut self, specs: &[BackendSpec], now: Duration) {
        self.due(now);
        let mut pools: BTreeMap<PoolKey, Vec<BackendKey>> = BTreeMap::new();
        let mut listed = BTreeSet::new();
        for spec in specs {
            // A key that is named twice is one backend, as it is named first.
            if listed.insert(spec.key) {
                pools.entry(spec.pool).or_default().push(spec.key);
                self.take(*spec, now);
            }
        }
        let removed: Vec<BackendKey> = self.backends.keys().copied().collect();
        for key in removed.into_iter().filter(|key| !listed.contains(key)) {
            self.remove(key, now);
        }
        for key in pools.keys() {
            self.pools.entry(*key).or_insert_with(|| Pool::new(now));
        }
        let keys: Vec<PoolKey> = self.pools.keys().copied().collect();
        for key in keys {
            self.enlist(key, pools.remove(&key).unwrap_or_default(), now);
        }
        self.pools
            .retain(|_, pool| !pool.members.is_empty() || pool.in_flight > 0);
    }

    /// Adds a backend, or says what is new of it.
    fn take(&mut self, spec: BackendSpec, now: Duration) {
        let new = || Backend::new(spec, now);
        let backend = self.backends.entry(spec.key).or_insert_with(new);
        backend.removed = false;
        let epoch = backend.spec.epoch;
        backend.spec = spec;
        if epoch != spec.epoch {
            let dead = backend.restart(spec.epoch, now);
            self.drop_slots(&dead);
        }
    }

    fn remove(&mut self, key: BackendKey, now: Duration) {
        let Some(backend) = self.backends.get_mut(&key) else {
            return;
        };
        backend.removed = true;
        let dead = backend.drop_dead();
        if let Some(at) = backend.alarm.take() {
            self.alarms.remove(&(at, key));
        }
        self.drop_slots(&dead);
        self.refresh(key, now);
        if self.backends.get(&key).is_some_and(|it| it.in_flight == 0) {
            self.backends.remove(&key);
        }
    }

    fn drop_slots(&mut self, dead: &[Slot]) {
        for slot in dead {
            if let Some(held) = self.slots.take(*slot) {
                self.free(&held, *slot);
            }
        }
    }

    /// Gives a pool its members; without any, who waits is told so.
    fn enlist(&mut self, key: PoolKey, members: Vec<BackendKey>, now: Duration) {
        let Some(pool) = self.pools.get_mut(&key) else {
            return;
        };
        pool.enlist(members.clone());
        for (leaf, member) in members.iter().enumerate() {
            if let Some(backend) = self.backends.get_mut(member) {
                backend.leaf = leaf;
            }
        }
        self.readmit_some(key, &members, now);
        for member in &members {
            self.refresh(*member, now);
        }
        self.recount(key, now);
        if members.is_empty() {
            self.give_up(key, Why::NoBackend, now);
        }
        self.pump(key, now);
    }

    /// Of fewer members fewer may be ejected: those whose time ends first come back.
    fn readmit_some(&mut self, key: PoolKey, members: &[BackendKey], now: Duration) {
        let until = |it: &BackendKey| Some((self.backends.get(it)?.outlier.until()?, *it));
        let mut ejected: Vec<(Duration, BackendKey)> = members.iter().filter_map(until).collect();
        ejected.sort();
        let max = self.pools.get(&key).map_or(0, Pool::ejected_max);
        let excess = ejected.len().saturating_sub(max);
        for (_, member) in ejected.into_iter().take(excess) {
            if let Some(backend) = self.backends.get_mut(&member) {
                backend.outlier.readmit(now);
            }
        }
    }

    /// Draws a backend's limit anew and places it among its pool's.
    pub(super) fn refresh(&mut self, key: BackendKey, now: Duration) {
        let Some(backend) = self.backends.get_mut(&key) else {
            return;
        };
        let recovered = backend.refresh(&self.settings, now);
        if backend.removed {
            return;
        }
        let pool_key = backend.spec.pool;
        if let Some(pool) = self.pools.get_mut(&pool_key) {
            pool.place(backend);
        }
        let quiet = backend.stall.at(backend.estimate.mean());
        if let Some(at) = quiet.filter(|_| !backend.is_stalled()) {
            self.arm(key, at);
        }
        if recovered {
            self.recount(pool_key, now);
        }
    }

    /// Looks at a backend at `at` or before.
    pub(super) fn arm(&mut self, key: BackendKey, at: Duration) {
        let Some(backend) = self.backends.get_mut(&key) else {
            return;
        };
        if backend.alarm.is_some_and(|before| before <= at) {
            return;
        }
        if let Some(before) = backend.alarm.replace(at) {
            self.alarms.remove(&(before, key));
        }
        self.alarms.insert((at, key));
    }

    /// The alarm of a backend went off.
    pub(super) fn look(&mut self, key: BackendKey, now: Duration) {
        let Some(backend) = self.backends.get_mut(&key) else {
            return;
        };
        backend.alarm = None;
        let pool = backend.spec.pool;
        let readmitted = backend.outlier.until().is_some_and(|until| until <= now);
        if readmitted {
            backend.outlier.readmit(now);
        }
        let quiet = backend.stall.at(backend.estimate.mean());
        let stalls = !backend.is_stalled() && quiet.is_some_and(|at| at <= now);
        if stalls {
            backend.stall.begin(now);
            backend.estimate.spoil();
        }
        let until = backend.outlier.until();
        self.refresh(key, now);
        if let Some(until) = until {
            self.arm(key, until);
        }
        if readmitted || stalls {
            self.recount(pool, now);
            self.pump(pool, now);
        }
    }

    /// Sees what a pool's members are like together, and who can't wait any more.
    pub(super) fn recount(&mut self, key: PoolKey, now: Duration) {
        let Some(pool) = self.pools.get_mut(&key) else {
            return;
        };
        let members = || pool.members.iter().filter_map(|it| self.backends.get(it));
        let ejected = members().filter(|it| it.is_ejected()).count();
        let mut used = members().filter(|it| !it.is_ejected());
        let stalled = !pool.members.is_empty() && used.all(Backend::is_stalled);
        let is_out = |it: &Backend| it.is_ejected() || it.is_stalled() || it.outlier.is_failing();
        let out = !pool.members.is_empty() && members().all(is_out);
        pool.ejected = ejected;
        if out {
            pool.outage.get_or_insert(now);
        }
        let began = stalled && !pool.stalled;
        pool.stalled = stalled;
        if began {
            pool.ramp.stalled(now);
            self.give_up(key, Why::Stalled, now);
        }
    }

    /// Sends who waits to who is open.
    pub(super) fn pump(&mut self, key: PoolKey, now: Duration) {
        self.expire(key, now);
        while let Some(pool) = self.pools.get_mut(&key) {
            let Some(leaf) = pool.picks.least() else {
                return;
            };
            let Some(entry) = pool.next(now) else { return };
            pool.watch(now);
            let request = entry.request;
            if let Some(sent) = self.send(key, leaf, entry, false, now) {
                self.actions.push_back(Action::Send { request, sent });
            }
        }
    }

    /// Refuses who has waited for as long as it may.
    pub(super) fn expire(&mut self, key: PoolKey, now: Duration) {
        self.clear(key, Why::Waited, now, |queue| queue.pop_expired(now));
    }

    fn give_up(&mut self, key: PoolKey, why: Why, now: Duration) {
        self.clear(key, why, now, queue::Queue::pop_any);
    }

    fn clear(
        &mut self,
        key: PoolKey,
        why: Why,
        now: Duration,
        next: impl Fn(&mut queue::Queue) -> Option<queue::Entry>,
    ) {
        while let Some(pool) = self.pools.get_mut(&key) {
            let Some(entry) = next(&mut pool.queue) else {
                return;
            };
            pool.watch(now);
            let refused = self.refused(key, entry.request, why, now);
            let request = entry.request;
            self.actions.push_back(Action::Refuse { request, refused });
        }
    }
}
