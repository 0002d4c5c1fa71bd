//! What a judge says about a wave.

use serde::{Deserialize, Serialize};

use crate::BundleCounts;

/// Three answers, never two: not knowing is neither good nor bad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// The wave did no harm, on enough evidence.
    Pass {
        /// The counts that decided.
        evidence: Evidence,
    },
    /// The wave does harm.
    Fail {
        /// Which rule says so.
        rule: Rule,
        /// For people.
        reason: String,
        /// The counts that decided.
        evidence: Evidence,
    },
    /// Not enough is known. Never promotes and never reverts.
    Insufficient {
        /// What is still needed, for people.
        needs: String,
    },
}

/// Why a wave failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// More requests failed than the budget allows, and the rest of the fleet did better.
    /// Only in old journals; the judge says [`Rule::Errors`] now.
    FailureBudget,
    /// Requests fail more often on the new bundle than on the old.
    Errors,
    /// Requests take longer.
    Latency,
    /// The service exits more often.
    Crashes,
    /// Heartbeats are missing.
    Heartbeats,
    /// CPU, memory or disk run out.
    Saturation,
    /// Events that a source counts are more frequent.
    Custom,
    /// The whole fleet fails since the release went on.
    Fleet,
    /// Nothing is counted on the new bundle while the old one's counts come in.
    Silence,
    /// A host did not confirm by its deadline, or went back by itself.
    NotConfirmed,
    /// A confirmed host's own health check fails.
    HealthFailing,
    /// A host's service exits again and again.
    CrashLoop,
    /// Going back and forth again did not work in the test environment.
    Rehearsal,
    /// Old files don't go with new packages, or the reverse.
    Matrix,
    /// The bundle's own check took a broken document, crashed on it or hung.
    Hostile,
    /// Something that a document names doesn't answer from where it will be used.
    References,
    /// The test's result counts no longer.
    Attestation,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Rule::FailureBudget => "failure budget",
            Rule::Errors => "errors",
            Rule::Latency => "latency",
            Rule::Crashes => "crashes",
            Rule::Heartbeats => "heartbeats",
            Rule::Saturation => "saturation",
            Rule::Custom => "events",
            Rule::Fleet => "whole fleet",
            Rule::Silence => "silence",
            Rule::NotConfirmed => "host not confirmed",
            Rule::HealthFailing => "health failing",
            Rule::CrashLoop => "crash loop",
            Rule::Rehearsal => "rehearsal",
            Rule::Matrix => "old beside new",
            Rule::Hostile => "broken variants",
            Rule::References => "references",
            Rule::Attestation => "attestation",
        })
    }
}

/// The counts behind a verdict: the new bundle's and everyone else's, since the wave began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// Requests that the new bundle answered (or failed to).
    pub canary: BundleCounts,
    /// Requests that the other bundles of the same service and environment answered.
    pub control: BundleCounts,
}
