//! `[service.NAME.checks]`: what is demanded of a service's changes.
//!
//! A value that can't be read leaves the default: its problem is noted, and the
//! others still show. What a rule means is not looked at here: that CEL compiles
//! and that schemas are schemas is known by [`crate::rules::problems`], once the
//! schemas are read.

use std::collections::BTreeSet;

use model::gate::{
    CheckSet, Demand, Guard, LoadPlan, Policy, ReferenceKind, ReferenceRule, RehearsalPlan,
    RiskRule, Severity, probe_deadline,
};
use model::{Millis, Permille};

use super::fleet::{Fleet, list_of_tables};
use super::grammar::{self, Flaw, quoted};
use super::places;
use super::plan::{DEADLINE_MAX, DEADLINE_MIN};
use super::reader::Reader;
use super::resolve::ChecksSource;
use super::tree::{Node, Value};
use super::unknown;

/// More people than this never look at one change.
const APPROVALS_MAX: u64 = 10;
/// A test counts at least this long: less would expire on the way to production.
const VALID_MIN: Millis = Millis::seconds(60);
/// After a month nobody knows any more what was tested.
const VALID_MAX: Millis = Millis::seconds(30 * 24 * 3600);
/// What one test host can be asked; more is a load test of its own.
const RATE_MAX: u64 = 10_000;
/// A neighbour that needs longer than this to answer is down.
const PROBE_DEADLINE_MAX: Millis = Millis::seconds(60);
/// More rows than any document has.
const ROWS_MAX: u64 = 1 << 40;

const KEYS: [&str; 13] = [
    "schemas",
    "policy",
    "guard",
    "reference",
    "risk",
    "egress",
    "literals",
    "hostile",
    "matrix",
    "approvals",
    "attestation_valid",
    "countersigners",
    "rehearsal",
];

/// Reads the rules; the schemas' texts come later.
pub(super) fn read(
    node: &Node,
    fleet: &Fleet,
    reader: &mut Reader<'_>,
) -> Option<(CheckSet, ChecksSource)> {
    let table = reader.table(node, "checks", &KEYS)?;
    let mut rules = CheckSet::default();
    let source = table.get("schemas").map(|node| schemas(node, reader));
    let mut names = BTreeSet::new();
    rules.policies = each(table, "policy", reader, |table, reader| {
        policy(table, &mut names, reader)
    });
    rules.guards = each(table, "guard", reader, guard);
    rules.references = each(table, "reference", reader, |table, reader| {
        reference(table, fleet, reader)
    });
    rules.risks = each(table, "risk", reader, risk);
    let egress = table.get("egress");
    rules.egress = egress.and_then(|node| reader.texts(node, "egress", grammar::egress));
    if let Some(node) = table.get("literals") {
        let read = reader.texts(node, "literals", grammar::pointer);
        rules.literals = read.unwrap_or_default();
    }
    if let Some(node) = table.get("hostile") {
        rules.hostile = reader.boolean(node, "hostile").unwrap_or(rules.hostile);
    }
    if let Some(node) = table.get("matrix") {
        let words = [
            ("off", Demand::Off),
            ("tell", Demand::Tell),
            ("require", Demand::Require),
        ];
        rules.matrix = reader.word(node, "matrix", &words).unwrap_or(rules.matrix);
    }
    if let Some(node) = table.get("approvals") {
        let read = reader.count(node, "approvals", 0..=APPROVALS_MAX);
        let read = read.and_then(|count| u32::try_from(count).ok());
        rules.approvals = read.unwrap_or(rules.approvals);
    }
    if let Some(node) = table.get("attestation_valid") {
        let read = reader.duration(node, "attestation_valid", VALID_MIN..=VALID_MAX);
        rules.attestation_valid_ms = read.unwrap_or(rules.attestation_valid_ms);
    }
    if let Some(node) = table.get("countersigners") {
        let read = reader.texts(node, "countersigners", grammar::public_key);
        rules.countersigners = read.unwrap_or_default();
    }
    if let Some(node) = table.get("rehearsal") {
        rules.rehearsal = rehearsal(node, reader).unwrap_or_default();
    }
    Some((rules, source.unwrap_or_default()))
}

/// The tables of a list; those that can't be read are left out.
fn each<T>(
    table: &Node,
    key: &str,
    reader: &mut Reader<'_>,
    mut read: impl FnMut(&Node, &mut Reader<'_>) -> Option<T>,
) -> Vec<T> {
    let header = format!("[[service.NAME.checks.{key}]]");
    let nodes = table
        .get(key)
        .and_then(|node| list_of_tables(node, key, &header, reader));
    let nodes = nodes.unwrap_or_default().iter();
    nodes.filter_map(|node| read(node, reader)).collect()
}

fn schemas(node: &Node, reader: &mut Reader<'_>) -> ChecksSource {
    let mut source = ChecksSource::default();
    for field in reader.fields(node, "schemas").unwrap_or_default() {
        let pattern = grammar::path_pattern(&field.name);
        let pattern = pattern.map_err(|flaw| reader.report(field.name_span.clone(), flaw));
        let path = reader.text(&field.node, "schema", places::relative_path);
        if let (Ok(pattern), Some(path)) = (pattern, path) {
            source
                .spans
                .insert(pattern.clone(), field.node.span.clone());
            source.schemas.insert(pattern, path);
        }
    }
    source
}

/// The value of a key that must be there, read by `read`.
fn text<T>(
    table: &Node,
    (label, key, example): (&str, &str, &str),
    reader: &mut Reader<'_>,
    read: impl FnOnce(&str) -> Result<T, Flaw>,
) -> Option<T> {
    let node = reader.required(table, label, key, example)?;
    reader.text(node, key, read)
}

fn file(table: &Node, label: &str, reader: &mut Reader<'_>) -> Option<String> {
    let key = (label, "file", "\"service.toml\"");
    text(table, key, reader, grammar::path_pattern)
}

fn policy(node: &Node, names: &mut BTreeSet<String>, reader: &mut Reader<'_>) -> Option<Policy> {
    let known = ["name", "file", "when", "severity", "message"];
    let table = reader.table(node, "policy", &known)?;
    let label = "this policy";
    let name = text(table, (label, "name", "\"threads\""), reader, |text| {
        let name = grammar::sentence(text)?;
        let flaw = || Flaw::new(format!("the policy {} is declared twice", quoted(text)));
        let new = names.insert(name.clone());
        let flaw = || flaw().help("each has a name of its own");
        new.then_some(name).ok_or_else(flaw)
    });
    let file = match table.get("file") {
        Some(node) => reader.text(node, "file", grammar::path_pattern).map(Some),
        None => Some(None),
    };
    let key = (label, "when", "\"new.limits.threads < 2\"");
    let when = text(table, key, reader, grammar::expression);
    let words = [
        ("deny", Severity::Deny),
        ("warn", Severity::Warn),
        ("risk", Severity::Risk),
    ];
    let severity = reader
        .required(table, label, "severity", "\"deny\"")
        .and_then(|node| reader.word(node, "severity", &words));
    let key = (label, "message", "\"two threads at least\"");
    let message = text(table, key, reader, grammar::sentence);
    Some(Policy {
        name: name?,
        file: file?,
        when: when?,
        severity: severity?,
        message: message?,
    })
}

const LIMITS: [&str; 7] = [
    "size_max",
    "shrink_max",
    "growth_max",
    "rows_min",
    "rows_max",
    "rows_shrink_max",
    "keep",
];

fn guard(node: &Node, reader: &mut Reader<'_>) -> Option<Guard> {
    let known: Vec<&str> = ["file", "rows_at"].into_iter().chain(LIMITS).collect();
    let table = reader.table(node, "guard", &known)?;
    let file = file(table, "this guard", reader);
    if LIMITS.iter().all(|key| reader.lacks(table, key)) {
        let flaw = Flaw::new("this guard limits nothing");
        let help = format!("add one of: {}", LIMITS.join(", "));
        reader.report(table.span.clone(), flaw.help(help));
    }
    let rows = ["rows_min", "rows_max", "rows_shrink_max"];
    let rows_at = table.get("rows_at");
    if let (Some(node), true) = (rows_at, rows.iter().all(|key| reader.lacks(table, key))) {
        let flaw = Flaw::new("`rows_at` says where rows are, but nothing limits them");
        let help = format!("add one of: {}", rows.join(", "));
        reader.report(node.span.clone(), flaw.help(help));
    }
    let size = table.get("size_max");
    let growth = table.get("growth_max");
    let mut share = |key: &str| -> Option<Permille> {
        let node = table.get(key)?;
        reader.share(node, key)
    };
    let (shrink_permille_max, rows_shrink_permille_max) =
        (share("shrink_max"), share("rows_shrink_max"));
    let mut count = |key: &str| -> Option<u64> {
        let node = table.get(key)?;
        reader.count(node, key, 0..=ROWS_MAX)
    };
    let (rows_min, rows_max) = (count("rows_min"), count("rows_max"));
    if let (Some(least), Some(most), Some(node)) = (rows_min, rows_max, table.get("rows_max"))
        && least > most
    {
        let flaw = Flaw::new(format!(
            "`rows_max` ({most}) is less than `rows_min` ({least})"
        ));
        reader.report(
            node.span.clone(),
            flaw.help("no file could pass this guard"),
        );
    }
    let keep = table.get("keep");
    let keep = keep.and_then(|node| reader.texts(node, "keep", grammar::pointer));
    Some(Guard {
        file: file?,
        size_bytes_max: size.and_then(|node| reader.text(node, "size_max", grammar::size)),
        shrink_permille_max,
        growth_percent_max: growth
            .and_then(|node| reader.text(node, "growth_max", grammar::percent)),
        rows_at: rows_at.and_then(|node| reader.text(node, "rows_at", grammar::pointer)),
        rows_min,
        rows_max,
        rows_shrink_permille_max,
        keep: keep.unwrap_or_default(),
    })
}

const KINDS: [(&str, ReferenceKind); 6] = [
    ("tcp", ReferenceKind::Tcp),
    ("tls", ReferenceKind::Tls),
    ("dns", ReferenceKind::Dns),
    ("http", ReferenceKind::Http),
    ("postgres", ReferenceKind::Postgres),
    ("file", ReferenceKind::File),
];

fn reference(node: &Node, fleet: &Fleet, reader: &mut Reader<'_>) -> Option<ReferenceRule> {
    let known = ["file", "at", "kind", "from", "path", "status", "deadline"];
    let table = reader.table(node, "reference", &known)?;
    let label = "this reference";
    let file = file(table, label, reader);
    let key = (label, "at", "\"/auth/*/address\"");
    let at = text(table, key, reader, grammar::pointer);
    let kind = reader
        .required(table, label, "kind", "\"http\"")
        .and_then(|node| reader.word(node, "kind", &KINDS));
    let from = match table.get("from") {
        Some(node) => environments(node, at.as_deref(), fleet, reader),
        None => Vec::new(),
    };
    for key in ["path", "status"] {
        if let (Some(node), Some(kind)) = (table.get(key), kind)
            && kind != ReferenceKind::Http
        {
            let flaw = Flaw::new(format!("`{key}` goes with kind \"http\" only"));
            reader.report(node.span.clone(), flaw.help("leave it out"));
        }
    }
    let path = table.get("path");
    let path = path.and_then(|node| reader.text(node, "path", grammar::url_path));
    let status = table.get("status");
    let status = status.and_then(|node| reader.count(node, "status", 100..=599));
    let deadline_ms = match table.get("deadline") {
        Some(node) => reader.duration(node, "deadline", DEADLINE_MIN..=PROBE_DEADLINE_MAX),
        None => Some(probe_deadline()),
    };
    Some(ReferenceRule {
        file: file?,
        at: at?,
        kind: kind?,
        from,
        path,
        status: status.and_then(|status| u16::try_from(status).ok()),
        deadline_ms: deadline_ms?,
    })
}

/// Names of environments, or `*` for what the pointer's first `*` matched.
fn environments(
    node: &Node,
    at: Option<&str>,
    fleet: &Fleet,
    reader: &mut Reader<'_>,
) -> Vec<String> {
    let Some(items) = reader.list(node, "from") else {
        return Vec::new();
    };
    let known: Vec<&str> = fleet.names.iter().map(String::as_str).collect();
    let mut names = Vec::new();
    for item in items {
        let Some(name) = reader.text(item, "from", |text| Ok(text.to_owned())) else {
            continue;
        };
        let open = at.is_none_or(|at| at.split('/').any(|step| step == "*"));
        if name == "*" && !open {
            let flaw =
                Flaw::new("\"*\" in `from` is what the first `*` in `at` is, and there is none");
            let help = "write `at = \"/auth/*/address\"`, or the environments by name";
            reader.report(item.span.clone(), flaw.help(help));
        } else if name != "*" && !fleet.unnamed && !known.contains(&name.as_str()) {
            reader.report(item.span.clone(), unknown("environment", &name, &known));
        }
        names.push(name);
    }
    names
}

fn risk(node: &Node, reader: &mut Reader<'_>) -> Option<RiskRule> {
    let table = reader.table(node, "risk", &["file", "at", "why"])?;
    let label = "this risk";
    let file = file(table, label, reader);
    let at = text(table, (label, "at", "\"/auth\""), reader, grammar::pointer);
    let example = "\"a wrong address stops every request\"";
    let why = text(table, (label, "why", example), reader, grammar::sentence);
    Some(RiskRule {
        file: file?,
        at: at?,
        why: why?,
    })
}

/// `false`, or a table.
fn rehearsal(node: &Node, reader: &mut Reader<'_>) -> Option<RehearsalPlan> {
    if let Value::Boolean(on) = node.value {
        return Some(RehearsalPlan {
            off: !on,
            ..RehearsalPlan::default()
        });
    }
    if !matches!(node.value, Value::Table(_)) {
        reader.wrong_type(node, "rehearsal", "true, false or a table");
        return None;
    }
    let table = reader.table(node, "rehearsal", &["load", "revert_within"])?;
    let load = table.get("load").and_then(|node| load(node, reader));
    let within = table.get("revert_within");
    Some(RehearsalPlan {
        off: false,
        load,
        revert_within_ms: within
            .and_then(|node| reader.duration(node, "revert_within", DEADLINE_MIN..=DEADLINE_MAX)),
    })
}

fn load(node: &Node, reader: &mut Reader<'_>) -> Option<LoadPlan> {
    let table = reader.table(node, "load", &["url", "rate"])?;
    let key = ("this load", "url", "\"http://${address}/v1/orders\"");
    let url = text(table, key, reader, places::probe_url);
    let rate = reader
        .required(table, "this load", "rate", "50")
        .and_then(|node| reader.count(node, "rate", 1..=RATE_MAX));
    Some(LoadPlan {
        url: url?,
        rate_per_s: u32::try_from(rate?).ok()?,
    })
}
