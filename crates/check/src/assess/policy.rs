//! Policies in CEL: what operators demand beyond what a schema can say.
//!
//! Invariant: a policy that can't be evaluated never passes in silence.

mod meter;
mod rule;
mod shared;

use std::sync::Arc;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use model::gate::{Policy, Risk, Severity};

use super::Ground;
use super::file::File;
use super::findings::Findings;
use crate::documents::{Node, Value};
use meter::Bench;
use shared::{SharedList, SharedMap};

pub(crate) use rule::Rule;

/// Looks at all policies; what the risky ones bite at is handed back.
pub(super) fn check(ground: &Ground<'_>, findings: &mut Findings) -> Vec<Risk> {
    let mut risks = Vec::new();
    let mut rules = Vec::new();
    for policy in &ground.rules.policies {
        match Rule::new(&policy.when, policy.file.is_some()) {
            Ok(rule) => rules.push((policy, rule)),
            Err(flaws) => {
                for flaw in flaws {
                    let message = format!("policy {}: {flaw}", policy.name);
                    findings.deny(None, message, "an operator must mend the service's rules");
                }
            }
        }
    }
    for (policy, rule) in rules.iter().filter(|(policy, _)| policy.file.is_none()) {
        let mut bench = Bench::new(meter::STEPS_MAX);
        about_bundle(ground, &mut bench);
        let answer = bench.ask(rule);
        conclude(policy, rule, None, answer, &mut risks, findings);
    }
    for (path, file) in &ground.files {
        let mut fitting = rules.iter().filter(|(policy, _)| {
            let pattern = policy.file.as_deref();
            pattern.is_some_and(|pattern| crate::pattern::glob(pattern, path))
        });
        let Some(first) = fitting.next() else {
            continue;
        };
        let fitting = std::iter::once(first).chain(fitting);
        of_file(ground, file, fitting, &mut risks, findings);
    }
    risks
}

fn of_file<'r>(
    ground: &Ground<'_>,
    file: &File<'_>,
    rules: impl Iterator<Item = &'r (&'r Policy, Rule)>,
    risks: &mut Vec<Risk>,
    findings: &mut Findings,
) {
    let Some(root) = file.root() else {
        if file.format.is_none() {
            let message = "a policy looks at this file, but it is no YAML, TOML or JSON";
            findings.deny(
                Some(file.path),
                message,
                "an operator must mend the policy's pattern",
            );
        }
        return;
    };
    let old = ground
        .old_files
        .get(file.path.as_str())
        .and_then(File::root);
    let mut bench = Bench::new(meter::STEPS_MAX);
    about_bundle(ground, &mut bench);
    bench.set("file", text(file.path.as_str()));
    bench.set("new", value(root));
    bench.set(
        "old",
        old.map_or_else(|| Box::new(CelNull) as Box<dyn Val>, value),
    );
    for (policy, rule) in rules {
        let answer = bench.ask(rule);
        let changed = old.is_none_or(|old| !old.same(root));
        if policy.severity == Severity::Risk && !changed && answer == Ok(true) {
            continue;
        }
        conclude(policy, rule, Some((file, root)), answer, risks, findings);
    }
}

fn about_bundle<'v>(ground: &Ground<'v>, bench: &mut Bench<'v>) {
    bench.set("service", text(ground.new.bundle.service.as_str()));
    let versions = |bundle: &'v model::Bundle| {
        let packages = bundle.packages.iter();
        map(packages.map(|(name, package)| (name.as_str(), text(&package.version))))
    };
    bench.set("packages", versions(ground.new.bundle));
    let old = ground.old.map(|old| versions(old.bundle));
    bench.set(
        "old_packages",
        old.unwrap_or_else(|| map(std::iter::empty())),
    );
}

fn conclude(
    policy: &Policy,
    rule: &Rule,
    document: Option<(&File<'_>, &Node)>,
    answer: Result<bool, String>,
    risks: &mut Vec<Risk>,
    findings: &mut Findings,
) {
    let place = document.map(|(file, root)| {
        let node = rule.place(root).unwrap_or(root);
        file.places.of(node.span.range().start)
    });
    let (place, path) = (place.unwrap_or((0, 0)), document.map(|(file, _)| file.path));
    match answer {
        Ok(false) => {}
        Ok(true) if policy.severity == Severity::Risk => risks.push(Risk {
            file: path.cloned(),
            at: String::new(),
            why: policy.message.clone(),
            before: None,
            after: None,
        }),
        Ok(true) => {
            let message = format!("{} (policy {})", policy.message, policy.name);
            findings.add(policy.severity, path, place, message, None);
        }
        Err(flaw) => {
            let message = format!("policy {} can't be evaluated: {flaw}", policy.name);
            let help = flaw.ends_with(meter::MISSING).then_some(MISSING_HELP);
            // Only a warning may be unanswered.
            let severity = match policy.severity {
                Severity::Warn => Severity::Warn,
                Severity::Risk | Severity::Deny => Severity::Deny,
            };
            findings.add(severity, path, place, message, help);
        }
    }
}

const MISSING_HELP: &str =
    "ask first whether a field is there: `has(new.limits) && has(new.limits.threads) && …`";

/// A document as CEL sees it; texts are borrowed.
fn value(node: &Node) -> Box<dyn Val + '_> {
    match &node.value {
        Value::Null => Box::new(CelNull),
        Value::Bool(it) => Box::new(CelBool::from(*it)),
        Value::Integer(it) => Box::new(CelInt::from(*it)),
        Value::Large(it) => Box::new(CelUInt::from(*it)),
        Value::Float(it) => Box::new(CelDouble::from(*it)),
        Value::Text(it) => text(it),
        Value::List(items) => {
            let items: Vec<Box<dyn Val + '_>> = items.iter().map(value).collect();
            Box::new(SharedList(Arc::new(CelList::from(items))))
        }
        Value::Map(fields) => {
            let entries = fields.entries().iter();
            map(entries.map(|entry| (entry.key.as_str(), value(&entry.node))))
        }
    }
}

fn text(text: &str) -> Box<dyn Val + '_> {
    Box::new(CelString::from(text))
}

fn map<'v>(entries: impl Iterator<Item = (&'v str, Box<dyn Val + 'v>)>) -> Box<dyn Val + 'v> {
    // CEL's own map has no order; the meter gives it one wherever it could show.
    let mut fields = CelMap::default().into_inner();
    fields.extend(entries.map(|(key, value)| (CelMapKey::from(key), value)));
    Box::new(SharedMap(Arc::new(CelMap::from(fields))))
}

#[cfg(test)]
mod tests;
