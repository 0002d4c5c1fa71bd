//! What a judge is told each second.

use model::Metric;
use serde::{Deserialize, Serialize};

/// Strata in one comparison at most; the caller folds the rest into the last.
pub const STRATA_MAX: usize = 16;
/// Groups of hosts, and groups of clients, at most; the caller hashes into them.
pub const GROUPS_MAX: usize = 64;

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Hosts that run the new bundle.
    Canary,
    /// Hosts that run what it replaces.
    Control,
}

/// One closed second of one comparison. Numbers only: names are the caller's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Tick {
    /// Seconds since the comparison began; only grows. A gap is a time of which nothing is known.
    pub at: u64,
    /// Requests, each stratum at most once.
    #[serde(default)]
    pub strata: Vec<StratumTick>,
    /// The same requests by group of hosts.
    #[serde(default)]
    pub hosts: Vec<GroupTick>,
    /// The same requests by group of tenants.
    #[serde(default)]
    pub clients: Vec<GroupTick>,
    /// Events with the time in which they could have happened, each metric at most once.
    #[serde(default)]
    pub events: Vec<EventTick>,
    /// Samples of gauges.
    #[serde(default)]
    pub gauges: Vec<GaugeSample>,
}

/// Requests and failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Requests that ended.
    pub n: u64,
    /// Of these, failed; more than `n` counts as `n`.
    pub e: u64,
}

impl Sums {
    /// Stops at the largest number rather than begin anew.
    pub(crate) fn add(&mut self, more: Sums) {
        self.n = self.n.saturating_add(more.n);
        self.e = self.e.saturating_add(more.e.min(more.n));
    }
}

/// One stratum (class of endpoint and zone) in one second.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StratumTick {
    /// Below [`STRATA_MAX`].
    pub stratum: u8,
    /// The new bundle.
    pub canary: Sums,
    /// The old one.
    pub control: Sums,
    /// Latencies on the new bundle: bucket (see [`model::ticks::latency_bucket`]) and count, by
    /// bucket. Requests of hosts that still warm up are left out on this side.
    #[serde(default)]
    pub canary_latency: Vec<(u8, u64)>,
    /// On the old one.
    #[serde(default)]
    pub control_latency: Vec<(u8, u64)>,
}

impl StratumTick {
    /// Its place; what is beyond the last is in the last.
    pub(crate) fn number(&self) -> usize {
        usize::from(self.stratum).min(STRATA_MAX - 1)
    }
}

/// One group in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTick {
    /// Below [`GROUPS_MAX`].
    pub group: u8,
    /// A group may be on both sides: a canary host that was control before.
    pub side: Side,
    /// Its requests.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Events of one metric in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTick {
    /// [`Metric::Crashes`], [`Metric::Heartbeats`] or [`Metric::Custom`]; others are not looked at.
    pub metric: Metric,
    /// The new bundle's.
    pub canary: Exposed,
    /// The old one's.
    pub control: Exposed,
}

/// Events, and how long hosts could have had some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exposed {
    /// How many.
    pub events: u64,
    /// Hosts times milliseconds.
    pub host_ms: u64,
}

/// What a gauge showed on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaugeSample {
    /// Which gauge; below [`GAUGES_MAX`].
    pub gauge: u8,
    /// The host's group, below [`GROUPS_MAX`].
    pub group: u8,
    /// What the host runs.
    pub side: Side,
    /// Share of the limit in use, in thousandths.
    pub permille: u16,
}

/// Gauges in one comparison at most.
pub const GAUGES_MAX: usize = 4;
