//! What can be reached at best: bounds, and tests that know what they look for.
//!
//! Invariant: an oracle is told the true probabilities, so no judge has to beat it.

use judge::Sums;
use libm::{exp, lgamma, log, log1p};

/// Looks at one second of both sides, canary first; says whether it is sure by now.
pub(crate) trait Rule {
    fn second(&mut self, sums: &[Sums; 2]) -> bool;
}

/// Divergence of two Bernoulli variables, in nats.
pub(crate) fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p == 0.0 { 0.0 } else { p * log(p / q) };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

/// Canary requests that a test needs on average at least when the old bundle's `p0` is known
/// (Wald 1945, for a power near 1).
pub(crate) fn wald(alpha: f64, p0: f64, p1: f64) -> f64 {
    -log(alpha) / divergence(p1, p0)
}

/// The same when it is not, and the new bundle has the share `share` of the requests.
pub(crate) fn two_sample(alpha: f64, share: f64, p0: f64, p1: f64) -> f64 {
    let mean = share * p1 + (1.0 - share) * p0;
    let control = (1.0 - share) / share * divergence(p0, mean);
    -log(alpha) / (divergence(p1, mean) + control)
}

/// `e` failures of `n`: how much likelier under `p` than under `q`, in nats.
fn likelier(sums: Sums, p: f64, q: f64) -> f64 {
    let (e, n) = (sums.e as f64, sums.n as f64);
    let part = |count: f64, p: f64, q: f64| {
        if count == 0.0 {
            0.0
        } else {
            count * log(p / q)
        }
    };
    part(e, p, q) + part(n - e, 1.0 - p, 1.0 - q)
}

/// Wald's sequential probability ratio test, which knows p0 and p1 and looks at the canary alone.
#[derive(Debug)]
pub(crate) struct Sprt {
    pub(crate) p: [f64; 2],
    pub(crate) needed: f64,
    pub(crate) evidence: f64,
}

impl Sprt {
    pub(crate) fn new(alpha: f64, p0: f64, p1: f64) -> Sprt {
        Sprt {
            p: [p1, p0],
            needed: -log(alpha),
            evidence: 0.0,
        }
    }
}

impl Rule for Sprt {
    fn second(&mut self, [canary, _]: &[Sums; 2]) -> bool {
        self.evidence += likelier(*canary, self.p[0], self.p[1]);
        self.evidence >= self.needed
    }
}

/// The two-sample bet with the true p0 and p1, against the nearest point of the null in each second.
#[derive(Debug)]
pub(crate) struct TwoSample(Sprt);

impl TwoSample {
    pub(crate) fn new(alpha: f64, p0: f64, p1: f64) -> TwoSample {
        TwoSample(Sprt::new(alpha, p0, p1))
    }
}

impl Rule for TwoSample {
    fn second(&mut self, [canary, control]: &[Sums; 2]) -> bool {
        let (c, b) = (canary.n as f64, control.n as f64);
        let [p1, p0] = self.0.p;
        let null = (c * p1 + b * p0) / (c + b);
        self.0.evidence += likelier(*canary, p1, null) + likelier(*control, p0, null);
        self.0.evidence >= self.0.needed
    }
}

/// The same for latencies: it knows both histograms.
#[derive(Debug)]
pub(crate) struct Histograms {
    gain: [Vec<f64>; 2],
    needed: f64,
    evidence: f64,
}

impl Histograms {
    pub(crate) fn new(alpha: f64, share: f64, canary: &[f64], control: &[f64]) -> Histograms {
        let gain = |of: &[f64]| {
            let mean = canary
                .iter()
                .zip(control)
                .map(|(q, r)| share * q + (1.0 - share) * r);
            of.iter().zip(mean).map(|(p, mean)| log(p / mean)).collect()
        };
        Histograms {
            gain: [gain(canary), gain(control)],
            needed: -log(alpha),
            evidence: 0.0,
        }
    }

    pub(crate) fn second(&mut self, counts: &[[u64; 32]; 2]) -> bool {
        for (counts, gain) in counts.iter().zip(&self.gain) {
            for (count, gain) in counts.iter().zip(gain) {
                // A bucket that nobody can reach has no logarithm, and no count.
                if *count > 0 {
                    self.evidence += *count as f64 * gain;
                }
            }
        }
        self.evidence >= self.needed
    }
}

/// ln Beta(a, b).
pub(crate) fn log_beta(a: f64, b: f64) -> f64 {
    lgamma(a) + lgamma(b) - lgamma(a + b)
}

/// The smallest count that `runs` runs exceed with a probability below 1 % when each counts with
/// probability `rate`.
pub(crate) fn limit(runs: usize, rate: f64) -> f64 {
    let n = runs as f64;
    let chance = |k: f64| {
        let ways = lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0);
        exp(ways + k * log(rate) + (n - k) * log1p(-rate))
    };
    let (mut k, mut left) = (0.0, 1.0 - chance(0.0));
    while left >= 0.01 {
        k += 1.0;
        left -= chance(k);
    }
    k
}
