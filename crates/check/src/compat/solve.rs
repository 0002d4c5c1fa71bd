//! The universe as the version solver sees it, and what its proof rests on.
//!
//! Each package is a solver's package whose versions are its candidates. A
//! requirement is one too: its versions are the packages that could meet it, and
//! the one that is chosen must be there in a version that does. A conflict is a
//! dependency on any other version of the other package, or on its absence.
//!
//! Invariant: the answer is the same in every run: the solver's tables hash
//! without chance, and what it asks for is sorted.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use pubgrub::{
    Dependencies, DependencyProvider, DerivationTree, External, PackageResolutionStatistics,
    PubGrubError, Ranges,
};

use super::universe::{Rule, Subject, Universe};

/// The solver gives up after so many steps for each package and requirement:
/// with nothing to choose it takes two.
const STEPS_PER_ITEM_MAX: usize = 4;
/// And so many more, for going back from choices. Each makes the next slower; a
/// search that takes more keeps people waiting for what they could find themselves.
const STEPS_BACK_MAX: usize = 300;

/// What the solver gives a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Item {
    /// The change as a whole: what everything begins with.
    Change,
    /// A slot; its versions are the candidates.
    Package(usize),
    /// A requirement; its versions are the places in [`Universe::meeting`].
    Need(usize),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Change => f.write_str("change"),
            Item::Package(slot) => write!(f, "package {slot}"),
            Item::Need(need) => write!(f, "need {need}"),
        }
    }
}

/// What the solver says.
#[derive(Debug)]
pub(super) enum Answer {
    /// Everything goes together, with these candidates instead of those that are there.
    Fits(Vec<(usize, usize)>),
    /// It can't, for these reasons.
    Never(Proof),
    /// It would take too long to find out.
    Unknown,
}

/// The steps that a proof rests on, in the order in which it uses them.
#[derive(Debug, Default)]
pub(super) struct Proof(pub(super) Vec<Step>);

/// One fact that a proof uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// What is there stays as it is.
    Stays { slot: usize },
    /// These candidates of a slot, or the files, need it.
    Needs { who: Who, need: usize },
    /// Nothing known meets it.
    Unmet { need: usize },
    /// It is met only with these candidates of the slot.
    MetBy {
        need: usize,
        slot: usize,
        candidates: Vec<usize>,
    },
    /// These candidates of a slot don't go with what the other may be.
    Apart {
        slot: usize,
        candidates: Vec<usize>,
        other: usize,
    },
}

/// Who needs something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    Files,
    Package { slot: usize, candidates: Vec<usize> },
}

type Set = Ranges<u32>;
type Tree = DerivationTree<Item, Set, String>;

/// Whether everything goes together when only the slots in `free` may change
/// and the rules in `waived` need not hold (those excused never need to).
pub(super) fn solve(
    universe: &Universe,
    free: &BTreeSet<usize>,
    waived: &BTreeSet<Rule>,
) -> Answer {
    let provider = Provider::new(universe, free, waived);
    match pubgrub::resolve(&provider, Item::Change, 0u32) {
        Ok(chosen) => {
            let chosen: BTreeSet<(Item, u32)> = chosen.into_iter().collect();
            let moves = chosen.into_iter().filter_map(|(item, version)| match item {
                Item::Package(slot) if version > 0 => Some((slot, version as usize)),
                Item::Package(_) | Item::Change | Item::Need(_) => None,
            });
            Answer::Fits(moves.collect())
        }
        Err(PubGrubError::NoSolution(tree)) => Answer::Never(proof(universe, &tree)),
        Err(
            PubGrubError::ErrorInShouldCancel(_)
            | PubGrubError::ErrorChoosingVersion { .. }
            | PubGrubError::ErrorRetrievingDependencies { .. },
        ) => Answer::Unknown,
    }
}

/// The solver took too many steps.
#[derive(Debug, thiserror::Error)]
#[error("too many steps")]
struct TooLong;

struct Provider<'u> {
    universe: &'u Universe,
    free: &'u BTreeSet<usize>,
    waived: &'u BTreeSet<Rule>,
    /// What the change as a whole depends on.
    root: Vec<(Item, Set)>,
    /// By slot and candidate; those that depend on nothing are left out.
    packages: BTreeMap<(usize, usize), Vec<(Item, Set)>>,
    steps_left: Cell<usize>,
}

impl<'u> Provider<'u> {
    /// What holds whatever moves is left out: of a thousand packages that fit,
    /// the solver sees the few that something may come to depend on.
    fn new(
        universe: &'u Universe,
        free: &'u BTreeSet<usize>,
        waived: &'u BTreeSet<Rule>,
    ) -> Provider<'u> {
        let mut provider = Provider {
            universe,
            free,
            waived,
            root: Vec::new(),
            packages: BTreeMap::new(),
            steps_left: Cell::new(0),
        };
        let mut seen: BTreeSet<usize> = free.clone();
        for (slot, it) in universe.slots.iter().enumerate() {
            let candidates = if free.contains(&slot) {
                it.candidates.len()
            } else {
                1
            };
            for candidate in 0..candidates {
                let needed = provider.of_package(slot, candidate);
                if needed.is_empty() {
                    continue;
                }
                seen.insert(slot);
                provider.see(&needed, &mut seen);
                provider.packages.insert((slot, candidate), needed);
            }
        }
        let files = universe.files.iter().copied();
        let files = files.filter(|need| provider.is_open(Subject::Files, *need));
        let files: Vec<(Item, Set)> = files.map(|need| (Item::Need(need), Set::full())).collect();
        provider.see(&files, &mut seen);
        let stay = seen.iter().map(|slot| {
            let range = match free.contains(slot) {
                true => Set::full(),
                false => Set::singleton(0u32),
            };
            (Item::Package(*slot), range)
        });
        provider.root = stay.chain(files).collect();
        let items = seen.len() + universe.needs.len() + 1;
        provider.steps_left = Cell::new(items * STEPS_PER_ITEM_MAX + STEPS_BACK_MAX);
        provider
    }

    /// Notes the slots that a dependency could come to.
    fn see(&self, needed: &[(Item, Set)], seen: &mut BTreeSet<usize>) {
        for (item, _) in needed {
            match item {
                Item::Change => {}
                Item::Package(slot) => {
                    seen.insert(*slot);
                }
                Item::Need(need) => {
                    seen.extend(self.universe.meeting(*need).iter().map(|(slot, _)| *slot));
                }
            }
        }
    }

    fn versions(&self, item: Item) -> usize {
        match item {
            Item::Change => 1,
            Item::Package(slot) => {
                let slot = self.universe.slots.get(slot);
                slot.map_or(0, |slot| slot.candidates.len())
            }
            Item::Need(need) => self.universe.meeting(need).len(),
        }
    }

    fn holds(&self, rule: Rule) -> bool {
        !self.universe.excused.contains(&rule) && !self.waived.contains(&rule)
    }

    /// Whether a requirement must be asked for: it must hold, and nothing that stays meets it.
    fn is_open(&self, subject: Subject, need: usize) -> bool {
        let mut choices = self.universe.meeting(need).iter();
        let met = choices.any(|(slot, fit)| fit.first() == Some(&0) && !self.free.contains(slot));
        !met && self.holds(Rule::Need(subject, need))
    }

    fn of_package(&self, slot: usize, candidate: usize) -> Vec<(Item, Set)> {
        let Some(part) = self.universe.part(slot, candidate) else {
            return Vec::new();
        };
        let subject = Subject::Package { slot, candidate };
        let needs = part.requires.iter().filter_map(|need| {
            let need = self.universe.need(need)?;
            let open = self.is_open(subject, need);
            open.then_some((Item::Need(need), Set::full()))
        });
        let apart = self.universe.apart_from(slot, candidate).iter();
        let apart = apart.filter_map(|(other, hit)| {
            let mut hit = hit.clone();
            if !self.holds(Rule::Apart(subject, *other)) {
                hit.retain(|candidate| *candidate != 0);
            }
            if !self.free.contains(other) {
                hit.retain(|candidate| *candidate == 0);
            }
            (!hit.is_empty()).then(|| (Item::Package(*other), set(&hit).complement()))
        });
        needs.chain(apart).collect()
    }
}

impl DependencyProvider for Provider<'_> {
    type P = Item;
    type V = u32;
    type VS = Set;
    type M = String;
    type Err = TooLong;
    type Priority = (Reverse<u8>, Reverse<usize>);

    /// What must stay is settled first, then what is needed, then what may move.
    fn prioritize(
        &self,
        item: &Item,
        _range: &Set,
        _statistics: &PackageResolutionStatistics,
    ) -> Self::Priority {
        match *item {
            Item::Change => (Reverse(0), Reverse(0)),
            Item::Package(slot) if !self.free.contains(&slot) => (Reverse(1), Reverse(slot)),
            Item::Need(need) => (Reverse(2), Reverse(need)),
            Item::Package(slot) => (Reverse(3), Reverse(slot)),
        }
    }

    /// The first one: the smallest move.
    fn choose_version(&self, item: &Item, range: &Set) -> Result<Option<u32>, TooLong> {
        let mut versions = (0u32..).take(self.versions(*item));
        Ok(versions.find(|version| range.contains(version)))
    }

    fn get_dependencies(
        &self,
        item: &Item,
        version: &u32,
    ) -> Result<Dependencies<Item, Set, String>, TooLong> {
        let version = *version as usize;
        let found = match *item {
            Item::Change => self.root.clone(),
            Item::Package(slot) => {
                let needed = self.packages.get(&(slot, version));
                needed.cloned().unwrap_or_default()
            }
            Item::Need(need) => {
                let chosen = self.universe.meeting(need).get(version);
                let chosen = chosen.map(|(slot, fit)| (Item::Package(*slot), set(fit)));
                chosen.into_iter().collect()
            }
        };
        Ok(Dependencies::Available(found.into_iter().collect()))
    }

    fn should_cancel(&self) -> Result<(), TooLong> {
        let left = self.steps_left.get().checked_sub(1).ok_or(TooLong)?;
        self.steps_left.set(left);
        Ok(())
    }
}

fn set(candidates: &[usize]) -> Set {
    let singles = candidates.iter().filter_map(|at| u32::try_from(*at).ok());
    singles.fold(Set::empty(), |all, one| all.union(&Set::singleton(one)))
}

/// The facts at the tree's leaves, each once. Its nodes are shared, so each is walked once.
fn proof(universe: &Universe, tree: &Tree) -> Proof {
    let mut proof = Proof::default();
    let mut walked: BTreeSet<*const Tree> = BTreeSet::new();
    let mut open: Vec<&Tree> = vec![tree];
    while let Some(node) = open.pop() {
        match node {
            DerivationTree::Derived(derived) => {
                for cause in [&derived.cause2, &derived.cause1] {
                    if walked.insert(Arc::as_ptr(cause)) {
                        open.push(cause);
                    }
                }
            }
            DerivationTree::External(external) => {
                if let Some(step) = step(universe, external)
                    && !proof.0.contains(&step)
                {
                    proof.0.push(step);
                }
            }
        }
    }
    proof
}

fn step(universe: &Universe, external: &External<Item, Set, String>) -> Option<Step> {
    let candidates = |slot: usize, range: &Set| -> Vec<usize> {
        let slot = universe.slots.get(slot);
        let versions = (0u32..).take(slot.map_or(0, |slot| slot.candidates.len()));
        versions
            .filter(|version| range.contains(version))
            .map(|version| version as usize)
            .collect()
    };
    match external {
        External::NotRoot(..) | External::Custom(..) => None,
        External::NoVersions(Item::Need(need), _) => {
            // Otherwise it only says that nothing beside the known ones meets it.
            let nobody = universe.meeting(*need).is_empty();
            nobody.then_some(Step::Unmet { need: *need })
        }
        External::NoVersions(Item::Change | Item::Package(_), _) => None,
        External::FromDependencyOf(who, whose, on, range) => match (*who, *on) {
            (Item::Change, Item::Package(slot)) => {
                (*range != Set::full()).then_some(Step::Stays { slot })
            }
            (Item::Change, Item::Need(need)) => Some(Step::Needs {
                who: Who::Files,
                need,
            }),
            (Item::Package(slot), Item::Need(need)) => Some(Step::Needs {
                who: Who::Package {
                    slot,
                    candidates: candidates(slot, whose),
                },
                need,
            }),
            (Item::Package(slot), Item::Package(other)) => Some(Step::Apart {
                slot,
                candidates: candidates(slot, whose),
                other,
            }),
            (Item::Need(need), Item::Package(slot)) => Some(Step::MetBy {
                need,
                slot,
                candidates: candidates(slot, range),
            }),
            (Item::Need(_), Item::Need(_) | Item::Change)
            | (Item::Change | Item::Package(_), Item::Change) => None,
        },
    }
}
