//! What others wrote, under which terms, from where, and how often.
//!
//! The same table as cargo-deny reads, so that those who have it can use it and
//! those who don't are held to the same.
//!
//! Invariant: a package without terms that the table allows is never built.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use toml_edit::{Array, DocumentMut, InlineTable};

use super::workspace::Workspace;
use super::{File, Violation};

const TABLE: &str = "deny.toml";
const LOCK: &str = "Cargo.lock";
/// How a lock file marks packages of a registry; every package must come from the same one.
const REGISTRY: &str = "registry+";

/// What `deny.toml` allows.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// Platforms that we build for.
    pub(super) targets: Vec<String>,
    licences: BTreeSet<String>,
    skips: BTreeMap<String, Skip>,
}

/// A version that may stand beside another of its package.
#[derive(Debug)]
struct Skip {
    line: usize,
    reason: String,
}

impl Policy {
    /// Reads the table.
    pub(super) fn read(files: &[File]) -> Result<Policy> {
        let file = files.iter().find(|file| file.path == TABLE);
        let text = &file.with_context(|| format!("there is no {TABLE}"))?.text;
        Policy::parse(text).with_context(|| format!("can't read {TABLE}"))
    }

    fn parse(text: &str) -> Result<Policy> {
        let table: DocumentMut = text.parse()?;
        let array = |section: &str, key: &str| -> Result<&Array> {
            let item = table.get(section).and_then(|it| it.get(key));
            let array = item.and_then(|it| it.as_array());
            array.with_context(|| format!("`{section}.{key}` is not an array"))
        };
        let strings = |section: &str, key: &str| -> Result<Vec<String>> {
            let all = array(section, key)?.iter();
            Ok(all
                .filter_map(|it| it.as_str().map(ToOwned::to_owned))
                .collect())
        };
        let skips = array("bans", "skip")?
            .iter()
            .filter_map(|it| skip(text, it.as_inline_table()?))
            .collect();
        Ok(Policy {
            targets: strings("graph", "targets")?,
            licences: strings("licenses", "allow")?.into_iter().collect(),
            skips,
        })
    }
}

fn skip(text: &str, table: &InlineTable) -> Option<(String, Skip)> {
    let package = table.get("crate")?.as_str()?;
    let reason = table.get("reason").and_then(|it| it.as_str());
    let line = text.lines().position(|line| line.contains(package));
    let skip = Skip {
        line: line.map_or(1, |n| n + 1),
        reason: reason.unwrap_or_default().to_owned(),
    };
    Some((package.to_owned(), skip))
}

/// Every package's terms are allowed.
pub(super) fn licences(policy: &Policy, workspace: &Workspace) -> Vec<Violation> {
    let others = workspace.packages.values().filter(|it| !it.local);
    others
        .filter_map(|package| {
            let terms = package.licence.as_deref();
            let allowed = |name: &str| policy.licences.contains(name);
            if terms.is_some_and(|terms| Terms::of(terms).allow(&allowed)) {
                return None;
            }
            let terms = terms.unwrap_or("no stated licence");
            Some(Violation::new(
                LOCK,
                1,
                format!("{} {} comes under {terms}", package.name, package.version),
                "what we give away must be ours to give",
                "do without it, or allow the licence in deny.toml once somebody read it",
            ))
        })
        .collect()
}

/// Every package comes from the default registry.
pub(super) fn sources(files: &[File]) -> Vec<Violation> {
    let lock = files.iter().find(|file| file.path == LOCK);
    let lines = lock.map_or("", |lock| &lock.text).lines().enumerate();
    let mut first = None;
    lines
        .filter_map(|(n, line)| {
            let source = line.strip_prefix("source = \"")?.strip_suffix('"')?;
            let registry = *first.get_or_insert(source);
            (source != registry || !source.starts_with(REGISTRY)).then(|| {
                Violation::new(
                    LOCK,
                    n + 1,
                    format!("a package from `{source}`"),
                    "other places lose or change what they served",
                    "take it from the default registry",
                )
            })
        })
        .collect()
}

/// No package is there twice, but for those that the table names, with a date.
pub(super) fn duplicates(policy: &Policy, workspace: &Workspace) -> Vec<Violation> {
    const WHY: &str = "two versions are twice the code and types that don't fit";
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in workspace.packages.values() {
        let name = format!("{}@{}", package.name, package.version);
        versions.entry(&package.name).or_default().push(name);
    }
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for versions in versions.values().filter(|it| it.len() > 1) {
        let mut left = versions.clone();
        left.retain(|version| !policy.skips.contains_key(version));
        used.extend(versions.iter().filter(|it| policy.skips.contains_key(*it)));
        if left.len() > 1 {
            let what = format!("{} stand side by side", left.join(" and "));
            let fix = "bring them together, or skip one in deny.toml with a date and a reason";
            found.push(Violation::new(LOCK, 1, what, WHY, fix));
        }
    }
    for (name, skip) in &policy.skips {
        if !used.contains(name) {
            let what = format!("`{name}` needs no skip");
            found.push(Violation::new(TABLE, skip.line, what, WHY, "remove it"));
        }
        if !is_dated(&skip.reason) {
            let what = format!("the skip of `{name}` has no date");
            let fix = "begin its reason with the day it was looked at: 2026-11-30: ...";
            found.push(Violation::new(TABLE, skip.line, what, WHY, fix));
        }
    }
    found
}

fn is_dated(reason: &str) -> bool {
    let day = reason.split(':').next().unwrap_or_default();
    let lengths: Vec<usize> = day.split('-').map(str::len).collect();
    lengths == [4, 2, 2] && day.chars().all(|c| c.is_ascii_digit() || c == '-')
}

/// Terms as packages state them: names, `AND`, `OR` or `/`, and parentheses.
/// `AND` binds closer, as in SPDX.
struct Terms {
    words: Vec<String>,
    at: usize,
}

impl Terms {
    fn of(text: &str) -> Terms {
        let spaced = text
            .replace('/', " OR ")
            .replace('(', " ( ")
            .replace(')', " ) ")
            .replace(" WITH ", "+WITH+");
        let words = spaced.split_whitespace();
        Terms {
            words: words.map(|word| word.replace("+WITH+", " WITH ")).collect(),
            at: 0,
        }
    }

    fn allow(mut self, allowed: &impl Fn(&str) -> bool) -> bool {
        let yes = self.either(allowed);
        // What can't be read to its end is not allowed.
        yes && self.at == self.words.len()
    }

    fn either(&mut self, allowed: &impl Fn(&str) -> bool) -> bool {
        let mut yes = self.both(allowed);
        while self.take("OR") {
            yes |= self.both(allowed);
        }
        yes
    }

    fn both(&mut self, allowed: &impl Fn(&str) -> bool) -> bool {
        let mut yes = self.name(allowed);
        while self.take("AND") {
            yes &= self.name(allowed);
        }
        yes
    }

    fn name(&mut self, allowed: &impl Fn(&str) -> bool) -> bool {
        if self.take("(") {
            let yes = self.either(allowed);
            return self.take(")") && yes;
        }
        let yes = self.words.get(self.at).is_some_and(|word| allowed(word));
        self.at += 1;
        yes
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.words.get(self.at).is_some_and(|it| it == word);
        self.at += usize::from(there);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::super::workspace::Package;
    use super::*;

    const POLICY: &str = "\
[graph]
targets = [\"x86_64-unknown-linux-gnu\"]
[licenses]
allow = [\"MIT\", \"Apache-2.0\", \"Unicode-3.0\"]
[bans]
skip = [
    { crate = \"syn@2.0.1\", reason = \"2026-11-30: the derives move to 3 one by one\" },
]
";

    fn policy() -> Policy {
        Policy::parse(POLICY).expect("the table can be read")
    }

    fn workspace(packages: &[(&str, &str, Option<&str>)]) -> Workspace {
        let packages = packages.iter().map(|(name, version, licence)| {
            let package = Package {
                name: (*name).to_owned(),
                version: (*version).to_owned(),
                licence: licence.map(ToOwned::to_owned),
                local: false,
                needs: Vec::new(),
            };
            (format!("{name}@{version}"), package)
        });
        Workspace {
            packages: packages.collect(),
            ..Workspace::default()
        }
    }

    fn allowed(terms: &str) -> bool {
        licences(&policy(), &workspace(&[("a", "1.0.0", Some(terms))])).is_empty()
    }

    #[test]
    fn terms_are_read_as_written() {
        assert!(allowed("MIT"));
        assert!(allowed("MIT/Apache-2.0"));
        assert!(allowed("GPL-3.0-only OR MIT"));
        assert!(allowed("(MIT OR GPL-3.0-only) AND Unicode-3.0"));
        assert!(allowed(
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"
        ));
    }

    #[test]
    fn other_terms_are_refused() {
        assert!(!allowed("GPL-3.0-only"));
        assert!(!allowed("MIT AND GPL-3.0-only"));
        assert!(!allowed("Apache-2.0 WITH LLVM-exception"));
        assert!(!allowed("(MIT"));
        assert!(!allowed("MIT MIT"));
        assert!(!allowed(""));
        let none = workspace(&[("a", "1.0.0", None)]);
        assert_eq!(licences(&policy(), &none).len(), 1);
    }

    #[test]
    fn only_the_default_registry_is_in_order() {
        let lock = |source: &str| File {
            path: LOCK.to_owned(),
            text: format!("[[package]]\nsource = \"{source}\"\n"),
        };
        assert_eq!(sources(&[lock(REGISTRY)]), []);
        let found = sources(&[lock("git+https://example.org/a#1")]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
    }

    #[test]
    fn a_second_version_needs_a_skip() {
        let skipped = workspace(&[("syn", "2.0.1", None), ("syn", "3.0.0", None)]);
        assert_eq!(duplicates(&policy(), &skipped), []);
        let new = workspace(&[
            ("syn", "2.0.1", None),
            ("syn", "3.0.0", None),
            ("url", "1.0.0", None),
            ("url", "2.0.0", None),
        ]);
        assert_eq!(duplicates(&policy(), &new).len(), 1);
    }

    #[test]
    fn a_skip_is_dated_and_used() {
        let unused = workspace(&[("syn", "3.0.0", None)]);
        assert_eq!(duplicates(&policy(), &unused)[0].line, 7);
        assert!(is_dated("2026-11-30: because"));
        assert!(!is_dated("because"));
    }
}
