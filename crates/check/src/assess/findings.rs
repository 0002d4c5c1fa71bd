//! Collects findings, sorts them and bounds their number.
//!
//! Invariant: what is cut off is never more serious than what is kept.

use std::cmp::{Ordering, Reverse};

use model::BundlePath;
use model::gate::{FINDINGS_MAX, Finding, Gate, Severity};

use super::file::File;

/// After so many nothing is added but counted: a file with an error in each of
/// its million lines must not cost a gigabyte.
const KEPT_MAX: usize = 20_000;
/// Longest message, in characters: values are shown cut, but names can be long too.
const MESSAGE_CHARS_MAX: usize = 600;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    kept: Vec<Finding>,
    dropped: usize,
    worst_dropped: Option<Severity>,
}

impl Findings {
    pub(super) fn deny(
        &mut self,
        file: Option<&BundlePath>,
        message: impl Into<String>,
        help: &str,
    ) {
        self.add(Severity::Deny, file, (0, 0), message.into(), Some(help));
    }

    pub(super) fn warn(
        &mut self,
        file: Option<&BundlePath>,
        message: impl Into<String>,
        help: &str,
    ) {
        self.add(Severity::Warn, file, (0, 0), message.into(), Some(help));
    }

    /// About the bytes of a file from `offset`.
    pub(super) fn at(
        &mut self,
        severity: Severity,
        file: &File<'_>,
        offset: usize,
        message: impl Into<String>,
        help: Option<&str>,
    ) {
        let place = file.places.of(offset);
        self.add(severity, Some(file.path), place, message.into(), help);
    }

    pub(super) fn add(
        &mut self,
        severity: Severity,
        file: Option<&BundlePath>,
        (line, column): (u32, u32),
        message: String,
        help: Option<&str>,
    ) {
        if self.kept.len() >= KEPT_MAX {
            self.dropped += 1;
            self.worst_dropped = self.worst_dropped.max(Some(severity));
            return;
        }
        self.kept.push(Finding {
            gate: Gate::Checks,
            severity,
            file: file.map(ToString::to_string),
            line,
            column,
            message: cut(message),
            help: help.map(|help| cut(help.to_owned())),
        });
    }

    /// Sorted by file and place, at most [`FINDINGS_MAX`].
    pub(super) fn bounded(self) -> Vec<Finding> {
        let mut findings = self.kept;
        findings.sort_by(by_place);
        findings.dedup();
        if findings.len() <= FINDINGS_MAX && self.dropped == 0 {
            return findings;
        }
        findings.sort_by_key(|finding| Reverse(finding.severity));
        let rest = findings.split_off(findings.len().min(FINDINGS_MAX - 1));
        findings.sort_by(by_place);
        let worst = rest.iter().map(|finding| finding.severity).max();
        let severity = worst.max(self.worst_dropped).unwrap_or(Severity::Warn);
        findings.push(Finding {
            gate: Gate::Checks,
            severity,
            file: None,
            line: 0,
            column: 0,
            message: format!("and {} more findings", rest.len() + self.dropped),
            help: Some("mend these first: they may explain the rest".to_owned()),
        });
        findings
    }
}

fn by_place(a: &Finding, b: &Finding) -> Ordering {
    let key = |it: &Finding| (it.file.clone(), it.line, it.column, Reverse(it.severity));
    key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
}

/// One line of bounded length without anything that drives a terminal.
fn cut(text: String) -> String {
    if text.len() <= MESSAGE_CHARS_MAX && !text.contains(char::is_control) {
        return text;
    }
    let mut chars = text.chars();
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut cut: String = chars
        .by_ref()
        .take(MESSAGE_CHARS_MAX)
        .map(visible)
        .collect();
    if chars.next().is_some() {
        cut.push('…');
    }
    cut
}
