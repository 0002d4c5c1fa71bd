//! The authentication service that the drills' API servers depend on.
//!
//! Healthy, it answers `GET /authenticate` in well under a millisecond on many
//! connections at once. As a blackhole it is what a wrong address often leads
//! to: a socket that takes connections and never says a word.

use std::convert::Infallible;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Open connections at once; more wait in the kernel's backlog. Far above what
/// a drill's services have threads, far below the file descriptors of a process.
const CONNECTIONS_MAX: usize = 4096;
/// A connection that brings no request for so long is closed.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// Connections that the kernel completes for a blackhole before it drops new
/// ones: more than one service has threads, so that its threads hang in
/// reading, and small enough that a restart loop comes to hang in connecting.
pub const BLACKHOLE_BACKLOG: u16 = 16;

/// The drills' authentication service.
///
/// Answers GET /authenticate with 200 and GET /stats with its counts; from
/// --api 2 on also POST /v2/token, which a version 1 doesn't know (404). With
/// --blackhole nothing is ever accepted or answered: the kernel completes a few
/// connections and then drops every further attempt.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Example:\n  plimsoll drill-auth --listen 127.0.0.1:9101\n  plimsoll drill-auth --listen 127.0.0.1:9109 --blackhole"
)]
pub struct AuthArgs {
    /// Where to serve; port 0 takes a free one and says which
    #[arg(long, value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Newest version of its protocol that it speaks
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=2))]
    pub api: u64,
    /// Take connections and never answer
    #[arg(long)]
    pub blackhole: bool,
}

/// What can stop the authentication service from running.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The address can't be taken.
    #[error("can't listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system refused something else: a signal handler, the output.
    #[error("the authentication service can't run")]
    System(#[from] std::io::Error),
}

/// Runs `drill-auth` until SIGTERM or SIGINT; messages go to `out`.
///
/// # Errors
/// When the address can't be taken.
pub async fn run(args: AuthArgs, out: &mut (dyn Write + Send)) -> Result<(), AuthError> {
    let address = args.listen;
    let refused = |source| AuthError::Listen { address, source };
    if args.blackhole {
        let hole = blackhole(address).map_err(refused)?;
        writeln!(out, "blackhole on {}", hole.address())?;
        out.flush()?;
        crate::asked_to_end().await?;
        return Ok(());
    }
    let listener = TcpListener::bind(address).map_err(refused)?;
    let server = AuthServer::start(listener, args.api)?;
    writeln!(out, "listening on {}", server.address())?;
    out.flush()?;
    crate::asked_to_end().await?;
    Ok(())
}

/// A listening socket that nobody serves. Connections end when it is dropped.
#[derive(Debug)]
pub struct Blackhole {
    // Held, never accepted from.
    _listener: TcpListener,
    address: SocketAddr,
}

impl Blackhole {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Takes `address` (port 0: a free one) with a small backlog and never accepts.
///
/// The first connections succeed in the kernel and stay silent; once the
/// backlog is full the kernel drops further attempts, and connecting hangs too.
///
/// # Errors
/// When the address can't be taken.
pub fn blackhole(address: SocketAddr) -> std::io::Result<Blackhole> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    // std always asks for a backlog of 128 or more, so this goes around it.
    rustix::net::listen(&socket, i32::from(BLACKHOLE_BACKLOG))?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok(Blackhole {
        _listener: listener,
        address,
    })
}

/// What `/stats` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthStats {
    /// Connections accepted since start.
    pub connections: u64,
    /// Requests to `/authenticate` since start.
    pub authenticated: u64,
    /// Tokens given out since start.
    pub tokens: u64,
    /// Requests that were answered with 404 since start.
    pub unknown: u64,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    authenticated: AtomicU64,
    tokens: AtomicU64,
    unknown: AtomicU64,
}

impl Counts {
    fn stats(&self) -> AuthStats {
        AuthStats {
            connections: self.connections.load(Ordering::Relaxed),
            authenticated: self.authenticated.load(Ordering::Relaxed),
            tokens: self.tokens.load(Ordering::Relaxed),
            unknown: self.unknown.load(Ordering::Relaxed),
        }
    }
}

/// A running authentication service; dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct AuthServer {
    address: SocketAddr,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

impl AuthServer {
    /// Serves `listener` on the current tokio runtime, up to version `api` of its protocol.
    ///
    /// # Errors
    /// When the listener can't be handed to the runtime.
    pub fn start(listener: TcpListener, api: u64) -> std::io::Result<AuthServer> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let counts = Arc::new(Counts::default());
        let accepting = tokio::spawn(accept(listener, api, Arc::clone(&counts)));
        Ok(AuthServer {
            address,
            counts,
            accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts right now.
    pub fn stats(&self) -> AuthStats {
        self.counts.stats()
    }
}

impl Drop for AuthServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: tokio::net::TcpListener, api: u64, counts: Arc<Counts>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Ends every connection when this task is aborted.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: they come back as connections end.
                tracing::warn!(%error, "can't accept");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        counts.connections.fetch_add(1, Ordering::Relaxed);
        let counts = Arc::clone(&counts);
        connections.spawn(async move {
            let _permit = permit;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no fast answers");
            }
            let answer = service_fn(|request| std::future::ready(answer(api, &counts, &request)));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_WITHIN)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "connection ended early");
            }
        });
    }
}

fn answer(
    api: u64,
    counts: &Counts,
    request: &Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (_, "/authenticate") => {
            counts.authenticated.fetch_add(1, Ordering::Relaxed);
            (StatusCode::OK, json!({ "authenticated": true }))
        }
        (&Method::POST, "/v2/token") if api >= 2 => {
            let number = counts.tokens.fetch_add(1, Ordering::Relaxed);
            (StatusCode::OK, json!({ "token": format!("t-{number}") }))
        }
        (_, "/healthz") => (StatusCode::OK, json!({ "status": "pass" })),
        (_, "/stats") => (StatusCode::OK, json!(counts.stats())),
        _ => {
            counts.unknown.fetch_add(1, Ordering::Relaxed);
            (StatusCode::NOT_FOUND, json!({ "error": "nothing here" }))
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}
