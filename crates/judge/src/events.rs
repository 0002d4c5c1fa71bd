//! Events with the time in which they could have happened: crashes, missing
//! heartbeats, what a source counts.
//!
//! Given how many events a second had, and how many hosts of each side could
//! have had them, the canary's number is binomial, whatever the intensity was
//! that both sides shared (exact for Poisson events). Bets are placed on its
//! having more than its part. Beside this comparison with the control there is a
//! hard rule that compares with the past.
//!
//! Invariant: time without a host on either side is no evidence.

use model::Metric;
use serde::{Deserialize, Serialize};

use crate::judge::Settings;
use crate::mixture::Mixture;
use crate::num::{exp, ln};
use crate::tick::{EventTick, Exposed};

/// Bets: the canary has so many times the events of the control.
const TIMES: [f64; 4] = [2.0, 5.0, 20.0, 200.0];
/// Ticks between restarts of each bet's process.
const SPACINGS: [u32; TIMES.len()] = [60, 60, 30, 10];
/// A rate is known well enough from so many events: older ones are forgotten.
const EVENTS_MAX: u64 = 512;
/// Or from the exposure of a hundred hosts over ten days: a program changes more often.
const EXPOSURE_MAX_MS: u64 = 1000 * 86_400_000;
/// Bursts are looked for in windows of so many ticks.
const WINDOW_TICKS: u64 = 10;
/// A day of windows: older ones are forgotten.
const WINDOWS_MAX: u64 = 8640;
/// A line in a log seldom comes alone, and a host that is silent is so for a while. Until
/// windows with events have shown how large bursts are, they are taken to be this large.
const BURST_UNKNOWN: f64 = 4.0;
/// From so many windows with events on it is known.
const BURSTS_KNOWN: u64 = 30;
/// The historical rate is taken as high as it can be with this probability of being higher still.
const RATE_CONFIDENCE: f64 = 0.01;
/// The hard rule's first look is over this exposure, each further one over twice as much.
const FIRST_LOOK_MS: f64 = 60_000.0;
/// No hard rule on less: one crash of a program is an accident.
const HARD_EVENTS_MIN: u64 = 3;

/// How often events were before, on what is the control now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EventHistory {
    crashes: Rate,
    heartbeats: Rate,
    custom: Rate,
}

impl EventHistory {
    /// One second of one metric; only the control is looked at.
    pub fn observe(&mut self, tick: &EventTick) {
        match tick.metric {
            Metric::Crashes => self.crashes.add(tick.control),
            Metric::Heartbeats => self.heartbeats.add(tick.control),
            Metric::Custom => self.custom.add(tick.control),
            Metric::Errors | Metric::Latency | Metric::Saturation => {}
        }
    }

    fn of(&self, metric: Metric) -> Rate {
        match metric {
            Metric::Crashes => self.crashes,
            Metric::Heartbeats => self.heartbeats,
            Metric::Custom => self.custom,
            Metric::Errors | Metric::Latency | Metric::Saturation => Rate::default(),
        }
    }
}

/// Events by exposure, and how much they come in bursts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Rate {
    events: u64,
    host_ms: u64,
    /// Windows of [`WINDOW_TICKS`] that are over.
    windows: u64,
    /// Of these, with events.
    bursts: u64,
    /// Sum of their squared numbers of events.
    squares: u64,
    /// Sum of their numbers of events.
    sum: u64,
    /// The window that is not over.
    open_ticks: u64,
    open_events: u64,
}

impl Rate {
    fn add(&mut self, control: Exposed) {
        if control.host_ms == 0 {
            return;
        }
        self.events = self.events.saturating_add(control.events);
        self.host_ms = self.host_ms.saturating_add(control.host_ms);
        while self.events > EVENTS_MAX || self.host_ms > EXPOSURE_MAX_MS {
            self.events /= 2;
            self.host_ms /= 2;
        }
        self.open_ticks += 1;
        self.open_events = self.open_events.saturating_add(control.events);
        if self.open_ticks == WINDOW_TICKS {
            let events = self.open_events;
            self.windows += 1;
            self.bursts += u64::from(events > 0);
            self.sum = self.sum.saturating_add(events);
            self.squares = self.squares.saturating_add(events.saturating_mul(events));
            (self.open_ticks, self.open_events) = (0, 0);
            if self.windows > WINDOWS_MAX {
                self.windows /= 2;
                self.bursts /= 2;
                self.sum /= 2;
                self.squares /= 2;
            }
        }
    }

    /// Variance of a window's number of events divided by its mean (Fano's factor): 1 for
    /// Poisson events, the size of a burst when they come in bursts. A rate that changes in
    /// the course of the day raises it too, which only makes the judge more careful.
    fn dispersion(&self) -> f64 {
        let (windows, sum) = (self.windows as f64, self.sum as f64);
        if windows < 2.0 || sum <= 1.0 {
            return 1.0;
        }
        let variance = (self.squares as f64 - sum * sum / windows) / (windows - 1.0);
        let factor = variance * windows / sum;
        // What chance alone does not exceed: two standard deviations.
        if factor <= 1.0 + 2.0 * (2.0 / (windows - 1.0)).sqrt() {
            1.0
        } else {
            factor
        }
    }

    /// Events for each host-millisecond, at most (an upper confidence bound, after Garwood 1936).
    fn upper(&self) -> f64 {
        if self.host_ms == 0 {
            return f64::INFINITY;
        }
        // The mean under which so few events have the probability RATE_CONFIDENCE, by bisection.
        let events = self.events;
        let (mut low, mut high) = (events as f64, 2.0 * events as f64 + 20.0);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if 1.0 - poisson_tail(middle, events + 1) > RATE_CONFIDENCE {
                low = middle;
            } else {
                high = middle;
            }
        }
        high / self.host_ms as f64
    }
}

/// Probability that a Poisson number with this mean is at least `m`.
fn poisson_tail(mean: f64, m: u64) -> f64 {
    if m == 0 {
        return 1.0;
    }
    if mean <= 0.0 {
        return 0.0;
    }
    // The tail is summed from `m` upward where terms fall, and as a complement where they rise:
    // neither loses digits.
    let ln_term = |k: f64| k * ln(mean) - mean - libm::lgamma(k + 1.0);
    let m = m as f64;
    if m > mean {
        let (mut term, mut sum, mut k) = (exp(ln_term(m)), 0.0, m);
        while term > sum * 1e-16 && term > 0.0 {
            sum += term;
            k += 1.0;
            term *= mean / k;
        }
        sum
    } else {
        let (mut term, mut sum, mut k) = (exp(ln_term(m - 1.0)), 0.0, m - 1.0);
        while term > sum * 1e-16 && term > 0.0 {
            sum += term;
            term *= k / mean;
            k -= 1.0;
        }
        (1.0 - sum).max(0.0)
    }
}

/// The comparison of one metric's events.
#[derive(Debug, Clone)]
pub struct EventProcess {
    metric: Metric,
    ratio: f64,
    alpha: f64,
    mixture: Mixture<{ TIMES.len() }>,
    /// History, and the control's events since.
    rate: Rate,
    /// Events for each host-millisecond before the comparison, as many as there may have been.
    upper: f64,
    canary: Exposed,
    control: Exposed,
    look: Look,
    is_hard: bool,
    told: bool,
}

/// The hard rule's present look: so many canary events, before the exposure is so long, are harm.
///
/// Events only become more, so a threshold that holds for a whole look is
/// crossed within it only if it is crossed at its end. Looks therefore share
/// the rule's part of alpha, and the rule may be asked at any time.
#[derive(Debug, Clone, Copy)]
struct Look {
    number: u32,
    until_ms: f64,
    events_min: f64,
}

impl EventProcess {
    /// Compares events of this metric; `history` is what was before.
    pub fn new(settings: &Settings, metric: Metric, history: &EventHistory) -> EventProcess {
        let rate = history.of(metric);
        let components = SPACINGS.map(|spacing| (1.0 / TIMES.len() as f64, spacing));
        let mut process = EventProcess {
            metric,
            ratio: settings.ratio,
            alpha: settings.alpha,
            mixture: Mixture::new(&components, settings.horizon_ticks),
            rate,
            upper: rate.upper(),
            canary: Exposed::default(),
            control: Exposed::default(),
            look: Look {
                number: 0,
                until_ms: FIRST_LOOK_MS,
                events_min: f64::INFINITY,
            },
            is_hard: false,
            told: false,
        };
        process.look.events_min = process.events_min(process.look);
        process
    }

    /// One second; another metric's is not looked at.
    pub fn observe(&mut self, tick: &EventTick) {
        if tick.metric != self.metric {
            return;
        }
        let (canary, control) = (tick.canary, tick.control);
        self.told |= canary.host_ms > 0 && control.host_ms > 0;
        self.mixture.step(&self.ln_e(canary, control));
        self.rate.add(control);
        self.canary = sum(self.canary, canary);
        self.control = sum(self.control, control);
        self.look_again();
    }

    /// Evidence that the canary has more events, in nats, after the correction for bursts.
    pub fn ln_m(&self) -> f64 {
        let ln_m = self.mixture.ln_m();
        ln_m.min(ln_m / self.dispersion())
    }

    /// Whether the canary has more events than the past can explain, and more than the control has now.
    pub fn hard(&self) -> bool {
        self.is_hard
    }

    /// Whether both sides have ever had time in which events could happen.
    pub fn told(&self) -> bool {
        self.told
    }

    /// How much more than chance events come together, at least 1.
    pub fn dispersion(&self) -> f64 {
        let is_bursty = matches!(self.metric, Metric::Heartbeats | Metric::Custom);
        if is_bursty && self.rate.bursts < BURSTS_KNOWN {
            self.rate.dispersion().max(BURST_UNKNOWN)
        } else {
            self.rate.dispersion()
        }
    }

    /// `q = r tau H_c / (r tau H_c + H_b)` against `rho = tau H_c / (tau H_c + H_b)`:
    /// `e = (q / rho)^d_c ((1 - q) / (1 - rho))^d_b`.
    fn ln_e(&self, canary: Exposed, control: Exposed) -> [f64; TIMES.len()] {
        if canary.host_ms == 0 || control.host_ms == 0 {
            return [0.0; TIMES.len()];
        }
        let (h_c, h_b) = (self.ratio * canary.host_ms as f64, control.host_ms as f64);
        let (d_c, d_b) = (canary.events as f64, control.events as f64);
        TIMES.map(|times| d_c * ln(times) - (d_c + d_b) * ln((times * h_c + h_b) / (h_c + h_b)))
    }

    fn look_again(&mut self) {
        let exposure = self.canary.host_ms as f64;
        while exposure > self.look.until_ms && self.look.events_min.is_finite() {
            self.look.number += 1;
            self.look.until_ms *= 2.0;
            self.look.events_min = self.events_min(self.look);
        }
        let events = self.canary.events as f64;
        // What the control suffers as well is not the canary's doing.
        let is_alone = self.control.host_ms == 0
            || events * self.control.host_ms as f64 > 2.0 * self.control.events as f64 * exposure;
        self.is_hard |= is_alone && events >= self.look.events_min;
    }

    /// The smallest number that a Poisson variable with the historical rate reaches with at most
    /// the look's part of `alpha / 10`; parts are `1 / ((k + 1) (k + 2))`, which add up to 1.
    /// Bursts are counted as one event each.
    fn events_min(&self, look: Look) -> f64 {
        if self.metric == Metric::Custom {
            // Lines in a log are no accidents of their own: one cause may write any number.
            return f64::INFINITY;
        }
        let k = f64::from(look.number);
        let part = self.alpha / 10.0 / ((k + 1.0) * (k + 2.0));
        let burst = self.dispersion();
        let mean = self.ratio * self.upper * look.until_ms / burst;
        // Beyond this many expected events the comparison with the control decides sooner.
        if mean > 1e4 {
            return f64::INFINITY;
        }
        let (mut low, mut high) = (0, mean as u64 * 2 + 100);
        while low < high {
            let middle = (low + high) / 2;
            if poisson_tail(mean, middle) <= part {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        burst * low.max(HARD_EVENTS_MIN) as f64
    }
}

/// Both together.
fn sum(a: Exposed, b: Exposed) -> Exposed {
    Exposed {
        events: a.events.saturating_add(b.events),
        host_ms: a.host_ms.saturating_add(b.host_ms),
    }
}

#[cfg(test)]
mod tests;
