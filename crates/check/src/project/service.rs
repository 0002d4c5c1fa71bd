//! `[service.NAME]`: what is packed, how hosts apply it, how they know that it works.

use std::collections::BTreeMap;

use model::gate::CheckSet;
use model::{
    Command, Commands, ErrorBudget, HealthCheck, HealthProbe, Millis, ServiceName, ServiceSpec,
};

use super::fleet::Fleet;
use super::grammar::{self, Flaw};
use super::places;
use super::plan::{self, DEADLINE_MAX, DEADLINE_MIN};
use super::reader::Reader;
use super::tree::{Node, Value};
use super::{ServiceSource, checks, packages, serving, traffic};

/// How long a command may take when nothing is said.
const COMMAND_DEADLINE: Millis = Millis::seconds(10);
/// More looks in a row than anybody waits for.
const THRESHOLD_MAX: u64 = 1000;
/// Counts are kept minute by minute, for a day.
const BUDGET_WINDOW_MIN: Millis = Millis::seconds(60);
const BUDGET_WINDOW_MAX: Millis = Millis::seconds(24 * 3600);
/// More than any fleet answers in a minute.
const BUDGET_REQUESTS_MAX: u64 = 1_000_000_000;

type Services = (
    BTreeMap<ServiceName, ServiceSource>,
    BTreeMap<ServiceName, ServiceSpec>,
);

/// Reads all services.
pub(super) fn read(root: &Node, fleet: &Fleet, reader: &mut Reader<'_>) -> Services {
    let (mut sources, mut specs) = (BTreeMap::new(), BTreeMap::new());
    let fields = match root.get("service") {
        Some(node) => {
            let Some(fields) = reader.fields(node, "service") else {
                return (sources, specs);
            };
            fields
        }
        None => &[],
    };
    if fields.is_empty() && (root.get("service").is_some() || reader.lacks(root, "service")) {
        let flaw = Flaw::new("no service is declared");
        let help = "add `[service.NAME]` with the `files` or `packages` to release";
        let given = root.get("service");
        let span = given.map_or(root.span.clone(), |node| node.span.clone());
        reader.report(span, flaw.help(help));
    }
    for field in fields {
        let name: Option<ServiceName> = reader.name(&field.name, field.name_span.clone());
        let label = format!("service.{}", grammar::shown(&field.name));
        let read = service(&field.node, &label, fleet, reader);
        if let (Some(name), Some((source, spec))) = (name, read) {
            sources.insert(name.clone(), source);
            specs.insert(name, spec);
        }
    }
    (sources, specs)
}

fn service(
    node: &Node,
    label: &str,
    fleet: &Fleet,
    reader: &mut Reader<'_>,
) -> Option<(ServiceSource, ServiceSpec)> {
    let known = [
        "files",
        "packages",
        "commands",
        "health",
        "plan",
        "reversible",
        "tenant_header",
        "workers",
        "deadline",
        "priority_header",
        "upstream",
        "upstream_protocol",
        "upstream_name",
        "endpoint",
        "prometheus",
        "error_budget",
        "requires",
        "checks",
    ];
    let table = reader.table(node, label, &known)?;
    if reader.lacks(table, "files") && reader.lacks(table, "packages") {
        let flaw = Flaw::new("this service has nothing to release");
        let help = "add `files = \"config\"` (a folder), or packages, or both";
        reader.report(table.span.clone(), flaw.help(help));
    }
    let files = table
        .get("files")
        .and_then(|node| reader.text(node, "files", places::relative_path));
    let packages = table
        .get("packages")
        .map(|node| packages::released(node, reader))
        .unwrap_or_default();
    let commands = table
        .get("commands")
        .map(|node| commands(node, reader))
        .unwrap_or_default();
    let health = table.get("health").and_then(|node| health(node, reader));
    let mut plan = plan::read(table.get("plan"), fleet, reader);
    let reversible = table
        .get("reversible")
        .and_then(|node| reader.boolean(node, "reversible"));
    plan.irreversible = reversible == Some(false);
    let requires = packages::ranges(table, "requires", reader);
    let (rules, checks) = table
        .get("checks")
        .and_then(|node| checks::read(node, fleet, reader))
        .unwrap_or_default();
    let source = ServiceSource {
        files,
        packages,
        requires,
        commands,
        health,
        plan,
        checks,
    };
    Some((source, spec(table, rules, fleet, reader)))
}

/// What operators declare of a service, beside what is packed.
fn spec(table: &Node, checks: CheckSet, fleet: &Fleet, reader: &mut Reader<'_>) -> ServiceSpec {
    let tenant_header = table
        .get("tenant_header")
        .and_then(|node| reader.text(node, "tenant_header", places::header));
    let error_budget = table
        .get("error_budget")
        .and_then(|node| error_budget(node, reader));
    let endpoints = table
        .get("endpoint")
        .map(|node| traffic::endpoints(node, reader));
    let prometheus = table
        .get("prometheus")
        .and_then(|node| traffic::prometheus(node, fleet, reader));
    let serving = serving::read(table, tenant_header.as_deref(), reader);
    ServiceSpec {
        tenant_header,
        serving,
        checks,
        error_budget,
        endpoints: endpoints.unwrap_or_default(),
        prometheus,
    }
}

/// `{ failed_max = "0.1%", window = "1h", requests_min = 100 }`.
fn error_budget(node: &Node, reader: &mut Reader<'_>) -> Option<ErrorBudget> {
    let table = reader.table(
        node,
        "error_budget",
        &["failed_max", "window", "requests_min"],
    )?;
    let failed_permille_max = reader
        .required(table, "an error budget", "failed_max", "\"0.1%\"")
        .and_then(|node| reader.share(node, "failed_max"));
    let window_ms = match table.get("window") {
        Some(node) => reader.duration(node, "window", BUDGET_WINDOW_MIN..=BUDGET_WINDOW_MAX),
        None => Some(Millis::seconds(3600)),
    };
    let requests_min = match table.get("requests_min") {
        Some(node) => reader.count(node, "requests_min", 1..=BUDGET_REQUESTS_MAX),
        None => Some(100),
    };
    Some(ErrorBudget {
        failed_permille_max: failed_permille_max?,
        window_ms: window_ms?,
        requests_min: requests_min?,
    })
}

fn commands(node: &Node, reader: &mut Reader<'_>) -> Commands {
    let known = ["check", "reload", "restart", "exits"];
    let Some(table) = reader.table(node, "commands", &known) else {
        return Commands::default();
    };
    let mut read = |name: &str| {
        let node = table.get(name)?;
        command(node, name, reader)
    };
    Commands {
        check: read("check"),
        reload: read("reload"),
        restart: read("restart"),
        exits: read("exits"),
    }
}

/// `["program", "argument"]`, or `{ run = [...], deadline = "30s" }`.
fn command(node: &Node, label: &str, reader: &mut Reader<'_>) -> Option<Command> {
    if !matches!(node.value, Value::Table(_)) {
        return Some(Command {
            run: arguments(node, label, reader)?,
            deadline_ms: COMMAND_DEADLINE,
        });
    }
    let table = reader.table(node, label, &["run", "deadline"])?;
    let run = reader
        .required(table, "this command", "run", "[\"bin/check\"]")
        .and_then(|node| arguments(node, "run", reader));
    let deadline_ms = deadline(table, COMMAND_DEADLINE, reader)?;
    Some(Command {
        run: run?,
        deadline_ms,
    })
}

fn deadline(table: &Node, default: Millis, reader: &mut Reader<'_>) -> Option<Millis> {
    match table.get("deadline") {
        Some(node) => reader.duration(node, "deadline", DEADLINE_MIN..=DEADLINE_MAX),
        None => Some(default),
    }
}

fn arguments(node: &Node, label: &str, reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let Value::List(items) = &node.value else {
        let flaw = Flaw::new(format!(
            "`{label}` must be a list of program and arguments, not {}",
            node.kind()
        ));
        let help = "write it like [\"bin/check\", \"config.toml\"]: no shell parts or expands it";
        reader.report(node.span.clone(), flaw.help(help));
        return None;
    };
    let blank = |item: &Node| matches!(&item.value, Value::Text(text) if text.trim().is_empty());
    let program = items.first();
    if program.is_none_or(blank) {
        let span = program.map_or(node.span.clone(), |item| item.span.clone());
        let flaw = Flaw::new(format!("`{label}` names no program"));
        let help = "write it like [\"bin/check\", \"config.toml\"]";
        reader.report(span, flaw.help(help));
    }
    let arguments: Vec<Option<String>> = items
        .iter()
        .map(|item| reader.text(item, label, places::argument))
        .collect();
    arguments.into_iter().collect()
}

fn health(node: &Node, reader: &mut Reader<'_>) -> Option<HealthCheck> {
    let known = [
        "http",
        "tcp",
        "command",
        "status",
        "interval",
        "deadline",
        "grace",
        "threshold",
    ];
    let table = reader.table(node, "health", &known)?;
    let probe = probe(table, reader);
    let one_second = Millis::seconds(1);
    let interval_ms = match table.get("interval") {
        Some(node) => reader.duration(node, "interval", DEADLINE_MIN..=DEADLINE_MAX),
        None => Some(one_second),
    };
    let deadline_ms = deadline(table, one_second, reader);
    let grace_ms = match table.get("grace") {
        Some(node) => reader.duration(node, "grace", Millis(0)..=DEADLINE_MAX),
        None => Some(Millis::seconds(10)),
    };
    let threshold = match table.get("threshold") {
        Some(node) => reader.count(node, "threshold", 1..=THRESHOLD_MAX),
        None => Some(2),
    };
    Some(HealthCheck {
        probe: probe?,
        interval_ms: interval_ms?,
        deadline_ms: deadline_ms?,
        grace_ms: grace_ms?,
        threshold: u32::try_from(threshold?).ok()?,
    })
}

fn probe(table: &Node, reader: &mut Reader<'_>) -> Option<HealthProbe> {
    let status = table.get("status");
    let status_code = status.and_then(|node| reader.count(node, "status", 100..=599));
    if let (Some(node), None) = (status, table.get("http")) {
        let flaw = Flaw::new("`status` goes with `http` only");
        reader.report(node.span.clone(), flaw.help("leave it out"));
    }
    let kinds = ["http", "tcp", "command"];
    let mut given = kinds.iter().filter(|kind| table.get(kind).is_some());
    let Some(first) = given.next() else {
        if !kinds.iter().all(|kind| reader.lacks(table, kind)) {
            return None;
        }
        let flaw = Flaw::new("this health check asks nothing");
        let help = "add `http = \"http://${address}/healthz\"`, `tcp = \"${address}\"` or `command = [...]`";
        reader.report(table.span.clone(), flaw.help(help));
        return None;
    };
    for second in given {
        if let Some(node) = table.get(second) {
            let flaw = Flaw::new(format!(
                "a health check has one probe: `{first}` or `{second}`"
            ));
            reader.report(node.span.clone(), flaw.help("leave one of them out"));
        }
    }
    // Each is read, so that a mistake in the second shows as well.
    let http = table
        .get("http")
        .and_then(|node| reader.text(node, "http", places::probe_url))
        .map(|url| HealthProbe::Http {
            url,
            status: status_code
                .and_then(|code| u16::try_from(code).ok())
                .unwrap_or(200),
        });
    let tcp = table
        .get("tcp")
        .and_then(|node| reader.text(node, "tcp", places::probe_address))
        .map(|address| HealthProbe::Tcp { address });
    let command = table
        .get("command")
        .and_then(|node| arguments(node, "command", reader))
        .map(|run| HealthProbe::Command { run });
    http.or(tcp).or(command)
}
