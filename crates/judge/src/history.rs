//! What the old bundle did before a release: failing share, latencies, rates of
//! events, levels of gauges, and how unequal hosts and tenants are.
//!
//! Invariant: it only makes bets better or worse; no guarantee rests on it, but for the
//! dispersion, which can only lower evidence.

use serde::{Deserialize, Serialize};

use crate::dispersion::Curve;
use crate::events::EventHistory;
use crate::gauges::GaugeHistory;
use crate::latency::LatencyHistory;
use crate::num::exact;
use crate::strata::Cells;
use crate::tick::{STRATA_MAX, Sums, Tick};

/// Rates forget what is older than ten minutes, which follows the course of a day
/// and outlasts a short disturbance.
const FORGOTTEN_EACH_TICK: f64 = 1.0 / 600.0;
/// A failing share forgets only what leaves it so many failures: a rare failure must
/// be remembered for longer than ten minutes, or it would come as a surprise each time.
const FAILURES_KEPT: f64 = 50.0;
/// Nor does it remember more requests: what never failed among a million may begin to.
const REQUESTS_KEPT: f64 = 1e6;
/// Before anything is known, one request in a hundred fails.
const SHARE_UNKNOWN: f64 = 0.01;
/// Of a stratum of which nothing is known: the other strata's share, as if half a failure had been seen.
const FAILURES_ASSUMED: f64 = 0.5;
/// Shares outside these limits can't be bet on; nothing is lost by it.
const SHARE_LIMITS: (f64, f64) = (1e-7, 0.999);

/// A memory of bounded size, fed while nothing is released.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// By stratum.
    pub(crate) rates: Vec<Rate>,
    /// Requests and seconds, forgotten.
    traffic: Traffic,
    pub(crate) latency: LatencyHistory,
    pub(crate) events: EventHistory,
    pub(crate) gauges: GaugeHistory,
    pub(crate) hosts: Curve,
    pub(crate) clients: Curve,
}

/// Requests and failures, forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rate {
    #[serde(with = "exact")]
    n: f64,
    #[serde(with = "exact")]
    e: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Traffic {
    #[serde(with = "exact")]
    n: f64,
    #[serde(with = "exact")]
    seconds: f64,
}

impl Rate {
    pub(crate) fn observe(&mut self, sums: Sums) {
        if self.e > FAILURES_KEPT || self.n > REQUESTS_KEPT {
            self.n -= self.n * FORGOTTEN_EACH_TICK;
            self.e -= self.e * FORGOTTEN_EACH_TICK;
        }
        self.n += sums.n as f64;
        self.e += sums.e as f64;
    }

    /// How many requests it rests on, forgotten ones left out.
    pub(crate) fn requests(self) -> f64 {
        self.n
    }

    /// The failing share to bet on, given what the strata do together.
    pub(crate) fn share(self, all: Rate) -> f64 {
        let others = (all.e - self.e).max(0.0) + FAILURES_ASSUMED;
        let of = (all.n - self.n).max(0.0) + FAILURES_ASSUMED / SHARE_UNKNOWN;
        let assumed = FAILURES_ASSUMED * of / others;
        let share = (self.e + FAILURES_ASSUMED) / (self.n + assumed);
        share.clamp(SHARE_LIMITS.0, SHARE_LIMITS.1)
    }

    pub(crate) fn sum(rates: &[Rate]) -> Rate {
        rates.iter().fold(Rate::default(), |sum, rate| Rate {
            n: sum.n + rate.n,
            e: sum.e + rate.e,
        })
    }
}

impl History {
    /// One second passed; only the control sides are looked at. `at` grows over
    /// the whole time of watching and has nothing to do with any comparison's.
    pub fn observe(&mut self, tick: &Tick) {
        self.rates.resize(STRATA_MAX, Rate::default());
        self.traffic.n -= self.traffic.n * FORGOTTEN_EACH_TICK;
        self.traffic.seconds -= self.traffic.seconds * FORGOTTEN_EACH_TICK;
        self.traffic.seconds += 1.0;
        for (stratum, cell) in Cells::of(tick).each() {
            self.rates[stratum].observe(cell.control);
            self.traffic.n += cell.control.n as f64;
        }
        for stratum in &tick.strata {
            self.latency
                .observe(stratum.stratum, &stratum.control_latency);
        }
        for event in &tick.events {
            self.events.observe(event);
        }
        self.gauges.observe(tick.at, &tick.gauges);
        self.hosts.observe(&tick.hosts);
        self.clients.observe(&tick.clients);
    }

    /// Requests per second and failing share of the recent past, for planning; `None` before any traffic.
    pub fn baseline(&self) -> Option<Baseline> {
        let all = Rate::sum(&self.rates);
        (all.n > 0.0).then(|| Baseline {
            requests_per_s: self.traffic.n / self.traffic.seconds,
            failing: all.share(all),
            dispersion: [&self.hosts, &self.clients]
                .into_iter()
                .filter_map(|curve| curve.over(60))
                .fold(1.0, |phi, before| phi.max(before.seen.phi)),
            latency: self.latency.shares(),
        })
    }
}

/// A service's usual traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Requests per second.
    pub requests_per_s: f64,
    /// Share that fails.
    pub failing: f64,
    /// Overdispersion of hosts over a minute (phi), at least 1.
    pub dispersion: f64,
    /// Latencies, by bucket, as shares that add up to 1.
    pub latency: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tick::StratumTick;

    fn second(at: u64, n: u64, e: u64) -> Tick {
        Tick {
            at,
            strata: vec![StratumTick {
                control: Sums { n, e },
                ..StratumTick::default()
            }],
            ..Tick::default()
        }
    }

    #[test]
    fn a_baseline_follows_the_traffic_and_remembers_rare_failures() {
        let mut history = History::default();
        assert_eq!(history.baseline(), None);
        for at in 0..7200 {
            history.observe(&second(at, 100, u64::from(at % 1000 == 0)));
        }
        let rare = history.baseline().unwrap();
        assert!((rare.requests_per_s - 100.0).abs() < 0.1, "{rare:?}");
        assert!((rare.failing / 1e-5 - 1.0).abs() < 0.3, "{rare:?}");
        for at in 7200..10800 {
            history.observe(&second(at, 200, 20));
        }
        let often = history.baseline().unwrap();
        assert!((often.requests_per_s - 200.0).abs() < 1.0, "{often:?}");
        assert!((often.failing / 0.1 - 1.0).abs() < 0.05, "{often:?}");
    }

    #[test]
    fn an_unknown_stratum_is_taken_to_be_like_the_others() {
        let known = Rate { n: 1e5, e: 100.0 };
        let new = Rate::default();
        let all = Rate::sum(&[known, new]);
        assert!((new.share(all) / 1e-3 - 1.0).abs() < 0.01);
        assert!((known.share(all) / 1e-3 - 1.0).abs() < 0.01);
        assert!((new.share(Rate::default()) - SHARE_UNKNOWN).abs() < 1e-12);
    }
}
