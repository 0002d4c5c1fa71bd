//! Whether and where a request goes.
//!
//! Invariant: what is admitted has a slot at a backend of its tenant's bundle; what is
//! refused has touched none.

use std::sync::Arc;
use std::time::Duration;

use edge::admission::{self, Why};
use edge::{Bucket, Class, Outcome};
use http::Request;
use http::header::EXPECT;
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::{Front, Peer};
use crate::answer::{LATER, Reason};
use crate::board::Route;
use crate::body::{Progress, Upload};
use crate::customer::Customer;
use crate::desk::{Permit, Want};
use crate::headers;
use crate::ledger::Ticket;
use crate::tunnel;
/// A request that has a backend.
pub(super) struct Admitted {
    pub(super) route: Arc<Route>,
    /// Its place in the route.
    pub(super) backend: usize,
    pub(super) permit: Permit,
    pub(super) bucket: Bucket,
    pub(super) class: Class,
    /// On the heap: it changes hands often.
    pub(super) request: Box<Request<Upload>>,
    pub(super) progress: Option<Arc<Progress>>,
    pub(super) ticket: Ticket,
    /// The client's end, if it asks for another protocol.
    pub(super) upgrade: Option<OnUpgrade>,
}

/// Where a request goes.
struct Placed {
    route: Arc<Route>,
    backend: usize,
    class: Class,
    permit: Permit,
}

/// A request that has none, with its unread body.
pub(super) struct Refused {
    pub(super) reason: Reason,
    /// When to come back.
    pub(super) later: Duration,
    /// Counted as the bundle's failure already.
    pub(super) settled: bool,
    /// To be read and thrown away before the answer.
    pub(super) discard: Option<Incoming>,
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

/// A ramp's step takes a few seconds; all who are told to come back need not come at once.
const RAMP_LATER: Duration = Duration::from_secs(5);

impl Front {
    /// Decides whether and where the request goes, and waits for a slot there.
    pub(super) async fn admit(
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
        let customer = peer.last.customer(&peer.service, &tenant);
        let Placed {
            route,
            backend,
            class,
            permit,
        } = self
            .place(peer, route, &customer, &head, (began, deadline))
            .await?;
        let spot = route.router.spot(backend, customer.bucket, class);
        let spot = spot.ok_or(Reason::NoHost)?;
        let address = route.upstreams[backend].address();
        headers::prepare(&mut head, &peer.client, peer.scheme, address, &self.ids);
        let http2 = route.http2();
        if let Some(is_secured) = http2 {
            headers::for_http2(&mut head, is_secured);
        }
        // HTTP/2 has no such switch.
        let upgrade = asked.filter(|_| http2.is_none()).map(|protocol| {
            tunnel::switch(&mut head.headers, protocol);
            on_upgrade
        });
        let (upload, progress) = Upload::new(body, &self.limits);
        Ok(Admitted {
            request: Box::new(Request::from_parts(head, upload)),
            progress,
            backend,
            permit,
            bucket: customer.bucket,
            class,
            ticket: self.ledger.ticket(spot, customer, began),
            upgrade,
            route,
        })
    }

    /// Waits for a slot at one of the backends of the tenant's bundle.
    async fn place(
        &self,
        peer: &Peer,
        mut route: Arc<Route>,
        customer: &Arc<Customer>,
        head: &http::request::Parts,
        (began, deadline): (Instant, Instant),
    ) -> Result<Placed, Refused> {
        let class_in = |route: &Route| {
            let classes = route.router.classes();
            classes.of(head.method.as_str(), head.uri.path())
        };
        let mut class = class_in(&route);
        let said = headers::priority(&head.headers, route.priority_header.as_ref());
        let priority = said.unwrap_or_else(|| route.router.classes().priority(class));
        let enter = |pool| {
            peer.board.desk().enter(Want {
                pool,
                tenant: customer.turn,
                bucket: customer.bucket,
                priority,
                deadline,
            })
        };
        if !route.router.lets_in(customer.bucket) {
            return Err(Refused {
                later: RAMP_LATER,
                ..Reason::Ramping.into()
            });
        }
        let key = |route: &Route| {
            let choice = route.router.choose(customer.bucket);
            let choice = choice.map_err(|edge::NoBackend| Reason::NoHost)?;
            route.pool(choice.backends.start).ok_or(Reason::NoHost)
        };
        let mut entered = enter(key(&route)?).await;
        // The table was changed at this very moment: the newest one has the pool that is there now.
        if let Err(refused) = &entered
            && refused.why == Why::NoBackend
            && let Some(newest) = peer.board.route()
        {
            route = newest;
            class = class_in(&route);
            entered = Box::pin(enter(key(&route)?)).await;
        }
        match entered {
            Ok(permit) => {
                // While it waited the table may have changed; the backend may stand only in the newer one.
                let at = match route.backend(permit.backend()) {
                    Some(at) => at,
                    None => {
                        route = peer.board.route().ok_or(Reason::NoHost)?;
                        class = class_in(&route);
                        route.backend(permit.backend()).ok_or(Reason::NoHost)?
                    }
                };
                Ok(Placed {
                    route,
                    backend: at,
                    class,
                    permit,
                })
            }
            Err(refused) => Err(self.turned_away(&route, customer, class, refused, began)),
        }
    }

    /// What a request is told that got no slot. A bundle that answers nobody fails those who
    /// are spared the wait as well.
    fn turned_away(
        &self,
        route: &Route,
        customer: &Arc<Customer>,
        class: Class,
        refused: admission::Refused,
        began: Instant,
    ) -> Refused {
        let reason = match refused.why {
            Why::NoBackend => Reason::NoHost,
            Why::Stalled => Reason::Stalled,
            Why::Late | Why::Ramp | Why::Overflow | Why::Waited => Reason::Overloaded,
        };
        let choice = match reason {
            Reason::Stalled => route.router.choose(customer.bucket).ok(),
            _ => None,
        };
        let blamed = choice.and_then(|choice| {
            let place = usize::from(customer.bucket.get()) % choice.backends.len();
            let at = choice.backends.start + place;
            route.router.spot(at, customer.bucket, class)
        });
        let settled = blamed.is_some();
        if let Some(spot) = blamed {
            let ticket = self.ledger.ticket(spot, customer.clone(), began);
            ticket.settle(Outcome::Failed);
        }
        Refused {
            later: refused.retry_after,
            settled,
            ..reason.into()
        }
    }
}
