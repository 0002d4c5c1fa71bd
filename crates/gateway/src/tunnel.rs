//! Another protocol through the gateway, after both ends have agreed on it.
//!
//! Invariant: only what a client asked for and the configuration allows is
//! switched to. `h2c` never is: behind it a client could send requests that
//! this gateway does not see.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Version, request};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::drains::Visit;
use crate::tallies::{Count, Open};

/// Both ends hand over their connection as soon as the 101 is written.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(5);

/// The protocol that a request asks for, if it may have it: HTTP/1.1, GET, the
/// header named in `Connection`, and one protocol only.
pub(crate) fn asked(head: &request::Parts, allowed: &[String]) -> Option<HeaderValue> {
    if head.version != Version::HTTP_11 || head.method != Method::GET {
        return None;
    }
    let protocol = protocol(&head.headers)?;
    let is_allowed = allowed
        .iter()
        .any(|it| protocol.as_bytes().eq_ignore_ascii_case(it.as_bytes()));
    is_allowed.then(|| protocol.clone())
}

/// What `headers` switch to.
pub(crate) fn protocol(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let (Some(only), None) = (protocols.next(), protocols.next()) else {
        return None;
    };
    let named = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    named.then_some(only)
}

/// Asks the next one for `protocol`, or tells that it is switched to.
pub(crate) fn switch(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Two connections that are about to belong to each other.
#[derive(Debug)]
pub(crate) struct Tunnel {
    client: OnUpgrade,
    backend: OnUpgrade,
    /// Counted among the open ones until it is dropped.
    _open: Open,
    /// And at its backend.
    _visit: Option<Visit>,
}

impl Tunnel {
    pub(crate) fn new(
        client: OnUpgrade,
        backend: OnUpgrade,
        open: &Arc<Count>,
        visit: Option<Visit>,
    ) -> Tunnel {
        Tunnel {
            client,
            backend,
            _open: Open::new(open),
            _visit: visit,
        }
    }

    /// Carries bytes both ways until both ends are closed, one breaks, or
    /// neither sends for `idle`.
    pub(crate) async fn run(self, idle: Duration) {
        let both = async { tokio::try_join!(self.client, self.backend) };
        let (client, backend) = match tokio::time::timeout(HAND_OVER_WITHIN, both).await {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a switch of protocols came to nothing");
                return;
            }
            Err(_) => {
                tracing::debug!("a switch of protocols came to nothing in time");
                return;
            }
        };
        let last = Arc::new(Last::new());
        let mut client = Heard::new(client, &last);
        let mut backend = Heard::new(backend, &last);
        tokio::select! {
            ended = tokio::io::copy_bidirectional(&mut client, &mut backend) => match ended {
                Ok((up, down)) => tracing::debug!(up, down, "a tunnel ended"),
                Err(error) => tracing::debug!(%error, "a tunnel broke"),
            },
            () = last.silent_for(idle) => tracing::debug!(?idle, "a silent tunnel is closed"),
        }
    }
}

/// When anything was last heard in a tunnel.
#[derive(Debug)]
struct Last {
    epoch: Instant,
    at_ms: AtomicU64,
}

impl Last {
    fn new() -> Last {
        Last {
            epoch: Instant::now(),
            at_ms: AtomicU64::new(0),
        }
    }

    fn hear(&self) {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.store(now, Ordering::Relaxed);
    }

    async fn silent_for(&self, idle: Duration) {
        loop {
            let heard = self.epoch + Duration::from_millis(self.at_ms.load(Ordering::Relaxed));
            if heard.elapsed() >= idle {
                return;
            }
            tokio::time::sleep_until(heard + idle).await;
        }
    }
}

/// One end of a tunnel.
struct Heard {
    io: TokioIo<Upgraded>,
    last: Arc<Last>,
}

impl Heard {
    fn new(upgraded: Upgraded, last: &Arc<Last>) -> Heard {
        Heard {
            io: TokioIo::new(upgraded),
            last: last.clone(),
        }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.last.hear();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn asks(method: &str, lines: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        asked(&head, &["websocket".to_owned()]).is_some()
    }

    #[test]
    fn only_what_is_asked_for_properly_and_allowed() {
        let proper = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
        ];
        assert!(asks("GET", &proper));
        assert!(!asks("POST", &proper));
        assert!(!asks("GET", &proper[..1]));
        assert!(!asks("GET", &proper[1..]));
        assert!(!asks(
            "GET",
            &[("connection", "upgrade"), ("upgrade", "h2c")]
        ));
        assert!(!asks(
            "GET",
            &[("connection", "upgrade"), ("upgrade", "websocket, h2c")]
        ));
        let two = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("upgrade", "h2c"),
        ];
        assert!(!asks("GET", &two));
    }
}
