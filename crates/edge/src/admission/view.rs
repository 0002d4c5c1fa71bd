//! What is shown to people and told to the control plane.
//!
//! Invariant: offered = sent + waiting + cancelled + all refused, and
//! sent = ok + failed + unsent + abandoned + active.

use std::time::Duration;

use super::limit::LimitSource;
use super::words::{BackendKey, PoolKey, Why};

/// Everything about one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Since this gateway started.
    pub totals: Totals,
    /// Its pools, by key.
    pub pools: Vec<PoolView>,
    /// Its backends, by key.
    pub backends: Vec<BackendView>,
}

/// What became of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// All.
    pub offered: u64,
    /// Those that were given a slot; a second try is not counted again.
    pub sent: u64,
    /// Second tries.
    pub retried: u64,
    /// Answered below 500.
    pub ok: u64,
    /// Answered with 500 or above, closed, or not connected.
    pub failed: u64,
    /// Given a slot, which was not used.
    pub unsent: u64,
    /// Ended at their deadline, or left by their client.
    pub abandoned: u64,
    /// Abandoned, and ended by the backend afterwards.
    pub late: u64,
    /// Left the queue by themselves.
    pub cancelled: u64,
    pub(super) refused: [u64; Why::ALL.len()],
}

impl Totals {
    /// Refused by the gateway.
    pub fn refused(&self, why: Why) -> u64 {
        self.refused[why.place()]
    }
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView {
    /// Which.
    pub key: PoolKey,
    /// How many wait.
    pub waiting: usize,
    /// Since when the longest has.
    pub oldest: Option<Duration>,
    /// Nobody answers.
    pub stalled: bool,
    /// Since when no backend has been in order.
    pub outage: Option<Duration>,
    /// How much of the tenants is let in.
    pub open_percent: u16,
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendView {
    /// Which.
    pub key: BackendKey,
    /// Its pool.
    pub pool: PoolKey,
    /// At most at once.
    pub limit: u32,
    /// Who says so.
    pub source: LimitSource,
    /// Active and hung.
    pub in_flight: u32,
    /// Of these, those whose client is gone.
    pub hung: usize,
    /// Workers that don't come back.
    pub lost: usize,
    /// The earliest deadline of a hung request: how long it has been hung, at least.
    pub oldest_hung: Option<Duration>,
    /// Since when it has answered nobody.
    pub stalled: Option<Duration>,
    /// Until when it gets nothing because it fails.
    pub ejected_until: Option<Duration>,
    /// Time to answer, of late.
    pub mean: Option<Duration>,
    /// It is no longer routed to, and has something to end.
    pub removed: bool,
}
