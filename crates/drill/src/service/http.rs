//! Just enough blocking HTTP/1.1 for one request on one connection.
//!
//! Every answer closes its connection: a thread belongs to a request, never to
//! an idle connection. Invariant: reading one request takes bounded time and memory.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Longest request line with headers, as common servers allow.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest body; the service takes bodies but doesn't keep them.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a client may take to read its answer.
const WRITE_WITHIN: Duration = Duration::from_secs(1);

/// What the service needs to know of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// `GET` and the like.
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    /// `x-api-key`, empty when absent.
    pub(super) key: String,
    /// Bytes of `x-session`, 0 when absent.
    pub(super) session_bytes: usize,
}

/// Why there is no request to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRequest {
    /// The client left, or said nothing in time.
    Gone,
    /// What came must be answered with this status.
    Bad(u16, &'static str),
}

/// Reads one request by the deadline.
pub(super) fn read(stream: &mut TcpStream, within: Duration) -> Result<Request, NoRequest> {
    let until = Instant::now() + within;
    let mut bytes = Vec::with_capacity(1024);
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(NoRequest::Bad(431, "the headers are too long"));
        }
        more(stream, &mut bytes, until)?;
    };
    let (request, body) = parse(&bytes[..head])?;
    if body > BODY_BYTES_MAX {
        return Err(NoRequest::Bad(413, "the body is too long"));
    }
    // Read and dropped: closing on unread bytes would reset the connection
    // and could take the answer with it.
    while bytes.len() < head + 4 + body {
        more(stream, &mut bytes, until)?;
    }
    Ok(request)
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>, until: Instant) -> Result<(), NoRequest> {
    let left = until.saturating_duration_since(Instant::now());
    // Zero would mean "no limit" to the system.
    if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
        return Err(NoRequest::Gone);
    }
    let mut piece = [0; 4096];
    match stream.read(&mut piece) {
        Ok(0) | Err(_) => Err(NoRequest::Gone),
        Ok(size) => {
            bytes.extend_from_slice(&piece[..size]);
            Ok(())
        }
    }
}

/// The request and the length of its body.
fn parse(head: &[u8]) -> Result<(Request, usize), NoRequest> {
    let bad = NoRequest::Bad(400, "not an HTTP/1.1 request");
    let head = std::str::from_utf8(head).map_err(|_| bad)?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad);
    };
    let mut request = Request {
        method: method.to_owned(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        key: String::new(),
        session_bytes: 0,
    };
    let mut body = 0;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(bad)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("x-api-key") {
            value.clone_into(&mut request.key);
        } else if name.eq_ignore_ascii_case("x-session") {
            request.session_bytes = value.len();
        } else if name.eq_ignore_ascii_case("content-length") {
            body = value.parse().map_err(|_| bad)?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(NoRequest::Bad(411, "a body needs a content-length"));
        }
    }
    Ok((request, body))
}

/// Sends a JSON answer and ends the connection.
pub(super) fn answer(
    stream: &mut TcpStream,
    status: u16,
    body: &serde_json::Value,
) -> std::io::Result<()> {
    let body = body.to_string();
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let text = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.set_write_timeout(Some(WRITE_WITHIN))?;
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_taken_apart() {
        let head =
            b"POST /v1/orders?limit=3 HTTP/1.1\r\nHost: a\r\nX-Api-Key: tenant-1\r\nContent-Length: 7\r\nX-Session: abc";
        let (request, body) = parse(head).unwrap();
        assert_eq!(request.method, "POST");
        assert_eq!(request.path, "/v1/orders");
        assert_eq!(request.key, "tenant-1");
        assert_eq!(request.session_bytes, 3);
        assert_eq!(body, 7);
    }

    #[test]
    fn nonsense_is_refused() {
        for head in [
            "",
            "GET /",
            "GET / HTTP/2",
            "GET / a HTTP/1.1",
            "GET / HTTP/1.1\r\nx",
            "GET / HTTP/1.1\r\ncontent-length: -1",
            "GET / HTTP/1.1\r\ntransfer-encoding: chunked",
        ] {
            assert!(
                matches!(parse(head.as_bytes()), Err(NoRequest::Bad(_, _))),
                "{head:?}"
            );
        }
    }
}
