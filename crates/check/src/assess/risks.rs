//! Options that need a second person when they change.
//!
//! Invariant: a risk is told only where the value differs from what is good
//! now; in a first release everything differs.

use std::collections::BTreeSet;

use model::gate::Risk;

use super::annotations::{self, Mark, MarkKind};
use super::file::File;
use super::findings::Findings;
use super::{Ground, values};
use crate::documents::Node;
use crate::pattern::{Pointer, glob, pointer_text};

/// Most characters of a value before and after.
const SHOWN_CHARS_MAX: usize = 200;
/// Most risks of one change: people decide about them one by one.
const RISKS_MAX: usize = 200;

pub(super) fn collect(
    ground: &Ground<'_>,
    marks: &[Mark<'_>],
    findings: &mut Findings,
) -> Vec<Risk> {
    let mut risks = Vec::new();
    for rule in &ground.rules.risks {
        let Ok(pointer) = Pointer::parse(&rule.at) else {
            continue;
        };
        for (file, old) in ground.fitting(&rule.file) {
            let (new, old) = (file.root(), old.and_then(File::root));
            let found = [old, new].into_iter().flatten();
            let found = found.flat_map(|root| values::matches(root, pointer.steps()));
            let paths: BTreeSet<Vec<String>> = found.map(|(path, _)| path).collect();
            for path in paths {
                risks.extend(changed(file, new, old, &path, &rule.why));
            }
        }
    }
    for (pattern, schema) in &ground.schemas {
        let olds = ground
            .old_files
            .iter()
            .filter(|(path, _)| glob(pattern, path));
        for (path, old) in olds {
            let (Some(file), Some(root)) = (ground.files.get(path), old.root()) else {
                continue;
            };
            for (steps, why) in annotations::risks_of(schema, root) {
                risks.extend(changed(file, file.root(), Some(root), &steps, why));
            }
        }
    }
    for mark in marks {
        let (MarkKind::Risk(why), Some(file)) = (&mark.kind, ground.files.get(mark.file)) else {
            continue;
        };
        let old = ground.old_files.get(mark.file).and_then(File::root);
        risks.extend(changed(file, file.root(), old, &mark.path, why));
    }
    risks.sort();
    risks.dedup();
    if risks.len() > RISKS_MAX {
        let message = format!(
            "the change touches {} high-risk options; at most {RISKS_MAX} go at once",
            risks.len()
        );
        findings.deny(
            None,
            message,
            "make it in several steps that people can oversee",
        );
        risks.truncate(RISKS_MAX);
    }
    risks
}

fn changed(
    file: &File<'_>,
    new: Option<&Node>,
    old: Option<&Node>,
    path: &[String],
    why: &str,
) -> Option<Risk> {
    let (before, after) = (
        old.and_then(|it| it.at(path)),
        new.and_then(|it| it.at(path)),
    );
    let same = match (before, after) {
        (Some(before), Some(after)) => before.same(after),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    let shown = |node: &Node| values::shown(node, path, SHOWN_CHARS_MAX);
    (!same).then(|| Risk {
        file: Some(file.path.clone()),
        at: pointer_text(path),
        why: why.to_owned(),
        before: before.map(shown),
        after: after.map(shown),
    })
}
