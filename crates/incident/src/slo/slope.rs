//! When something will be full: threads, connections, memory, disk.
//!
//! The trend is Theil and Sen's (the median of the slopes of all pairs of
//! samples), which up to 29 % of wild samples can't move. It is taken over
//! three horizons, because a leak of seconds is invisible in an hour's samples
//! and a leak of hours in a minute's. What goes up and down by itself (garbage
//! collection) is told from what only goes up by three things: nearly all pairs
//! rise; the newest value is above everything before the horizon; and nothing
//! is foretold further ahead than twice the horizon.
//!
//! Invariant: memory is the same after a year as after an hour, and a series
//! without trend foretells nothing.

use std::collections::VecDeque;

use model::{Millis, Timestamp};

use super::{about, told};
use crate::alerts::Incoming;

/// A person needs so long to look, decide and act. What is full sooner is a page, what is later a ticket.
pub const PERSON_NEEDS: Millis = Millis::seconds(15 * 60);
/// The name of alerts about it.
pub const FULL_ALERT: &str = "FullSoon";

/// Over so many seconds trends are taken.
const HORIZONS_S: [u64; 3] = [5 * 60, 15 * 60, 60 * 60];
/// Samples of a horizon: 1,770 pairs, some microseconds of work.
const SLOTS: u64 = 60;
/// Below so many there is no trend.
const SAMPLES_MIN: usize = 30;
/// Of a hundred pairs so many must rise. A saw has about as many that fall; noise on a true leak leaves more than this.
const RISING_PERCENT: usize = 80;
/// A process that has just started fills its caches: nothing is foretold before, unless it is nearly full.
const WARM_S: i64 = 60 * 60;
/// This part of the limit is nearly full: told without a past to compare with, and trouble by itself, so that a peak as
/// high as this excuses no later one.
const NEARLY_FULL: f64 = 0.9;
/// Above earlier peaks by so much of the limit is new ground; less is noise.
const NEW_GROUND: f64 = 0.05;
/// Hours whose peaks are remembered: a day, so that what happens each night is known.
const PEAKS_MAX: usize = 24;

/// Samples of one thing that can be full.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// For each horizon the newest sample of each slot, with the slot.
    slots: [VecDeque<(u64, Sample)>; 3],
    /// The highest of each hour.
    peaks: VecDeque<(u64, f64)>,
    first_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Seconds since 1970.
    at: f64,
    value: f64,
    /// The highest of its slot.
    peak: f64,
}

/// It will be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// In so long; at once: it is.
    pub full_in: Millis,
    /// The trend of so many seconds says so.
    pub horizon_s: u64,
}

impl Forecast {
    /// Whether it is full sooner than a person needs.
    pub fn page(self) -> bool {
        self.full_in < PERSON_NEEDS
    }

    /// As `threads full in 6 min`.
    pub fn words(self, resource: &str) -> String {
        match self.full_in.0 {
            0 => format!("{resource} full"),
            _ => format!("{resource} full in {}", about(self.full_in)),
        }
    }

    /// The same as an alert that lasts until it is told no more.
    pub fn alert(self, service: &model::ServiceName, resource: &str, now: Timestamp) -> Incoming {
        let severity = if self.page() { "error" } else { "warning" };
        let labels = [
            ("alertname", FULL_ALERT),
            ("resource", resource),
            ("service", service.as_str()),
            ("severity", severity),
        ];
        told(&labels, &self.words(resource), now)
    }
}

impl Series {
    /// A sample. One that is older than the newest, or no number, is left out.
    pub fn add(&mut self, at: Timestamp, value: f64) {
        let second = at.as_second();
        let Ok(from_1970) = u64::try_from(second) else {
            return;
        };
        let newest = self.slots[0]
            .back()
            .map_or(f64::MIN, |(_, sample)| sample.at);
        let seconds = at.as_duration().as_secs_f64();
        if !value.is_finite() || seconds < newest {
            return;
        }
        self.first_at.get_or_insert(at);
        for (slots, horizon) in self.slots.iter_mut().zip(HORIZONS_S) {
            let slot = from_1970 / (horizon / SLOTS);
            let known = slots.back().filter(|(last, _)| *last == slot);
            let peak = known.map_or(value, |(_, sample)| sample.peak.max(value));
            if known.is_some() {
                slots.pop_back();
            }
            let sample = Sample {
                at: seconds,
                value,
                peak,
            };
            slots.push_back((slot, sample));
            while slots
                .front()
                .is_some_and(|(first, _)| first + SLOTS <= slot)
            {
                slots.pop_front();
            }
        }
        let hour = from_1970 / 3600;
        match self.peaks.back_mut() {
            Some((last, peak)) if *last == hour => *peak = peak.max(value),
            Some(_) | None => self.peaks.push_back((hour, value)),
        }
        while self.peaks.len() > PEAKS_MAX {
            self.peaks.pop_front();
        }
    }

    /// When it reaches `limit`, if it goes there: the soonest of what the horizons say.
    pub fn forecast(&self, limit: f64) -> Option<Forecast> {
        let newest = self.slots[0].back()?.1;
        if !limit.is_finite() || limit <= 0.0 {
            return None;
        }
        if newest.value >= limit {
            let horizon_s = HORIZONS_S[0];
            let full_in = Millis(0);
            return Some(Forecast { full_in, horizon_s });
        }
        let first = self.first_at?.as_second();
        let warm = newest.at >= first.saturating_add(WARM_S) as f64;
        if !warm && newest.value < NEARLY_FULL * limit {
            return None;
        }
        let foretold = self.slots.iter().zip(HORIZONS_S);
        let foretold = foretold.filter_map(|(slots, horizon)| {
            // The cheap question first: most series are where they were before.
            if newest.value <= self.peak_before(newest.at - horizon as f64, limit) {
                return None;
            }
            let seconds = (limit - newest.value) / trend(slots)?;
            (seconds <= (2 * horizon) as f64).then_some(Forecast {
                full_in: Millis((seconds * 1000.0) as u64),
                horizon_s: horizon,
            })
        });
        foretold.min_by_key(|it| it.full_in)
    }

    /// What must be passed to be on new ground.
    fn peak_before(&self, at: f64, limit: f64) -> f64 {
        let minutes = self.slots[2].iter().filter(|(_, sample)| sample.at < at);
        let minutes = minutes.map(|(_, sample)| sample.peak);
        let hours = self
            .peaks
            .iter()
            .filter(|(hour, _)| (hour + 1) as f64 * 3600.0 <= at);
        let hours = hours.map(|(_, peak)| *peak);
        let trusted = minutes
            .chain(hours)
            .filter(|peak| *peak < NEARLY_FULL * limit);
        trusted.fold(f64::MIN, f64::max) + NEW_GROUND * limit
    }
}

/// The median slope per second, if nearly all pairs rise.
fn trend(slots: &VecDeque<(u64, Sample)>) -> Option<f64> {
    if slots.len() < SAMPLES_MIN {
        return None;
    }
    let mut slopes = Vec::with_capacity(slots.len() * (slots.len() - 1) / 2);
    for (index, (_, late)) in slots.iter().enumerate() {
        for (_, early) in slots.iter().take(index) {
            let span = late.at - early.at;
            if span > 0.0 {
                slopes.push((late.value - early.value) / span);
            }
        }
    }
    let rising = slopes.iter().filter(|slope| **slope > 0.0).count();
    if slopes.is_empty() || rising * 100 < slopes.len() * RISING_PERCENT {
        return None;
    }
    let middle = slopes.len() / 2;
    let (_, median, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    (*median > 0.0).then_some(*median)
}

#[cfg(test)]
mod tests;
