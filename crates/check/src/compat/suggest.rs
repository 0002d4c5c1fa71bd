//! Which deployed packages would have to change for a change to fit.
//!
//! Each proof that it can't be names the packages whose staying it rests on: one
//! of those has to move. So sets of packages are tried in the order of their
//! size, each grown from a smaller one by such a package, and the first that
//! fits is the smallest that there is.
//!
//! Invariant: a suggestion was solved as a whole; nothing is suggested that
//! breaks what goes together without the change.

use std::collections::BTreeSet;

use super::facts::Part;
use super::solve::{Answer, Proof, Step, solve};
use super::universe::{Home, Rule, Universe};

/// Nobody moves more packages than this at night to make room for one change.
pub(super) const MOVES_MAX: usize = 3;
/// Most questions to the solver for one suggestion; a few dozen is usual.
const SOLVES_MAX: usize = 100;

/// What people could do about a conflict.
#[derive(Debug)]
pub(super) enum Advice {
    /// Deploy these one after the other; nothing gets worse on the way.
    First(Vec<Move>),
    /// These fit with the change, but not with what is there without it.
    Together(Vec<Move>),
    /// No known version helps, for these reasons.
    Nothing(Proof),
    /// Nothing was found within the bounds.
    Unknown,
}

/// A slot's new candidate.
pub(super) type Move = (usize, usize);

/// The fewest and smallest moves after which everything goes together, except for the rules in `waived`.
pub(super) fn least_moves(universe: &Universe, waived: &BTreeSet<Rule>) -> Advice {
    let slots = universe.slots.iter().enumerate();
    let movable: BTreeSet<usize> = slots
        .filter(|(_, slot)| slot.candidates.len() > 1)
        .map(|(at, _)| at)
        .collect();
    match solve(universe, &movable, waived) {
        Answer::Never(proof) => return Advice::Nothing(proof),
        Answer::Unknown => return Advice::Unknown,
        Answer::Fits(_) => {}
    }
    let mut level = BTreeSet::from([BTreeSet::new()]);
    let mut solves_left = SOLVES_MAX;
    for _ in 0..=MOVES_MAX {
        let mut fitting: Vec<Vec<Move>> = Vec::new();
        let mut larger = BTreeSet::new();
        for free in &level {
            let Some(left) = solves_left.checked_sub(1) else {
                return Advice::Unknown;
            };
            solves_left = left;
            match solve(universe, free, waived) {
                Answer::Fits(moves) => fitting.push(moves),
                Answer::Never(proof) => larger.extend(grown(free, &proof, &movable)),
                Answer::Unknown => return Advice::Unknown,
            }
        }
        let smallest = fitting.into_iter().min_by_key(|moves| {
            let sizes: Vec<_> = moves.iter().map(|it| size(universe, *it)).collect();
            (sizes.iter().max().copied(), sizes, moves.clone())
        });
        if let Some(moves) = smallest {
            return ordered(universe, moves);
        }
        level = larger;
    }
    Advice::Unknown
}

fn grown(free: &BTreeSet<usize>, proof: &Proof, movable: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
    let stays = proof.0.iter().filter_map(|step| match step {
        Step::Stays { slot } => Some(*slot),
        Step::Needs { .. } | Step::Unmet { .. } | Step::MetBy { .. } | Step::Apart { .. } => None,
    });
    let stays = stays.filter(|slot| movable.contains(slot));
    stays
        .map(|slot| free.iter().copied().chain([slot]).collect())
        .collect()
}

/// How much a move asks of people; ordered from little to much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Size {
    Update,
    MajorUpdate,
    Addition,
    StepBack,
}

/// How large a move is.
pub(super) fn size(universe: &Universe, (slot, candidate): Move) -> Size {
    let version = |at| universe.part(slot, at)?.release.parsed.as_ref();
    match (version(0), version(candidate)) {
        (Some(from), Some(to)) if to < from => Size::StepBack,
        (Some(from), Some(to)) if to.major == from.major => Size::Update,
        (Some(_), Some(_)) => Size::MajorUpdate,
        (None, _) if universe.part(slot, 0).is_none() => Size::Addition,
        (None, _) | (Some(_), None) => Size::MajorUpdate,
    }
}

/// An order in which each move leaves what is there no worse than it is now.
fn ordered(universe: &Universe, moves: Vec<Move>) -> Advice {
    let before = universe.before.broken();
    // Depth first over the orders: at most 3! of them.
    let mut open = vec![(universe.before.clone(), Vec::new())];
    while let Some((standing, done)) = open.pop() {
        if done.len() == moves.len() {
            return Advice::First(done);
        }
        for next in moves.iter().rev().filter(|it| !done.contains(*it)) {
            let Some((home, part)) = moved(universe, *next) else {
                continue;
            };
            let standing = standing.with(home, part);
            if standing.broken().is_subset(&before) {
                let done = done.iter().copied().chain([*next]).collect();
                open.push((standing, done));
            }
        }
    }
    Advice::Together(moves)
}

fn moved(universe: &Universe, (slot, candidate): Move) -> Option<(&Home, &Part)> {
    let home = &universe.slots.get(slot)?.home;
    Some((home, universe.part(slot, candidate)?))
}
