//! Waiting that survives a restart and a clock that is set.

use serde::{Deserialize, Serialize};

use model::{Digest, HostName, Millis, ServiceName, Timestamp};

/// A span that began at an instant of the wall clock.
///
/// Invariant: it is over at the latest after twice its span, however far the
/// clock is set back meanwhile. A plain deadline would wait for as long as the
/// clock was set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// When it began.
    pub since: Timestamp,
    /// How long it lasts.
    pub pause_ms: Millis,
}

impl Timer {
    /// Over at once.
    pub fn none(now: Timestamp) -> Timer {
        Timer::of(now, Millis(0))
    }

    /// Over after `pause`.
    pub fn of(now: Timestamp, pause: Millis) -> Timer {
        Timer {
            since: now,
            pause_ms: pause,
        }
    }

    /// When it is over, if nobody sets the clock.
    pub fn ends(self) -> Timestamp {
        self.pause_ms.after(self.since)
    }

    /// Whether it is over.
    pub fn over(self, now: Timestamp) -> bool {
        now >= self.ends() || Millis::between(now, self.since) > self.pause_ms
    }
}

/// The pause before try `tries + 1`: evenly spread between nothing and
/// `base * 2^tries`, capped, as in [full jitter][1].
///
/// The draw is a hash of who tries what for which time, so that the machine
/// stays a function of its inputs and a fleet is spread all the same.
///
/// [1]: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
pub(crate) fn backoff(
    host: &HostName,
    service: &ServiceName,
    attempt: u64,
    tries: u32,
    (base, cap): (Millis, Millis),
) -> Millis {
    /// Even the luckiest draw leaves a broken command some time to let go of what it holds.
    const PAUSE_MS_MIN: u64 = 50;
    let ceiling = base.0.saturating_mul(1 << tries.min(20)).min(cap.0);
    let seed = Digest::of(format!("{host} {service} {attempt}").as_bytes());
    let draw = u64::from(seed.as_bytes()[0]) << 8 | u64::from(seed.as_bytes()[1]);
    Millis((ceiling * draw / 0xffff).max(PAUSE_MS_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_time_though_the_clock_goes_back() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let timer = Timer::of(start, Millis::seconds(10));
        assert!(!timer.over(start));
        assert!(timer.over(Millis::seconds(10).after(start)));
        let back = start - jiff::SignedDuration::from_secs(5);
        assert!(!timer.over(back), "a small correction changes little");
        let far = start - jiff::SignedDuration::from_secs(3600);
        assert!(timer.over(far), "a clock that was set does not hold it up");
        assert!(Timer::none(start).over(start));
    }

    #[test]
    fn pauses_are_bounded_and_spread() {
        let (host, service) = ("web-01".parse().unwrap(), "api".parse().unwrap());
        let bounds = (Millis(200), Millis(5000));
        let mut seen = std::collections::BTreeSet::new();
        for attempt in 0..200 {
            let pause = backoff(&host, &service, attempt, 30, bounds);
            assert!((50..=5000).contains(&pause.0));
            seen.insert(pause.0);
        }
        assert!(seen.len() > 100);
    }
}
