//! The least loaded of a pool's backends.
//!
//! A tournament: each place of the tree is the least of the two below it, so a
//! change costs one walk to the root and the least is always there.
//!
//! Invariant: the root is the least of all leaves; nothing is allocated after [`Picks::new`].

/// The load of a backend that takes no request.
pub(super) const CLOSED: u64 = u64::MAX;

/// Loads of backends by their place.
#[derive(Debug, Default)]
pub(super) struct Picks {
    /// The root at 1, the leaves in the second half.
    tree: Vec<u64>,
}

impl Picks {
    /// `len` closed backends.
    pub(super) fn new(len: usize) -> Picks {
        Picks {
            tree: vec![CLOSED; len.next_power_of_two() * 2],
        }
    }

    pub(super) fn set(&mut self, leaf: usize, load: u64) {
        let mut at = self.tree.len() / 2 + leaf;
        self.tree[at] = load;
        while at > 1 {
            at /= 2;
            let least = self.tree[at * 2].min(self.tree[at * 2 + 1]);
            if self.tree[at] == least {
                break;
            }
            self.tree[at] = least;
        }
    }

    /// Whether a backend takes requests.
    pub(super) fn is_open(&self) -> bool {
        self.tree.get(1).is_some_and(|load| *load != CLOSED)
    }

    /// The least loaded open backend.
    pub(super) fn least(&self) -> Option<usize> {
        self.is_open().then(|| self.down(1))
    }

    /// The least loaded open backend besides one.
    pub(super) fn least_but(&self, leaf: usize) -> Option<usize> {
        let mut at = self.tree.len() / 2 + leaf;
        let mut best = 0;
        let mut load = CLOSED;
        while at > 1 {
            let sibling = at ^ 1;
            if self.tree[sibling] < load {
                load = self.tree[sibling];
                best = sibling;
            }
            at /= 2;
        }
        (best > 0).then(|| self.down(best))
    }

    fn down(&self, mut at: usize) -> usize {
        let half = self.tree.len() / 2;
        while at < half {
            at *= 2;
            if self.tree[at] > self.tree[at + 1] {
                at += 1;
            }
        }
        at - half
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_least_is_found(
            len in 1_usize..20,
            sets in prop::collection::vec((0_usize..20, prop_oneof![0_u64..9, Just(CLOSED)]), 0..60),
        ) {
            let mut picks = Picks::new(len);
            let mut plain = vec![CLOSED; len];
            for (leaf, load) in sets {
                picks.set(leaf % len, load);
                plain[leaf % len] = load;
                let least = plain.iter().copied().min().filter(|it| *it != CLOSED);
                prop_assert_eq!(picks.least().map(|leaf| plain[leaf]), least);
                for but in 0..len {
                    let others = plain.iter().enumerate().filter(|(n, _)| *n != but);
                    let least = others.map(|(_, it)| *it).min().filter(|it| *it != CLOSED);
                    let found = picks.least_but(but);
                    prop_assert_eq!(found.map(|leaf| plain[leaf]), least);
                    prop_assert_ne!(found, Some(but));
                }
            }
        }
    }

    #[test]
    fn nobody_is_not_found() {
        assert_eq!(Picks::default().least(), None);
        assert_eq!(Picks::new(0).least(), None);
        assert_eq!(Picks::new(1).least_but(0), None);
    }
}
