//! The static checks of a change: what its files say, against the rules and
//! against what is good now.
//!
//! Invariant: the answer is a function of the rules, the environments and the
//! two trees; nothing is resolved, asked or run.

use std::collections::BTreeMap;

use model::gate::{CheckSet, Checked, FINDINGS_MAX, Finding, Gate, Severity};
use model::{Bundle, BundlePath, EnvironmentName};

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
    /// Of every severity, sorted by file and line; at most [`FINDINGS_MAX`],
    /// the last of which then counts the rest. Never empty of a denial when
    /// there was one.
    pub findings: Vec<Finding>,
    /// For the proposal: its warnings, references, risks and documents.
    pub checked: Checked,
}

impl Assessment {
    /// Whether the change is refused.
    pub fn denies(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Deny)
    }
}

/// Looks at a change. `old` is what is good now, if anything is.
pub fn assess(
    rules: &CheckSet,
    _environments: &[EnvironmentName],
    new: &Tree<'_>,
    old: Option<&Tree<'_>>,
) -> Assessment {
    let mut findings = Vec::new();
    blank(new, old, &mut findings);
    let checked = Checked {
        check_set: Some(rules.digest()),
        warnings: findings
            .iter()
            .filter(|finding| finding.severity == Severity::Warn)
            .cloned()
            .collect(),
        ..Checked::default()
    };
    Assessment {
        findings: bounded(findings),
        checked,
    }
}

/// A file that had content and has none now.
fn blank(new: &Tree<'_>, old: Option<&Tree<'_>>, findings: &mut Vec<Finding>) {
    for (path, bytes) in new.files {
        let before = old.and_then(|old| old.files.get(path));
        if before.is_some_and(|bytes| !is_blank(bytes)) && is_blank(bytes) {
            findings.push(Finding {
                gate: Gate::Checks,
                severity: Severity::Deny,
                file: Some(path.to_string()),
                line: 0,
                column: 0,
                message: "the file is blank and was not before".to_owned(),
                help: Some("if it has to go, remove it".to_owned()),
            });
        }
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.iter().all(u8::is_ascii_whitespace)
}

/// Sorted, and cut so that what refuses the change is never cut in favour of what does not.
fn bounded(mut findings: Vec<Finding>) -> Vec<Finding> {
    let by_place = |a: &Finding, b: &Finding| {
        (&a.file, a.line, a.column, b.severity, &a.message)
            .cmp(&(&b.file, b.line, b.column, a.severity, &b.message))
    };
    findings.sort_by(by_place);
    findings.dedup();
    if findings.len() <= FINDINGS_MAX {
        return findings;
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let rest = findings.split_off(FINDINGS_MAX - 1);
    findings.sort_by(by_place);
    let severity = rest.iter().map(|it| it.severity).max();
    findings.push(Finding {
        gate: Gate::Checks,
        severity: severity.unwrap_or(Severity::Warn),
        file: None,
        line: 0,
        column: 0,
        message: format!("and {} more findings", rest.len()),
        help: Some("mend these first: they may explain the rest".to_owned()),
    });
    findings
}
