//! Counts shared by all connections, and the ticket that settles a request once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge::{Counts, Outcome, Spot, Ticks};
use model::ServiceName;
use tokio::time::Instant;

use crate::answer::Reason;
use crate::customer::Customer;

/// The counts. A plain mutex: it is held for one addition, well under a
/// microsecond, and for one copy of at most a post's rows.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Seconds are counted from here.
    epoch: Instant,
    book: Mutex<Book>,
    /// Requests that have come, whatever became of them.
    offered: AtomicU64,
    /// Connections closed because there were too many.
    connections_refused: AtomicU64,
}

/// All that is counted of requests handed to hosts. Under one lock, so that a
/// request is in both or in neither.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Totals by bundle and tenant.
    pub(crate) counts: Counts,
    /// The same, second by second.
    pub(crate) ticks: Ticks,
}

impl Ledger {
    pub(crate) fn new() -> Ledger {
        Ledger {
            epoch: Instant::now(),
            book: Mutex::default(),
            offered: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
        }
    }

    /// When the first second began.
    pub(crate) fn epoch(&self) -> Instant {
        self.epoch
    }

    /// The clock by which seconds and marks are kept.
    pub(crate) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// A panic elsewhere leaves at worst one request uncounted, so the counts stay usable.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn offer(&self) {
        self.offered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn offered(&self) -> u64 {
        self.offered.load(Ordering::Relaxed)
    }

    pub(crate) fn refuse(&self, service: &ServiceName, reason: Reason) {
        self.book().counts.refuse(service, reason.code());
    }

    pub(crate) fn refuse_connection(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connections_refused(&self) -> u64 {
        self.connections_refused.load(Ordering::Relaxed)
    }

    /// A request that came at `began` is handed to a host.
    pub(crate) fn ticket(
        self: &Arc<Ledger>,
        spot: Spot,
        customer: Arc<Customer>,
        began: Instant,
    ) -> Ticket {
        Ticket {
            ledger: self.clone(),
            spot,
            customer,
            began,
            latency: None,
            tried: false,
            settled: false,
        }
    }
}

/// One request in flight. Dropped unsettled (the client hung up and everything
/// that worked for it was dropped), it counts as gone.
///
/// Its latency is the time from its own head to the head of its answer, without
/// the waits for more of the client's body. Not to the answer's end: how long
/// that takes depends on how fast the client reads, and a stream that is meant
/// to last would look like a slow one. An answer that stalls runs into the
/// deadline, and is then a failure slower than all answers.
#[derive(Debug)]
pub(crate) struct Ticket {
    ledger: Arc<Ledger>,
    spot: Spot,
    customer: Arc<Customer>,
    began: Instant,
    latency: Option<Duration>,
    /// Its first attempt failed and is in its second; what the next one brings is the customer's alone.
    tried: bool,
    settled: bool,
}

impl Ticket {
    /// The answer's head is there; for so long the client was waited for.
    pub(crate) fn answered(&mut self, waited: Duration) {
        self.latency = Some(self.began.elapsed().saturating_sub(waited));
    }

    /// No connection to its host came about; it goes to another one. The judge counts first
    /// attempts, customers what they get.
    pub(crate) fn goes_on_to(&mut self, spot: Spot) {
        let now = self.ledger.now();
        if !self.tried {
            let mut book = self.ledger.book();
            book.ticks.settle(now, &self.spot, Outcome::Failed, None);
        }
        self.tried = true;
        self.spot = spot;
    }

    /// It ended with its whole answer, or without any.
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.write(outcome);
    }

    /// It ended in the middle of its answer: as slow as if none had come.
    pub(crate) fn settle_cut(mut self, outcome: Outcome) {
        self.latency = None;
        self.write(outcome);
    }

    /// It was the gateway itself that said no, after a host had been chosen.
    pub(crate) fn refuse(mut self, reason: Reason) {
        self.settled = true;
        self.ledger.refuse(&self.spot.place.label.service, reason);
    }

    fn write(&mut self, outcome: Outcome) {
        self.settled = true;
        let now = self.ledger.now();
        let mut book = self.ledger.book();
        let label = &self.spot.place.label;
        book.counts.settle(label, &self.customer.name, outcome);
        if !self.tried {
            book.ticks.settle(now, &self.spot, outcome, self.latency);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.write(Outcome::Gone);
        }
    }
}
