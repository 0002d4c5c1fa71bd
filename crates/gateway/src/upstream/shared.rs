//! Connections over HTTP/2: several requests on each.
//!
//! What tells that a host is done with a request, and so gives its slot back, is the same as
//! over HTTP/1: the head of its answer, or the end of what carried it. That end is a stream's
//! here: the host resets it (it will not answer, so it counts as closed, never as an answer),
//! says with GOAWAY that it never took it, or its connection ends.
//!
//! So the gateway does not reset a stream whose client is gone or out of time: a host may or
//! may not stop its work at that, and never says so; the slot would be free while the worker is
//! not. The stream stays open, and its late answer is heard as over HTTP/1.
//!
//! An answer to a ping tells nothing of that kind: the library answers it while all workers
//! hang. Pings only find connections whose other end is gone.
//!
//! Invariant: a connection is given at most as many requests as [`STREAMS_MAX`] and its host
//! allow, once it is known what the host allows, so that none waits unseen below admission.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::SendError;
use super::dial::{Stream, Way};
use crate::body::Upload;

/// Requests at once on one connection: enough that few connections are needed, few enough that
/// one that breaks takes few with it.
const STREAMS_MAX: usize = 64;
/// Of one answer, unread by its client.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
/// Room for all of them, so that clients who read slowly hold up nobody else's answer.
#[expect(clippy::cast_possible_truncation, reason = "64 times 128 KiB")]
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_MAX as u32;
/// Of an answer's head: as much as clients may send.
const HEADER_BYTES_MAX: u32 = 64 << 10;
/// A host that says nothing is asked this often whether it is there, and must answer by then.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_WITHIN: Duration = Duration::from_secs(10);
/// A connection without a request is closed after this long, as over HTTP/1.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// One backend's connections.
#[derive(Debug)]
pub(super) struct Shared {
    open: Mutex<Vec<Arc<Line>>>,
    /// Requests at once on a connection that the host allows, as of the last request.
    most: Arc<AtomicUsize>,
    /// One connection is made at a time, for all who wait for one; when the last try failed, and how.
    dialling: tokio::sync::Mutex<Option<(Instant, std::io::ErrorKind)>>,
}

/// One connection.
#[derive(Debug)]
struct Line {
    sender: SendRequest<Upload>,
    in_use: AtomicUsize,
    /// Since when it may have been without a request.
    used_at: Mutex<Instant>,
}

/// A stream's place on a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    line: Arc<Line>,
    pub(super) sender: SendRequest<Upload>,
    /// Nobody had used the connection before.
    pub(super) is_fresh: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut used_at = self
            .line
            .used_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *used_at = Instant::now();
        self.line.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Line {
    /// A place, if there is one. Called under the lock of all lines, so that no place is given twice.
    fn lease(self: &Arc<Line>, most: usize, is_fresh: bool) -> Option<Lease> {
        if self.sender.is_closed() || self.in_use.load(Ordering::Relaxed) >= most {
            return None;
        }
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Some(Lease {
            line: self.clone(),
            sender: self.sender.clone(),
            is_fresh,
        })
    }

    fn is_usable(&self, now: Instant) -> bool {
        let used_at = *self.used_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = self.in_use.load(Ordering::Relaxed) == 0;
        let is_old = is_idle && now.duration_since(used_at) >= IDLE_FOR;
        !self.sender.is_closed() && !is_old
    }
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            open: Mutex::default(),
            most: Arc::new(AtomicUsize::new(STREAMS_MAX)),
            dialling: tokio::sync::Mutex::default(),
        }
    }
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed).clamp(1, STREAMS_MAX)
    }

    /// A place on the first connection that has one: so those that are not needed fall idle.
    fn place(&self) -> Option<Lease> {
        let mut lines = self.lines();
        lines.retain(|line| !line.sender.is_closed());
        lines.iter().find_map(|line| line.lease(self.most(), false))
    }

    /// A place on a connection, made if need be.
    pub(super) async fn lease(&self, way: &Way, within: Duration) -> Result<Lease, SendError> {
        if let Some(lease) = self.place() {
            return Ok(lease);
        }
        let asked = Instant::now();
        let mut failed = self.dialling.lock().await;
        if let Some(lease) = self.place() {
            return Ok(lease);
        }
        if let Some((at, kind)) = *failed
            && at >= asked
        {
            // It was tried while this one waited, and would take as long again.
            return Err(SendError::Connect(kind.into()));
        }
        let line = match self.dial(way, within).await {
            Ok(line) => Arc::new(line),
            Err(error) => {
                if let SendError::Connect(error) = &error {
                    *failed = Some((Instant::now(), error.kind()));
                }
                return Err(error);
            }
        };
        let mut lines = self.lines();
        lines.push(line.clone());
        let closed = || SendError::Connect(std::io::ErrorKind::ConnectionReset.into());
        line.lease(self.most(), true).ok_or_else(closed)
    }

    async fn dial(&self, way: &Way, within: Duration) -> Result<Line, SendError> {
        match way.dial(within).await?.0 {
            Stream::Plain(stream) => begin(stream, self.most.clone()).await,
            Stream::Secured(stream) => begin(stream, self.most.clone()).await,
        }
    }

    /// Drops connections that are closed or unused for long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.lines().retain(|line| line.is_usable(now));
    }

    /// Nothing new is begun; each connection ends, with GOAWAY, when its requests have.
    pub(super) fn close(&self) {
        self.lines().clear();
    }
}

async fn begin<S>(stream: S, most: Arc<AtomicUsize>) -> Result<Line, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_max_send_streams(most.load(Ordering::Relaxed).clamp(1, STREAMS_MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN)
        .handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(SendError::Broken)?;
    let mut connection = Box::pin(connection);
    let running = poll_fn(move |cx| {
        let polled = connection.as_mut().poll(cx);
        most.store(connection.current_max_send_streams(), Ordering::Relaxed);
        polled
    });
    tokio::spawn(async move {
        if let Err(error) = running.await {
            tracing::debug!(%error, "a backend's connection ended");
        }
    });
    Ok(Line {
        sender,
        in_use: AtomicUsize::new(0),
        used_at: Mutex::new(Instant::now()),
    })
}
