//! HTTP/2 in, without TLS: clients that know that it is spoken here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request as AxumRequest;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper::client::conn::http2::SendRequest;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::fleet::{Host, ask, before, before_with, read_head, until};

pub(crate) type Sender = SendRequest<Full<Bytes>>;

pub(crate) async fn client(address: SocketAddr) -> Sender {
    let stream = TcpStream::connect(address).await.unwrap();
    over(TokioIo::new(stream)).await
}

pub(crate) async fn over<S>(io: S) -> Sender
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("http://api.test{path}"))
        .header("x-tenant", "acme")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

async fn text<B>(response: Response<B>) -> String
where
    B: hyper::body::Body<Error: std::fmt::Debug>,
{
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Says what it was asked.
async fn telling() -> Host {
    let app = Router::new().fallback(|request: AxumRequest| async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let line = format!("{} {} {:?}\n", head.method, head.uri, head.version);
        let lines = head.headers.iter().fold(line, |text, (name, value)| {
            format!("{text}{name}: {}\n", value.to_str().unwrap())
        });
        format!("{lines}\n{}", String::from_utf8_lossy(&body))
    });
    Host::serve(app).await
}

#[tokio::test]
async fn requests_go_on_as_http_1() {
    let host = telling().await;
    let (control, gateway) = before(&[host.address]).await;
    let mut sender = client(gateway.address).await;
    let mut asked = request("POST", "/a?b=c", "hello");
    let headers = asked.headers_mut();
    headers.append("cookie", "a=1".parse().unwrap());
    headers.append("cookie", "b=2".parse().unwrap());
    headers.insert("te", "trailers".parse().unwrap());
    let response = sender.send_request(asked).await.unwrap();
    assert_eq!(response.status(), 200);
    let told = text(response).await;
    assert!(told.starts_with("POST /a?b=c HTTP/1.1\n"), "{told}");
    for line in [
        "host: api.test\n",
        "cookie: a=1; b=2\n",
        "te: trailers\n",
        "content-length: 5\n",
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-host: api.test\n",
    ] {
        assert!(told.contains(line), "{line} in {told}");
    }
    assert!(told.ends_with("\n\nhello"), "{told}");
    // And many at once over one connection.
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..300 {
        let mut sender = sender.clone();
        asking.spawn(async move {
            let response = sender
                .send_request(request("POST", "/", &n.to_string()))
                .await;
            let told = text(response.unwrap()).await;
            assert!(told.ends_with(&format!("\n\n{n}")), "{told}");
        });
    }
    while let Some(done) = asking.join_next().await {
        done.unwrap();
    }
    until("counted", || control.of("old", "acme").requests == 301).await;
    gateway
        .until(|metrics| metrics.contains("plimsoll_gateway_http2_connections 1\n"))
        .await;
    gateway.stop().await;
}

/// A body that does not tell its length; with one there is no room for trailers in HTTP/1.
struct OfSomeLength(Full<Bytes>);

impl Body for OfSomeLength {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let host = Host::raw(|mut stream: TcpStream| async move {
        let mut request = Vec::new();
        while !request.ends_with(b"x-sum: 7\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-after\r\n\r\n2\r\nhi\r\n0\r\nx-after: 8\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let (_control, gateway) = before(&[host.address]).await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let trailers = [("x-sum", "7")].into_iter().map(|(name, value)| {
        (
            name.parse::<hyper::header::HeaderName>().unwrap(),
            value.parse().unwrap(),
        )
    });
    let trailers = trailers.collect();
    let body = OfSomeLength(Full::new(Bytes::from("hello")))
        .with_trailers(std::future::ready(Some(Ok::<_, Infallible>(trailers))));
    let asked = Request::builder()
        .method("POST")
        .uri("http://api.test/")
        .header("te", "trailers")
        .header("trailer", "x-sum")
        .body(body)
        .unwrap();
    let response = sender.send_request(asked).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-after"], "8");
    assert_eq!(collected.to_bytes(), "hi");
    gateway.stop().await;
}

#[tokio::test]
async fn ambiguous_requests_and_connect_are_refused() {
    let host = telling().await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut sender = client(gateway.address).await;
    let mut two_hosts = request("GET", "/", "");
    two_hosts
        .headers_mut()
        .insert("host", "other.test".parse().unwrap());
    let response = sender.send_request(two_hosts).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let mut connect = request("CONNECT", "/", "");
    *connect.uri_mut() = "example.org:443".parse().unwrap();
    let response = sender.send_request(connect).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
    let response = sender.send_request(request("GET", "/", "")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(host.connections(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_in_flight_is_finished_after_a_goaway() {
    let app = Router::new().fallback(|| async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        "finished"
    });
    let host = Host::serve(app).await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut sender = client(gateway.address).await;
    let asking = tokio::spawn(sender.send_request(request("GET", "/", "")));
    until("in flight", || host.connections() == 1).await;
    gateway.tell_to_stop();
    let response = asking.await.unwrap().unwrap();
    assert_eq!(text(response).await, "finished");
    gateway.stop().await;
    until("gone", || sender.is_closed()).await;
}

/// Frames by hand (RFC 9113, section 4.1).
struct Raw(TcpStream);

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET http://a/` without Huffman coding or table (RFC 7541, section 6).
const GET: &[u8] = b"\x82\x86\x84\x01\x01a";

impl Raw {
    async fn open(address: SocketAddr) -> Raw {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        stream.write_all(preface).await.unwrap();
        let mut raw = Raw(stream);
        raw.send(SETTINGS, 0, 0, &[]).await.unwrap();
        raw
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, body: &[u8]) -> std::io::Result<()> {
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(body);
        self.0.write_all(&frame).await
    }

    /// Reads until the other end closes.
    async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.0.read_to_end(&mut rest));
        let _ = ended.await.expect("closed within time");
    }
}

/// A backend that takes requests and never answers.
async fn hanging() -> Host {
    Host::raw(|mut stream: TcpStream| async move {
        read_head(&mut stream).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    })
    .await
}

/// CVE-2023-44487: requests taken back as soon as they are sent.
#[tokio::test]
async fn a_client_that_takes_back_requests_in_a_hurry_is_cut() {
    let host = hanging().await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut raw = Raw::open(gateway.address).await;
    for n in 0..100_000_u32 {
        let stream = 2 * n + 1;
        let asked = raw
            .send(HEADERS, END_STREAM | END_HEADERS, stream, GET)
            .await;
        // So that each is taken before it is taken back: the bound inside h2 is not what is tested.
        if n % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if asked.is_err()
            || raw
                .send(RST_STREAM, 0, stream, &[0, 0, 0, 8])
                .await
                .is_err()
        {
            break;
        }
    }
    raw.is_closed().await;
    assert!(host.connections() < 1_000, "{}", host.connections());
    gateway
        .until(|metrics| metrics.contains("plimsoll_gateway_http2_connections 0\n"))
        .await;
    assert_eq!(
        ask(gateway.admin, "GET", "/healthz", &[], "").await.status,
        200
    );
    gateway.stop().await;
}

/// The same at a pace at which each request reaches its backend first.
#[tokio::test]
async fn a_client_that_takes_back_every_request_is_cut() {
    let host = hanging().await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut raw = Raw::open(gateway.address).await;
    for n in 0..2_000_u32 {
        let stream = 2 * n + 1;
        if raw
            .send(HEADERS, END_STREAM | END_HEADERS, stream, GET)
            .await
            .is_err()
        {
            break;
        }
        let (asked, start) = (host.connections(), Instant::now());
        while host.connections() == asked && start.elapsed() < Duration::from_millis(50) {
            tokio::task::yield_now().await;
        }
        if raw
            .send(RST_STREAM, 0, stream, &[0, 0, 0, 8])
            .await
            .is_err()
        {
            break;
        }
    }
    raw.is_closed().await;
    gateway
        .until(|metrics| metrics.contains("plimsoll_gateway_http2_connections_cut_total 1\n"))
        .await;
    assert!(host.connections() < 1_000, "{}", host.connections());
    gateway.stop().await;
}

#[tokio::test]
async fn a_head_without_end_is_cut() {
    let host = telling().await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut raw = Raw::open(gateway.address).await;
    raw.send(HEADERS, END_STREAM, 1, GET).await.unwrap();
    // A header of 4 KiB each, literal and new: 400 MB in all.
    let mut field = b"\x00\x01x\x7f\x81\x1f".to_vec();
    field.extend_from_slice(&[b'a'; 4_096]);
    let mut sent = 0;
    while sent < 100_000 && raw.send(CONTINUATION, 0, 1, &field).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 100_000);
    raw.is_closed().await;
    assert_eq!(host.connections(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_head_over_the_limit_is_431() {
    let host = telling().await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut sender = client(gateway.address).await;
    let mut large = request("GET", "/", "");
    for n in 0..20 {
        let name: hyper::header::HeaderName = format!("x-{n}").parse().unwrap();
        large
            .headers_mut()
            .insert(name, "a".repeat(5_000).parse().unwrap());
    }
    match sender.send_request(large).await {
        Ok(response) => assert_eq!(response.status(), 431),
        // h2's client knows the limit and does not even send it.
        Err(error) => assert!(format!("{error:?}").contains("UserError"), "{error:?}"),
    }
    assert_eq!(host.connections(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_cut() {
    let host = telling().await;
    let (_control, gateway) = before_with(&[host.address], |it| {
        it.limits.ping_every = Duration::from_millis(100);
        it.limits.ping_deadline = Duration::from_millis(100);
    })
    .await;
    let mut silent = Raw::open(gateway.address).await;
    let mut sender = client(gateway.address).await;
    silent.is_closed().await;
    // One that answers stays.
    let response = sender.send_request(request("GET", "/", "")).await.unwrap();
    assert_eq!(response.status(), 200);
    gateway.stop().await;
}

#[tokio::test]
async fn an_idle_client_is_asked_to_go() {
    let host = telling().await;
    let (_control, gateway) = before_with(&[host.address], |it| {
        it.limits.client_idle = Duration::from_millis(200);
        // Connections are looked at as often as this.
        it.limits.request_deadline = Duration::from_millis(300);
    })
    .await;
    let mut sender = client(gateway.address).await;
    let response = sender.send_request(request("GET", "/", "")).await.unwrap();
    assert_eq!(response.status(), 200);
    until("closed", || sender.is_closed()).await;
    gateway.stop().await;
}

/// Its window stays shut: the answer waits for room, and its time runs out.
#[tokio::test]
async fn an_answer_that_nobody_takes_is_cut() {
    let body = Bytes::from(vec![b'x'; 4 << 20]);
    let host = Host::serve(Router::new().fallback(move || async move { body })).await;
    let (control, gateway) = before_with(&[host.address], |it| {
        it.limits.request_deadline = Duration::from_millis(300);
    })
    .await;
    let mut sender = client(gateway.address).await;
    let response = sender.send_request(request("GET", "/", "")).await.unwrap();
    assert_eq!(response.status(), 200);
    gateway
        .until(|metrics| metrics.contains("outcome=\"gone\"} 1\n"))
        .await;
    let whole = response.into_body().collect().await;
    assert!(whole.is_err());
    gateway.stop().await;
    assert_eq!(control.total().failed, 0);
}
