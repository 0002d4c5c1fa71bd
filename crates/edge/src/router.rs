//! Which backend answers a request of one service.
//!
//! Pools are cut from the scale of [`Bucket`]s in their order: newer ones take
//! buckets from 0 upward, the settled one (first in the list) has the rest. So
//! the set of tenants on the first newer bundle only grows with its share, and
//! so does the set of tenants that left the settled one.
//!
//! A backend that refused connections several times in a row is passed over for
//! a moment; when all of a pool's are, all are tried again, because a wrong
//! guess must not turn a slow pool into none. Another bundle's hosts never step
//! in for failing ones: the failure would be hidden from whoever judges.
//!
//! Invariant: [`Router::choose`] takes no lock and depends on nothing but the
//! table, the tenant, the turn, and the marks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use model::{Backend, Digest, HostName, ServiceName, ServiceRoutes};

use crate::bucket::{BUCKETS, Bucket, width};
use crate::classes::{Class, Classes};

/// Connect failures in a row after which a backend is passed over. One or two
/// are a restart's ordinary noise.
pub const FAILURES_TO_SKIP: u32 = 3;
/// For how long. Short, because this mark only spares requests the attempt; who
/// is out of service is the control plane's to say.
pub const SKIPPED_FOR: Duration = Duration::from_secs(1);

/// What requests are counted under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// The service asked for.
    pub service: ServiceName,
    /// The bundle of the hosts that answer.
    pub digest: Digest,
}

/// One bundle on one host, and the classes of its requests.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The service and the bundle.
    pub label: Arc<Label>,
    /// The host.
    pub host: HostName,
    /// The service's classes of endpoints.
    pub classes: Arc<Classes>,
}

/// Under what a request is counted in its second.
#[derive(Debug, Clone)]
pub struct Spot {
    /// The bundle and the host that it was handed to.
    pub place: Arc<Place>,
    /// Its class.
    pub class: Class,
    /// Its tenant's group, below [`model::ticks::CLIENT_GROUPS`].
    pub group: u8,
}

/// No pool has a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoBackend;

/// Where a request goes. It counts to `label` whatever the table says later.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// To be counted under.
    pub label: &'a Arc<Label>,
    /// The backend's index in [`Router::backends`].
    pub slot: usize,
    /// The backend.
    pub backend: &'a Backend,
    place: &'a Arc<Place>,
    bucket: Bucket,
}

impl Choice<'_> {
    /// Under what a request with this method and path (without its query) is counted.
    pub fn spot(&self, method: &str, path: &str) -> Spot {
        Spot {
            place: self.place.clone(),
            class: self.place.classes.of(method, path),
            group: self.bucket.group(),
        }
    }
}

/// One service's pools, ready for requests.
#[derive(Debug)]
pub struct Router {
    service: ServiceName,
    lanes: Vec<Lane>,
    backends: Vec<Target>,
}

/// A pool: its part of the scale and its slice of the backends.
#[derive(Debug)]
struct Lane {
    label: Arc<Label>,
    /// The first bucket above this lane; the settled lane ends the scale.
    end: u16,
    first: usize,
    len: usize,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Target {
    backend: Backend,
    place: Arc<Place>,
    mark: Arc<Mark>,
}

/// What a backend's last connection attempts were like.
#[derive(Debug, Default)]
struct Mark {
    failures: AtomicU32,
    /// Passed over until then, in milliseconds on the caller's clock.
    until_ms: AtomicU64,
}

impl Router {
    /// Takes a service's routes. Marks of backends at the same address are kept
    /// from `before`, so that a change of weights doesn't forget who is down.
    pub fn new(service: &ServiceName, routes: &ServiceRoutes, before: Option<&Router>) -> Router {
        let mut backends = Vec::new();
        let mut lanes = Vec::with_capacity(routes.pools.len());
        let mut end = 0_u16;
        let classes = Arc::new(Classes::new(&routes.endpoints));
        // Newer pools first, from 0 upward; the settled one last, up to the end.
        let newer = routes.pools.iter().skip(1);
        for (n, pool) in newer.chain(routes.pools.first()).enumerate() {
            let settled = n + 1 == routes.pools.len();
            end = match settled {
                true => BUCKETS,
                false => end.saturating_add(width(pool.share_permille)).min(BUCKETS),
            };
            let first = backends.len();
            let label = Arc::new(Label {
                service: service.clone(),
                digest: pool.digest,
            });
            backends.extend(pool.backends.iter().map(|backend| Target {
                backend: backend.clone(),
                place: Arc::new(Place {
                    label: label.clone(),
                    host: backend.host.clone(),
                    classes: classes.clone(),
                }),
                mark: mark_of(before, backend),
            }));
            lanes.push(Lane {
                label,
                end,
                first,
                len: pool.backends.len(),
                turn: AtomicUsize::new(0),
            });
        }
        Router {
            service: service.clone(),
            lanes,
            backends,
        }
    }

    /// All backends; a [`Choice`] names one by its place here.
    pub fn backends(&self) -> impl ExactSizeIterator<Item = &Backend> {
        self.backends.iter().map(|target| &target.backend)
    }

    /// Who answers `tenant` at `now` (any clock that doesn't go back, but always the same one).
    ///
    /// # Errors
    /// When no pool has a backend.
    pub fn choose(&self, tenant: &str, now: Duration) -> Result<Choice<'_>, NoBackend> {
        let bucket = Bucket::of(&self.service, tenant);
        let own = self.lanes.iter().find(|lane| bucket.get() < lane.end);
        // A share without a host can't be kept: the settled pool steps in, or whoever is there.
        let lane = own
            .into_iter()
            .chain(self.lanes.iter().rev())
            .find(|lane| lane.len > 0)
            .ok_or(NoBackend)?;
        let slot = self.next_of(lane, millis(now));
        let target = &self.backends[slot];
        Ok(Choice {
            label: &lane.label,
            slot,
            backend: &target.backend,
            place: &target.place,
            bucket,
        })
    }

    /// A connection to the backend came about.
    pub fn connected(&self, slot: usize) {
        let mark = &self.backends[slot].mark;
        // Read first: on the usual path nothing is written that other cores hold.
        if mark.failures.load(Ordering::Relaxed) != 0 {
            mark.failures.store(0, Ordering::Relaxed);
            mark.until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// A connection to the backend did not come about.
    pub fn connect_failed(&self, slot: usize, now: Duration) {
        let mark = &self.backends[slot].mark;
        let failures = mark.failures.fetch_add(1, Ordering::Relaxed);
        if failures.saturating_add(1) >= FAILURES_TO_SKIP {
            let until = millis(now + SKIPPED_FOR);
            mark.until_ms.store(until, Ordering::Relaxed);
        }
    }

    /// The lane's next backend in turn that is not marked, or just the next.
    fn next_of(&self, lane: &Lane, now_ms: u64) -> usize {
        let turn = lane.turn.fetch_add(1, Ordering::Relaxed);
        let slot = |step: usize| lane.first + turn.wrapping_add(step) % lane.len;
        let open = |slot: &usize| {
            let until = self.backends[*slot].mark.until_ms.load(Ordering::Relaxed);
            until <= now_ms
        };
        (0..lane.len).map(slot).find(open).unwrap_or(slot(0))
    }
}

fn mark_of(before: Option<&Router>, backend: &Backend) -> Arc<Mark> {
    before
        .into_iter()
        .flat_map(|router| &router.backends)
        .find(|target| target.backend.address == backend.address)
        .map(|target| target.mark.clone())
        .unwrap_or_default()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
