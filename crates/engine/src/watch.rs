//! What is known but not journaled: heartbeats and request counts, as this
//! process has seen them.
//!
//! Invariant: an empty watch (a control plane that has just started) makes
//! decisions wait; it never makes them harmful. Silence is measured from the
//! later of "last heard" and "this process began to listen".

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::verdict::Evidence;
use model::{
    BundleCounts, Digest, EnvironmentName, ErrorBudget, Exposure, GatewayName, Generation,
    HostName, Millis, ReleaseId, ServiceName, TenantName, Timestamp,
};

use crate::State;
use budget::Recent;

mod budget;
mod ticks;

pub use ticks::{Judged, TicksTaken};

/// A host unheard of for this long gets no orders, and a wave with it is not judged.
pub const SILENT_AFTER: Millis = Millis::seconds(15);
/// A host that runs a release and is unheard of for this long counts as failed.
pub const LOST_AFTER: Millis = Millis::seconds(60);
/// So many unplanned exits since the host confirmed are a crash loop.
pub const CRASH_LOOP_EXITS: u64 = 3;
/// Totals that a gateway first tells within this time of being met are the past's, if it is older than this process.
const CATCH_UP: Millis = Millis::seconds(5);
/// Rows of counts that are kept; beyond it new tenants of a gateway are counted as one.
pub const ROWS_MAX: usize = 1_000_000;

/// Earlier runs of a gateway that are remembered: posts are late by seconds, and it does not restart more often in these.
const ENDED_MAX: usize = 8;

/// Everything seen by this process.
#[derive(Debug, Clone)]
pub struct Watch {
    since: Timestamp,
    hosts: BTreeMap<HostName, Seen>,
    rows: BTreeMap<RowKey, BundleCounts>,
    gateways: BTreeMap<GatewayName, Met>,
    /// Earlier runs of each gateway, oldest first.
    ended: BTreeMap<GatewayName, VecDeque<u64>>,
    /// Totals of rows by environment, service and bundle, so that judging does not walk all rows.
    totals: BTreeMap<(EnvironmentName, ServiceName), BTreeMap<Digest, Total>>,
    marks: BTreeMap<ReleaseId, Marks>,
    /// Minute by minute, for error budgets.
    recent: BTreeMap<(EnvironmentName, ServiceName), Recent>,
}

type RowKey = (
    GatewayName,
    EnvironmentName,
    ServiceName,
    Digest,
    TenantName,
);

/// One run of a gateway.
#[derive(Debug, Clone, Copy)]
struct Met {
    epoch_ms: u64,
    /// When this process first heard of that run.
    at: Timestamp,
    /// It had run before this process did: its first totals tell of the past.
    older: bool,
}

/// A host stages and checks before its own deadline begins to run; so much longer it is waited for.
pub(crate) const STAGING_ALLOWANCE: Millis = Millis::seconds(30);

#[derive(Debug, Clone, Default)]
struct Total {
    counts: BundleCounts,
    /// The part of `counts` that is known to be older than this process: exposure, but no evidence.
    before: BundleCounts,
    tenants: BTreeSet<TenantName>,
    tenants_hit: BTreeSet<TenantName>,
}

#[derive(Debug, Clone)]
struct Seen {
    at: Timestamp,
    beats: BTreeMap<ServiceName, Beat>,
}

/// The last thing a host said about a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// What runs.
    pub running: Digest,
    /// The newest order it has taken.
    pub generation: Generation,
    /// Whether its health check is content.
    pub healthy: Option<bool>,
    /// What the check says when not.
    pub reason: String,
    /// Unplanned exits so far.
    pub exits: Option<u64>,
    /// Exits at the first beat of this generation.
    exits_at_first: Option<u64>,
}

impl Beat {
    /// A beat as it came.
    pub fn new(running: Digest, generation: Generation, healthy: Option<bool>) -> Beat {
        Beat {
            running,
            generation,
            healthy,
            reason: String::new(),
            exits: None,
            exits_at_first: None,
        }
    }

    /// With what the check said, and the count of exits.
    #[must_use]
    pub fn with(self, reason: String, exits: Option<u64>) -> Beat {
        Beat {
            reason,
            exits,
            ..self
        }
    }

    /// Unplanned exits since the host took its newest order.
    pub fn exits_since_order(&self) -> u64 {
        self.exits
            .unwrap_or(0)
            .saturating_sub(self.exits_at_first.unwrap_or(0))
    }
}

/// Where counts stood when a stage and its newest wave began to be watched.
#[derive(Debug, Clone)]
struct Marks {
    stage: usize,
    wave: usize,
    at_stage: Evidence,
    at_wave: Evidence,
}

/// One row of a gateway's totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which service.
    pub service: ServiceName,
    /// Which bundle.
    pub digest: Digest,
    /// Which customer.
    pub tenant: TenantName,
    /// Totals since the gateway started.
    pub counts: BundleCounts,
}

impl Watch {
    /// Begins to listen.
    pub fn new(now: Timestamp) -> Watch {
        Watch {
            since: now,
            hosts: BTreeMap::new(),
            rows: BTreeMap::new(),
            gateways: BTreeMap::new(),
            ended: BTreeMap::new(),
            totals: BTreeMap::new(),
            marks: BTreeMap::new(),
            recent: BTreeMap::new(),
        }
    }

    /// When this process began to listen.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// A host was heard of, in whatever way.
    pub fn heard(&mut self, host: &HostName, now: Timestamp) {
        let seen = self.hosts.entry(host.clone()).or_insert(Seen {
            at: now,
            beats: BTreeMap::new(),
        });
        seen.at = seen.at.max(now);
    }

    /// A host's heartbeat.
    pub fn beat(&mut self, host: &HostName, beats: BTreeMap<ServiceName, Beat>, now: Timestamp) {
        self.heard(host, now);
        let Some(seen) = self.hosts.get_mut(host) else {
            return;
        };
        for (service, mut beat) in beats {
            let before = seen.beats.get(&service);
            beat.exits_at_first = match before.filter(|before| before.generation == beat.generation)
            {
                Some(before) => before.exits_at_first.or(beat.exits),
                None => beat.exits,
            };
            seen.beats.insert(service, beat);
        }
    }

    /// When a host was last heard of.
    pub fn seen_at(&self, host: &HostName) -> Option<Timestamp> {
        self.hosts.get(host).map(|seen| seen.at)
    }

    /// How long a host has been silent, as far as this process can tell.
    pub fn silent_for(&self, host: &HostName, now: Timestamp) -> Millis {
        let heard = self
            .seen_at(host)
            .map_or(self.since, |at| at.max(self.since));
        Millis::between(heard, now)
    }

    /// The last thing a host said about a service.
    pub fn last_beat(&self, host: &HostName, service: &ServiceName) -> Option<&Beat> {
        self.hosts.get(host)?.beats.get(service)
    }

    /// Takes in a gateway's totals. `true` if the gateway should send all its
    /// rows, because this process has not met this run of it before.
    pub fn count(
        &mut self,
        gateway: &GatewayName,
        environment: &EnvironmentName,
        epoch_ms: u64,
        rows: Vec<Row>,
        now: Timestamp,
    ) -> bool {
        // A post of an earlier run that was long on its way says nothing new. Runs are told
        // apart and not ordered, because a gateway's clock can be set back.
        let ended = self.ended.entry(gateway.clone()).or_default();
        if ended.contains(&epoch_ms) {
            return false;
        }
        let known = self.gateways.get(gateway).copied();
        let new = known.is_none_or(|known| known.epoch_ms != epoch_ms);
        let met = match known {
            Some(known) if !new => known,
            Some(known) => {
                ended.push_back(known.epoch_ms);
                if ended.len() > ENDED_MAX {
                    ended.pop_front();
                }
                // The gateway began anew: what it counted before stays in the totals, its rows start at zero.
                self.rows.retain(|key, _| key.0 != *gateway);
                Met {
                    epoch_ms,
                    at: now,
                    older: false,
                }
            }
            None => Met {
                epoch_ms,
                at: now,
                older: began_before(epoch_ms, self.since),
            },
        };
        self.gateways.insert(gateway.clone(), met);
        let catching_up = met.older && Millis::between(met.at, now) < CATCH_UP;
        for row in rows {
            self.count_row(gateway, environment, row, catching_up, now);
        }
        new
    }

    fn count_row(
        &mut self,
        gateway: &GatewayName,
        environment: &EnvironmentName,
        row: Row,
        catching_up: bool,
        now: Timestamp,
    ) {
        let Row {
            service,
            digest,
            tenant,
            counts,
        } = row;
        let key = (
            gateway.clone(),
            environment.clone(),
            service.clone(),
            digest,
            tenant.clone(),
        );
        let before = self.rows.get(&key).copied();
        if before.is_none() && self.rows.len() >= ROWS_MAX {
            return;
        }
        // Totals only grow; a post that arrives late must not count its difference twice.
        let earlier = before.unwrap_or_default();
        let counts = BundleCounts {
            requests: counts.requests.max(earlier.requests),
            failed: counts.failed.max(earlier.failed),
        };
        self.rows.insert(key, counts);
        let news = counts.since(earlier);
        let key = (environment.clone(), service);
        if !catching_up {
            self.recent.entry(key.clone()).or_default().add(news, now);
        }
        let totals = self.totals.entry(key).or_default();
        let total = totals.entry(digest).or_default();
        total.counts = total.counts.plus(news);
        if catching_up && before.is_none() {
            // It happened before this process could have begun to watch a wave.
            total.before = total.before.plus(news);
        }
        if counts.failed > 0 {
            total.tenants_hit.insert(tenant.clone());
        }
        total.tenants.insert(tenant);
    }

    /// Totals of `digest` and of all other bundles.
    fn evidence(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        digest: Digest,
    ) -> Evidence {
        let mut evidence = Evidence::default();
        let totals = self.totals.get(&(environment.clone(), service.clone()));
        for (label, total) in totals.into_iter().flatten() {
            let side = if *label == digest {
                &mut evidence.canary
            } else {
                &mut evidence.control
            };
            *side = side.plus(total.counts.since(total.before));
        }
        evidence
    }

    /// Remembers where counts stand when a release enters a new stage or wave.
    /// Call after each turn; what is forgotten is only what ended.
    pub fn mark(&mut self, state: &State) {
        self.marks.retain(|id, _| {
            state
                .releases
                .get(id)
                .is_some_and(release::Release::is_active)
        });
        for release in state
            .releases
            .values()
            .filter(|release| release.is_active())
        {
            let Some(current) = release.stage() else {
                continue;
            };
            let (stage, wave) = (release.stages.len(), current.begun);
            let known = self
                .marks
                .get(&release.id)
                .map(|marks| (marks.stage, marks.wave));
            if known == Some((stage, wave)) {
                continue;
            }
            let here = self.evidence(&current.environment, &release.service, release.digest);
            let at_stage = match self.marks.get(&release.id) {
                Some(marks) if marks.stage == stage => marks.at_stage,
                _ => here,
            };
            self.marks.insert(
                release.id,
                Marks {
                    stage,
                    wave,
                    at_stage,
                    at_wave: here,
                },
            );
        }
    }

    /// Counts since the release's newest wave began, and since its stage did.
    pub fn since_wave(&self, release: &release::Release) -> (Evidence, Evidence) {
        let Some(stage) = release.stage() else {
            return Default::default();
        };
        let here = self.evidence(&stage.environment, &release.service, release.digest);
        let Some(marks) = self.marks.get(&release.id) else {
            return Default::default();
        };
        let since = |then: &Evidence| Evidence {
            canary: here.canary.since(then.canary),
            control: here.control.since(then.control),
        };
        (since(&marks.at_wave), since(&marks.at_stage))
    }

    /// Whom a release met in `environment` (requests and customers; hosts are the state's to count).
    pub fn exposure(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        digest: Digest,
    ) -> Exposure {
        let totals = self.totals.get(&(environment.clone(), service.clone()));
        totals
            .and_then(|totals| totals.get(&digest))
            .map_or_else(Exposure::default, |total| Exposure {
                hosts: 0,
                requests: total.counts,
                tenants: total.tenants.len() as u64,
                tenants_hit: total.tenants_hit.len() as u64,
            })
    }

    /// In words, when a service's customers had more failures than its budget has.
    pub fn budget_spent(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        budget: &ErrorBudget,
        now: Timestamp,
    ) -> Option<String> {
        let recent = self.recent.get(&(environment.clone(), service.clone()))?;
        recent.spent(budget, now)
    }

    /// Totals over all bundles, for metrics.
    pub fn totals(
        &self,
    ) -> impl Iterator<Item = (&EnvironmentName, &ServiceName, Digest, BundleCounts)> {
        self.totals
            .iter()
            .flat_map(|((environment, service), totals)| {
                totals
                    .iter()
                    .map(move |(digest, total)| (environment, service, *digest, total.counts))
            })
    }
}

/// Whether a gateway's run began before this process did.
fn began_before(epoch_ms: u64, since: Timestamp) -> bool {
    i64::try_from(epoch_ms).is_ok_and(|epoch_ms| epoch_ms < since.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_and_repeated_posts_change_nothing_and_a_new_run_adds() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut watch = Watch::new(now);
        let (gate, other): (GatewayName, GatewayName) =
            ("gate".parse().unwrap(), "other".parse().unwrap());
        let production: EnvironmentName = "production".parse().unwrap();
        let service: ServiceName = "api".parse().unwrap();
        let digest = Digest::of(b"x");
        let row = |requests, failed| {
            vec![Row {
                service: service.clone(),
                digest,
                tenant: TenantName("t".into()),
                counts: BundleCounts { requests, failed },
            }]
        };
        assert!(watch.count(&gate, &production, 1, row(10, 1), now));
        assert!(!watch.count(&gate, &production, 1, row(20, 2), now));
        watch.count(&gate, &production, 1, row(10, 1), now);
        watch.count(&gate, &production, 1, row(20, 2), now);
        watch.count(&other, &production, 1, row(5, 0), now);
        let seen = |watch: &Watch| watch.exposure(&production, &service, digest).requests;
        assert_eq!(
            seen(&watch),
            BundleCounts {
                requests: 25,
                failed: 2
            }
        );
        assert!(
            watch.count(&gate, &production, 2, row(3, 0), now),
            "a new run of the gateway"
        );
        assert_eq!(
            seen(&watch),
            BundleCounts {
                requests: 28,
                failed: 2
            }
        );
    }

    #[test]
    fn what_a_gateway_counted_before_this_process_is_exposure_but_no_evidence() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut watch = Watch::new(now);
        let gate: GatewayName = "gate".parse().unwrap();
        let production: EnvironmentName = "production".parse().unwrap();
        let service: ServiceName = "api".parse().unwrap();
        let digest = Digest::of(b"x");
        let row = |tenant: &str, requests| Row {
            service: service.clone(),
            digest,
            tenant: TenantName(tenant.into()),
            counts: BundleCounts {
                requests,
                failed: 0,
            },
        };
        watch.count(&gate, &production, 1, vec![row("a", 100)], now);
        let later = Millis::seconds(60).after(now);
        watch.count(
            &gate,
            &production,
            1,
            vec![row("a", 103), row("b", 2)],
            later,
        );
        assert_eq!(
            watch
                .exposure(&production, &service, digest)
                .requests
                .requests,
            105
        );
        assert_eq!(
            watch
                .evidence(&production, &service, digest)
                .canary
                .requests,
            5
        );
    }
}
