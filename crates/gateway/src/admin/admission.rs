//! Admission as people and their Prometheus see it.
//!
//! Series are by service, by bundle of a service, or by host of a service: as many as the routes
//! name, whatever clients send.
//!
//! Invariant: nothing is decided by what is shown.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use edge::admission::{BackendView, Totals, View, Why};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::board::{Boards, Route, pool_key};

/// What a host is called that the routes no longer name, and that has something to end.
const REMOVED: &str = "~removed";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    service: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bundle {
    service: String,
    bundle: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Host {
    service: String,
    bundle: String,
    host: String,
}

type Gauges<L> = Family<L, Gauge>;
/// A share from 0 to 1.
type Shares<L> = Family<L, Gauge<f64, AtomicU64>>;

/// All series of all services.
#[derive(Default)]
struct Series {
    limit: Gauges<Host>,
    in_flight: Gauges<Host>,
    hung: Gauges<Host>,
    lost: Gauges<Host>,
    stalled: Gauges<Host>,
    ejected: Gauges<Host>,
    waiting: Gauges<Bundle>,
    open: Shares<Bundle>,
    refused: Family<Refusal, Counter>,
    sent: Family<Service, Counter>,
    retries: Family<Service, Counter>,
    abandoned: Family<Service, Counter>,
    late: Family<Service, Counter>,
}

/// Everything about admission as it is now.
pub(super) fn register(boards: &Boards, registry: &mut Registry) {
    let series = Series::default();
    for (service, board) in boards.boards() {
        let (view, _) = board.desk().view();
        let route = board.route();
        series.add(service.as_str(), &view, route.as_deref());
    }
    series.register(registry);
}

impl Series {
    fn add(&self, service: &str, view: &View, route: Option<&Route>) {
        self.add_totals(service, &view.totals);
        let targets: Vec<_> = route
            .into_iter()
            .flat_map(|it| it.router.backends())
            .collect();
        for pool in &view.pools {
            let bundle = targets
                .iter()
                .find(|(_, digest)| pool_key(*digest) == pool.key);
            let labels = Bundle {
                service: service.to_owned(),
                bundle: bundle.map_or_else(|| REMOVED.to_owned(), |(_, it)| it.short()),
            };
            add(&self.waiting, &labels, pool.waiting as u64);
            let open = f64::from(pool.open_percent) / 100.0;
            self.open.get_or_create(&labels).set(open);
        }
        for backend in &view.backends {
            let target = route.and_then(|route| targets.get(route.backend(backend.key)?));
            let labels = Host {
                service: service.to_owned(),
                bundle: target.map_or_else(|| REMOVED.to_owned(), |(_, it)| it.short()),
                host: target.map_or_else(|| REMOVED.to_owned(), |(it, _)| it.host.to_string()),
            };
            self.add_backend(&labels, backend);
        }
    }

    fn add_totals(&self, service: &str, totals: &Totals) {
        let labels = Service {
            service: service.to_owned(),
        };
        for (family, value) in [
            (&self.sent, totals.sent),
            (&self.retries, totals.retried),
            (&self.abandoned, totals.abandoned),
            (&self.late, totals.late),
        ] {
            family.get_or_create(&labels).inc_by(value);
        }
        for why in Why::ALL {
            let labels = Refusal {
                service: service.to_owned(),
                reason: word(why),
            };
            let refused = self.refused.get_or_create(&labels);
            refused.inc_by(totals.refused(why));
        }
    }

    fn add_backend(&self, labels: &Host, backend: &BackendView) {
        for (family, value) in [
            (&self.limit, u64::from(backend.limit)),
            (&self.in_flight, u64::from(backend.in_flight)),
            (&self.hung, backend.hung as u64),
            (&self.lost, backend.lost as u64),
            (&self.stalled, u64::from(backend.stalled.is_some())),
            (&self.ejected, u64::from(backend.ejected_until.is_some())),
        ] {
            add(family, labels, value);
        }
    }

    fn register(self, registry: &mut Registry) {
        for (name, help, family) in [
            ("limit", "Requests at once that a host is given", self.limit),
            (
                "in_flight",
                "Requests that a host has, hung ones too",
                self.in_flight,
            ),
            (
                "hung",
                "Of these, those whose client is gone or out of time",
                self.hung,
            ),
            (
                "lost_workers",
                "Workers of a host that don't come back",
                self.lost,
            ),
            (
                "stalled",
                "Whether a host is full and answers nobody",
                self.stalled,
            ),
            (
                "ejected",
                "Whether a host gets nothing because it fails",
                self.ejected,
            ),
        ] {
            registry.register(format!("admission_{name}"), help, family);
        }
        let waiting = "Requests that wait for a slot";
        registry.register("admission_waiting", waiting, self.waiting);
        let open = "Share of tenants that are let in; below 1 while a bundle's hosts begin anew";
        registry.register("admission_open_ratio", open, self.open);
        let refused = "Requests that got no slot, by reason";
        registry.register("admission_refused", refused, self.refused);
        for (name, help, family) in [
            ("sent", "Requests that were given a slot", self.sent),
            ("retries", "Second tries", self.retries),
            (
                "abandoned",
                "Requests out of time or left by their client",
                self.abandoned,
            ),
            (
                "late",
                "Of these, those that hosts ended afterwards",
                self.late,
            ),
        ] {
            registry.register(format!("admission_{name}"), help, family);
        }
    }
}

/// Several hosts that the routes no longer name are shown as one.
fn add<L: Clone + std::hash::Hash + Eq>(family: &Gauges<L>, labels: &L, value: u64) {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    family.get_or_create(labels).inc_by(value);
}

fn word(why: Why) -> String {
    let word = match why {
        Why::NoBackend => "no_backend",
        Why::Late => "late",
        Why::Stalled => "stalled",
        Why::Ramp => "ramp",
        Why::Overflow => "overflow",
        Why::Waited => "waited",
    };
    word.to_owned()
}

/// One service's admission; times are milliseconds ago or from now.
pub(super) fn shown((view, now): &(View, Duration), route: Option<&Route>) -> serde_json::Value {
    let ago = |at: Option<Duration>| at.map(|at| millis(now.saturating_sub(at)));
    let address = |key| {
        let route = route?;
        let at = route.backend(key)?;
        Some(route.upstreams.get(at)?.address().to_owned())
    };
    let refused = Why::ALL.map(|why| (format!("{why:?}").to_lowercase(), view.totals.refused(why)));
    let backends = view.backends.iter().map(|it| {
        json!({
            "address": address(it.key),
            "limit": it.limit,
            "source": format!("{:?}", it.source).to_lowercase(),
            "in_flight": it.in_flight,
            "hung": it.hung,
            "lost": it.lost,
            "stalled_for_ms": ago(it.stalled),
            "ejected_for_ms": it.ejected_until.map(|until| millis(until.saturating_sub(*now))),
            "mean_us": it.mean.map(|mean| u64::try_from(mean.as_micros()).unwrap_or(u64::MAX)),
        })
    });
    let pools = view.pools.iter().map(|it| {
        json!({
            "waiting": it.waiting,
            "oldest_ms": ago(it.oldest),
            "stalled": it.stalled,
            "open_percent": it.open_percent,
        })
    });
    json!({
        "offered": view.totals.offered,
        "sent": view.totals.sent,
        "retried": view.totals.retried,
        "abandoned": view.totals.abandoned,
        "late": view.totals.late,
        "refused": refused.into_iter().collect::<BTreeMap<_, _>>(),
        "pools": pools.collect::<Vec<_>>(),
        "backends": backends.collect::<Vec<_>>(),
    })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
