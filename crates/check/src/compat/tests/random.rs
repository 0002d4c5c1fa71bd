//! Small universes at random, against a checker that tries everything.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const VERSIONS: [&str; 4] = ["1.0.0", "1.1.0", "2.0.0", "3.0.0-rc.1"];
const RANGES: [&str; 6] = ["^1", ">=2", "<2", "*", "=1.1.0", ">=3.0.0-rc.0"];
const NONSENSE: &str = "banana";

type Facts = (PackageName, PackageFacts);

fn ranges() -> impl Strategy<Value = BTreeMap<PackageName, String>> {
    let name = prop::sample::select(&NAMES[..]).prop_map(|name| name.parse().unwrap());
    let range = prop_oneof![
        20 => prop::sample::select(&RANGES[..]),
        1 => Just(NONSENSE),
    ];
    prop::collection::btree_map(name, range.prop_map(str::to_owned), 0..2)
}

fn package() -> impl Strategy<Value = Facts> {
    let name = prop::sample::select(&NAMES[..]).prop_map(|name| name.parse().unwrap());
    let version = || {
        prop_oneof![20 => prop::sample::select(&VERSIONS[..]), 1 => Just(NONSENSE)]
            .prop_map(str::to_owned)
    };
    let feature = prop::sample::select(&NAMES[..]).prop_map(|name| name.parse().unwrap());
    let provides = prop::collection::btree_map(feature, version(), 0..2);
    let facts = (version(), ranges(), ranges(), provides);
    let facts = facts.prop_map(|(version, requires, conflicts, provides)| PackageFacts {
        version,
        requires,
        conflicts,
        provides,
    });
    (name, facts)
}

/// One package for each name.
fn packages(most: usize) -> impl Strategy<Value = Vec<Facts>> {
    let packages = prop::collection::vec(package(), 0..=most);
    packages.prop_map(|all| {
        all.into_iter()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect()
    })
}

#[derive(Debug, Clone)]
struct Case {
    bundle: Vec<Facts>,
    files: BTreeMap<PackageName, String>,
    deployed: Vec<Facts>,
    catalog: Vec<Facts>,
}

fn case() -> impl Strategy<Value = Case> {
    let catalog = prop::collection::vec(package(), 0..=4);
    (packages(2), ranges(), packages(3), catalog).prop_map(|(bundle, files, deployed, catalog)| {
        Case {
            bundle,
            files,
            deployed,
            catalog,
        }
    })
}

impl Case {
    fn findings(&self) -> Vec<Finding> {
        let mut bundle = bundle(&[]);
        bundle.requires = self.files.clone();
        for (name, facts) in &self.bundle {
            let facts = facts.clone();
            let entry = PackageEntry {
                version: facts.version,
                digest: Digest::of(b""),
                size_bytes: 0,
                requires: facts.requires,
                conflicts: facts.conflicts,
                provides: facts.provides,
            };
            bundle.packages.insert(name.clone(), entry);
        }
        let deployed = self.deployed.iter().map(|(name, facts)| Deployed {
            name: name.clone(),
            facts: facts.clone(),
            origin: "class web".to_owned(),
        });
        let place = Place {
            label: "production".to_owned(),
            deployed: deployed.collect(),
        };
        let catalog = self.catalog.iter().map(|(name, facts)| CatalogEntry {
            name: name.clone(),
            facts: facts.clone(),
        });
        compatible(&bundle, &[place], &catalog.collect::<Vec<_>>())
    }

    fn nonsense(&self) -> bool {
        let ranges = self.bundle.iter().flat_map(|(_, facts)| {
            let ranges = facts.requires.values().chain(facts.conflicts.values());
            ranges.chain(facts.provides.values())
        });
        ranges
            .chain(self.files.values())
            .any(|text| text == NONSENSE)
    }

    /// What is there once the change is.
    fn after(&self) -> Vec<Facts> {
        let replaced = |name: &PackageName| self.bundle.iter().any(|(new, _)| new == name);
        let left = self.deployed.iter().filter(|(name, _)| !replaced(name));
        self.bundle.iter().chain(left).cloned().collect()
    }

    /// By definition and not by the solver: what is broken after the change and was not before.
    fn blame(&self, after: &[Facts]) -> usize {
        let own: Vec<&PackageName> = self.bundle.iter().map(|(name, _)| name).collect();
        let before = broken(&self.deployed);
        let files = self
            .files
            .iter()
            .filter(|(feature, range)| !met(after, feature, range));
        let packages = broken(after);
        // Two conflicts of one package with another are one finding.
        let packages: std::collections::BTreeSet<_> = packages
            .iter()
            .filter(|it| own.contains(&&it.0) || !before.iter().any(|old| same(old, it)))
            .map(|(who, feature, range, with)| match with {
                None => (who, Some((feature, range)), None),
                Some(with) => (who, None, Some(with)),
            })
            .collect();
        files.count() + packages.len()
    }
}

type Bad = (PackageName, PackageName, String, Option<PackageName>);

/// Trouble between the same two is the same trouble.
fn same(old: &Bad, new: &Bad) -> bool {
    match (&old.3, &new.3) {
        (Some(one), Some(other)) => old.0 == new.0 && one == other,
        (None, None) => old == new,
        _ => false,
    }
}

fn offers<'a>((name, facts): &'a Facts, feature: &PackageName) -> Vec<&'a str> {
    let own = (name == feature).then_some(facts.version.as_str());
    own.into_iter()
        .chain(facts.provides.get(feature).map(String::as_str))
        .collect()
}

fn met(all: &[Facts], feature: &PackageName, wanted: &str) -> bool {
    let Ok(range) = semver::VersionReq::parse(wanted) else {
        return false;
    };
    let mut offers = all.iter().flat_map(|it| offers(it, feature));
    offers.any(|text| semver::Version::parse(text).is_ok_and(|version| range.matches(&version)))
}

fn broken(all: &[Facts]) -> Vec<Bad> {
    let mut bad = Vec::new();
    for (name, facts) in all {
        for (feature, range) in &facts.requires {
            if !met(all, feature, range) {
                bad.push((name.clone(), feature.clone(), range.clone(), None));
            }
        }
        for (feature, range) in &facts.conflicts {
            for other in all.iter().filter(|(other, _)| other != name) {
                let hit = offers(other, feature).into_iter().any(|text| {
                    let parsed = (
                        semver::VersionReq::parse(range),
                        semver::Version::parse(text),
                    );
                    let (Ok(range), Ok(version)) = parsed else {
                        return true;
                    };
                    let finished =
                        semver::Version::new(version.major, version.minor, version.patch);
                    range.matches(&version) || range.matches(&finished)
                });
                if hit {
                    let with = Some(other.0.clone());
                    bad.push((name.clone(), feature.clone(), range.clone(), with));
                }
            }
        }
    }
    bad
}

/// Every way to replace deployed packages by versions of the catalog, or to add some, with its number of moves.
fn ways(case: &Case) -> Vec<(usize, Vec<Facts>)> {
    let fixed: Vec<&PackageName> = case.bundle.iter().map(|(name, _)| name).collect();
    let mut ways = vec![(0, case.after())];
    for name in NAMES {
        let name: PackageName = name.parse().unwrap();
        if fixed.contains(&&name) {
            continue;
        }
        let known = case.catalog.iter().filter(|(other, _)| *other == name);
        // As in the catalog: what is no version is none, and of two with one version the first counts.
        let mut versions: Vec<&Facts> = Vec::new();
        let there = ways[0].1.iter().find(|(other, _)| *other == name);
        for entry in known {
            let version = &entry.1.version;
            let taken = versions.iter().copied().chain(there);
            if version != NONSENSE && !taken.clone().any(|other| other.1.version == *version) {
                versions.push(entry);
            }
        }
        let mut longer = Vec::new();
        for (moves, way) in &ways {
            for version in &versions {
                let mut way: Vec<Facts> = way
                    .iter()
                    .filter(|(other, _)| *other != name)
                    .cloned()
                    .collect();
                way.push((*version).clone());
                longer.push((moves + 1, way));
            }
        }
        ways.extend(longer);
    }
    ways
}

/// Whether a way is one without any trouble but what the deployed had before and still have, unmoved.
fn fits(case: &Case, way: &[Facts]) -> bool {
    let unmoved: Vec<&Facts> = case.deployed.iter().filter(|it| way.contains(it)).collect();
    let before = broken(&case.deployed);
    let files = case.files.iter();
    let mut unmet = files.filter(|(feature, range)| !met(way, feature, range));
    let excused = |bad: &Bad| {
        let of_unmoved = unmoved.iter().any(|(name, _)| *name == bad.0);
        let with_unmoved = match &bad.3 {
            None => true,
            Some(with) => case
                .after()
                .iter()
                .any(|it| it.0 == *with && way.contains(it)),
        };
        of_unmoved && with_unmoved && before.iter().any(|old| same(old, bad))
    };
    let of_bundle = |bad: &Bad| case.bundle.iter().any(|(name, _)| *name == bad.0);
    unmet.next().is_none()
        && broken(way)
            .iter()
            .all(|bad| !of_bundle(bad) && excused(bad))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn it_agrees_with_trying_everything(case in case()) {
        let found = case.findings();
        for finding in &found {
            prop_assert!(!finding.message.contains(words::LABEL));
            prop_assert!(finding.message.lines().all(|line| line.ends_with(['.', '?'])), "{finding}");
            prop_assert!(!finding.message.is_empty() && finding.help.is_some());
        }
        if case.nonsense() {
            prop_assert!(!found.is_empty());
            return Ok(());
        }
        let blame = case.blame(&case.after());
        prop_assert_eq!(found.len(), blame, "{}", shown(&found));
        if blame == 0 {
            return Ok(());
        }
        let fitting = ways(&case).into_iter().filter(|(_, way)| fits(&case, way));
        let least = fitting.map(|(moves, _)| moves).min();
        let whole = |help: &str| help.starts_with("deploy ") || help.contains(" would fit, ");
        for finding in &found {
            let help = finding.help.as_deref().unwrap_or_default();
            match least {
                Some(least) if least <= suggest::MOVES_MAX => {
                    let moves = help.split(" (").next().unwrap_or_default().split(", then ").count();
                    prop_assert!(whole(help), "{}", shown(&found));
                    if help.starts_with("deploy ") {
                        prop_assert_eq!(moves, least, "{}", shown(&found));
                    }
                }
                Some(_) | None => prop_assert!(!whole(help), "{}", shown(&found)),
            }
        }
    }

    #[test]
    fn any_text_as_version_or_range(version in ".{0,12}", range in "\\PC{0,12}", wanted in "[<>=^~*0-9., x-]{0,8}") {
        let mut odd = bundle(&["web 1.0.0", "x 1.0.0"]);
        let name = |text: &str| text.parse::<PackageName>().unwrap();
        for package in odd.packages.values_mut() {
            package.requires.insert(name("y"), range.clone());
            package.conflicts.insert(name("z"), wanted.clone());
            package.provides.insert(name("z"), version.clone());
            package.version = version.clone();
        }
        let mut places = production(&["y 1.0.0", "z 1.0.0"]);
        for deployed in &mut places[0].deployed {
            deployed.facts.version = wanted.clone();
            deployed.facts.requires.insert(name("web"), version.clone());
            deployed.facts.conflicts.insert(name("x"), range.clone());
        }
        for finding in compatible(&odd, &places, &[]) {
            prop_assert!(!finding.message.contains(words::LABEL), "{finding}");
        }
    }
}
