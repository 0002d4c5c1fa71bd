//! Which backend answers a request of one service.
//!
//! Pools are cut from the scale of [`Bucket`]s in their order: newer ones take
//! buckets from 0 upward, the settled one (first in the list) has the rest. So
//! the set of tenants on the first newer bundle only grows with its share, and
//! so does the set of tenants that left the settled one.
//!
//! Which of a pool's backends answers, [`Admission`](crate::admission::Admission)
//! says. Another bundle's hosts never step in for failing ones: the failure
//! would be hidden from whoever judges.
//!
//! Invariant: [`Router::choose`] depends on nothing but the table and the tenant's bucket.

use std::ops::Range;
use std::sync::Arc;

use model::{Backend, Digest, HostName, ServiceName, ServiceRoutes};

use crate::bucket::{BUCKETS, Bucket, width};
use crate::classes::{Class, Classes};

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

/// The pool that a tenant is on.
#[derive(Debug, Clone)]
pub struct Choice<'a> {
    /// What its requests are counted under, whatever the table says later.
    pub label: &'a Arc<Label>,
    /// Its backends' indices in [`Router::backends`]; at least one.
    pub backends: Range<usize>,
}

/// One service's pools, ready for requests.
#[derive(Debug)]
pub struct Router {
    lanes: Vec<Lane>,
    backends: Vec<Target>,
    classes: Arc<Classes>,
    /// Tenants from this bucket on are let in.
    open_from: u16,
}

/// A pool: its part of the scale and its slice of the backends.
#[derive(Debug)]
struct Lane {
    label: Arc<Label>,
    /// The first bucket above this lane; the settled lane ends the scale.
    end: u16,
    backends: Range<usize>,
}

#[derive(Debug)]
struct Target {
    backend: Backend,
    place: Arc<Place>,
}

impl Router {
    /// Takes a service's routes.
    pub fn new(service: &ServiceName, routes: &ServiceRoutes) -> Router {
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
            }));
            lanes.push(Lane {
                label,
                end,
                backends: first..backends.len(),
            });
        }
        Router {
            lanes,
            backends,
            classes,
            open_from: BUCKETS - width(routes.open_permille),
        }
    }

    /// Whether a tenant is let in while the service comes back by parts. Those who are on the
    /// settled bundle come first: their buckets are at the end of the scale.
    pub fn lets_in(&self, tenant: Bucket) -> bool {
        tenant.get() >= self.open_from
    }

    /// All backends, with the bundle that each is counted under.
    pub fn backends(&self) -> impl ExactSizeIterator<Item = (&Backend, Digest)> {
        let targets = self.backends.iter();
        targets.map(|target| (&target.backend, target.place.label.digest))
    }

    /// The pool that a tenant with this place for the router's service is on.
    ///
    /// # Errors
    /// When no pool has a backend.
    pub fn choose(&self, tenant: Bucket) -> Result<Choice<'_>, NoBackend> {
        let own = self.lanes.iter().find(|lane| tenant.get() < lane.end);
        // A share without a host can't be kept: the settled pool steps in, or whoever is there.
        let lane = own
            .into_iter()
            .chain(self.lanes.iter().rev())
            .find(|lane| !lane.backends.is_empty())
            .ok_or(NoBackend)?;
        Ok(Choice {
            label: &lane.label,
            backends: lane.backends.clone(),
        })
    }

    /// The service's classes of endpoints.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Under what a request to a backend, of this one of [`classes`](Router::classes), is
    /// counted; `None` for an index that is none.
    pub fn spot(&self, backend: usize, bucket: Bucket, class: Class) -> Option<Spot> {
        let place = &self.backends.get(backend)?.place;
        Some(Spot {
            place: place.clone(),
            class,
            group: bucket.group(),
        })
    }
}

#[cfg(test)]
mod tests;
