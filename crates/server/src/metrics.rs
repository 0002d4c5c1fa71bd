//! OpenMetrics: what the control plane counts of itself and of its fleet.

use std::collections::BTreeMap;
use std::fmt::Write;

use engine::{Release, State, Status, Watch};
use model::refusal::Code;
use model::{Explanation, Gate, GateLook, GateState, RollbackCause, Rule, Seq, Timestamp, Verdict};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::sources::Sources;
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
struct JudgedLabels {
    environment: String,
    service: String,
    release: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    environment: String,
    service: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    service: String,
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
    judged: Vec<(JudgedLabels, Explanation)>,
    /// Seconds that are closed, and those of a source that came too late.
    seconds: Vec<(ServiceLabels, u64, u64)>,
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
            judged: judged(state, watch, now),
            seconds: watch
                .tick_totals()
                .map(|it| {
                    let labels = ServiceLabels {
                        environment: it.environment.to_string(),
                        service: it.service.to_string(),
                    };
                    (labels, it.closed, it.late)
                })
                .collect(),
        }
    }
}

/// What the judge rests on for each release that is on its way.
fn judged(state: &State, watch: &Watch, now: Timestamp) -> Vec<(JudgedLabels, Explanation)> {
    let rolling = |release: &&Release| matches!(release.status, Status::Rolling { .. });
    let releases = state.releases.values().filter(rolling);
    let judged = releases.filter_map(|release| {
        let labels = JudgedLabels {
            environment: release.stage()?.environment.to_string(),
            service: release.service.to_string(),
            release: release.id.0,
        };
        Some((labels, watch.judged(state, release, now).explanation?))
    });
    judged.collect()
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
pub(crate) fn page(
    fleet: &Fleet,
    requests: &Requests,
    sources: &Sources,
    distrusted: usize,
) -> String {
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
    evidence(&mut registry, fleet);
    asked(&mut registry, sources);
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

/// How far the judge is with each release: at `needed` it goes back, or its wave may pass.
fn evidence(registry: &mut Registry, fleet: &Fleet) {
    type Look = fn(&Explanation) -> i64;
    let looks: [(&str, &str, Look); 4] = [
        (
            "judge_harm_millinats",
            "Evidence that the new bundle does harm, in thousandths of a nat",
            |it| it.harm_millinats,
        ),
        (
            "judge_harm_needed_millinats",
            "At so much of it the release goes back",
            |it| it.harm_needed_millinats,
        ),
        (
            "judge_pass_millinats",
            "Evidence that the new bundle is not worse than its plan allows, in thousandths of a nat",
            |it| it.pass_millinats,
        ),
        (
            "judge_pass_needed_millinats",
            "At so much of it the wave may pass",
            |it| it.pass_needed_millinats,
        ),
    ];
    let closed: Family<ServiceLabels, Counter> = Family::default();
    let late: Family<ServiceLabels, Counter> = Family::default();
    for (labels, seconds, dropped) in &fleet.seconds {
        closed.get_or_create(labels).inc_by(*seconds);
        late.get_or_create(labels).inc_by(*dropped);
    }
    registry.register("ticks_closed", "Seconds that were judged", closed);
    registry.register(
        "ticks_late",
        "Seconds of a source that came too late to be judged",
        late,
    );
    for (name, help, look) in looks {
        let family: Family<JudgedLabels, Gauge> = Family::default();
        for (labels, explanation) in &fleet.judged {
            family.get_or_create(labels).set(look(explanation));
        }
        registry.register(name, help, family);
    }
}

/// How those do that are asked for counts.
fn asked(registry: &mut Registry, sources: &Sources) {
    let answers: Family<SourceLabels, Gauge> = Family::default();
    let skipped: Family<SourceLabels, Gauge> = Family::default();
    let polls: Family<SourceLabels, Counter> = Family::default();
    let failed: Family<SourceLabels, Counter> = Family::default();
    for (service, health) in sources.all() {
        let labels = SourceLabels {
            service: service.to_string(),
        };
        let is_good = matches!(health.state, Some(Ok(())));
        answers.get_or_create(&labels).set(i64::from(is_good));
        let count = i64::try_from(health.skipped).unwrap_or(i64::MAX);
        skipped.get_or_create(&labels).set(count);
        polls.get_or_create(&labels).inc_by(health.polls);
        failed.get_or_create(&labels).inc_by(health.failed);
    }
    registry.register(
        "source_up",
        "Whether the service's Prometheus gave counts when last asked",
        answers,
    );
    registry.register(
        "source_series_skipped",
        "Series of its last answer that name no known bundle or host",
        skipped,
    );
    registry.register("source_polls", "How often it was asked", polls);
    registry.register("source_polls_failed", "How often in vain", failed);
}
