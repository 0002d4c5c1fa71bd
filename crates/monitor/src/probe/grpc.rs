//! gRPC's health service, `grpc.health.v1.Health/Check`, over HTTP/2.
//!
//! Sources: the gRPC health checking protocol and "gRPC over HTTP2" of the grpc
//! project. Both messages are one field long, so they are written and read here.
//!
//! Invariant: only `SERVING` is an answer; a server without the service is a miss that says so.

use ::http::header::{CONTENT_TYPE, TE};
use ::http::{HeaderMap, Request};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::gate::ProbeVerdict;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::chain;
use super::reach::{Answer, Limits, miss};

/// The answer is five bytes of frame and two of message.
const ANSWER_BYTES_MAX: usize = 4096;
/// Longest service name asked about: its length then fits the two bytes written below.
const SERVICE_BYTES_MAX: usize = 1000;

/// Asks over a fresh connection.
pub(super) async fn ask(
    limits: &Limits,
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    service: &str,
) -> Answer {
    if service.len() > SERVICE_BYTES_MAX {
        return miss(ProbeVerdict::Malformed, "the service's name is too long");
    }
    match timeout_at(limits.until, check(url, stream, service)).await {
        Ok(Ok((headers, body))) => read(&headers, &body),
        Ok(Err(reason)) => miss(ProbeVerdict::WrongProtocol, reason),
        Err(_) => {
            let words = format!("connected, but no answer within {}", limits.within);
            miss(ProbeVerdict::NoAnswer, words)
        }
    }
}

/// Headers with trailers, and the body.
async fn check(
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    service: &str,
) -> Result<(HeaderMap, Bytes), String> {
    let broken = |error: hyper::Error| match chain(&error) {
        words if words.contains("frame") || words.contains("http2") => {
            format!("answers, but not gRPC over HTTP/2: {words}")
        }
        words => format!("connected, but broken off: {words}"),
    };
    let builder = http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let authority = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let uri = format!("{}://{authority}/grpc.health.v1.Health/Check", url.scheme());
    let request = Request::post(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(request(service)))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let (head, body) = answer.into_parts();
    if !head.status.is_success() {
        return Err(format!("answers {} instead of gRPC", head.status));
    }
    let mut headers = head.headers;
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("connected, but broken off: {error}"))?;
    headers.extend(body.trailers().cloned().unwrap_or_default());
    Ok((headers, body.to_bytes()))
}

/// `HealthCheckRequest { service = 1 }` in its frame: not compressed, length, message.
fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        // A varint of up to 14 bits.
        let length = u16::try_from(service.len()).unwrap_or(u16::MAX);
        if length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            message.put_u8((length >> 7) as u8);
        } else {
            message.put_u8(length as u8);
        }
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

/// `HealthCheckResponse { status = 1 }`: 0 unknown, 1 serving, 2 not serving, 3 service unknown.
fn read(headers: &HeaderMap, body: &[u8]) -> Answer {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match header("grpc-status") {
        Some("0") => {}
        Some("12") => {
            return miss(
                ProbeVerdict::WrongProtocol,
                "the server has no health service",
            );
        }
        Some("5") => {
            return miss(
                ProbeVerdict::WrongStatus,
                "the server knows no such service",
            );
        }
        Some(code) => {
            let message = header("grpc-message").unwrap_or_default();
            let words = format!("gRPC status {code} {message}");
            return miss(ProbeVerdict::WrongStatus, words.trim().to_owned());
        }
        None => return miss(ProbeVerdict::WrongProtocol, "answers, but not gRPC"),
    }
    let status = match body {
        [0, 0, 0, 0, 2, 0x08, status] => *status,
        // Proto3 leaves a field out that is zero.
        [0, 0, 0, 0, 0] => 0,
        _ => {
            return miss(
                ProbeVerdict::WrongProtocol,
                "its health answer can't be read",
            );
        }
    };
    match status {
        1 => Ok("serving".into()),
        2 => miss(ProbeVerdict::WrongStatus, "not serving"),
        3 => miss(
            ProbeVerdict::WrongStatus,
            "the server knows no such service",
        ),
        _ => miss(
            ProbeVerdict::WrongStatus,
            "it does not know whether it is serving",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_protobuf_says() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(
            &request("api")[..],
            [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'p', b'i']
        );
        let long = request(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 0x01, 0x2f, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn only_serving_is_good() {
        let said = |status: &str, body: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", status.parse().unwrap());
            read(&headers, body).map_err(|miss| miss.words)
        };
        assert_eq!(said("0", &[0, 0, 0, 0, 2, 8, 1]), Ok("serving".into()));
        assert_eq!(said("0", &[0, 0, 0, 0, 2, 8, 2]), Err("not serving".into()));
        let unknown = "it does not know whether it is serving";
        assert_eq!(said("0", &[0, 0, 0, 0, 0]), Err(unknown.into()));
        assert_eq!(
            said("12", &[]),
            Err("the server has no health service".into())
        );
        assert_eq!(said("14", &[]), Err("gRPC status 14".into()));
        assert!(said("0", &[9]).is_err());
        assert!(read(&HeaderMap::new(), &[]).is_err());
    }
}
