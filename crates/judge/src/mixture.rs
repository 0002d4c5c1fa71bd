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

use crate::num::{exp, ln};

/// Share of each component's wealth that bets from the first second.
pub(crate) const AT_START: f64 = 0.7;

/// Wealth is kept as it is, since sums of it are what is asked for, in units that follow it.
/// Beyond this many units another one is chosen;
const HELD_MAX: f64 = 1e100;
/// and below this many, if the unit is more than 1.
const HELD_MIN: f64 = 1e-100;
/// Products of [`HELD_MAX`] and one tick's e-value stay far below where numbers end (1e308);
/// larger e-values, and those smaller than one over that, go through logarithms.
const LN_E_MAX: f64 = 400.0;

/// What all mixtures over the same components share: weights and the plan of restarts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ladder<const K: usize> {
    weights: [f64; K],
    spacings: [u32; K],
    /// Restarts of each component over the horizon.
    restarts: [u32; K],
    /// What each restart puts in.
    portions: [f64; K],
}

impl<const K: usize> Ladder<K> {
    /// `weights` add up to 1. A component is restarted every `spacing` ticks until the
    /// horizon; one that never is has all its wealth at the start.
    pub(crate) fn new(weights: [f64; K], spacings: [u32; K], horizon_ticks: u32) -> Ladder<K> {
        let restarts = spacings.map(|spacing| horizon_ticks.saturating_sub(1) / spacing.max(1));
        Ladder {
            weights,
            spacings,
            restarts,
            portions: restarts.map(|n| (1.0 - AT_START) / f64::from(n.max(1))),
        }
    }

    /// Restarts of a component that are due by this tick, of which there were so many before.
    /// Nearly always none is new, which costs no division.
    fn due(&self, k: usize, before: u32, at: u64) -> u32 {
        let spacing = u64::from(self.spacings[k]);
        if before >= self.restarts[k] || at < spacing * u64::from(before + 1) {
            return before;
        }
        let due = u32::try_from(at / spacing.max(1)).unwrap_or(u32::MAX);
        due.min(self.restarts[k])
    }
}

/// What one tick's bets became, by component.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome<const K: usize> {
    ln_e: [f64; K],
    e: [f64; K],
}

impl<const K: usize> Outcome<K> {
    /// Logarithms of e-values; 0 where no bet was made.
    pub(crate) fn of(ln_e: [f64; K]) -> Outcome<K> {
        let e = ln_e.map(|ln_e| if ln_e == 0.0 { 1.0 } else { exp(ln_e) });
        Outcome { ln_e, e }
    }
}

/// One mixture's wealth. It bets in the order of ticks and need not bet in each.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wealth<const K: usize> {
    /// What has been put in and what it became, in units.
    held: [f64; K],
    /// Logarithm of the unit, never below 0.
    ln_unit: f64,
    /// What 1 is in units.
    one: f64,
    /// Logarithm of the largest product of e-values up to now over all starts, as in Page's
    /// CUSUM. It only tells when an effect began, which takes few digits.
    run: [f32; K],
    /// Where that product starts.
    since: [u32; K],
    /// How often each was restarted.
    restarted: [u32; K],
}

impl<const K: usize> Wealth<K> {
    pub(crate) fn new(ladder: &Ladder<K>) -> Wealth<K> {
        Wealth {
            held: ladder.restarts.map(|n| if n == 0 { 1.0 } else { AT_START }),
            ln_unit: 0.0,
            one: 1.0,
            run: [0.0; K],
            since: [0; K],
            restarted: [0; K],
        }
    }

    /// One tick's bets, as logarithms.
    pub(crate) fn bet(&mut self, ladder: &Ladder<K>, at: u64, ln_e: &[f64; K]) {
        self.take(ladder, at, &Outcome::of(*ln_e));
    }

    /// One tick's bets.
    pub(crate) fn take(&mut self, ladder: &Ladder<K>, at: u64, outcome: &Outcome<K>) {
        let Outcome { ln_e, e } = outcome;
        for (k, ln_e) in ln_e.iter().enumerate() {
            let due = ladder.due(k, self.restarted[k], at);
            if due > self.restarted[k] {
                let new = f64::from(due - self.restarted[k]);
                self.held[k] += new * ladder.portions[k] * self.one;
                self.restarted[k] = due;
            }
            if self.run[k] <= 0.0 {
                self.run[k] = 0.0;
                self.since[k] = u32::try_from(at).unwrap_or(u32::MAX);
            }
            self.run[k] += *ln_e as f32;
        }
        if ln_e.iter().any(|ln_e| ln_e.abs() > LN_E_MAX) {
            self.change_unit(ln_e);
            return;
        }
        let mut most = 0.0_f64;
        for (held, e) in self.held.iter_mut().zip(e) {
            *held *= e;
            most = most.max(*held);
        }
        if most > HELD_MAX || (self.ln_unit > 0.0 && self.held.iter().all(|it| *it < HELD_MIN)) {
            self.change_unit(&[0.0; K]);
        }
    }

    /// Multiplies with e-values of any size, and makes the largest holding the unit if that is
    /// more than 1. What is then too small to be told from nothing is given away.
    fn change_unit(&mut self, ln_e: &[f64; K]) {
        let ln_held: [f64; K] = std::array::from_fn(|k| self.ln_unit + ln(self.held[k]) + ln_e[k]);
        self.ln_unit = ln_held.into_iter().fold(0.0, f64::max);
        self.one = exp(-self.ln_unit);
        self.held = ln_held.map(|ln_held| exp(ln_held - self.ln_unit));
    }

    /// Logarithm of the whole wealth.
    pub(crate) fn ln_m(&self, ladder: &Ladder<K>) -> f64 {
        let all = (0..K).map(|k| self.component(ladder, k)).sum();
        self.ln_unit + ln(all)
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

    /// One component's wealth, in units.
    fn component(&self, ladder: &Ladder<K>, k: usize) -> f64 {
        let left = f64::from(ladder.restarts[k] - self.restarted[k]) * ladder.portions[k];
        ladder.weights[k] * (self.held[k] + left * self.one)
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
    fn wealth_beyond_what_a_number_holds_is_kept_and_can_be_lost_again() {
        for step in [30.0, 399.0, 5_000.0] {
            let mut wealth = Wealth::new(&ladder());
            for at in 0..100 {
                wealth.bet(&ladder(), at, &[step, 0.0]);
            }
            let won = wealth.ln_m(&ladder());
            assert!((won - 100.0 * step - ln(0.25 * 0.7)).abs() < 0.5, "{won}");
            for at in 100..200 {
                wealth.bet(&ladder(), at, &[-step, 0.0]);
            }
            let again = wealth.ln_m(&ladder());
            assert!((ln(0.25 * 0.7) - 0.1..1.0).contains(&again), "{again}");
        }
        let mut wealth = Wealth::new(&ladder());
        wealth.bet(&ladder(), 1, &[-1e9, -1e9]);
        assert!(
            wealth.ln_m(&ladder()) > ln(0.25),
            "what is left is worth what it is"
        );
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
