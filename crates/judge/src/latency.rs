//! Latency by stochastic order on logarithmic buckets.
//!
//! The claim that is bet against: at no limit do more of the canary's requests
//! take longer than of the control's. What latencies are usual is learned from
//! the control; whatever it is, bets stay fair ([`tilts`]).
//!
//! Invariant: a second with one silent side is no evidence.

pub(crate) mod slower;
pub(crate) mod tilts;

use model::ticks::LATENCY_BUCKETS;
use serde::{Deserialize, Serialize};

use self::slower::Slower;
use self::tilts::{Histogram, Reference, TILTS, Tilts};
use crate::judge::Settings;
use crate::mixture::{AT_START, Ladder, Outcome, Wealth};
use crate::num::{ln, ln_add, ln_sum};
use crate::tick::STRATA_MAX;

/// How long the old bundle's requests took, by stratum.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LatencyHistory {
    strata: Vec<Reference>,
}

impl LatencyHistory {
    /// One second of one stratum: buckets and counts.
    pub fn observe(&mut self, stratum: u8, control: &[(u8, u64)]) {
        let stratum = usize::from(stratum).min(STRATA_MAX - 1);
        if self.strata.len() <= stratum {
            self.strata.resize(stratum + 1, Reference::default());
        }
        self.strata[stratum].add(control);
    }

    /// Shares by bucket over all strata, which add up to 1; empty before any request.
    pub fn shares(&self) -> Vec<f64> {
        let total: u64 = self.strata.iter().map(Reference::total).sum();
        if total == 0 {
            return Vec::new();
        }
        let bucket = |bucket: usize| -> u64 {
            let strata = self.strata.iter();
            strata.map(|reference| reference.count(bucket)).sum()
        };
        (0..LATENCY_BUCKETS)
            .map(|it| bucket(it) as f64 / total as f64)
            .collect()
    }

    fn of(&self, stratum: u8) -> Reference {
        let reference = self.strata.get(usize::from(stratum));
        reference.cloned().unwrap_or_default()
    }
}

/// The comparison of latencies: one process for all strata together, which finds what hurts
/// everywhere, and one for each, which finds what hurts in one place.
#[derive(Debug, Clone)]
pub struct LatencyProcess {
    /// What is tolerated.
    slower: Slower,
    ladder: Ladder<TILTS>,
    history: LatencyHistory,
    strata: Vec<Stratum>,
    /// Bets on all strata: within one second one stratum after the other. While there is one
    /// alone, that one's own process is the same.
    joint: Wealth<TILTS>,
    told: bool,
}

/// One stratum. Its state is below a kilobyte, whatever the traffic.
#[derive(Debug, Clone)]
struct Stratum {
    number: u8,
    reference: Reference,
    tilts: Tilts,
    /// Requests that came into the reference since the tilts were made.
    added: u64,
    wealth: Wealth<TILTS>,
    /// Logarithm of its part of the strata's common capital.
    ln_stake: f64,
}

impl LatencyProcess {
    /// Compares latencies; `reference` is how long the old bundle's requests took before.
    pub fn new(settings: &Settings, reference: &LatencyHistory) -> LatencyProcess {
        let ladder = Ladder::new(
            std::array::from_fn(tilts::weight),
            std::array::from_fn(tilts::restart_spacing),
            settings.horizon_ticks,
        );
        LatencyProcess {
            slower: Slower::by(settings.slowdown),
            history: reference.clone(),
            strata: Vec::new(),
            joint: Wealth::new(&ladder),
            ladder,
            told: false,
        }
    }

    /// One second of one stratum: buckets and counts of both sides. Called at most once for each
    /// second and stratum; `at` never falls.
    pub fn observe(&mut self, at: u64, stratum: u8, canary: &[(u8, u64)], control: &[(u8, u64)]) {
        if canary.is_empty() && control.is_empty() {
            return;
        }
        let canary = Histogram::of(canary);
        let side = Histogram::of(control).slowed(&self.slower);
        let index = self.find(stratum);
        let is_one_of_many = self.strata.len() > 1;
        let stratum = &mut self.strata[index];
        if !canary.is_empty() && !side.is_empty() {
            self.told = true;
            let outcome = Outcome::of(stratum.tilts.ln_e(&canary, &side));
            stratum.wealth.take(&self.ladder, at, &outcome);
            if is_one_of_many {
                self.joint.take(&self.ladder, at, &outcome);
            }
        }
        stratum.learn(control, &self.slower);
    }

    /// Evidence that the canary is slower, in nats: half on all strata together, half on the mean of each.
    pub fn ln_m(&self) -> f64 {
        if let [only] = self.strata.as_slice() {
            return only.wealth.ln_m(&self.ladder);
        }
        let joint = self.joint.ln_m(&self.ladder);
        ln_add(joint, self.ln_single()) - std::f64::consts::LN_2
    }

    /// The stratum with the strongest evidence, if it is more than all strata together.
    pub fn stratum(&self) -> Option<u8> {
        if self.strata.len() < 2 {
            return None;
        }
        let each = self.strata.iter();
        let (ln_m, number) = each
            .map(|it| (it.wealth.ln_m(&self.ladder), it.number))
            .max_by(|a, b| a.0.total_cmp(&b.0))?;
        (ln_m > self.joint.ln_m(&self.ladder)).then_some(number)
    }

    /// Whether there was a second with requests on both sides.
    pub fn told(&self) -> bool {
        self.told
    }

    /// What all strata's own processes have together.
    fn ln_single(&self) -> f64 {
        if self.strata.is_empty() {
            return 0.0;
        }
        ln_sum(self.strata.iter().map(|it| it.ln_wealth(&self.ladder)))
    }

    /// A stratum's place. A new one gets an equal part of what all have together by then: capital is
    /// only moved, before the bets for which it is used, so all together stay an e-process.
    fn find(&mut self, number: u8) -> usize {
        if let Some(index) = self.strata.iter().position(|it| it.number == number) {
            return index;
        }
        let before = self.strata.len() as f64;
        let common = self.ln_single();
        for stratum in &mut self.strata {
            stratum.ln_stake += ln(before / (before + 1.0));
        }
        if let [only] = self.strata.as_slice() {
            self.joint = only.wealth.clone();
        }
        let reference = self.history.of(number);
        self.strata.push(Stratum {
            number,
            tilts: Tilts::of(&reference, &self.slower),
            reference,
            added: 0,
            wealth: Wealth::new(&self.ladder),
            ln_stake: common - ln(before + 1.0),
        });
        self.strata.len() - 1
    }
}

impl Stratum {
    fn ln_wealth(&self, ladder: &Ladder<TILTS>) -> f64 {
        self.ln_stake + self.wealth.ln_m(ladder)
    }

    /// Learns what is usual, after the bets on the same second.
    fn learn(&mut self, control: &[(u8, u64)], slower: &Slower) {
        let n = control
            .iter()
            .fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
        self.reference.add(control);
        self.added = self.added.saturating_add(n);
        if n > 0 && self.tilts.is_stale(self.added) {
            self.tilts = Tilts::of(&self.reference, slower);
            self.added = 0;
        }
    }
}

/// Canary requests until a slowdown shows on average, for planning: the alternative that first
/// earns `needed` nats beside what it has less than all wealth at the start. Infinite when none earns any.
pub(crate) fn requests_to_show(
    settings: &Settings,
    needed: f64,
    share: f64,
    (control, canary): (&[f64; LATENCY_BUCKETS], &[f64; LATENCY_BUCKETS]),
) -> f64 {
    let scaled =
        |shares: &[f64; LATENCY_BUCKETS], by: f64| Histogram::new(shares.map(|it| it * by));
    let control = &Slower::by(settings.slowdown).spread(control);
    let canary = scaled(canary, share);
    // Expected counts earn the expectation of the logarithm.
    let growth = Tilts::of_shares(control).ln_e(&canary, &scaled(control, 1.0 - share));
    let requests = growth.iter().enumerate().map(|(tilt, growth)| {
        if *growth > 0.0 {
            (needed - ln(tilts::weight(tilt) * AT_START)) * share / growth
        } else {
            f64::INFINITY
        }
    });
    requests.fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests;
