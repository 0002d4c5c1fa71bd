//! Conflicts and ways out in sentences, cause before consequence.
//!
//! Invariant: [`LABEL`] stands where the places' names belong, so that the same
//! conflict at several places is the same text, and is told once.

use std::collections::BTreeSet;

use model::PackageName;

use super::facts::{Part, Wanted, in_words};
use super::solve::{Proof, Step, Who};
use super::suggest::{Advice, MOVES_MAX, Move, Size, size};
use super::universe::{Home, Rule, Subject, Universe};

/// Stands for the names of the places. No name, version or range that is shown holds it.
pub(super) const LABEL: char = '\u{0}';
/// Of more versions than this the number is told.
const VERSIONS_MAX: usize = 4;
/// More reasons than this, why no version helps, are noise.
const REASONS_MAX: usize = 6;

/// What is wrong: one sentence a line.
pub(super) fn conflict(universe: &Universe, rule: Rule, advice: &Advice) -> String {
    let mut lines = match rule {
        Rule::Need(subject, need) => match universe.needs.get(need) {
            Some(wanted) => unmet(universe, subject, wanted),
            None => Vec::new(),
        },
        Rule::Apart(subject, other) => apart(universe, subject, other),
    };
    if let Advice::Nothing(proof) = advice {
        lines.extend(reasons(universe, rule, proof));
    }
    lines.join("\n")
}

fn unmet(universe: &Universe, subject: Subject, wanted: &Wanted) -> Vec<String> {
    let feature = &wanted.feature;
    let range = in_words(&wanted.range);
    let (who, deployed) = subject_words(universe, subject);
    let mut lines = vec![match deployed {
        true => format!("On {LABEL}, {who} needs {feature} {range}."),
        false => format!("{who} {} {feature} {range}.", needs(subject)),
    }];
    let offering = universe.offering(feature).iter();
    let there = offering.filter(|(_, candidate)| *candidate == 0);
    let offers: Vec<String> = there
        .filter_map(|(slot, _)| {
            let brought = universe.slots.get(*slot)?.home == Home::Change;
            let offer = offer(universe, *slot, feature)?;
            Some(match brought {
                true => format!("With this change, {offer}."),
                false => format!("On {LABEL}, {offer}."),
            })
        })
        .collect();
    if offers.is_empty() && !deployed {
        let known = universe.slots.iter().filter_map(|slot| slot.now());
        let known: Vec<&str> = known
            .flat_map(Part::features)
            .map(PackageName::as_str)
            .collect();
        let meant = crate::suggest::nearest(feature.as_str(), known);
        let meant = meant.map_or(String::new(), |meant| format!(" Did you mean {meant}?"));
        lines.push(format!("On {LABEL}, nothing provides {feature}.{meant}"));
    }
    let replaced = !offers.is_empty();
    lines.extend(offers);
    if deployed && !replaced {
        let met = universe
            .before
            .0
            .iter()
            .filter(|(_, part)| part.meets(wanted));
        let met: Vec<String> = met.map(|(_, part)| part.to_string()).collect();
        lines.push(format!(
            "So far it comes from {}, which this change takes away.",
            met.join(" and ")
        ));
    }
    lines
}

fn apart(universe: &Universe, subject: Subject, other: usize) -> Vec<String> {
    let Subject::Package { slot, candidate } = subject else {
        return Vec::new();
    };
    let (Some(part), Some(hit)) = (universe.part(slot, candidate), universe.part(other, 0)) else {
        return Vec::new();
    };
    let (who, deployed) = subject_words(universe, subject);
    let brought = universe
        .slots
        .get(other)
        .is_some_and(|other| other.home == Home::Change);
    let mut lines = Vec::new();
    for conflict in part.conflicts_with(hit) {
        let (feature, range) = (&conflict.feature, in_words(&conflict.range));
        lines.push(match deployed {
            true => format!("On {LABEL}, {who} does not go with {feature} {range}."),
            false => format!("{who} does not go with {feature} {range}."),
        });
        if let Some(offer) = offer(universe, other, feature) {
            lines.push(match brought {
                true => format!("With this change, {offer}."),
                false => format!("On {LABEL}, {offer}."),
            });
        }
    }
    lines
}

/// "web 2.0.0", "auth-runtime 1.4.0 (service auth)", and whether it is deployed and not part of the change.
fn subject_words(universe: &Universe, subject: Subject) -> (String, bool) {
    let Subject::Package { slot, candidate } = subject else {
        return ("The files of the bundle".to_owned(), false);
    };
    let part = universe.part(slot, candidate);
    let part = part.map_or(String::new(), ToString::to_string);
    match universe.slots.get(slot).map(|slot| &slot.home) {
        Some(Home::Deployed(_)) => (format!("{part}{}", origin(universe, slot)), true),
        Some(Home::Change | Home::Catalog) | None => (part, false),
    }
}

fn needs(subject: Subject) -> &'static str {
    match subject {
        Subject::Files => "need",
        Subject::Package { .. } => "needs",
    }
}

/// Whose a deployed package is, unless the place's name says it.
fn origin(universe: &Universe, slot: usize) -> String {
    match universe.slots.get(slot).map(|slot| &slot.home) {
        Some(Home::Deployed(origin)) if !universe.label.contains(origin.as_str()) => {
            format!(" ({origin})")
        }
        Some(Home::Deployed(_) | Home::Change | Home::Catalog) | None => String::new(),
    }
}

/// "sso is 1.0.0 (class web)", "sso comes from auth-runtime 1.4.0 (class web), which provides 1.0.0".
fn offer(universe: &Universe, slot: usize, feature: &PackageName) -> Option<String> {
    let part = universe.part(slot, 0)?;
    let origin = origin(universe, slot);
    if part.name == *feature {
        return Some(format!("{feature} is {}{origin}", part.release));
    }
    let provided = part.offers(feature).next()?;
    Some(format!(
        "{feature} comes from {part}{origin}, which provides {provided}"
    ))
}

/// Why no version helps, from the solver's proof: what is beyond the conflict itself.
fn reasons(universe: &Universe, rule: Rule, proof: &Proof) -> Vec<String> {
    let wanted = |need: &Wanted| format!("{} {}", need.feature, in_words(&need.range));
    let reason = |step: &Step| match step {
        Step::Stays { .. } => None,
        Step::Needs {
            who: Who::Files, ..
        } => None,
        Step::Needs {
            who: Who::Package { slot, candidates },
            need,
        } => {
            let (who, many) = moved(universe, *slot, candidates)?;
            let verb = if many { "need" } else { "needs" };
            Some(format!(
                "{who} {verb} {}.",
                wanted(universe.needs.get(*need)?)
            ))
        }
        Step::Unmet { need } => {
            let told = matches!(rule, Rule::Need(_, told) if told == *need);
            let need = universe.needs.get(*need).filter(|_| !told)?;
            Some(format!("Nothing that is known provides {}.", wanted(need)))
        }
        Step::MetBy {
            need,
            slot,
            candidates,
        } => {
            let need = universe.needs.get(*need)?;
            let (by, _) = moved(universe, *slot, candidates)?;
            // That a package provides itself goes without saying.
            let other = universe.slots.get(*slot)?.name != need.feature;
            other.then(|| format!("{} could come with {by}.", wanted(need)))
        }
        Step::Apart {
            slot,
            candidates,
            other,
        } => in_the_way(universe, rule, *slot, candidates, *other),
    };
    let mut seen = BTreeSet::new();
    let all = proof.0.iter().filter_map(reason);
    all.filter(|reason| seen.insert(reason.clone()))
        .take(REASONS_MAX)
        .collect()
}

/// "b 2.0.0 and 2.1.0", and whether these are several; `None` when nothing of it is a move.
fn moved(universe: &Universe, slot: usize, candidates: &[usize]) -> Option<(String, bool)> {
    let moves = candidates.iter().filter(|candidate| **candidate > 0);
    let moves = moves.filter_map(|candidate| universe.part(slot, *candidate));
    let mut versions: Vec<String> = moves.map(|part| part.release.to_string()).collect();
    if versions.len() > VERSIONS_MAX {
        let more = versions.split_off(VERSIONS_MAX).len();
        versions.push(format!("{more} more"));
    }
    let (last, most) = versions.split_last()?;
    let name = &universe.slots.get(slot)?.name;
    Some(match most {
        [] => (format!("{name} {last}"), false),
        most => (format!("{name} {} and {last}", most.join(", ")), true),
    })
}

fn in_the_way(
    universe: &Universe,
    rule: Rule,
    slot: usize,
    candidates: &[usize],
    other: usize,
) -> Option<String> {
    let now = Subject::Package { slot, candidate: 0 };
    if candidates == [0] && rule == Rule::Apart(now, other) {
        return None;
    }
    let (who, many) = match moved(universe, slot, candidates) {
        Some(moved) => moved,
        // What is there stands in the way of a move.
        None => (universe.part(slot, 0)?.to_string(), false),
    };
    let conflict = candidates.iter().find_map(|candidate| {
        let part = universe.part(slot, *candidate)?;
        let others = universe.slots.get(other)?.candidates.iter().flatten();
        let mut conflicts = others.flat_map(|other| part.conflicts_with(other));
        conflicts.next()
    })?;
    let (feature, range) = (&conflict.feature, in_words(&conflict.range));
    let hit = universe
        .part(other, 0)
        .filter(|hit| hit.is_hit_by(conflict));
    let there = hit.and_then(|_| offer(universe, other, feature));
    let there = there.map_or(String::new(), |offer| format!(", and {offer}"));
    let verb = if many { "do" } else { "does" };
    Some(format!(
        "{who} {verb} not go with {feature} {range}{there}."
    ))
}

/// What to do, in one line.
pub(super) fn help(universe: &Universe, rule: Rule, advice: &Advice, rest_fits: bool) -> String {
    match advice {
        Advice::First(moves) if rest_fits => {
            let (why, first) = (
                praise(universe, rule, moves),
                listed(universe, moves, ", then "),
            );
            match moves.len() {
                1 => format!("deploy {first} first ({why}), then push again"),
                _ => format!("deploy first {first} ({why}), then push again"),
            }
        }
        Advice::First(moves) | Advice::Together(moves) if !rest_fits => {
            let moves = listed(universe, moves, " and ");
            format!("{moves} would mend this one, but not everything that is wrong there")
        }
        Advice::First(moves) | Advice::Together(moves) => format!(
            "{} would fit, but not with what is deployed there without this change: \
             release them together in one bundle",
            listed(universe, moves, " and ")
        ),
        Advice::Nothing(_) => {
            "no known version helps: change the bundle, or add to the catalog a version that fits"
                .to_owned()
        }
        Advice::Unknown => {
            format!("no way was found that moves {MOVES_MAX} packages or fewer: change the bundle")
        }
    }
}

fn listed(universe: &Universe, moves: &[Move], between: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for (slot, candidate) in moves {
        let Some(part) = universe.part(*slot, *candidate) else {
            continue;
        };
        let back = match (size(universe, (*slot, *candidate)), universe.part(*slot, 0)) {
            (Size::StepBack, Some(now)) => format!(" instead of {}", now.release),
            (Size::StepBack | Size::Update | Size::MajorUpdate | Size::Addition, _) => {
                String::new()
            }
        };
        let word = format!("{part}{back}");
        // A package that two deploy moves for both.
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(between)
}

/// Why these moves: "it provides sso 2.0.0 and goes with everything else there".
fn praise(universe: &Universe, rule: Rule, moves: &[Move]) -> String {
    let [(slot, candidate)] = moves else {
        return "then everything there goes together".to_owned();
    };
    let provided = match rule {
        Rule::Apart(..) => None,
        Rule::Need(_, need) => universe.needs.get(need).and_then(|need| {
            let part = universe.part(*slot, *candidate)?;
            let mut offers = part.offers(&need.feature);
            let release = offers.find(|release| need.met_by(release))?;
            (part.name != need.feature)
                .then(|| format!("it provides {} {release} and", need.feature))
        }),
    };
    let provided = provided.unwrap_or_else(|| "it".to_owned());
    format!("{provided} goes with everything else there")
}
