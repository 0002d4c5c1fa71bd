//! Who is let through to a service's backends, who waits, and who is told to
//! come back later.
//!
//! A request needs a slot at a backend. It keeps it until the backend answers or
//! closes, even when its client has long been told that there is no answer: so
//! a backend never has more than its limit, a hang fills it at once and is seen,
//! and the first late answer tells that it is over. Nothing is probed, and
//! nothing is left behind that a backend would do for nobody.
//!
//! Who has no slot waits for a moment, tenants in turn, or is refused with the
//! reason. Each rule has a file of its name: `limit`, `estimate`, `queue`,
//! `stall`, `eject`, `retry`, `ramp`. Their first parameters come from
//! measurements of proxies under overload and with hanging backends; what they
//! reach is in `tests::tables`.
//!
//! Invariant: an offered request is sent, refused, cancelled or waiting, never
//! two of them; a backend that is full, stalled or ejected is sent nothing.

mod backend;
mod eject;
mod estimate;
mod learn;
mod limit;
mod members;
mod pick;
mod pool;
mod queue;
mod ramp;
mod retry;
mod slots;
mod stall;
mod view;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use backend::Backend;
use pool::Pool;
use queue::{Entry, Flow};
use retry::Budget;
use slots::{Held, Slots, Stage};

pub use limit::{LIMIT_MAX, LimitSource, limit_for_workers};
pub use pool::QUEUE_MAX;
pub use view::{BackendView, PoolView, Totals, View};
pub use words::{
    Action, BackendKey, BackendSpec, Decision, Offer, Outcome, PoolKey, Refused, RequestId, Sent,
    Settings, Slot, Tenant, Why,
};

/// Seconds over which those come back for whom there is no pool: a change of
/// routes takes less.
const UNROUTED_FOR: u64 = 10;

/// The admission to one service. `now` is any clock that doesn't go back, always
/// the same one.
#[derive(Debug)]
pub struct Admission {
    settings: Settings,
    backends: BTreeMap<BackendKey, Backend>,
    pools: BTreeMap<PoolKey, Pool>,
    slots: Slots,
    budget: Budget,
    /// When to look at a backend; at most one for each, and never too late.
    alarms: BTreeSet<(Duration, BackendKey)>,
    actions: VecDeque<Action>,
    totals: Totals,
    sends: u64,
}

impl Admission {
    /// Without backends, which refuses everything.
    pub fn new(settings: Settings) -> Admission {
        Admission {
            settings,
            backends: BTreeMap::new(),
            pools: BTreeMap::new(),
            slots: Slots::default(),
            budget: Budget::default(),
            alarms: BTreeSet::new(),
            actions: VecDeque::new(),
            totals: Totals::default(),
            sends: 0,
        }
    }

    /// A request has come.
    pub fn offer(&mut self, offer: Offer, now: Duration) -> Decision {
        self.due(now);
        self.totals.offered += 1;
        self.budget.earn();
        let refused = match self.pools.get_mut(&offer.pool) {
            None => Some(Why::NoBackend),
            Some(pool) if pool.members.is_empty() => Some(Why::NoBackend),
            Some(_) if offer.deadline <= now => Some(Why::Late),
            Some(pool) if pool.stalled => Some(Why::Stalled),
            Some(pool) if !pool.ramp.opens(offer.bucket, now) => Some(Why::Ramp),
            Some(_) => None,
        };
        if let Some(why) = refused {
            return Decision::Refused(self.refused(offer.pool, offer.request, why, now));
        }
        let entry = Entry {
            request: offer.request,
            flow: Flow::of(offer.tenant, offer.priority),
            deadline: offer.deadline,
        };
        let pool = self.pools.get(&offer.pool);
        match pool.and_then(|pool| pool.picks.least()) {
            // Nobody waits, or no backend would be open.
            Some(leaf) => match self.send(offer.pool, leaf, entry, false, now) {
                Some(sent) => Decision::Send(sent),
                None => {
                    let refused = self.refused(offer.pool, entry.request, Why::NoBackend, now);
                    Decision::Refused(refused)
                }
            },
            None => self.enqueue(offer.pool, entry, now),
        }
    }

    /// The backend is done with a slot, in time or late. Nothing happens if the
    /// slot was dropped with a restart or a removal.
    ///
    /// An answer that is meant to last (an upgrade, a stream of events) ends its
    /// slot with its head: the worker model doesn't fit it.
    pub fn ended(&mut self, slot: Slot, outcome: Outcome, now: Duration) {
        if let Some(held) = self.settle(slot, outcome, now) {
            match held.stage {
                Stage::Active => self.count(outcome),
                Stage::Hung | Stage::Lost => self.totals.late += 1,
            }
        }
        self.due(now);
    }

    /// Like [`ended`](Admission::ended) with a failure; gives a second slot if
    /// the request may go out again and the service can afford it. It can't when
    /// others wait, when it is stalled, or when the budget is spent.
    ///
    /// A request that was sent goes out again only if it is `idempotent`, and only to another
    /// backend: the only one of its pool would most likely do the same with it.
    pub fn retry(
        &mut self,
        slot: Slot,
        outcome: Outcome,
        idempotent: bool,
        now: Duration,
    ) -> Option<Sent> {
        let may = match outcome {
            Outcome::ConnectFailed => true,
            Outcome::Failed | Outcome::Closed => idempotent,
            Outcome::Ok | Outcome::Unsent => false,
        };
        let held = self.settle(slot, outcome, now);
        let held = held.filter(|it| match it.stage {
            Stage::Active => true,
            Stage::Hung | Stage::Lost => false,
        });
        let sent = held
            .filter(|held| may && !held.retried && held.entry.deadline > now)
            .and_then(|held| {
                let leaf = self.retry_leaf(&held, outcome == Outcome::ConnectFailed)?;
                let afforded = self.budget.spend(now);
                afforded.then(|| self.send(held.pool, leaf, held.entry, true, now))?
            });
        match (held, sent) {
            (Some(_), Some(_)) => self.totals.retried += 1,
            (Some(_), None) => self.count(outcome),
            (None, _) => {}
        }
        self.due(now);
        sent
    }

    /// The client was told that there is no answer, or left. The slot stays
    /// held: the backend may still be working on it, and
    /// [`ended`](Admission::ended) is to follow. So the connection must be kept,
    /// with keep-alive probes by which the end of its host is seen: a host that
    /// is gone without a word, under the same epoch, would stay stalled.
    pub fn abandoned(&mut self, slot: Slot, now: Duration) {
        let Some(held) = self.slots.get_mut(slot) else {
            return self.due(now);
        };
        if held.stage != Stage::Active {
            return self.due(now);
        }
        self.totals.abandoned += 1;
        let Some(backend) = self.backends.get_mut(&held.backend) else {
            return self.due(now);
        };
        if backend.removed || backend.spec.epoch != held.epoch {
            // The process that had it is gone, and so is what could answer.
            self.settle(slot, Outcome::Unsent, now);
            return self.due(now);
        }
        held.stage = Stage::Hung;
        held.answers_then = backend.answers;
        backend.hung.insert((held.entry.deadline, slot));
        let (key, sent_at) = (held.backend, held.sent_at);
        let failed = held.entry.deadline <= now && !backend.stall.spans(sent_at);
        self.refresh(key, now);
        if failed {
            self.judge(key, false, now);
        }
        self.due(now);
    }

    /// Whether a backend is full and answers nobody.
    pub fn is_stalled(&self, key: BackendKey) -> bool {
        let backend = self.backends.get(&key);
        backend.is_some_and(|backend| backend.stall.since().is_some())
    }

    /// A waiting request's client has left; whether it was waiting.
    pub fn cancelled(&mut self, request: RequestId, now: Duration) -> bool {
        let waited = self.pools.values_mut().any(|pool| {
            let waited = pool.queue.remove(request).is_some();
            pool.watch(now);
            waited
        });
        self.totals.cancelled += u64::from(waited);
        self.due(now);
        waited
    }

    /// A backend says how many it takes at once, or no longer says it.
    pub fn declared(&mut self, key: BackendKey, limit: Option<u32>, now: Duration) {
        if let Some(backend) = self.backends.get_mut(&key)
            && backend.spec.declared != limit
        {
            backend.spec.declared = limit;
            let pool = backend.spec.pool;
            self.refresh(key, now);
            self.pump(pool, now);
        }
        self.due(now);
    }

    /// What became of a request that has waited; to be asked after every call
    /// until there is none.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`due`](Admission::due) is to be called at the latest.
    pub fn wake_at(&self) -> Option<Duration> {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        let untils = self.pools.values().filter_map(|it| it.queue.next_until());
        alarm.into_iter().chain(untils).min()
    }

    /// Does what time has brought: stalls, ejections that are over, waits that are.
    pub fn due(&mut self, now: Duration) {
        while let Some((_, key)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.alarms.pop_first();
            self.look(key, now);
        }
        let over = |pool: &Pool| pool.queue.next_until().is_some_and(|until| until <= now);
        while let Some(key) = self.pools.iter().find(|(_, it)| over(it)).map(|it| *it.0) {
            self.expire(key, now);
        }
    }

    /// Everything, for people and for the control plane.
    pub fn view(&self) -> View {
        let pools = self.pools.iter().map(|(key, pool)| PoolView {
            key: *key,
            waiting: pool.queue.len(),
            oldest: pool.queue.oldest(),
            stalled: pool.stalled,
            outage: pool.outage,
            open_percent: pool.ramp.open_percent(),
        });
        let backends = self.backends.iter().map(|(key, backend)| BackendView {
            key: *key,
            pool: backend.spec.pool,
            limit: backend.limit,
            source: backend.source,
            in_flight: backend.in_flight,
            hung: backend.hung.len(),
            lost: backend.lost.len(),
            oldest_hung: backend.hung.first().map(|(deadline, _)| *deadline),
            stalled: backend.stall.since(),
            ejected_until: backend.outlier.until(),
            mean: backend.estimate.mean(),
            removed: backend.removed,
        });
        View {
            totals: self.totals,
            pools: pools.collect(),
            backends: backends.collect(),
        }
    }

    fn enqueue(&mut self, key: PoolKey, entry: Entry, now: Duration) -> Decision {
        let Some(pool) = self.pools.get_mut(&key) else {
            let refused = self.refused(key, entry.request, Why::NoBackend, now);
            return Decision::Refused(refused);
        };
        let left = entry.deadline.saturating_sub(now);
        let wait = pool.wait_for(self.settings.queue_for, left);
        pool.queue.insert(entry, now, now + wait);
        let mut own = None;
        // The wait has become shorter, so more than one may be too many.
        while pool.queue.len() > pool.places(wait) {
            let Some(gone) = pool.queue.pop_excess() else {
                break;
            };
            let refused = Refused {
                why: Why::Overflow,
                retry_after: pool.retry_after(gone.request, now),
            };
            self.totals.refused[Why::Overflow.place()] += 1;
            if gone.request == entry.request {
                own = Some(refused);
            } else {
                let request = gone.request;
                self.actions.push_back(Action::Refuse { request, refused });
            }
        }
        pool.watch(now);
        match own {
            Some(refused) => Decision::Refused(refused),
            None => Decision::Queued { until: now + wait },
        }
    }

    fn send(
        &mut self,
        key: PoolKey,
        leaf: usize,
        entry: Entry,
        retried: bool,
        now: Duration,
    ) -> Option<Sent> {
        let pool = self.pools.get_mut(&key)?;
        let backend_key = *pool.members.get(leaf)?;
        let backend = self.backends.get_mut(&backend_key)?;
        debug_assert_ne!(backend.load(), pick::CLOSED, "it takes no request");
        self.sends += 1;
        backend.used = self.sends;
        backend.in_flight += 1;
        pool.hold(entry.flow);
        let slot = self.slots.put(Held {
            entry,
            pool: key,
            backend: backend_key,
            epoch: backend.spec.epoch,
            sent_at: now,
            stage: Stage::Active,
            retried,
            answers_then: 0,
        });
        self.totals.sent += u64::from(!retried);
        self.refresh(backend_key, now);
        Some(Sent {
            backend: backend_key,
            slot,
        })
    }

    /// Ends a slot: what it tells of its backend, and who is next.
    fn settle(&mut self, slot: Slot, outcome: Outcome, now: Duration) -> Option<Held> {
        let held = self.slots.take(slot)?;
        self.free(&held, slot);
        let Some(backend) = self.backends.get_mut(&held.backend) else {
            return Some(held);
        };
        if backend.removed && backend.in_flight == 0 {
            self.backends.remove(&held.backend);
            return Some(held);
        }
        if backend.spec.epoch == held.epoch {
            self.learn(&held, outcome, now);
        }
        self.refresh(held.backend, now);
        let pool = self.backends.get(&held.backend).map(|it| it.spec.pool);
        if let Some(pool) = pool {
            self.pump(pool, now);
        }
        Some(held)
    }

    /// Takes an ended slot out of the counts it is in.
    fn free(&mut self, held: &Held, slot: Slot) {
        let backend = self.backends.get_mut(&held.backend);
        let occupies = held.stage.occupies();
        if let Some(backend) = backend {
            backend.hung.remove(&(held.entry.deadline, slot));
            backend.lost.remove(&slot);
            backend.in_flight -= u32::from(occupies);
        }
        if occupies && let Some(pool) = self.pools.get_mut(&held.pool) {
            pool.release(held.entry.flow);
        }
    }

    fn retry_leaf(&self, held: &Held, unsent: bool) -> Option<usize> {
        let pool = self.pools.get(&held.pool)?;
        if pool.stalled || !pool.queue.is_empty() {
            return None;
        }
        let failed = self.backends.get(&held.backend)?;
        if failed.removed || failed.spec.pool != held.pool {
            return pool.picks.least();
        }
        if pool.members.len() == 1 {
            return pool.picks.least().filter(|_| unsent);
        }
        pool.picks.least_but(failed.leaf)
    }

    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.totals.ok += 1,
            Outcome::Failed | Outcome::ConnectFailed | Outcome::Closed => self.totals.failed += 1,
            Outcome::Unsent => self.totals.unsent += 1,
        }
    }

    fn refused(&mut self, key: PoolKey, request: RequestId, why: Why, now: Duration) -> Refused {
        self.totals.refused[why.place()] += 1;
        let retry_after = match self.pools.get_mut(&key) {
            Some(pool) => pool.retry_after(request, now),
            None => pool::spread(request, UNROUTED_FOR),
        };
        Refused { why, retry_after }
    }
}

#[cfg(test)]
mod tests;
