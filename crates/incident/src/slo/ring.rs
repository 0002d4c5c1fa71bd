//! Counts of the newest time, by steps of equal length.
//!
//! Invariant: a cell holds what belongs to its own step alone, however long
//! nothing came and wherever the clock jumped.

use model::Timestamp;

use super::Count;

/// A ring of steps. The newest may be under way.
#[derive(Debug, Clone)]
pub struct Ring {
    step_s: u64,
    cells: Vec<Count>,
    /// The newest step, counted from 1970.
    head: u64,
}

impl Ring {
    /// Steps of `step_s` seconds over `length_s`.
    pub fn new(step_s: u64, length_s: u64) -> Ring {
        let cells = usize::try_from(length_s.div_ceil(step_s))
            .unwrap_or(1)
            .max(1);
        Ring {
            step_s,
            cells: vec![Count::default(); cells],
            head: 0,
        }
    }

    /// Counts into the step of `at`; what is older than the ring is left out.
    pub fn add(&mut self, at: Timestamp, count: Count) {
        let step = self.step(at);
        if step > self.head {
            let passed = (step - self.head).min(self.cells.len() as u64);
            for back in 0..passed {
                let place = self.place(step - back);
                self.cells[place] = Count::default();
            }
            self.head = step;
        }
        if self.holds(step) {
            let place = self.place(step);
            let cell = &mut self.cells[place];
            cell.good = cell.good.saturating_add(count.good);
            cell.total = cell.total.saturating_add(count.total);
        }
    }

    /// What was counted in the newest `window_s` seconds, the step under way among them.
    pub fn sum(&self, window_s: u64, now: Timestamp) -> Count {
        let now = self.step(now);
        let steps = window_s.div_ceil(self.step_s);
        let first = now.saturating_sub(steps.saturating_sub(1));
        let held = (first..=now).filter(|step| self.holds(*step));
        held.fold(Count::default(), |sum, step| {
            let cell = self.cells[self.place(step)];
            Count {
                good: sum.good.saturating_add(cell.good),
                total: sum.total.saturating_add(cell.total),
            }
        })
    }

    fn step(&self, at: Timestamp) -> u64 {
        u64::try_from(at.as_second()).unwrap_or(0) / self.step_s
    }

    fn holds(&self, step: u64) -> bool {
        step <= self.head && self.head - step < self.cells.len() as u64
    }

    fn place(&self, step: u64) -> usize {
        usize::try_from(step % self.cells.len() as u64).unwrap_or(0)
    }
}
