//! Pages for operators: health, metrics, routes. Loopback only.

mod admission;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::GatewayError;
use crate::board::Boards;
use crate::listen;
use crate::post::Poster;
use crate::proxy::Front;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
/// A person and a scraper or two; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// One connection is served for this long at most.
const CONNECTION_WITHIN: Duration = Duration::from_secs(60);
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// After a failed accept the loop rests instead of spinning.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// The open admin port.
#[derive(Debug)]
pub(crate) struct Admin {
    tcp: TcpListener,
    address: SocketAddr,
}

/// What the admin port is called where it can't be opened.
pub(crate) const WHAT: &str = "the admin pages";

/// The pages ask for no token, so only this machine may see them.
pub(crate) fn is_allowed(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Opens the admin port.
pub(crate) fn bind(address: SocketAddr) -> Result<Admin, GatewayError> {
    let bound = listen::bind(WHAT.to_owned(), address)?;
    let (address, tcp) = (bound.address(), bound.open()?);
    Ok(Admin { tcp, address })
}

/// What the pages show.
struct Pages {
    boards: Arc<Boards>,
    front: Arc<Front>,
    poster: Arc<Poster>,
}

impl Admin {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for ever; ended by its owner.
    pub(crate) async fn serve(self, boards: Arc<Boards>, front: Arc<Front>, poster: Arc<Poster>) {
        let pages = Arc::new(Pages {
            boards,
            front,
            poster,
        });
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            while connections.try_join_next().is_some() {}
            let Ok((stream, _)) = self.tcp.accept().await else {
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            };
            let pages = pages.clone();
            connections.spawn(async move {
                let _place = place;
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = pages.answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADERS_WITHIN)
                    .serve_connection(TokioIo::new(stream), service);
                // How it ends is the reader's affair.
                let _ = tokio::time::timeout(CONNECTION_WITHIN, connection).await;
            });
        }
    }
}

impl Pages {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n");
        }
        match request.uri().path() {
            "/healthz" => self.health(),
            "/metrics" => page(StatusCode::OK, OPENMETRICS, self.metrics()),
            "/routes" => self.routes(),
            "/admission" => self.admission(),
            _ => page(
                StatusCode::NOT_FOUND,
                "text/plain",
                "/healthz, /metrics, /routes, /admission\n",
            ),
        }
    }

    /// Healthy is who can serve: with routes, even if the control plane is gone.
    fn health(&self) -> Response<Full<Bytes>> {
        if self.boards.in_force().borrow().is_some() {
            page(StatusCode::OK, "text/plain", "ok\n")
        } else {
            let text = "no routes yet\n";
            page(StatusCode::SERVICE_UNAVAILABLE, "text/plain", text)
        }
    }

    fn routes(&self) -> Response<Full<Bytes>> {
        let in_force = self.boards.in_force().borrow().clone();
        let shown = match in_force {
            Some(in_force) => json!({ "saved": in_force.saved, "table": *in_force.table }),
            None => json!({ "saved": false, "table": null }),
        };
        page(StatusCode::OK, JSON, shown.to_string())
    }

    /// Who is let through: limits and where they come from, what hangs, who waits.
    fn admission(&self) -> Response<Full<Bytes>> {
        let services = self.boards.boards().map(|(service, board)| {
            let view = board.desk().view();
            (
                service.to_string(),
                admission::shown(&view, board.route().as_deref()),
            )
        });
        let services: serde_json::Map<_, _> = services.collect();
        page(
            StatusCode::OK,
            JSON,
            json!({ "services": services }).to_string(),
        )
    }

    fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix("plimsoll_gateway");
        self.register_counts(&mut registry);
        self.register_seconds(&mut registry);
        admission::register(&self.boards, &mut registry);
        self.front.tallies.register(&mut registry);
        let ledger = &self.front.ledger;
        let mut counter = |name: &str, help: &str, value: u64| {
            let counter: Counter = Counter::default();
            counter.inc_by(value);
            registry.register(name, help, counter);
        };
        counter("offered", "Requests that came", ledger.offered());
        counter(
            "connections_refused",
            "Connections closed because there were too many",
            ledger.connections_refused(),
        );
        let posted = self.poster.acknowledged.load(Ordering::Relaxed);
        counter("posts", "Posts of counts that arrived", posted);
        let failed = self.poster.failed.load(Ordering::Relaxed);
        counter("posts_failed", "Posts of counts that did not", failed);
        let places = self.front.places.available_permits();
        let connections = self.front.limits.connections_max.saturating_sub(places);
        gauge(
            &mut registry,
            "connections",
            "Clients' connections",
            connections as u64,
        );
        let version = self
            .boards
            .in_force()
            .borrow()
            .as_ref()
            .map(|it| it.table.version);
        let version = version.unwrap_or(0);
        gauge(
            &mut registry,
            "routes_version",
            "Version of the routes in force",
            version,
        );
        let mut text = String::new();
        if encode(&mut text, &registry).is_err() {
            text = "# EOF\n".to_owned();
        }
        text
    }

    fn register_counts(&self, registry: &mut Registry) {
        let requests: Family<BundleLabels, Counter> = Family::default();
        let refused: Family<RefusalLabels, Counter> = Family::default();
        let ledger = &self.front.ledger;
        let book = ledger.book();
        let counts = &book.counts;
        for (label, tally) in counts.tallies() {
            let outcomes = [
                ("served", tally.served),
                ("failed", tally.failed),
                ("gone", tally.gone),
            ];
            for (outcome, count) in outcomes {
                let labels = BundleLabels {
                    service: label.service.to_string(),
                    bundle: label.digest.short(),
                    outcome,
                };
                requests.get_or_create(&labels).inc_by(count);
            }
        }
        for (service, reason, count) in counts.refusals() {
            let labels = RefusalLabels {
                service: service.to_string(),
                reason,
            };
            refused.get_or_create(&labels).inc_by(count);
        }
        let overflowed: Counter = Counter::default();
        overflowed.inc_by(counts.overflowed());
        let rows = counts.rows_len() as u64;
        let waiting = counts.changed_len() as u64;
        drop(book);
        registry.register(
            "requests",
            "Requests handed to hosts, by how they ended",
            requests,
        );
        registry.register(
            "refused",
            "Requests that the gateway refused itself",
            refused,
        );
        registry.register(
            "tenants_overflowed",
            "Requests counted under ~other, for want of room for their tenants",
            overflowed,
        );
        gauge(
            registry,
            "rows",
            "Pairs of bundle and tenant that are counted",
            rows,
        );
        gauge(
            registry,
            "rows_waiting",
            "Of these, not yet acknowledged",
            waiting,
        );
    }

    fn register_seconds(&self, registry: &mut Registry) {
        let ledger = &self.front.ledger;
        let (waiting, dropped, folded) = {
            let mut book = ledger.book();
            let waiting = book.ticks.waiting(ledger.now()) as u64;
            (waiting, book.ticks.dropped(), book.ticks.folded())
        };
        for (name, help, value) in [
            (
                "seconds_dropped",
                "Seconds of counts that nobody took in time",
                dropped,
            ),
            (
                "hosts_overflowed",
                "Requests counted in their second without their host, for want of room",
                folded,
            ),
        ] {
            let counter: Counter = Counter::default();
            counter.inc_by(value);
            registry.register(name, help, counter);
        }
        gauge(
            registry,
            "seconds_waiting",
            "Seconds of counts not yet acknowledged",
            waiting,
        );
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BundleLabels {
    service: String,
    bundle: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    service: String,
    reason: &'static str,
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
