//! The pure crates decide and never act: no clock, no disk, no network, no
//! thread, no chance.
//!
//! That is why a simulated year runs in a second and a seed replays exactly.
//! Types that only name an address are words, not acts, and stay allowed.
//!
//! Invariant: what a pure crate pulls in by way of another package counts too.

use std::collections::{BTreeSet, VecDeque};

use super::source;
use super::tower::line_of;
use super::workspace::{Crate, Workspace};
use super::{File, Violation};

const PURE: &[&str] = &[
    "model", "judge", "release", "check", "incident", "report", "engine", "node", "edge",
];

/// Packages that reach for the world.
const WORLDLY: &[&str] = &[
    "axum",
    "getrandom",
    "hyper",
    "rand",
    "reqwest",
    "rusqlite",
    "rustix",
    "tokio",
];

/// Ways to the world that lead nowhere, each with its reason.
const HARMLESS: &[(&str, &str)] = &[
    // jsonschema's maps draw the seed of their hash there, against keys made to
    // collide. What it finds is sorted, so no order of theirs is ever seen.
    ("jsonschema", "getrandom"),
];

const CLOCK: &str = "take `now` as an argument";
const ORDER: &str = "use a BTreeMap or BTreeSet, whose order is the same in every run";
const SHELL: &str = "let a shell do it and hand the outcome in";

/// What no pure source says, and what to do instead.
const BANNED: &[(&str, &str)] = &[
    ("SystemTime::now", CLOCK),
    ("Instant::now", CLOCK),
    ("Timestamp::now", CLOCK),
    ("Zoned::now", CLOCK),
    ("HashMap", ORDER),
    ("HashSet", ORDER),
    ("std::fs", SHELL),
    ("std::thread", SHELL),
    ("std::env", SHELL),
    ("std::process", SHELL),
    ("TcpListener", SHELL),
    ("TcpStream", SHELL),
    ("UdpSocket", SHELL),
    ("UnixStream", SHELL),
    ("UnixListener", SHELL),
    ("ToSocketAddrs", SHELL),
    ("async fn", SHELL),
];

/// Modules of `std` that a grouped `use std::{...}` could bring in unseen.
const MODULES: &[&str] = &["fs", "thread", "env", "process"];

const WHY: &str = "a pure crate must give the same answer in every replay";

/// No pure crate is built from a package that reaches for the world.
pub(super) fn dependencies(files: &[File], workspace: &Workspace) -> Vec<Violation> {
    let mut found = Vec::new();
    for krate in workspace.crates.iter().filter(|it| is_pure(&it.name)) {
        for (direct, worldly) in reached(krate, workspace) {
            let what = match direct == worldly {
                true => format!("`{}` depends on `{worldly}`", krate.name),
                false => format!("`{}` gets `{worldly}` through `{direct}`", krate.name),
            };
            let line = line_of(files, krate, &direct);
            let fix = "do it in a shell, or choose features without it";
            found.push(Violation::new(&krate.manifest(), line, what, WHY, fix));
        }
    }
    found
}

/// No pure source reads a clock, a file or an unordered map.
pub(super) fn sources(files: &[File]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| is_pure_source(&file.path)) {
        let body = source::body(file);
        let mut report = |at: usize, said: &str, fix: &str| {
            let line = source::line_of(&body, at);
            let what = format!("`{said}` in a pure crate");
            found.push(Violation::new(&file.path, line, what, WHY, fix));
        };
        for (banned, fix) in BANNED {
            for at in source::words(&body, banned) {
                report(at, banned, fix);
            }
        }
        for (at, module) in grouped(&body) {
            report(at, &format!("std::{module}"), SHELL);
        }
    }
    found
}

fn is_pure(name: &str) -> bool {
    PURE.contains(&name)
}

fn is_pure_source(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("crates")
        && parts.next().is_some_and(is_pure)
        && parts.next() == Some("src")
        && path.ends_with(".rs")
        && !source::is_test(path)
}

/// Worldly packages that a crate is built from, each with the direct dependency
/// that the shortest way to it begins with. Ways through another pure crate are
/// that crate's violation.
fn reached(krate: &Crate, workspace: &Workspace) -> Vec<(String, String)> {
    let package = |id: &String| workspace.packages.get(id);
    let needs = package(&krate.id).map_or(&[][..], |it| &it.needs);
    let mut queue: VecDeque<(&str, &String)> = needs
        .iter()
        .filter_map(|id| Some((package(id)?.name.as_str(), id)))
        .filter(|(name, _)| !is_pure(name))
        .collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some((direct, id)) = queue.pop_front() {
        let Some(package) = package(id).filter(|_| seen.insert(id)) else {
            continue;
        };
        if HARMLESS.contains(&(direct, package.name.as_str())) {
            continue;
        }
        if WORLDLY.contains(&package.name.as_str()) {
            found.push((direct.to_owned(), package.name.clone()));
            continue; // What lies behind it says nothing new.
        }
        queue.extend(package.needs.iter().map(|id| (direct, id)));
    }
    found
}

/// Banned modules inside `use std::{...}`.
fn grouped(body: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (at, open) in body.match_indices("use std::{") {
        let start = at + open.len();
        let end = body[start..]
            .find(';')
            .map_or(body.len(), |end| start + end);
        for module in MODULES {
            let inside = source::words(&body[start..end], module);
            found.extend(inside.into_iter().map(|word| (start + word, *module)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::workspace::Package;
    use super::*;

    fn said(path: &str, text: &str) -> Vec<(usize, String)> {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let found = sources(&[file]);
        found.into_iter().map(|it| (it.line, it.what)).collect()
    }

    fn built_from(edges: &[(&str, &[&str])]) -> Workspace {
        let packages = edges.iter().map(|(name, needs)| {
            let package = Package {
                name: (*name).to_owned(),
                version: "1.0.0".to_owned(),
                licence: None,
                local: false,
                needs: needs.iter().map(|name| (*name).to_owned()).collect(),
            };
            ((*name).to_owned(), package)
        });
        Workspace {
            crates: vec![Crate {
                name: "judge".to_owned(),
                id: "judge".to_owned(),
                dependencies: Vec::new(),
            }],
            packages: packages.collect(),
        }
    }

    #[test]
    fn a_clock_is_refused_in_code() {
        let found = said("crates/judge/src/lib.rs", "\nlet x = Instant::now();\n");
        assert_eq!(found, [(2, "`Instant::now` in a pure crate".to_owned())]);
    }

    #[test]
    fn comments_tests_and_shells_may_say_anything() {
        let text = "// Instant::now\n#[cfg(test)]\nmod t {\n    use std::fs;\n}\n";
        assert!(said("crates/judge/src/lib.rs", text).is_empty());
        assert!(said("crates/judge/src/tests.rs", "use std::fs;").is_empty());
        assert!(said("crates/server/src/lib.rs", "use std::fs;").is_empty());
    }

    #[test]
    fn addresses_are_words_and_sockets_are_not() {
        let path = "crates/check/src/lib.rs";
        assert!(said(path, "use std::net::Ipv4Addr;\n").is_empty());
        assert_eq!(said(path, "use std::net::{IpAddr, TcpStream};\n").len(), 1);
    }

    #[test]
    fn a_grouped_use_is_seen() {
        let found = said("crates/edge/src/lib.rs", "use std::{\n    fmt, fs,\n};\n");
        assert_eq!(found, [(2, "`std::fs` in a pure crate".to_owned())]);
    }

    #[test]
    fn a_package_behind_another_counts() {
        let workspace = built_from(&[
            ("judge", &["libm", "maths"]),
            ("libm", &[]),
            ("maths", &["rand"]),
            ("rand", &["getrandom"]),
        ]);
        let found = dependencies(&[], &workspace);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "`judge` gets `rand` through `maths`");
    }

    #[test]
    fn a_way_that_leads_nowhere_is_in_order() {
        let mut workspace = built_from(&[
            ("judge", &["jsonschema"]),
            ("jsonschema", &["ahash"]),
            ("ahash", &["getrandom"]),
            ("getrandom", &[]),
        ]);
        assert_eq!(dependencies(&[], &workspace), []);
        // Of the same package by another way it is still one.
        let judge = workspace.packages.get_mut("judge").unwrap();
        judge.needs = vec!["ahash".to_owned()];
        assert_eq!(dependencies(&[], &workspace).len(), 1);
    }

    #[test]
    fn an_unworldly_crate_is_in_order() {
        let workspace = built_from(&[("judge", &["libm"]), ("libm", &[])]);
        assert_eq!(dependencies(&[], &workspace), []);
    }
}
