//! What nobody read of a request's body.
//!
//! An answer that is known early (a wrong role, too large a body) must reach a
//! client that is still sending. If the connection closed under its hands it
//! would see a broken pipe instead of the reason.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// Bytes that are read only to be dropped. Whoever sends more meets a closed connection.
const DISCARD_BYTES_MAX: usize = 64 << 20;
/// So long the answer waits for them at most.
const DISCARD_WITHIN: Duration = Duration::from_secs(5);

/// Gets back a body that was given away.
pub(super) struct Rest(Option<oneshot::Receiver<Body>>);

/// Gives the body away such that what is left of it comes back.
pub(super) fn lend(request: Request) -> (Request, Rest) {
    // A client that waits to be asked for its body (`Expect: 100-continue`) sends nothing unless it is read.
    if hyper::body::Body::is_end_stream(request.body()) || request.headers().contains_key(EXPECT) {
        return (request, Rest(None));
    }
    let (back, rest) = oneshot::channel();
    let lent = |body| {
        Body::new(Lent {
            body,
            back: Some(back),
        })
    };
    (request.map(lent), Rest(Some(rest)))
}

impl Rest {
    /// Reads to the end, within bounds.
    pub(super) async fn discard(self) {
        let Some(Ok(mut body)) = self.0.map(|mut rest| rest.try_recv()) else {
            return;
        };
        let reading = async {
            let mut discarded = 0;
            while let Some(Ok(frame)) = body.frame().await {
                discarded += frame.data_ref().map_or(0, Bytes::len);
                if discarded > DISCARD_BYTES_MAX {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(DISCARD_WITHIN, reading).await;
    }
}

struct Lent {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take()
            && !hyper::body::Body::is_end_stream(&self.body)
        {
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}
