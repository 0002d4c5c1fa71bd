//! A request at its backend, and its answer on the way to the client.
//!
//! Invariant: a ticket is settled, or goes on with the answer's body, on every way out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge::Outcome;
use edge::admission::Outcome as Ended;
use http::{HeaderValue, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::admit::Admitted;
use super::{Front, Peer};
use crate::answer::Reason;
use crate::board::Route;
use crate::body::{Download, Phase, Progress, ReplyBody};
use crate::drains::Visit;
use crate::exchange::{Answered, Failed, exchange};
use crate::headers;
use crate::ledger::Ticket;
use crate::tunnel::{self, Tunnel};
use crate::upstream::{SendError, Terms, Unanswered};
use crate::vitals::Busy;

/// What a request needs once it is answered.
struct Rest {
    progress: Option<Arc<Progress>>,
    ticket: Ticket,
    upgrade: Option<OnUpgrade>,
    route: Arc<Route>,
    /// Who answered, in the route.
    backend: usize,
}

impl Front {
    /// Hands it to its backend and passes the answer on.
    pub(super) async fn forward(
        &self,
        peer: &Peer,
        admitted: Admitted,
        deadline: Instant,
        busy: Busy,
    ) -> Result<Response<ReplyBody>, Reason> {
        let protocol = match admitted.upgrade {
            Some(_) => tunnel::protocol(admitted.request.headers()).cloned(),
            None => None,
        };
        let (answered, rest) = self.send(peer, admitted, deadline).await?;
        let Answered {
            mut response,
            mut connection,
            permit,
        } = answered;
        let Rest {
            progress,
            mut ticket,
            upgrade,
            route,
            backend,
        } = rest;
        if let Some(workers) = headers::take_workers(response.headers_mut())
            && route.is_new(backend, workers)
        {
            permit.declared(workers);
        }
        let status = response.status();
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (status, upgrade)
            && tunnel::protocol(response.headers()).is_some_and(|it| is_same(it, protocol.as_ref()))
        {
            permit.end(Ended::Ok);
            let visit = connection.take_visit();
            return Ok(self.switch(peer, response, client, ticket, visit));
        }
        if status.is_informational() || headers::has_coding_but_chunked(response.headers()) {
            // A switch of protocols that nobody asked for, or a body that can't be passed on.
            ticket.settle(Outcome::Failed);
            permit.end(Ended::Failed);
            return Err(Reason::BrokenAnswer);
        }
        // Not at the body's end: that may be the client's time, and a stream would hold a slot for good.
        permit.end(match outcome(status) {
            Outcome::Failed => Ended::Failed,
            Outcome::Served | Outcome::Gone => Ended::Ok,
        });
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

    /// Sends it to its backend, and to another one if the first can't be connected to.
    async fn send(
        &self,
        peer: &Peer,
        admitted: Admitted,
        deadline: Instant,
    ) -> Result<(Answered, Rest), Reason> {
        let Admitted {
            route,
            mut backend,
            mut permit,
            bucket,
            class,
            mut request,
            progress,
            mut ticket,
            upgrade,
        } = admitted;
        let terms = Terms {
            connect_within: self.limits.connect_deadline,
            retry: route.router.classes().retry(class),
        };
        loop {
            let upstream = &route.upstreams[backend];
            let sent = exchange(upstream, request, terms, (&peer.alarm, deadline), permit).await;
            let (failure, failed) = match sent {
                Ok(answered) => {
                    let rest = Rest {
                        progress,
                        ticket,
                        upgrade,
                        route,
                        backend,
                    };
                    return Ok((answered, rest));
                }
                Err(Failed::Deadline) => return Err(fail(ticket, None, progress.as_deref())),
                Err(Failed::Sending { failure, permit }) => (failure, permit),
            };
            let Unanswered { error, again } = failure;
            tracing::debug!(address = upstream.address(), %error, "a request failed");
            let ended = match &error {
                SendError::Own(_) => Ended::Unsent,
                SendError::Connect(_) => Ended::ConnectFailed,
                SendError::Broken(_) => Ended::Closed,
            };
            // That there is one to send again means that it may go out again.
            let next = again.and_then(|again| {
                let permit = failed.again(ended, true)?;
                let at = route.backend(permit.backend())?;
                let spot = route.router.spot(at, bucket, class)?;
                Some((again, permit, at, spot))
            });
            let Some((again, next_permit, at, spot)) = next else {
                return Err(fail(ticket, Some(error), progress.as_deref()));
            };
            ticket.goes_on_to(spot);
            (request, permit, backend) = (again, next_permit, at);
        }
    }

    /// Both ends leave HTTP. The request is over with this answer.
    fn switch(
        &self,
        peer: &Peer,
        mut response: Response<Incoming>,
        client: OnUpgrade,
        mut ticket: Ticket,
        visit: Option<Visit>,
    ) -> Response<ReplyBody> {
        let backend = hyper::upgrade::on(&mut response);
        ticket.answered(Duration::ZERO);
        ticket.settle(Outcome::Served);
        self.tallies.upgrades.add();
        let tunnel = Tunnel::new(client, backend, &self.tallies.tunnels, visit);
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
        | Reason::Overloaded
        | Reason::Stalled
        | Reason::Ramping
        | Reason::OwnResources
        | Reason::NotSupported
        | Reason::BodyTooLarge => ticket.refuse(reason),
    }
    reason
}
