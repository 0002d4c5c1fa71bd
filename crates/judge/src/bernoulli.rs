//! The primitive: one e-value from one second of requests on two sides.
//!
//! The claim is that the shares of failing requests lie on one side of a line,
//! `p_c <= ratio * p_b + points` (or `>=`), whatever `p_b` is and however it moves.
//! A bet `(theta_c, theta_b)` on the other side is set against the point of the
//! line that explains the bet's data best, the reverse information projection
//! (Turner, Ly & Grünwald 2024).
//!
//! Invariant: whatever shares the claim allows, the expectation of `exp(ln_e)` is
//! at most 1. The logarithm of the expectation is concave in the shares, zero at
//! the projected point, and its gradient there points out of the claim (the
//! projection's Karush–Kuhn–Tucker conditions). By the inequality of means only the
//! mean share within a second matters, so requests may be unequal.

use crate::num::{ln, ln_1p};
use crate::tick::Sums;

/// Newton's method is bracketed, so it ends by bisection at the latest; it takes five or six steps.
const STEPS_MAX: u32 = 80;

/// The border of a claim: `p_c = ratio * p_b + points`, with `ratio >= 1` and `points >= 0`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    pub(crate) ratio: f64,
    pub(crate) points: f64,
}

/// What a bet takes the shares to be; both strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bet {
    pub(crate) canary: f64,
    pub(crate) control: f64,
}

impl Line {
    /// The canary's share on the border.
    pub(crate) fn at(self, control: f64) -> f64 {
        self.ratio * control + self.points
    }

    /// Logarithm of the e-value against the claim that lies on the other side of the
    /// line than the bet. No canary request is no evidence for anything.
    pub(crate) fn ln_e(self, bet: Bet, canary: Sums, control: Sums) -> f64 {
        if canary.n == 0 || bet.canary == self.at(bet.control) {
            return 0.0;
        }
        let null = self.nearest(bet, canary.n as f64, control.n as f64);
        side(bet.canary, null.canary, canary) + side(bet.control, null.control, control)
    }

    /// The point of the line with the smallest divergence from the bet, over `n_c` and `n_b` requests.
    pub(crate) fn nearest(self, bet: Bet, n_c: f64, n_b: f64) -> Bet {
        if n_b == 0.0 {
            // The other side may have any share from 0 up.
            let canary = bet.canary.max(self.points);
            return Bet { canary, ..bet };
        }
        let control = if self.points > 0.0 {
            self.root(bet, n_c, n_b)
        } else if self.ratio == 1.0 {
            (n_c * bet.canary + n_b * bet.control) / (n_c + n_b)
        } else {
            // The smaller root of a quadratic, in the form that loses no digits.
            let failed = n_c * bet.canary + n_b * bet.control;
            let b = n_c * (self.ratio + bet.canary) + n_b * (1.0 + self.ratio * bet.control);
            let under = b * b - 4.0 * self.ratio * (n_c + n_b) * failed;
            2.0 * failed / (b + under.max(0.0).sqrt())
        };
        Bet {
            canary: self.at(control),
            control,
        }
    }

    /// Where the divergence's slope along the line is 0. Multiplied with its
    /// denominators the slope is a cubic that keeps its sign between the brackets.
    fn root(self, bet: Bet, n_c: f64, n_b: f64) -> f64 {
        let own = (bet.canary - self.points) / self.ratio;
        let mut low = own.min(bet.control).max(0.0);
        let mut high = own.max(bet.control).min((1.0 - self.points) / self.ratio);
        let weight = n_c * self.ratio;
        let slope = |x: f64| {
            let q = self.at(x);
            let value =
                weight * (q - bet.canary) * x * (1.0 - x) + n_b * (x - bet.control) * q * (1.0 - q);
            let rise = weight * (self.ratio * x * (1.0 - x) + (q - bet.canary) * (1.0 - 2.0 * x))
                + n_b * (q * (1.0 - q) + (x - bet.control) * self.ratio * (1.0 - 2.0 * q));
            (value, rise)
        };
        let mut x = self.guess(bet, n_c, n_b, own).clamp(low, high);
        for _ in 0..STEPS_MAX {
            let (value, rise) = slope(x);
            if value < 0.0 {
                low = x;
            } else {
                high = x;
            }
            let newton = x - value / rise;
            let next = if newton >= low && newton <= high {
                newton
            } else {
                0.5 * (low + high)
            };
            let moved = (next - x).abs();
            x = next;
            if moved <= 1e-14 * x {
                break;
            }
        }
        x
    }

    /// The root if variances did not change along the line.
    fn guess(self, bet: Bet, n_c: f64, n_b: f64, own: f64) -> f64 {
        let info_c = n_c * self.ratio * self.ratio / (bet.canary * (1.0 - bet.canary));
        let info_b = n_b / (bet.control * (1.0 - bet.control));
        (info_c * own + info_b * bet.control) / (info_c + info_b)
    }
}

fn side(bet: f64, null: f64, sums: Sums) -> f64 {
    let failed = sums.e.min(sums.n);
    let fine = sums.n - failed;
    let mut ln_e = 0.0;
    if failed > 0 {
        ln_e += failed as f64 * ln(bet / null);
    }
    if fine > 0 {
        ln_e += fine as f64 * ln_1p((null - bet) / (1.0 - null));
    }
    ln_e
}

#[cfg(test)]
#[path = "bernoulli_tests.rs"]
mod tests;
