//! Clients that take their time.

use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::fleet::{Host, ask, before_with, talk};

async fn echo() -> Host {
    Host::serve(Router::new().fallback(|body: axum::body::Bytes| async move { body })).await
}

/// Sends `piece` every 5 ms until the other end answers; the answer.
async fn drip(address: std::net::SocketAddr, head: &str, piece: &str) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let reading = reader.read_to_end(&mut answer);
    let dripping = async {
        writer.write_all(head.as_bytes()).await.unwrap();
        while writer.write_all(piece.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        read = tokio::time::timeout(Duration::from_secs(10), reading) => {
            let _ = read.expect("closed within time");
        }
        () = dripping => {}
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_that_drips_is_408_in_time() {
    let host = echo().await;
    let (control, gateway) = before_with(&[host.address], |it| {
        it.limits.head_deadline = Duration::from_millis(200);
    })
    .await;
    let start = Instant::now();
    for (head, piece) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n", "x: 1\r\n"),
        ("GET / HTTP/1.1\r\nhost: a\r\nx: ", "a"),
        ("G", "E"),
    ] {
        let answer = drip(gateway.address, head, piece).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(
            answer.contains("x-plimsoll-reason: client_slow\r\n"),
            "{answer}"
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "{:?}",
        start.elapsed()
    );
    gateway.stop().await;
    assert_eq!((host.connections(), control.total().requests), (0, 0));
}

#[tokio::test]
async fn a_body_that_drips_below_the_floor_is_408_long_before_the_deadline() {
    let host = echo().await;
    let (control, gateway) = before_with(&[host.address], |it| {
        it.limits.request_deadline = Duration::from_secs(60);
        it.limits.body_rate_min = 2_000;
        it.limits.body_rate_window = Duration::from_millis(300);
    })
    .await;
    let start = Instant::now();
    // 200 bytes a second at most.
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n";
    let answer = drip(gateway.address, head, "a").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    // Silent at once.
    let answer = talk(gateway.address, head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(20));
    // Fast enough, but with pauses.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 30000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    for _ in 0..10 {
        stream.write_all(&[b'a'; 3_000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    gateway.stop().await;
    assert_eq!((control.total().requests, control.total().failed), (1, 0));
}

/// More of them than a page has lines: none keeps others from being served.
#[tokio::test]
async fn many_slow_clients_hold_nobody_up() {
    let host = echo().await;
    let (_control, gateway) = before_with(&[host.address], |it| {
        it.limits.head_deadline = Duration::from_secs(2);
    })
    .await;
    let mut slow = Vec::new();
    for _ in 0..500 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    let answer = ask(gateway.address, "POST", "/", &[], "hi").await;
    assert_eq!(answer.text(), "hi");
    for mut stream in slow {
        let mut answer = String::new();
        let reading = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(10), reading)
            .await
            .expect("closed within time")
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    gateway
        .until(|metrics| metrics.contains("plimsoll_gateway_connections 0\n"))
        .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_and_one_with_one_is_not() {
    let waits = Router::new().fallback(|| async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        "late"
    });
    let host = Host::serve(waits).await;
    let (control, gateway) = before_with(&[host.address], |it| {
        it.limits.client_idle = Duration::from_millis(200);
    })
    .await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    // Ends only because the gateway closes it.
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("closed within time")
        .unwrap();
    assert!(answer.ends_with("late"), "{answer}");
    gateway.stop().await;
    assert_eq!((control.total().requests, control.total().failed), (1, 0));
}
