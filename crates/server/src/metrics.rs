//! OpenMetrics: what the control plane counts of itself and of its fleet.

use std::fmt::Write;

use engine::{State, Watch};
use model::{Seq, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BundleLabels {
    environment: String,
    service: String,
    bundle: String,
}

/// Requests of the API by route and status. Routes are templates, so there are few.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Family<RequestLabels, Counter>);

impl Requests {
    pub(crate) fn count(&self, route: &str, status: u16) {
        self.0
            .get_or_create(&RequestLabels {
                route: route.to_owned(),
                status,
            })
            .inc();
    }
}

/// What [`page`] says of the fleet; taken from the state in one look.
#[derive(Debug)]
pub(crate) struct Fleet {
    position: Seq,
    enrolled: i64,
    silent: i64,
    active: i64,
    frozen: i64,
    totals: Vec<(BundleLabels, u64, u64)>,
}

impl Fleet {
    pub(crate) fn of(state: &State, watch: &Watch, now: Timestamp, position: Seq) -> Fleet {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let silent = |host| watch.silent_for(host, now) >= engine::watch::SILENT_AFTER;
        Fleet {
            position,
            enrolled: count(state.hosts.len()),
            silent: count(state.hosts.keys().filter(|host| silent(host)).count()),
            active: count(
                state
                    .releases
                    .values()
                    .filter(|release| release.is_active())
                    .count(),
            ),
            frozen: count(state.freezes.len()),
            totals: watch
                .totals()
                .map(|(environment, service, digest, counts)| {
                    let labels = BundleLabels {
                        environment: environment.to_string(),
                        service: service.to_string(),
                        bundle: digest.short(),
                    };
                    (labels, counts.requests, counts.failed)
                })
                .collect(),
        }
    }
}

/// The whole page.
pub(crate) fn page(fleet: &Fleet, requests: &Requests) -> String {
    let mut registry = Registry::with_prefix("plimsoll");
    let gauge = |registry: &mut Registry, name: &str, help: &str, value: i64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let position = i64::try_from(fleet.position.0).unwrap_or(i64::MAX);
    gauge(
        &mut registry,
        "journal_position",
        "Events in the journal",
        position,
    );
    gauge(
        &mut registry,
        "hosts_enrolled",
        "Hosts whose agent has joined",
        fleet.enrolled,
    );
    gauge(
        &mut registry,
        "hosts_silent",
        "Of these, not heard from lately",
        fleet.silent,
    );
    gauge(
        &mut registry,
        "releases_active",
        "Releases neither good nor back",
        fleet.active,
    );
    gauge(&mut registry, "freezes", "Freezes in force", fleet.frozen);
    let served: Family<BundleLabels, Counter> = Family::default();
    let failed: Family<BundleLabels, Counter> = Family::default();
    for (labels, requests, failures) in &fleet.totals {
        served.get_or_create(labels).inc_by(*requests);
        failed.get_or_create(labels).inc_by(*failures);
    }
    registry.register(
        "requests",
        "First attempts by bundle, as gateways count them",
        served,
    );
    registry.register("requests_failed", "Of these, failed", failed);
    registry.register("api_requests", "Requests of this API", requests.0.clone());
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        let _ = writeln!(text, "# EOF");
    }
    text
}
