//! A whole fleet that begins to fail, whoever is to blame.
//!
//! A comparison is blind to what hurts both sides, and when no old bundle is
//! left; this is not.

use serde::{Deserialize, Serialize};

use crate::tick::Sums;

/// A CUSUM over all requests of one service in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetWatch {
    slo: f64,
}

impl FleetWatch {
    /// `slo`: the failing share that is still acceptable (0 to 1).
    pub fn new(slo: f64) -> FleetWatch {
        FleetWatch { slo }
    }

    /// One second of all requests, whatever bundle answered.
    pub fn observe(&mut self, _at: u64, _sums: Sums) {}

    /// Since which tick the fleet fails, while it does.
    pub fn alarm(&self) -> Option<u64> {
        None
    }
}
