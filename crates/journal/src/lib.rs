//! The journal: the one record of what happened, append-only and hash-chained.
//!
//! Audit, incident timeline, status page and report are views of it, and the
//! control plane's state is a fold of it. So three things are promised here:
//!
//! - **Acknowledged is kept.** [`Journal::append`] answers after the commit is on disk, never before.
//! - **All or nothing, at a known position.** An append names the position that its events were
//!   decided at; if somebody else was faster it is a conflict and nothing is written.
//! - **No silent change.** Each event's hash covers the one before it, over the very bytes that are
//!   stored. Every read walks that chain, so no changed, missing or swapped event is ever folded.
//!
//! # Parts
//!
//! [`Journal`] is a cheap handle. Behind it, one thread writes and another reads, each with a
//! connection of its own, so that no long read makes an append wait. `chain` knows hashes and
//! nothing of databases; `sqlite` knows rows and nothing of events.
//!
//! # The seam
//!
//! `sqlite::Store` offers `append`, `read`, `tail` and the snapshot functions, and nothing else:
//! queries are folds in memory. A PostgreSQL store is a second module with the same functions behind
//! the same concrete [`Journal`]; no trait is needed until both exist, and perhaps not then.
//!
//! The file's layout and the rules for changing events are in `docs/journal-format.md`.

mod chain;
mod error;
pub mod export;
mod handle;
mod lock;
mod reader;
mod schema;
mod sqlite;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use chain::{Damage, Problem, Record, genesis, hash};
pub use error::{
    AppendError, ExportError, LoadSnapshotError, OpenError, ReadError, SaveSnapshotError,
    StoreError, StoreErrorKind, VerifyError,
};
pub use export::{Exported, export_file};
pub use handle::{Journal, Snapshot};
pub use verify::{Verified, verify_file};

/// Most events in one append: an order for each host of the largest fleet that one control plane is
/// meant for. More is refused before anything is written; the caller's decision was out of bounds.
pub const EVENTS_PER_APPEND_MAX: usize = 10_000;

/// Most bytes of one encoded event: the manifest of a bundle with the most entries that a bundle may
/// have, each at the longest path, fits. Larger is refused before anything is written.
pub const EVENT_BYTES_MAX: usize = 8 << 20;

/// Most bytes of all encoded events of one append: what a queue slot can hold in memory, and a
/// transaction that still commits in about a second. Larger is refused before anything is written.
pub const APPEND_BYTES_MAX: usize = 64 << 20;

/// Most events that one [`Journal::read`] returns: a batch takes some ten milliseconds to read and
/// decode. A larger limit is cut to this one; the caller asks again.
pub const EVENTS_PER_READ_MAX: usize = 10_000;

/// A read stops after this many bytes of events, with at least one event, so that a few huge events
/// don't become one huge answer. The caller asks again.
pub const READ_BYTES_MAX: usize = 64 << 20;

/// Most bytes of one snapshot: a quarter of what SQLite holds in one value, and far more than a state
/// that is folded in memory should be. Larger is refused; the journal works without a snapshot.
pub const SNAPSHOT_BYTES_MAX: usize = 256 << 20;

/// Snapshots kept: the newest, and one more to fall back on when it is damaged.
pub const SNAPSHOTS_KEPT: usize = 2;

/// Commands that may wait for a journal thread. At the limit callers wait in turn; they set the
/// deadline, and nothing is lost, because nothing was acknowledged.
const QUEUE_MAX: usize = 64;
