//! What drained hosts still work on.
//!
//! A host that leaves the pools gets no new requests from the moment in which the table is
//! swapped; what it has goes on to its end. Only when that is nothing, here and at every
//! other gateway, is the host told to restart.
//!
//! Invariant: a request is counted from its slot to the last byte of its answer, without a
//! moment in between in which it is counted nowhere: first as a slot at the desk, then as a
//! [`Visit`], which begins before the slot ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edge::admission::{BackendKey, View};
use model::Drained;

use crate::upstream::Upstream;

/// One exchange with a backend, from its first byte to its last; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Visit(Arc<AtomicU64>);

impl Visit {
    pub(crate) fn begin(open: &Arc<AtomicU64>) -> Visit {
        open.fetch_add(1, Ordering::SeqCst);
        Visit(open.clone())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A drained host, and where its requests are.
#[derive(Debug, Clone)]
pub(crate) struct Leaving {
    pub(crate) told: Drained,
    /// Its slots at the desk.
    pub(crate) keys: BTreeSet<BackendKey>,
    /// Connections of all tables in which it stood since this process has known it.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
}

impl Leaving {
    /// Requests that are not over. The desk is looked at first: a request that has ended its
    /// slot there by then has begun its visit.
    pub(crate) fn in_flight(&self, desk: &View) -> u64 {
        let slots = desk.backends.iter();
        let slots = slots.filter(|backend| self.keys.contains(&backend.key));
        let slots: u64 = slots.map(|backend| u64::from(backend.in_flight)).sum();
        let visits: u64 = self.upstreams.iter().map(|it| it.visits()).sum();
        // A request that waits for its answer has both.
        slots.max(visits)
    }
}
