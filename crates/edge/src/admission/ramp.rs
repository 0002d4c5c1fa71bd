//! A pool that begins anew, with nothing cached, takes its tenants by quarters.
//!
//! Whole tenants get service, not a quarter of each one's requests. After a
//! plain hang there is no ramp: its caches are as they were.
//!
//! Invariant: a ramp ends, after [`RAMP_MAX`] at the latest.

use std::time::Duration;

use crate::Bucket;

/// A quarter's shortest time.
const STEP_MIN: Duration = Duration::from_secs(2);
/// Good answers that a quarter asks for.
const STEP_ANSWERS: u32 = 200;
/// A service with few requests doesn't wait for so many.
const STEP_PATIENCE: Duration = Duration::from_secs(5);
/// Beyond this the other tenants have waited for long enough, and the limit protects the pool.
pub(super) const RAMP_MAX: Duration = Duration::from_secs(60);
const QUARTERS: u16 = 4;

/// How far a pool is open.
#[derive(Debug, Default)]
pub(super) struct Ramp(Option<Step>);

#[derive(Debug)]
struct Step {
    ramp_began: Duration,
    began: Duration,
    /// How many are open.
    quarters: u16,
    good: u32,
    bad: u32,
    troubled: bool,
}

impl Ramp {
    pub(super) fn begin(&mut self, now: Duration) {
        self.0 = Some(Step::new(now, now, 1));
    }

    /// Whether a tenant is let in. Neighbours on the scale are in different
    /// quarters, so each bundle's share of it has tenants in all.
    pub(super) fn opens(&self, bucket: Bucket, now: Duration) -> bool {
        self.0.as_ref().is_none_or(|step| {
            let over = now.saturating_sub(step.ramp_began) >= RAMP_MAX;
            over || bucket.get() % QUARTERS < step.quarters
        })
    }

    /// How much is open, in percent.
    pub(super) fn open_percent(&self) -> u16 {
        self.0.as_ref().map_or(100, |step| step.quarters * 25)
    }

    /// A worker was lost or a slot is wanting: the quarter is looked at again.
    pub(super) fn trouble(&mut self) {
        if let Some(step) = &mut self.0 {
            step.troubled = true;
        }
    }

    pub(super) fn stalled(&mut self, now: Duration) {
        if let Some(step) = &mut self.0 {
            *step = Step::new(step.ramp_began, now, 1);
        }
    }

    /// A request ended; the next quarter opens if it is time. `calm`: slots are free.
    pub(super) fn ended(&mut self, good: bool, calm: bool, now: Duration) {
        let Some(step) = &mut self.0 else { return };
        step.good += u32::from(good);
        step.bad += u32::from(!good);
        let age = now.saturating_sub(step.began);
        if now.saturating_sub(step.ramp_began) >= RAMP_MAX {
            self.0 = None;
            return;
        }
        if age < STEP_MIN || (step.good < STEP_ANSWERS && age < STEP_PATIENCE) || !calm {
            return;
        }
        let ramp_began = step.ramp_began;
        // More than a tenth failed: not healthy.
        if step.troubled || step.bad * 9 > step.good {
            *step = Step::new(ramp_began, now, step.quarters);
        } else if step.quarters + 1 < QUARTERS {
            *step = Step::new(ramp_began, now, step.quarters + 1);
        } else {
            self.0 = None;
        }
    }
}

impl Step {
    fn new(ramp_began: Duration, began: Duration, quarters: u16) -> Step {
        Step {
            ramp_began,
            began,
            quarters,
            good: 0,
            bad: 0,
            troubled: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn quarters_open_while_all_is_well() {
        let mut ramp = Ramp::default();
        ramp.begin(Duration::ZERO);
        let mut seen = vec![ramp.open_percent()];
        for n in 1..=8000 {
            // The second quarter's first time is a troubled one.
            if n == 3000 {
                ramp.trouble();
            }
            ramp.ended(true, true, MS * n);
            if seen.last() != Some(&ramp.open_percent()) {
                seen.push(ramp.open_percent());
            }
            if n == 5999 {
                assert_eq!(seen, [25, 50]);
            }
        }
        assert_eq!(seen, [25, 50, 75, 100]);
    }

    #[test]
    fn a_stall_closes_it_again_and_it_ends_in_any_case() {
        let mut ramp = Ramp::default();
        ramp.begin(Duration::ZERO);
        for n in 1..=2500 {
            ramp.ended(true, true, MS * n);
        }
        assert_eq!(ramp.open_percent(), 50);
        ramp.stalled(MS * 2500);
        assert_eq!(ramp.open_percent(), 25);
        let service = "api".parse().unwrap();
        let tenants = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let buckets = tenants.map(|it| Bucket::of(&service, it));
        let open = |ramp: &Ramp, now| buckets.iter().filter(|it| ramp.opens(**it, now)).count();
        assert!(open(&ramp, MS * 2501) < 8);
        assert_eq!(open(&ramp, RAMP_MAX), 8);
    }
}
