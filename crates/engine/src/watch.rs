//! What is known but not journaled: heartbeats and request counts, as this
//! process has seen them.
//!
//! Invariant: an empty watch (a control plane that has just started) makes
//! decisions wait; it never makes them harmful. Silence is measured from the
//! later of "last heard" and "this process began to listen".

use std::collections::{BTreeMap, BTreeSet};

use model::counts::OTHER_TENANTS;
use model::{
    BundleCounts, Digest, EnvironmentName, ErrorBudget, Exposure, GatewayName, HostName, Millis,
    ServiceName, TenantName, Timestamp,
};

use incident::alerts::{Incoming, Leases, intake};

use crate::State;
use beats::Seen;
use budget::Recent;
use edges::Edges;
use sources::{Runs, Sources};
use ticks::Books;

mod beats;
mod book;
mod budget;
mod comparison;
mod edges;
mod lineup;
mod roster;
mod second;
mod sources;
mod ticks;
mod usual;
mod verdict;
mod words;

pub use beats::Beat;
pub use book::share;
pub use edges::{EdgeView, GATEWAY_GONE};
pub use ticks::{Judged, TickTotals, TicksTaken};

/// A host unheard of for this long gets no orders, and a wave with it is not judged.
pub const SILENT_AFTER: Millis = Millis::seconds(15);
/// A host that runs a release and is unheard of for this long counts as failed.
pub const LOST_AFTER: Millis = Millis::seconds(60);
/// So many unplanned exits of one host in a few minutes are a crash loop.
pub const CRASH_LOOP_EXITS: u64 = 3;
/// Totals that a gateway first tells within this time of being met are the past's, if it is older than this process.
const CATCH_UP: Millis = Millis::seconds(5);
/// Rows of counts that are kept, so that memory has a bound. What is told beyond it can't be added up, because what was
/// told of it before is not known: it is left out, and [`Exposure::left_out`] says so.
pub const ROWS_MAX: usize = 1_000_000;

/// Everything seen by this process.
#[derive(Debug, Clone)]
pub struct Watch {
    since: Timestamp,
    hosts: BTreeMap<HostName, Seen>,
    rows: BTreeMap<RowKey, BundleCounts>,
    rows_max: usize,
    gateways: BTreeMap<GatewayName, Runs<Met>>,
    /// Totals of rows by environment, service and bundle, so that judging does not walk all rows.
    totals: BTreeMap<(EnvironmentName, ServiceName), BTreeMap<Digest, Total>>,
    /// Minute by minute, for error budgets.
    recent: BTreeMap<(EnvironmentName, ServiceName), Recent>,
    /// Gateways, and what they say of their routes.
    edges: Edges,
    /// Who sends seconds.
    sources: Sources,
    /// Second by second, for the judge.
    books: Books,
    /// The second in which books were last opened for what is declared.
    opened: Option<i64>,
    /// Until when alerts fire without being told again.
    leases: Leases,
}

type RowKey = (
    (GatewayName, u64),
    EnvironmentName,
    ServiceName,
    Digest,
    TenantName,
);

/// One run of a gateway.
#[derive(Debug, Clone)]
struct Met {
    /// When this process first heard of it.
    at: Timestamp,
    /// It had run before this process did: its first totals tell of the past.
    older: bool,
}

/// A host stages and checks before its own deadline begins to run; so much longer it is waited for.
pub(crate) const STAGING_ALLOWANCE: Millis = Millis::seconds(30);

#[derive(Debug, Clone, Default)]
struct Total {
    counts: BundleCounts,
    tenants: BTreeSet<TenantName>,
    tenants_hit: BTreeSet<TenantName>,
    /// A gateway counted some of its tenants as one.
    tenants_folded: bool,
    /// Rows that there was no room for.
    left_out: bool,
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
            rows_max: ROWS_MAX,
            gateways: BTreeMap::new(),
            totals: BTreeMap::new(),
            recent: BTreeMap::new(),
            edges: Edges::default(),
            sources: Sources::default(),
            books: Books::new(),
            opened: None,
            leases: Leases::resumed(now),
        }
    }

    /// Until when alerts fire without being told again.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Remembers a batch of alerts whose events are in `state` already.
    pub fn renew(&mut self, state: &State, batch: &[Incoming], now: Timestamp) {
        let known = &state.incidents;
        let taken = intake(known, &self.leases, batch, now);
        self.leases.take(&taken, known);
    }

    /// When this process began to listen.
    pub fn since(&self) -> Timestamp {
        self.since
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
        let since = self.since;
        let runs = self.gateways.entry(gateway.clone()).or_default();
        let entered = runs.enter(epoch_ms, now, || Met {
            at: now,
            older: began_before(epoch_ms, since),
        });
        let Some(entered) = entered else { return false };
        let (met, is_new) = (&*entered.state, entered.is_new);
        let catching_up = met.older && Millis::between(met.at, now) < CATCH_UP;
        if !entered.ended.is_empty() {
            // What they counted stays in the totals.
            let is_over =
                |of: &(GatewayName, u64)| of.0 == *gateway && entered.ended.contains(&of.1);
            self.rows.retain(|key, _| !is_over(&key.0));
        }
        let run = (gateway.clone(), epoch_ms);
        for row in rows {
            self.count_row(&run, environment, row, catching_up, now);
        }
        is_new
    }

    fn count_row(
        &mut self,
        run: &(GatewayName, u64),
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
            run.clone(),
            environment.clone(),
            service.clone(),
            digest,
            tenant.clone(),
        );
        let before = self.rows.get(&key).copied();
        let totals = self.totals.entry((environment.clone(), service.clone()));
        let total = totals.or_default().entry(digest).or_default();
        total.tenants_folded |= tenant.0 == OTHER_TENANTS;
        if before.is_none() && self.rows.len() >= self.rows_max {
            total.left_out = true;
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
        total.counts = total.counts.plus(news);
        if counts.failed > 0 {
            total.tenants_hit.insert(tenant.clone());
        }
        total.tenants.insert(tenant);
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
                tenants_folded: total.tenants_folded,
                left_out: total.left_out,
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

    /// Requests of each service of `environment` in the newest `window`, in whole minutes, over all bundles.
    pub fn lately(
        &self,
        environment: &EnvironmentName,
        window: Millis,
        now: Timestamp,
    ) -> BTreeMap<ServiceName, BundleCounts> {
        let ours = self.recent.iter().filter(|((it, _), _)| it == environment);
        ours.map(|((_, service), recent)| (service.clone(), recent.sum(window, now)))
            .collect()
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
mod tests;
