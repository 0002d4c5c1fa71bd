//! A whole fleet that begins to fail, whoever is to blame.
//!
//! A comparison is blind to what hurts both sides, and when no old bundle is
//! left; this is not. It is a CUSUM of bets (an e-detector after Shin, Ramdas &
//! Rinaldo 2024) against the claim "the failing share of all requests is at most
//! `limit`", where the limit is the larger of what the plan allows and three
//! times what is usual for this service.
//!
//! Invariant: while no share is above the limit, the mean time to an alarm is at
//! least [`MEAN_TIME_TO_FALSE_ALARM`] ticks.

use serde::{Deserialize, Serialize};

use crate::num::{ln, ln_sum};
use crate::tick::Sums;

/// Ticks between false alarms on average, at least: eleven days of seconds, and
/// far more in fact, because the usual share is a third of the limit.
pub const MEAN_TIME_TO_FALSE_ALARM: f64 = 1e6;
/// What is usual times this is still not an alarm: a service's bad hours are
/// often twice as bad as its good ones.
const USUAL_TIMES: f64 = 3.0;
/// A limit is never lower: at one failure in ten thousand, single requests would decide.
const LIMIT_MIN: f64 = 1e-4;
/// Nor higher, so that failing altogether always shows.
const LIMIT_MAX: f64 = 0.9;
/// Bets: so many times the limit fails (the last one is "nearly everything").
const TIMES: [f64; 4] = [2.0, 5.0, 20.0, 1e4];
/// No bet puts the share higher: a few requests that succeed don't end an outage.
const SHARE_MAX: f64 = 0.97;
/// Of what is usual, each tick with requests forgets this share: half is forgotten in 40 minutes.
const FORGET: f64 = 1.0 / 3600.0;
/// The alarm ends when so many ticks with requests together are within the limit.
const CALM_TICKS: usize = 10;
/// An alarm is told once so many ticks with requests after it are together above the limit
/// as well: a host that restarts costs a second, and that is no reason to stop a release.
const LASTING_TICKS: usize = 5;
/// What lasts longer than this many ticks is how the service is now: it becomes
/// usual, so that a lasting and tolerable change does not hold releases for ever.
const ENDURED_TICKS: u64 = 3600;

/// A CUSUM over all requests of one service in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetWatch {
    slo: f64,
    usual: Usual,
    /// Requests since the detector was last at its floor: they become usual once it is back there.
    doubtful: Usual,
    bets: [Bet; TIMES.len()],
    alarm: Option<Alarm>,
}

/// Requests and failures, the older the less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Usual {
    n: f64,
    e: f64,
}

/// One CUSUM: the logarithm of `G <- max(G, 1) * likelihood ratio`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Bet {
    ln_g: f64,
    /// The tick at which it last left its floor.
    since: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Alarm {
    /// When the failing began.
    onset: u64,
    raised: u64,
    /// The newest ticks with requests, at most [`CALM_TICKS`].
    newest: Vec<Sums>,
}

impl FleetWatch {
    /// `slo`: the failing share that is still acceptable (0 to 1).
    pub fn new(slo: f64) -> FleetWatch {
        FleetWatch {
            slo,
            usual: Usual::default(),
            doubtful: Usual::default(),
            bets: [Bet::default(); TIMES.len()],
            alarm: None,
        }
    }

    /// One second of all requests, whatever bundle answered.
    pub fn observe(&mut self, at: u64, sums: Sums) {
        if sums.n == 0 {
            return;
        }
        let sums = Sums {
            n: sums.n,
            e: sums.e.min(sums.n),
        };
        let limit = self.limit();
        match &mut self.alarm {
            None => self.bet(at, sums, limit),
            Some(alarm) => {
                alarm.newest.push(sums);
                if alarm.newest.len() > CALM_TICKS {
                    alarm.newest.remove(0);
                }
                if alarm.is_calm(limit) {
                    self.alarm = None;
                } else if at.saturating_sub(alarm.raised) >= ENDURED_TICKS {
                    self.usual.add(sums);
                }
            }
        }
    }

    /// Since which tick the fleet fails, while it does: for longer than a moment.
    pub fn alarm(&self) -> Option<u64> {
        let alarm = self.alarm.as_ref()?;
        alarm.lasts(self.limit()).then_some(alarm.onset)
    }

    /// The tick since which requests may be failing more than they may: its detector has left
    /// its floor. What came since is no evidence of what is usual.
    pub fn doubts_since(&self) -> Option<u64> {
        let left = self.bets.iter().filter(|bet| bet.ln_g > 0.0);
        let onset = self.alarm.as_ref().map(|alarm| alarm.onset);
        onset.or(left.map(|bet| bet.since).min())
    }

    /// Whether the doubt became an alarm, however short.
    pub fn is_alarmed(&self) -> bool {
        self.alarm.is_some()
    }

    /// The failing share up to which nothing is wrong. It follows from the past alone, and not
    /// from the part of the past that is in doubt: what begins to fail must not become usual.
    fn limit(&self) -> f64 {
        limit(self.slo, (self.usual.e + 0.5) / (self.usual.n + 1.0))
    }

    fn bet(&mut self, at: u64, sums: Sums, limit: f64) {
        let (e, ok) = (sums.e as f64, (sums.n - sums.e) as f64);
        for (bet, times) in self.bets.iter_mut().zip(TIMES) {
            let share = (times * limit).min(SHARE_MAX);
            if bet.ln_g <= 0.0 {
                *bet = Bet {
                    ln_g: 0.0,
                    since: at,
                };
            }
            bet.ln_g += e * ln(share / limit) + ok * ln((1.0 - share) / (1.0 - limit));
        }
        self.doubtful.add(sums);
        let mean = ln_sum(self.bets.iter().map(|bet| bet.ln_g)) - ln(TIMES.len() as f64);
        if mean >= ln(MEAN_TIME_TO_FALSE_ALARM) {
            let strongest = self
                .bets
                .iter()
                .max_by(|a, b| a.ln_g.total_cmp(&b.ln_g))
                .map_or(at, |bet| bet.since);
            self.alarm = Some(Alarm {
                onset: strongest,
                raised: at,
                newest: Vec::new(),
            });
            self.bets = [Bet::default(); TIMES.len()];
            self.doubtful = Usual::default();
        } else if self.bets.iter().all(|bet| bet.ln_g <= 0.0) {
            self.usual.merge(self.doubtful);
            self.doubtful = Usual::default();
        }
    }
}

impl Usual {
    fn add(&mut self, sums: Sums) {
        self.n = self.n * (1.0 - FORGET) + sums.n as f64;
        self.e = self.e * (1.0 - FORGET) + sums.e as f64;
    }

    fn merge(&mut self, newer: Usual) {
        self.n = self.n * (1.0 - FORGET) + newer.n;
        self.e = self.e * (1.0 - FORGET) + newer.e;
    }
}

impl Alarm {
    fn is_calm(&self, limit: f64) -> bool {
        self.newest.len() == CALM_TICKS && !self.is_above(limit)
    }

    fn lasts(&self, limit: f64) -> bool {
        self.newest.len() >= LASTING_TICKS && self.is_above(limit)
    }

    /// Whether the newest ticks together fail more than they may.
    fn is_above(&self, limit: f64) -> bool {
        let n: f64 = self.newest.iter().map(|sums| sums.n as f64).sum();
        let e: f64 = self.newest.iter().map(|sums| sums.e as f64).sum();
        e > limit * n
    }
}

/// Requests until an outage (everything fails) raises the alarm, for planning, when so
/// large a share fails usually.
pub(crate) fn requests_to_alarm(slo: f64, usual: f64) -> f64 {
    let limit = limit(slo, usual);
    let needed = ln(TIMES.len() as f64 * MEAN_TIME_TO_FALSE_ALARM);
    needed / ln(SHARE_MAX / limit)
}

fn limit(slo: f64, usual: f64) -> f64 {
    (USUAL_TIMES * usual).max(slo).clamp(LIMIT_MIN, LIMIT_MAX)
}

#[cfg(test)]
mod tests;
