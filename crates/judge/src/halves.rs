//! Whether harm shows on both halves of the new bundle's hosts.
//!
//! Hosts that differ, and have their bad minutes, differ with long tails: one of ten that
//! fails as never before looks like a bundle that does. What a bundle does, it does on more
//! than one host; so where hosts differ more than by chance, evidence counts for no more than
//! a few times what the half of them shows that shows less.
//!
//! Invariant: it only ever lowers evidence, and with few hosts it has no say.

use crate::bernoulli::Line;
use crate::errors::bet_on_harm;
use crate::history::Rate;
use crate::mixture::{Ladder, Wealth};
use crate::tick::{GROUPS_MAX, GroupTick, Side, Sums};

/// Below so many hosts a half may be a single one.
const HOSTS_MIN: u32 = 5;
/// Each half has about half of the evidence, and the weaker one, by chance, a third.
const TIMES_HALF: f64 = 3.0;
/// Fewer and coarser bets than the comparison's: this only has to confirm.
const SIZES: usize = 4;
const TIMES: [f64; SIZES] = [1.6, 3.5, 15.0, 1e4];
const WEIGHTS: [f64; SIZES] = [0.4, 0.3, 0.2, 0.1];
const SPACINGS: [u32; SIZES] = [60, 30, 10, 1];

/// One process for each half.
#[derive(Debug, Clone)]
pub(crate) struct Halves {
    line: Line,
    ladder: Ladder<SIZES>,
    /// Of all strata together.
    usual: Rate,
    halves: [Wealth<SIZES>; 2],
    /// Groups of hosts that ever had the new bundle and requests.
    hosts: [bool; GROUPS_MAX],
}

impl Halves {
    pub(crate) fn new(line: Line, usual: Rate, horizon_ticks: u32) -> Halves {
        let ladder = Ladder::new(WEIGHTS, SPACINGS, horizon_ticks);
        Halves {
            line,
            halves: [Wealth::new(&ladder), Wealth::new(&ladder)],
            ladder,
            usual,
            hosts: [false; GROUPS_MAX],
        }
    }

    /// One second.
    pub(crate) fn observe(&mut self, at: u64, hosts: &[GroupTick]) {
        let mut control = Sums::default();
        let mut canary = [Sums::default(); 2];
        for tick in hosts.iter().filter(|tick| tick.sums.n > 0) {
            match tick.side {
                Side::Control => control.add(tick.sums),
                Side::Canary => {
                    let group = usize::from(tick.group).min(GROUPS_MAX - 1);
                    canary[group % 2].add(tick.sums);
                    self.hosts[group] = true;
                }
            }
        }
        if self.has_a_say() && control.n > 0 {
            let usual = self.usual.share(self.usual);
            for (half, canary) in self.halves.iter_mut().zip(canary) {
                let ln_e = bet_on_harm(self.line, TIMES, usual, canary, control);
                half.bet(&self.ladder, at, &ln_e);
            }
        }
        self.usual.observe(control);
    }

    /// The most that evidence may be, in nats before the correction for dispersion.
    pub(crate) fn at_most(&self) -> f64 {
        if !self.has_a_say() {
            return f64::INFINITY;
        }
        let [one, other] = self.halves.each_ref().map(|half| half.ln_m(&self.ladder));
        TIMES_HALF * one.min(other)
    }

    fn has_a_say(&self) -> bool {
        let hosts = self.hosts.iter().filter(|seen| **seen);
        hosts.count() >= HOSTS_MIN as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line = Line {
        ratio: 1.0,
        points: 0.0,
    };

    /// Ten hosts of the new bundle with these failures in each second, and a healthy rest.
    fn after(seconds: u64, failed: [u64; 10]) -> f64 {
        let mut halves = Halves::new(LINE, Rate::default(), 3600);
        let group = |group, side, n, e| GroupTick {
            group,
            side,
            sums: Sums { n, e },
        };
        for at in 0..seconds {
            let canary = (0..)
                .zip(failed)
                .map(|(host, e)| group(host, Side::Canary, 50, e));
            let control =
                (10..60).map(|host| group(host, Side::Control, 50, u64::from(host == 20)));
            halves.observe(at, &canary.chain(control).collect::<Vec<_>>());
        }
        halves.at_most()
    }

    #[test]
    fn one_bad_host_of_ten_is_no_harm_of_the_bundle_and_two_halves_are() {
        let mut one = [0; 10];
        one[3] = 40;
        assert!(after(60, one) < 1.0, "{}", after(60, one));
        assert!(after(60, [1; 10]) > 50.0, "{}", after(60, [1; 10]));
        // Without any harm there is none to confirm either.
        assert!(after(60, [0; 10]) < 1.0);
    }

    #[test]
    fn a_few_hosts_are_not_asked() {
        let mut halves = Halves::new(LINE, Rate::default(), 3600);
        for at in 0..10 {
            let hosts: Vec<_> = (0..4)
                .map(|group| GroupTick {
                    group,
                    side: Side::Canary,
                    sums: Sums { n: 10, e: 0 },
                })
                .collect();
            halves.observe(at, &hosts);
        }
        assert_eq!(halves.at_most(), f64::INFINITY);
    }
}
