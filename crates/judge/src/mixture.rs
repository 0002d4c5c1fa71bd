//! A mixture of bets over effect size and start time.
//!
//! Each component bets on one size of effect. Most of its wealth bets from the
//! start; the rest is put in bit by bit, so that what a bundle earned by being
//! healthy for a while is no credit when it turns bad: the finite-horizon form of
//! the Shiryaev–Roberts e-detector (Shin, Ramdas & Rinaldo 2024).
//!
//! Invariant: `exp(ln_m)` starts at 1, and what has not been put in yet is worth what
//! it is; so it is an e-process whenever each `exp(ln_e)` is an e-value, and exceeds
//! `1/alpha` with a probability of at most `alpha` (Ville 1939).

use crate::num::{ln, ln_add, ln_sum};

/// Share of each component's wealth that bets from the first second.
pub(crate) const AT_START: f64 = 0.7;

/// What all mixtures over the same components share: weights and the plan of restarts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ladder<const K: usize> {
    ln_weights: [f64; K],
    spacings: [u32; K],
    /// Restarts of each component over the horizon.
    restarts: [u32; K],
    /// What each restart puts in, and its logarithm.
    portions: [(f64, f64); K],
}

impl<const K: usize> Ladder<K> {
    /// `weights` add up to 1. A component is restarted every `spacing` ticks until the
    /// horizon; one that never is has all its wealth at the start.
    pub(crate) fn new(weights: [f64; K], spacings: [u32; K], horizon_ticks: u32) -> Ladder<K> {
        let restarts = spacings.map(|spacing| horizon_ticks.saturating_sub(1) / spacing.max(1));
        Ladder {
            ln_weights: weights.map(ln),
            spacings,
            restarts,
            portions: restarts.map(|n| {
                let portion = (1.0 - AT_START) / f64::from(n.max(1));
                (portion, ln(portion))
            }),
        }
    }

    /// Restarts of a component that are due by this tick.
    fn due(&self, k: usize, at: u64) -> u32 {
        let due = at / u64::from(self.spacings[k].max(1));
        u32::try_from(due).map_or(self.restarts[k], |due| due.min(self.restarts[k]))
    }

    /// What is not put in yet.
    fn left(&self, k: usize, through: u64) -> f64 {
        f64::from(self.restarts[k] - self.due(k, through)) * self.portions[k].0
    }
}

/// One mixture's wealth. It bets in the order of ticks and need not bet in each.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wealth<const K: usize> {
    /// Logarithm of what has been put in and what it became.
    ln_in: [f64; K],
    /// The largest product of e-values up to now over all starts, as in Page's CUSUM.
    run: [f64; K],
    /// Where that product starts.
    since: [u32; K],
    through: u64,
}

impl<const K: usize> Wealth<K> {
    pub(crate) fn new(ladder: &Ladder<K>) -> Wealth<K> {
        Wealth {
            ln_in: ladder
                .restarts
                .map(|n| if n == 0 { 0.0 } else { ln(AT_START) }),
            run: [0.0; K],
            since: [0; K],
            through: 0,
        }
    }

    /// The outcome of one tick's bets, by component; 0 where none was made.
    pub(crate) fn bet(&mut self, ladder: &Ladder<K>, at: u64, ln_e: &[f64; K]) {
        for (k, ln_e) in ln_e.iter().enumerate() {
            let new = ladder.due(k, at) - ladder.due(k, self.through);
            if new > 0 {
                let mut portion = ladder.portions[k].1;
                if new > 1 {
                    portion += ln(f64::from(new));
                }
                self.ln_in[k] = ln_add(self.ln_in[k], portion);
            }
            self.ln_in[k] += ln_e;
            if self.run[k] <= 0.0 {
                self.run[k] = 0.0;
                self.since[k] = u32::try_from(at).unwrap_or(u32::MAX);
            }
            self.run[k] += ln_e;
        }
        self.through = at;
    }

    /// Logarithm of the whole wealth.
    pub(crate) fn ln_m(&self, ladder: &Ladder<K>) -> f64 {
        ln_sum((0..K).map(|k| self.component(ladder, k)))
    }

    /// When the effect began, by the component with the most wealth.
    pub(crate) fn began(&self, ladder: &Ladder<K>) -> u64 {
        let mut best = 0;
        for k in 1..K {
            if self.component(ladder, k) > self.component(ladder, best) {
                best = k;
            }
        }
        u64::from(self.since[best])
    }

    fn component(&self, ladder: &Ladder<K>, k: usize) -> f64 {
        let left = ladder.left(k, self.through);
        let held = if left > 0.0 {
            ln_add(self.ln_in[k], ln(left))
        } else {
            self.ln_in[k]
        };
        ladder.ln_weights[k] + held
    }
}

/// A mixture that bets in every tick and has its components to itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mixture<const K: usize> {
    ladder: Ladder<K>,
    wealth: Wealth<K>,
    ticks: u64,
}

impl<const K: usize> Mixture<K> {
    /// Weight and restart spacing of each component; weights add up to 1.
    pub(crate) fn new(components: &[(f64, u32); K], horizon_ticks: u32) -> Mixture<K> {
        let (weights, spacings) = (components.map(|it| it.0), components.map(|it| it.1));
        let ladder = Ladder::new(weights, spacings, horizon_ticks);
        Mixture {
            wealth: Wealth::new(&ladder),
            ladder,
            ticks: 0,
        }
    }

    /// The outcome of the next tick's bets, by component.
    pub(crate) fn step(&mut self, ln_e: &[f64; K]) {
        self.wealth.bet(&self.ladder, self.ticks, ln_e);
        self.ticks += 1;
    }

    /// Logarithm of the wealth.
    pub(crate) fn ln_m(&self) -> f64 {
        self.wealth.ln_m(&self.ladder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder() -> Ladder<2> {
        Ladder::new([0.25, 0.75], [10, 1], 101)
    }

    #[test]
    fn a_mixture_that_never_wins_or_loses_is_worth_one() {
        let mut wealth = Wealth::new(&ladder());
        for at in [0, 1, 9, 10, 57, 3000] {
            wealth.bet(&ladder(), at, &[0.0; 2]);
            assert!(wealth.ln_m(&ladder()).abs() < 1e-12, "{at}");
        }
        let short = Ladder::new([0.5, 0.5], [10, 1], 1);
        assert!(Wealth::new(&short).ln_m(&short).abs() < 1e-15);
    }

    #[test]
    fn what_is_put_in_late_wins_in_full_after_a_long_loss() {
        let mut wealth = Wealth::new(&ladder());
        for at in 0..50 {
            wealth.bet(&ladder(), at, &[-5.0; 2]);
        }
        for at in 50..60 {
            wealth.bet(&ladder(), at, &[1.0; 2]);
        }
        // The restarts at 50 earned 10 nats each: 0.3/10 and 0.3/100 of the weights.
        let least = 10.0 + ln(0.25 * 0.03 + 0.75 * 0.003);
        assert!(wealth.ln_m(&ladder()) >= least);
        assert_eq!(wealth.began(&ladder()), 50);
    }

    #[test]
    fn bets_that_are_left_out_are_bets_that_win_nothing() {
        let (mut all, mut some) = (Wealth::new(&ladder()), Wealth::new(&ladder()));
        for at in 0..80 {
            let ln_e = if at % 7 == 3 { [0.3, -0.2] } else { [0.0; 2] };
            all.bet(&ladder(), at, &ln_e);
            if at % 7 == 3 {
                some.bet(&ladder(), at, &ln_e);
            }
        }
        assert!((all.ln_m(&ladder()) - some.ln_m(&ladder())).abs() < 1e-12);
    }
}
