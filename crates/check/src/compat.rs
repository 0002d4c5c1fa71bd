//! Whether a bundle goes with what is deployed where it will go, and if not:
//! why, and what would have to move.
//!
//! Packages say what they need, what they don't go with, and which features
//! they bring, with version ranges. A version solver decides; its proof becomes
//! sentences.
//!
//! Invariant: a change is blamed only for what it makes worse. What is deployed
//! and did not go together before is left as it is.

mod facts;
mod places;
mod solve;
mod standing;
mod suggest;
mod universe;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use model::{Bundle, CatalogEntry, Finding, Gate, PackageFacts, PackageName, Severity};

pub use facts::{range, version};
pub use places::places;
use solve::{Answer, Proof, Step, Who, solve};
use suggest::{Advice, least_moves};
use universe::{Rule, Subject, Universe};

/// Most packages at one place, the bundle's included. A host has dozens; with
/// this many an answer still takes less than a second.
pub const PACKAGES_MAX: usize = 1000;
/// Most versions in the catalog. In a larger one nothing is searched: a
/// suggestion is a help, and no reason to keep people waiting.
pub const CATALOG_MAX: usize = 2000;
/// Most requirements and conflicts of all packages at one place together, and of all in the catalog.
pub const RULES_MAX: usize = 10_000;
/// Most conflicts that are told of one place; who has more mends these first.
const CONFLICTS_MAX: usize = 20;

/// Of so many conflicts it is asked what would mend each alone, when nothing mends all.
const ALONE_MAX: usize = 5;

/// Somewhere the bundle will go, with what is deployed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// For people: "test (class web)".
    pub label: String,
    /// Everything beside the bundle's own packages.
    pub deployed: Vec<Deployed>,
}

/// A package that is deployed at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// Which one.
    pub name: PackageName,
    /// What is known of it.
    pub facts: PackageFacts,
    /// Whose it is: "class web", "service auth".
    pub origin: String,
}

/// What was found at one place; the text has [`words::LABEL`] for its name.
struct Told {
    message: String,
    help: String,
}

/// All conflicts of `bundle` (its packages and what its files need) with what
/// is deployed at each place. Empty: it goes with everything, everywhere.
///
/// The bundle's packages replace deployed ones of the same name, and whatever
/// its own service has deployed. `catalog` is what suggestions are made of.
pub fn compatible(bundle: &Bundle, places: &[Place], catalog: &[CatalogEntry]) -> Vec<Finding> {
    let (bundle, mut found) = readable(bundle);
    let mut told: Vec<(Told, Vec<&str>)> = Vec::new();
    for place in places {
        for new in at_place(&bundle, place, catalog) {
            let same = |(old, _): &&mut (Told, Vec<&str>)| {
                old.message == new.message && old.help == new.help
            };
            match told.iter_mut().find(same) {
                Some((_, labels)) if labels.contains(&place.label.as_str()) => {}
                Some((_, labels)) => labels.push(&place.label),
                None => told.push((new, vec![&place.label])),
            }
        }
    }
    found.extend(told.into_iter().map(|(told, labels)| {
        let labels = match labels.as_slice() {
            [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
            labels => labels.concat(),
        };
        finding(told.message.replace(words::LABEL, &labels), told.help)
    }));
    found
}

fn finding(message: String, help: String) -> Finding {
    Finding {
        gate: Gate::Compatibility,
        severity: Severity::Deny,
        file: None,
        line: 0,
        column: 0,
        message,
        help: Some(help),
    }
}

/// The bundle without what can't be read, and a finding for each such thing.
fn readable(bundle: &Bundle) -> (Bundle, Vec<Finding>) {
    let mut bundle = bundle.clone();
    let mut found = Vec::new();
    let mut ranges = |who: &str, verb: &str, ranges: &mut BTreeMap<PackageName, String>| {
        ranges.retain(|feature, text| {
            let fine = range(text).is_some();
            if !fine {
                let message =
                    format!("{who} {verb} {feature} {text:?}, which is no version range.");
                let help = "write a range like \"^2\", \">=2, <3\", \"~1.4\" or \"*\"";
                found.push(finding(message, help.to_owned()));
            }
            fine
        });
    };
    ranges("The files of the bundle", "require", &mut bundle.requires);
    for (name, package) in &mut bundle.packages {
        let who = format!("{name} {}", facts::Release::read(&package.version));
        ranges(&who, "requires", &mut package.requires);
        ranges(&who, "conflicts with", &mut package.conflicts);
    }
    for (name, package) in &bundle.packages {
        for (feature, text) in &package.provides {
            if version(text).is_none() {
                let message = format!(
                    "{name} {} provides {feature} {text:?}, which is no version.",
                    facts::Release::read(&package.version)
                );
                let help = "write a semantic version like \"2.1.0\"";
                found.push(finding(message, help.to_owned()));
            }
        }
    }
    (bundle, found)
}

fn at_place(bundle: &Bundle, place: &Place, catalog: &[CatalogEntry]) -> Vec<Told> {
    if let Some(told) = too_much(bundle, place) {
        return vec![told];
    }
    let rules = catalog.iter().map(|entry| &entry.facts);
    let rules = rules.map(|it| it.requires.len() + it.conflicts.len());
    let searched = catalog.len() <= CATALOG_MAX && rules.sum::<usize>() <= RULES_MAX;
    let catalog = if searched { catalog } else { &[] };
    let universe = Universe::new(bundle, place, catalog);
    let Some(conflicts) = conflicts(&universe) else {
        return vec![Told {
            message: format!(
                "On {}, it takes too long to compare everything.",
                words::LABEL
            ),
            help: "require and conflict with fewer packages".to_owned(),
        }];
    };
    if conflicts.is_empty() {
        return Vec::new();
    }
    let whole = least_moves(&universe, &BTreeSet::new());
    let fits = matches!(whole, Advice::First(_) | Advice::Together(_));
    // When nothing mends everything, something may still mend a part.
    let parts = matches!(whole, Advice::Nothing(_)) && conflicts.len() > 1;
    let alone = |rule: Rule| {
        let others = conflicts.iter().copied().filter(|other| *other != rule);
        least_moves(&universe, &others.collect())
    };
    let tell = |(at, rule): (usize, &Rule)| {
        let own = (parts && at < ALONE_MAX).then(|| alone(*rule));
        let advice = own.as_ref().unwrap_or(&whole);
        let help = match searched {
            true => words::help(&universe, *rule, advice, fits),
            false => format!(
                "change the bundle (the catalog is too large to be searched: at most {CATALOG_MAX} versions)"
            ),
        };
        Told {
            message: words::conflict(&universe, *rule, advice),
            help,
        }
    };
    conflicts.iter().enumerate().map(tell).collect()
}

/// What is more than can be compared is not compatible.
fn too_much(bundle: &Bundle, place: &Place) -> Option<Told> {
    let packages = bundle.packages.len() + place.deployed.len();
    let of_bundle = bundle.packages.values();
    let of_bundle = of_bundle.map(|it| it.requires.len() + it.conflicts.len());
    let deployed = place.deployed.iter().map(|it| &it.facts);
    let deployed = deployed.map(|it| it.requires.len() + it.conflicts.len());
    let rules = bundle.requires.len() + of_bundle.chain(deployed).sum::<usize>();
    (packages > PACKAGES_MAX || rules > RULES_MAX).then(|| Told {
        message: format!(
            "On {}, there are {packages} packages with {rules} requirements and conflicts; \
             at most {PACKAGES_MAX} with {RULES_MAX} are compared.",
            words::LABEL
        ),
        help: "declare only packages that others require or don't go with".to_owned(),
    })
}

/// The rules that are broken once the change is there; `None` when it takes too long to find out.
fn conflicts(universe: &Universe) -> Option<Vec<Rule>> {
    let mut found = BTreeSet::new();
    while found.len() < CONFLICTS_MAX {
        match solve(universe, &BTreeSet::new(), &found) {
            Answer::Fits(_) => break,
            // The rule that the proof rests on is told, and left out of the next question.
            Answer::Never(proof) => found.insert(blamed(&proof)?),
            Answer::Unknown => return None,
        };
    }
    Some(found.into_iter().collect())
}

/// Where nothing may move, a proof rests on one rule.
fn blamed(proof: &Proof) -> Option<Rule> {
    let now = |slot: usize| Subject::Package { slot, candidate: 0 };
    proof.0.iter().find_map(|step| match step {
        Step::Needs { who, need } => {
            let subject = match who {
                Who::Files => Subject::Files,
                Who::Package { slot, .. } => now(*slot),
            };
            Some(Rule::Need(subject, *need))
        }
        Step::Apart { slot, other, .. } => Some(Rule::Apart(now(*slot), *other)),
        Step::Stays { .. } | Step::Unmet { .. } | Step::MetBy { .. } => None,
    })
}

#[cfg(test)]
mod tests;
