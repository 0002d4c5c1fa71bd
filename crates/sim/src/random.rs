//! Chance, all of it from one seed.
//!
//! Each purpose has a stream of its own, so that one more draw in the network
//! doesn't change which bundles are pushed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Fleet = 1,
    Bundles = 2,
    People = 3,
    Network = 4,
    Faults = 5,
    Hosts = 6,
    Traffic = 7,
    Plane = 8,
    Checks = 9,
    Wishes = 10,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Draw {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(purpose as u64);
        Draw(rng)
    }

    /// A number below `end`; 0 when there is none. The bias of the remainder is far below what is counted here.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end.max(1)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Yes in so many of a thousand cases.
    pub(crate) fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// A place in a list of `len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// One of the list's items; none of an empty one.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let at = self.index(list.len());
        list.get(at)
    }

    /// A distance from zero, either way.
    pub(crate) fn swing(&mut self, most: u64) -> i64 {
        let size = i64::try_from(self.below(most + 1)).unwrap_or(0);
        if self.chance(500) { size } else { -size }
    }
}

/// Every stream of one run.
#[derive(Debug)]
pub(crate) struct Draws {
    pub(crate) bundles: Draw,
    pub(crate) people: Draw,
    pub(crate) network: Draw,
    pub(crate) faults: Draw,
    pub(crate) hosts: Draw,
    pub(crate) traffic: Draw,
    pub(crate) plane: Draw,
    pub(crate) checks: Draw,
    pub(crate) wishes: Draw,
}

impl Draws {
    pub(crate) fn new(seed: u64) -> Draws {
        let draw = |purpose| Draw::new(seed, purpose);
        Draws {
            bundles: draw(Purpose::Bundles),
            people: draw(Purpose::People),
            network: draw(Purpose::Network),
            faults: draw(Purpose::Faults),
            hosts: draw(Purpose::Hosts),
            traffic: draw(Purpose::Traffic),
            plane: draw(Purpose::Plane),
            checks: draw(Purpose::Checks),
            wishes: draw(Purpose::Wishes),
        }
    }
}
