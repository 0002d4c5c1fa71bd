//! Requests counted by bundle.

use serde::{Deserialize, Serialize};

/// Requests of one bundle. Refusals by the gateway itself are not in here: they
/// say nothing about the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BundleCounts {
    /// First attempts handed to a host that runs this bundle.
    pub requests: u64,
    /// Of these: connect failures, timeouts, broken answers and 5xx.
    pub failed: u64,
}

impl BundleCounts {
    /// What happened since `earlier` (zero where a counter went back).
    #[must_use]
    pub fn since(self, earlier: BundleCounts) -> BundleCounts {
        BundleCounts {
            requests: self.requests.saturating_sub(earlier.requests),
            failed: self.failed.saturating_sub(earlier.failed),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: BundleCounts) -> BundleCounts {
        BundleCounts {
            requests: self.requests.saturating_add(other.requests),
            failed: self.failed.saturating_add(other.failed),
        }
    }
}

/// The tenant that stands for all others where there is no room to tell more of them apart.
pub const OTHER_TENANTS: &str = "~other";

/// Who met a release so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exposure {
    /// Hosts that were ordered to it, ever.
    pub hosts: u32,
    /// Requests it answered, and how many failed.
    pub requests: BundleCounts,
    /// Customers who had a request answered by it.
    pub tenants: u64,
    /// Customers who had one fail.
    pub tenants_hit: u64,
    /// More customers came than were told apart: their numbers are the least that there were.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tenants_folded: bool,
    /// More was told than there was room for: the numbers of requests are the least as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
}
