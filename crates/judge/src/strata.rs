//! Requests of one second, by stratum.
//!
//! Invariant: neither the order of strata in a tick nor one that is told twice makes a difference.

use crate::tick::{STRATA_MAX, Sums, Tick};

/// One stratum's counts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cell {
    pub(crate) canary: Sums,
    pub(crate) control: Sums,
}

/// All strata's counts, in the order of their numbers. What is beyond the last is in the last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cells([Cell; STRATA_MAX]);

impl Cells {
    pub(crate) fn of(tick: &Tick) -> Cells {
        let mut cells = [Cell::default(); STRATA_MAX];
        for stratum in &tick.strata {
            let cell = &mut cells[stratum.number()];
            cell.canary.add(stratum.canary);
            cell.control.add(stratum.control);
        }
        Cells(cells)
    }

    /// Those with requests.
    pub(crate) fn each(&self) -> impl Iterator<Item = (usize, &Cell)> {
        let cells = self.0.iter().enumerate();
        cells.filter(|(_, cell)| cell.canary.n > 0 || cell.control.n > 0)
    }

    pub(crate) fn total(&self) -> Cell {
        let mut total = Cell::default();
        for (_, cell) in self.each() {
            total.canary.add(cell.canary);
            total.control.add(cell.control);
        }
        total
    }
}
