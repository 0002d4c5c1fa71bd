//! Random numbers for tests.
//!
//! Invariant: the same seed gives the same numbers on every machine.

use crate::num::ln;

/// SplitMix64 (Steele, Lea & Flood 2014).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// Uniform in (0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// How many of `n` happen, each with this probability: by jumping from one to the next.
    pub(crate) fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 || p >= 1.0 {
            return if p >= 1.0 { n } else { 0 };
        }
        if p > 0.5 {
            return n - self.binomial(n, 1.0 - p);
        }
        let ln_fails = ln(1.0 - p);
        let (mut hits, mut at) = (0, 0.0);
        loop {
            at += 1.0 + (ln(self.uniform()) / ln_fails).floor();
            if at > n as f64 {
                return hits;
            }
            hits += 1;
        }
    }

    /// Poisson, by adding exponential times.
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        let (mut n, mut time) = (0, 0.0);
        loop {
            time -= ln(self.uniform());
            if time > mean {
                return n;
            }
            n += 1;
        }
    }

    /// How often each of these shares is drawn in `n` draws, by bucket.
    pub(crate) fn histogram(&mut self, n: u64, shares: &[f64]) -> Vec<(u8, u64)> {
        let (mut rest, mut mass) = (n, 1.0);
        let mut drawn = Vec::new();
        for (share, bucket) in shares.iter().zip(0u8..) {
            let hits = self.binomial(rest, (share / mass).clamp(0.0, 1.0));
            if hits > 0 {
                drawn.push((bucket, hits));
            }
            rest -= hits;
            mass -= share;
            if rest == 0 || mass <= 0.0 {
                break;
            }
        }
        drawn
    }
}
