//! Where documents name other services.
//!
//! Invariant: what is handed on can be understood, is within the allow-list as
//! far as can be told without resolving it, and holds no password.

use model::gate::{Reference, ReferenceKind, ReferenceRule, Severity, probe_deadline};
use model::{EnvironmentName, Millis};
use serde_json::Value as Json;

use super::annotations::{Mark, MarkKind};
use super::file::File;
use super::findings::Findings;
use super::{Ground, secrets, targets, values};
use crate::documents::{Node, Value};
use crate::egress;
use crate::pattern::{Pointer, pointer_text};

/// Most references of one bundle: each is asked from several hosts, one after
/// the other, and a file that names more is a register, not a configuration.
const REFERENCES_MAX: usize = 500;

/// Everything that the documents name, in the order of files and lines.
pub(super) fn collect(
    ground: &Ground<'_>,
    marks: &[Mark<'_>],
    findings: &mut Findings,
) -> Vec<Reference> {
    let mut found = Vec::new();
    for rule in &ground.rules.references {
        let Ok(pointer) = Pointer::parse(&rule.at) else {
            continue;
        };
        for (file, _) in ground.fitting(&rule.file) {
            let Some(root) = file.root() else {
                continue;
            };
            for (path, node) in values::matches(root, pointer.steps()) {
                let wild = pointer.steps().iter().position(|step| step == "*");
                let open = wild.map(|at| path[at].clone());
                one(
                    ground,
                    file,
                    rule,
                    &path,
                    node,
                    open.as_deref(),
                    &mut found,
                    findings,
                );
            }
        }
    }
    for mark in marks {
        let MarkKind::Reference(json) = mark.kind else {
            continue;
        };
        let (Ok(rule), Some(file)) = (annotation(json), ground.files.get(mark.file)) else {
            continue;
        };
        if let Some(node) = file.root().and_then(|root| root.at(&mark.path)) {
            let open = mark.open.as_deref();
            one(
                ground, file, &rule, &mark.path, node, open, &mut found, findings,
            );
        }
    }
    found.sort();
    found.dedup();
    if found.len() > REFERENCES_MAX {
        let message = format!(
            "the documents name {} other services; at most {REFERENCES_MAX} are asked",
            found.len()
        );
        findings.deny(
            None,
            message,
            "an operator must narrow the rules about references",
        );
        found.truncate(REFERENCES_MAX);
    }
    found
}

#[expect(
    clippy::too_many_arguments,
    reason = "one place, one rule, and where the results go"
)]
fn one(
    ground: &Ground<'_>,
    file: &File<'_>,
    rule: &ReferenceRule,
    path: &[String],
    node: &Node,
    open: Option<&str>,
    found: &mut Vec<Reference>,
    findings: &mut Findings,
) {
    let offset = node.span.range().start;
    let name = values::name(path);
    if matches!(node.value, Value::Null) {
        return;
    }
    if let Value::Text(text) = &node.value
        && rule.kind != ReferenceKind::File
        && (text.contains("${") || secrets::is_reference(text))
    {
        let message = format!(
            "{name} is filled in on the host, so nobody can ask beforehand whether it answers"
        );
        findings.at(Severity::Warn, file, offset, message, None);
        return;
    }
    let target = match targets::target(rule.kind, node, rule.path.as_deref()) {
        Ok(target) => target,
        Err(flaw) => {
            let message = format!(
                "{name} {flaw}; it must name what a probe by {} can ask",
                rule.kind
            );
            findings.at(Severity::Deny, file, offset, message, None);
            return;
        }
    };
    if let Some((host, port)) = &target.place
        && !within(ground.rules.egress.as_deref(), host, *port)
    {
        let message = format!("{name} leads to {host}, where probes may not go");
        let help = match ground.rules.egress {
            Some(_) => "an operator must add it to `egress` of the service's rules",
            None => "link-local addresses belong to the host: its cloud keeps credentials there",
        };
        findings.at(Severity::Deny, file, offset, message, Some(help));
        return;
    }
    let Some(from) = environments(ground, file, rule, open, offset, findings) else {
        return;
    };
    found.push(Reference {
        file: file.path.clone(),
        at: pointer_text(path),
        line: file.places.of(offset).0,
        kind: rule.kind,
        target: target.text,
        from,
        status: rule.status,
        deadline_ms: rule.deadline_ms,
    });
}

fn within(list: Option<&[String]>, host: &str, port: Option<u16>) -> bool {
    match port {
        Some(port) => egress::may_allow(list, host, port),
        None => egress::may_resolve(list, host),
    }
}

/// The environments whose hosts use it; `None` when it is none that there is.
fn environments(
    ground: &Ground<'_>,
    file: &File<'_>,
    rule: &ReferenceRule,
    open: Option<&str>,
    offset: usize,
    findings: &mut Findings,
) -> Option<Vec<EnvironmentName>> {
    let mut from = Vec::new();
    let known = |name: &str| ground.environments.iter().find(|it| it.as_str() == name);
    for name in &rule.from {
        let asked = if name == "*" {
            open.unwrap_or("*")
        } else {
            name
        };
        match known(asked) {
            Some(environment) => from.push(environment.clone()),
            None if name == "*" => {
                let message = format!("{asked:?} is no environment, so nobody asks what it names");
                let help = format!("environments: {}", listed(ground.environments));
                findings.at(Severity::Warn, file, offset, message, Some(&help));
            }
            None => {
                let message = format!(
                    "the rule for {} says `from` {name:?}, which is no environment",
                    rule.at
                );
                let help = format!(
                    "an operator must mend it; environments: {}",
                    listed(ground.environments)
                );
                findings.deny(None, message, &help);
            }
        }
    }
    from.sort();
    from.dedup();
    (rule.from.is_empty() || !from.is_empty()).then_some(from)
}

fn listed(environments: &[EnvironmentName]) -> String {
    let names: Vec<&str> = environments.iter().map(EnvironmentName::as_str).collect();
    names.join(", ")
}

/// A schema's mark as a rule: the kind alone, or a map like a rule's.
pub(super) fn annotation(mark: &Json) -> Result<ReferenceRule, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Mark {
        kind: ReferenceKind,
        #[serde(default)]
        from: Vec<String>,
        #[serde(default)]
        path: Option<String>,
        #[serde(default)]
        status: Option<u16>,
        #[serde(default = "probe_deadline")]
        deadline_ms: Millis,
    }
    let mark = match mark {
        Json::String(kind) => serde_json::json!({ "kind": kind }),
        other => other.clone(),
    };
    let mark: Mark = serde_json::from_value(mark).map_err(|error| error.to_string())?;
    Ok(ReferenceRule {
        file: String::new(),
        at: "a schema's mark".to_owned(),
        kind: mark.kind,
        from: mark.from,
        path: mark.path,
        status: mark.status,
        deadline_ms: mark.deadline_ms,
    })
}
