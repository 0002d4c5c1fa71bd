//! HTTP/2 to hosts, polite ones and others.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::serving::{Protocol, UpstreamSpec};
use model::{Millis, Priority, Retry, RouteTable, Serving, Workers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fleet::{Client, Control, Gateway, Host, ask, config, until};
use crate::serving::{class, saying, until_seen};

/// Routes to hosts over HTTP/2 without TLS.
fn beside(version: u64, addresses: &[SocketAddr]) -> RouteTable {
    let serving = Serving {
        upstream: UpstreamSpec {
            protocol: Protocol::Http2,
            ..UpstreamSpec::default()
        },
        ..Serving::default()
    };
    saying(version, addresses, serving, Vec::new())
}

async fn before(addresses: &[SocketAddr]) -> (Arc<Control>, Gateway) {
    let control = Control::start(beside(1, addresses)).await;
    let gateway = Gateway::ready(config(control.address)).await;
    (control, gateway)
}

/// What a host does with its requests.
#[derive(Debug)]
struct Does {
    gate: Semaphore,
    inside: AtomicUsize,
    asked: AtomicUsize,
    /// Requests that were taken back while they were inside.
    taken_back: AtomicUsize,
}

impl Does {
    /// Waits for the gate at `/held`, and tells else what it was asked.
    async fn serve(self: Arc<Does>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        struct Inside(Arc<Does>, bool);
        impl Drop for Inside {
            fn drop(&mut self) {
                self.0.inside.fetch_sub(1, Ordering::SeqCst);
                self.0
                    .taken_back
                    .fetch_add(usize::from(!self.1), Ordering::SeqCst);
            }
        }
        self.inside.fetch_add(1, Ordering::SeqCst);
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut inside = Inside(self.clone(), false);
        if request.uri().path() == "/held" {
            self.gate.acquire().await.unwrap().forget();
        }
        let (head, body) = request.into_parts();
        let host = head.headers.get("host").cloned();
        let forwarded = head.headers["x-forwarded-host"].to_str().unwrap();
        let told = format!(
            "{} {} host {host:?} forwarded {forwarded} te {:?}",
            head.method,
            head.uri,
            head.headers.get("te"),
        );
        let body = body
            .collect()
            .await
            .map_or(Bytes::new(), |it| it.to_bytes());
        inside.1 = true;
        let told = format!("{told} body {}", String::from_utf8_lossy(&body));
        Response::new(Full::new(Bytes::from(told)))
    }
}

async fn polite(streams_max: u32) -> (Arc<Does>, Host) {
    let does = Arc::new(Does {
        gate: Semaphore::new(0),
        inside: AtomicUsize::new(0),
        asked: AtomicUsize::new(0),
        taken_back: AtomicUsize::new(0),
    });
    let served = does.clone();
    let host = Host::raw(move |stream| {
        let served = served.clone();
        async move {
            let service = service_fn(move |request| {
                let served = served.clone();
                async move { Ok::<_, Infallible>(served.serve(request).await) }
            });
            let _ = http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(streams_max)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    (does, host)
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let (does, host) = polite(100).await;
    let (control, gateway) = before(&[host.address]).await;
    let address = gateway.address;
    let mut client = Client::to(address).await;
    let answer = client
        .ask("POST", "/a?b=c", &[("te", "trailers")], "hello")
        .await;
    assert_eq!(
        answer.text(),
        "POST http://api.test/a?b=c host None forwarded api.test te Some(\"trailers\") body hello"
    );
    let mut asked = JoinSet::new();
    for _ in 0..8 {
        asked.spawn(async move { ask(address, "GET", "/held", &[("x-tenant", "acme")], "").await });
    }
    until("all at once", || does.inside.load(Ordering::SeqCst) == 8).await;
    assert_eq!(host.connections(), 1);
    does.gate.add_permits(8);
    for answer in asked.join_all().await {
        assert_eq!(answer.status, 200);
    }
    until("counted", || control.of("old", "acme").requests == 8).await;
    assert_eq!(control.of("old", "acme").failed, 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_host_that_takes_few_at_once_gets_more_connections() {
    let (does, host) = polite(2).await;
    let (_control, gateway) = before(&[host.address]).await;
    let address = gateway.address;
    // What the host allows is known with its first answers.
    for _ in 0..2 {
        assert_eq!(ask(address, "GET", "/", &[], "").await.status, 200);
    }
    let mut asked = JoinSet::new();
    for _ in 0..6 {
        asked.spawn(async move { ask(address, "GET", "/held", &[], "").await.status });
    }
    until("all at once", || does.inside.load(Ordering::SeqCst) == 6).await;
    assert_eq!(host.connections(), 3);
    does.gate.add_permits(6);
    assert!(
        asked
            .join_all()
            .await
            .into_iter()
            .all(|status| status == 200)
    );
    gateway.stop().await;
}

/// As over HTTP/1: a hung request keeps its slot, its late answer gives it back.
#[tokio::test]
async fn a_hung_request_keeps_its_slot_and_its_stream() {
    let (does, host) = polite(100).await;
    let serving = Serving {
        workers: Some(Workers::Number(1)),
        deadline_ms: Some(Millis(300)),
        upstream: UpstreamSpec {
            protocol: Protocol::Http2,
            ..UpstreamSpec::default()
        },
        ..Serving::default()
    };
    let control = Control::start(saying(1, &[host.address], serving, Vec::new())).await;
    let gateway = Gateway::ready(config(control.address)).await;
    let address = gateway.address;
    let mut asked = JoinSet::new();
    for _ in 0..2 {
        asked.spawn(async move { ask(address, "GET", "/held", &[], "").await.status });
    }
    assert_eq!(asked.join_all().await, [504, 504]);
    // Both slots are taken by what nobody waits for; nothing more is sent.
    let answer = ask(address, "GET", "/", &[], "").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    let asked = || does.asked.load(Ordering::SeqCst);
    let inside = || does.inside.load(Ordering::SeqCst);
    assert_eq!((asked(), inside()), (2, 2));
    assert_eq!(
        does.taken_back.load(Ordering::SeqCst),
        0,
        "the host works on"
    );
    // One late answer, and the host is heard to be back.
    does.gate.add_permits(1);
    until_seen(200, async || ask(address, "GET", "/", &[], "").await.status).await;
    assert_eq!(inside(), 1);
    does.gate.add_permits(1);
    until("the other too", || inside() == 0).await;
    assert_eq!(host.connections(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn connections_are_closed_when_the_table_drops_the_host() {
    let (does, host) = polite(100).await;
    let other = Host::named("other").await;
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = ended.clone();
    // Between gateway and host, to see the connection's end.
    let between = Host::raw(move |mut stream: TcpStream| {
        let counter = counter.clone();
        async move {
            let mut on = TcpStream::connect(host.address).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut on).await;
            counter.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let (control, gateway) = before(&[between.address]).await;
    let address = gateway.address;
    let asked = tokio::spawn(async move { ask(address, "GET", "/held", &[], "").await });
    until("asked", || does.inside.load(Ordering::SeqCst) == 1).await;
    // The new host speaks HTTP/1 only, and so say the new routes.
    control.set(saying(2, &[other.address], Serving::default(), Vec::new()));
    until_seen("other".to_owned(), async || {
        ask(address, "GET", "/", &[], "").await.text()
    })
    .await;
    assert_eq!(
        ended.load(Ordering::SeqCst),
        0,
        "what was begun is ended first"
    );
    does.gate.add_permits(1);
    assert_eq!(asked.await.unwrap().status, 200);
    until("closed", || ended.load(Ordering::SeqCst) == 1).await;
    gateway.stop().await;
}

/// A host that is restarted again and again, as politely as it can.
#[tokio::test]
async fn goodbyes_lose_no_request() {
    let served = Arc::new(AtomicUsize::new(0));
    let counter = served.clone();
    let host = Host::raw(move |stream| {
        let counter = counter.clone();
        async move {
            let own = Arc::new(AtomicUsize::new(0));
            let (seen, counter) = (own.clone(), counter.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (seen, counter) = (seen.clone(), counter.clone());
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    counter.fetch_add(1, Ordering::SeqCst);
                    seen.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, Infallible>(Response::new(Full::new(body)))
                }
            });
            let builder = http2::Builder::new(TokioExecutor::new());
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let mut look = tokio::time::interval(Duration::from_millis(1));
            loop {
                tokio::select! {
                    _ = connection.as_mut() => return,
                    _ = look.tick() => {
                        if own.load(Ordering::SeqCst) >= 5 {
                            connection.as_mut().graceful_shutdown();
                        }
                    }
                }
            }
        }
    })
    .await;
    let (_control, gateway) = before(&[host.address]).await;
    let address = gateway.address;
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(async move {
            let mut client = Client::to(address).await;
            for _ in 0..50 {
                let answer = client.ask("PUT", "/", &[], "").await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert!(host.connections() >= 5, "{}", host.connections());
    assert!(served.load(Ordering::SeqCst) >= 200);
    gateway.stop().await;
}

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const SETTINGS_TAKEN: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
/// No stream was taken, no error.
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Reads frames up to the next request's head; its stream.
async fn next_request(stream: &mut TcpStream) -> Option<u32> {
    loop {
        let mut head = [0_u8; 9];
        stream.read_exact(&mut head).await.ok()?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0_u8; usize::try_from(len).unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if head[3] == 1 {
            return Some(id);
        }
    }
}

async fn greet(stream: &mut TcpStream) -> Option<()> {
    let mut preface = [0_u8; 24];
    stream.read_exact(&mut preface).await.ok()?;
    stream.write_all(SETTINGS).await.ok()?;
    stream.write_all(SETTINGS_TAKEN).await.ok()
}

#[tokio::test]
async fn a_host_that_says_goodbye_at_once_is_passed_over() {
    let rude = Host::raw(|mut stream: TcpStream| async move {
        if greet(&mut stream).await.is_some() {
            let _ = stream.write_all(GOAWAY).await;
            let _ = stream.read_u8().await;
        }
    })
    .await;
    let (control, gateway) = before(&[rude.address]).await;
    for n in 1..=3 {
        let answer = ask(gateway.address, "GET", "/", &[("x-tenant", "acme")], "").await;
        assert_eq!(answer.status, 502);
        assert!(
            rude.connections() <= 3 * n,
            "{} for {n}",
            rude.connections()
        );
    }
    let (_does, good) = polite(100).await;
    control.set(beside(2, &[rude.address, good.address]));
    until_seen(200, async || {
        ask(gateway.address, "GET", "/", &[], "").await.status
    })
    .await;
    for _ in 0..10 {
        let answer = ask(gateway.address, "GET", "/", &[], "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    gateway.stop().await;
}

/// A stream that the host resets will not be answered: its slot ends, and it failed.
#[tokio::test]
async fn a_stream_that_is_reset_is_no_answer() {
    let resetting = Host::raw(|mut stream: TcpStream| async move {
        if greet(&mut stream).await.is_none() {
            return;
        }
        while let Some(id) = next_request(&mut stream).await {
            let id = id.to_be_bytes();
            // INTERNAL_ERROR
            let frame = [0, 0, 4, 3, 0, id[0], id[1], id[2], id[3], 0, 0, 0, 2];
            if stream.write_all(&frame).await.is_err() {
                return;
            }
        }
    })
    .await;
    let (control, gateway) = before(&[resetting.address]).await;
    let mut client = Client::to(gateway.address).await;
    for _ in 0..20 {
        let answer = client.ask("POST", "/", &[("x-tenant", "acme")], "").await;
        assert_eq!((answer.status, answer.reason()), (502, "broken_answer"));
    }
    assert_eq!(resetting.connections(), 1, "others on it are not disturbed");
    until("counted", || control.of("old", "acme").failed == 20).await;
    let text = ask(gateway.admin, "GET", "/admission", &[], "")
        .await
        .text();
    assert!(text.contains("\"in_flight\":0"), "{text}");
    // With another host beside it, what may go twice is served there.
    let (_does, good) = polite(100).await;
    let mut both = beside(2, &[resetting.address, good.address]);
    let routes = both.services.values_mut().next().unwrap();
    routes.endpoints = vec![class("never", Priority::Normal, Retry::Never)];
    control.set(both);
    until_seen(200, async || {
        ask(gateway.address, "GET", "/", &[], "").await.status
    })
    .await;
    for _ in 0..10 {
        assert_eq!(client.ask("GET", "/", &[], "").await.status, 200);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_a_broken_answer_and_nothing_more() {
    let is_huge = Arc::new(AtomicBool::new(true));
    let huge = is_huge.clone();
    let host = Host::raw(move |stream| {
        let huge = huge.clone();
        async move {
            let service = service_fn(move |_request: Request<Incoming>| {
                let len = if huge.load(Ordering::SeqCst) {
                    300 << 10
                } else {
                    1
                };
                async move {
                    let response = Response::builder().header("x-long", "y".repeat(len));
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::new())).unwrap())
                }
            });
            let _ = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    let (_control, gateway) = before(&[host.address]).await;
    let answer = ask(gateway.address, "GET", "/", &[], "").await;
    assert_eq!((answer.status, answer.reason()), (502, "broken_answer"));
    is_huge.store(false, Ordering::SeqCst);
    until_seen(200, async || {
        ask(gateway.address, "GET", "/", &[], "").await.status
    })
    .await;
    gateway.stop().await;
}

/// A host of HTTP/1 that is taken for one of HTTP/2, and the other way round.
#[tokio::test]
async fn the_wrong_protocol_is_502() {
    let host = Host::named("one").await;
    let (control, gateway) = before(&[host.address]).await;
    assert_eq!(ask(gateway.address, "GET", "/", &[], "").await.status, 502);
    let (_does, other) = polite(100).await;
    control.set(saying(2, &[other.address], Serving::default(), Vec::new()));
    until_seen(true, async || {
        ask(gateway.address, "GET", "/", &[], "").await;
        other.connections() > 0
    })
    .await;
    let answer = ask(gateway.address, "GET", "/", &[], "").await;
    assert_eq!(answer.status, 502);
    gateway.stop().await;
}
