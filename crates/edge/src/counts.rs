//! Totals by bundle and tenant, and which of them are news to the control plane.
//!
//! The control plane is sent totals, never differences, so a lost or repeated
//! post changes nothing. A row is queued when it changes, taken out with the
//! batch that carries it, and put back when that batch was not acknowledged.
//!
//! Memory is bounded: new tenants beyond [`TENANTS_PER_BUNDLE_MAX`] (or, over
//! all bundles, [`ROWS_MAX`]) share the row of [`OTHER_TENANTS`]. No request
//! is lost by that, only the name of whom it hit.
//!
//! Invariant: requests offered = served + failed + gone + refused, once none is
//! in flight.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::counts::OTHER_TENANTS;
use model::{BundleCounts, ServiceName};

use crate::Label;

/// Tenants with a row of their own, for each bundle. A hundred thousand rows are
/// about 20 MB here and fifty posts of 2,000 rows; a tenant header filled with
/// random text must not cost more than that.
pub const TENANTS_PER_BUNDLE_MAX: usize = 100_000;
/// Rows over all bundles that this process has met: as many as the control plane keeps.
pub const ROWS_MAX: usize = 1_000_000;

/// How a request that was handed to a host ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer below 500.
    Served,
    /// Connect failure, deadline, broken answer, or 500 and above.
    Failed,
    /// The client left, or didn't send or read in time: says nothing about the bundle.
    Gone,
}

/// How requests of one bundle ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Answered below 500.
    pub served: u64,
    /// Failed.
    pub failed: u64,
    /// Given up by the client.
    pub gone: u64,
}

/// One row as it goes to the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowTotals {
    /// Which service and bundle.
    pub label: Arc<Label>,
    /// Which customer.
    pub tenant: Arc<str>,
    /// Since this gateway started.
    pub counts: BundleCounts,
}

/// Rows that are on their way; to be dropped when acknowledged, else
/// [put back](Counts::put_back).
#[derive(Debug)]
#[must_use]
pub struct Batch {
    ids: Vec<usize>,
    /// What to send.
    pub rows: Vec<RowTotals>,
}

/// Everything that one gateway has counted.
#[derive(Debug, Default)]
pub struct Counts {
    bundles: BTreeMap<Arc<Label>, PerBundle>,
    rows: Vec<Row>,
    /// Rows that changed since they were last taken, oldest change first.
    changed: VecDeque<usize>,
    refused: BTreeMap<ServiceName, BTreeMap<&'static str, u64>>,
    /// Requests counted under [`OTHER_TENANTS`] for want of room.
    overflowed: u64,
    bounds: Bounds,
}

#[derive(Debug, Default)]
struct PerBundle {
    tenants: BTreeMap<Arc<str>, usize>,
    tally: Tally,
}

#[derive(Debug)]
struct Row {
    totals: RowTotals,
    queued: bool,
}

#[derive(Debug)]
struct Bounds {
    tenants_per_bundle: usize,
    rows: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            tenants_per_bundle: TENANTS_PER_BUNDLE_MAX,
            rows: ROWS_MAX,
        }
    }
}

impl Counts {
    /// A request that was handed to a host of `label` has ended.
    pub fn settle(&mut self, label: &Arc<Label>, tenant: &str, outcome: Outcome) {
        let bundle = self.bundles.entry(label.clone()).or_default();
        let failed = match outcome {
            Outcome::Served => {
                bundle.tally.served += 1;
                false
            }
            Outcome::Failed => {
                bundle.tally.failed += 1;
                true
            }
            // Neither a request that the bundle answered nor a failure of it.
            Outcome::Gone => {
                bundle.tally.gone += 1;
                return;
            }
        };
        let id = self.row(label, tenant);
        let row = &mut self.rows[id];
        row.totals.counts.requests += 1;
        row.totals.counts.failed += u64::from(failed);
        if !row.queued {
            row.queued = true;
            self.changed.push_back(id);
        }
    }

    /// A request was refused by the gateway itself, before or instead of a host's answer.
    pub fn refuse(&mut self, service: &ServiceName, reason: &'static str) {
        let reasons = self.refused.entry(service.clone()).or_default();
        *reasons.entry(reason).or_default() += 1;
    }

    /// Up to `rows_max` changed rows, the longest waiting first.
    pub fn take_changed(&mut self, rows_max: usize) -> Batch {
        let len = self.changed.len().min(rows_max);
        let ids: Vec<usize> = self.changed.drain(..len).collect();
        let mut rows = Vec::with_capacity(len);
        for id in &ids {
            let row = &mut self.rows[*id];
            row.queued = false;
            rows.push(row.totals.clone());
        }
        Batch { ids, rows }
    }

    /// The batch was not acknowledged: its rows are news still.
    pub fn put_back(&mut self, batch: Batch) {
        for id in batch.ids.into_iter().rev() {
            let row = &mut self.rows[id];
            if !row.queued {
                row.queued = true;
                self.changed.push_front(id);
            }
        }
    }

    /// The control plane has forgotten: every row is news.
    pub fn change_all(&mut self) {
        for (id, row) in self.rows.iter_mut().enumerate() {
            if !row.queued {
                row.queued = true;
                self.changed.push_back(id);
            }
        }
    }

    /// How many rows wait to be taken.
    pub fn changed_len(&self) -> usize {
        self.changed.len()
    }

    /// How many rows there are.
    pub fn rows_len(&self) -> usize {
        self.rows.len()
    }

    /// Requests counted under [`OTHER_TENANTS`] because there was no room for another tenant.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// How requests ended, by bundle.
    pub fn tallies(&self) -> impl Iterator<Item = (&Arc<Label>, Tally)> {
        self.bundles
            .iter()
            .map(|(label, bundle)| (label, bundle.tally))
    }

    /// Own refusals by service and reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&ServiceName, &'static str, u64)> {
        self.refused.iter().flat_map(|(service, reasons)| {
            reasons
                .iter()
                .map(move |(reason, count)| (service, *reason, *count))
        })
    }

    /// The row of `tenant`, or the one for all others when there is no room.
    fn row(&mut self, label: &Arc<Label>, tenant: &str) -> usize {
        let bundle = self.bundles.entry(label.clone()).or_default();
        if let Some(id) = bundle.tenants.get(tenant) {
            return *id;
        }
        let room = self.rows.len() < self.bounds.rows
            && bundle.tenants.len() < self.bounds.tenants_per_bundle;
        if !room {
            self.overflowed += 1;
            if let Some(id) = bundle.tenants.get(OTHER_TENANTS) {
                return *id;
            }
        }
        let name: Arc<str> = Arc::from(if room { tenant } else { OTHER_TENANTS });
        let id = self.rows.len();
        bundle.tenants.insert(name.clone(), id);
        self.rows.push(Row {
            totals: RowTotals {
                label: label.clone(),
                tenant: name,
                counts: BundleCounts::default(),
            },
            queued: false,
        });
        id
    }
}

#[cfg(test)]
mod tests;
