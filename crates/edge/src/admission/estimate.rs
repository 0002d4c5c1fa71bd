//! How many requests at once a backend can use, when nobody says it.
//!
//! Little's law: a server that answers `rate` requests a second, each in `base`
//! seconds when it isn't made to wait, works on `rate x base` at once. The rate
//! is the highest of the last windows in which the slots were full; the base is
//! the least *mean* time of a window, not the least time: with mixed requests
//! that is some trivial one's, and the limit collapses. Sentinel and BBR have
//! the same form.
//!
//! Nothing is learned from requests that got no answer, from windows with a
//! stall, or, for the rate, from windows in which the slots were not full.
//!
//! Invariant: the estimate changes only when a window closes.

use std::time::Duration;

use super::limit::LIMIT_MAX;

/// Answers in a window: fewer let the mean of exponential times wander by more
/// than a tenth, and the limit with it.
const WINDOW_ANSWERS: u32 = 150;
/// A window's shortest time: below it bursts are taken for rates.
const WINDOW_MIN: Duration = Duration::from_millis(50);
/// Windows over which the highest rate counts.
const RATES: usize = 10;
/// The least mean is kept for one to two of these.
const BASE_FOR: Duration = Duration::from_secs(20);
/// What was proven healthy is kept for one to two of these.
const PROVEN_FOR: Duration = Duration::from_secs(300);
/// Before anything is known. More than a usual service needs, because to refuse what
/// could be answered is worse than what a backend with few workers has too many until its
/// first window is over; one with hundreds is there after a few doublings. With 16 the simulated
/// tables are as good or better, but over real sockets a gateway that has just taken over from
/// another refused some of a burst.
const INITIAL: f64 = 32.0;
/// Room above the concurrency that was used, so that more can be found.
const HEADROOM: f64 = 1.5;
/// Above this many bases a window's mean says that requests wait at the backend.
const CROWDED: f64 = 1.5;
/// Below this many, that hardly any does: its concurrency is proven.
const HEALTHY: f64 = 1.25;
/// The most that a window adds or takes.
const GROWTH: f64 = 1.25;
/// Start-up goes on as long as a doubled limit brings at least this rate.
const STARTUP_GAIN: f64 = 1.25;
/// How often the limit is lowered to see the base without others in the way.
const PROBE_EVERY: Duration = Duration::from_secs(8);
/// To which part of it.
const PROBE: f64 = 0.6;

#[derive(Debug, Default)]
struct Window {
    began: Duration,
    answers: u32,
    sum: Duration,
    full_for: Duration,
    spoiled: bool,
}

/// The least or highest of the present period and the one before.
#[derive(Debug, Default)]
struct Extreme {
    began: Duration,
    now: Option<f64>,
    before: Option<f64>,
}

impl Extreme {
    fn note(&mut self, value: f64, better: fn(f64, f64) -> f64, keep: Duration, now: Duration) {
        if now.saturating_sub(self.began) >= keep {
            let twice = now.saturating_sub(self.began) >= keep * 2;
            self.before = self.now.take().filter(|_| !twice);
            self.began = now;
        }
        self.now = Some(self.now.map_or(value, |it| better(it, value)));
    }

    fn get(&self, better: fn(f64, f64) -> f64) -> Option<f64> {
        match (self.now, self.before) {
            (Some(now), Some(before)) => Some(better(now, before)),
            (now, before) => now.or(before),
        }
    }
}

/// One backend's estimate.
#[derive(Debug)]
pub(super) struct Estimator {
    limit: f64,
    window: Window,
    full_since: Option<Duration>,
    rates: [f64; RATES],
    rates_len: usize,
    base: Extreme,
    proven: Extreme,
    startup: bool,
    probed_at: Duration,
    probing: bool,
    mean: Option<f64>,
}

impl Estimator {
    pub(super) fn new(now: Duration) -> Estimator {
        Estimator {
            limit: INITIAL,
            window: Window {
                began: now,
                ..Window::default()
            },
            full_since: None,
            rates: [0.0; RATES],
            rates_len: 0,
            base: Extreme::default(),
            proven: Extreme::default(),
            startup: true,
            probed_at: now,
            probing: false,
            mean: None,
        }
    }

    /// The limit drawn from what was seen, and the concurrency that was proven.
    pub(super) fn limits(&self) -> (u32, u32) {
        let proven = self.proven.get(f64::max).unwrap_or(1.0);
        match self.probing {
            true => (whole(self.limit * PROBE), 0),
            false => (whole(self.limit), whole(proven)),
        }
    }

    /// Mean time to answer, of late.
    pub(super) fn mean(&self) -> Option<Duration> {
        self.mean.map(seconds)
    }

    /// Time to answer when nothing waits.
    pub(super) fn base(&self) -> Option<Duration> {
        self.base.get(f64::min).or(self.mean).map(seconds)
    }

    /// Whether all slots are taken from `now` on.
    pub(super) fn full(&mut self, full: bool, now: Duration) {
        match (self.full_since, full) {
            (None, true) => self.full_since = Some(now),
            (Some(since), false) => {
                let from = since.max(self.window.began);
                self.window.full_for += now.saturating_sub(from);
                self.full_since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// What is seen until the next window says nothing.
    pub(super) fn spoil(&mut self) {
        self.window.spoiled = true;
    }

    /// A good answer came after `rtt`.
    pub(super) fn answered(&mut self, rtt: Duration, now: Duration) {
        /// The mean forgets half in some twenty answers.
        const WEIGHT: f64 = 1.0 / 32.0;
        let value = rtt.as_secs_f64();
        self.mean = Some(
            self.mean
                .map_or(value, |mean| mean + (value - mean) * WEIGHT),
        );
        self.window.answers += 1;
        self.window.sum += rtt;
        let span = now.saturating_sub(self.window.began);
        if self.window.answers >= WINDOW_ANSWERS && span >= WINDOW_MIN {
            let full = self.full_since.is_some();
            self.full(false, now);
            let next = Window {
                began: now,
                ..Window::default()
            };
            let window = std::mem::replace(&mut self.window, next);
            self.full(full, now);
            if !window.spoiled {
                self.learn(&window, span, now);
            }
        }
    }

    fn learn(&mut self, window: &Window, span: Duration, now: Duration) {
        let answers = f64::from(window.answers);
        let mean = window.sum.as_secs_f64() / answers;
        let rate = answers / span.as_secs_f64();
        self.base.note(mean, f64::min, BASE_FOR, now);
        let base = self.base.get(f64::min).unwrap_or(mean);
        if mean < base * HEALTHY {
            self.proven.note(rate * mean, f64::max, PROVEN_FOR, now);
        }
        let full = window.full_for * 2 >= span;
        let probed = std::mem::replace(&mut self.probing, false);
        if !full || probed {
            return;
        }
        let best = self.rates.iter().copied().fold(0.0, f64::max);
        self.rates[self.rates_len % RATES] = rate;
        self.rates_len += 1;
        if self.startup && rate >= best * STARTUP_GAIN {
            self.limit = (self.limit * 2.0).min(f64::from(LIMIT_MAX));
            return;
        }
        self.startup = false;
        let highest = self.rates.iter().copied().fold(0.0, f64::max);
        let target = HEADROOM * highest * base + 1.0;
        if target < self.limit {
            self.limit = target.max(self.limit / GROWTH);
        } else if mean < base * CROWDED {
            self.limit = target.min(self.limit * GROWTH).min(f64::from(LIMIT_MAX));
        }
        if now.saturating_sub(self.probed_at) >= PROBE_EVERY {
            self.probed_at = now;
            self.probing = true;
        }
    }
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

/// Rounded, at least 1 and at most [`LIMIT_MAX`].
fn whole(value: f64) -> u32 {
    let bounded = value.clamp(1.0, f64::from(LIMIT_MAX));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded just above"
    )]
    let whole = (bounded + 0.5) as u32;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A server with so many workers of 20 ms, its slots always full.
    fn saturate(
        estimator: &mut Estimator,
        workers: u32,
        from: Duration,
        span: Duration,
    ) -> Duration {
        let gap = MS * 20 / workers;
        let mut now = from;
        while now < from + span {
            estimator.full(true, now);
            now += gap;
            let (limit, proven) = estimator.limits();
            let rtt = gap * limit.max(proven).max(workers);
            estimator.answered(rtt, now);
        }
        now
    }

    #[test]
    fn the_workers_are_found_whatever_their_number() {
        for workers in [1, 2, 8, 40, 200] {
            let mut estimator = Estimator::new(Duration::ZERO);
            saturate(&mut estimator, workers, Duration::ZERO, MS * 60_000);
            let (limit, _) = estimator.limits();
            assert!(limit >= workers, "{workers} workers, limit {limit}");
            assert!(
                limit <= workers * 2 + INITIAL as u32,
                "{workers} workers, limit {limit}"
            );
        }
    }

    #[test]
    fn windows_that_were_not_full_change_no_limit() {
        let mut estimator = Estimator::new(Duration::ZERO);
        let before = estimator.limits().0;
        for n in 0..100_000 {
            estimator.answered(MS * 20, MS * n);
        }
        assert_eq!(estimator.limits().0, before);
        assert_eq!(estimator.base(), Some(MS * 20));
    }

    #[test]
    fn a_spoiled_window_teaches_nothing() {
        let mut estimator = Estimator::new(Duration::ZERO);
        let now = saturate(&mut estimator, 8, Duration::ZERO, MS * 10_000);
        let before = estimator.limits();
        estimator.spoil();
        for n in 0..WINDOW_ANSWERS {
            estimator.answered(MS, now + MS * n);
        }
        assert_eq!(estimator.limits(), before);
    }
}
