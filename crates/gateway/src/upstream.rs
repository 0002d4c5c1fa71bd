//! Connections to one backend: opened when needed, kept when idle.
//!
//! A kept connection may have been closed by the backend at the very moment it
//! is used. Then the request goes out once more on a fresh one: always if no
//! byte of it was written, else only if its class allows it, it has no body, and
//! nothing was received. If that fails too, or there was none kept, it may go to
//! another backend on the same terms.
//!
//! Over HTTP/1 a connection has one request at a time; over HTTP/2 several, see [`shared`].
//!
//! Invariant: a connection over HTTP/1 that is dropped instead of given back is closed at
//! once, so the backend learns that nobody waits for the answer.

mod dial;
mod record;
mod secure;
mod shared;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use model::Retry;
use model::serving::{Protocol, UpstreamSpec};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::body::Upload;
use crate::drains::Visit;
use crate::vitals::{Vitals, Watched};
use dial::{Stream, Way};
use record::Record;
pub use secure::UpstreamTls;
pub(crate) use secure::{Secure, check as check_secure};
use shared::{Lease, Shared};

/// Idle connections kept for one backend. A burst wider than this opens new
/// ones; they are closed after it instead of being kept for the next.
const IDLE_MAX: usize = 256;
/// An idle connection is closed after this long; most servers do it after 60 s or more.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// hyper takes a moment to see that an exchange is over. One that takes longer
/// is stuck in its last write, and a fresh connection is quicker.
const READY_WITHIN: Duration = Duration::from_millis(20);

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// This process has no descriptor or port left: not the backend's fault.
    #[error("no resources for another connection: {0}")]
    Own(#[source] std::io::Error),
    /// No connection came about.
    #[error("can't connect: {0}")]
    Connect(#[source] std::io::Error),
    /// The connection ended before the answer's head, or that was no HTTP.
    #[error("no answer: {0}")]
    Broken(#[source] hyper::Error),
}

/// How a request is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) connect_within: Duration,
    pub(crate) retry: Retry,
}

/// A request that got no answer's head.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) error: SendError,
    /// The request once more, if it may go out once more: nothing of it was sent, or its
    /// class allows it, it has no body, and nothing was received.
    pub(crate) again: Option<Box<Request<Upload>>>,
}

/// One backend: how it is reached, and its connections.
#[derive(Debug)]
pub(crate) struct Upstream {
    way: Way,
    /// Over HTTP/1.
    idle: Mutex<Vec<Kept>>,
    /// Over HTTP/2.
    shared: Shared,
    closed: AtomicBool,
    /// Exchanges that are not over.
    visits: Arc<AtomicU64>,
}

/// What carries an exchange, which is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    carrier: Carrier,
    visit: Option<Visit>,
}

#[derive(Debug)]
enum Carrier {
    /// A whole connection over HTTP/1.
    Whole(Kept),
    /// A stream's place on one over HTTP/2, given up when it is dropped.
    #[expect(dead_code, reason = "held for its drop")]
    Part(Lease),
}

impl Connection {
    /// Keeps it for the next request. Both bodies must have ended.
    pub(crate) fn give_back(self) {
        match self.carrier {
            Carrier::Whole(kept) => kept.give_back(),
            Carrier::Part(_) => {}
        }
    }

    /// The exchange goes on without it, in another protocol.
    pub(crate) fn take_visit(&mut self) -> Option<Visit> {
        self.visit.take()
    }
}

/// One connection over HTTP/1, used by one exchange at a time.
#[derive(Debug)]
struct Kept {
    sender: SendRequest<Upload>,
    _driver: Driver,
    socket: Arc<OwnedFd>,
    vitals: Arc<Vitals>,
    home: Arc<Upstream>,
    idle_since: Instant,
    /// The request under way, while it may have to go out once more.
    record: Record,
}

/// What is left in the hands of who gave up waiting for an exchange.
#[derive(Debug, Default)]
pub(crate) struct Leash(Mutex<Option<Arc<OwnedFd>>>);

impl Leash {
    fn hold(&self, connection: &Kept) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(connection.socket.clone());
    }

    /// Tells the backend that nobody waits, by ending what is sent to it; its answer can still
    /// come. Over HTTP/2 there is no such way: see [`shared`]. One that looks gives up, and closes; one that doesn't works on, and is heard when
    /// it is done.
    pub(crate) fn tell_gone(&self) {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = held.as_ref() {
            // One that is gone already needs no telling.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
        }
    }
}

/// hyper's task for the connection; ends with its owner.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Kept {
    /// Sends a request and waits for its answer's head.
    async fn ask(
        &mut self,
        request: Box<Request<Upload>>,
        terms: Terms,
        leash: &Leash,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.record.note(&request, terms.retry);
        leash.hold(self);
        match self.sender.try_send_request(*request).await {
            Ok(response) => {
                self.record.forget();
                Ok(response)
            }
            Err(mut failed) => {
                let unsent = failed.take_message().map(Box::new);
                let noted = || self.record.again().filter(|_| !self.vitals.has_read());
                let again = unsent.or_else(noted);
                let error = SendError::Broken(failed.into_error());
                Err(Unanswered { error, again })
            }
        }
    }

    /// Keeps it for the next request. Both bodies must have ended.
    fn give_back(mut self) {
        let home = self.home.clone();
        if self.sender.is_closed() || home.closed.load(Ordering::Relaxed) {
            return;
        }
        self.idle_since = Instant::now();
        let mut idle = home.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(self);
        }
    }

    fn is_usable(&self, now: Instant) -> bool {
        !self.sender.is_closed() && now.duration_since(self.idle_since) < IDLE_FOR
    }
}

impl Upstream {
    pub(crate) fn new(address: &str, spec: &UpstreamSpec, secure: &Secure) -> Arc<Upstream> {
        Arc::new(Upstream {
            way: Way::new(address, spec, secure),
            idle: Mutex::default(),
            shared: Shared::default(),
            closed: AtomicBool::new(false),
            visits: Arc::default(),
        })
    }

    /// How many exchanges are not over.
    pub(crate) fn visits(&self) -> u64 {
        self.visits.load(Ordering::SeqCst)
    }

    pub(crate) fn address(&self) -> &str {
        &self.way.address
    }

    pub(crate) fn is_reached_by(&self, spec: &UpstreamSpec) -> bool {
        self.way.spec == *spec
    }

    /// No longer in the table: idle connections are closed, others after their exchange.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.drop_idle(|_| false);
        self.shared.close();
    }

    /// Drops idle connections that are closed or old.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.drop_idle(|connection| connection.is_usable(now));
        self.shared.sweep();
    }

    fn drop_idle(&self, keep: impl Fn(&Kept) -> bool) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped: Vec<Kept> = idle.extract_if(.., |it| !keep(it)).collect();
        // Closing sockets is no work to do while others wait for the lock.
        drop(idle);
        drop(dropped);
    }

    /// Sends the request and waits for the answer's head. The caller bounds the whole.
    pub(crate) async fn send(
        self: &Arc<Self>,
        request: Box<Request<Upload>>,
        terms: Terms,
        leash: &Leash,
    ) -> Result<(Response<Incoming>, Connection), Unanswered> {
        let visit = Some(Visit::begin(&self.visits));
        let (response, carrier) = match self.way.spec.protocol {
            Protocol::Http1 => self.send_alone(request, terms, leash).await?,
            Protocol::Http2 => Box::pin(self.send_beside(request, terms)).await?,
        };
        Ok((response, Connection { carrier, visit }))
    }

    /// On a connection of its own.
    async fn send_alone(
        self: &Arc<Self>,
        mut request: Box<Request<Upload>>,
        terms: Terms,
        leash: &Leash,
    ) -> Result<(Response<Incoming>, Carrier), Unanswered> {
        if let Some(mut kept) = self.take_idle().await {
            kept.vitals.forget_reads();
            match kept.ask(request, terms, leash).await {
                Ok(response) => return Ok((response, Carrier::Whole(kept))),
                Err(Unanswered {
                    again: Some(again), ..
                }) => request = again,
                Err(failed) => return Err(failed),
            }
            tracing::debug!(
                address = self.way.address,
                "a kept connection was closed; trying a fresh one"
            );
        }
        // On the heap, as all that is seldom: every exchange is as large as its rarest way.
        let connecting = Box::pin(self.connect(terms.connect_within));
        let mut fresh = match connecting.await {
            Ok(fresh) => fresh,
            Err(error) => {
                let again = Some(request);
                return Err(Unanswered { error, again });
            }
        };
        let response = fresh.ask(request, terms, leash).await?;
        Ok((response, Carrier::Whole(fresh)))
    }

    /// Beside others on a connection.
    async fn send_beside(
        self: &Arc<Self>,
        mut request: Box<Request<Upload>>,
        terms: Terms,
    ) -> Result<(Response<Incoming>, Carrier), Unanswered> {
        loop {
            let mut lease = match self.shared.lease(&self.way, terms.connect_within).await {
                Ok(lease) => lease,
                Err(error) => {
                    let again = Some(request);
                    return Err(Unanswered { error, again });
                }
            };
            let mut record = Record::default();
            record.note(&request, terms.retry);
            let mut failed = match lease.sender.try_send_request(*request).await {
                Ok(response) => return Ok((response, Carrier::Part(lease))),
                Err(failed) => failed,
            };
            let unsent = failed.take_message().map(Box::new);
            let error = match &unsent {
                // The connection ended before it was this one's turn.
                Some(_) => SendError::Connect(std::io::ErrorKind::ConnectionReset.into()),
                None => SendError::Broken(failed.into_error()),
            };
            match unsent.or_else(|| record.again()) {
                // Closed just when it was used; a fresh one is no such chance.
                Some(again) if !lease.is_fresh && lease.sender.is_closed() => request = again,
                again => return Err(Unanswered { error, again }),
            }
        }
    }

    /// The connection used last, because it is the one least likely to be closed soon.
    async fn take_idle(&self) -> Option<Kept> {
        loop {
            let popped = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.pop()
            };
            let mut connection = popped?;
            if !connection.is_usable(Instant::now()) {
                continue;
            }
            if connection.sender.is_ready() {
                return Some(connection);
            }
            let ready = tokio::time::timeout(READY_WITHIN, connection.sender.ready());
            if matches!(Box::pin(ready).await, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    async fn connect(self: &Arc<Self>, within: Duration) -> Result<Kept, SendError> {
        let (stream, socket) = self.way.dial(within).await?;
        match stream {
            Stream::Plain(stream) => self.begin(stream, socket).await,
            Stream::Secured(stream) => self.begin(stream, socket).await,
        }
    }

    async fn begin<S>(self: &Arc<Self>, stream: S, socket: Arc<OwnedFd>) -> Result<Kept, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let vitals = Vitals::new();
        let io = TokioIo::new(Watched::new(stream, vitals.clone()));
        let (sender, connection) = http1::handshake(io).await.map_err(SendError::Broken)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a backend's connection ended");
            }
        });
        Ok(Kept {
            sender,
            _driver: Driver(driver),
            socket,
            vitals,
            home: self.clone(),
            idle_since: Instant::now(),
            record: Record::default(),
        })
    }
}
