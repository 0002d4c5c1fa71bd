//! Seconds of a made-up service.
//!
//! Invariant: what a second contains follows from its arguments and the seed alone.

use judge::tick::{GroupTick, Side, StratumTick};
use judge::{History, Judge, Settings, Sums, Tick, Word};
use model::Metric;

use crate::chance::Chance;

/// Hosts that run the old bundle.
const CONTROL_HOSTS: u8 = 8;

pub(crate) fn sums(e: u64, n: u64) -> Sums {
    Sums { n, e }
}

pub(crate) fn stratum(stratum: u8, canary: Sums, control: Sums) -> StratumTick {
    StratumTick {
        stratum,
        canary,
        control,
        ..StratumTick::default()
    }
}

pub(crate) fn tick(at: u64, strata: Vec<StratumTick>) -> Tick {
    Tick {
        at,
        strata,
        ..Tick::default()
    }
}

/// One second of one stratum with these requests and failing shares, on equal hosts.
pub(crate) fn second(chance: &mut Chance, at: u64, n: (u64, u64), p: (f64, f64)) -> Tick {
    let canary = sums(chance.binomial(n.0, p.0), n.0);
    let mut hosts = vec![GroupTick {
        group: 0,
        side: Side::Canary,
        sums: canary,
    }];
    let mut control = Sums::default();
    for group in 1..=CONTROL_HOSTS {
        let share = n.1 * u64::from(group) / u64::from(CONTROL_HOSTS) - control.n;
        let sums = sums(chance.binomial(share, p.1), share);
        control.n += sums.n;
        control.e += sums.e;
        hosts.push(GroupTick {
            group,
            side: Side::Control,
            sums,
        });
    }
    Tick {
        hosts,
        ..tick(at, vec![stratum(0, canary, control)])
    }
}

/// Ten minutes of the old bundle alone.
pub(crate) fn history(chance: &mut Chance, n: u64, p: f64) -> History {
    let mut history = History::default();
    for at in 0..600 {
        let seen = sums(chance.binomial(n, p), n);
        history.observe(&tick(at, vec![stratum(0, Sums::default(), seen)]));
    }
    history
}

pub(crate) fn errors_only() -> Settings {
    Settings {
        weights: vec![(Metric::Errors, 1.0)],
        ..Settings::default()
    }
}

/// The first tick after which this is so.
pub(crate) fn first(
    judge: &mut Judge,
    ticks: impl Iterator<Item = Tick>,
    is: impl Fn(Word) -> bool,
) -> Option<u64> {
    for tick in ticks {
        judge.observe(&tick);
        if is(judge.word()) {
            return Some(tick.at);
        }
    }
    None
}

pub(crate) fn is_harm(word: Word) -> bool {
    matches!(word, Word::RollBack(_))
}
