//! What a plan can see before it is begun.
//!
//! Evidence grows with each request of the new bundle by the divergence between
//! what happens and the nearest claim that it speaks against (Wald 1945; with two
//! sides Turner, Ly & Grünwald 2024), so the time until it suffices follows from a
//! service's own traffic.
//!
//! Invariant: what can't be shown has no time; no number is made up for it.

use model::Metric;
use model::ticks::LATENCY_BUCKETS;
use serde::{Deserialize, Serialize};

use crate::bernoulli::{Bet, Line};
use crate::fleet;
use crate::history::Baseline;
use crate::judge::Settings;
use crate::latency;
use crate::latency::slower::Slower;
use crate::num::{kl, ln};

/// What is needed beside the threshold: a mixture's wealth is spread over sizes of effect
/// and starts, and evidence goes beyond the threshold by a part of a second. Measured
/// against simulations, see the tests.
const HARM_FACTOR: f64 = 1.25;
/// An outage fails nearly everything.
const OUTAGE: f64 = 0.97;
/// Shares that can be planned with; the limits of what can be bet on.
const SHARE_LIMITS: (f64, f64) = (1e-7, 0.9);
/// One point more.
const POINT: f64 = 0.01;
/// A fifth slower.
const SLOWER: f64 = 0.2;
/// Verdicts come once a second.
const TICK_S: f64 = 1.0;

/// One wave of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaveShape {
    /// The new bundle's share of the traffic, 0 to 1.
    pub share: f64,
    /// It bakes at least so long, in seconds.
    pub bake_s: f64,
    /// And at most so long before people are asked.
    pub bake_max_s: f64,
}

/// What one wave can see. Times are in seconds since the wave began. A change that the new
/// bundle brings along is there from the first wave on, so what earlier waves have shown in
/// their shortest bake counts: 0 is "shown before this wave begins".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaveAdvice {
    /// The new bundle's requests each second.
    pub requests_per_s: f64,
    /// After so many seconds it shows that twice as many requests fail, on average; absent: never.
    pub doubling_s: Option<f64>,
    /// That one point more fails.
    pub point_s: Option<f64>,
    /// That everything is a fifth slower.
    pub slower_s: Option<f64>,
    /// That everything fails, beginning in this wave. Without control the whole service's watch shows it.
    pub outage_s: Option<f64>,
    /// A healthy bundle passes after so many seconds (median), its shortest bake included.
    pub pass_s: Option<f64>,
    /// Requests that fail more before an outage that begins in this wave is rolled back, on average.
    pub harm_outage: f64,
    /// Before a doubling is, from the first wave on.
    pub harm_doubling: Option<f64>,
}

/// What each wave can see with this traffic; waves begin one after the other and evidence runs on.
/// `delay_s`: from a failure to the end of the way back, beside what the counts need.
pub fn advise(
    settings: &Settings,
    baseline: &Baseline,
    waves: &[WaveShape],
    delay_s: f64,
) -> Vec<WaveAdvice> {
    let planner = Planner::new(settings, baseline);
    let mut doubling = Course::default();
    let mut point = Course::default();
    let mut slower = Course::default();
    let mut pass = Course::default();
    let mut exposed = 0.0;
    let mut harm_doubling = None;
    waves
        .iter()
        .map(|wave| {
            let requests_per_s = planner.requests_per_s * wave.share;
            let doubling_s = doubling.next(
                wave,
                wave.bake_s,
                planner.failing(wave, 2.0 * planner.usual),
            );
            if let Some(shown_s) = doubling_s
                && shown_s > 0.0
            {
                let requests = exposed + requests_per_s * (shown_s + delay_s);
                harm_doubling = Some(planner.usual * requests);
            }
            exposed += requests_per_s * wave.bake_s;
            let outage_s = Course::default().next(wave, 0.0, planner.outage(wave));
            let fails_s = outage_s.unwrap_or(wave.bake_max_s) + delay_s;
            let pass_s = pass.pass(wave, planner.passing(wave));
            WaveAdvice {
                requests_per_s,
                doubling_s,
                point_s: point.next(
                    wave,
                    wave.bake_s,
                    planner.failing(wave, planner.usual + POINT),
                ),
                slower_s: slower.next(wave, wave.bake_s, planner.slower(wave)),
                outage_s,
                pass_s,
                harm_outage: (1.0 - planner.usual) * requests_per_s * fails_s,
                harm_doubling: harm_doubling.filter(|_| doubling_s.is_some()),
            }
        })
        .collect()
}

/// How far evidence for one thing has come, 1 being enough.
#[derive(Debug, Default)]
struct Course {
    done: f64,
}

impl Course {
    /// Seconds of this wave until it is enough at this speed, if the wave lasts so long; it will
    /// have lasted `lasts_s` when the next one begins.
    fn next(&mut self, wave: &WaveShape, lasts_s: f64, each_s: Option<f64>) -> Option<f64> {
        let each_s = each_s?;
        let left = 1.0 - self.done;
        self.done += each_s * lasts_s;
        if left <= 0.0 {
            return Some(0.0);
        }
        let shown_s = (left / each_s).max(TICK_S);
        (shown_s <= wave.bake_max_s).then_some(shown_s)
    }

    /// The same for passing: a wave that can't pass by itself is held to its end.
    fn pass(&mut self, wave: &WaveShape, each_s: Option<f64>) -> Option<f64> {
        let left = 1.0 - self.done;
        let shown_s = if left <= 0.0 { 0.0 } else { left / each_s? };
        if shown_s > wave.bake_max_s {
            self.done += each_s.unwrap_or(0.0) * wave.bake_max_s;
            return None;
        }
        // What was shown at the beginning of a wave counts, what was shown beyond that does not.
        self.done = 1.0;
        Some(shown_s.max(wave.bake_s))
    }
}

/// One service's traffic, and how fast evidence grows in it.
struct Planner<'a> {
    settings: &'a Settings,
    requests_per_s: f64,
    /// Share that fails.
    usual: f64,
    dispersion: f64,
    /// By bucket; absent when nothing is known.
    latency: Option<[f64; LATENCY_BUCKETS]>,
}

impl Planner<'_> {
    fn new<'a>(settings: &'a Settings, baseline: &Baseline) -> Planner<'a> {
        let sum: f64 = baseline.latency.iter().take(LATENCY_BUCKETS).sum();
        let latency = (sum > 0.0).then(|| {
            std::array::from_fn(|bucket| baseline.latency.get(bucket).copied().unwrap_or(0.0) / sum)
        });
        Planner {
            settings,
            requests_per_s: baseline.requests_per_s,
            usual: baseline.failing.clamp(SHARE_LIMITS.0, SHARE_LIMITS.1),
            dispersion: baseline.dispersion.max(1.0),
            latency,
        }
    }

    /// Evidence for harm that a metric needs, in nats.
    fn needed(&self, metric: Metric) -> f64 {
        let weights = self.settings.weights.iter();
        let weight: f64 = weights.filter(|it| it.0 == metric).map(|it| it.1).sum();
        -ln(self.settings.alpha) - ln(weight)
    }

    /// Part of the evidence that each second brings when this share fails on the new bundle.
    fn failing(&self, wave: &WaveShape, share: f64) -> Option<f64> {
        let line = Line {
            ratio: self.settings.ratio,
            points: self.settings.points,
        };
        let share = share.min(OUTAGE);
        if share <= line.at(self.usual) {
            return None;
        }
        let bet = Bet {
            canary: share,
            control: self.usual,
        };
        let needed = HARM_FACTOR * self.dispersion * self.needed(Metric::Errors);
        speed(self.requests_per_s * self.nats(wave, line, bet)? / needed)
    }

    /// The same when everything fails. Without control the whole service's watch sees it.
    fn outage(&self, wave: &WaveShape) -> Option<f64> {
        if has_control(wave) {
            return self.failing(wave, OUTAGE);
        }
        let requests = fleet::requests_to_alarm(self.settings.pass_points, self.usual);
        speed(self.requests_per_s / requests)
    }

    /// The same when everything is slower.
    fn slower(&self, wave: &WaveShape) -> Option<f64> {
        let control = self.latency?;
        if !has_control(wave) {
            return None;
        }
        let sides = (&control, &Slower::by(SLOWER).spread(&control));
        let needed = self.needed(Metric::Latency);
        let requests = latency::requests_to_show(self.settings, needed, wave.share, sides);
        speed(self.requests_per_s * wave.share / requests)
    }

    /// Part of the evidence for passing that each second of a healthy bundle brings. What bets
    /// lose to one another makes up for the median's lying below the mean.
    fn passing(&self, wave: &WaveShape) -> Option<f64> {
        let line = Line {
            ratio: self.settings.pass_ratio,
            points: self.settings.pass_points,
        };
        let bet = Bet {
            canary: self.usual,
            control: self.usual,
        };
        let border = line.at(self.usual);
        if self.usual >= border {
            return None;
        }
        let nats = if has_control(wave) {
            divergence(line, bet, wave.share)
        } else {
            // The old bundle's share is what it was.
            kl(self.usual, border)
        };
        let needed = -self.dispersion * ln(self.settings.beta);
        speed(self.requests_per_s * nats / needed)
    }

    /// Nats for each request of the service, whichever bundle answers it.
    fn nats(&self, wave: &WaveShape, line: Line, bet: Bet) -> Option<f64> {
        has_control(wave).then(|| divergence(line, bet, wave.share))
    }
}

/// Without a control nothing is compared.
fn has_control(wave: &WaveShape) -> bool {
    wave.share < 1.0
}

/// A speed that leads somewhere.
fn speed(each_s: f64) -> Option<f64> {
    (each_s > 0.0 && each_s.is_finite()).then_some(each_s)
}

/// Nats for each request when shares are as the bet has them, against the nearest point of the
/// claim; both sides have requests.
fn divergence(line: Line, bet: Bet, share: f64) -> f64 {
    let null = line.nearest(bet, share, 1.0 - share);
    share * kl(bet.canary, null.canary) + (1.0 - share) * kl(bet.control, null.control)
}

#[cfg(test)]
mod tests;
