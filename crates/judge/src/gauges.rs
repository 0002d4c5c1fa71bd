//! Gauges that run full: CPU, memory, disk.
//!
//! Three answers of growing strength. *Evidence*: blocks of half a minute, in
//! which the canary's hosts rose more above their own former levels than the
//! control's did, bet as signs of symmetric differences. *Warning*: the gauge
//! climbs and will be full before long; people are asked, nothing is undone.
//! *Full*: on half of the canary's hosts and not on the control's; a hard rule.
//!
//! Invariant: a gauge that was not sampled on both sides is no evidence.

mod block;
mod hosts;

use serde::{Deserialize, Serialize};

use self::block::{Block, Course};
use self::hosts::Hosts;
use crate::judge::GaugeWarning;
use crate::mixture::Mixture;
use crate::num::{exp, ln, ln_sum};
use crate::tick::{GAUGES_MAX, GROUPS_MAX, GaugeSample, Side};

/// Seconds in a block: samples within it hang together, blocks hardly do.
pub(crate) const BLOCK_S: u64 = 30;
/// So much more of its limit a canary may use than before, beside what the control does: a
/// restarted program has other caches, and nobody is paged for five points.
const MARGIN: f64 = 0.05;
/// Bets, in units of the usual difference.
const LAMBDAS: [f64; 3] = [0.3, 1.0, 3.0];
/// A difference of this size is usual before any was seen.
const USUAL: f64 = 0.02;
/// Blocks over which restarts are spread: an hour.
const HORIZON_BLOCKS: u32 = 120;
/// A level is the mean of about so many samples: ten minutes of seconds. Older ones fade.
const LEVEL_SAMPLES: u64 = 600;

/// What each group of hosts used before.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GaugeHistory {
    /// By gauge, then by group.
    levels: Vec<Vec<Level>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Level {
    n: u64,
    permille: u64,
}

impl GaugeHistory {
    /// The samples of one second; only the control's are looked at.
    pub fn observe(&mut self, _at: u64, samples: &[GaugeSample]) {
        for sample in samples.iter().filter(|it| is_known(it)) {
            if sample.side == Side::Canary {
                continue;
            }
            let (gauge, group) = (usize::from(sample.gauge), usize::from(sample.group));
            if self.levels.len() <= gauge {
                self.levels.resize(gauge + 1, Vec::new());
            }
            let groups = &mut self.levels[gauge];
            if groups.len() <= group {
                groups.resize(group + 1, Level::default());
            }
            let level = &mut groups[group];
            level.n += 1;
            level.permille += u64::from(sample.permille.min(1000));
            if level.n >= 2 * LEVEL_SAMPLES {
                level.n /= 2;
                level.permille /= 2;
            }
        }
    }

    /// The share of the limit that was in use; `None` if it was never sampled.
    fn level(&self, gauge: u8, group: u8) -> Option<f64> {
        let groups = self.levels.get(usize::from(gauge))?;
        let level = groups.get(usize::from(group)).filter(|it| it.n > 0)?;
        Some(level.permille as f64 / (1000 * level.n) as f64)
    }
}

fn is_known(sample: &GaugeSample) -> bool {
    usize::from(sample.gauge) < GAUGES_MAX && usize::from(sample.group) < GROUPS_MAX
}

/// The comparison of all gauges.
#[derive(Debug, Clone)]
pub struct GaugeProcess {
    history: GaugeHistory,
    gauges: Vec<Gauge>,
    at: u64,
}

/// One gauge.
#[derive(Debug, Clone)]
struct Gauge {
    open: Block,
    course: Course,
    hosts: Hosts,
    mixture: Mixture<{ LAMBDAS.len() }>,
    /// Blocks that were compared.
    blocks: u64,
    /// Sum of their squared differences.
    squares: f64,
    has_canary: bool,
    has_control: bool,
}

impl GaugeProcess {
    /// Compares gauges; `history` is what hosts used before.
    pub fn new(history: &GaugeHistory) -> GaugeProcess {
        GaugeProcess {
            history: history.clone(),
            gauges: Vec::new(),
            at: 0,
        }
    }

    /// The samples of one second; `at` only grows.
    pub fn observe(&mut self, at: u64, samples: &[GaugeSample]) {
        self.at = at;
        for gauge in &mut self.gauges {
            gauge.begin_block(at / BLOCK_S);
        }
        for sample in samples.iter().filter(|it| is_known(it)) {
            while self.gauges.len() <= usize::from(sample.gauge) {
                self.gauges.push(Gauge::new(at / BLOCK_S));
            }
            let level = self.history.level(sample.gauge, sample.group);
            self.gauges[usize::from(sample.gauge)].sample(at, sample, level);
        }
    }

    /// Evidence that the canary's hosts rise more, in nats. Gauges hang together in any way, so
    /// they are averaged; one that is not sampled counts as undecided.
    pub fn ln_m(&self) -> f64 {
        let silent = GAUGES_MAX - self.gauges.len();
        let told = self.gauges.iter().map(|gauge| gauge.mixture.ln_m());
        let undecided = if silent > 0 {
            ln(silent as f64)
        } else {
            f64::NEG_INFINITY
        };
        ln_sum(told.chain([undecided])) - ln(GAUGES_MAX as f64)
    }

    /// Gauges that are full or will be within the hour.
    pub fn warnings(&self) -> Vec<GaugeWarning> {
        let gauges = self.gauges.iter().zip(0..);
        gauges
            .filter_map(|(gauge, number)| {
                let is_full = gauge.hosts.are_full(self.at);
                let full_in_s = if is_full {
                    Some(0.0)
                } else {
                    gauge.course.full_in_s()
                };
                Some(GaugeWarning {
                    gauge: number,
                    full_in_s: full_in_s?,
                    is_full,
                })
            })
            .collect()
    }

    /// Whether some gauge was sampled on both sides.
    pub fn told(&self) -> bool {
        self.gauges.iter().any(|it| it.has_canary && it.has_control)
    }
}

impl Gauge {
    fn new(block: u64) -> Gauge {
        let components = LAMBDAS.map(|_| (1.0 / LAMBDAS.len() as f64, 1));
        Gauge {
            open: Block::new(block),
            course: Course::default(),
            hosts: Hosts::default(),
            mixture: Mixture::new(&components, HORIZON_BLOCKS),
            blocks: 0,
            squares: 0.0,
            has_canary: false,
            has_control: false,
        }
    }

    fn sample(&mut self, at: u64, sample: &GaugeSample, level: Option<f64>) {
        let used = f64::from(sample.permille.min(1000)) / 1000.0;
        match sample.side {
            Side::Canary => self.has_canary = true,
            Side::Control => self.has_control = true,
        }
        self.open.add(sample.side, used, level);
        self.hosts.add(at, sample);
    }

    /// Bets on the block that is over and begins this one.
    fn begin_block(&mut self, number: u64) {
        if number <= self.open.number {
            return;
        }
        let block = std::mem::replace(&mut self.open, Block::new(number));
        if let Some(rise) = block.rise() {
            let difference = rise - MARGIN;
            // Known before this block, so a symmetric difference gains nothing on average.
            let usual = ((self.squares + USUAL * USUAL) / (self.blocks + 1) as f64).sqrt();
            let ln_e = LAMBDAS.map(|lambda| ln_sign_bet(lambda * difference / usual));
            self.mixture.step(&ln_e);
            self.blocks += 1;
            self.squares += difference * difference;
        }
        self.course.add(&block);
    }
}

/// `ln(1 + tanh x) = ln 2 - ln(1 + exp(-2x))`, without losing digits on either side. As
/// `tanh` is odd, its mean is 0 when `x` is as often above as below 0, and less when it is lower.
fn ln_sign_bet(x: f64) -> f64 {
    let ln_2 = std::f64::consts::LN_2;
    if x < 0.0 {
        ln_2 + 2.0 * x - libm::log1p(exp(2.0 * x))
    } else {
        ln_2 - libm::log1p(exp(-2.0 * x))
    }
}

#[cfg(test)]
mod tests;
