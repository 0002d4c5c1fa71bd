//! The backends of one bundle, and who waits for them.
//!
//! Invariant: when somebody waits, no backend of the pool takes requests.

use std::time::Duration;

use super::backend::{Backend, Share};
use super::pick::Picks;
use super::queue::{CELLS, Entry, Flow, Queue};
use super::ramp::Ramp;
use super::words::{BackendKey, RequestId};

/// Waiting requests at most, whatever the rate: some 2 MB with their sockets
/// elsewhere. The oldest of the longest queue goes.
pub const QUEUE_MAX: usize = 4096;
/// And at least: a pool of one slot can have a burst too.
const QUEUE_MIN: usize = 8;
/// A request waits for this many answers' time if that is longer than the
/// settings say: at 0.7 of what eight workers can do, one in a thousand waits longer.
const WAIT_BASES: u32 = 5;
/// Part of the time to its deadline that a request may wait.
const WAIT_PART: u32 = 10;
/// A queue that hasn't been empty for so long, or for so many answers' time, is
/// no burst: then waiting helps nobody, and new requests wait but a moment
/// (the controlled delay of Nichols and Jacobson, in the form for servers).
const STANDING: Duration = Duration::from_millis(500);
const STANDING_BASES: u32 = 25;
/// That moment, at least: enough to keep the slots busy.
const STANDING_WAIT: Duration = Duration::from_millis(15);
/// Those who were turned away are expected back for about so long.
const WAVE_HALVES: Duration = Duration::from_secs(10);
/// Retry-After at most.
const RETRY_AFTER_MAX: u64 = 60;

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) members: Vec<BackendKey>,
    pub(super) picks: Picks,
    shares: Vec<Share>,
    sums: Share,
    /// The last capacity that was not zero.
    capacity: u64,
    pub(super) queue: Queue,
    waiting_since: Option<Duration>,
    emptied_at: Duration,
    standing: bool,
    pub(super) ramp: Ramp,
    /// Slots by tenant.
    cells: Vec<u32>,
    pub(super) in_flight: u32,
    pub(super) ejected: usize,
    /// No member that isn't ejected answers.
    pub(super) stalled: bool,
    /// Since when all members are stalled, ejected or failing.
    pub(super) outage: Option<Duration>,
    wave: u64,
    wave_at: Duration,
}

impl Pool {
    pub(super) fn new(now: Duration) -> Pool {
        Pool {
            members: Vec::new(),
            picks: Picks::default(),
            shares: Vec::new(),
            sums: Share::default(),
            capacity: 0,
            queue: Queue::default(),
            waiting_since: None,
            emptied_at: now,
            standing: false,
            ramp: Ramp::default(),
            cells: vec![0; CELLS],
            in_flight: 0,
            ejected: 0,
            stalled: false,
            outage: None,
            wave: 0,
            wave_at: now,
        }
    }

    /// Takes other members, all of which are to be [placed](Pool::place) then.
    pub(super) fn enlist(&mut self, members: Vec<BackendKey>) {
        self.picks = Picks::new(members.len());
        self.shares = vec![Share::default(); members.len()];
        self.sums = Share::default();
        self.members = members;
    }

    /// What is new of a member.
    pub(super) fn place(&mut self, backend: &Backend) {
        let share = &mut self.shares[backend.leaf];
        self.sums.limit = self.sums.limit - share.limit + backend.share.limit;
        self.sums.live = self.sums.live - share.live + backend.share.live;
        self.sums.capacity = self.sums.capacity - share.capacity + backend.share.capacity;
        *share = backend.share;
        if self.sums.capacity > 0 {
            self.capacity = self.sums.capacity;
        }
        self.picks.set(backend.leaf, backend.load());
    }

    /// How many may be ejected: half, and never the last.
    pub(super) fn ejected_max(&self) -> usize {
        self.members.len() / 2
    }

    pub(super) fn hold(&mut self, flow: Flow) {
        self.cells[flow.cell()] += 1;
        self.in_flight += 1;
    }

    pub(super) fn release(&mut self, flow: Flow) {
        self.cells[flow.cell()] -= 1;
        self.in_flight -= 1;
    }

    /// Slots that are counted for some tenant.
    #[cfg(test)]
    pub(super) fn held_by_tenants(&self) -> u32 {
        self.cells.iter().sum()
    }

    /// How long a request that comes now may wait.
    pub(super) fn wait_for(&self, queue_for: Duration, left: Duration) -> Duration {
        let base = self.base();
        let wait = match self.standing {
            true => STANDING_WAIT.max(base),
            false => queue_for.max(base * WAIT_BASES),
        };
        wait.min(left / WAIT_PART)
    }

    /// How many may wait for so long. Twice as many as are served in it: it is
    /// time that ends a wait, and among few places a burst of small tenants
    /// would push each other out where one large one should go.
    pub(super) fn places(&self, wait: Duration) -> usize {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        let served = self.sums.capacity.saturating_mul(micros) / 1_000_000_000;
        let places = usize::try_from(served.saturating_mul(2)).unwrap_or(QUEUE_MAX);
        places.clamp(QUEUE_MIN, QUEUE_MAX)
    }

    /// The next in turn, if a backend takes it. While others wait, a tenant gets
    /// no more than half of the slots.
    pub(super) fn next(&mut self, now: Duration) -> Option<Entry> {
        if !self.picks.is_open() {
            return None;
        }
        let cap = (self.sums.limit / 2).max(1);
        let cells = &self.cells;
        let capped = |flow: Flow| u64::from(cells[flow.cell()]) >= cap;
        self.queue.pop(now, capped)
    }

    /// To be called after each change of the queue. It stands once it hasn't been
    /// empty for long, until it has been empty for as long as one waits then: a
    /// moment without is chance.
    pub(super) fn watch(&mut self, now: Duration) {
        let base = self.base();
        match (self.waiting_since, self.queue.is_empty()) {
            (Some(_), true) => {
                self.waiting_since = None;
                self.emptied_at = now;
            }
            (None, false) => {
                self.waiting_since = Some(now);
                let empty_for = now.saturating_sub(self.emptied_at);
                self.standing &= empty_for < STANDING_WAIT.max(base);
            }
            (Some(since), false) => {
                let waited = now.saturating_sub(since);
                self.standing |= waited >= STANDING.max(base * STANDING_BASES);
            }
            (None, true) => {}
        }
    }

    /// When a refused client is to come back: all who were turned away, spread
    /// over the time in which a quarter of the capacity serves them. The spread
    /// is drawn from the request's number, so that it can be computed again.
    pub(super) fn retry_after(&mut self, request: RequestId, now: Duration) -> Duration {
        while now.saturating_sub(self.wave_at) >= WAVE_HALVES && self.wave > 0 {
            self.wave /= 2;
            self.wave_at += WAVE_HALVES;
        }
        if self.wave == 0 {
            self.wave_at = now;
        }
        self.wave = self.wave.saturating_add(1);
        let returning = self.wave.saturating_add(self.queue.len() as u64);
        // Capacity is for a thousand seconds.
        let spread = returning.saturating_mul(4_000) / self.capacity.max(1);
        self::spread(request, spread.clamp(1, RETRY_AFTER_MAX))
    }

    /// Time to answer when nothing waits.
    fn base(&self) -> Duration {
        let micros = self.sums.live.saturating_mul(1_000_000_000);
        Duration::from_micros(micros.checked_div(self.sums.capacity).unwrap_or(0))
    }
}

/// Whole seconds of `1..=over`. By the finaliser of `SplitMix64`, which takes
/// neighbouring numbers far apart.
pub(super) fn spread(request: RequestId, over: u64) -> Duration {
    let mut mixed = request.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Duration::from_secs(1 + (mixed ^ (mixed >> 31)) % over.max(1))
}
