//! One request: admitted or refused, handed to a backend, answered.
//!
//! [`admit`] gives it a slot at a backend or says why not; what comes after, in
//! [`forward`], holds the request's ticket and is dropped with the client.
//!
//! Invariant: from here every request is answered or cut by its deadline, and
//! settled exactly once.

mod admit;
mod forward;

use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::{Body, Incoming};
use model::ServiceName;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::answer::{LATER, Reason, problem};
use crate::board::{Board, Route};
use crate::body::ReplyBody;
use crate::config::{GatewayConfig, Limits};
use crate::customer::Last;
use crate::framing::Flaw;
use crate::headers::{Client, RequestIds, Scheme};
use crate::ledger::Ledger;
use crate::sentry::Line;
use crate::tallies::Tallies;
use crate::vitals::Vitals;

/// After the deadline an answer that the client doesn't read is cut this much
/// later, so that one that the backend doesn't send is seen as such first.
pub(crate) const CUT_AFTER: Duration = Duration::from_secs(1);
/// A refused body is read and thrown away for this long: closing on a client
/// that still writes resets the connection, and it would never read the answer.
const DISCARD_WITHIN: Duration = Duration::from_secs(1);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) limits: Limits,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tallies: Arc<Tallies>,
    /// Protocols that may be switched to.
    upgrades: Vec<String>,
    /// One for each client connection.
    pub(crate) places: Arc<Semaphore>,
    /// One for each connection that is told that there are too many.
    pub(crate) refusals: Arc<Semaphore>,
    ids: RequestIds,
}

/// Whom a connection is with.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) service: Arc<ServiceName>,
    pub(crate) client: Client,
    pub(crate) scheme: Scheme,
    pub(crate) vitals: Arc<Vitals>,
    /// The service's routes and who is let through.
    pub(crate) board: Arc<Board>,
    /// Unused over HTTP/2.
    pub(crate) line: Arc<Line>,
    /// Who asked last.
    pub(crate) last: Last,
    /// For its requests' deadlines.
    pub(crate) alarm: Alarm,
}

impl Front {
    pub(crate) fn new(config: &GatewayConfig, ledger: Arc<Ledger>) -> Front {
        /// Enough to tell clients in a flood of connections; the rest is closed without a word.
        const REFUSALS_MAX: usize = 256;
        let limits = config.limits.clone();
        Front {
            places: Arc::new(Semaphore::new(limits.connections_max)),
            tallies: Arc::default(),
            upgrades: config.upgrades.clone(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            limits,
            ledger,
            ids: RequestIds::new(config.trace_sampled),
        }
    }

    /// Answers one request, or refuses it if it has a `flaw`.
    pub(crate) async fn exchange(
        &self,
        peer: &Peer,
        route: Option<Arc<Route>>,
        request: Request<Incoming>,
        flaw: Option<Flaw>,
    ) -> Response<ReplyBody> {
        let version = request.version();
        let (mut response, reason) = self.answer(peer, route, request, flaw).await;
        if let Some(reason) = reason
            && reason.ends_connection()
            && version < Version::HTTP_2
        {
            if let Reason::Malformed(flaw) = reason {
                peer.line.set_flaw(flaw);
            }
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }

    async fn answer(
        &self,
        peer: &Peer,
        route: Option<Arc<Route>>,
        request: Request<Incoming>,
        flaw: Option<Flaw>,
    ) -> (Response<ReplyBody>, Option<Reason>) {
        let began = Instant::now();
        let own = route.as_ref().and_then(|route| route.deadline);
        let deadline = began + own.unwrap_or(self.limits.request_deadline);
        let busy = peer.vitals.busy_until(deadline + CUT_AFTER);
        self.ledger.offer();
        let admitted = match (route, flaw) {
            (_, Some(flaw)) => Err(Reason::Malformed(flaw).into()),
            (None, None) => Err(Reason::NoRoutes.into()),
            (Some(route), None) => self.admit(peer, route, request, (began, deadline)).await,
        };
        match admitted {
            Ok(admitted) => match self.forward(peer, admitted, deadline, busy).await {
                Ok(response) => (response, None),
                Err(reason) => (problem(reason, LATER), Some(reason)),
            },
            Err(refused) => {
                if !refused.settled {
                    self.ledger.refuse(&peer.service, refused.reason);
                }
                if let Some(body) = refused.discard {
                    // On the heap, as all that is seldom: every request's future is as large as its rarest way.
                    let _ = Box::pin(tokio::time::timeout(DISCARD_WITHIN, drain(body))).await;
                }
                (problem(refused.reason, refused.later), Some(refused.reason))
            }
        }
    }
}

async fn drain(mut body: Incoming) {
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
        if !matches!(frame.await, Some(Ok(_))) {
            return;
        }
    }
}
