//! What is said to the admission core, and what it says.
//!
//! Invariant: a [`Slot`] that was ended is never valid again, so that a report
//! that comes too late changes nothing.

use std::time::Duration;

use model::Priority;

use crate::Bucket;

/// One backend running one bundle. The same process with another bundle is another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendKey(pub u64);

/// The backends of one bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey(pub u64);

/// One request; never two that wait at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The right to have one request at a backend, until it answers or closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub(super) index: u32,
    pub(super) turn: u32,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenant {
    /// An even hash of the name.
    pub hash: u64,
    /// Whether the name is known to be a customer's. Others share a few queues,
    /// or made-up names would take a turn each.
    pub known: bool,
}

/// A request that wants a slot.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// Which.
    pub request: RequestId,
    /// The bundle that its tenant is on.
    pub pool: PoolKey,
    /// Whose.
    pub tenant: Tenant,
    /// The tenant's place on the scale that shares are cut from.
    pub bucket: Bucket,
    /// Its class. When there is a queue, the first can starve the last.
    pub priority: Priority,
    /// When the client is told that there is no answer, on the clock of `now`.
    pub deadline: Duration,
}

/// What becomes of an offer at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// To be sent now.
    Send(Sent),
    /// An [`Action`] will follow, by `until` at the latest.
    Queued {
        /// When it will have been refused, if it has not been sent.
        until: Duration,
    },
    /// To be answered with 503.
    Refused(Refused),
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The backend.
    pub backend: BackendKey,
    /// To be named in every report about the request.
    pub slot: Slot,
}

/// A request that goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub why: Why,
    /// Whole seconds for the `Retry-After` header.
    pub retry_after: Duration,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its pool has no backend.
    NoBackend,
    /// Its deadline was over when it came.
    Late,
    /// Its pool doesn't answer anybody.
    Stalled,
    /// Its pool begins anew and doesn't take its tenant yet.
    Ramp,
    /// More wait than can be served in time; it was the oldest of the longest queue.
    Overflow,
    /// It has waited for as long as it may.
    Waited,
}

impl Why {
    /// All reasons, in their order.
    pub const ALL: [Why; 6] = [
        Why::NoBackend,
        Why::Late,
        Why::Stalled,
        Why::Ramp,
        Why::Overflow,
        Why::Waited,
    ];

    /// The reason's place in [`Why::ALL`].
    pub(super) fn place(self) -> usize {
        match self {
            Why::NoBackend => 0,
            Why::Late => 1,
            Why::Stalled => 2,
            Why::Ramp => 3,
            Why::Overflow => 4,
            Why::Waited => 5,
        }
    }
}

/// What became of a request that has waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To be sent now. If nobody waits for it any more: report [`Outcome::Unsent`].
    Send {
        /// Which.
        request: RequestId,
        /// Where to.
        sent: Sent,
    },
    /// To be answered with 503.
    Refuse {
        /// Which.
        request: RequestId,
        /// Why, and when to come back.
        refused: Refused,
    },
}

/// How a slot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer below 500.
    Ok,
    /// With an answer of 500 or above.
    Failed,
    /// No connection came about, so nothing was sent.
    ConnectFailed,
    /// The connection ended without an answer.
    Closed,
    /// It was not used: says nothing about the backend.
    Unsent,
}

/// What is the same for all backends of a service.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many gateways send to the same backends, this one included. Declared
    /// and configured limits are divided by it.
    pub gateways: u32,
    /// How long a request may wait, unless five answers' time is longer; never
    /// more than a tenth of the time to its deadline.
    pub queue_for: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        /// Five answers of 20 ms: a burst passes, and a client hardly notices.
        const QUEUE_FOR: Duration = Duration::from_millis(100);
        Settings {
            gateways: 1,
            queue_for: QUEUE_FOR,
        }
    }
}

/// A backend as it shall be used.
#[derive(Debug, Clone, Copy)]
pub struct BackendSpec {
    /// Which.
    pub key: BackendKey,
    /// Whose requests it answers.
    pub pool: PoolKey,
    /// How many requests at once the backend says that it takes. With no more
    /// than it has workers, each idles for a round trip after a request.
    pub declared: Option<u32>,
    /// How many it is configured to be given; see [`limit_for_workers`](super::limit_for_workers).
    pub configured: Option<u32>,
    /// Another number than before: the process was started anew, and what was
    /// sent to the old one will never be answered.
    pub epoch: u64,
}
