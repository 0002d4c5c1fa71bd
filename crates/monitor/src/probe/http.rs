//! One GET over a connection of its own.
//!
//! Invariant: no redirect is followed, no more of a body is read than is looked
//! through, and nothing of a name or password in the URL is sent.

use std::error::Error;

use ::http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::gate::ProbeVerdict;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::chain;
use super::reach::{Answer, Limits, Miss, is_hung_up, miss};

/// The head of an answer may be this long; hyper takes nothing below 8 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A text is looked for in so much of a body: a health page is short.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What a good answer is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The one good status; absent: any below 500.
    pub status: Option<u16>,
    /// A text in the body's first 64 KiB.
    pub contains: Option<String>,
}

/// Asks.
pub(super) async fn ask(
    limits: &Limits,
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    wanted: &Wanted,
) -> Answer {
    let body_bytes_max = wanted.contains.as_ref().map_or(0, |_| BODY_BYTES_MAX);
    match timeout_at(limits.until, get(url, stream, body_bytes_max)).await {
        Ok(Ok((status, body))) => judge(status, &body, wanted),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => {
            let words = format!("connected, but no answer within {}", limits.within);
            miss(ProbeVerdict::NoAnswer, words)
        }
    }
}

async fn get(
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    body_bytes_max: usize,
) -> Result<(u16, Vec<u8>), hyper::Error> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // The connection's work ends with this future, and so at the deadline.
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut path = url.path().to_owned();
    if let Some(query) = url.query() {
        path = format!("{path}?{query}");
    }
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let request = ::http::Request::get(path)
        .header(HOST, host)
        .header(
            USER_AGENT,
            concat!("plimsoll-probe/", env!("CARGO_PKG_VERSION")),
        )
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(String::new());
    // A parsed URL's path and host are a request's: there is nothing left to be wrong.
    let request = request.unwrap_or_default();
    match sender.send_request(request).await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            let body = beginning(answer.into_body(), body_bytes_max).await?;
            Ok((status, body))
        }
        // The request was never sent; why not is what the connection ended with.
        Err(error) if error.is_canceled() => match connection.await {
            Ok(Err(cause)) => Err(cause),
            Ok(Ok(())) | Err(_) => Err(error),
        },
        Err(error) => Err(error),
    }
}

async fn beginning(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, hyper::Error> {
    let mut read = Vec::new();
    while read.len() < bytes_max {
        let Some(frame) = body.frame().await.transpose()? else {
            break;
        };
        if let Ok(data) = frame.into_data() {
            let room = bytes_max - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(read)
}

fn judge(status: u16, body: &[u8], wanted: &Wanted) -> Answer {
    match wanted.status {
        Some(wanted) if wanted != status => {
            return miss(
                ProbeVerdict::WrongStatus,
                format!("answered {status}, wanted {wanted}"),
            );
        }
        None if status >= 500 => {
            return miss(
                ProbeVerdict::WrongStatus,
                format!("answered {status}, wanted anything below 500"),
            );
        }
        Some(_) | None => {}
    }
    match &wanted.contains {
        Some(text) if !contains(body, text.as_bytes()) => miss(
            ProbeVerdict::WrongStatus,
            format!("answered {status}, but without {text:?} in its first {BODY_BYTES_MAX} bytes"),
        ),
        Some(_) | None => Ok(format!("answered {status}")),
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

fn failed(error: &hyper::Error) -> Miss {
    // A request that was given up carries why its connection was.
    let cause = error.source().and_then(|it| it.downcast_ref());
    if let (true, Some(cause)) = (error.is_canceled(), cause) {
        return failed(cause);
    }
    let (verdict, words) = if error.is_parse_too_large() {
        let words = format!("answers with a head of more than {HEAD_BYTES_MAX} bytes");
        (ProbeVerdict::WrongProtocol, words)
    } else if error.is_parse() {
        (ProbeVerdict::WrongProtocol, "answers, but not HTTP".into())
    } else if error.is_incomplete_message() || error.is_canceled() || was_hung_up(error) {
        let words = "connected, but closed without an answer".into();
        (ProbeVerdict::NoAnswer, words)
    } else if error.source().is_none() {
        // What hyper has no question for: bytes came before anything was asked.
        (ProbeVerdict::WrongProtocol, "answers, but not HTTP".into())
    } else {
        let words = format!("connected, but broken off: {}", chain(error));
        (ProbeVerdict::NoAnswer, words)
    };
    Miss { verdict, words }
}

fn was_hung_up(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|it| it.downcast_ref());
    cause.is_some_and(is_hung_up)
}
