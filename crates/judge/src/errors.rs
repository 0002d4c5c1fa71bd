//! Failing requests: evidence that the new bundle fails more often, and evidence
//! that it does not fail more often than a wave may pass with.
//!
//! Harm is looked for twice: over all strata together, which finds what hurts
//! everywhere, and in each, which finds what hurts in one place. Strata are
//! compared each with itself, so a change of traffic between them is no harm.
//!
//! Invariant: bets rest on earlier seconds only.

use crate::bernoulli::{Bet, Line};
use crate::halves::Halves;
use crate::history::{History, Rate};
use crate::judge::Settings;
use crate::mixture::{Ladder, Wealth};
use crate::num::{ln, ln_add, ln_sum};
use crate::strata::{Cell, Cells};
use crate::tick::{GroupTick, STRATA_MAX, Sums};

/// Sizes of effect.
const SIZES: usize = 8;
/// How many times the tolerated share a component bets on: from a quarter more up to
/// "everything fails", in steps that lose little between two of them.
const TIMES: [f64; SIZES] = [1.25, 1.6, 2.2, 3.5, 7.0, 15.0, 50.0, 1e4];
/// Small effects are more frequent, and cost the most requests.
const WEIGHTS: [f64; SIZES] = [0.12, 0.16, 0.18, 0.15, 0.13, 0.10, 0.08, 0.08];
/// Seconds between restarts: a larger effect is found sooner, so its start must be hit better.
const SPACINGS: [u32; SIZES] = [120, 60, 60, 30, 15, 10, 3, 1];
/// A component never bets that more fail: the rest must stay possible.
const SHARE_MAX: f64 = 0.97;
/// A healthy bundle fails as often as the old one, or somewhat less or more.
const HEALTHY_TIMES: [f64; 3] = [0.8, 1.0, 1.2];

/// From so many requests on the old bundle's failing share is known well enough to be stood on
/// when no host of it is left: to a third at one in a hundred.
const KNOWN_REQUESTS: f64 = 1000.0;

/// What hosts can't differ by, however unequal they are: five times and ten points. Beyond it
/// no dispersion is an excuse.
const GROSS: Line = Line {
    ratio: 5.0,
    points: 0.1,
};
/// Bets on gross harm: three times that, or everything fails.
const GROSS_TIMES: [f64; 2] = [3.0, 1e4];
const GROSS_WEIGHTS: [f64; 2] = [0.5, 0.5];
const GROSS_SPACINGS: [u32; 2] = [10, 1];
/// A claim of "at least so many points" must leave room for a claim.
const POINTS_MAX: f64 = 0.99;

/// The comparison of failing requests.
#[derive(Debug, Clone)]
pub(crate) struct Errors {
    harm_line: Line,
    pass_line: Line,
    ladder: Ladder<SIZES>,
    rates: [Rate; STRATA_MAX],
    strata: Vec<Stratum>,
    /// On all strata together; while there is one alone, that one's own process is the same.
    joint: Wealth<SIZES>,
    gross: Gross,
    halves: Box<Halves>,
    /// Logarithms of what each bet on health became.
    healthy: [f64; HEALTHY_TIMES.len()],
    is_told: bool,
}

/// Evidence for harm beyond what hosts can differ by. It is needed, and begins to bet, once
/// hosts are seen to differ.
#[derive(Debug, Clone)]
struct Gross {
    ladder: Ladder<2>,
    wealth: Option<Wealth<2>>,
}

/// One stratum's own process.
#[derive(Debug, Clone)]
struct Stratum {
    number: u8,
    /// Logarithm of its part of the strata's common capital.
    ln_stake: f64,
    wealth: Wealth<SIZES>,
}

impl Errors {
    pub(crate) fn new(settings: &Settings, history: &History) -> Errors {
        let ladder = Ladder::new(WEIGHTS, SPACINGS, settings.horizon_ticks);
        let mut rates = [Rate::default(); STRATA_MAX];
        for (rate, known) in rates.iter_mut().zip(&history.rates) {
            *rate = *known;
        }
        Errors {
            harm_line: line(settings.ratio, settings.points),
            pass_line: line(settings.pass_ratio, settings.pass_points),
            gross: Gross {
                ladder: Ladder::new(GROSS_WEIGHTS, GROSS_SPACINGS, settings.horizon_ticks),
                wealth: None,
            },
            halves: Box::new(Halves::new(
                line(settings.ratio, settings.points),
                Rate::sum(&rates),
                settings.horizon_ticks,
            )),
            joint: Wealth::new(&ladder),
            ladder,
            rates,
            strata: Vec::new(),
            healthy: [0.0; HEALTHY_TIMES.len()],
            is_told: false,
        }
    }

    /// One second. `dispersion` is what was known of it before.
    pub(crate) fn observe(&mut self, at: u64, cells: &Cells, hosts: &[GroupTick], dispersion: f64) {
        if dispersion > 1.0 && self.gross.wealth.is_none() {
            self.gross.wealth = Some(Wealth::new(&self.gross.ladder));
        }
        for (number, cell) in cells.each() {
            if cell.canary.n > 0 && cell.control.n > 0 {
                self.enter(number);
            }
        }
        let all = Rate::sum(&self.rates);
        let mut together = [0.0; SIZES];
        let mut gross = [0.0; GROSS_TIMES.len()];
        for (number, cell) in cells.each() {
            let usual = self.rates[number].share(all);
            let is_known = self.rates[number].requests() >= KNOWN_REQUESTS;
            self.bet_on_health(usual, is_known, cell);
            if cell.canary.n > 0 && cell.control.n > 0 {
                self.is_told = true;
                let ln_e = bet_on_harm(self.harm_line, TIMES, usual, cell.canary, cell.control);
                for (sum, ln_e) in together.iter_mut().zip(ln_e) {
                    *sum += ln_e;
                }
                if self.gross.wealth.is_some() {
                    let ln_e = bet_on_harm(
                        self.gross_line(),
                        GROSS_TIMES,
                        usual,
                        cell.canary,
                        cell.control,
                    );
                    for (sum, ln_e) in gross.iter_mut().zip(ln_e) {
                        *sum += ln_e;
                    }
                }
                if let Some(stratum) = self.strata.iter_mut().find(|it| it.is(number)) {
                    stratum.wealth.bet(&self.ladder, at, &ln_e);
                }
            }
            self.rates[number].observe(cell.control);
        }
        if self.strata.len() > 1 {
            self.joint.bet(&self.ladder, at, &together);
        }
        self.halves.observe(at, hosts);
        if let Some(wealth) = &mut self.gross.wealth {
            wealth.bet(&self.gross.ladder, at, &gross);
        }
    }

    /// Never stricter than what the plan tolerates.
    fn gross_line(&self) -> Line {
        Line {
            ratio: GROSS.ratio.max(self.harm_line.ratio),
            points: GROSS.points.max(self.harm_line.points),
        }
    }

    /// What a control that fails for the most part says about a ratio is no reason to
    /// go on: such a second may lower the evidence and not raise it. Where nearly every
    /// request may fail, there is nothing to be shown.
    fn bet_on_health(&mut self, usual: f64, is_known: bool, cell: &Cell) {
        let is_outage = cell.control.e > cell.control.n / 2;
        let border = self.pass_line.at(usual);
        // Without control the old bundle's share is taken to be what it was, once that is known.
        let line = match cell.control.n {
            0 if is_known => Line {
                ratio: 1.0,
                points: border,
            },
            _ => self.pass_line,
        };
        for (healthy, times) in self.healthy.iter_mut().zip(HEALTHY_TIMES) {
            let canary = times * usual;
            if canary < border && border < SHARE_MAX {
                let bet = Bet {
                    canary,
                    control: usual,
                };
                let ln_e = line.ln_e(bet, cell.canary, cell.control);
                *healthy += if is_outage { ln_e.min(0.0) } else { ln_e };
            }
        }
    }

    /// A new stratum gets an equal part of what all have together by then: capital is
    /// only moved, and before the bets for which it is used, so the sum stays an e-process.
    fn enter(&mut self, number: usize) {
        let Err(place) = self
            .strata
            .binary_search_by_key(&number, |it| usize::from(it.number))
        else {
            return;
        };
        let before = self.strata.len() as f64;
        let common = if self.strata.is_empty() {
            0.0
        } else {
            self.ln_apart()
        };
        for stratum in &mut self.strata {
            stratum.ln_stake += ln(before / (before + 1.0));
        }
        if let [only] = self.strata.as_slice() {
            self.joint = only.wealth.clone();
        }
        let stratum = Stratum {
            number: u8::try_from(number).unwrap_or(u8::MAX),
            ln_stake: common - ln(before + 1.0),
            wealth: Wealth::new(&self.ladder),
        };
        self.strata.insert(place, stratum);
    }

    /// Evidence for harm: half of all strata together, half of each apart.
    pub(crate) fn ln_harm(&self) -> f64 {
        let apart = match self.strata.as_slice() {
            [] => 0.0,
            [only] => return only.wealth.ln_m(&self.ladder),
            _ => self.ln_apart(),
        };
        ln_add(self.joint.ln_m(&self.ladder), apart) - std::f64::consts::LN_2
    }

    /// The same after the correction for dispersion, which is no excuse for gross harm unless
    /// that is one host's. Never above [`Errors::ln_harm`], so that its guarantee stays
    /// whatever the dispersion does.
    pub(crate) fn ln_harm_over(&self, dispersion: f64) -> f64 {
        let ln_m = self.ln_harm();
        let wealth = self.gross.wealth.as_ref();
        let gross = wealth.map_or(f64::NEG_INFINITY, |it| it.ln_m(&self.gross.ladder));
        let over = ln_m.min((ln_m / dispersion).max(gross));
        if dispersion > 1.0 {
            over.min(self.halves.at_most() / dispersion)
        } else {
            over
        }
    }

    fn ln_apart(&self) -> f64 {
        ln_sum(
            self.strata
                .iter()
                .map(|it| it.ln_stake + it.wealth.ln_m(&self.ladder)),
        )
    }

    /// Evidence that a wave may pass.
    pub(crate) fn ln_pass(&self) -> f64 {
        ln_sum(self.healthy.iter().copied()) - ln(HEALTHY_TIMES.len() as f64)
    }

    /// Forgets evidence for passing beyond `most`, so that what was good long ago is no
    /// credit. A process that gives wealth away keeps its guarantee.
    pub(crate) fn cap_pass(&mut self, most: f64) {
        // The mean is at most the largest.
        if self.healthy.iter().all(|healthy| *healthy <= most) {
            return;
        }
        let beyond = self.ln_pass() - most;
        if beyond > 0.0 {
            for healthy in &mut self.healthy {
                *healthy -= beyond;
            }
        }
    }

    /// The stratum with more evidence than all together, and since when there is harm.
    pub(crate) fn carrier(&self) -> (Option<u8>, u64) {
        if let [only] = self.strata.as_slice() {
            return (None, only.wealth.began(&self.ladder));
        }
        let joint = self.joint.ln_m(&self.ladder);
        let strongest = self
            .strata
            .iter()
            .map(|it| (it.wealth.ln_m(&self.ladder), it))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match strongest {
            Some((ln_m, stratum)) if ln_m > joint => {
                (Some(stratum.number), stratum.wealth.began(&self.ladder))
            }
            Some(_) | None => (None, self.joint.began(&self.ladder)),
        }
    }

    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }
}

impl Stratum {
    fn is(&self, number: usize) -> bool {
        usize::from(self.number) == number
    }
}

fn line(ratio: f64, points: f64) -> Line {
    Line {
        ratio,
        points: points.min(POINTS_MAX),
    }
}

/// Bets that the new bundle fails so many times as often as is tolerated, where `usual` is the old one's share.
pub(crate) fn bet_on_harm<const K: usize>(
    line: Line,
    times: [f64; K],
    usual: f64,
    canary: Sums,
    control: Sums,
) -> [f64; K] {
    let tolerated = line.at(usual);
    times.map(|times| {
        let share = (times * tolerated).min(SHARE_MAX);
        if share <= tolerated {
            return 0.0;
        }
        let bet = Bet {
            canary: share,
            control: usual,
        };
        line.ln_e(bet, canary, control)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stratum_takes_less_than_a_kilobyte() {
        let own = size_of::<Stratum>() + size_of::<Rate>();
        assert!(own <= 512, "{own}");
        // What all strata share is small as well.
        assert!(size_of::<Errors>() <= 2048, "{}", size_of::<Errors>());
    }
}
