//! Bodies on their way through: bounded towards the backend, bounded in time
//! towards the client, and the place where a request's outcome is known.
//!
//! Invariant: a connection goes back to its pool only after both bodies have
//! ended, so no byte of one exchange can be taken for part of the next.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use edge::Outcome;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::config::Limits;
use crate::ledger::Ticket;
use crate::upstream::Connection;
use crate::vitals::Busy;

/// How far a request's body has come; says whose fault a stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The backend has not asked for more.
    Backend,
    /// The client has not sent more.
    Client,
    /// All of it has been handed on.
    Ended,
    /// It went over the limit.
    TooLarge,
    /// The client broke off or sent nonsense.
    Broken,
    /// The client sent less than the floor.
    TooSlow,
}

/// A [`Phase`] that two tasks share, and how long the client kept the backend waiting.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    phase: AtomicU8,
    waited_us: AtomicU64,
}

impl Progress {
    fn set(&self, phase: Phase) {
        let code = match phase {
            Phase::Backend => 0,
            Phase::Client => 1,
            Phase::Ended => 2,
            Phase::TooLarge => 3,
            Phase::Broken => 4,
            Phase::TooSlow => 5,
        };
        self.phase.store(code, Ordering::Relaxed);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Backend,
            1 => Phase::Client,
            2 => Phase::Ended,
            3 => Phase::TooLarge,
            5 => Phase::TooSlow,
            _ => Phase::Broken,
        }
    }

    /// How long the client's body was waited for so far.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.load(Ordering::Relaxed))
    }

    fn wait(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(micros, Ordering::Relaxed);
    }
}

/// Why a body stopped before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the request's body is over the limit")]
    TooLarge,
    #[error("the request's body comes too slowly")]
    TooSlow,
    #[error("the client's body broke off")]
    Client(#[source] hyper::Error),
    #[error("the backend's body broke off")]
    Backend(#[source] hyper::Error),
    #[error("the deadline passed")]
    Deadline,
}

/// A request's body on its way to a backend.
#[derive(Debug, Default)]
pub(crate) struct Upload(Option<Stream>);

#[derive(Debug)]
struct Stream {
    inner: Incoming,
    bytes_left: u64,
    progress: Arc<Progress>,
    /// Since when the client has sent nothing more.
    waits_since: Option<Instant>,
    floor: Floor,
}

impl Stream {
    /// How long the client has been waited for, up to now.
    fn waited(&self) -> Duration {
        let now = self.waits_since.map_or(Duration::ZERO, |it| it.elapsed());
        self.progress.waited() + now
    }
}

impl Upload {
    /// Bounded in bytes and slowness; without progress when there is no body to speak of.
    pub(crate) fn new(inner: Incoming, limits: &Limits) -> (Upload, Option<Arc<Progress>>) {
        if inner.is_end_stream() {
            return (Upload(None), None);
        }
        let progress = Arc::new(Progress::default());
        let stream = Stream {
            inner,
            bytes_left: limits.body_bytes_max,
            progress: progress.clone(),
            waits_since: None,
            floor: Floor::new(limits.body_rate_min, limits.body_rate_window),
        };
        (Upload(Some(stream)), Some(progress))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// The least that a client must send while it is waited for. Time in which the
/// backend takes nothing is not the client's.
#[derive(Debug)]
struct Floor {
    /// For a window; 0 asks for nothing.
    bytes_min: u64,
    window: Duration,
    /// What has come since the window began.
    bytes: u64,
    /// How long the client had been waited for when it began.
    waited: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Floor {
    fn new(rate_min: u64, window: Duration) -> Floor {
        let bytes_min = u128::from(rate_min) * window.as_millis() / 1000;
        Floor {
            bytes_min: u64::try_from(bytes_min).unwrap_or(u64::MAX),
            window,
            bytes: 0,
            waited: Duration::ZERO,
            alarm: None,
        }
    }

    /// The client is waited for, and was for `waited` in all before. Ready when
    /// it has sent too little.
    fn wait(&mut self, waited: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if self.bytes_min == 0 {
            return Poll::Pending;
        }
        loop {
            let left = self
                .window
                .saturating_sub(waited.saturating_sub(self.waited));
            let alarm = self
                .alarm
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
            std::task::ready!(alarm.as_mut().poll(cx));
            if self.bytes < self.bytes_min {
                return Poll::Ready(());
            }
            self.bytes = 0;
            self.waited = waited;
            self.alarm = None;
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(stream) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut stream.inner).poll_frame(cx);
        if polled.is_pending() {
            stream.waits_since.get_or_insert_with(Instant::now);
        } else if let Some(since) = stream.waits_since.take() {
            stream.progress.wait(since.elapsed());
            stream.floor.alarm = None;
        }
        let (phase, polled) = match polled {
            Poll::Pending => match stream.floor.wait(stream.waited(), cx) {
                Poll::Pending => (Phase::Client, Poll::Pending),
                Poll::Ready(()) => (Phase::TooSlow, Poll::Ready(Some(Err(BodyError::TooSlow)))),
            },
            Poll::Ready(None) => (Phase::Ended, Poll::Ready(None)),
            Poll::Ready(Some(Err(error))) => (
                Phase::Broken,
                Poll::Ready(Some(Err(BodyError::Client(error)))),
            ),
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, Bytes::len);
                match stream.bytes_left.checked_sub(len as u64) {
                    None => (Phase::TooLarge, Poll::Ready(Some(Err(BodyError::TooLarge)))),
                    Some(left) => {
                        stream.bytes_left = left;
                        stream.floor.bytes += len as u64;
                        let ended = stream.inner.is_end_stream();
                        let phase = if ended { Phase::Ended } else { Phase::Backend };
                        (phase, Poll::Ready(Some(Ok(frame))))
                    }
                }
            }
        };
        stream.progress.set(phase);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|stream| stream.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(
            || SizeHint::with_exact(0),
            |stream| stream.inner.size_hint(),
        )
    }
}

/// An answer's body: the gateway's own words, or a backend's.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    Own(Option<Bytes>),
    Passed(Box<Download>),
}

impl ReplyBody {
    pub(crate) fn own(bytes: Bytes) -> ReplyBody {
        ReplyBody::Own((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            ReplyBody::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            ReplyBody::Passed(download) => download.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Own(bytes) => bytes.is_none(),
            ReplyBody::Passed(download) => download.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            ReplyBody::Passed(download) => download.inner.size_hint(),
        }
    }
}

/// A backend's body on its way to the client, with everything that ends with it.
#[derive(Debug)]
pub(crate) struct Download {
    inner: Incoming,
    deadline: Instant,
    /// Made when the backend first keeps us waiting: most bodies are there at once.
    alarm: Option<Pin<Box<Sleep>>>,
    /// What it counts as when the body arrives whole.
    whole: Outcome,
    progress: Option<Arc<Progress>>,
    ticket: Option<Ticket>,
    connection: Option<Connection>,
    /// The client's connection is busy until this is dropped.
    _busy: Busy,
}

impl Download {
    pub(crate) fn new(
        inner: Incoming,
        deadline: Instant,
        whole: Outcome,
        progress: Option<Arc<Progress>>,
        ticket: Ticket,
        connection: Connection,
        busy: Busy,
    ) -> Download {
        let mut download = Download {
            inner,
            deadline,
            alarm: None,
            whole,
            progress,
            ticket: Some(ticket),
            connection: Some(connection),
            _busy: busy,
        };
        if download.inner.is_end_stream() {
            download.finish();
        }
        download
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                // hyper doesn't ask again once the announced length is there.
                if self.inner.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.break_off();
                Poll::Ready(Some(Err(BodyError::Backend(error))))
            }
            Poll::Pending => {
                let deadline = self.deadline;
                let alarm = self
                    .alarm
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                std::task::ready!(alarm.as_mut().poll(cx));
                self.break_off();
                Poll::Ready(Some(Err(BodyError::Deadline)))
            }
        }
    }

    /// The answer has come whole.
    fn finish(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            ticket.settle(self.whole);
        }
        let upload_ended = self
            .progress
            .as_ref()
            .is_none_or(|progress| progress.phase() == Phase::Ended);
        if let Some(connection) = self.connection.take()
            && upload_ended
        {
            connection.give_back();
        }
    }

    /// The backend broke off or was too slow, unless it was the client's doing.
    fn break_off(&mut self) {
        let phase = self.progress.as_ref().map(|progress| progress.phase());
        let outcome = match phase {
            Some(Phase::Client | Phase::TooLarge | Phase::Broken | Phase::TooSlow)
                if self.whole != Outcome::Failed =>
            {
                Outcome::Gone
            }
            Some(_) | None => Outcome::Failed,
        };
        if let Some(ticket) = self.ticket.take() {
            ticket.settle_cut(outcome);
        }
        self.connection = None;
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if self.inner.is_end_stream() {
            self.finish();
        } else if let Some(ticket) = self.ticket.take() {
            // The client left. A status of 500 and above was a failure before it did.
            match self.whole {
                Outcome::Failed => ticket.settle(Outcome::Failed),
                Outcome::Served | Outcome::Gone => ticket.settle(Outcome::Gone),
            }
        }
    }
}
