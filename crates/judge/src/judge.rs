//! One comparison: the new bundle with the old, from the first second to the verdict.

use model::{Metric, StagePlan};
use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::tick::{Sums, Tick};

/// What the judge is asked to find, and how sure it must be. Shares are 0 to 1, ratios 1 and above.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// `p_new <= ratio * p_old + points` is not harm (rho).
    pub ratio: f64,
    /// See `ratio` (delta).
    pub points: f64,
    /// A new bundle that is slower by so many latency buckets is not harm.
    pub slowdown_buckets: u8,
    /// Probability of ever saying "harm" of a bundle that does none (alpha).
    pub alpha: f64,
    /// A wave passes when `p_new >= pass_ratio * p_old + pass_points` is rejected (rho 1).
    pub pass_ratio: f64,
    /// See `pass_ratio` (delta 1).
    pub pass_points: f64,
    /// Probability of passing a bundle that is as bad as that (beta).
    pub beta: f64,
    /// Ticks over which restarts of the processes are spread.
    pub horizon_ticks: u32,
    /// How evidence of metrics is put together; adds up to 1.
    pub weights: Vec<(Metric, f64)>,
}

impl Settings {
    /// As a plan asks for it; `share` of the plan's false rollbacks are this environment's.
    pub fn of(_plan: &StagePlan, _share: f64) -> Settings {
        Settings::default()
    }
}

impl Default for Settings {
    /// Any worsening is harm, one false rollback in a thousand, a pass excludes a doubling.
    fn default() -> Settings {
        Settings {
            ratio: 1.0,
            points: 0.0,
            slowdown_buckets: 0,
            alpha: 1e-3,
            pass_ratio: 2.0,
            pass_points: 0.0,
            beta: 0.05,
            horizon_ticks: 3600,
            weights: vec![
                (Metric::Errors, 0.35),
                (Metric::Latency, 0.25),
                (Metric::Crashes, 0.15),
                (Metric::Heartbeats, 0.10),
                (Metric::Saturation, 0.05),
                (Metric::Custom, 0.10),
            ],
        }
    }
}

/// What a judge says at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Go back, go on, or neither.
    pub word: Word,
    /// Evidence for harm over all metrics (ln M*), in nats.
    pub harm: f64,
    /// At this much it is harm: ln(1/alpha).
    pub harm_needed: f64,
    /// Evidence that the bundle is not worse than the pass margin (ln M').
    pub pass: f64,
    /// At this much it passes: phi ln(1/beta).
    pub pass_needed: f64,
    /// By metric, those that were told of.
    pub metrics: Vec<MetricStanding>,
    /// The stratum with the strongest evidence for harm, if it is more than the strata's joint evidence.
    pub stratum: Option<u8>,
    /// The group of hosts without which the evidence would be weakest.
    pub suspect: Option<u8>,
    /// How many times as often requests fail on the new bundle: estimate, and 95 % bounds that hold at all times together.
    pub ratio: Option<Ratio>,
    /// Counts since the comparison began.
    pub canary: Sums,
    /// The old bundle's.
    pub control: Sums,
    /// Counts since the newest wave began.
    pub wave_canary: Sums,
    /// The old bundle's.
    pub wave_control: Sums,
    /// The newest second that was told.
    pub at: u64,
    /// When the harm began, in ticks of this comparison, by the component that found it.
    pub began: Option<u64>,
    /// Seconds since the comparison began in which nothing was told.
    pub missing: u64,
    /// Seconds in a row, up to now, in which the old bundle had requests and the new one had none although it had before.
    pub silent: u64,
    /// Gauges that run full: reported, held for, never reverted for alone.
    pub warnings: Vec<GaugeWarning>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Harm is shown, by this metric most.
    RollBack(Metric),
    /// It is shown not to be worse than the pass margin.
    Pass,
    /// Neither is shown.
    Wait,
}

/// One metric's part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricStanding {
    /// Which.
    pub metric: Metric,
    /// Evidence for harm in nats, after the correction for dispersion.
    pub harm: f64,
    /// Overdispersion (phi), at least 1.
    pub dispersion: f64,
}

/// A ratio of failing shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Absent when the old bundle has no failure.
    pub estimate: Option<f64>,
    /// At least.
    pub low: f64,
    /// At most; infinite when nothing bounds it.
    pub high: f64,
}

/// A gauge that will be full before long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GaugeWarning {
    /// Which.
    pub gauge: u8,
    /// In so many seconds, at the present slope.
    pub full_in_s: f64,
    /// It is full on half of the new bundle's hosts and not on the old one's: a hard rule.
    pub is_full: bool,
}

/// The comparison. Its state is a few kilobytes whatever the traffic and the time.
#[derive(Debug, Clone)]
pub struct Judge {
    settings: Settings,
}

impl Judge {
    /// Begins to compare; `history` is what the old bundle did before.
    pub fn new(settings: &Settings, _history: &History) -> Judge {
        Judge {
            settings: settings.clone(),
        }
    }

    /// A new wave begins: [`Standing::wave_canary`] counts from here.
    pub fn begin_wave(&mut self) {}

    /// One second passed. Ticks come in the order of [`Tick::at`]; an older one is not looked at.
    pub fn observe(&mut self, _tick: &Tick) {}

    /// What is to be said now.
    pub fn standing(&self) -> Standing {
        Standing {
            word: Word::Wait,
            harm: 0.0,
            harm_needed: libm::log(1.0 / self.settings.alpha),
            pass: 0.0,
            pass_needed: libm::log(1.0 / self.settings.beta),
            metrics: Vec::new(),
            stratum: None,
            suspect: None,
            ratio: None,
            canary: Sums::default(),
            control: Sums::default(),
            wave_canary: Sums::default(),
            wave_control: Sums::default(),
            at: 0,
            began: None,
            missing: 0,
            silent: 0,
            warnings: Vec::new(),
        }
    }
}
