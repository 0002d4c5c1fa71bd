//! Which crate may use which: the tower of ARCHITECTURE.md, as a table.
//!
//! Invariant: a crate that is not in the table is refused, so that a new one
//! gets its place by decision and not by accident.

use std::collections::BTreeSet;

use super::workspace::{Crate, Workspace};
use super::{File, Violation};

/// Each crate and the crates below it that it may use. What it uses in tests
/// only obeys too.
const TOWER: &[(&str, &[&str])] = &[
    // Words.
    ("model", &[]),
    // Features: pure, and never a sibling.
    ("judge", &["model"]),
    ("release", &["model"]),
    ("check", &["model"]),
    ("incident", &["model"]),
    ("report", &["model"]),
    // Machines: pure.
    (
        "engine",
        &["judge", "release", "check", "incident", "model"],
    ),
    ("node", &["model"]),
    ("edge", &["model"]),
    // Adapters, which don't know each other.
    ("journal", &["model"]),
    ("wire", &["model"]),
    ("notify", &["model"]),
    ("monitor", &["model"]),
    ("subscribers", &["model"]),
    // Shells.
    (
        "server",
        &[
            "check",
            "engine",
            "incident",
            "journal",
            "judge",
            "monitor",
            "notify",
            "subscribers",
            "wire",
            "model",
        ],
    ),
    ("agent", &["check", "monitor", "node", "wire", "model"]),
    ("gateway", &["edge", "wire", "model"]),
    ("drill", &["wire", "model"]),
    // The binary.
    ("plimsoll", BELOW_THE_BINARY),
    // Beside the tower.
    (
        "sim",
        &["engine", "judge", "release", "node", "edge", "model"],
    ),
    ("e2e", &["drill", "model", "wire"]),
    ("xtask", &[]),
];

const BELOW_THE_BINARY: &[&str] = &[
    "agent", "check", "drill", "edge", "engine", "gateway", "incident", "journal", "judge",
    "model", "node", "notify", "release", "report", "server", "wire",
];

/// The most packages that manifests may name. Each is somebody else's release
/// schedule and one more way in; a table of reasons stays readable up to here.
const DIRECT_MAX: usize = 70;

const WHY: &str = "a crate's border is the only rule of dependency that the compiler enforces";

/// Every use of one crate by another stands in the table.
pub(super) fn edges(files: &[File], workspace: &Workspace) -> Vec<Violation> {
    let mut found = Vec::new();
    for krate in &workspace.crates {
        let manifest = krate.manifest();
        let Some((_, below)) = TOWER.iter().find(|(name, _)| *name == krate.name) else {
            let what = format!("`{}` has no place in the tower", krate.name);
            let fix = "add it to the table in crates/xtask/src/tidy/tower.rs";
            found.push(Violation::new(&manifest, 1, what, WHY, fix));
            continue;
        };
        for dependency in krate.dependencies.iter().filter(|it| it.local) {
            if !below.contains(&dependency.name.as_str()) {
                let line = line_of(files, krate, &dependency.name);
                let what = format!("`{}` uses `{}`", krate.name, dependency.name);
                let fix = match *below {
                    [] => "it may use no other crate; move what both need down".to_owned(),
                    below => format!("it may use {}; move what both need down", below.join(", ")),
                };
                found.push(Violation::new(&manifest, line, what, WHY, fix));
            }
        }
    }
    found
}

/// There are not too many direct dependencies.
pub(super) fn count(workspace: &Workspace) -> Vec<Violation> {
    let names: BTreeSet<&str> = workspace
        .crates
        .iter()
        .flat_map(|krate| &krate.dependencies)
        .filter(|dependency| !dependency.local)
        .map(|dependency| dependency.name.as_str())
        .collect();
    if names.len() <= DIRECT_MAX {
        return Vec::new();
    }
    vec![Violation::new(
        "Cargo.toml",
        1,
        format!("{} direct dependencies, at most {DIRECT_MAX}", names.len()),
        "each is somebody else's release schedule and one more way in",
        "do without the least of them",
    )]
}

/// The line of a crate's manifest that names a dependency.
pub(super) fn line_of(files: &[File], krate: &Crate, dependency: &str) -> usize {
    let manifest = krate.manifest();
    let file = files.iter().find(|file| file.path == manifest);
    let mut lines = file.map_or("", |file| &file.text).lines();
    let position = lines.position(|line| {
        let rest = line.trim_start().strip_prefix(dependency);
        rest.is_some_and(|rest| rest.starts_with([' ', '.', '=']))
    });
    position.map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::super::workspace::Dependency;
    use super::*;

    fn krate(name: &str, uses: &[(&str, bool)]) -> Crate {
        Crate {
            name: name.to_owned(),
            id: name.to_owned(),
            dependencies: uses
                .iter()
                .map(|&(name, local)| Dependency {
                    name: name.to_owned(),
                    local,
                })
                .collect(),
        }
    }

    fn workspace(crates: Vec<Crate>) -> Workspace {
        Workspace {
            crates,
            ..Workspace::default()
        }
    }

    #[test]
    fn an_edge_of_the_table_is_in_order() {
        let workspace = workspace(vec![krate("engine", &[("model", true), ("jiff", false)])]);
        assert_eq!(edges(&[], &workspace), []);
    }

    #[test]
    fn an_edge_upwards_is_refused_at_its_line() {
        let workspace = workspace(vec![krate("model", &[("engine", true)])]);
        let manifest = File {
            path: "crates/model/Cargo.toml".to_owned(),
            text: "[dependencies]\nengine-x = 1\nengine.workspace = true\n".to_owned(),
        };
        let found = edges(&[manifest], &workspace);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 3);
        assert_eq!(found[0].what, "`model` uses `engine`");
    }

    #[test]
    fn a_crate_without_a_place_is_refused() {
        let found = edges(&[], &workspace(vec![krate("misc", &[])]));
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn dependencies_are_counted_once() {
        let names: Vec<String> = (0..71).map(|n| format!("p{n}")).collect();
        let uses = |n: usize| -> Vec<(&str, bool)> {
            names[..n]
                .iter()
                .map(|name| (name.as_str(), false))
                .collect()
        };
        let twice = workspace(vec![krate("model", &uses(70)), krate("wire", &uses(70))]);
        assert_eq!(count(&twice), []);
        assert_eq!(count(&workspace(vec![krate("model", &uses(71))])).len(), 1);
    }

    #[test]
    fn the_table_names_only_crates_of_the_table() {
        for (name, below) in TOWER {
            for used in *below {
                assert!(
                    TOWER.iter().any(|(name, _)| name == used),
                    "{name} may use {used}, which has no place"
                );
            }
        }
    }
}
