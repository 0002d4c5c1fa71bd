//! What a verdict rests on, for people and for whoever looks at it again.
//!
//! Numbers are whole (thousandths and millionths), so that an event has one
//! encoding everywhere.

use serde::{Deserialize, Serialize};

use crate::{BundleCounts, Digest, HostName, Millis};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Requests that failed.
    Errors,
    /// How long requests took.
    Latency,
    /// Unplanned exits.
    Crashes,
    /// Missing heartbeats.
    Heartbeats,
    /// CPU, memory, disk.
    Saturation,
    /// Events that a source counts: panics, lines in an error log.
    Custom,
}

impl Metric {
    /// All, in the order in which they are shown.
    pub const ALL: [Metric; 6] = [
        Metric::Errors,
        Metric::Latency,
        Metric::Crashes,
        Metric::Heartbeats,
        Metric::Saturation,
        Metric::Custom,
    ];
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Metric::Errors => "errors",
            Metric::Latency => "latency",
            Metric::Crashes => "crashes",
            Metric::Heartbeats => "heartbeats",
            Metric::Saturation => "saturation",
            Metric::Custom => "events",
        })
    }
}

/// How the judge came to its word.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// The metric that carried it.
    #[serde(default)]
    pub metric: Option<Metric>,
    /// The class of endpoint and zone that carried it, when one did: `write in zone b`.
    #[serde(default)]
    pub stratum: Option<String>,
    /// The host without which the evidence would be weakest.
    #[serde(default)]
    pub suspect: Option<HostName>,
    /// The new bundle's counts and the old one's, since the environment was entered.
    #[serde(default)]
    pub canary: BundleCounts,
    /// The old one's.
    #[serde(default)]
    pub control: BundleCounts,
    /// How many times as often requests fail on the new bundle.
    #[serde(default)]
    pub ratio: Option<Interval>,
    /// Evidence for harm, by metric.
    #[serde(default)]
    pub metrics: Vec<MetricEvidence>,
    /// Evidence for harm of all metrics together, in thousandths of a nat.
    #[serde(default)]
    pub harm_millinats: i64,
    /// At this much the release goes back.
    #[serde(default)]
    pub harm_needed_millinats: i64,
    /// Evidence that the new bundle is not worse than the plan allows.
    #[serde(default)]
    pub pass_millinats: i64,
    /// At this much the wave may pass.
    #[serde(default)]
    pub pass_needed_millinats: i64,
    /// How the evidence grew, oldest first; at most [`POINTS_MAX`].
    #[serde(default)]
    pub course: Vec<Point>,
    /// What happened before, as far as can be said: the harm began so long before the verdict.
    #[serde(default)]
    pub began_before: Option<Millis>,
    /// What is still needed, for people; empty once it is decided.
    #[serde(default)]
    pub needs: String,
    /// What ought to be looked at, and decides nothing alone.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Ticks that came too late and were dropped, and seconds of which nothing is known.
    #[serde(default)]
    pub ticks_late: u64,
    /// Seconds of which nothing is known.
    #[serde(default)]
    pub ticks_missing: u64,
    /// Passed without enough evidence, because the plan says so.
    #[serde(default)]
    pub undecided: bool,
    /// Blob with every tick's sums, from which the same verdict follows again.
    #[serde(default)]
    pub record: Option<Digest>,
}

/// Points in an [`Explanation::course`] at most.
pub const POINTS_MAX: usize = 60;

/// A ratio with the interval in which it lies with 95 % confidence whenever one looks, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The best guess; absent when the old bundle has no failure.
    pub estimate: Option<u64>,
    /// At least.
    pub low: u64,
    /// At most; absent when nothing bounds it yet.
    pub high: Option<u64>,
}

/// One metric's evidence for harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricEvidence {
    /// Which.
    pub metric: Metric,
    /// In thousandths of a nat, after the correction for unequal hosts.
    pub millinats: i64,
    /// How much more hosts (or tenants) differ than chance would have them, in thousandths; 1000 is chance.
    pub dispersion_permille: u64,
}

/// Evidence at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Seconds since the environment was entered.
    pub second: u64,
    /// For harm, in thousandths of a nat.
    pub harm: i64,
    /// For passing.
    pub pass: i64,
    /// The new bundle's requests in the seconds up to this point.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
}
