//! What is watched of one client's connection, and of one to a backend.
//!
//! hyper neither limits how long a client may leave an answer unread nor says
//! whether a backend sent anything before it hung up. Both are seen at the
//! socket, so a thin wrapper looks there.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Requests that one connection may take back at once. A page that is left in the
/// middle takes back some dozens; each costs a connection to a backend.
const RESETS_MAX: u64 = 200;
/// And so many more each second, for a client that another proxy stands for.
const RESETS_PER_S: u64 = 20;

/// Signs of life of one connection. Times are milliseconds since `epoch`, 0 for none.
#[derive(Debug)]
pub(crate) struct Vitals {
    epoch: Instant,
    /// Requests under way: one at most in HTTP/1.
    under_way: AtomicUsize,
    /// Since when there is none.
    idle_since_ms: AtomicU64,
    /// The request under way must have ended by then; the newest in HTTP/2.
    cut_at_ms: AtomicU64,
    /// Since when the peer takes nothing of what is written.
    blocked_since_ms: AtomicU64,
    /// Whether anything was read since the last [`forget_reads`](Vitals::forget_reads).
    read: AtomicBool,
    /// The connection ends with the next answer.
    is_last: AtomicBool,
    resets: Mutex<Resets>,
    /// Told once the client has taken back too many requests.
    abused: Notify,
}

/// Requests that a client took back, forgiven at [`RESETS_PER_S`].
#[derive(Debug)]
struct Resets {
    count: u64,
    at: Instant,
}

impl Vitals {
    pub(crate) fn new() -> Arc<Vitals> {
        Arc::new(Vitals {
            epoch: Instant::now(),
            under_way: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(1),
            cut_at_ms: AtomicU64::new(0),
            blocked_since_ms: AtomicU64::new(0),
            read: AtomicBool::new(false),
            is_last: AtomicBool::new(false),
            resets: Mutex::new(Resets {
                count: 0,
                at: Instant::now(),
            }),
            abused: Notify::new(),
        })
    }

    fn millis(&self, at: Instant) -> u64 {
        let span = at.saturating_duration_since(self.epoch);
        // Never 0, which stands for none.
        u64::try_from(span.as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// A request is under way until the guard is dropped.
    pub(crate) fn busy_until(self: &Arc<Vitals>, cut_at: Instant) -> Busy {
        let cut_at_ms = self.millis(cut_at);
        self.cut_at_ms.store(cut_at_ms, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Busy {
            vitals: self.clone(),
            cut_at_ms,
        }
    }

    /// Whether no request is under way and no answer waits to be read.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
            && self.blocked_since_ms.load(Ordering::Relaxed) == 0
    }

    /// Whether it has been idle for `span`.
    pub(crate) fn is_idle_for(&self, span: Duration, now: Instant) -> bool {
        let since = self.idle_since_ms.load(Ordering::Relaxed);
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.is_idle() && self.millis(now).saturating_sub(since) >= span
    }

    /// The next answer is to be the last.
    pub(crate) fn end_with_answer(&self) {
        self.is_last.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_last(&self) -> bool {
        self.is_last.load(Ordering::Relaxed)
    }

    /// Begins to watch whether a request is taken back before its answer.
    pub(crate) fn watch_reset(self: &Arc<Vitals>) -> MayReset {
        MayReset(Some(self.clone()))
    }

    fn reset(&self, now: Instant) {
        let mut resets = self.resets.lock().unwrap_or_else(PoisonError::into_inner);
        let forgiven = now.saturating_duration_since(resets.at).as_secs() * RESETS_PER_S;
        if forgiven > 0 {
            resets.at = now;
        }
        resets.count = resets.count.saturating_sub(forgiven) + 1;
        if resets.count > RESETS_MAX {
            self.abused.notify_one();
        }
    }

    /// Ends when the client has taken back too many requests.
    pub(crate) async fn abused(&self) {
        self.abused.notified().await;
    }

    /// Whether the connection holds up its end no more: its request's time is
    /// over, or the peer has taken nothing for `unread_max`.
    pub(crate) fn is_stuck(&self, now: Instant, unread_max: Duration) -> bool {
        let now = self.millis(now);
        let cut_at = self.cut_at_ms.load(Ordering::Relaxed);
        let blocked = self.blocked_since_ms.load(Ordering::Relaxed);
        let unread_max = u64::try_from(unread_max.as_millis()).unwrap_or(u64::MAX);
        (cut_at != 0 && now > cut_at) || (blocked != 0 && now.saturating_sub(blocked) > unread_max)
    }

    /// Whether the peer has taken nothing for `unread_max`. For HTTP/2, where
    /// each request is bounded by itself.
    pub(crate) fn is_blocked(&self, now: Instant, unread_max: Duration) -> bool {
        let blocked = self.blocked_since_ms.load(Ordering::Relaxed);
        let unread_max = u64::try_from(unread_max.as_millis()).unwrap_or(u64::MAX);
        blocked != 0 && self.millis(now).saturating_sub(blocked) > unread_max
    }

    pub(crate) fn forget_reads(&self) {
        self.read.store(false, Ordering::Relaxed);
    }

    pub(crate) fn has_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }

    fn wrote(&self, blocked: bool) {
        let before = self.blocked_since_ms.load(Ordering::Relaxed);
        match (blocked, before) {
            (true, 0) => {
                let now = self.millis(Instant::now());
                self.blocked_since_ms.store(now, Ordering::Relaxed);
            }
            (false, 1..) => self.blocked_since_ms.store(0, Ordering::Relaxed),
            (true, 1..) | (false, 0) => {}
        }
    }
}

/// One request on a connection; ends with its drop.
#[derive(Debug)]
pub(crate) struct Busy {
    vitals: Arc<Vitals>,
    cut_at_ms: u64,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = self.vitals.millis(Instant::now());
        self.vitals.idle_since_ms.store(now, Ordering::Relaxed);
        self.vitals.under_way.fetch_sub(1, Ordering::Relaxed);
        // Only its own mark: the next request may have begun already.
        let _ = self.vitals.cut_at_ms.compare_exchange(
            self.cut_at_ms,
            0,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }
}

/// A request that its client may take back.
#[derive(Debug)]
pub(crate) struct MayReset(Option<Arc<Vitals>>);

impl MayReset {
    /// It is answered.
    pub(crate) fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for MayReset {
    fn drop(&mut self) {
        if let Some(vitals) = self.0.take() {
            vitals.reset(Instant::now());
        }
    }
}

/// A socket that keeps its [`Vitals`].
#[derive(Debug)]
pub(crate) struct Watched<S = TcpStream> {
    stream: S,
    vitals: Arc<Vitals>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, vitals: Arc<Vitals>) -> Watched<S> {
        Watched { stream, vitals }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.vitals.read.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.vitals.wrote(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.vitals.wrote(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuck_is_a_request_over_its_time_or_a_peer_that_takes_nothing() {
        let vitals = Vitals::new();
        let start = vitals.epoch;
        let at = |s: u64| start + Duration::from_secs(s);
        let unread_max = Duration::from_secs(10);
        assert!(vitals.is_idle());
        assert!(!vitals.is_stuck(at(1000), unread_max));
        let first = vitals.busy_until(at(5));
        assert!(!vitals.is_idle() && !vitals.is_stuck(at(4), unread_max));
        assert!(vitals.is_stuck(at(6), unread_max));
        let second = vitals.busy_until(at(50));
        drop(first);
        assert!(!vitals.is_idle());
        drop(second);
        assert!(vitals.is_idle());
        vitals.wrote(true);
        assert!(!vitals.is_stuck(at(5), unread_max));
        assert!(vitals.is_stuck(at(20), unread_max));
        vitals.wrote(false);
        assert!(!vitals.is_stuck(at(20), unread_max));
        assert!(vitals.is_idle_for(Duration::from_secs(30), at(40)));
        assert!(!vitals.is_idle_for(Duration::from_secs(30), at(20)));
    }

    #[tokio::test]
    async fn requests_taken_back_are_forgiven_slowly() {
        let vitals = Vitals::new();
        let start = Instant::now();
        let told = async || {
            let abused = tokio::time::timeout(Duration::ZERO, vitals.abused());
            abused.await.is_ok()
        };
        vitals.watch_reset().answered();
        for second in 0..100 {
            for _ in 0..RESETS_PER_S {
                vitals.reset(start + Duration::from_secs(second));
            }
        }
        assert!(!told().await);
        for _ in 0..=RESETS_MAX {
            vitals.reset(start + Duration::from_secs(100));
        }
        assert!(told().await);
    }
}
