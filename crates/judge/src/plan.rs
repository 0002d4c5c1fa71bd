//! What a plan can see before it is begun.

use serde::{Deserialize, Serialize};

use crate::history::Baseline;
use crate::judge::Settings;

/// One wave of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaveShape {
    /// The new bundle's share of the traffic, 0 to 1.
    pub share: f64,
    /// It bakes at least so long, in seconds.
    pub bake_s: f64,
    /// And at most so long before people are asked.
    pub bake_max_s: f64,
}

/// What one wave can see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaveAdvice {
    /// The new bundle's requests each second.
    pub requests_per_s: f64,
    /// After so many seconds it shows that twice as many requests fail, on average; absent: never.
    pub doubling_s: Option<f64>,
    /// That one point more fails.
    pub point_s: Option<f64>,
    /// That everything is a fifth slower.
    pub slower_s: Option<f64>,
    /// That everything fails.
    pub outage_s: Option<f64>,
    /// A healthy bundle passes after so many seconds (median).
    pub pass_s: Option<f64>,
    /// Requests that fail more before an outage is rolled back, on average.
    pub harm_outage: f64,
    /// Before a doubling is.
    pub harm_doubling: Option<f64>,
}

/// What each wave can see with this traffic; waves begin one after the other and evidence runs on.
/// `delay_s`: from a failure to the end of the way back, beside what the counts need.
pub fn advise(
    _settings: &Settings,
    _baseline: &Baseline,
    waves: &[WaveShape],
    _delay_s: f64,
) -> Vec<WaveAdvice> {
    let blind = |wave: &WaveShape| WaveAdvice {
        requests_per_s: wave.share,
        doubling_s: None,
        point_s: None,
        slower_s: None,
        outage_s: None,
        pass_s: None,
        harm_outage: 0.0,
        harm_doubling: None,
    };
    waves.iter().map(blind).collect()
}
