//! Accepts connections, plain or TLS, bounded in number and patience, and drains at the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::ServerError;
use crate::limits::{CONNECTIONS_MAX, FIRST_REQUEST_WITHIN, HEADERS_WITHIN};

/// A TLS handshake that takes longer is not one.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// After a failed accept (out of file descriptors) the loop rests instead of spinning.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Whose request it is, beside each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

pub(crate) struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    places: usize,
}

pub(crate) async fn bind(
    address: SocketAddr,
    tls: Option<&(PathBuf, PathBuf)>,
) -> Result<Listener, ServerError> {
    let tls = tls
        .map(|(certificates, key)| acceptor(certificates, key))
        .transpose()?;
    let in_listen = |source| ServerError::Listen { address, source };
    let tcp = TcpListener::bind(address).await.map_err(in_listen)?;
    let address = tcp.local_addr().map_err(in_listen)?;
    let places = CONNECTIONS_MAX;
    Ok(Listener {
        tcp,
        address,
        tls,
        places,
    })
}

fn acceptor(certificates: &Path, key: &Path) -> Result<TlsAcceptor, ServerError> {
    let in_file = |path: &Path, error: &dyn std::fmt::Display| {
        ServerError::Tls(format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| in_file(certificates, &error))?;
    if chain.is_empty() {
        return Err(in_file(certificates, &"there is no certificate in it"));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| in_file(key, &error))?;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| in_file(certificates, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Listener {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// So many connections at a time.
    pub(crate) fn with_places(self, places: usize) -> Listener {
        Listener { places, ..self }
    }

    /// Serves until `stop` turns true, then lets requests in flight end for up to `drain`.
    pub(crate) async fn serve(
        self,
        router: Router,
        mut stop: watch::Receiver<bool>,
        drain: Duration,
    ) {
        let places = Arc::new(Semaphore::new(self.places));
        let graceful = Arc::new(GracefulShutdown::new());
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await;
                (place, self.tcp.accept().await)
            };
            // With every place taken, too, the stop is heard.
            let (place, accepted) = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                next = next => next,
            };
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, Peer(peer)),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let (tls, router, watcher) = (self.tls.clone(), router.clone(), graceful.watcher());
            connections.spawn(async move {
                let _place = place;
                serve_one(stream, peer, tls, router, watcher).await;
            });
        }
        drop(self.tcp);
        let Some(graceful) = Arc::into_inner(graceful) else {
            return;
        };
        let drained = async {
            graceful.shutdown().await;
            while connections.join_next().await.is_some() {}
        };
        if tokio::time::timeout(drain, drained).await.is_err() {
            tracing::warn!(?drain, "requests were still in flight; they are cut off");
        }
    }
}

async fn serve_one(
    stream: TcpStream,
    peer: Peer,
    tls: Option<TlsAcceptor>,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Orders are small and urgent.
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .keep_alive_interval(Duration::from_secs(30));
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let (asked, service) = (asked.clone(), TowerToHyperService::new(router));
        service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer);
            service.call(request)
        })
    };
    // The builder's own patience begins with the first bytes, and ends with the preface of HTTP/2.
    let gone_silent = async {
        tokio::time::sleep(FIRST_REQUEST_WITHIN).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let served = async {
        match tls {
            None => {
                let connection = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .into_owned();
                watcher.watch(connection).await
            }
            Some(acceptor) => {
                let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream));
                let Ok(Ok(stream)) = handshake.await else {
                    return Ok(());
                };
                let connection = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .into_owned();
                watcher.watch(connection).await
            }
        }
    };
    tokio::select! {
        outcome = served => if let Err(error) = outcome {
            tracing::debug!(error, "connection ended");
        },
        () = gone_silent => tracing::debug!("a connection asked nothing"),
    }
}
