//! One client's connection, from its first byte to its last: TLS if the
//! listener has it, HTTP/1.1 or HTTP/2, another protocol if both ends agree.
//!
//! Invariant: every connection ends: idle, stuck, slow and abusive ones by a
//! clock of their own, all others by the drain.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;

use crate::aside::Aside;
use crate::board::{Board, Reader};
use crate::config::Limits;
use crate::proxy::{CUT_AFTER, Front, Peer};
use crate::rewound::Rewound;
use crate::sentry::Sentry;
use crate::tallies::Open;
use crate::tls::Certificates;
use crate::vitals::Watched;

/// Each connection is looked at this often for a client that takes nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// While draining, a connection without a request is closed after this long; a
/// request that was on its way when the signal came is answered.
const LAST_REQUEST_WITHIN: Duration = Duration::from_millis(500);
/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first read: a usual request's head.
const FIRST_READ_BYTES: usize = 2 << 10;
/// Streams reset before hyper has taken them, and streams that this side resets
/// for a client's errors: beyond it the connection is an attack and is closed
/// (CVE-2023-44487, CVE-2025-8671).
const RESETS_PENDING_MAX: usize = 20;
const RESETS_LOCAL_MAX: usize = 64;
/// Of one connection's answers kept for a client that does not read, for each stream.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// Whom and what a connection needs.
pub(crate) struct Connection {
    pub(crate) peer: Arc<Peer>,
    pub(crate) front: Arc<Front>,
    pub(crate) reader: Reader,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Connection {
    /// Serves it to its end.
    pub(crate) async fn serve(mut self, stream: TcpStream, tls: Option<Arc<Certificates>>) {
        // Heads and bodies are written as they come; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let mut stream = Watched::new(stream, self.peer.vitals.clone());
        let Some(certificates) = tls else {
            if let Some((first, is_http2)) = self.first_bytes(&mut stream).await {
                self.speak(stream, first, is_http2).await;
            }
            return;
        };
        let acceptor = TlsAcceptor::from(certificates.current());
        let within = self.front.limits.handshake_deadline;
        let stream = match tokio::time::timeout(within, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            failed => {
                self.front.tallies.handshakes_failed.add();
                let error = failed.map(|it| it.err());
                tracing::debug!(?error, "no TLS handshake");
                return;
            }
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.speak(stream, BytesMut::new(), is_http2).await;
    }

    async fn speak<S>(self, stream: S, first: BytesMut, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if is_http2 {
            self.http2(Rewound::new(first, stream)).await;
        } else {
            self.http1(first, stream).await;
        }
    }

    /// Reads until it is clear whether they are HTTP/2's; `None` if nobody says anything.
    async fn first_bytes(&mut self, stream: &mut Watched) -> Option<(BytesMut, bool)> {
        let idle = self.front.limits.client_idle;
        let stop = &mut self.stop;
        let patience = async {
            let stopped = stop.wait_for(|stop| *stop);
            if tokio::time::timeout(idle, stopped).await.is_ok() {
                tokio::time::sleep(LAST_REQUEST_WITHIN).await;
            }
        };
        let reading = async {
            let mut first = BytesMut::with_capacity(FIRST_READ_BYTES);
            loop {
                if stream.read_buf(&mut first).await.ok()? == 0 {
                    return None;
                }
                if first.starts_with(PREFACE) {
                    return Some((first, true));
                }
                if !PREFACE.starts_with(&first) {
                    return Some((first, false));
                }
            }
        };
        tokio::select! {
            first = reading => first,
            () = patience => None,
        }
    }

    async fn http1<S>(self, first: BytesMut, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Connection {
            peer,
            front,
            reader,
            stop,
        } = self;
        let (limits, line, board) = (front.limits.clone(), peer.line.clone(), peer.board.clone());
        let io = Sentry::new(first, stream, line.clone(), &limits);
        let ending = peer.vitals.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            // Now, because the next request may be read before this one's turn comes.
            let flaw = peer.line.flaw();
            let (route, front, peer) = (reader.current(), front.clone(), peer.clone());
            async move {
                let mut response = front.exchange(&peer, route, request, flaw).await;
                if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    peer.line.stay();
                    if peer.vitals.is_last() {
                        let close = HeaderValue::from_static("close");
                        response.headers_mut().insert(CONNECTION, close);
                    }
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1_builder(&limits)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let mut looking = Aside::new(Stopping::new(stop, &limits).look());
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    log_end(ended);
                    break;
                }
                (stopping, now) = &mut looking => {
                    let stuck = ending.is_stuck(now, board.deadline(limits.request_deadline))
                        || ending.is_idle_for(limits.client_idle, now);
                    if stuck || (stopping.looks > 1 && ending.is_idle()) {
                        tracing::debug!(stuck, "a client's connection is cut");
                        return;
                    }
                    match stopping.looks {
                        0 if stopping.has_begun => ending.end_with_answer(),
                        // Whoever has sent nothing until now has not seen an end coming.
                        1 => connection.as_mut().graceful_shutdown(),
                        _ => {}
                    }
                    looking = Aside::new(stopping.look());
                }
            }
        }
        if let Some(tunnel) = line.take_tunnel() {
            tunnel.run(limits.tunnel_idle).await;
        }
    }

    async fn http2<S>(self, stream: Rewound<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Connection {
            peer,
            front,
            reader,
            stop,
        } = self;
        let _open = Open::new(&front.tallies.http2);
        let (limits, vitals, tallies) = (
            front.limits.clone(),
            peer.vitals.clone(),
            front.tallies.clone(),
        );
        let board = peer.board.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let may_reset = peer.vitals.watch_reset();
            let (route, front, peer) = (reader.current(), front.clone(), peer.clone());
            async move {
                let response = front.exchange(&peer, route, request, None).await;
                may_reset.answered();
                Ok::<_, Infallible>(response)
            }
        });
        let executor = Bounded {
            board: board.clone(),
            request_deadline: limits.request_deadline,
        };
        let header_bytes_max = u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX);
        let connection = http2::Builder::new(executor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(header_bytes_max)
            .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
            .max_local_error_reset_streams(RESETS_LOCAL_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(limits.ping_every)
            .keep_alive_timeout(limits.ping_deadline)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut looking = Aside::new(Stopping::new(stop, &limits).look());
        let abusive = vitals.clone();
        let mut abused = Aside::new(async move { abusive.abused().await });
        let mut is_ending = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return log_end(ended),
                (stopping, now) = &mut looking => {
                    if vitals.is_blocked(now, board.deadline(limits.request_deadline)) {
                        tracing::debug!("a client's connection is cut; it takes nothing");
                        return;
                    }
                    let is_over = stopping.has_begun || vitals.is_idle_for(limits.client_idle, now);
                    if is_over && !is_ending {
                        is_ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    looking = Aside::new(stopping.look());
                }
                () = &mut abused => {
                    tallies.resets_cut.add();
                    tracing::debug!("a client's connection is cut; it takes back too many requests");
                    return;
                }
            }
        }
    }
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // Idle connections are seen when they are looked at; a timer for each request would cost more.
        .header_read_timeout(None)
        .max_header_size(limits.header_bytes_max)
        // Below 8 KiB hyper panics.
        .max_buf_size(limits.header_bytes_max.max(8 << 10));
    if limits.header_count_max != 100 {
        // Set only when it differs from hyper's own, which it keeps off the heap.
        builder.max_headers(limits.header_count_max);
    }
    builder
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

/// When a connection is looked at: now and then, and once it is told to stop more often.
struct Stopping {
    stop: watch::Receiver<bool>,
    look: tokio::time::Interval,
    has_begun: bool,
    /// Since it has begun.
    looks: u32,
}

impl Stopping {
    fn new(stop: watch::Receiver<bool>, limits: &Limits) -> Stopping {
        let often = limits.request_deadline.min(limits.client_idle);
        let mut look = tokio::time::interval(LOOK_EVERY.min(often));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        Stopping {
            stop,
            look,
            has_begun: false,
            looks: 0,
        }
    }

    /// Itself again, at the next time to look.
    async fn look(mut self) -> (Stopping, Instant) {
        let now = self.next().await;
        (self, now)
    }

    async fn next(&mut self) -> Instant {
        if self.has_begun {
            self.look.tick().await;
            self.looks += 1;
            return Instant::now();
        }
        tokio::select! {
            _ = self.look.tick() => {}
            // A starter that is gone can't ask to stop, so its end is taken for the wish.
            _ = self.stop.wait_for(|stop| *stop) => {
                self.has_begun = true;
                self.look = tokio::time::interval(LAST_REQUEST_WITHIN);
                self.look.reset();
            }
        }
        Instant::now()
    }
}

/// Runs each HTTP/2 stream for no longer than a request may take: a client that
/// opens no window for an answer would hold a backend's connection for ever.
#[derive(Debug, Clone)]
struct Bounded {
    board: Arc<Board>,
    /// Unless the service has one of its own.
    request_deadline: Duration,
}

impl<F> Executor<F> for Bounded
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let within = self.board.deadline(self.request_deadline) + CUT_AFTER;
        tokio::spawn(async move {
            if tokio::time::timeout(within, stream).await.is_err() {
                tracing::debug!("a stream is cut; its time is over");
            }
        });
    }
}
