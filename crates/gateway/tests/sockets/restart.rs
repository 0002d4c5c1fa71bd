//! One process takes over from another, and no request is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::fleet::{Control, Gateway, Host, config, pool, service, table};
use crate::http2;

/// Restarts in one test.
const ROUNDS: usize = 4;

/// What all clients have seen.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    served: AtomicUsize,
    /// By clients that take a new connection each time.
    fresh: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Seen {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn put<E: std::fmt::Debug>(&self, who: &str, outcome: Result<u16, E>) {
        match outcome {
            Ok(200) => {
                self.served.fetch_add(1, Ordering::Relaxed);
            }
            other => {
                let failure = format!("{who}: {other:?}");
                self.failures.lock().unwrap().push(failure);
            }
        }
    }
}

fn request() -> Request<Full<Bytes>> {
    Request::builder()
        .method("POST")
        .uri("/")
        .header("host", "api.test")
        .body(Full::new(Bytes::from_static(b"hello")))
        .unwrap()
}

/// Keeps its connection until it is told to close it, as every client does.
async fn keeping(address: SocketAddr, seen: Arc<Seen>) {
    while !seen.is_over() {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => return seen.put("kept, connect", Err(error)),
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        loop {
            if seen.is_over() {
                return;
            }
            let response = match sender.send_request(request()).await {
                Ok(response) => response,
                Err(error) => {
                    seen.put("kept", Err(error));
                    break;
                }
            };
            let status = response.status().as_u16();
            let is_last = response
                .headers()
                .get("connection")
                .is_some_and(|it| it == "close");
            let whole = response.into_body().collect().await;
            seen.put("kept", whole.map(|_| status));
            if is_last || sender.ready().await.is_err() {
                break;
            }
        }
    }
}

/// A new connection for each request.
async fn opening(address: SocketAddr, seen: Arc<Seen>) {
    while !seen.is_over() {
        let asked = async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|it| it.to_string())?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|it| it.to_string())?;
            let driver = tokio::spawn(connection);
            let response = sender
                .send_request(request())
                .await
                .map_err(|it| format!("{it:?}"))?;
            let status = response.status().as_u16();
            response
                .into_body()
                .collect()
                .await
                .map_err(|it| it.to_string())?;
            driver.abort();
            Ok::<_, String>(status)
        };
        seen.put("fresh", asked.await);
        seen.fresh.fetch_add(1, Ordering::Relaxed);
    }
}

/// Many requests at once over HTTP/2, on a new connection when the old one says goodbye.
async fn multiplexing(address: SocketAddr, seen: Arc<Seen>) {
    while !seen.is_over() {
        let sender = http2::client(address).await;
        let mut asking = JoinSet::new();
        for _ in 0..4 {
            let (mut sender, seen) = (sender.clone(), seen.clone());
            asking.spawn(async move {
                while !seen.is_over() && sender.ready().await.is_ok() {
                    match sender
                        .send_request(http2::request("POST", "/", "hello"))
                        .await
                    {
                        Ok(response) => {
                            let status = response.status().as_u16();
                            let whole = response.into_body().collect().await;
                            seen.put("http2", whole.map(|_| status));
                        }
                        Err(error) if is_not_taken(&error) => return,
                        Err(error) => return seen.put("http2", Err(error)),
                    }
                }
            });
        }
        while asking.join_next().await.is_some() {}
    }
}

/// Whether the server said that it did not take the request, or it was never
/// sent: a client may send it again on another connection (RFC 9113, section
/// 6.8), and the usual ones do.
fn is_not_taken(error: &hyper::Error) -> bool {
    error.is_canceled() || format!("{error:?}").contains("GoAway(b\"\", NO_ERROR, Remote)")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_one_process_takes_over_from_another() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let app = axum::Router::new().fallback(move |body: Bytes| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_millis(3)).await;
            body
        }
    });
    let host = Host::serve(app).await;
    let control = Control::start(table(1, vec![pool("old", 1000, &[host.address])])).await;
    let mut old = Gateway::ready(config(control.address)).await;
    let address = old.address;
    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    for _ in 0..6 {
        clients.spawn(keeping(address, seen.clone()));
        clients.spawn(opening(address, seen.clone()));
        clients.spawn(multiplexing(address, seen.clone()));
    }
    for _ in 0..ROUNDS {
        let mut config = config(control.address);
        config.listeners.insert(service(), address);
        let new = Gateway::ready(config).await;
        let (served, fresh) = (
            seen.served.load(Ordering::Relaxed),
            seen.fresh.load(Ordering::Relaxed),
        );
        std::mem::replace(&mut old, new).stop().await;
        let now = seen.served.load(Ordering::Relaxed);
        assert!(now > served, "served all the time");
        // After the old one is gone, everybody goes on with the new one.
        for _ in 0..500 {
            if seen.fresh.load(Ordering::Relaxed) > fresh + 50 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    seen.over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let failures = seen.failures.lock().unwrap().clone();
    let served = seen.served.load(Ordering::Relaxed);
    assert!(
        failures.is_empty(),
        "{} of {served}: {failures:?}",
        failures.len()
    );
    assert_eq!(taken.load(Ordering::Relaxed), served, "each was done once");
    assert!(seen.fresh.load(Ordering::Relaxed) > 100);
    old.stop().await;
}
