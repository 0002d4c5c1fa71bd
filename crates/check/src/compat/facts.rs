//! One version of a package as the solver sees it, and how versions and ranges are read.
//!
//! Invariant: what can't be read is never in anybody's favour. A version that
//! is none meets no range and is hit by every conflict; a range that is none is
//! met by no version and hit by every one.

use std::collections::BTreeMap;

use model::{PackageFacts, PackageName};
use semver::{Comparator, Op, Prerelease, Version, VersionReq};

/// A version as people write it: `1.4` is `1.4.0`, and `v1.4.2` is `1.4.2`.
pub fn version(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let parts: Vec<&str> = core.split('.').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(digits) {
        return None;
    }
    let number = |at: usize| parts.get(at).map_or(Ok(0), |part| part.parse::<u64>());
    let core = Version::new(number(0).ok()?, number(1).ok()?, number(2).ok()?);
    Version::parse(&format!("{core}{rest}")).ok()
}

/// A version range as Cargo writes it: `^2`, `>=2, <3`, `~1.4`, `=1.4.2`, `*`.
pub fn range(text: &str) -> Option<VersionReq> {
    VersionReq::parse(text).ok()
}

/// A version with the text that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) text: String,
    pub(super) parsed: Option<Version>,
}

impl Release {
    pub(super) fn read(text: &str) -> Release {
        let parsed = version(text);
        Release {
            text: text.to_owned(),
            parsed,
        }
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.parsed {
            Some(version) => version.fmt(f),
            None => write!(f, "{:?} (which is no version)", self.text),
        }
    }
}

/// A package or feature, and which of its versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) feature: PackageName,
    /// As written; ranges are compared by their text.
    pub(super) range: String,
}

impl Wanted {
    pub(super) fn all(ranges: &BTreeMap<PackageName, String>) -> Vec<Wanted> {
        let wanted = |(feature, range): (&PackageName, &String)| Wanted {
            feature: feature.clone(),
            range: range.clone(),
        };
        ranges.iter().map(wanted).collect()
    }

    /// Whether that version meets a requirement. A pre-release does only where the range names one.
    pub(super) fn met_by(&self, release: &Release) -> bool {
        match (range(&self.range), &release.parsed) {
            (Some(range), Some(version)) => range.matches(version),
            (None, _) | (_, None) => false,
        }
    }

    /// Whether that version is hit by a conflict. A pre-release is, like the version it leads to.
    pub(super) fn hits(&self, release: &Release) -> bool {
        let (Some(range), Some(version)) = (range(&self.range), &release.parsed) else {
            return true;
        };
        let leads_to = Version {
            pre: Prerelease::EMPTY,
            ..version.clone()
        };
        range.matches(version) || range.matches(&leads_to)
    }
}

/// One version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: PackageName,
    pub(super) release: Release,
    pub(super) requires: Vec<Wanted>,
    pub(super) conflicts: Vec<Wanted>,
    provides: BTreeMap<PackageName, Release>,
}

impl Part {
    pub(super) fn new(name: &PackageName, facts: &PackageFacts) -> Part {
        let provides = facts.provides.iter();
        Part {
            name: name.clone(),
            release: Release::read(&facts.version),
            requires: Wanted::all(&facts.requires),
            conflicts: Wanted::all(&facts.conflicts),
            provides: provides
                .map(|(name, text)| (name.clone(), Release::read(text)))
                .collect(),
        }
    }

    /// Everything that is had with this package by name; its own first.
    pub(super) fn features(&self) -> impl Iterator<Item = &PackageName> {
        let others = self.provides.keys().filter(|name| **name != self.name);
        std::iter::once(&self.name).chain(others)
    }

    /// What is had of a feature with this package: every package is a feature of its own name too.
    pub(super) fn offers(&self, feature: &PackageName) -> impl Iterator<Item = &Release> {
        let own = (self.name == *feature).then_some(&self.release);
        own.into_iter().chain(self.provides.get(feature))
    }

    /// Whether this package alone meets the requirement.
    pub(super) fn meets(&self, wanted: &Wanted) -> bool {
        self.offers(&wanted.feature)
            .any(|release| wanted.met_by(release))
    }

    /// Whether the conflict is with this package.
    pub(super) fn is_hit_by(&self, conflict: &Wanted) -> bool {
        self.offers(&conflict.feature)
            .any(|release| conflict.hits(release))
    }

    /// The conflicts that the two have with each other, as this one declares them.
    pub(super) fn conflicts_with<'a>(
        &'a self,
        other: &'a Part,
    ) -> impl Iterator<Item = &'a Wanted> {
        self.conflicts
            .iter()
            .filter(|conflict| other.is_hit_by(conflict))
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.release)
    }
}

/// A range in words: "2 or newer", "older than 3", "2.1 or newer and older than 3".
pub(super) fn in_words(text: &str) -> String {
    let Some(range) = range(text) else {
        return format!("{text:?} (which is no version range)");
    };
    if range.comparators.is_empty() {
        return "in any version".to_owned();
    }
    let words: Vec<String> = range.comparators.iter().map(comparator).collect();
    words.join(" and ")
}

fn comparator(comparator: &Comparator) -> String {
    let mut from = comparator.major.to_string();
    for part in [comparator.minor, comparator.patch].into_iter().flatten() {
        from = format!("{from}.{part}");
    }
    if !comparator.pre.is_empty() {
        from = format!("{from}-{}", comparator.pre);
    }
    let below = |end: String| format!("{from} or newer but older than {end}");
    let (major, next_major) = (comparator.major, comparator.major.saturating_add(1));
    let next_minor = |minor: u64| format!("{major}.{}", minor.saturating_add(1));
    match comparator.op {
        Op::Greater => format!("newer than {from}"),
        Op::GreaterEq => format!("{from} or newer"),
        Op::Less => format!("older than {from}"),
        Op::LessEq => format!("{from} or older"),
        Op::Exact if comparator.patch.is_some() => from,
        Op::Caret => match (major, comparator.minor, comparator.patch) {
            (0, None, _) => below("1".to_owned()),
            (0, Some(0), Some(patch)) => below(format!("0.0.{}", patch.saturating_add(1))),
            (0, Some(minor), _) => below(next_minor(minor)),
            _ => below(next_major.to_string()),
        },
        Op::Tilde => match comparator.minor {
            Some(minor) => below(next_minor(minor)),
            None => below(next_major.to_string()),
        },
        Op::Exact | Op::Wildcard => format!("{from}.x"),
        // The enum may grow; the text as written is then the best that can be said.
        _ => comparator.to_string(),
    }
}
