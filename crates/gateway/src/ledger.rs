//! Counts shared by all connections, and the ticket that settles a request once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge::{Counts, Label, Outcome};
use model::ServiceName;

use crate::answer::Reason;

/// The counts. A plain mutex: it is held for one addition, well under a
/// microsecond, and for one copy of at most a post's rows.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    counts: Mutex<Counts>,
    /// Requests that have come, whatever became of them.
    offered: AtomicU64,
    /// Connections closed because there were too many.
    connections_refused: AtomicU64,
}

impl Ledger {
    pub(crate) fn new() -> Ledger {
        Ledger::default()
    }

    /// A panic elsewhere leaves at worst one request uncounted, so the counts stay usable.
    pub(crate) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn offer(&self) {
        self.offered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn offered(&self) -> u64 {
        self.offered.load(Ordering::Relaxed)
    }

    pub(crate) fn refuse(&self, service: &ServiceName, reason: Reason) {
        self.counts().refuse(service, reason.code());
    }

    pub(crate) fn refuse_connection(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connections_refused(&self) -> u64 {
        self.connections_refused.load(Ordering::Relaxed)
    }

    /// A request is handed to a host of `label`.
    pub(crate) fn ticket(self: &Arc<Ledger>, label: Arc<Label>, tenant: String) -> Ticket {
        Ticket {
            ledger: self.clone(),
            label,
            tenant,
            settled: false,
        }
    }
}

/// One request in flight. Dropped unsettled (the client hung up and everything
/// that worked for it was dropped), it counts as gone.
#[derive(Debug)]
pub(crate) struct Ticket {
    ledger: Arc<Ledger>,
    label: Arc<Label>,
    tenant: String,
    settled: bool,
}

impl Ticket {
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.write(outcome);
    }

    /// It was the gateway itself that said no, after a host had been chosen.
    pub(crate) fn refuse(mut self, reason: Reason) {
        self.settled = true;
        self.ledger.refuse(&self.label.service, reason);
    }

    fn write(&mut self, outcome: Outcome) {
        self.settled = true;
        let mut counts = self.ledger.counts();
        counts.settle(&self.label, &self.tenant, outcome);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.write(Outcome::Gone);
        }
    }
}
