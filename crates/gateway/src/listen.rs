//! Accepts clients' connections, bounded in number and patience, and drains at the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::ServiceName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::GatewayError;
use crate::answer::TOO_MANY_CONNECTIONS;
use crate::board::{Board, Reader};
use crate::proxy::{Front, Peer};
use crate::vitals::{Vitals, Watched};

/// After a failed accept (out of file descriptors) the loop rests instead of spinning.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// Each connection is looked at this often for a client that takes nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// While draining, a connection without a request is closed after this long; a
/// request that was on its way when the signal came is answered.
const LAST_REQUEST_WITHIN: Duration = Duration::from_millis(500);
/// A refused connection is read from for this long, so that the answer isn't lost to a reset.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

/// One service's open port.
#[derive(Debug)]
pub(crate) struct Listener {
    service: Arc<ServiceName>,
    tcp: TcpListener,
    address: SocketAddr,
}

/// Opens `address` for `service`.
pub(crate) async fn bind(
    service: &ServiceName,
    address: SocketAddr,
) -> Result<Listener, GatewayError> {
    let in_listen = |source| GatewayError::Listen {
        address,
        what: format!("service {service}"),
        source,
    };
    let tcp = TcpListener::bind(address).await.map_err(in_listen)?;
    let address = tcp.local_addr().map_err(in_listen)?;
    Ok(Listener {
        service: Arc::new(service.clone()),
        tcp,
        address,
    })
}

impl Listener {
    pub(crate) fn service(&self) -> &ServiceName {
        &self.service
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` turns true, then lets requests in flight end for up to `drain`.
    pub(crate) async fn serve(
        self,
        front: Arc<Front>,
        board: Arc<Board>,
        mut stop: watch::Receiver<bool>,
        drain: Duration,
    ) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = self.tcp.accept() => accepted,
            };
            while connections.try_join_next().is_some() {}
            let (stream, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let Ok(place) = front.places.clone().try_acquire_owned() else {
                front.ledger.refuse_connection();
                refuse(stream, &front);
                continue;
            };
            let peer = Peer {
                service: self.service.clone(),
                address: client.ip(),
                vitals: Vitals::new(),
            };
            let (front, reader, stop) = (front.clone(), Reader::new(board.clone()), stop.clone());
            connections.spawn(async move {
                let _place = place;
                serve_one(stream, peer, front, reader, stop).await;
            });
        }
        drop(self.tcp);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, drained).await.is_err() {
            tracing::warn!(?drain, "requests were still in flight; they are cut off");
        }
    }
}

async fn serve_one(
    stream: TcpStream,
    peer: Peer,
    front: Arc<Front>,
    reader: Reader,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let limits = front.limits.clone();
    let vitals = peer.vitals.clone();
    let io = TokioIo::new(Watched::new(stream, vitals.clone()));
    let service = service_fn(move |request| {
        let (route, front, peer) = (reader.current(), front.clone(), peer.clone());
        async move { Ok::<_, Infallible>(front.exchange(&peer, route, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.client_idle)
        .max_header_size(limits.header_bytes_max)
        // Below 8 KiB hyper panics.
        .max_buf_size(limits.header_bytes_max.max(8 << 10));
    if limits.header_count_max != 100 {
        // Set only when it differs from hyper's own, which it keeps off the heap.
        builder.max_headers(limits.header_count_max);
    }
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut look = tokio::time::interval(LOOK_EVERY.min(limits.request_deadline));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.reset();
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a client's connection ended");
                }
                return;
            }
            _ = look.tick() => {
                let stuck = vitals.is_stuck(Instant::now(), limits.request_deadline);
                if stuck || (stopping && vitals.is_idle()) {
                    tracing::debug!(stuck, "a client's connection is cut");
                    return;
                }
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
                look = tokio::time::interval(LAST_REQUEST_WITHIN);
                look.reset();
            }
        }
    }
}

/// Tells a client that there is no room, and closes.
fn refuse(mut stream: TcpStream, front: &Front) {
    let Ok(place) = front.refusals.clone().try_acquire_owned() else {
        return;
    };
    tokio::spawn(async move {
        let _place = place;
        let telling = async {
            stream.write_all(TOO_MANY_CONNECTIONS.as_bytes()).await?;
            stream.shutdown().await?;
            let mut unread = [0; 1024];
            while stream.read(&mut unread).await? > 0 {}
            std::io::Result::Ok(())
        };
        let _ = tokio::time::timeout(REFUSED_WITHIN, telling).await;
    });
}

/// Each connection is a file, and each request may need another to its backend:
/// lifts the soft limit to the hard one.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}
