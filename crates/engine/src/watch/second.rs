//! One second of one service in one environment, as all sources together count it.
//!
//! Invariant: the order in which sources tell of it changes nothing, and it
//! stays below [`CELLS_KEPT_MAX`] cells whoever sends.

use std::collections::BTreeMap;

use judge::Sums;
use model::ticks::{CLASS_BYTES_MAX, LATENCY_BUCKETS};
use model::{CellCounts, ClientCounts, Digest, EventCounts, HostName};

/// Cells of one second at most: ten thousand hosts with a class or two. What is beyond is counted
/// without host and class: the totals stay true.
pub(super) const CELLS_KEPT_MAX: usize = 16_384;
/// Bundles whose requests are still told apart beyond that: a service has two or three at a time.
const BUNDLES_BEYOND_MAX: usize = 64;
/// Hosts with events in one second at most; what is beyond is not counted.
const EVENT_HOSTS_MAX: usize = 4_096;

/// Requests by latency.
pub(super) type Latencies = [u64; LATENCY_BUCKETS];

/// What is counted of some requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) sums: Sums,
    pub(super) latency: Latencies,
}

impl Counted {
    pub(super) fn add_sums(&mut self, sums: Sums) {
        self.sums = plus(self.sums, sums);
    }

    pub(super) fn add_latency(&mut self, latency: &Latencies) {
        for (sum, more) in self.latency.iter_mut().zip(latency) {
            *sum = sum.saturating_add(*more);
        }
    }
}

pub(super) fn plus(a: Sums, b: Sums) -> Sums {
    Sums {
        n: a.n.saturating_add(b.n),
        e: a.e.saturating_add(b.e),
    }
}

/// Whose requests: bundle and host as far as the source knows them, and class of endpoint.
pub(super) type CellKey = (Option<Digest>, Option<HostName>, String);

/// What one second saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Second {
    pub(super) cells: BTreeMap<CellKey, Counted>,
    pub(super) clients: BTreeMap<(Digest, u8), Sums>,
    pub(super) events: BTreeMap<HostName, u64>,
    /// A source that carries the service told of this second, if only that nothing happened.
    pub(super) told: bool,
    /// So many seconds up to this one are in it: a source that asks every five seconds tells of five.
    pub(super) covers: u64,
}

impl Second {
    pub(super) fn add_cell(&mut self, cell: CellCounts) {
        let CellCounts {
            digest,
            host,
            mut class,
            requests,
            failed,
            latency,
            service: _,
        } = cell;
        if class.len() > CLASS_BYTES_MAX {
            class.clear();
        }
        let mut key = (digest, host, class);
        if self.cells.len() >= CELLS_KEPT_MAX && !self.cells.contains_key(&key) {
            key = (digest, None, String::new());
            let room = self.cells.len() < CELLS_KEPT_MAX + BUNDLES_BEYOND_MAX;
            if !room && !self.cells.contains_key(&key) {
                key.0 = None;
            }
        }
        let counted = self.cells.entry(key).or_default();
        counted.add_sums(Sums {
            n: requests,
            e: failed.min(requests),
        });
        for (bucket, count) in latency {
            let bucket = usize::from(bucket).min(LATENCY_BUCKETS - 1);
            counted.latency[bucket] = counted.latency[bucket].saturating_add(count);
        }
    }

    pub(super) fn add_clients(&mut self, clients: &ClientCounts) {
        let key = (clients.digest, clients.group);
        if self.clients.len() >= CELLS_KEPT_MAX && !self.clients.contains_key(&key) {
            return;
        }
        let sums = self.clients.entry(key).or_default();
        *sums = plus(
            *sums,
            Sums {
                n: clients.requests,
                e: clients.failed.min(clients.requests),
            },
        );
    }

    pub(super) fn add_events(&mut self, events: EventCounts) {
        if self.events.len() >= EVENT_HOSTS_MAX && !self.events.contains_key(&events.host) {
            return;
        }
        let sum = self.events.entry(events.host).or_default();
        *sum = sum.saturating_add(events.count);
    }

    /// All requests, whatever bundle answered.
    pub(super) fn all(&self) -> Sums {
        self.cells
            .values()
            .fold(Sums::default(), |sum, cell| plus(sum, cell.sums))
    }
}
