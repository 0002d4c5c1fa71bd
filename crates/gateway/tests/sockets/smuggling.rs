//! Requests that two readers could read differently: the client gets 400 and a
//! closed connection, the backend gets nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fleet::{Control, Gateway, Host, ask, before, before_with, talk, until};

/// A backend that counts bytes of any kind.
async fn listening() -> (Host, Arc<AtomicUsize>) {
    let bytes = Arc::new(AtomicUsize::new(0));
    let counter = bytes.clone();
    let host = Host::raw(move |mut stream: TcpStream| {
        let counter = counter.clone();
        async move {
            let mut buffer = [0; 1024];
            while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                counter.fetch_add(len, Ordering::Relaxed);
            }
        }
    })
    .await;
    (host, bytes)
}

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";

/// Heads, each without the empty line at its end; what follows is a body and [`HIDDEN`].
const HEADS: [&str; 30] = [
    "content-length: 5\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ncontent-length: 5",
    "transfer-encoding: chunked\r\ncontent-length: 0",
    "Content-Length: 5\r\nTRANSFER-ENCODING: Chunked",
    "content-length: 5\r\ncontent-length: 6",
    "content-length: 5\r\ncontent-length: 5",
    "content-length: 5, 5",
    "content-length: 5 5",
    "content-length: +5",
    "content-length: -5",
    "content-length: 0x5",
    "content-length:",
    "content-length: 99999999999999999999",
    "content-length : 5",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: identity",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunked;q=1",
    "transfer-encoding:\u{b}chunked",
    "transfer-encoding : chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "x: 1\r\n transfer-encoding: chunked",
    "x: 1\ntransfer-encoding: chunked",
    "x: 1\rtransfer-encoding: chunked",
    "x: 1\0",
    " transfer-encoding: chunked",
    "host: b",
    "no colon",
];

fn wrong_heads() -> Vec<String> {
    let mut table: Vec<String> = HEADS
        .iter()
        .map(|head| format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n0\r\n\r\n{HIDDEN}"))
        .collect();
    let whole = [
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n",
        "GET http://u@a/ HTTP/1.1\r\nhost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / x HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\n\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\n",
        "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ];
    table.extend(whole.iter().map(|it| format!("{it}{HIDDEN}")));
    table
}

fn wrong_bodies() -> Vec<String> {
    let chunks = [
        "5\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "-1\r\n\r\n0\r\n\r\n",
        "ffffffffffffffff0\r\nhello\r\n",
        "0\r\n x: 1\r\n\r\n",
        "0\r\n\n",
        "zz\r\n",
    ];
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let whole = chunks.iter().map(|it| format!("{head}{it}{HIDDEN}"));
    whole.collect()
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_goes_nowhere() {
    let (host, bytes) = listening().await;
    let (control, gateway) = before(&[host.address]).await;
    let table = [wrong_heads(), wrong_bodies()].concat();
    for request in &table {
        let answer = talk(gateway.address, request).await;
        assert!(
            answer.starts_with("HTTP/1.1 400"),
            "{request:?} gave {answer:?}"
        );
        assert_eq!(
            answer.matches("x-plimsoll-reason").count(),
            1,
            "{request:?} gave {answer:?}"
        );
        assert!(
            !answer.contains("HTTP/1.1 200"),
            "{request:?} gave {answer:?}"
        );
        for line in [
            "x-plimsoll-reason: bad_request\r\n",
            "connection: close\r\n",
        ] {
            assert!(answer.contains(line), "{request:?} gave {answer:?}");
        }
    }
    let line = format!(
        "plimsoll_gateway_refused_total{{service=\"api\",reason=\"bad_request\"}} {}\n",
        table.len()
    );
    gateway.until(|metrics| metrics.contains(&line)).await;
    assert_eq!((host.connections(), bytes.load(Ordering::Relaxed)), (0, 0));
    gateway.stop().await;
    assert_eq!(control.total().requests, 0);
}

/// The same, byte by byte: no cut between two packets opens a way.
#[tokio::test]
async fn pieces_are_read_like_the_whole() {
    let (host, bytes) = listening().await;
    let (_control, gateway) = before(&[host.address]).await;
    for request in wrong_heads() {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in request.as_bytes().chunks(3) {
            // Refused in the middle, it may be closed already.
            if stream.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(5), reading)
            .await
            .expect("closed within time");
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{request:?}");
    }
    assert_eq!((host.connections(), bytes.load(Ordering::Relaxed)), (0, 0));
    gateway.stop().await;
}

/// A body that goes wrong after its head was passed on: what the backend has
/// got is no whole request, and nothing after it.
#[tokio::test]
async fn a_body_that_goes_wrong_later_never_ends() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let host = {
        let seen = seen.clone();
        Host::raw(move |mut stream: TcpStream| {
            let seen = seen.clone();
            async move {
                let mut buffer = [0; 1024];
                while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                    seen.lock().unwrap().extend_from_slice(&buffer[..len]);
                }
            }
        })
        .await
    };
    let text = move || String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    let (_control, gateway) = before(&[host.address]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    stream.write_all(head).await.unwrap();
    until("passed on", || text().ends_with("5\r\nhello\r\n")).await;
    let rest = format!("3\nabc\r\n0\r\n\r\n{HIDDEN}");
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let got = text();
    assert!(got.ends_with("5\r\nhello\r\n"), "{got}");
    gateway.stop().await;
}

async fn echo() -> (Host, Arc<Control>, Gateway) {
    let app = Router::new().fallback(|body: axum::body::Bytes| async move { body });
    let host = Host::serve(app).await;
    let (control, gateway) = before(&[host.address]).await;
    (host, control, gateway)
}

#[tokio::test]
async fn answers_before_a_malformed_request_keep_their_order() {
    let (_host, control, gateway) = echo().await;
    let good = "POST / HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\ncontent-length: 2\r\n\r\nhi";
    let bad = "GET / HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n";
    let answer = talk(gateway.address, &format!("{good}{good}{bad}{HIDDEN}")).await;
    let parts: Vec<&str> = answer.split("HTTP/1.1 ").collect();
    assert_eq!(parts.len(), 4, "{answer}");
    assert!(
        parts[1].starts_with("200") && parts[2].starts_with("200"),
        "{answer}"
    );
    assert!(parts[3].starts_with("400"), "{answer}");
    until("counted", || control.of("old", "acme").requests == 2).await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_unusual_but_clear_passes() {
    let (_host, _control, gateway) = echo().await;
    for request in [
        "\r\nPOST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHOST:a\r\nconnection: close\r\ncontent-length: \t2 \r\n\r\nhi",
        "POST http://a:80/ HTTP/1.1\r\nhost: A\r\nconnection: close\r\ncontent-length: 02\r\n\r\nhi",
        "POST / HTTP/1.0\r\ncontent-length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: CHUNKED\r\n\r\n002;x=y\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n",
    ] {
        let answer = talk(gateway.address, request).await;
        assert!(
            answer.contains(" 200 OK") && answer.ends_with("hi"),
            "{request:?} gave {answer:?}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn heads_over_the_limits_are_told_so() {
    let (host, bytes) = listening().await;
    let (_control, gateway) =
        before_with(&[host.address], |it| it.limits.header_bytes_max = 16 << 10).await;
    let one_line = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(20_000));
    let one_header = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "a: b\r\n".repeat(100_000)
    );
    let endless = "a".repeat(50_000);
    for request in [one_line, one_header, many, endless] {
        let answer = talk(gateway.address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(
            answer.contains("x-plimsoll-reason: head_too_large\r\n"),
            "{answer}"
        );
    }
    assert_eq!(bytes.load(Ordering::Relaxed), 0);
    assert_eq!(
        ask(gateway.admin, "GET", "/healthz", &[], "").await.status,
        200
    );
    gateway.stop().await;
}
