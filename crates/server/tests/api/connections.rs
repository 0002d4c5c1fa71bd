//! Connections that don't behave.

use std::time::{Duration, Instant};

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::api::StatusView;

use crate::support::{PATIENCE, Server, problem, raw};

/// Says `words` on a connection of its own; gives what comes back before the other side closes it.
async fn say(server: &Server, words: &[u8]) -> String {
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    connection.write_all(words).await.unwrap();
    let mut answer = Vec::new();
    let reading = connection.read_to_end(&mut answer);
    let read = tokio::time::timeout(PATIENCE, reading).await;
    // A reset is an end as well.
    assert!(read.is_ok(), "still open: {words:?}");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_nothing_is_not_waited_for() {
    let server = Server::start().await;
    let head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    let began = Instant::now();
    let answers = tokio::join!(
        say(&server, b""),
        say(&server, b"P"),
        say(&server, b"PRI * HTTP/2.0\r\n\r\n"),
        say(&server, head),
    );
    assert_eq!((answers.0.as_str(), answers.1.as_str()), ("", ""));
    assert!(!answers.3.contains("200 OK"), "{}", answers.3);
    assert!(
        began.elapsed() < Duration::from_secs(40),
        "{:?}",
        began.elapsed()
    );
    let _: StatusView = server.operator.get("/v1/status").await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_no_reaches_a_client_that_is_still_sending() {
    let server = Server::start().await;
    let body = vec![b' '; 24 << 20];
    for _ in 0..3 {
        for (method, path, wanted) in [
            (Method::POST, "/v1/releases", 413),
            (Method::POST, "/v1/agents/web-1/reports", 413),
            (Method::PUT, "/v1/blobs/x", 401),
            (Method::POST, "/v1/nowhere", 404),
            (Method::POST, "/v1/status", 405),
        ] {
            let request = raw(method, server.url(path)).body(body.clone());
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), wanted, "{path}");
            problem(response).await;
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_waits_to_be_asked_is_refused_before_it_sends() {
    let server = Server::start().await;
    let head = "PUT /v1/blobs/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\
        Expect: 100-continue\r\n\r\n";
    let began = Instant::now();
    let answer = say(&server, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_ends_is_given_up_with_words() {
    let server = Server::start().await;
    let head = format!(
        "POST /v1/freezes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
        Content-Length: 1000\r\nConnection: close\r\n\r\n{{",
        server.token
    );
    let answer = say(&server, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains("it may have been done or not"), "{answer}");
    server.stop().await;
}
