//! How many times as often requests fail on the new bundle: an estimate, and
//! bounds that hold at all times together.
//!
//! For each ratio of a grid the likelihood of "this failure was the canary's" is kept.
//! Given the requests of a second, and whatever the control's share is,
//! `L(r')/L(r)` is an e-value against `p_c <= r p_b` for `r' > r` and against
//! `p_c >= r p_b` for `r' < r`: by `1 + x <= exp(x)` its expectation is at most
//! `exp(n_c p_c (s r'/r - 1) + n_b p_b (s - 1))` with `s = (r n_c + n_b)/(r' n_c + n_b)`,
//! and the exponent is 0 at `p_c = r p_b`. A mean over `r'` is one too (Robbins 1970),
//! and where it reaches 40, `r` is outside (twice 2.5 %, at all times by Ville's inequality).
//!
//! Invariant: without failures, or with one side silent, nothing is bounded.

use crate::judge::Ratio;
use crate::num::{exp, ln};
use crate::tick::Sums;

/// Ratios on the grid: from 1/16 to 1024 in steps of the square root of 2.
const POINTS: usize = 29;
/// Half of ln 2: the grid's step.
const STEP: f64 = 0.346_573_590_279_972_65;
/// The point where the ratio is 1.
const ONE: usize = 8;
/// Products stay below `e` to this power, far from where numbers end (709).
const LN_PRODUCT_MAX: f64 = 600.0;
/// ln(1 / 0.025): 95 % for both bounds together.
const LN_OUTSIDE: f64 = 3.688_879_454_113_936;

/// What is known of the ratio.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Likelihood {
    ratios: [f64; POINTS],
    /// Product of `(1 + ratio * n_c / n_b)^failures` over the latest seconds. A logarithm for
    /// each point and second would cost more than all bets together.
    product: [f64; POINTS],
    /// Logarithm of the product at the largest ratio, which is the largest.
    ln_largest: f64,
    /// Logarithms of the products before.
    ln_before: [f64; POINTS],
    /// The canary's failures.
    failed: f64,
    /// Mantel and Haenszel's sums: the estimate is not moved by a change of traffic between strata.
    canary: f64,
    control: f64,
}

impl Likelihood {
    pub(crate) fn new() -> Likelihood {
        let mut ratios = [0.0; POINTS];
        for (i, ratio) in ratios.iter_mut().enumerate() {
            *ratio = exp(ln_ratio(i));
        }
        Likelihood {
            ratios,
            product: [1.0; POINTS],
            ln_largest: 0.0,
            ln_before: [0.0; POINTS],
            failed: 0.0,
            canary: 0.0,
            control: 0.0,
        }
    }

    /// One second of one stratum.
    pub(crate) fn observe(&mut self, canary: Sums, control: Sums) {
        let (e_c, e_b) = (canary.e as f64, control.e as f64);
        let (n_c, n_b) = (canary.n as f64, control.n as f64);
        if canary.n == 0 || control.n == 0 || e_c + e_b == 0.0 {
            return;
        }
        self.canary += e_c * n_b / (n_c + n_b);
        self.control += e_b * n_c / (n_c + n_b);
        self.failed += e_c;
        let bases = self.ratios.map(|ratio| 1.0 + ratio * (n_c / n_b));
        let ln_largest = (e_c + e_b) * ln(bases[POINTS - 1]);
        if self.ln_largest + ln_largest > LN_PRODUCT_MAX {
            self.flush();
        }
        if ln_largest > LN_PRODUCT_MAX {
            for (before, base) in self.ln_before.iter_mut().zip(bases) {
                *before += (e_c + e_b) * ln(base);
            }
        } else {
            self.ln_largest += ln_largest;
            self.multiply(bases, canary.e.saturating_add(control.e));
        }
    }

    /// Multiplies with powers of the bases, by squaring.
    fn multiply(&mut self, mut bases: [f64; POINTS], mut power: u64) {
        while power > 0 {
            if power % 2 == 1 {
                for (product, base) in self.product.iter_mut().zip(bases) {
                    *product *= base;
                }
            }
            power /= 2;
            if power > 0 {
                bases = bases.map(|base| base * base);
            }
        }
    }

    fn flush(&mut self) {
        for (before, product) in self.ln_before.iter_mut().zip(&mut self.product) {
            *before += ln(*product);
            *product = 1.0;
        }
        self.ln_largest = 0.0;
    }

    /// Logarithm of each ratio's likelihood, but for what is the same for all.
    fn ln_l(&self) -> Course {
        let mut ln_l = [0.0; POINTS];
        for (i, ln_l) in ln_l.iter_mut().enumerate() {
            *ln_l = self.failed * ln_ratio(i) - self.ln_before[i] - ln(self.product[i]);
        }
        Course { ln_l }
    }

    /// `dispersion`: how much less the failures say than independent ones would.
    pub(crate) fn ratio(&self, dispersion: f64) -> Option<Ratio> {
        if self.canary + self.control == 0.0 {
            return None;
        }
        let estimate = (self.control > 0.0).then(|| self.canary / self.control);
        let outside = LN_OUTSIDE * dispersion;
        let course = self.ln_l();
        let low = course.bound(outside, (0..POINTS).rev());
        let high = course.bound(outside, 0..POINTS);
        let low = low.map_or(0.0, |x| exp(x).min(estimate.unwrap_or(f64::INFINITY)));
        let high = high.map_or(f64::INFINITY, |x| exp(x).max(estimate.unwrap_or(0.0)));
        // Counts near the largest number leave no digits for a difference.
        let (low, high) = if low <= high {
            (low, high)
        } else {
            (0.0, f64::INFINITY)
        };
        Some(Ratio {
            estimate,
            low,
            high,
        })
    }
}

/// The likelihood over the grid.
struct Course {
    ln_l: [f64; POINTS],
}

impl Course {
    /// Goes over the grid from the far end and puts together what lies beyond each
    /// point. The bound is at the first point that is outside, or between it and the
    /// one before, over which what lies beyond is the same.
    fn bound(&self, outside: f64, points: impl Iterator<Item = usize>) -> Option<f64> {
        let top = self.ln_l.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut beyond, mut count, mut before) = (0.0, 0.0, None);
        for i in points {
            if let Some(before) = before {
                let border = top + ln(beyond / count) - outside;
                if self.ln_l[i] <= border {
                    return Some(self.crossing(i, before, border));
                }
            }
            beyond += exp(self.ln_l[i] - top);
            count += 1.0;
            before = Some(i);
        }
        None
    }

    /// Where the likelihood crosses `border` between the grid's neighbours `from` (below) and `to`.
    fn crossing(&self, from: usize, to: usize, border: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        if self.ln_l[to] <= border {
            return ln_ratio(to);
        }
        // A thousandth of a step is finer than what is shown.
        for _ in 0..10 {
            let middle = 0.5 * (low + high);
            if self.between(from, to, middle) <= border {
                low = middle;
            } else {
                high = middle;
            }
        }
        ln_ratio(from) + (ln_ratio(to) - ln_ratio(from)) * low
    }

    /// The likelihood between two neighbours: a cubic through the two and their slopes.
    fn between(&self, from: usize, to: usize, x: f64) -> f64 {
        let sign = if to > from { 1.0 } else { -1.0 };
        let (a, b) = (self.ln_l[from], self.ln_l[to]);
        let (rise_a, rise_b) = (sign * self.slope(from), sign * self.slope(to));
        let y = 1.0 - x;
        y * y * (1.0 + 2.0 * x) * a
            + x * x * (3.0 - 2.0 * x) * b
            + x * y * (y * rise_a - x * rise_b)
    }

    /// Change for each step of the grid, by the neighbours.
    fn slope(&self, i: usize) -> f64 {
        let (left, right) = (i.saturating_sub(1), (i + 1).min(POINTS - 1));
        (self.ln_l[right] - self.ln_l[left]) / (right - left) as f64
    }
}

fn ln_ratio(i: usize) -> f64 {
    (i as f64 - ONE as f64) * STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(canary: (u64, u64), control: (u64, u64), ticks: u64) -> Option<Ratio> {
        let mut likelihood = Likelihood::new();
        for _ in 0..ticks {
            let sums = |(e, n)| Sums { n, e };
            likelihood.observe(sums(canary), sums(control));
        }
        likelihood.ratio(1.0)
    }

    #[test]
    fn nothing_is_bounded_without_failures_or_with_one_side_silent() {
        assert_eq!(of((0, 50), (0, 950), 100), None);
        assert_eq!(of((3, 50), (0, 0), 100), None);
        assert_eq!(of((0, 0), (7, 900), 100), None);
    }

    #[test]
    fn bounds_close_in_on_the_ratio() {
        let some = of((1, 50), (10, 950), 10).unwrap();
        let more = of((1, 50), (10, 950), 100).unwrap();
        assert!((some.estimate.unwrap() - 1.9).abs() < 1e-12);
        assert!(some.low < more.low && more.low < 1.9, "{some:?} {more:?}");
        assert!(
            some.high > more.high && more.high > 1.9,
            "{some:?} {more:?}"
        );
        assert!(more.low > 1.2 && more.high < 2.8, "{more:?}");
    }

    #[test]
    fn many_failures_in_one_second_are_as_many_in_single_seconds() {
        let mut single = Likelihood::new();
        for _ in 0..1000 {
            single.observe(Sums { n: 5, e: 1 }, Sums { n: 50, e: 2 });
        }
        let mut at_once = Likelihood::new();
        at_once.observe(Sums { n: 5000, e: 1000 }, Sums { n: 50_000, e: 2000 });
        let (single, at_once) = (single.ratio(1.0).unwrap(), at_once.ratio(1.0).unwrap());
        assert!(
            (single.low - at_once.low).abs() < 1e-6,
            "{single:?} {at_once:?}"
        );
        assert!((single.high - at_once.high).abs() < 1e-6);
        assert!(single.low > 4.0 && single.high < 6.1, "{single:?}");
    }

    #[test]
    fn one_side_without_failures_is_bounded_on_the_other() {
        let worse = of((1, 50), (0, 950), 50).unwrap();
        assert_eq!((worse.estimate, worse.high), (None, f64::INFINITY));
        assert!(worse.low > 100.0, "{worse:?}");
        let better = of((0, 50), (10, 950), 50).unwrap();
        assert_eq!((better.estimate, better.low), (Some(0.0), 0.0));
        assert!(better.high < 1.0, "{better:?}");
    }
}
