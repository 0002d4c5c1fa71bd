//! Quantities that must not be mixed up.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A position in the journal: the first event has 1; 0 is "before everything".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The per-host number that orders are fenced by; it only grows.
///
/// Generation 0 is what the host ran when Plimsoll first met it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The next higher generation.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A share in thousandths, 0 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Permille(u16);

impl Permille {
    /// All of it.
    pub const ALL: Permille = Permille(1000);
    /// None of it.
    pub const NONE: Permille = Permille(0);

    /// A share, or `None` above 1000.
    pub const fn new(value: u16) -> Option<Permille> {
        if value <= 1000 {
            Some(Permille(value))
        } else {
            None
        }
    }

    /// `part` of `whole` in thousandths, rounded down; all of it for an empty whole.
    pub fn of(part: u64, whole: u64) -> Permille {
        if whole == 0 || part >= whole {
            return Permille::ALL;
        }
        let share = u128::from(part) * 1000 / u128::from(whole);
        Permille(u16::try_from(share).unwrap_or(1000))
    }

    /// Whether it is all.
    pub fn is_all(&self) -> bool {
        *self == Permille::ALL
    }

    /// Thousandths.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// This share of `whole`, rounded up, so that a positive share of a positive whole is never nothing.
    pub fn share_of(self, whole: u64) -> u64 {
        let share = (u128::from(whole) * u128::from(self.0)).div_ceil(1000);
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

impl<'de> Deserialize<'de> for Permille {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u16::deserialize(deserializer)?;
        Permille::new(value)
            .ok_or_else(|| serde::de::Error::custom(format!("{value} ‰ is more than everything")))
    }
}

impl fmt::Display for Permille {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(10) {
            write!(f, "{} %", self.0 / 10)
        } else {
            write!(f, "{}.{} %", self.0 / 10, self.0 % 10)
        }
    }
}

/// A span of time in whole milliseconds: serialises as an integer, so that
/// encodings are the same everywhere.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Millis {
        Millis(seconds.saturating_mul(1000))
    }

    /// The same span for timers.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// From `earlier` to `later`; zero if the clock went back.
    pub fn between(earlier: jiff::Timestamp, later: jiff::Timestamp) -> Millis {
        let span = later.duration_since(earlier).as_millis();
        Millis(u64::try_from(span.max(0)).unwrap_or(u64::MAX))
    }

    /// The instant this long after `at`; the end of time if that is past it.
    pub fn after(self, at: jiff::Timestamp) -> jiff::Timestamp {
        let milliseconds = i64::try_from(self.0).unwrap_or(i64::MAX);
        at.checked_add(jiff::SignedDuration::from_millis(milliseconds))
            .unwrap_or(jiff::Timestamp::MAX)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, s) = (self.0, self.0 / 1000);
        match ms {
            0..1000 => write!(f, "{ms} ms"),
            1000..10_000 if ms % 1000 >= 100 => write!(f, "{s}.{} s", ms % 1000 / 100),
            1000..120_000 => write!(f, "{s} s"),
            120_000..7_200_000 if s % 60 == 0 => write!(f, "{} min", s / 60),
            120_000..7_200_000 => write!(f, "{} min {} s", s / 60, s % 60),
            _ => write!(f, "{} h {} min", s / 3600, s / 60 % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_towards_something() {
        assert_eq!(Permille::new(50).unwrap().share_of(3), 1);
        assert_eq!(Permille::new(50).unwrap().share_of(100), 5);
        assert_eq!(Permille::of(1, 8).get(), 125);
        assert_eq!(Permille::of(3, 0), Permille::ALL);
        assert!(serde_json::from_str::<Permille>("1001").is_err());
        assert_eq!(Permille::new(15).unwrap().to_string(), "1.5 %");
    }

    #[test]
    fn spans_read_well() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1 s"),
            (1500, "1.5 s"),
            (61_000, "61 s"),
            (120_000, "2 min"),
            (135_000, "2 min 15 s"),
            (7_260_000, "2 h 1 min"),
        ] {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_zero() {
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let later = Millis(1500).after(now);
        assert_eq!(Millis::between(now, later), Millis(1500));
        assert_eq!(Millis::between(later, now), Millis(0));
        assert_eq!(Millis(u64::MAX).after(now), jiff::Timestamp::MAX);
    }
}
