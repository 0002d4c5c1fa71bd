//! Chance for the bench: exact samplers, all of it from one seed.
//!
//! Invariant: a run's stream depends on the seed, the experiment and the run's
//! number, never on which thread runs it or when.

use libm::{exp, lgamma, log, log1p, sqrt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The chance of one run.
#[derive(Debug)]
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    pub(crate) fn new(seed: u64, experiment: &str, run: u64) -> Draw {
        // FNV-1a: names of experiments are few and differ, which is all that is asked of it.
        let name = experiment
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ name);
        rng.set_stream(run);
        Draw(rng)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform, above 0 and below 1, with 53 bits.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Standard normal (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = sqrt(-2.0 * log(self.unit()));
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// Log-normal of mean 1 and this coefficient of variation.
    pub(crate) fn spread(&mut self, cv: f64) -> f64 {
        if cv == 0.0 {
            return 1.0;
        }
        let variance = log1p(cv * cv);
        exp(sqrt(variance) * self.normal() - variance / 2.0)
    }

    /// How many trials fail to happen before the next one that does, when each does with
    /// probability `p` (0 < p < 1).
    pub(crate) fn skip(&mut self, p: f64) -> u64 {
        // Beyond 2^63 the cast saturates, which is as good as never.
        (log(self.unit()) / log1p(-p)) as u64
    }
}

/// A binomial with fixed parameters, by inversion of its distribution function.
#[derive(Debug)]
pub(crate) struct Binomial {
    /// The value of the first entry of `below`.
    from: u64,
    /// P(X <= from + i).
    below: Vec<f64>,
    /// For each 256th of (0, 1): the first entry that can hold it.
    guide: Vec<usize>,
}

impl Binomial {
    pub(crate) fn new(n: u64, p: f64) -> Binomial {
        let chances = (0..=n).map(|k| exp(log_chance(n, k, p)));
        let (mut from, mut sum, mut below) = (0, 0.0, Vec::new());
        for (k, chance) in (0..=n).zip(chances) {
            // What has less than 1e-18 of the mass is never drawn in the runs of a year.
            if below.is_empty() && chance < 1e-18 {
                continue;
            }
            if below.is_empty() {
                from = k;
            }
            sum += chance;
            below.push(sum);
            if chance < 1e-18 && sum > 0.5 {
                break;
            }
        }
        let guide = (0..256)
            .map(|part| {
                let at = f64::from(part) / 256.0 * sum;
                below.partition_point(|mass| *mass < at)
            })
            .collect();
        for mass in &mut below {
            *mass /= sum;
        }
        Binomial { from, below, guide }
    }

    pub(crate) fn draw(&self, draw: &mut Draw) -> u64 {
        let unit = draw.unit();
        let mut at = self.guide[(unit * 256.0) as usize];
        // The guide was made before the division above: it may be one too far.
        at -= usize::from(at > 0);
        while at + 1 < self.below.len() && self.below[at] < unit {
            at += 1;
        }
        self.from + at as u64
    }
}

fn log_chance(n: u64, k: u64, p: f64) -> f64 {
    let (n, k) = (n as f64, k as f64);
    let part = |count: f64, chance: f64| match count == 0.0 {
        true => 0.0,
        false => count * log(chance),
    };
    lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0) + part(k, p) + part(n - k, 1.0 - p)
}

/// One of at most 32 values with fixed probabilities (the alias method of Walker 1974 and Vose
/// 1991), two to each draw of 64 bits.
#[derive(Debug)]
pub(crate) struct Alias([(u32, u8); 32]);

impl Alias {
    pub(crate) fn new(chances: &[f64]) -> Alias {
        const PARTS: f64 = (1_u64 << 27) as f64;
        let mut left: Vec<f64> = chances.iter().map(|chance| chance * 32.0).collect();
        left.resize(32, 0.0);
        let mut table = [(1 << 27, 0); 32];
        for (at, entry) in table.iter_mut().enumerate() {
            entry.1 = at as u8;
        }
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..32).partition(|at| left[*at] < 1.0);
        while let (Some(low), Some(high)) = (small.pop(), large.pop()) {
            table[low] = ((left[low] * PARTS) as u32, high as u8);
            left[high] -= 1.0 - left[low];
            match left[high] < 1.0 {
                true => small.push(high),
                false => large.push(high),
            }
        }
        Alias(table)
    }

    /// `n` draws, counted.
    pub(crate) fn counts(&self, draw: &mut Draw, n: u64) -> [u64; 32] {
        let mut counts = [0; 32];
        let mut bits = 0;
        for drawn in 0..n {
            bits = match drawn % 2 {
                0 => draw.bits(),
                _ => bits >> 32,
            };
            let slot = (bits & 31) as usize;
            let (keep, other) = self.0[slot];
            let part = (bits as u32) >> 5;
            let value = if part < keep {
                slot
            } else {
                usize::from(other)
            };
            counts[value] += 1;
        }
        counts
    }
}
