//! Random numbers by seed.
//!
//! Invariant: the same seed gives the same numbers on every machine.

/// SplitMix64 (Steele, Lea & Flood 2014).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
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

    /// How many of `n` happen: by jumping from one to the next.
    pub(crate) fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p >= 1.0 {
            return n;
        }
        if p <= 0.0 {
            return 0;
        }
        let ln_not = libm::log1p(-p);
        let (mut hits, mut at) = (0, 0.0);
        loop {
            at += 1.0 + (libm::log(self.uniform()) / ln_not).floor();
            if at > n as f64 {
                return hits;
            }
            hits += 1;
        }
    }
}
