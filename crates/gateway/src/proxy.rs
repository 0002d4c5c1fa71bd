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
use edge::admission::{Outcome as Ended, Why};
use edge::{Bucket, Outcome};
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use model::ServiceName;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::answer::{LATER, Reason, problem};
use crate::board::{Board, Route, pool_key};
use crate::body::{Download, Phase, Progress, ReplyBody, Upload};
use crate::config::{GatewayConfig, Limits};
use crate::desk::{self, Permit, Want};
use crate::exchange::{Answered, Failed, exchange};
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
    /// The service's routes and who is let through.
    pub(crate) board: Arc<Board>,
    /// Unused over HTTP/2.
    pub(crate) line: Arc<Line>,
}

/// A request that has a backend.
struct Admitted {
    route: Arc<Route>,
    /// Its place in the route.
    backend: usize,
    permit: Permit,
    bucket: Bucket,
    request: Request<Upload>,
    progress: Option<Arc<Progress>>,
    ticket: Ticket,
    /// The client's end, if it asks for another protocol.
    upgrade: Option<OnUpgrade>,
}

/// What a request needs once it is answered.
struct Rest {
    progress: Option<Arc<Progress>>,
    ticket: Ticket,
    upgrade: Option<OnUpgrade>,
}

/// A request that has none, with its unread body.
struct Refused {
    reason: Reason,
    /// When to come back.
    later: Duration,
    /// Counted as the bundle's failure already.
    settled: bool,
    /// To be read and thrown away before the answer.
    discard: Option<Incoming>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Refused {
        Refused {
            reason,
            later: LATER,
            settled: false,
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
                    let _ = tokio::time::timeout(DISCARD_WITHIN, drain(body)).await;
                }
                (problem(refused.reason, refused.later), Some(refused.reason))
            }
        }
    }

    /// Decides whether and where the request goes, and waits for a slot there.
    async fn admit(
        &self,
        peer: &Peer,
        route: Arc<Route>,
        mut request: Request<Incoming>,
        (began, deadline): (Instant, Instant),
    ) -> Result<Admitted, Refused> {
        // Out of the head in any case: it is the client's, and what goes on is another connection's.
        let on_upgrade = hyper::upgrade::on(&mut request);
        let (mut head, body) = request.into_parts();
        headers::check(&head)?;
        if headers::announced(&head.headers) > self.limits.body_bytes_max {
            // A client that waits for "100 Continue" has sent nothing yet, and shall not begin.
            let waits = head.headers.contains_key(EXPECT);
            return Err(Refused {
                discard: (!waits).then_some(body),
                ..Reason::BodyTooLarge.into()
            });
        }
        let asked = tunnel::asked(&head, &self.upgrades).filter(|_| body.is_end_stream());
        headers::strip_request(&mut head.headers);
        // After stripping: the backend must see the same tenant as the count.
        let tenant = headers::tenant(&head.headers, route.tenant_header.as_ref());
        let (route, backend, bucket, permit) = self
            .place(peer, route, &tenant, &head, (began, deadline))
            .await?;
        let spot = route
            .router
            .spot(backend, bucket, head.method.as_str(), head.uri.path());
        let spot = spot.ok_or(Reason::NoHost)?;
        let address = route.upstreams[backend].address();
        headers::prepare(&mut head, peer.address, peer.scheme, address, &self.ids);
        let upgrade = asked.map(|protocol| {
            tunnel::switch(&mut head.headers, protocol);
            on_upgrade
        });
        let (upload, progress) = Upload::new(body, &self.limits);
        Ok(Admitted {
            request: Request::from_parts(head, upload),
            progress,
            backend,
            permit,
            bucket,
            ticket: self.ledger.ticket(spot, tenant, began),
            upgrade,
            route,
        })
    }

    /// Waits for a slot at one of the backends of the tenant's bundle.
    async fn place(
        &self,
        peer: &Peer,
        mut route: Arc<Route>,
        tenant: &str,
        head: &http::request::Parts,
        (began, deadline): (Instant, Instant),
    ) -> Result<(Arc<Route>, usize, Bucket, Permit), Refused> {
        let enter = |pool, bucket| {
            let tenant = desk::tenant(tenant);
            peer.board.desk().enter(Want {
                pool,
                tenant,
                bucket,
                deadline,
            })
        };
        let key = |route: &Route| {
            let choice = route.router.choose(tenant);
            let choice = choice.map_err(|edge::NoBackend| Reason::NoHost)?;
            Ok::<_, Reason>((pool_key(choice.label.digest), choice.bucket))
        };
        let (pool, bucket) = key(&route)?;
        let mut entered = enter(pool, bucket).await;
        // The table was changed at this very moment: the newest one has the pool that is there now.
        if let Err(refused) = &entered
            && refused.why == Why::NoBackend
            && let Some(newest) = peer.board.route()
        {
            route = newest;
            let (pool, bucket) = key(&route)?;
            entered = enter(pool, bucket).await;
        }
        let refused = match entered {
            Ok(permit) => {
                // While it waited the table may have changed; the backend may stand only in the newer one.
                let found = |route: Arc<Route>| {
                    let at = route.backend(permit.backend())?;
                    Some((route, at))
                };
                let found = found(route.clone()).or_else(|| found(peer.board.route()?));
                let (route, at) = found.ok_or(Reason::NoHost)?;
                return Ok((route, at, bucket, permit));
            }
            Err(refused) => refused,
        };
        let reason = match refused.why {
            Why::NoBackend => Reason::NoHost,
            Why::Stalled => Reason::Stalled,
            Why::Late | Why::Ramp | Why::Overflow | Why::Waited => Reason::Overloaded,
        };
        // A bundle that answers nobody fails those who are spared the wait as well.
        let choice = route.router.choose(tenant);
        let choice = choice.map_err(|edge::NoBackend| Reason::NoHost)?;
        let at = choice.backends.start + usize::from(choice.bucket.get()) % choice.backends.len();
        let spot = route
            .router
            .spot(at, choice.bucket, head.method.as_str(), head.uri.path());
        let blamed = spot.filter(|_| reason == Reason::Stalled);
        let settled = blamed.is_some();
        if let Some(spot) = blamed {
            let ticket = self.ledger.ticket(spot, tenant.to_owned(), began);
            ticket.settle(Outcome::Failed);
        }
        Err(Refused {
            later: refused.retry_after,
            settled,
            ..reason.into()
        })
    }

    /// Hands it to its backend and passes the answer on.
    async fn forward(
        &self,
        peer: &Peer,
        admitted: Admitted,
        deadline: Instant,
        busy: Busy,
    ) -> Result<Response<ReplyBody>, Reason> {
        let protocol = tunnel::protocol(admitted.request.headers()).cloned();
        let (answered, rest) = self.send(admitted, deadline).await?;
        let Answered {
            mut response,
            connection,
            permit,
        } = answered;
        let Rest {
            progress,
            mut ticket,
            upgrade,
        } = rest;
        if let Some(workers) = headers::take_workers(response.headers_mut()) {
            permit.declared(workers);
        }
        let status = response.status();
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (status, upgrade)
            && tunnel::protocol(response.headers()).is_some_and(|it| is_same(it, protocol.as_ref()))
        {
            permit.end(Ended::Ok);
            return Ok(self.switch(peer, response, client, ticket));
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
        admitted: Admitted,
        deadline: Instant,
    ) -> Result<(Answered, Rest), Reason> {
        let Admitted {
            route,
            mut backend,
            mut permit,
            bucket,
            mut request,
            progress,
            mut ticket,
            upgrade,
        } = admitted;
        loop {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let upstream = &route.upstreams[backend];
            let within = self.limits.connect_deadline;
            let sent = exchange(upstream, request, within, deadline, permit).await;
            let (error, unsent, failed) = match sent {
                Ok(answered) => {
                    let rest = Rest {
                        progress,
                        ticket,
                        upgrade,
                    };
                    return Ok((answered, rest));
                }
                Err(Failed::Deadline) => return Err(fail(ticket, None, progress.as_deref())),
                Err(Failed::Sending {
                    error,
                    unsent,
                    permit,
                }) => (error, unsent, permit),
            };
            tracing::debug!(address = upstream.address(), %error, "a request failed");
            let ended = match &error {
                SendError::Own(_) => Ended::Unsent,
                SendError::Connect(_) => Ended::ConnectFailed,
                SendError::Broken(_) => Ended::Closed,
            };
            // What was sent goes out again only on the same backend (see `upstream`).
            let next = unsent.and_then(|unsent| {
                let permit = failed.again(ended, false)?;
                let at = route.backend(permit.backend())?;
                let spot = route.router.spot(at, bucket, method.as_str(), &path)?;
                Some((unsent, permit, at, spot))
            });
            let Some((unsent, again, at, spot)) = next else {
                return Err(fail(ticket, Some(error), progress.as_deref()));
            };
            ticket.goes_on_to(spot);
            (request, permit, backend) = (*unsent, again, at);
        }
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
        | Reason::Overloaded
        | Reason::Stalled
        | Reason::OwnResources
        | Reason::NotSupported
        | Reason::BodyTooLarge => ticket.refuse(reason),
    }
    reason
}

async fn drain(mut body: Incoming) {
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
        if !matches!(frame.await, Some(Ok(_))) {
            return;
        }
    }
}
