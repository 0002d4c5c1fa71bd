//! How others judge, written down as they do it.
//!
//! Invariant: where a peer leaves a choice open, the one that is better for it is taken.

use judge::Sums;
use libm::{erfc, log, sqrt};

use crate::draw::Draw;
use crate::oracles::{Rule, log_beta};

const MINUTE: u64 = 60;
/// How often judges that look at the whole look: each five minutes, twelve times an hour.
const LOOK: u64 = 300;
pub(crate) const LOOKS: u64 = 12;

fn share(sums: Sums) -> f64 {
    sums.e as f64 / sums.n as f64
}

fn add(to: &mut [Sums; 2], more: &[Sums; 2]) {
    for (to, more) in to.iter_mut().zip(more) {
        to.n += more.n;
        to.e += more.e;
    }
}

/// `n` of these requests, drawn without replacement.
fn part(draw: &mut Draw, of: Sums, n: u64) -> Sums {
    let mut e = 0;
    for failure in 0..of.e {
        e += u64::from(draw.unit() * ((of.n - failure) as f64) < (n - e) as f64);
    }
    Sums { n, e }
}

/// P(Z > z).
fn above(z: f64) -> f64 {
    erfc(z / std::f64::consts::SQRT_2) / 2.0
}

/// As Kayenta's judge: Mann and Whitney's test over the error ratios of minutes, with the tolerance
/// 0.25 and the confidence 0.98 that are written into it, without asking for the 50 points that its
/// documentation wants. Its root search, which stops at 1e-4, is replaced by the exact bound.
#[derive(Debug)]
pub(crate) struct Kayenta {
    /// Its documentation wants a baseline of the canary's size: which of the control's requests are it
    /// is drawn. Absent: all of them are.
    baseline: Option<Draw>,
    seconds: u64,
    minute: [Sums; 2],
    points: [Vec<f64>; 2],
    differences: Vec<f64>,
    /// It looks at these seconds only; at none when it is to be looked at each five minutes.
    only: Option<u64>,
}

impl Kayenta {
    /// With a baseline of the canary's size, as its documentation wants; it looks each five minutes.
    pub(crate) fn new(baseline: Draw) -> Kayenta {
        Kayenta {
            baseline: Some(baseline),
            ..Kayenta::against_all()
        }
    }

    /// Against all other requests.
    pub(crate) fn against_all() -> Kayenta {
        Kayenta {
            baseline: None,
            seconds: 0,
            minute: Default::default(),
            points: Default::default(),
            differences: Vec::new(),
            only: None,
        }
    }

    /// It looks once, at the end.
    pub(crate) fn once(self, at: u64) -> Kayenta {
        Kayenta {
            only: Some(at),
            ..self
        }
    }

    fn is_high(&mut self) -> bool {
        let [canary, control] = &self.points;
        self.differences.clear();
        for c in canary {
            self.differences.extend(control.iter().map(|b| c - b));
        }
        let pairs = self.differences.len();
        let (m, n) = (canary.len() as f64, control.len() as f64);
        let sigma = sqrt(m * n * (m + n + 1.0) / 12.0);
        // The 99 % point of the normal: a two-sided confidence of 98 %; with correction for continuity.
        let rank = m * n / 2.0 - 0.5 - 2.326_347_874 * sigma;
        if rank <= 0.0 {
            return false;
        }
        let mut at = |rank: usize| {
            let (_, value, _) = self
                .differences
                .select_nth_unstable_by(rank, f64::total_cmp);
            *value
        };
        let low = at(rank.ceil() as usize - 1);
        let shift = (at(pairs / 2) + at((pairs - 1) / 2)) / 2.0;
        low > 0.25 * shift.abs()
    }
}

impl Rule for Kayenta {
    fn second(&mut self, sums: &[Sums; 2]) -> bool {
        self.seconds += 1;
        let [canary, control] = *sums;
        let baseline = match &mut self.baseline {
            Some(draw) => part(draw, control, canary.n),
            None => control,
        };
        add(&mut self.minute, &[canary, baseline]);
        if self.seconds.is_multiple_of(MINUTE) {
            for (points, sums) in self.points.iter_mut().zip(self.minute) {
                points.push(share(sums));
            }
            self.minute = Default::default();
        }
        match self.only {
            Some(at) => self.seconds == at && self.is_high(),
            None => self.seconds.is_multiple_of(LOOK) && self.is_high(),
        }
    }
}

/// Twelve looks in an hour with boundaries after O'Brien and Fleming (1979).
#[derive(Debug)]
pub(crate) struct GroupSequential {
    seconds: u64,
    sums: [Sums; 2],
    boundary: f64,
}

impl GroupSequential {
    pub(crate) fn new(boundary: f64) -> GroupSequential {
        GroupSequential {
            seconds: 0,
            sums: Default::default(),
            boundary,
        }
    }

    /// The constant c for which a random walk of twelve standard normal steps ever passes `c sqrt(12)`
    /// with probability `alpha`: by recursion over the density (Armitage, McPherson and Rowe 1969).
    pub(crate) fn boundary(alpha: f64) -> f64 {
        let (mut low, mut high) = (2.0, 5.0);
        for _ in 0..30 {
            let middle = (low + high) / 2.0;
            match crossing(middle * sqrt(LOOKS as f64)) > alpha {
                true => low = middle,
                false => high = middle,
            }
        }
        high
    }
}

/// P(a walk of [`LOOKS`] standard normal steps is ever above `bound`).
fn crossing(bound: f64) -> f64 {
    const STEP: f64 = 0.05;
    const LOW: f64 = -16.0;
    let cells = ((bound - LOW) / STEP) as usize;
    let at = |cell: usize| bound - (cell as f64 + 0.5) * STEP;
    let normal = |x: f64| libm::exp(-x * x / 2.0) / sqrt(std::f64::consts::TAU);
    let mut density: Vec<f64> = (0..cells).map(|cell| normal(at(cell))).collect();
    let mut crossed = above(bound);
    for _ in 1..LOOKS {
        let mass = |from: usize| density[from] * STEP;
        crossed += (0..cells)
            .map(|from| mass(from) * above(bound - at(from)))
            .sum::<f64>();
        let kernel: Vec<f64> = (0..cells)
            .map(|apart| normal(apart as f64 * STEP))
            .collect();
        density = (0..cells)
            .map(|to| {
                (0..cells)
                    .map(|from| mass(from) * kernel[to.abs_diff(from)])
                    .sum()
            })
            .collect();
    }
    crossed
}

impl Rule for GroupSequential {
    fn second(&mut self, sums: &[Sums; 2]) -> bool {
        self.seconds += 1;
        add(&mut self.sums, sums);
        if !self.seconds.is_multiple_of(LOOK) || self.seconds > LOOK * LOOKS {
            return false;
        }
        let [canary, control] = self.sums;
        // The pooled variance: with the two sides' own it needs more.
        let (m, n) = (canary.n as f64, control.n as f64);
        let pooled = (canary.e + control.e) as f64 / (m + n);
        let error = sqrt(pooled * (1.0 - pooled) * (1.0 / m + 1.0 / n));
        let looks = (self.seconds / LOOK) as f64;
        share(canary) - share(control) > error * self.boundary * sqrt(LOOKS as f64 / looks)
    }
}

/// So many minutes, not necessarily in a row, in which more than 1 % failed: Flagger with a success
/// rate of 99 % and 5 failed checks, Argo Rollouts with one.
#[derive(Debug)]
pub(crate) struct Threshold {
    seconds: u64,
    minute: Sums,
    left: u32,
}

impl Threshold {
    pub(crate) fn new(failed_checks: u32) -> Threshold {
        Threshold {
            seconds: 0,
            minute: Sums::default(),
            left: failed_checks,
        }
    }
}

impl Rule for Threshold {
    fn second(&mut self, [canary, _]: &[Sums; 2]) -> bool {
        self.seconds += 1;
        self.minute.n += canary.n;
        self.minute.e += canary.e;
        if self.seconds.is_multiple_of(MINUTE) {
            self.left -= u32::from(share(self.minute) > 0.01);
            self.minute = Sums::default();
        }
        self.left == 0
    }
}

/// Lindon and Malek (2022): is the new bundle's share of the failures its share of the requests? A
/// Dirichlet mixture of concentration 100 around it, two-sided, as in `savvi`.
#[derive(Debug)]
pub(crate) struct LindonMalek {
    share: f64,
    failed: [f64; 2],
    needed: f64,
}

const CONCENTRATION: f64 = 100.0;

impl LindonMalek {
    pub(crate) fn new(alpha: f64, share: f64) -> LindonMalek {
        LindonMalek {
            share,
            failed: [0.0; 2],
            needed: -log(alpha),
        }
    }
}

impl Rule for LindonMalek {
    fn second(&mut self, sums: &[Sums; 2]) -> bool {
        if sums.iter().all(|sums| sums.e == 0) {
            return false;
        }
        for (failed, sums) in self.failed.iter_mut().zip(sums) {
            *failed += sums.e as f64;
        }
        let prior = [self.share, 1.0 - self.share];
        let [a, b] = prior.map(|share| share * CONCENTRATION);
        let [c, d] = self.failed;
        let null = c * log(prior[0]) + d * log(prior[1]);
        log_beta(a + c, b + d) - log_beta(a, b) - null >= self.needed
    }
}

/// Confidence bands around both distribution functions that hold at all times (Howard and Ramdas
/// 2022, theorem 2: `0.85 sqrt((ln ln(e t) + 0.8 ln(1612/alpha)) / t)`); harm is where they part.
#[derive(Debug)]
pub(crate) struct Band {
    seconds: u64,
    counts: [[u64; 32]; 2],
    alpha: f64,
}

/// How often it looks, in seconds.
const BAND_LOOK: u64 = 5;

impl Band {
    pub(crate) fn new(alpha: f64) -> Band {
        Band {
            seconds: 0,
            counts: [[0; 32]; 2],
            alpha,
        }
    }

    fn width(&self, requests: u64) -> f64 {
        let t = requests as f64;
        let c = 0.8 * log(1612.0 * 2.0 / self.alpha);
        0.85 * sqrt((log(1.0 + log(t)) + c) / t)
    }

    pub(crate) fn second(&mut self, counts: &[[u64; 32]; 2]) -> bool {
        self.seconds += 1;
        for (sums, counts) in self.counts.iter_mut().zip(counts) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        if !self.seconds.is_multiple_of(BAND_LOOK) {
            return false;
        }
        let [c, b] = [0, 1].map(|side| self.counts[side].iter().sum::<u64>());
        let apart = self.width(c) + self.width(b);
        let (mut canary, mut control) = (0, 0);
        self.counts[0]
            .iter()
            .zip(&self.counts[1])
            .any(|(c_in, b_in)| {
                canary += c_in;
                control += b_in;
                control as f64 / b as f64 - canary as f64 / c as f64 > apart
            })
    }
}
