//! One request at one backend, which goes on when nobody waits for it any more.
//!
//! A backend that hangs still works on what it was sent, whether its client is
//! told so or has left. Only when it answers or closes is there room for the
//! next, so the exchange lingers in the background until then: the backend never
//! has more than its limit, and its first late answer tells that it is back. One that
//! answers others is told that nobody waits, so that it needs not work for nobody.
//!
//! Invariant: an exchange gives up its permit when the backend has answered or closed, and
//! not before.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use edge::admission::Outcome;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::body::Upload;
use crate::desk::Permit;
use crate::upstream::{Connection, Leash, SendError, Terms, Unanswered, Upstream};

/// A backend that has not answered by then will not; its connection is closed.
const LINGERS: Duration = Duration::from_secs(600);

/// The answer's head, and what comes with it.
pub(crate) struct Answered {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: Connection,
    pub(crate) permit: Permit,
}

/// No answer came.
pub(crate) enum Failed {
    /// In time; the exchange lingers.
    Deadline,
    /// The connection did not come about or broke.
    Sending { failure: Unanswered, permit: Permit },
}

type Sent = Result<(Response<Incoming>, Connection), Unanswered>;

/// Sends a request and waits for its answer's head until the deadline.
pub(crate) async fn exchange(
    upstream: &Arc<Upstream>,
    request: Box<Request<Upload>>,
    terms: Terms,
    (alarm, deadline): (&Alarm, Instant),
    permit: Permit,
) -> Result<Answered, Failed> {
    let (home, leash) = (upstream.clone(), Arc::new(Leash::default()));
    let mut going = Going {
        leash: leash.clone(),
        sending: Some(Box::pin(
            async move { home.send(request, terms, &leash).await },
        )),
        permit: Some(permit),
    };
    let sending = poll_fn(|cx| match &mut going.sending {
        Some(sending) => sending.as_mut().poll(cx),
        None => std::task::Poll::Pending,
    });
    let Some(sent) = alarm.until(deadline, sending).await else {
        return Err(Failed::Deadline);
    };
    going.sending = None;
    let Some(permit) = going.permit.take() else {
        return Err(Failed::Deadline);
    };
    match sent {
        Ok((response, connection)) => Ok(Answered {
            response,
            connection,
            permit,
        }),
        Err(failure) => Err(Failed::Sending { failure, permit }),
    }
}

/// An exchange that lingers when it is dropped: at its deadline, or with its client.
struct Going {
    sending: Option<Pin<Box<dyn Future<Output = Sent> + Send>>>,
    leash: Arc<Leash>,
    permit: Option<Permit>,
}

impl Drop for Going {
    fn drop(&mut self) {
        if let (Some(sending), Some(permit)) = (self.sending.take(), self.permit.take()) {
            // Of a backend that hangs, some would close and hang on: its silence is what tells.
            if permit.abandoned() {
                self.leash.tell_gone();
            }
            tokio::spawn(linger(sending, permit));
        }
    }
}

async fn linger(sending: Pin<Box<dyn Future<Output = Sent> + Send>>, permit: Permit) {
    let outcome = match tokio::time::timeout(LINGERS, sending).await {
        Ok(Ok((response, _))) if response.status().is_server_error() => Outcome::Failed,
        Ok(Ok(_)) => Outcome::Ok,
        Ok(Err(failure)) => match failure.error {
            SendError::Connect(_) => Outcome::ConnectFailed,
            SendError::Own(_) => Outcome::Unsent,
            SendError::Broken(_) => Outcome::Closed,
        },
        Err(_) => Outcome::Closed,
    };
    permit.end(outcome);
}
