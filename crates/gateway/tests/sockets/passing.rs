//! Requests and answers pass unharmed.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{any, get};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::fleet::{Client, Host, ask, before, before_with, read_head, talk, until};

async fn echo() -> Host {
    let app = Router::new()
        .route("/echo", any(|body: Bytes| async move { body }))
        .route(
            "/heads",
            any(|request: Request| async move {
                let (head, _) = request.into_parts();
                let line = format!("{} {}\n", head.method, head.uri);
                head.headers.iter().fold(line, |text, (name, value)| {
                    format!("{text}{name}: {}\n", value.to_str().unwrap())
                })
            }),
        )
        .route("/empty", any(|| async { StatusCode::NO_CONTENT }))
        .route(
            "/same",
            get(|| async { (StatusCode::NOT_MODIFIED, [("etag", "\"1\"")]) }),
        )
        .route(
            "/coded",
            get(|| async {
                (
                    [("connection", "x-hop"), ("x-hop", "1"), ("x-end", "2")],
                    "hi",
                )
            }),
        );
    Host::serve(app).await
}

#[tokio::test]
async fn bodies_arrive_as_they_were_sent() {
    let host = echo().await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut client = Client::to(gateway.address).await;
    for len in [0, 1, 1_000, 1_000_000] {
        let body: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0]).collect();
        let answer = client.ask("POST", "/echo", &[], body.clone()).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body == body, "{len} bytes");
    }
    let answer = client.ask("GET", "/echo", &[], "").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    // A chunked body stays one, whatever its pieces.
    let answer = talk(
        gateway.address,
        "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    )
    .await;
    assert!(answer.ends_with("abcde"), "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn heads_pass_without_what_is_about_one_connection() {
    let host = echo().await;
    let (_control, gateway) = before(&[host.address]).await;
    let sent = [
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("connection", "x-mine"),
        ("x-mine", "1"),
        ("te", "gzip"),
        ("upgrade", "websocket"),
    ];
    let answer = ask(gateway.address, "GET", "/heads?a=b", &sent, "").await;
    let text = answer.text();
    assert!(text.starts_with("GET /heads?a=b\n"), "{text}");
    for line in [
        "host: api.test\n",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-proto: http\n",
        "x-forwarded-host: api.test\n",
        "x-request-id: ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    for name in ["connection:", "x-mine:", "te:", "upgrade:"] {
        assert!(!text.contains(&format!("\n{name}")), "{name} in {text}");
    }
    let answer = ask(gateway.address, "GET", "/coded", &[], "").await;
    assert_eq!((answer.header("x-hop"), answer.header("x-end")), ("", "2"));
    gateway.stop().await;
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let host = echo().await;
    let (control, gateway) = before(&[host.address]).await;
    let mut client = Client::to(gateway.address).await;
    let head = client.ask("HEAD", "/heads", &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.header("content-length").parse::<u32>().unwrap() > 10);
    let empty = client.ask("GET", "/empty", &[], "").await;
    assert_eq!((empty.status, empty.body.len()), (204, 0));
    assert_eq!(empty.header("content-length"), "");
    assert_eq!(empty.header("transfer-encoding"), "");
    let same = client.ask("GET", "/same", &[], "").await;
    assert_eq!((same.status, same.header("etag")), (304, "\"1\""));
    // And the connection is in order after each.
    let answer = client.ask("POST", "/echo", &[], "still here").await;
    assert_eq!(answer.text(), "still here");
    until("counted", || control.total().requests == 4).await;
    assert_eq!(control.total().failed, 0);
    assert_eq!(host.connections(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn answers_stream_as_they_come() {
    let (more, wanted) = mpsc::channel::<()>(1);
    let wanted = std::sync::Arc::new(tokio::sync::Mutex::new(wanted));
    let host = Host::raw(move |mut stream: TcpStream| {
        let wanted = wanted.clone();
        async move {
            read_head(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            stream.write_all(head).await.unwrap();
            wanted.lock().await.recv().await;
            stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
            stream.read_u8().await.ok();
        }
    })
    .await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut seen = String::new();
    while !seen.contains("first") {
        seen.push(char::from(stream.read_u8().await.unwrap()));
    }
    // The second part is sent only now that the first has come through.
    more.send(()).await.unwrap();
    while !seen.ends_with("0\r\n\r\n") {
        seen.push(char::from(stream.read_u8().await.unwrap()));
    }
    assert!(seen.contains("second"));
    gateway.stop().await;
}

#[tokio::test]
async fn requests_stream_as_they_come() {
    let (saw, mut seen) = mpsc::channel::<u8>(16);
    let app = Router::new().fallback(move |request: Request| {
        let saw = saw.clone();
        async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                for byte in frame.unwrap().into_data().unwrap() {
                    saw.send(byte).await.unwrap();
                }
            }
            "done"
        }
    });
    let host = Host::serve(app).await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx")
        .await
        .unwrap();
    assert_eq!(seen.recv().await, Some(b'x'));
    stream.write_all(b"y").await.unwrap();
    assert_eq!(seen.recv().await, Some(b'y'));
    gateway.stop().await;
}

#[tokio::test]
async fn connections_to_a_backend_are_used_again() {
    let host = echo().await;
    let (_control, gateway) = before(&[host.address]).await;
    for n in 0..20 {
        // A new client each time: the pool is the gateway's.
        let answer = ask(gateway.address, "POST", "/echo", &[], n.to_string()).await;
        assert_eq!(answer.text(), n.to_string());
    }
    assert_eq!(host.connections(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_closes_idle_connections_is_asked_on_a_fresh_one() {
    // Takes a second request and hangs up without a byte: the race between its close and our use.
    let host = Host::raw(|mut stream: TcpStream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
        read_head(&mut stream).await;
    })
    .await;
    let (control, gateway) = before(&[host.address]).await;
    let mut client = Client::to(gateway.address).await;
    for n in 1..=5 {
        assert_eq!(client.get("acme").await.text(), "ok");
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(host.connections(), n);
    }
    // A POST may have taken effect: it is not sent twice.
    let answer = client
        .ask("POST", "/", &[("x-tenant", "acme")], "pay")
        .await;
    assert_eq!((answer.status, answer.reason()), (502, "broken_answer"));
    until("counted", || control.of("old", "acme").requests == 6).await;
    assert_eq!(control.of("old", "acme").failed, 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_is_told_to_go_on() {
    let host = echo().await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = b"POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 2\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hi").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"),
        "{answer}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_trace_goes_on_and_is_begun_where_there_is_none() {
    let host = echo().await;
    let all = model::Permille::ALL;
    let (_control, gateway) = before_with(&[host.address], |it| it.trace_sampled = all).await;
    let mut client = Client::to(gateway.address).await;
    let parent = "00-5b6a798897a6b5c4d3e2f10f1e2d3c4b-0011223344556677-00";
    let came = [("traceparent", parent), ("tracestate", "shop=42,bank=x")];
    let heads = client.ask("GET", "/heads", &came, "").await.text();
    assert!(
        heads.contains(&format!("traceparent: {parent}\n")),
        "{heads}"
    );
    assert!(heads.contains("tracestate: shop=42,bank=x\n"), "{heads}");
    let mut begun = Vec::new();
    for came in [
        &[][..],
        &[("traceparent", "00-0-0-00"), ("tracestate", "shop=42")],
    ] {
        let heads = client.ask("GET", "/heads", came, "").await.text();
        let mut lines = heads
            .lines()
            .filter_map(|it| it.strip_prefix("traceparent: "));
        let (trace, second) = (lines.next().unwrap(), lines.next());
        assert!(trace.len() == 55 && second.is_none(), "{heads}");
        assert!(
            trace.starts_with("00-") && trace.ends_with("-01"),
            "{trace}"
        );
        assert!(!heads.contains("tracestate"), "{heads}");
        begun.push(trace.to_owned());
    }
    assert_ne!(begun[0], begun[1]);
    gateway.stop().await;
}
