//! What is watched of one client's connection, and of one to a backend.
//!
//! hyper neither limits how long a client may leave an answer unread nor says
//! whether a backend sent anything before it hung up. Both are seen at the
//! socket, so a thin wrapper looks there.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Signs of life of one connection. Times are milliseconds since `epoch`, 0 for none.
#[derive(Debug)]
pub(crate) struct Vitals {
    epoch: Instant,
    /// The request under way must have ended by then.
    cut_at_ms: AtomicU64,
    /// Since when the peer takes nothing of what is written.
    blocked_since_ms: AtomicU64,
    /// Whether anything was read since the last [`forget_reads`](Vitals::forget_reads).
    read: AtomicBool,
}

impl Vitals {
    pub(crate) fn new() -> Arc<Vitals> {
        Arc::new(Vitals {
            epoch: Instant::now(),
            cut_at_ms: AtomicU64::new(0),
            blocked_since_ms: AtomicU64::new(0),
            read: AtomicBool::new(false),
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
        Busy {
            vitals: self.clone(),
            cut_at_ms,
        }
    }

    /// Whether no request is under way and no answer waits to be read.
    pub(crate) fn is_idle(&self) -> bool {
        self.cut_at_ms.load(Ordering::Relaxed) == 0
            && self.blocked_since_ms.load(Ordering::Relaxed) == 0
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
        // Only its own mark: the next request may have begun already.
        let _ = self.vitals.cut_at_ms.compare_exchange(
            self.cut_at_ms,
            0,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }
}

/// A socket that keeps its [`Vitals`].
#[derive(Debug)]
pub(crate) struct Watched {
    stream: TcpStream,
    vitals: Arc<Vitals>,
}

impl Watched {
    pub(crate) fn new(stream: TcpStream, vitals: Arc<Vitals>) -> Watched {
        Watched { stream, vitals }
    }
}

impl AsyncRead for Watched {
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

impl AsyncWrite for Watched {
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
    }
}
