//! One gateway as a pure machine: which backend answers a request, and what is
//! counted of it. No sockets, no clock: `now` is handed in.
//!
//! - [`Router`] splits one service's tenants over its pools by a stable hash.
//! - [`Counts`] keeps totals by bundle and tenant, and knows which of them the
//!   control plane has not acknowledged yet.
//! - [`Ticks`] counts the same requests second by second, by host, class of
//!   endpoint and latency, for the judge.
//! - [`admission`] decides who is sent on, who waits, and who is refused.
//!
//! Invariant: a tenant that met a newer bundle stays on it while that bundle's
//! share grows, and every request that was offered is counted exactly once.

pub mod admission;
mod bucket;
mod classes;
mod counts;
mod router;
mod ticks;

pub use bucket::{BUCKETS, Bucket};
pub use classes::{Class, Classes};
pub use counts::{Batch, Counts, Outcome, ROWS_MAX, RowTotals, TENANTS_PER_BUNDLE_MAX, Tally};
pub use router::{Choice, Label, NoBackend, Place, Router, Spot};
pub use ticks::{CELLS_QUEUED_MAX, HOST_CELLS_MAX, POST_CELLS_MAX, Second, Ticks};
