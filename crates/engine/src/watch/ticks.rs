//! Seconds as sources count them: put together, closed after a watermark, and
//! given to the judge of each active release.

use std::collections::BTreeMap;

use model::verdict::Evidence;
use model::{
    Digest, EnvironmentName, Explanation, HostName, ServiceName, TickCounts, Timestamp, Verdict,
};

use super::Watch;
use crate::State;

/// How far a source's ticks are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TicksTaken {
    /// Up to this `seq` nothing need be sent again.
    pub through: u64,
    /// Of this post's, so many were too late to be judged.
    pub late: u64,
}

/// What the judge says of a release in its present environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The word.
    pub verdict: Verdict,
    /// What it rests on; absent when nothing was counted.
    pub explanation: Option<Explanation>,
    /// Counts since the newest wave began.
    pub wave: Evidence,
    /// The new bundle's counts have stopped: nothing may pass on what was counted before.
    pub silent: bool,
}

impl Watch {
    /// Takes in a source's seconds. `source` is a gateway's name or a source's own.
    pub fn ticks(
        &mut self,
        _source: &str,
        _environment: &EnvironmentName,
        _epoch_ms: u64,
        ticks: Vec<TickCounts>,
        _now: Timestamp,
    ) -> TicksTaken {
        TicksTaken {
            through: ticks.last().map_or(0, |tick| tick.seq),
            late: 0,
        }
    }

    /// How full a host is, in thousandths, by gauge.
    pub fn gauges(&mut self, _host: &HostName, _gauges: BTreeMap<String, u16>, _now: Timestamp) {}

    /// Closes the seconds that are over and lets every active release's judge look at
    /// them. Called once before each turn's decisions.
    pub fn close(&mut self, _state: &State, _now: Timestamp) {}

    /// What the judge says of an active release.
    pub fn judged(&self, _state: &State, release: &release::Release, _now: Timestamp) -> Judged {
        Judged {
            verdict: Verdict::Insufficient {
                needs: "counts".into(),
            },
            explanation: None,
            wave: self.since_wave(release).0,
            silent: false,
        }
    }

    /// Since when all of a service's requests in an environment fail more than they
    /// may, while they do, whichever bundle answers.
    pub fn fleet_fails_since(
        &self,
        _environment: &EnvironmentName,
        _service: &ServiceName,
    ) -> Option<Timestamp> {
        None
    }

    /// The bytes behind an [`Explanation::record`] of this process.
    pub fn record(&self, _digest: &Digest) -> Option<Vec<u8>> {
        None
    }

    /// A service's usual traffic in an environment, and over how many seconds it was seen.
    pub fn baseline(
        &self,
        _environment: &EnvironmentName,
        _service: &ServiceName,
    ) -> Option<(judge::Baseline, u64)> {
        None
    }
}
