//! One request: admitted or refused, handed to a backend, answered.
//!
//! [`admit`](Front::admit) decides without waiting; everything after it holds
//! the request's ticket and is dropped with the client.
//!
//! Invariant: from here every request is answered or cut by its deadline, and
//! settled exactly once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge::Outcome;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use model::ServiceName;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::answer::{Reason, problem};
use crate::board::Route;
use crate::body::{Download, Phase, Progress, ReplyBody, Upload};
use crate::config::{GatewayConfig, Limits};
use crate::framing::Flaw;
use crate::headers::{self, RequestIds, Scheme};
use crate::ledger::{Ledger, Ticket};
use crate::sentry::Line;
use crate::tallies::Tallies;
use crate::tunnel::{self, Tunnel};
use crate::upstream::SendError;
use crate::vitals::{Busy, Vitals};

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
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) service: Arc<ServiceName>,
    pub(crate) address: IpAddr,
    pub(crate) scheme: Scheme,
    pub(crate) vitals: Arc<Vitals>,
    /// Unused over HTTP/2.
    pub(crate) line: Arc<Line>,
}

/// A request that has a backend.
struct Admitted {
    request: Request<Upload>,
    progress: Option<Arc<Progress>>,
    slot: usize,
    ticket: Ticket,
    /// The client's end, if it asks for another protocol.
    upgrade: Option<OnUpgrade>,
}

/// A request that has none, with its unread body.
struct Refused {
    reason: Reason,
    /// To be read and thrown away before the answer.
    discard: Option<Incoming>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Refused {
        Refused {
            reason,
            discard: None,
        }
    }
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
            ids: RequestIds::default(),
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
        let deadline = began + self.limits.request_deadline;
        let busy = peer.vitals.busy_until(deadline + CUT_AFTER);
        self.ledger.offer();
        let admitted = match (&route, flaw) {
            (_, Some(flaw)) => Err(Reason::Malformed(flaw).into()),
            (None, None) => Err(Reason::NoRoutes.into()),
            (Some(route), None) => {
                let admitted = self.admit(peer, route, request, began);
                admitted.map(|it| (route, it))
            }
        };
        match admitted {
            Ok((route, admitted)) => {
                let forwarded = self.forward(peer, route, admitted, deadline, busy);
                match forwarded.await {
                    Ok(response) => (response, None),
                    Err(reason) => (problem(reason), Some(reason)),
                }
            }
            Err(Refused { reason, discard }) => {
                self.ledger.refuse(&peer.service, reason);
                if let Some(body) = discard {
                    let _ = tokio::time::timeout(DISCARD_WITHIN, drain(body)).await;
                }
                (problem(reason), Some(reason))
            }
        }
    }

    /// Decides whether and where the request goes.
    fn admit(
        &self,
        peer: &Peer,
        route: &Route,
        mut request: Request<Incoming>,
        began: Instant,
    ) -> Result<Admitted, Refused> {
        // Out of the head in any case: it is the client's, and what goes on is another connection's.
        let on_upgrade = hyper::upgrade::on(&mut request);
        let (mut head, body) = request.into_parts();
        headers::check(&head)?;
        if announced(&head.headers) > self.limits.body_bytes_max {
            // A client that waits for "100 Continue" has sent nothing yet, and shall not begin.
            let waits = head.headers.contains_key(EXPECT);
            return Err(Refused {
                reason: Reason::BodyTooLarge,
                discard: (!waits).then_some(body),
            });
        }
        let asked = tunnel::asked(&head, &self.upgrades).filter(|_| body.is_end_stream());
        headers::strip_request(&mut head.headers);
        // After stripping: the backend must see the same tenant as the count.
        let tenant = headers::tenant(&head.headers, route.tenant_header.as_ref());
        let choice = route
            .router
            .choose(&tenant, self.ledger.now())
            .map_err(|edge::NoBackend| Reason::NoHost)?;
        let spot = choice.spot(head.method.as_str(), head.uri.path());
        let address = &choice.backend.address;
        headers::prepare(&mut head, peer.address, peer.scheme, address, &self.ids);
        let upgrade = asked.map(|protocol| {
            tunnel::switch(&mut head.headers, protocol);
            on_upgrade
        });
        let (upload, progress) = Upload::new(body, &self.limits);
        Ok(Admitted {
            request: Request::from_parts(head, upload),
            progress,
            slot: choice.slot,
            ticket: self.ledger.ticket(spot, tenant, began),
            upgrade,
        })
    }

    /// Hands it to its backend and passes the answer on.
    async fn forward(
        &self,
        peer: &Peer,
        route: &Route,
        admitted: Admitted,
        deadline: Instant,
        busy: Busy,
    ) -> Result<Response<ReplyBody>, Reason> {
        let Admitted {
            request,
            progress,
            slot,
            mut ticket,
            upgrade,
        } = admitted;
        let protocol = tunnel::protocol(request.headers()).cloned();
        let upstream = &route.upstreams[slot];
        let sending = upstream.send(request, self.limits.connect_deadline);
        let sent = tokio::time::timeout_at(deadline, sending).await;
        let (mut response, connection) = match sent {
            Ok(Ok(sent)) => sent,
            Ok(Err(error)) => {
                if let SendError::Connect(_) = error {
                    route.router.connect_failed(slot, self.ledger.now());
                }
                tracing::debug!(address = upstream.address(), %error, "a request failed");
                return Err(fail(ticket, Some(error), progress.as_deref()));
            }
            Err(_) => return Err(fail(ticket, None, progress.as_deref())),
        };
        route.router.connected(slot);
        let status = response.status();
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (status, upgrade)
            && tunnel::protocol(response.headers()).is_some_and(|it| is_same(it, protocol.as_ref()))
        {
            return Ok(self.switch(peer, response, client, ticket));
        }
        if status.is_informational() || headers::has_coding_but_chunked(response.headers()) {
            // A switch of protocols that nobody asked for, or a body that can't be passed on.
            ticket.settle(Outcome::Failed);
            return Err(Reason::BrokenAnswer);
        }
        let waited = progress.as_ref().map_or(Duration::ZERO, |it| it.waited());
        ticket.answered(waited);
        headers::strip_hop_by_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        Ok(response.map(|body| {
            let whole = outcome(status);
            let download = Download::new(body, deadline, whole, progress, ticket, connection, busy);
            ReplyBody::Passed(Box::new(download))
        }))
    }

    /// Both ends leave HTTP. The request is over with this answer.
    fn switch(
        &self,
        peer: &Peer,
        mut response: Response<Incoming>,
        client: OnUpgrade,
        mut ticket: Ticket,
    ) -> Response<ReplyBody> {
        let backend = hyper::upgrade::on(&mut response);
        ticket.answered(Duration::ZERO);
        ticket.settle(Outcome::Served);
        self.tallies.upgrades.add();
        let tunnel = Tunnel::new(client, backend, &self.tallies.tunnels);
        peer.line.leave(tunnel);
        let protocol = tunnel::protocol(response.headers()).cloned();
        headers::strip_hop_by_hop(response.headers_mut());
        if let Some(protocol) = protocol {
            tunnel::switch(response.headers_mut(), protocol);
        }
        *response.version_mut() = Version::HTTP_11;
        response.map(|_| ReplyBody::own(Bytes::new()))
    }
}

/// Names of protocols are compared without regard to case (RFC 9110, section 7.8).
fn is_same(switched: &HeaderValue, asked: Option<&HeaderValue>) -> bool {
    asked.is_some_and(|asked| switched.as_bytes().eq_ignore_ascii_case(asked.as_bytes()))
}

fn outcome(status: StatusCode) -> Outcome {
    if status.is_server_error() {
        Outcome::Failed
    } else {
        Outcome::Served
    }
}

/// No answer came: by whose fault, and what the client is told. Without an
/// error it was the deadline.
fn fail(ticket: Ticket, error: Option<SendError>, progress: Option<&Progress>) -> Reason {
    let phase = progress.map_or(Phase::Ended, Progress::phase);
    let reason = match (phase, error) {
        (Phase::TooLarge, _) => Reason::BodyTooLarge,
        (Phase::Broken, _) => Reason::BadRequest,
        (Phase::TooSlow, _) | (Phase::Client, None) => Reason::ClientSlow,
        (_, None) => Reason::Deadline,
        (_, Some(SendError::Own(error))) => {
            tracing::error!(%error, "the gateway is out of resources");
            Reason::OwnResources
        }
        (_, Some(SendError::Connect(_))) => Reason::ConnectFailed,
        (_, Some(SendError::Broken(_))) => Reason::BrokenAnswer,
    };
    match reason {
        Reason::ConnectFailed | Reason::BrokenAnswer | Reason::Deadline => {
            ticket.settle(Outcome::Failed);
        }
        Reason::BadRequest | Reason::Malformed(_) | Reason::ClientSlow => {
            ticket.settle(Outcome::Gone);
        }
        Reason::NoRoutes
        | Reason::NoHost
        | Reason::OwnResources
        | Reason::NotSupported
        | Reason::BodyTooLarge => ticket.refuse(reason),
    }
    reason
}

/// The body's announced length; hyper has checked that there is one at most.
fn announced(headers: &http::HeaderMap) -> u64 {
    let value = headers.get(CONTENT_LENGTH);
    value
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

async fn drain(mut body: Incoming) {
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
        if !matches!(frame.await, Some(Ok(_))) {
            return;
        }
    }
}
