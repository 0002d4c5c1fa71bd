//! OpenMetrics: what the control plane counts of itself and of its fleet.

use std::collections::BTreeMap;
use std::fmt::Write;

use engine::{Release, State, Status, Watch};
use model::refusal::Code;
use model::{Gate, GateLook, GateState, RollbackCause, Rule, Seq, Timestamp, Verdict};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::views;

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GateLabels {
    gate: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    code: &'static str,
}

/// Requests of the API by route and status (routes are templates, so there are few), and
/// proposals that came to nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests {
    answered: Family<RequestLabels, Counter>,
    refused: Family<RefusalLabels, Counter>,
}

impl Requests {
    pub(crate) fn refused(&self, code: Code) {
        let code = code.as_str();
        self.refused.get_or_create(&RefusalLabels { code }).inc();
    }

    pub(crate) fn count(&self, route: &str, status: u16) {
        self.answered
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
    /// Releases that each gate sent back.
    failed: Vec<(Gate, i64)>,
    attested: i64,
    waiting: i64,
    glasses: i64,
    totals: Vec<(BundleLabels, u64, u64)>,
}

impl Fleet {
    pub(crate) fn of(state: &State, watch: &Watch, now: Timestamp, position: Seq) -> Fleet {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let gates = Gates::of(state, watch, now);
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
            frozen: count(engine::freezes(state, watch, now).len()),
            failed: gates.failed.into_iter().collect(),
            attested: gates.attested,
            waiting: gates.waiting,
            glasses: count(views::glasses(state, now).count()),
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

/// What releases wait for and failed by, counted over those that are remembered.
#[derive(Debug, Default)]
struct Gates {
    failed: BTreeMap<Gate, i64>,
    attested: i64,
    waiting: i64,
}

impl Gates {
    fn of(state: &State, watch: &Watch, now: Timestamp) -> Gates {
        let mut sums = Gates {
            // Zero is said too: what is not there can't be alerted on.
            failed: Gate::ALL.iter().map(|gate| (*gate, 0)).collect(),
            ..Gates::default()
        };
        for release in state.releases.values() {
            sums.attested += i64::from(release.attestation.is_some());
            if let Some(gate) = stopped_at(state, release) {
                *sums.failed.entry(gate).or_default() += 1;
            }
            if release.is_active() {
                let looks = engine::gates(state, watch, release, now);
                let waits = |look: &GateLook| {
                    look.gate == Gate::Approval && look.state == GateState::Waiting
                };
                sums.waiting += i64::from(looks.iter().any(waits));
            }
        }
        sums
    }
}

/// The gate that sent a release back, if one did: what fails in the last environment passed them all.
fn stopped_at(state: &State, release: &Release) -> Option<Gate> {
    let (Status::RollingBack(rollback) | Status::RolledBack(rollback)) = &release.status else {
        return None;
    };
    let RollbackCause::Verdict {
        verdict: Verdict::Fail { rule, .. },
    } = &rollback.cause
    else {
        return None;
    };
    let last = state.topology.environments.last().map(|last| &last.name);
    let serves = release
        .stages
        .iter()
        .any(|stage| Some(&stage.environment) == last);
    match rule {
        Rule::Rehearsal => Some(Gate::Rehearsal),
        Rule::Matrix => Some(Gate::Matrix),
        Rule::Hostile => Some(Gate::Hostile),
        Rule::References => Some(Gate::References),
        Rule::Attestation => Some(Gate::Attestation),
        Rule::FailureBudget
        | Rule::Errors
        | Rule::Latency
        | Rule::Crashes
        | Rule::Heartbeats
        | Rule::Saturation
        | Rule::Custom
        | Rule::Fleet
        | Rule::Silence
        | Rule::NotConfirmed
        | Rule::HealthFailing
        | Rule::CrashLoop => (!serves).then_some(Gate::Test),
    }
}

/// What has one value: its name, what it says, and what it is now.
fn gauges(fleet: &Fleet, distrusted: usize) -> [(&'static str, &'static str, i64); 9] {
    [
        (
            "journal_position",
            "Events in the journal",
            i64::try_from(fleet.position.0).unwrap_or(i64::MAX),
        ),
        (
            "hosts_enrolled",
            "Hosts whose agent has joined",
            fleet.enrolled,
        ),
        (
            "hosts_silent",
            "Of these, not heard from lately",
            fleet.silent,
        ),
        (
            "releases_active",
            "Releases neither good nor back",
            fleet.active,
        ),
        ("freezes", "Freezes in force", fleet.frozen),
        (
            "releases_attested",
            "Releases whose test result is signed, of those remembered",
            fleet.attested,
        ),
        (
            "approvals_waiting",
            "Releases that wait for somebody's approval",
            fleet.waiting,
        ),
        (
            "break_glasses",
            "Ways past gates that are open, or were used and not looked at since",
            fleet.glasses,
        ),
        (
            "releases_distrusted",
            "Releases that the journal says may serve, and whose attestation this control plane did not sign",
            i64::try_from(distrusted).unwrap_or(i64::MAX),
        ),
    ]
}

/// The whole page.
pub(crate) fn page(fleet: &Fleet, requests: &Requests, distrusted: usize) -> String {
    let mut registry = Registry::with_prefix("plimsoll");
    for (name, help, value) in gauges(fleet, distrusted) {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
    let gates: Family<GateLabels, Gauge> = Family::default();
    for (gate, count) in &fleet.failed {
        let gate = gate.as_str();
        gates.get_or_create(&GateLabels { gate }).set(*count);
    }
    registry.register(
        "gates_failed",
        "Releases that a gate sent back, of those remembered",
        gates,
    );
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
    registry.register(
        "api_requests",
        "Requests of this API",
        requests.answered.clone(),
    );
    registry.register(
        "proposals_refused",
        "Changes that were refused when they were proposed, since this process started",
        requests.refused.clone(),
    );
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        let _ = writeln!(text, "# EOF");
    }
    text
}
