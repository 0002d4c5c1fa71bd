//! What is at one place, what could be, and which rules hold between.
//!
//! Invariant: candidate 0 of every slot is what is there once the change is: a
//! version, or nothing. Every other candidate is a move away from it.

use std::collections::{BTreeMap, BTreeSet};

use model::{Bundle, CatalogEntry, PackageFacts, PackageName};

use super::facts::{Part, Wanted};
use super::standing::{Broken, Standing, offered};
use super::{Deployed, Place};

/// One package at one place.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: PackageName,
    pub(super) home: Home,
    /// First what is there, then what could be instead, the smallest move first.
    pub(super) candidates: Vec<Option<Part>>,
}

/// Whose word it is that a package is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Home {
    /// The change brings it, in this version and no other.
    Change,
    /// It is deployed, by whom.
    Deployed(String),
    /// It is not there, but the catalog knows it.
    Catalog,
}

/// Who has a rule: the change's files, or a package by its slot and candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Files,
    Package { slot: usize, candidate: usize },
}

/// Something that must hold between what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// One of [`Universe::needs`] is met.
    Need(Subject, usize),
    /// The package of that slot, as it is there, is not there together with the subject.
    Apart(Subject, usize),
}

/// Some candidates of a slot.
pub(super) type Choice = (usize, Vec<usize>);

/// Everything that the solver may choose from.
#[derive(Debug)]
pub(super) struct Universe {
    /// The place's name.
    pub(super) label: String,
    pub(super) slots: Vec<Slot>,
    /// Every requirement once, however many packages have it.
    pub(super) needs: Vec<Wanted>,
    /// Of those, what the change's files require.
    pub(super) files: Vec<usize>,
    /// Rules of what was deployed before that did not hold then.
    pub(super) excused: BTreeSet<Rule>,
    /// What is there without the change.
    pub(super) before: Standing,
    /// Slot and candidate by feature.
    offered: BTreeMap<PackageName, Vec<(usize, usize)>>,
    /// For each of `needs`.
    meeting: Vec<Vec<Choice>>,
    /// By slot and candidate; those without conflicts are left out.
    apart: BTreeMap<(usize, usize), Vec<Choice>>,
}

impl Universe {
    /// The universe of one place.
    pub(super) fn new(bundle: &Bundle, place: &Place, catalog: &[CatalogEntry]) -> Self {
        let mut slots: Vec<Slot> = Vec::new();
        for (name, package) in &bundle.packages {
            let facts = PackageFacts {
                version: package.version.clone(),
                requires: package.requires.clone(),
                conflicts: package.conflicts.clone(),
                provides: package.provides.clone(),
            };
            slots.push(Slot::new(name, Home::Change, Some(&facts)));
        }
        // The service's own packages go with the bundle that they came with.
        let own = format!("service {}", bundle.service);
        let home = |it: &Deployed| Home::Deployed(it.origin.clone());
        for it in &place.deployed {
            if !bundle.packages.contains_key(&it.name) && it.origin != own {
                slots.push(Slot::new(&it.name, home(it), Some(&it.facts)));
            }
        }
        let there: BTreeSet<PackageName> = slots.iter().map(|slot| slot.name.clone()).collect();
        let known: BTreeSet<&PackageName> = catalog.iter().map(|entry| &entry.name).collect();
        for name in known.into_iter().filter(|name| !there.contains(name)) {
            slots.push(Slot::new(name, Home::Catalog, None));
        }
        let mut by_name: BTreeMap<&PackageName, Vec<Part>> = BTreeMap::new();
        for entry in catalog {
            let part = Part::new(&entry.name, &entry.facts);
            by_name.entry(&entry.name).or_default().push(part);
        }
        for slot in &mut slots {
            let others = by_name.get(&slot.name).map(Vec::as_slice);
            slot.add(others.unwrap_or_default());
        }
        let before = place.deployed.iter();
        let before = before.map(|it| (home(it), Part::new(&it.name, &it.facts)));
        let mut universe = Universe {
            label: place.label.clone(),
            slots,
            needs: Vec::new(),
            files: Vec::new(),
            excused: BTreeSet::new(),
            before: Standing(before.collect()),
            offered: BTreeMap::new(),
            meeting: Vec::new(),
            apart: BTreeMap::new(),
        };
        universe.index(bundle);
        universe.excuse();
        universe
    }

    fn index(&mut self, bundle: &Bundle) {
        let of_parts = self.parts().flat_map(|(_, part)| part.requires.clone());
        let of_files = Wanted::all(&bundle.requires);
        let needs: BTreeSet<Wanted> = of_parts.chain(of_files.iter().cloned()).collect();
        let offered = offered(self.parts()).into_iter();
        let offered = offered.map(|(feature, places)| (feature.clone(), places));
        self.offered = offered.collect();
        self.needs = needs.into_iter().collect();
        self.files = of_files.iter().filter_map(|need| self.need(need)).collect();
        self.meeting = self.needs.iter().map(|need| self.who_meets(need)).collect();
        let apart = self.parts().filter(|(_, part)| !part.conflicts.is_empty());
        let apart = apart.map(|(place, part)| (place, self.who_is_hit(place.0, part)));
        self.apart = apart.collect();
    }

    /// Every candidate that is a package, with its slot and place in it.
    fn parts(&self) -> impl Iterator<Item = ((usize, usize), &Part)> {
        let slots = self.slots.iter().enumerate();
        slots.flat_map(|(slot, it)| {
            let candidates = it.candidates.iter().enumerate();
            candidates.filter_map(move |(at, part)| Some(((slot, at), part.as_ref()?)))
        })
    }

    /// What is deployed and did not go together before is not this change's fault.
    fn excuse(&mut self) {
        let broken = self.before.broken();
        let mut excused = BTreeSet::new();
        for Broken {
            subject: (name, home),
            wanted,
            with,
        } in &broken
        {
            let slots = self.slots.iter().enumerate();
            for (at, _) in slots.filter(|(_, slot)| slot.name == *name && slot.home == *home) {
                let subject = Subject::Package {
                    slot: at,
                    candidate: 0,
                };
                match with {
                    None => excused.extend(self.need(wanted).map(|need| Rule::Need(subject, need))),
                    // It may be so with the next version of that package too.
                    Some(with) => {
                        excused.extend(self.there_as(with).map(|other| Rule::Apart(subject, other)))
                    }
                }
            }
        }
        self.excused = excused;
    }

    fn there_as<'a>(&'a self, name: &'a PackageName) -> impl Iterator<Item = usize> + 'a {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(move |(_, slot)| slot.name == *name)
            .map(|(at, _)| at)
    }

    /// The place of a requirement among [`Universe::needs`], which are sorted.
    pub(super) fn need(&self, wanted: &Wanted) -> Option<usize> {
        self.needs.binary_search(wanted).ok()
    }

    /// The package that a slot's candidate is.
    pub(super) fn part(&self, slot: usize, candidate: usize) -> Option<&Part> {
        self.slots.get(slot)?.candidates.get(candidate)?.as_ref()
    }

    /// Everything that offers a feature, in any version, now or as a move.
    pub(super) fn offering(&self, feature: &PackageName) -> &[(usize, usize)] {
        self.offered.get(feature).map_or(&[], Vec::as_slice)
    }

    /// The candidates that meet one of [`Universe::needs`], by slot; first who does without any move.
    pub(super) fn meeting(&self, need: usize) -> &[Choice] {
        self.meeting.get(need).map_or(&[], Vec::as_slice)
    }

    /// The candidates of other slots that a slot's candidate conflicts with.
    pub(super) fn apart_from(&self, slot: usize, candidate: usize) -> &[Choice] {
        let apart = self.apart.get(&(slot, candidate));
        apart.map_or(&[], Vec::as_slice)
    }

    fn who_meets(&self, need: &Wanted) -> Vec<Choice> {
        let places = self.offering(&need.feature).iter().copied();
        let mut choices = by_slot(places.filter(|(slot, candidate)| {
            self.part(*slot, *candidate)
                .is_some_and(|part| part.meets(need))
        }));
        choices.sort_by_key(|(slot, candidates)| (candidates.first().copied(), *slot));
        choices
    }

    fn who_is_hit(&self, own: usize, part: &Part) -> Vec<Choice> {
        let hit = part.conflicts.iter().flat_map(|conflict| {
            let places = self.offering(&conflict.feature).iter().copied();
            places.filter(move |(slot, candidate)| {
                let other = self.part(*slot, *candidate);
                *slot != own && other.is_some_and(|other| other.is_hit_by(conflict))
            })
        });
        by_slot(hit)
    }
}

fn by_slot(places: impl Iterator<Item = (usize, usize)>) -> Vec<Choice> {
    let mut choices: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (slot, candidate) in places {
        choices.entry(slot).or_default().insert(candidate);
    }
    let sorted = choices.into_iter();
    sorted
        .map(|(slot, candidates)| (slot, candidates.into_iter().collect()))
        .collect()
}

impl Slot {
    fn new(name: &PackageName, home: Home, facts: Option<&PackageFacts>) -> Slot {
        Slot {
            name: name.clone(),
            home,
            candidates: vec![facts.map(|facts| Part::new(name, facts))],
        }
    }

    /// What is there once the change is.
    pub(super) fn now(&self) -> Option<&Part> {
        self.candidates.first()?.as_ref()
    }

    /// The catalog's versions: upwards from what is there, then downwards; the newest first of what isn't.
    fn add(&mut self, catalog: &[Part]) {
        if self.home == Home::Change {
            return;
        }
        let now = self.now().and_then(|part| part.release.parsed.clone());
        let mut others = BTreeMap::new();
        for part in catalog {
            if let Some(version) = part.release.parsed.clone() {
                // Of two entries for one version the first counts.
                others.entry(version).or_insert_with(|| Some(part.clone()));
            }
        }
        let mut newer = now
            .as_ref()
            .map_or(BTreeMap::new(), |now| others.split_off(now));
        if let Some(now) = &now {
            newer.remove(now);
        }
        self.candidates.extend(newer.into_values());
        self.candidates.extend(others.into_values().rev());
    }
}
