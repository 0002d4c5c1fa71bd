//! Bounds of the control plane, and what happens at them.

use std::time::Duration;

/// Connections at a time: each agent and gateway holds one or two. Beyond it
/// new ones wait in the kernel's queue until one closes.
pub(crate) const CONNECTIONS_MAX: usize = 60_000;
/// Inputs that wait for the journal. Beyond it callers get 503 and try again.
pub(crate) const QUEUE_MAX: usize = 4096;
/// Inputs decided before one append: more make the append longer, not cheaper.
pub(crate) const BATCH_MAX: usize = 256;
/// Body of an ordinary request. A manifest of ten thousand files has about 2 MiB.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
/// A request that long in the works is given up; long polls and blobs have their own.
pub(crate) const REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// Changes that are checked at the same time: each may hold two trees of documents in memory.
/// Beyond it they wait for their turn, within [`CHECK_WITHIN`].
pub(crate) const CHECKS_MAX: usize = 2;
/// Checking one change, waiting for a turn included: documents of the largest size take some seconds.
pub(crate) const CHECK_WITHIN: Duration = Duration::from_secs(30);
/// All documents of one tree that are read for checks.
pub(crate) const DOCUMENTS_BYTES_MAX: u64 = 64 << 20;
/// A file that no rule names is data when it is larger than this, and not looked at.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 8 << 20;
/// Records of all verdicts of one append, some megabytes each: tenths of a second on a disk that
/// serves. A verdict may send a release back, and that waits no longer: it is journaled without.
pub(crate) const RECORDS_WITHIN: Duration = Duration::from_secs(3);
/// Longest wait of a long poll; asked-for longer ones are cut to it.
pub(crate) const POLL_MAX: Duration = Duration::from_secs(60);
/// An upload or download of the largest blob over a slow line.
pub(crate) const BLOB_WITHIN: Duration = Duration::from_secs(600);
/// Slow headers (slowloris) are cut off.
pub(crate) const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// A connection whose first request has not come by then is closed: each holds one of the places.
pub(crate) const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// A comment line on silent event streams, so that both ends see a dead peer.
pub(crate) const STREAM_BEAT: Duration = Duration::from_secs(15);
/// A snapshot is saved after so many events: a start then replays at most that many.
pub(crate) const SNAPSHOT_EVERY: u64 = 5_000;

/// Each connection is a file: lifts the soft limit to the hard one.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}
