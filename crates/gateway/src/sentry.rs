//! Stands between a client's HTTP/1 bytes and hyper, and lets through what
//! [`Framer`] found to mean one thing only.
//!
//! A head that is wrong never reaches hyper. A stand-in takes its place, so that
//! answers to requests before it keep their order, and [`Line::flaw`] says why;
//! whoever serves the stand-in refuses it.
//!
//! Invariant: a flaw is known to [`Line`] before hyper has the last byte that
//! comes before it.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::config::Limits;
use crate::framing::{Flaw, Found, Framer};
use crate::tunnel::Tunnel;

/// Stands for a request that is not let through.
const STAND_IN: &[u8] =
    b"MALFORMED / HTTP/1.1\r\nhost: malformed.invalid\r\nconnection: close\r\n\r\n";
/// Bytes read at once into the buffer of what can't go on yet.
const READ_BYTES: usize = 4 << 10;
/// Bytes kept while it is open which protocol they belong to. Nobody should send
/// any before the answer; the rest waits in the kernel's buffer.
const EARLY_BYTES_MAX: usize = 16 << 10;
/// After a refusal the client is read from for so long: closing on one that still
/// writes resets the connection, and it would never read the answer.
const LINGER: Duration = Duration::from_secs(1);

const UNDECIDED: u8 = 0;
const HTTP: u8 = 1;
const OTHER: u8 = 2;

/// What a connection's reader and its requests tell each other.
#[derive(Debug, Default)]
pub(crate) struct Line {
    flaw: OnceLock<Flaw>,
    /// What becomes of the connection after a request for another protocol.
    switch: AtomicU8,
    /// Who reads on once that is known.
    waits: Mutex<Option<Waker>>,
    tunnel: Mutex<Option<Tunnel>>,
}

impl Line {
    /// What is wrong with the request that hyper has got last, or that it stands for.
    pub(crate) fn flaw(&self) -> Option<Flaw> {
        self.flaw.get().copied()
    }

    /// The connection ends with the answer; what still comes in is thrown away.
    pub(crate) fn set_flaw(&self, flaw: Flaw) {
        // The first one is the cause.
        let _ = self.flaw.set(flaw);
    }

    /// The answer is known, and it is no switch of protocols.
    pub(crate) fn stay(&self) {
        // Most requests ask for no other, and nobody waits for what was known before.
        if self.switch.load(Ordering::Acquire) != HTTP {
            self.decide(HTTP);
        }
    }

    fn decide(&self, switch: u8) {
        self.switch.store(switch, Ordering::Release);
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waits) = waits.take() {
            waits.wake();
        }
    }

    /// What becomes of the connection; as long as it is open, the reader is told later.
    fn decided(&self, cx: &Context<'_>) -> u8 {
        if self.switch.load(Ordering::Acquire) == UNDECIDED {
            let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
            *waits = Some(cx.waker().clone());
        }
        // Once more: it may have been decided just before.
        self.switch.load(Ordering::Acquire)
    }

    /// What follows belongs to another protocol and to `tunnel`.
    pub(crate) fn leave(&self, tunnel: Tunnel) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
        self.decide(OTHER);
    }

    /// To be run once hyper is done with the connection.
    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        let mut tunnel = self.tunnel.lock().unwrap_or_else(PoisonError::into_inner);
        tunnel.take()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Http,
    /// The client asked for another protocol, and the answer is not known.
    Asked,
    /// It has got it.
    Other,
    /// The stand-in was the last that hyper gets.
    Replaced,
    /// The body under way is wrong.
    Broken,
}

/// A client's HTTP/1 connection, read strictly.
#[derive(Debug)]
pub(crate) struct Sentry<S> {
    inner: S,
    line: Arc<Line>,
    framer: Framer,
    mode: Mode,
    /// Read and not passed on.
    held: BytesMut,
    /// So much of it may be.
    ready: usize,
    /// There are bytes in it that were not looked at.
    is_news: bool,
    head_within: Duration,
    /// While a head is not complete.
    alarm: Option<Pin<Box<Sleep>>>,
    /// While what is sent after a refusal is thrown away.
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sentry<S> {
    /// `before` was read already.
    pub(crate) fn new(before: BytesMut, inner: S, line: Arc<Line>, limits: &Limits) -> Sentry<S> {
        Sentry {
            inner,
            line,
            framer: Framer::new(limits.header_bytes_max, limits.header_count_max),
            mode: Mode::Http,
            is_news: !before.is_empty(),
            held: before,
            ready: 0,
            head_within: limits.head_deadline,
            alarm: None,
            linger: None,
        }
    }

    /// Reads more into `held`; how much.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let len = self.held.len();
        self.held.resize(len + READ_BYTES, 0);
        let mut buffer = ReadBuf::new(&mut self.held[len..]);
        let polled = Pin::new(&mut self.inner).poll_read(cx, &mut buffer);
        let more = buffer.filled().len();
        self.held.truncate(len + more);
        self.is_news |= more > 0;
        ready!(polled)?;
        Poll::Ready(Ok(more))
    }

    /// Sees what was found; how many of the bytes looked at may pass.
    fn take(&mut self, found: Found) -> usize {
        let pass = match found {
            Found::Partial { pass } | Found::End { pass } => pass,
            Found::Upgrade { pass } => {
                self.line.switch.store(UNDECIDED, Ordering::Release);
                self.mode = Mode::Asked;
                pass
            }
            Found::Wrong {
                pass,
                flaw,
                in_body: true,
            } => {
                self.line.set_flaw(flaw);
                self.mode = Mode::Broken;
                pass
            }
            Found::Wrong {
                flaw,
                in_body: false,
                ..
            } => {
                self.replace(flaw);
                0
            }
        };
        self.is_news = matches!(found, Found::End { .. } | Found::Upgrade { .. });
        if self.mode != Mode::Http || pass > 0 {
            self.alarm = None;
        }
        pass
    }

    fn replace(&mut self, flaw: Flaw) {
        self.line.set_flaw(flaw);
        self.mode = Mode::Replaced;
    }

    /// Reads straight into hyper's buffer: most reads are one whole request.
    fn read_through(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<bool>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let fresh = &buffer.filled()[before..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let found = self.framer.scan(fresh);
        let pass = self.take(found);
        if pass < fresh.len() && matches!(self.mode, Mode::Http | Mode::Asked) {
            self.held.extend_from_slice(&fresh[pass..]);
        } else {
            self.is_news = false;
        }
        self.stand_in();
        buffer.set_filled(before + pass);
        Poll::Ready(Ok(pass > 0))
    }

    fn stand_in(&mut self) {
        if self.mode == Mode::Replaced {
            self.held.clear();
            self.held.extend_from_slice(STAND_IN);
            self.ready = STAND_IN.len();
            self.is_news = false;
            self.alarm = None;
        }
    }

    /// Looks at what is held. There is news or more has to be read.
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<bool>> {
        if self.is_news {
            let found = self.framer.scan(&self.held);
            self.ready = self.take(found);
            self.stand_in();
            return Poll::Ready(Ok(false));
        }
        let within = self.head_within;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        if alarm.as_mut().poll(cx).is_ready() {
            self.replace(Flaw::HeadSlow);
            self.stand_in();
            return Poll::Ready(Ok(false));
        }
        Poll::Ready(Ok(ready!(self.fill(cx))? == 0))
    }

    /// Hands out up to `len` of what is held.
    fn hand_out(&mut self, len: usize, buffer: &mut ReadBuf<'_>) {
        let len = len.min(buffer.remaining());
        buffer.put_slice(&self.held[..len]);
        self.held.advance(len);
        self.ready = self.ready.saturating_sub(len);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Sentry<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready > 0 {
                this.hand_out(this.ready, buffer);
                return Poll::Ready(Ok(()));
            }
            let is_over = match this.mode {
                Mode::Http if this.held.is_empty() => ready!(this.read_through(cx, buffer))?,
                Mode::Http => ready!(this.look(cx))?,
                Mode::Asked => match this.line.decided(cx) {
                    UNDECIDED if this.held.len() >= EARLY_BYTES_MAX => return Poll::Pending,
                    UNDECIDED => ready!(this.fill(cx))? == 0,
                    HTTP => {
                        this.mode = Mode::Http;
                        false
                    }
                    _ => {
                        this.mode = Mode::Other;
                        false
                    }
                },
                Mode::Other if this.held.is_empty() => {
                    return Pin::new(&mut this.inner).poll_read(cx, buffer);
                }
                Mode::Other => {
                    this.hand_out(this.held.len(), buffer);
                    true
                }
                // The answer to the stand-in closes the connection.
                Mode::Replaced => return Poll::Pending,
                Mode::Broken => {
                    let flaw = this.line.flaw().map_or("", Flaw::words);
                    let error = std::io::Error::new(std::io::ErrorKind::InvalidData, flaw);
                    return Poll::Ready(Err(error));
                }
            };
            if is_over {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Sentry<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            if this.line.flaw().is_none() {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut unread = [0; 1024];
        while linger.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut unread);
            match ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
