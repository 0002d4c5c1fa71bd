//! The static checks of a change: what its files say, against the rules and
//! against what is good now.
//!
//! Invariant: the answer is a function of the rules, the environments and the
//! two trees; nothing is resolved, asked or run.

mod annotations;
mod file;
mod findings;
mod guards;
mod policy;

mod references;
mod risks;
mod schema;
mod secrets;
mod targets;
mod values;

use std::collections::BTreeMap;

use model::gate::{CheckSet, Checked, Finding, Severity};
use model::{Bundle, BundlePath, EnvironmentName};

use crate::pattern::glob;
use file::File;
use findings::Findings;

pub(crate) use annotations::{problems as mark_problems, required};
pub(crate) use policy::Rule as PolicyRule;
pub(crate) use schema::Schema;

/// A bundle with the contents of its configuration files.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    /// What is released.
    pub bundle: &'a Bundle,
    /// Every file of the bundle's `files`, by path.
    pub files: &'a BTreeMap<BundlePath, Vec<u8>>,
}

/// What the static checks found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// Of every severity, sorted by file and line; at most
    /// [`model::gate::FINDINGS_MAX`], the last of which then counts the rest.
    /// What is cut off is never more serious than what is kept.
    pub findings: Vec<Finding>,
    /// For the proposal: its warnings, references, risks and documents.
    pub checked: Checked,
}

impl Assessment {
    /// Whether the change is refused.
    pub fn denies(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.severity == Severity::Deny)
    }
}

/// What is looked at, read once for all checks.
struct Ground<'a> {
    rules: &'a CheckSet,
    environments: &'a [EnvironmentName],
    new: &'a Tree<'a>,
    old: Option<&'a Tree<'a>>,
    files: BTreeMap<&'a str, File<'a>>,
    /// Those of the old files that a rule compares with.
    old_files: BTreeMap<&'a str, File<'a>>,
    /// Schemas by their path pattern; those that can't be used are left out
    /// (their problem is told).
    schemas: Vec<(&'a str, Schema)>,
}

/// Looks at a change. `old` is what is good now, if anything is.
pub fn assess(
    rules: &CheckSet,
    environments: &[EnvironmentName],
    new: &Tree<'_>,
    old: Option<&Tree<'_>>,
) -> Assessment {
    let mut findings = Findings::default();
    let ground = Ground::read(rules, environments, new, old, &mut findings);
    ground.presence(&mut findings);
    schema::check(&ground, &mut findings);
    let mut risks = policy::check(&ground, &mut findings);
    guards::check(&ground, &mut findings);
    let marked = annotations::collect(&ground, &mut findings);
    secrets::check(&ground, &marked, &mut findings);
    let references = references::collect(&ground, &marked, &mut findings);
    risks.extend(risks::collect(&ground, &marked, &mut findings));
    risks.sort();
    risks.dedup();

    let findings = findings.bounded();
    let warnings = findings.iter();
    let warnings = warnings.filter(|finding| finding.severity == Severity::Warn);
    let checked = Checked {
        check_set: Some(rules.digest()),
        warnings: warnings.cloned().collect(),
        references,
        risks,
        hostile: ground.hostile(),
    };
    Assessment { findings, checked }
}

impl<'a> Ground<'a> {
    fn read(
        rules: &'a CheckSet,
        environments: &'a [EnvironmentName],
        new: &'a Tree<'a>,
        old: Option<&'a Tree<'a>>,
        findings: &mut Findings,
    ) -> Ground<'a> {
        let mut files = BTreeMap::new();
        for (path, bytes) in new.files {
            let (file, flaws) = File::read(path, bytes);
            file.tell_flaws(flaws, named(rules, path.as_str()), findings);
            files.insert(path.as_str(), file);
        }
        let mut old_files = BTreeMap::new();
        for (path, bytes) in old.iter().flat_map(|old| old.files) {
            if named(rules, path.as_str()) && files.contains_key(path.as_str()) {
                // It is good now: what is wrong with it is told when it changes.
                old_files.insert(path.as_str(), File::read(path, bytes).0);
            }
        }
        let mut schemas = Vec::new();
        for (pattern, text) in &rules.schemas {
            match Schema::new(text) {
                Ok(schema) => schemas.push((pattern.as_str(), schema)),
                Err(flaw) => findings.deny(
                    None,
                    format!("the schema for {pattern}: {flaw}"),
                    "an operator must mend the service's rules",
                ),
            }
        }
        Ground {
            rules,
            environments,
            new,
            old,
            files,
            old_files,
            schemas,
        }
    }

    /// The new files that fit a pattern, with their old selves.
    fn fitting<'g>(
        &'g self,
        pattern: &'g str,
    ) -> impl Iterator<Item = (&'g File<'a>, Option<&'g File<'a>>)> {
        let files = self.files.iter().filter(|(path, _)| glob(pattern, path));
        files.map(|(path, file)| (file, self.old_files.get(path)))
    }

    /// Files that became blank, and files that a rule names and that are not there.
    fn presence(&self, findings: &mut Findings) {
        for file in self.files.values() {
            let before = self.old.and_then(|old| old.files.get(file.path));
            let had = before.is_some_and(|bytes| !file::is_blank(bytes));
            if had && file::is_blank(file.bytes) {
                let message = "the file is blank, and was not before";
                findings.deny(
                    Some(file.path),
                    message,
                    "if it has to go, remove it and the rules about it",
                );
            }
        }
        for path in self.old.iter().flat_map(|old| old.files.keys()) {
            if !self.files.contains_key(path.as_str()) && named(self.rules, path.as_str()) {
                let message = "the file has vanished, and a rule of the service names it";
                findings.deny(
                    Some(path),
                    message,
                    "bring it back, or have an operator drop the rule",
                );
            }
        }
        let old = self.old.map(|old| old.files);
        for pattern in patterns(self.rules) {
            let fits = |path: &str| glob(pattern, path);
            let now = self.files.keys().any(|path| fits(path));
            let before = old.is_some_and(|old| old.keys().any(|path| fits(path.as_str())));
            if !now && !before {
                let message =
                    format!("the service's rules name {pattern:?}, and no file is called that");
                findings.warn(None, message, "mend the rule, or the file's name");
            }
        }
    }

    /// Documents whose broken variants the bundle's own check must refuse.
    fn hostile(&self) -> Vec<BundlePath> {
        if !self.rules.hostile || self.new.bundle.commands.check.is_none() {
            return Vec::new();
        }
        let files = self.files.values();
        let documents = files.filter(|file| {
            file.root().is_some()
                && self
                    .schemas
                    .iter()
                    .any(|(pattern, _)| glob(pattern, file.path.as_str()))
        });
        documents.map(|file| file.path.clone()).collect()
    }
}

/// Every path pattern of the rules.
fn patterns(rules: &CheckSet) -> impl Iterator<Item = &str> {
    let schemas = rules.schemas.keys();
    let policies = rules.policies.iter().filter_map(|it| it.file.as_ref());
    let guards = rules.guards.iter().map(|it| &it.file);
    let references = rules.references.iter().map(|it| &it.file);
    let risks = rules.risks.iter().map(|it| &it.file);
    let all = schemas
        .chain(policies)
        .chain(guards)
        .chain(references)
        .chain(risks);
    let distinct: std::collections::BTreeSet<&str> = all.map(String::as_str).collect();
    distinct.into_iter()
}

fn named(rules: &CheckSet, path: &str) -> bool {
    patterns(rules).any(|pattern| glob(pattern, path))
}

#[cfg(test)]
pub(crate) mod tests;
