//! What slower would look like: alternatives to the histogram that is known.
//!
//! Each alternative is the reference times a factor `g` that never falls from
//! one bucket to the next. Invariant: a bet on such an alternative is an e-value
//! for every pair of histograms of which the canary's is not slower (in the
//! sense of stochastic order) than the control's.

use model::ticks::LATENCY_BUCKETS;
use serde::{Deserialize, Serialize};

use super::slower::Slower;
use crate::num::{exp, ln, ln_1p};

/// Alternatives.
pub(crate) const TILTS: usize = SAVAGE.len() + TAILS * GAINS;
/// Everything slower: `g = S^-lambda`, `S` the share that is slower than the bucket's
/// middle (Savage's scores, the locally best ranks for a slowdown of exponential times).
const SAVAGE: [f64; 3] = [0.4, 0.2, 0.1];
/// Slower from some bucket on. A slow mode is found soonest when it is the whole tail, and
/// half as soon when it is a third of it or a third more; so tails are factors of 2 to 4 apart.
/// A tail begins beyond this quantile of the reference; the last one is what never ends.
const QUANTILES: [f64; TAILS - 1] = [0.4, 0.7, 0.87, 0.95, 0.98, 0.993, 0.998];
const TAILS: usize = 8;
const CELLS: usize = TAILS + 1;
/// The last tail is the last bucket.
const LAST_CUT: u8 = LATENCY_BUCKETS as u8 - 2;
const GAINS: usize = 2;
/// So many times as many requests there.
const TAIL_GAINS: [f64; GAINS] = [1.7, 5.0];
/// The same for what never ends, of which there is next to nothing in a sound service.
const HANG_GAINS: [f64; GAINS] = [10.0, 100.0];
/// Below so many requests a reference says too little to bet on.
const REQUESTS_MIN: u64 = 100;
/// A reference forgets: its counts are halved when they are more than this. The
/// 0.999 quantile then rests on 60 requests or more, and a service with 1000
/// requests per second remembers one to two minutes, enough to follow the day.
const REQUESTS_MAX: u64 = 1 << 17;
/// Added to each bucket, so that none is impossible.
const PRIOR: f64 = 0.5;

/// Weight of an alternative in the mixture. Everything slower is the more frequent harm, and
/// the one that costs the most requests to see when it is small.
pub(crate) fn weight(tilt: usize) -> f64 {
    if tilt < SAVAGE.len() {
        0.6 / SAVAGE.len() as f64
    } else {
        0.4 / (TAILS * GAINS) as f64
    }
}

/// Ticks between restarts of an alternative's process: the stronger a bet, the
/// sooner it pays, and the sooner after its beginning it has to be placed.
pub(crate) fn restart_spacing(tilt: usize) -> u32 {
    match tilt.checked_sub(SAVAGE.len()) {
        None => [15, 30, 60][tilt],
        Some(tail) if tail < (TAILS - 1) * GAINS => [60, 20][tail % GAINS],
        Some(hang) => [20, 5][hang % GAINS],
    }
}

/// A histogram of bounded memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Reference {
    counts: [u32; LATENCY_BUCKETS],
}

impl Reference {
    /// Adds what the control did.
    pub(crate) fn add(&mut self, control: &[(u8, u64)]) {
        let mut counts = self.counts.map(u64::from);
        for (bucket, n) in control {
            let count = &mut counts[usize::from(*bucket).min(LATENCY_BUCKETS - 1)];
            // Small enough that a sum over all buckets fits its type.
            *count = count
                .saturating_add(*n)
                .min(u64::MAX / LATENCY_BUCKETS as u64);
        }
        while counts.iter().sum::<u64>() > REQUESTS_MAX {
            counts = counts.map(|count| count / 2);
        }
        // None is more than the sum, which fits.
        self.counts = counts.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Requests that it still remembers.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    /// Shares that add up to 1, none of them 0.
    fn shares(&self) -> [f64; LATENCY_BUCKETS] {
        let total = self.total() as f64 + PRIOR * LATENCY_BUCKETS as f64;
        self.counts.map(|count| (f64::from(count) + PRIOR) / total)
    }

    /// Requests in a bucket.
    pub(crate) fn count(&self, bucket: usize) -> u64 {
        self.counts.get(bucket).copied().map_or(0, u64::from)
    }
}

/// The alternatives to one reference. All of them are the same for the buckets between two
/// cuts (a *cell*), so a second costs a logarithm for each cell and not for each bucket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tilts {
    /// Of how many requests they were made; 0: nothing is bet.
    total: u64,
    /// A tail begins after this bucket, and a cell ends with it.
    cuts: [u8; TAILS],
    /// Logarithm of the share that is slower than the middle of a cell.
    ln_slower: [f64; CELLS],
    /// A Savage tilt's `Q / R`, by cell: the share that is slower to the power of `-lambda`,
    savage: [[f64; CELLS]; SAVAGE.len()],
    /// divided by what this adds up to.
    ln_sums: [f64; SAVAGE.len()],
    /// By tail, what the shares of an alternative add up to before they are scaled to 1.
    sums: [[f64; GAINS]; TAILS],
}

impl Tilts {
    /// For a reference, slowed down by what is tolerated; without bets when it is too small.
    pub(crate) fn of(reference: &Reference, slower: &Slower) -> Tilts {
        let total = reference.total();
        let mut tilts = Tilts::of_shares(&slower.spread(&reference.shares()));
        tilts.total = if total < REQUESTS_MIN { 0 } else { total };
        tilts
    }

    /// For shares that are known exactly; they add up to 1.
    pub(crate) fn of_shares(shares: &[f64; LATENCY_BUCKETS]) -> Tilts {
        let mut cuts = [LAST_CUT; TAILS];
        let mut slower = 0.0;
        for (bucket, share) in shares.iter().enumerate().rev() {
            for (cut, quantile) in cuts.iter_mut().zip(QUANTILES) {
                if slower <= 1.0 - quantile {
                    *cut = (*cut).min(u8::try_from(bucket).unwrap_or(LAST_CUT));
                }
            }
            slower += share;
        }
        let cells = by_cell(&cuts, shares);
        let mut tilts = Tilts {
            total: u64::MAX,
            cuts,
            ln_slower: [0.0; CELLS],
            savage: [[1.0; CELLS]; SAVAGE.len()],
            ln_sums: [0.0; SAVAGE.len()],
            sums: [[0.0; GAINS]; TAILS],
        };
        let mut slower = 0.0;
        for (cell, share) in cells.iter().enumerate().rev() {
            // An empty cell at the end counts as nearly empty, so that every factor is finite.
            tilts.ln_slower[cell] = ln((slower + share / 2.0).max(1e-12));
            slower += share;
            if let Some(tail) = cell.checked_sub(1) {
                tilts.sums[tail] = gains(tail).map(|gain| 1.0 + (gain - 1.0) * slower);
            }
        }
        for (k, lambda) in SAVAGE.into_iter().enumerate() {
            let g = tilts.ln_slower.map(|ln_slower| exp(-lambda * ln_slower));
            let sum: f64 = g.iter().zip(cells).map(|(g, share)| g * share).sum();
            tilts.savage[k] = g.map(|g| g / sum);
            tilts.ln_sums[k] = ln(sum);
        }
        tilts
    }

    /// Whether so many more requests change the reference enough to make the alternatives
    /// anew: doing it each tick would cost more and say the same.
    pub(crate) fn is_stale(&self, added: u64) -> bool {
        added > self.total / 8
    }

    /// The logarithms of all alternatives' e-values of one tick: for each,
    /// `sum of c_j ln(Q_j / P_j) + b_j ln(R_j / P_j)` with `P = (n_c Q + n_b R) / n`,
    /// `R` the reference and `Q` the alternative. If both sides are alike,
    /// the mean of `e` is at most 1 by the inequality of means, whatever they are like;
    /// `Q / P` never falls, so a canary that is faster only lowers it.
    pub(crate) fn ln_e(&self, canary: &Histogram, control: &Histogram) -> [f64; TILTS] {
        let mut ln_e = [0.0; TILTS];
        if self.total == 0 || canary.total == 0.0 || control.total == 0.0 {
            return ln_e;
        }
        let c = by_cell(&self.cuts, &canary.counts);
        let b = by_cell(&self.cuts, &control.counts);
        let n = canary.total + control.total;
        let share = canary.total / n;
        // With u = Q / R: ln(Q/P) = ln u - ln(1 + share (u - 1)), and ln(R/P) = -ln(1 + share (u - 1)).
        let (savage, tails) = ln_e.split_at_mut(SAVAGE.len());
        for (k, ln_e) in savage.iter_mut().enumerate() {
            let (u, lambda, ln_sum) = (&self.savage[k], SAVAGE[k], self.ln_sums[k]);
            for cell in 0..CELLS {
                let all = c[cell] + b[cell];
                if all > 0.0 {
                    let ln_u = -lambda * self.ln_slower[cell] - ln_sum;
                    *ln_e += c[cell] * ln_u - all * ln_1p(share * (u[cell] - 1.0));
                }
            }
        }
        let (mut c_tail, mut all_tail) = (0.0, 0.0);
        for (k, ln_e) in tails.chunks_mut(GAINS).enumerate().rev() {
            c_tail += c[k + 1];
            all_tail += c[k + 1] + b[k + 1];
            for ((ln_e, gain), sum) in ln_e.iter_mut().zip(gains(k)).zip(self.sums[k]) {
                *ln_e = -canary.total * ln_1p(sum - 1.0)
                    - (n - all_tail) * ln_1p(share * (1.0 / sum - 1.0));
                if all_tail > 0.0 {
                    *ln_e += c_tail * ln(gain) - all_tail * ln_1p(share * (gain / sum - 1.0));
                }
            }
        }
        ln_e
    }
}

/// How many times as many requests an alternative has in a tail.
fn gains(tail: usize) -> [f64; GAINS] {
    if tail + 1 < TAILS {
        TAIL_GAINS
    } else {
        HANG_GAINS
    }
}

/// Buckets put together to cells.
fn by_cell(cuts: &[u8; TAILS], counts: &[f64; LATENCY_BUCKETS]) -> [f64; CELLS] {
    let mut cells = [0.0; CELLS];
    let mut cell = 0;
    for (bucket, count) in counts.iter().enumerate() {
        while cuts.get(cell).is_some_and(|cut| bucket > usize::from(*cut)) {
            cell += 1;
        }
        cells[cell] += count;
    }
    cells
}

/// Counts of one side of a tick (or shares, for planning).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Histogram {
    counts: [f64; LATENCY_BUCKETS],
    total: f64,
}

impl Histogram {
    /// As a tick has it; buckets beyond the last count as the last.
    pub(crate) fn of(pairs: &[(u8, u64)]) -> Histogram {
        let mut counts = [0.0; LATENCY_BUCKETS];
        for (bucket, n) in pairs {
            counts[usize::from(*bucket).min(LATENCY_BUCKETS - 1)] += *n as f64;
        }
        Histogram::new(counts)
    }

    pub(crate) fn new(counts: [f64; LATENCY_BUCKETS]) -> Histogram {
        Histogram {
            counts,
            total: counts.iter().sum(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0.0
    }

    /// As if each request took longer.
    pub(crate) fn slowed(self, slower: &Slower) -> Histogram {
        Histogram::new(slower.spread(&self.counts))
    }
}
