//! What can go wrong, what the client is told, and who is blamed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::fleet::{Client, Host, ask, before, before_with, dead_address, read_head, talk, until};

const DEADLINE: Duration = Duration::from_millis(300);

/// A backend that takes requests and never answers; counts those whose connection was closed on it.
async fn hanging() -> (Host, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(0));
    let counter = left.clone();
    let host = Host::raw(move |mut stream: TcpStream| {
        let counter = counter.clone();
        async move {
            read_head(&mut stream).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            counter.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    (host, left)
}

#[tokio::test]
async fn a_refused_connection_is_502_and_counted() {
    let (control, gateway) = before(&[dead_address().await]).await;
    let mut client = Client::to(gateway.address).await;
    for _ in 0..5 {
        let answer = client.get("acme").await;
        assert_eq!((answer.status, answer.reason()), (502, "connect_failed"));
    }
    until("counted", || control.of("old", "acme").failed == 5).await;
    assert_eq!(control.of("old", "acme").requests, 5);
    gateway.stop().await;
}

#[tokio::test]
async fn a_dead_backend_is_passed_over_and_no_customer_notices() {
    let alive = Host::named("alive").await;
    let (control, gateway) = before(&[alive.address, dead_address().await]).await;
    let mut client = Client::to(gateway.address).await;
    for _ in 0..30 {
        assert_eq!(client.get("acme").await.status, 200);
    }
    until("counted", || control.of("old", "acme").requests == 30).await;
    assert_eq!(control.of("old", "acme").failed, 0);
    // The judge is told of first attempts: five in a row, and it is left out for a while.
    let failed = || -> u64 { control.cells().values().map(|cell| cell.failed).sum() };
    until("told", || failed() == 5).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_hanging_backend_is_504_in_time_and_counted() {
    let (host, left) = hanging().await;
    let (control, gateway) =
        before_with(&[host.address], |it| it.limits.request_deadline = DEADLINE).await;
    let start = Instant::now();
    let answer = ask(gateway.address, "GET", "/", &[("x-tenant", "acme")], "").await;
    let took = start.elapsed();
    assert_eq!((answer.status, answer.reason()), (504, "deadline"));
    assert!(
        took >= DEADLINE && took < DEADLINE + Duration::from_millis(300),
        "{took:?}"
    );
    until("counted", || control.of("old", "acme").failed == 1).await;
    until("cancelled", || left.load(Ordering::Relaxed) == 1).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_cut_in_time_and_counted() {
    let host = Host::raw(|mut stream: TcpStream| async move {
        read_head(&mut stream).await;
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        stream.write_all(half).await.unwrap();
        let _ = stream.read_u8().await;
    })
    .await;
    let (control, gateway) =
        before_with(&[host.address], |it| it.limits.request_deadline = DEADLINE).await;
    let start = Instant::now();
    let answer = talk(
        gateway.address,
        "GET / HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\n\r\n",
    )
    .await;
    assert!(answer.ends_with("half"), "{answer}");
    assert!(start.elapsed() < DEADLINE + Duration::from_millis(500));
    until("counted", || control.of("old", "acme").failed == 1).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_broken_answer_is_502_and_counted() {
    for answer in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 101 X\r\n\r\n",
    ] {
        let host = Host::raw(move |mut stream: TcpStream| async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let (control, gateway) = before(&[host.address]).await;
        let got = ask(gateway.address, "GET", "/", &[("x-tenant", "acme")], "").await;
        assert_eq!(
            (got.status, got.reason()),
            (502, "broken_answer"),
            "{answer:?}"
        );
        until("counted", || control.of("old", "acme").failed == 1).await;
        assert_eq!(
            host.connections(),
            1,
            "a fresh connection's failure is no stale one"
        );
        gateway.stop().await;
    }
}

#[tokio::test]
async fn errors_of_the_service_pass_and_count() {
    let app = Router::new()
        .route(
            "/500",
            axum::routing::get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "mine") }),
        )
        .route(
            "/404",
            axum::routing::get(|| async { (StatusCode::NOT_FOUND, "not here") }),
        );
    let host = Host::serve(app).await;
    let (control, gateway) = before(&[host.address]).await;
    let tenant = [("x-tenant", "acme")];
    let answer = ask(gateway.address, "GET", "/500", &tenant, "").await;
    assert_eq!((answer.status, answer.text().as_str()), (500, "mine"));
    assert_eq!(answer.header("x-plimsoll-reason"), "");
    let answer = ask(gateway.address, "GET", "/404", &tenant, "").await;
    assert_eq!((answer.status, answer.text().as_str()), (404, "not here"));
    until("counted", || control.of("old", "acme").requests == 2).await;
    assert_eq!(control.of("old", "acme").failed, 1);
    gateway.stop().await;
}

#[tokio::test]
async fn too_large_a_body_is_refused_and_no_failure_of_the_bundle() {
    let app =
        Router::new().fallback(|body: axum::body::Bytes| async move { body.len().to_string() });
    let host = Host::serve(app).await;
    let (control, gateway) =
        before_with(&[host.address], |it| it.limits.body_bytes_max = 1000).await;
    let mut client = Client::to(gateway.address).await;
    assert_eq!(
        client.ask("POST", "/", &[], vec![0; 1000]).await.text(),
        "1000"
    );
    let answer = client.ask("POST", "/", &[], vec![0; 1001]).await;
    assert_eq!((answer.status, answer.reason()), (413, "body_too_large"));
    // Not announced: seen when it comes.
    let long = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        2000,
        "a".repeat(2000)
    );
    let answer = talk(gateway.address, &long).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let metrics = gateway.metrics().await;
    let line = "plimsoll_gateway_refused_total{service=\"api\",reason=\"body_too_large\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    gateway.stop().await;
    assert_eq!(control.total().requests, 1);
    assert_eq!(control.total().failed, 0);
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_backend_and_blames_nobody() {
    let (host, left) = hanging().await;
    let (control, gateway) = before(&[host.address]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = b"GET / HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\n\r\n";
    stream.write_all(head).await.unwrap();
    until("asked", || host.connections() == 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let start = Instant::now();
    drop(stream);
    until("cancelled", || left.load(Ordering::Relaxed) == 1).await;
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "long before the deadline"
    );
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("outcome=\"gone\"} 1"), "{metrics}");
    gateway.stop().await;
    assert_eq!(control.total().requests, 0);
}

#[tokio::test]
async fn a_client_that_sends_too_slowly_is_408_and_blames_nobody() {
    let app = Router::new().fallback(|body: axum::body::Bytes| async move { body });
    let host = Host::serve(app).await;
    let (control, gateway) =
        before_with(&[host.address], |it| it.limits.request_deadline = DEADLINE).await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf";
    let answer = talk(gateway.address, head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    gateway.stop().await;
    assert_eq!(control.total().requests, 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    // Made beforehand, so that its making is no part of the backend's time.
    let body = axum::body::Bytes::from(vec![b'x'; 64 << 20]);
    let app = Router::new().fallback(move || async move { body });
    let host = Host::serve(app).await;
    let (control, gateway) =
        before_with(&[host.address], |it| it.limits.request_deadline = DEADLINE).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut gone = String::new();
    for _ in 0..60 {
        gone = gateway.metrics().await;
        if gone.contains("outcome=\"gone\"} 1") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(gone.contains("outcome=\"gone\"} 1"), "{gone}");
    drop(stream);
    gateway.stop().await;
    assert_eq!(control.total().failed, 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let host = Host::named("old").await;
    let (_control, gateway) =
        before_with(&[host.address], |it| it.limits.connections_max = 1).await;
    let mut first = Client::to(gateway.address).await;
    assert_eq!(first.get("acme").await.text(), "old");
    let answer = talk(gateway.address, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n") && answer.contains("too_many_connections"));
    assert_eq!(first.get("acme").await.text(), "old");
    drop(first);
    gateway.stop().await;
}
