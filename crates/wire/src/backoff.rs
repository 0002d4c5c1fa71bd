//! Full-jitter exponential backoff: the pause before try `n` is drawn evenly
//! from zero to `base * 2^n`, capped.
//!
//! Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. A
//! fleet that lost its control plane must not come back as one wave.

use std::time::Duration;

/// Pauses between tries.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    /// Starts with pauses of up to `base`, never longer than `cap`.
    pub fn new(base: Duration, cap: Duration) -> Backoff {
        Backoff {
            base,
            cap,
            tries: 0,
        }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let ceiling = self
            .base
            .saturating_mul(1 << self.tries.min(20))
            .min(self.cap);
        self.tries = self.tries.saturating_add(1);
        jitter(ceiling)
    }

    /// It worked: begin again with short pauses.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

/// A span drawn evenly from zero to `ceiling`.
pub fn jitter(ceiling: Duration) -> Duration {
    // Without randomness from the system the middle is as good a guess as any.
    let draw = getrandom::u32().unwrap_or(u32::MAX / 2);
    ceiling.mul_f64(f64::from(draw) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_cap_and_resets() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        for n in 0..40 {
            let ceiling = Duration::from_millis(100 << n.min(6)).min(Duration::from_secs(5));
            let ceiling = if n > 6 {
                Duration::from_secs(5)
            } else {
                ceiling
            };
            assert!(backoff.pause() <= ceiling);
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
