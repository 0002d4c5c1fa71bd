//! Questions that need a server with a protocol: certificates that run out, and gRPC's health.

#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::Millis;
use model::gate::ProbeVerdict;
use monitor::probe::{Answer, Anywhere};
use monitor::{Prober, Question};
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const WITHIN: Millis = Millis(10_000);

/// A server whose certificate holds `days` more, and who trusts it.
async fn tls_for(days: i64) -> (SocketAddr, Prober) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let now = std::time::SystemTime::now();
    let day = std::time::Duration::from_secs(24 * 3600);
    params.not_before = (now - day).into();
    params.not_after = (now + day * u32::try_from(days).unwrap() + day / 2).into();
    let certificate = params.self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(stream).await.map(drop) });
        }
    });
    (address, Prober::new(Arc::new(Anywhere), Arc::new(roots)))
}

#[tokio::test]
async fn a_certificate_that_runs_out_soon_is_told_with_its_days() {
    let (address, prober) = tls_for(12).await;
    let target = format!("localhost:{}", address.port());
    let ask = async |days_left_min| {
        let question = Question::Tls { days_left_min };
        prober.ask(&question, &target, WITHIN).await
    };
    assert!(ask(0).await.is_ok());
    assert!(ask(12).await.is_ok());
    let miss = ask(21).await.unwrap_err();
    assert_eq!(miss.verdict, ProbeVerdict::CertificateExpired);
    assert_eq!(
        miss.words,
        "certificate expires in 12 days, wanted 21 at least"
    );
}

/// A gRPC server that knows the service `api`, which is as `status` says.
async fn grpc(status: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request| check(request, status));
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    address
}

async fn check(
    request: Request<Incoming>,
    status: u8,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let known = body.ends_with(b"\x0a\x03api") || body.len() == 5;
    let (code, message): (_, &[u8]) = match (known, status) {
        (true, 0) => ("0", &[0, 0, 0, 0, 0]),
        (true, 1) => ("0", &[0, 0, 0, 0, 2, 8, 1]),
        (true, _) => ("0", &[0, 0, 0, 0, 2, 8, 2]),
        (false, _) => ("5", &[]),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    let body = Full::new(Bytes::copy_from_slice(message));
    let body = body.with_trailers(async move { Some(Ok(trailers)) });
    Ok(Response::builder()
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap())
}

async fn health(address: SocketAddr, service: &str) -> Answer {
    let prober = Prober::new(Arc::new(Anywhere), Arc::new(RootCertStore::empty()));
    let service = service.to_owned();
    let question = Question::Grpc { service };
    prober.ask(&question, &address.to_string(), WITHIN).await
}

#[tokio::test]
async fn grpc_servers_are_asked_in_their_own_words() {
    let serving = grpc(1).await;
    assert_eq!(health(serving, "").await, Ok("serving".into()));
    assert_eq!(health(serving, "api").await, Ok("serving".into()));
    let unknown = health(serving, "other").await.unwrap_err();
    assert_eq!(unknown.words, "the server knows no such service");
    let sick = health(grpc(2).await, "api").await.unwrap_err();
    assert_eq!(
        (sick.verdict, sick.words.as_str()),
        (ProbeVerdict::WrongStatus, "not serving")
    );
}

#[tokio::test]
async fn a_server_of_another_protocol_is_no_grpc_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
    let miss = health(address, "").await.unwrap_err();
    assert_eq!(miss.verdict, ProbeVerdict::WrongProtocol, "{}", miss.words);
}
