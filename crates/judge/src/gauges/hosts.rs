//! Which groups of hosts are full, by their newest samples.
//!
//! Invariant: without a control to compare with nothing is full by the canary's doing.

use crate::tick::{GaugeSample, Side};

/// From here on a gauge is full, in thousandths of its limit.
const FULL: u16 = 950;
/// It is full after so many samples in a row: one is a spike.
const FULL_SAMPLES: u8 = 3;
/// The control must use less than this, or it is the load and not the bundle.
const CONTROL_BELOW: u16 = 800;
/// An older sample says nothing of now, in seconds: six times the slowest usual scrape of 10 s.
const FRESH_S: u64 = 60;

/// The newest samples, by side and group: at most two for each group.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    newest: Vec<Newest>,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    side: Side,
    group: u8,
    at: u64,
    permille: u16,
    /// Samples in a row that were full.
    full: u8,
}

impl Hosts {
    /// Takes in a sample.
    pub(super) fn add(&mut self, at: u64, sample: &GaugeSample) {
        let is_full = sample.permille >= FULL;
        let known = self
            .newest
            .iter_mut()
            .find(|it| it.side == sample.side && it.group == sample.group);
        match known {
            Some(it) => {
                it.at = at;
                it.permille = sample.permille;
                it.full = if is_full {
                    it.full.saturating_add(1)
                } else {
                    0
                };
            }
            None => self.newest.push(Newest {
                side: sample.side,
                group: sample.group,
                at,
                permille: sample.permille,
                full: u8::from(is_full),
            }),
        }
    }

    /// Full on half of the canary's hosts while the control's median is well below.
    pub(super) fn are_full(&self, now: u64) -> bool {
        let fresh = |side: Side| {
            let newest = self.newest.iter();
            newest.filter(move |it| it.side == side && now.saturating_sub(it.at) <= FRESH_S)
        };
        let full = fresh(Side::Canary)
            .filter(|it| it.full >= FULL_SAMPLES)
            .count();
        let mut control: Vec<u16> = fresh(Side::Control).map(|it| it.permille).collect();
        control.sort_unstable();
        let median = control.get(control.len() / 2);
        full > 0
            && 2 * full >= fresh(Side::Canary).count()
            && median.is_some_and(|median| *median < CONTROL_BELOW)
    }
}
