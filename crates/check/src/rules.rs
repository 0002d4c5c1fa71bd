//! Whether a check set can be used at all.
//!
//! Invariant: a check set without problems never fails for reasons of its own
//! when a change is assessed; what is found then is about the change.

use std::collections::BTreeSet;

use model::gate::{CHECK_SET_BYTES_MAX, CheckSet, Finding, Gate, Guard, Severity};

use crate::assess::{PolicyRule, Schema, mark_problems};
use crate::egress;
use crate::pattern::{Pointer, path_flaw};

/// Everything that is wrong with a check set, as findings without a file: what
/// they are about stands in their words.
pub fn problems(rules: &CheckSet) -> Vec<Finding> {
    let mut problems = Problems(Vec::new());
    let bytes = model::canonical::encode(rules).map_or(usize::MAX, |bytes| bytes.len());
    if bytes > CHECK_SET_BYTES_MAX {
        problems.note(
            format!("the check set has {bytes} bytes; at most {CHECK_SET_BYTES_MAX}"),
            "schemas and policies travel in one event: share parts of schemas by `$defs`",
        );
    }
    patterns(rules, &mut problems);
    for entry in rules.egress.iter().flatten() {
        if let Some(flaw) = egress::flaw(entry) {
            problems.note(
                format!("{entry:?} in `egress`: {flaw}"),
                "entries are `name`, `*.domain`, `10.0.0.0/8`, each with `:port` or without",
            );
        }
    }
    schemas(rules, &mut problems);
    policies(rules, &mut problems);
    for guard in &rules.guards {
        limits(guard, &mut problems);
    }
    for reference in &rules.references {
        let place = format!("the reference at {} in {:?}", reference.at, reference.file);
        if reference.deadline_ms.0 == 0 {
            problems.note(
                format!("{place} has no time to be asked"),
                "give it a `deadline` of some seconds",
            );
        }
        if reference
            .status
            .is_some_and(|status| !(100..600).contains(&status))
        {
            problems.note(
                format!("{place}: its `status` is none of HTTP"),
                "a status is from 100 to 599",
            );
        }
    }
    problems.0
}

fn schemas(rules: &CheckSet, problems: &mut Problems) {
    for (pattern, text) in &rules.schemas {
        match Schema::new(text) {
            Ok(schema) => {
                for flaw in mark_problems(schema.json()) {
                    problems.note(
                        format!("the schema for {pattern:?}: {flaw}"),
                        "the marks are in docs/plimsoll-toml.md",
                    );
                }
            }
            Err(flaw) => problems.note(
                format!("the schema for {pattern:?} can't be used: {flaw}"),
                "schemas are JSON Schema, draft 2020-12 unless they say another, in one file",
            ),
        }
    }
}

fn policies(rules: &CheckSet, problems: &mut Problems) {
    let mut names = BTreeSet::new();
    for policy in &rules.policies {
        let name = &policy.name;
        if name.trim().is_empty() {
            problems.note(
                "a policy has no name".to_owned(),
                "its findings are told under it",
            );
        } else if !names.insert(name) {
            problems.note(
                format!("two policies are called {name:?}"),
                "give each a name of its own",
            );
        }
        if policy.message.trim().is_empty() {
            problems.note(
                format!("policy {name}: `message` is empty"),
                "say what to do instead",
            );
        }
        if let Err(flaws) = PolicyRule::new(&policy.when, policy.file.is_some()) {
            for flaw in flaws {
                problems.note(
                    format!("policy {name}: {flaw}"),
                    "policies are CEL expressions over new, old, file, service, packages, old_packages",
                );
            }
        }
    }
}

fn limits(guard: &Guard, problems: &mut Problems) {
    if let (Some(min), Some(max)) = (guard.rows_min, guard.rows_max)
        && min > max
    {
        problems.note(
            format!(
                "the guard of {:?} wants at least {min} and at most {max} rows",
                guard.file
            ),
            "swap them, or drop one",
        );
    }
}

fn patterns(rules: &CheckSet, problems: &mut Problems) {
    for pattern in rules.schemas.keys() {
        problems.path(pattern, "schemas");
    }
    for policy in &rules.policies {
        if let Some(file) = &policy.file {
            problems.path(file, &format!("policy {:?}", policy.name));
        }
    }
    for guard in &rules.guards {
        problems.path(&guard.file, "a guard");
        for pointer in guard.keep.iter().chain(&guard.rows_at) {
            problems.pointer(pointer, &format!("the guard of {:?}", guard.file));
        }
    }
    for reference in &rules.references {
        problems.path(&reference.file, "a reference");
        problems.pointer(
            &reference.at,
            &format!("a reference in {:?}", reference.file),
        );
    }
    for risk in &rules.risks {
        problems.path(&risk.file, "a risk");
        problems.pointer(&risk.at, &format!("a risk in {:?}", risk.file));
    }
    for pointer in &rules.literals {
        problems.pointer(pointer, "`literals`");
    }
}

struct Problems(Vec<Finding>);

impl Problems {
    fn note(&mut self, message: String, help: &str) {
        self.0.push(Finding {
            gate: Gate::Checks,
            severity: Severity::Deny,
            file: None,
            line: 0,
            column: 0,
            message,
            help: Some(help.to_owned()),
        });
    }

    fn path(&mut self, pattern: &str, place: &str) {
        if let Some(flaw) = path_flaw(pattern) {
            self.note(
                format!("{pattern:?} in {place} is no path pattern: {flaw}"),
                "`*` stands for anything within a folder, `**` for any folders",
            );
        }
    }

    fn pointer(&mut self, pointer: &str, place: &str) {
        if let Err(error) = Pointer::parse(pointer) {
            self.note(
                format!("{pointer:?} in {place} is no pointer: {error}"),
                "write `/auth/*/address`: names between slashes, `*` for any one",
            );
        }
    }
}

#[cfg(test)]
mod tests;
