//! Admission to one service: the pure machine behind a lock, and those who wait.
//!
//! The lock is held for one decision, about a microsecond. A request that
//! waits holds no more than its place here, so a queue costs little memory.
//!
//! Invariant: every slot that was given out is reported ended exactly once: by
//! its [`Permit`], which reports it unused when it is dropped.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use edge::Bucket;
use edge::admission::{
    Action, Admission, BackendKey, BackendSpec, Decision, Offer, Outcome, PoolKey, Refused,
    RequestId, Sent, Settings, Slot, Tenant, View, Why, limit_for_workers,
};
use model::Priority;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::headers::NO_TENANT;

/// Without anything to be done, the clock is looked at this often all the same.
const IDLE: Duration = Duration::from_secs(1);

/// One service's admission.
#[derive(Debug)]
pub(crate) struct Desk {
    epoch: Instant,
    /// Backends are given whatever comes, in turn.
    is_open: AtomicBool,
    inner: Mutex<Inner>,
    /// Something is due earlier than the clock task believes.
    earlier: Notify,
}

#[derive(Debug)]
struct Inner {
    admission: Admission,
    waiting: HashMap<RequestId, oneshot::Sender<Result<Sent, Refused>>>,
    requests: u64,
    /// For a desk that is open.
    pools: BTreeMap<PoolKey, Vec<BackendKey>>,
    /// When the clock task looks next.
    looks_at: Duration,
}

/// What a request brings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    pub(crate) pool: PoolKey,
    pub(crate) tenant: Tenant,
    pub(crate) bucket: Bucket,
    pub(crate) priority: Priority,
    pub(crate) deadline: Instant,
}

/// Whose turn it is. Who has no name shares a queue with others of that kind.
pub(crate) fn tenant(name: &str) -> Tenant {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    Tenant {
        hash: hasher.finish(),
        known: name != NO_TENANT,
    }
}

impl Desk {
    pub(crate) fn new() -> Arc<Desk> {
        Arc::new(Desk {
            is_open: AtomicBool::new(false),
            epoch: Instant::now(),
            inner: Mutex::new(Inner {
                admission: Admission::new(Settings::default()),
                pools: BTreeMap::new(),
                waiting: HashMap::new(),
                requests: 0,
                looks_at: IDLE,
            }),
            earlier: Notify::new(),
        })
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// A panic elsewhere leaves at worst a slot that is held for too long.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call to the machine, and what follows from it for those who wait.
    fn with<T>(&self, call: impl FnOnce(&mut Inner, Duration) -> T) -> T {
        let now = self.now();
        let mut inner = self.lock();
        let result = call(&mut inner, now);
        inner.deliver(now);
        let due = inner.admission.wake_at();
        let earlier = due.is_some_and(|due| due < inner.looks_at);
        if earlier {
            inner.looks_at = due.unwrap_or(IDLE);
        }
        drop(inner);
        if earlier {
            self.earlier.notify_one();
        }
        result
    }

    /// The backends in force, and whether they are given whatever comes. What has a slot
    /// keeps it until it ends.
    pub(crate) fn set_backends(&self, specs: &[BackendSpec], is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
        self.with(|inner, now| {
            inner.pools.clear();
            for spec in specs {
                inner.pools.entry(spec.pool).or_default().push(spec.key);
            }
            inner.admission.set_backends(specs, now);
        });
    }

    /// Everything, and when that was by the machine's clock.
    pub(crate) fn view(&self) -> (View, Duration) {
        let now = self.now();
        (self.lock().admission.view(), now)
    }

    /// Waits for a slot, for as long as the machine says and never beyond the deadline.
    ///
    /// # Errors
    /// Why there is none, and when to come back.
    pub(crate) async fn enter(self: &Arc<Desk>, want: Want) -> Result<Permit, Refused> {
        if self.is_open.load(Ordering::Relaxed) {
            return self.in_turn(want.pool);
        }
        let deadline = want.deadline.saturating_duration_since(self.epoch);
        let waiting = self.with(|inner, now| {
            inner.requests += 1;
            let request = RequestId(inner.requests);
            let decision = inner.admission.offer(
                Offer {
                    request,
                    pool: want.pool,
                    tenant: want.tenant,
                    bucket: want.bucket,
                    priority: want.priority,
                    deadline,
                },
                now,
            );
            match decision {
                Decision::Send(sent) => Ok(Ok(sent)),
                Decision::Refused(refused) => Ok(Err(refused)),
                Decision::Queued { .. } => {
                    let (told, hears) = oneshot::channel();
                    inner.waiting.insert(request, told);
                    Err((request, hears))
                }
            }
        });
        let sent = match waiting {
            Ok(decided) => decided,
            Err((request, hears)) => {
                let waiting = Waiting {
                    desk: self.clone(),
                    request,
                    hears,
                };
                waiting.await
            }
        };
        sent.map(|sent| self.permit(sent))
    }

    /// The pool's next backend, whatever it is like.
    fn in_turn(self: &Arc<Desk>, pool: PoolKey) -> Result<Permit, Refused> {
        let mut inner = self.lock();
        inner.requests += 1;
        let turn = usize::try_from(inner.requests).unwrap_or(0);
        let backends = inner.pools.get(&pool).filter(|it| !it.is_empty());
        let backend = backends.map(|backends| backends[turn % backends.len()]);
        match backend {
            Some(backend) => Ok(Permit {
                desk: self.clone(),
                slot: None,
                backend,
            }),
            None => Err(Refused {
                why: Why::NoBackend,
                retry_after: Duration::from_secs(1),
            }),
        }
    }

    fn permit(self: &Arc<Desk>, sent: Sent) -> Permit {
        Permit {
            desk: self.clone(),
            slot: Some(sent.slot),
            backend: sent.backend,
        }
    }

    /// Looks at the clock whenever the machine wants it.
    pub(crate) async fn keep_time(self: Arc<Desk>) {
        loop {
            let due = self.with(|inner, now| {
                inner.admission.due(now);
                let due = inner.admission.wake_at().unwrap_or(now + IDLE);
                inner.looks_at = due.min(now + IDLE);
                inner.looks_at
            });
            tokio::select! {
                () = tokio::time::sleep_until(self.epoch + due) => {}
                () = self.earlier.notified() => {}
            }
        }
    }
}

impl Inner {
    /// Tells those who wait. Who doesn't wait any more gives the slot back, which may be somebody else's turn.
    fn deliver(&mut self, now: Duration) {
        while let Some(action) = self.admission.next_action() {
            let (request, result) = match action {
                Action::Send { request, sent } => (request, Ok(sent)),
                Action::Refuse { request, refused } => (request, Err(refused)),
            };
            let told = self.waiting.remove(&request);
            let unheard = match told {
                Some(told) => told.send(result).err(),
                None => Some(result),
            };
            if let Some(Ok(sent)) = unheard {
                self.admission.ended(sent.slot, Outcome::Unsent, now);
            }
        }
    }
}

/// A place in the queue, left when this is dropped.
struct Waiting {
    desk: Arc<Desk>,
    request: RequestId,
    hears: oneshot::Receiver<Result<Sent, Refused>>,
}

impl Future for Waiting {
    type Output = Result<Sent, Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match std::task::ready!(Pin::new(&mut self.hears).poll(cx)) {
            Ok(result) => Poll::Ready(result),
            // The machine never forgets who waits; a gateway that ends does.
            Err(_) => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let request = self.request;
        self.desk.with(|inner, now| {
            inner.waiting.remove(&request);
            inner.admission.cancelled(request, now);
        });
        self.hears.close();
        // A slot that was given at the very moment goes to the next.
        if let Ok(Ok(sent)) = self.hears.try_recv() {
            drop(self.desk.permit(sent));
        }
    }
}

/// The right to have one request at a backend.
#[derive(Debug)]
pub(crate) struct Permit {
    desk: Arc<Desk>,
    /// None once it is ended, and at a desk that is open.
    slot: Option<Slot>,
    backend: BackendKey,
}

impl Permit {
    pub(crate) fn backend(&self) -> BackendKey {
        self.backend
    }

    /// The backend says in its answer how many workers it has.
    pub(crate) fn declared(&self, workers: u32) {
        let limit = Some(limit_for_workers(workers));
        self.desk
            .with(|inner, now| inner.admission.declared(self.backend, limit, now));
    }

    /// The client has its answer or is gone; the backend has not answered. Whether it answers others.
    pub(crate) fn abandoned(&self) -> bool {
        let Some(slot) = self.slot else {
            return true;
        };
        self.desk.with(|inner, now| {
            inner.admission.abandoned(slot, now);
            !inner.admission.is_stalled(self.backend)
        })
    }

    /// The backend has answered or closed.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.report(outcome);
    }

    /// It failed at this backend; another slot, if the request may go out again.
    pub(crate) fn again(mut self, outcome: Outcome, idempotent: bool) -> Option<Permit> {
        let slot = self.slot.take()?;
        let sent = self
            .desk
            .with(|inner, now| inner.admission.retry(slot, outcome, idempotent, now))?;
        Some(self.desk.permit(sent))
    }

    fn report(&mut self, outcome: Outcome) {
        if let Some(slot) = self.slot.take() {
            self.desk
                .with(|inner, now| inner.admission.ended(slot, outcome, now));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.report(Outcome::Unsent);
    }
}
