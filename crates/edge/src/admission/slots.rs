//! Slots that are held, by number.
//!
//! Invariant: a number is given out again only with a higher turn, so that the
//! name of an ended slot finds nothing.

use std::time::Duration;

use super::queue::Entry;
use super::words::{BackendKey, PoolKey, Slot};

/// How far the request in a slot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its client waits.
    Active,
    /// Its client is gone, its backend may still be working on it.
    Hung,
    /// Its backend will not come back to it: the slot is free and the limit is one less.
    Lost,
}

impl Stage {
    /// Whether it takes one of its backend's places.
    pub(super) fn occupies(self) -> bool {
        match self {
            Stage::Active | Stage::Hung => true,
            Stage::Lost => false,
        }
    }
}

/// What is known of a held slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) entry: Entry,
    pub(super) pool: PoolKey,
    pub(super) backend: BackendKey,
    pub(super) epoch: u64,
    pub(super) sent_at: Duration,
    pub(super) stage: Stage,
    /// It is a second try.
    pub(super) retried: bool,
    /// Answers of the backend when the slot became hung.
    pub(super) answers_then: u64,
}

/// All held slots.
#[derive(Debug, Default)]
pub(super) struct Slots {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    turn: u32,
    held: Option<Held>,
}

impl Slots {
    pub(super) fn put(&mut self, held: Held) -> Slot {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.held = Some(held);
            let turn = place.turn;
            return Slot { index, turn };
        }
        // Slots are bounded by the limits of all backends, far below 2^32.
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Place {
            turn: 0,
            held: Some(held),
        });
        Slot { index, turn: 0 }
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Held> {
        let place = self.places.get_mut(slot.index as usize)?;
        if place.turn == slot.turn {
            place.held.as_mut()
        } else {
            None
        }
    }

    pub(super) fn take(&mut self, slot: Slot) -> Option<Held> {
        let held = *self.get_mut(slot)?;
        let place = &mut self.places[slot.index as usize];
        place.held = None;
        place.turn = place.turn.wrapping_add(1);
        self.free.push(slot.index);
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::words::{RequestId, Tenant};
    use model::Priority;

    use crate::admission::queue::Flow;

    #[test]
    fn the_name_of_an_ended_slot_finds_nothing() {
        let tenant = Tenant {
            hash: 1,
            known: true,
        };
        let held = |request| Held {
            entry: Entry {
                request: RequestId(request),
                flow: Flow::of(tenant, Priority::Normal),
                deadline: Duration::MAX,
            },
            pool: PoolKey(0),
            backend: BackendKey(0),
            epoch: 0,
            sent_at: Duration::ZERO,
            stage: Stage::Active,
            retried: false,
            answers_then: 0,
        };
        let mut slots = Slots::default();
        let first = slots.put(held(1));
        let second = slots.put(held(2));
        assert_eq!(
            slots.take(first).map(|it| it.entry.request),
            Some(RequestId(1))
        );
        assert!(slots.take(first).is_none());
        let third = slots.put(held(3));
        assert_eq!(third.index, first.index);
        assert!(slots.get_mut(first).is_none());
        assert_eq!(
            slots.get_mut(third).map(|it| it.entry.request),
            Some(RequestId(3))
        );
        assert!(slots.take(second).is_some());
    }
}
