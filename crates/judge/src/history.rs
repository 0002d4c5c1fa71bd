//! What the old bundle did before a release: failing share, latencies, rates of
//! events, levels of gauges, and how unequal hosts and tenants are.

use serde::{Deserialize, Serialize};

use crate::tick::Tick;

/// A memory of bounded size, fed while nothing is released.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {}

impl History {
    /// One second passed; only the control sides are looked at. `at` grows over
    /// the whole time of watching and has nothing to do with any comparison's.
    pub fn observe(&mut self, _tick: &Tick) {}

    /// Requests per second and failing share of the recent past, for planning; `None` before any traffic.
    pub fn baseline(&self) -> Option<Baseline> {
        None
    }
}

/// A service's usual traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Requests per second.
    pub requests_per_s: f64,
    /// Share that fails.
    pub failing: f64,
    /// Overdispersion of hosts over a minute (phi), at least 1.
    pub dispersion: f64,
    /// Latencies, by bucket, as shares that add up to 1.
    pub latency: Vec<f64>,
}
