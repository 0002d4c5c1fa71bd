//! What is at one place at one moment, and what of it does not go together.
//!
//! Invariant: a rule is known by who has it, what it says and with whom it is
//! broken, never by a version. So what did not go together before a move and
//! does not after it is the same trouble, and not the move's.

use std::collections::{BTreeMap, BTreeSet};

use model::PackageName;

use super::facts::{Part, Wanted};
use super::universe::Home;

/// Packages with whose word it is that they are there.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing(pub(super) Vec<(Home, Part)>);

/// A rule that is broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Broken {
    /// Who has the rule.
    pub(super) subject: (PackageName, Home),
    pub(super) wanted: Wanted,
    /// For a conflict: with whom. Absent: a requirement that nobody meets.
    pub(super) with: Option<PackageName>,
}

/// For each feature, where it is offered.
pub(super) fn offered<'p, K: Clone>(
    parts: impl Iterator<Item = (K, &'p Part)>,
) -> BTreeMap<&'p PackageName, Vec<K>> {
    let mut offered: BTreeMap<&PackageName, Vec<K>> = BTreeMap::new();
    for (key, part) in parts {
        for feature in part.features() {
            offered.entry(feature).or_default().push(key.clone());
        }
    }
    offered
}

impl Standing {
    /// Every rule that is broken here.
    pub(super) fn broken(&self) -> BTreeSet<Broken> {
        let parts = self.0.iter().enumerate();
        let offered = offered(parts.clone().map(|(at, (_, part))| ((at, part), part)));
        let of = |feature: &PackageName| offered.get(feature).map(Vec::as_slice);
        let mut broken = BTreeSet::new();
        for (at, (home, part)) in parts {
            let mut note = |wanted: &Wanted, with: Option<&PackageName>| {
                broken.insert(Broken {
                    subject: (part.name.clone(), home.clone()),
                    wanted: wanted.clone(),
                    with: with.cloned(),
                });
            };
            for need in &part.requires {
                let mut others = of(&need.feature).unwrap_or_default().iter();
                if !others.any(|(_, other)| other.meets(need)) {
                    note(need, None);
                }
            }
            for conflict in &part.conflicts {
                let others = of(&conflict.feature).unwrap_or_default().iter();
                for (_, other) in
                    others.filter(|(other, it)| *other != at && it.is_hit_by(conflict))
                {
                    note(conflict, Some(&other.name));
                }
            }
        }
        broken
    }

    /// The same place with a package moved, or added if it was not there.
    pub(super) fn with(&self, home: &Home, part: &Part) -> Standing {
        let mut moved = self.clone();
        let same = |it: &&mut (Home, Part)| it.0 == *home && it.1.name == part.name;
        match moved.0.iter_mut().find(same) {
            Some(it) => it.1 = part.clone(),
            None => moved.0.push((home.clone(), part.clone())),
        }
        moved
    }
}
