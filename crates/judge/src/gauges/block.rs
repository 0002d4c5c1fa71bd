//! Half a minute of one gauge, and where the last minutes lead.
//!
//! Invariant: a warning needs a rise that chance alone hardly ever makes.

use super::BLOCK_S;
use crate::tick::Side;

/// Blocks from which a slope is taken.
const COURSE_BLOCKS: usize = 10;
/// Of the 45 pairs of ten blocks, rising ones less falling ones must be so many: by
/// chance this has a probability below 0.001 (Kendall's test).
const RISING_MIN: i32 = 33;
/// What will be full later than this is not told: twice the longest bake by default.
const WARN_WITHIN_S: f64 = 3600.0;

/// One block.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Counts up from the beginning of the comparison.
    pub(super) number: u64,
    canary: Means,
    control: Means,
}

/// One side: what is used, and how much that is above the hosts' own former levels.
#[derive(Debug, Clone, Default)]
struct Means {
    used: Mean,
    above: Mean,
}

#[derive(Debug, Clone, Default)]
struct Mean {
    n: f64,
    sum: f64,
}

impl Mean {
    fn add(&mut self, x: f64) {
        self.n += 1.0;
        self.sum += x;
    }

    fn get(&self) -> Option<f64> {
        (self.n > 0.0).then(|| self.sum / self.n)
    }
}

impl Block {
    pub(super) fn new(number: u64) -> Block {
        Block {
            number,
            canary: Means::default(),
            control: Means::default(),
        }
    }

    /// Adds a sample, a share of the limit.
    pub(super) fn add(&mut self, side: Side, used: f64, level: Option<f64>) {
        let means = match side {
            Side::Canary => &mut self.canary,
            Side::Control => &mut self.control,
        };
        means.used.add(used);
        if let Some(level) = level {
            means.above.add(used - level);
        }
    }

    /// How much more the canary rose than the control; `None` when a side is silent or new.
    pub(super) fn rise(&self) -> Option<f64> {
        Some(self.canary.above.get()? - self.control.above.get()?)
    }
}

/// The newest blocks, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    points: Vec<Point>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    number: u64,
    canary: f64,
    control: Option<f64>,
}

impl Course {
    /// Takes in a block that is over; without samples of the canary it says nothing.
    pub(super) fn add(&mut self, block: &Block) {
        let Some(canary) = block.canary.used.get() else {
            return;
        };
        if self.points.len() == COURSE_BLOCKS {
            self.points.remove(0);
        }
        self.points.push(Point {
            number: block.number,
            canary,
            control: block.control.used.get(),
        });
    }

    /// Seconds until the canary's hosts are full at their present slope, less the control's
    /// (Theil–Sen: the median of the slopes of all pairs, which single outliers don't move).
    /// Without control in all blocks the canary's own slope counts: it only asks people.
    pub(super) fn full_in_s(&self) -> Option<f64> {
        if self.points.len() < COURSE_BLOCKS {
            return None;
        }
        let is_paired = self.points.iter().all(|point| point.control.is_some());
        let level = |point: &Point| match point.control {
            Some(control) if is_paired => point.canary - control,
            Some(_) | None => point.canary,
        };
        let mut slopes = Vec::new();
        let mut rising = 0;
        for (n, later) in self.points.iter().enumerate() {
            for earlier in &self.points[..n] {
                let rise = level(later) - level(earlier);
                rising += i32::from(rise > 0.0) - i32::from(rise < 0.0);
                slopes.push(rise / ((later.number - earlier.number) * BLOCK_S) as f64);
            }
        }
        slopes.sort_by(f64::total_cmp);
        let slope = slopes[slopes.len() / 2];
        if rising < RISING_MIN || slope <= 0.0 {
            return None;
        }
        let newest = self.points.last()?;
        let full_in_s = (1.0 - newest.canary) / slope;
        (full_in_s <= WARN_WITHIN_S).then_some(full_in_s)
    }
}
