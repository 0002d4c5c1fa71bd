//! Requests second by second, until the control plane has them.
//!
//! A request counts to the second in which it ended. Seconds are closed by
//! `now`, empty ones too: "no requests" must differ from "nothing is known".
//! Closed seconds are handed out again and again until they are acknowledged;
//! the receiver drops what it has by `seq`.
//!
//! Memory is bounded: beyond [`HOST_CELLS_MAX`] cells a second counts without
//! the host, and of closed seconds the oldest go when there are too many. The
//! judge takes no seconds that old, so only the count of them is missed.
//!
//! Invariant: a served or failed request is in exactly one second, and there in
//! one cell and one group of tenants, unless there was no room and that is counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::ticks::{CELLS_MAX, CLIENT_GROUPS, LATENCY_BUCKETS, TICKS_PER_POST_MAX, latency_bucket};
use model::{CellCounts, ClientCounts, HostName, TickCounts};

use crate::{Class, Label, Outcome, Place, Spot};

/// Cells of one second that name their host. The rest of [`CELLS_MAX`] is for
/// what is counted without: 48 bundles with two classes each.
pub const HOST_CELLS_MAX: usize = CELLS_MAX - 96;
/// Cells in all closed seconds that wait: 12 MB, or 16 seconds of a gateway
/// before a thousand hosts. The judge waits two seconds for any of them.
pub const CELLS_QUEUED_MAX: usize = 65_536;
/// Cells in one post: some 1 MB of text, 3 MB when every name is as long as it
/// may be, and a millisecond to write. A second is never cut.
pub const POST_CELLS_MAX: usize = CELLS_MAX;

/// Counts of the second under way, and of those that nobody has acknowledged.
#[derive(Debug, Default)]
pub struct Ticks {
    open: Second,
    closed: VecDeque<Arc<Second>>,
    cells_queued: usize,
    dropped: u64,
    folded: u64,
}

/// What ended in one second.
#[derive(Debug, Default)]
pub struct Second {
    /// Whole seconds between the beginning of all and this one's.
    index: u64,
    /// When it ended, once it has.
    ended: Duration,
    /// By the address of what is counted: cheap to compare, and nobody else's
    /// while the cell holds it. Addresses decide nothing but equality: what is
    /// sent is in the order of names.
    cells: BTreeMap<(usize, Class), Cell>,
    clients: BTreeMap<usize, Groups>,
}

#[derive(Debug)]
struct Cell {
    place: Arc<Place>,
    /// Counts all hosts of the place's bundle that had no room.
    folded: bool,
    sums: Sums,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    requests: u64,
    failed: u64,
    latency: [u32; LATENCY_BUCKETS],
}

/// Requests of one bundle, and those that failed, by group of tenants.
#[derive(Debug)]
struct Groups {
    label: Arc<Label>,
    counts: [(u32, u32); CLIENT_GROUPS as usize],
}

impl Ticks {
    /// A request has ended at `now` (a span on a clock that doesn't go back).
    ///
    /// `latency` is that of an answer that came whole; a request without one is
    /// counted as slower than all. One that the client gave up says nothing
    /// about the bundle and is not counted here, only in [`Counts`](crate::Counts).
    pub fn settle(
        &mut self,
        now: Duration,
        spot: &Spot,
        outcome: Outcome,
        latency: Option<Duration>,
    ) {
        self.close(now);
        let failed = match outcome {
            Outcome::Served => false,
            Outcome::Failed => true,
            Outcome::Gone => return,
        };
        let bucket = latency.map_or(LATENCY_BUCKETS - 1, |latency| {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            usize::from(latency_bucket(micros))
        });
        let Some(cell) = self.cell(spot) else { return };
        cell.sums.requests += 1;
        cell.sums.failed += u64::from(failed);
        cell.sums.latency[bucket] = cell.sums.latency[bucket].saturating_add(1);
        self.open.group(spot, failed);
    }

    /// Closes the seconds that are over at `now` and gives the oldest of those
    /// that wait, up to a post's size; with nothing waiting, none.
    pub fn take(&mut self, now: Duration) -> Vec<Arc<Second>> {
        self.close(now);
        let mut cells = 0_usize;
        let fits = |second: &&Arc<Second>| {
            let first = cells == 0;
            cells += second.size();
            first || cells <= POST_CELLS_MAX
        };
        let taken = self.closed.iter().take(TICKS_PER_POST_MAX);
        taken.take_while(fits).cloned().collect()
    }

    /// Closes the second under way, though it is not over: nothing will follow.
    pub fn finish(&mut self, now: Duration) {
        self.close(now);
        let next = self.open.index.saturating_add(1);
        self.turn(next, now);
    }

    /// Seconds up to `through` have arrived.
    pub fn acknowledge(&mut self, through: u64) {
        while self
            .closed
            .front()
            .is_some_and(|second| second.seq() <= through)
        {
            self.pop();
        }
    }

    /// Seconds up to `through` will never be taken: they are dropped, and counted as such.
    pub fn give_up(&mut self, through: u64) {
        let before = self.closed.len();
        self.acknowledge(through);
        self.dropped += (before - self.closed.len()) as u64;
    }

    /// How many closed seconds wait to be acknowledged at `now`.
    pub fn waiting(&mut self, now: Duration) -> usize {
        self.close(now);
        self.closed.len()
    }

    /// Seconds that were dropped before they were acknowledged.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Requests counted without their host, or not at all, for want of room.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// Closes every second that is over.
    fn close(&mut self, now: Duration) {
        let current = now.as_secs();
        while self.open.index < current {
            let next = self.open.index + 1;
            // After a long stop only the newest seconds would be kept.
            let kept_from = current.saturating_sub(TICKS_PER_POST_MAX as u64);
            self.turn(next, Duration::from_secs(next));
            if next < kept_from {
                self.dropped += kept_from - next;
                self.open.index = kept_from;
            }
        }
    }

    /// The open second has ended; the one at `next` begins.
    fn turn(&mut self, next: u64, ended: Duration) {
        let begun = Second {
            index: next,
            ..Second::default()
        };
        let mut over = std::mem::replace(&mut self.open, begun);
        over.ended = ended;
        self.cells_queued += over.size();
        self.closed.push_back(Arc::new(over));
        while self.closed.len() > TICKS_PER_POST_MAX
            || (self.cells_queued > CELLS_QUEUED_MAX && self.closed.len() > 1)
        {
            self.pop();
            self.dropped += 1;
        }
    }

    fn pop(&mut self) {
        if let Some(second) = self.closed.pop_front() {
            self.cells_queued -= second.size();
        }
    }

    /// The request's cell, or the one without a host when there is no room, or
    /// none when there is no room for that either.
    fn cell(&mut self, spot: &Spot) -> Option<&mut Cell> {
        let cells = &mut self.open.cells;
        let place = Arc::as_ptr(&spot.place).addr();
        let own = (place, spot.class);
        let folded = cells.len() >= HOST_CELLS_MAX && !cells.contains_key(&own);
        self.folded += u64::from(folded);
        let key = match folded {
            false => own,
            // The label is held through the place, so this address too is nobody else's.
            true => (Arc::as_ptr(&spot.place.label).addr(), spot.class),
        };
        if cells.len() >= CELLS_MAX && !cells.contains_key(&key) {
            return None;
        }
        let cell = cells.entry(key).or_insert_with(|| Cell {
            place: spot.place.clone(),
            folded,
            sums: Sums::default(),
        });
        Some(cell)
    }
}

impl Second {
    /// Counts up from 1 with each second.
    pub fn seq(&self) -> u64 {
        self.index + 1
    }

    /// What is told of it at `now`, on the clock by which it was counted.
    pub fn counts(&self, now: Duration) -> TickCounts {
        let age = now.saturating_sub(self.ended).as_millis();
        TickCounts {
            seq: self.seq(),
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
            cells: self.cell_counts(),
            clients: self.client_counts(),
            events: Vec::new(),
        }
    }

    /// How many entries it is told in, at most.
    fn size(&self) -> usize {
        self.cells.len() + self.clients.len() * usize::from(CLIENT_GROUPS)
    }

    fn group(&mut self, spot: &Spot, failed: bool) {
        let label = &spot.place.label;
        let groups = self.clients.entry(Arc::as_ptr(label).addr());
        let groups = groups.or_insert_with(|| Groups {
            label: label.clone(),
            counts: Default::default(),
        });
        if let Some((requests, failures)) = groups.counts.get_mut(usize::from(spot.group)) {
            *requests = requests.saturating_add(1);
            *failures = failures.saturating_add(u32::from(failed));
        }
    }

    /// A change of routes makes new places for the same names; here they are one again.
    fn cell_counts(&self) -> Vec<CellCounts> {
        type Named<'a> = (&'a Label, Option<&'a HostName>, &'a str);
        let mut named: BTreeMap<Named<'_>, Sums> = BTreeMap::new();
        for ((_, class), cell) in &self.cells {
            let place = &*cell.place;
            let host = (!cell.folded).then_some(&place.host);
            let name = (&*place.label, host, place.classes.name(*class));
            named.entry(name).or_default().add(&cell.sums);
        }
        let cells = named
            .into_iter()
            .map(|((label, host, class), sums)| CellCounts {
                service: label.service.clone(),
                digest: Some(label.digest),
                host: host.cloned(),
                class: class.to_owned(),
                requests: sums.requests,
                failed: sums.failed,
                latency: sums.pairs(),
            });
        cells.collect()
    }

    fn client_counts(&self) -> Vec<ClientCounts> {
        let mut named: BTreeMap<(&Label, u8), (u64, u64)> = BTreeMap::new();
        for groups in self.clients.values() {
            for (group, (requests, failed)) in (0_u8..).zip(groups.counts) {
                if requests > 0 {
                    let sums = named.entry((&*groups.label, group)).or_default();
                    sums.0 += u64::from(requests);
                    sums.1 += u64::from(failed);
                }
            }
        }
        let clients = named
            .into_iter()
            .map(|((label, group), (requests, failed))| ClientCounts {
                service: label.service.clone(),
                digest: label.digest,
                group,
                requests,
                failed,
            });
        clients.collect()
    }
}

impl Sums {
    fn add(&mut self, other: &Sums) {
        self.requests += other.requests;
        self.failed += other.failed;
        for (sum, more) in self.latency.iter_mut().zip(other.latency) {
            *sum = sum.saturating_add(more);
        }
    }

    /// The buckets that are not empty.
    fn pairs(&self) -> Vec<(u8, u64)> {
        let pairs = (0_u8..).zip(self.latency);
        pairs
            .filter(|(_, count)| *count > 0)
            .map(|(bucket, count)| (bucket, u64::from(count)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
