//! `[[environment]]` and `[[environment.host]]`: the pipeline and its hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use model::{ClassName, Environment, EnvironmentName, Host, ServiceName};

use super::grammar::{Flaw, quoted, shown};
use super::places;
use super::reader::Reader;
use super::tree::{Node, Value};
use super::unknown;

/// What was read of the pipeline, well formed or not.
pub(super) struct Fleet {
    /// The names as written, in order, for references to them.
    pub(super) names: Vec<String>,
    environments: Vec<Environment>,
    /// For each service, the positions of the environments that have a host for it.
    runs_in: BTreeMap<String, BTreeSet<usize>>,
    /// Some environment's name could not be read, so "unknown environment" can't be said.
    pub(super) unnamed: bool,
    /// Something could not be read, so "no host runs it" can't be said.
    incomplete: bool,
}

/// What hosts refer to, and what must be unique over the whole file, with the place of the first.
#[derive(Default)]
struct Seen<'n> {
    classes: &'n [&'n str],
    hosts: BTreeMap<String, usize>,
    addresses: BTreeMap<String, Taken>,
}

/// Who has an address: the host's place and name, and where the address stands.
struct Taken {
    host: usize,
    name: String,
    at: usize,
}

/// Reads the pipeline; `services` are the declared services' names as written.
pub(super) fn read(
    root: &Node,
    services: &[&str],
    classes: &[&str],
    reader: &mut Reader<'_>,
) -> Fleet {
    let mut fleet = Fleet {
        names: Vec::new(),
        environments: Vec::new(),
        runs_in: BTreeMap::new(),
        unnamed: false,
        incomplete: false,
    };
    let nodes = match root.get("environment") {
        Some(node) => list_of_tables(node, "environment", "[[environment]]", reader),
        None => Some(&[] as &[Node]),
    };
    let Some(nodes) = nodes else {
        fleet.unnamed = true;
        return fleet;
    };
    fleet.unnamed = nodes.is_empty();
    if nodes.is_empty() && (root.get("environment").is_some() || reader.lacks(root, "environment"))
    {
        let flaw = Flaw::new("the pipeline is empty: no environment is declared");
        let help =
            "add `[[environment]]` with its name and hosts, `test` first and `production` last";
        let given = root.get("environment");
        let span = given.map_or(root.span.clone(), |node| node.span.clone());
        reader.report(span, flaw.help(help));
    }
    let mut seen = Seen {
        classes,
        ..Seen::default()
    };
    let mut first_lines: BTreeMap<String, usize> = BTreeMap::new();
    for (position, node) in nodes.iter().enumerate() {
        let Some(table) = reader.table(node, "environment", &["name", "host"]) else {
            fleet.unnamed = true;
            continue;
        };
        let name = environment_name(table, &mut first_lines, reader);
        if name
            .as_ref()
            .is_some_and(|name| name.as_str() == "production")
            && position + 1 < nodes.len()
        {
            let flaw = Flaw::new("\"production\" is not the last environment");
            let help = "a release passes the environments in the order of the file, so production comes last";
            let span = table
                .get("name")
                .map_or(table.span.clone(), |name| name.span.clone());
            reader.report(span, flaw.help(help));
        }
        if let Some(Value::Text(text)) = table.get("name").map(|name| &name.value) {
            fleet.names.push(text.clone());
        } else {
            fleet.unnamed = true;
        }
        let hosts = hosts(table, position, services, &mut fleet, &mut seen, reader);
        if let Some(name) = name {
            fleet.environments.push(Environment { name, hosts });
        }
    }
    fleet
}

/// A list whose entries are most often written as `[[header]]`; one `[header]` is a common slip.
pub(super) fn list_of_tables<'n>(
    node: &'n Node,
    label: &str,
    header: &str,
    reader: &mut Reader<'_>,
) -> Option<&'n [Node]> {
    if matches!(node.value, Value::Table(_)) {
        let flaw = Flaw::new(format!("`{label}` must be a list of tables, not one table"));
        let help = format!("write `{header}` with two brackets");
        reader.report(node.span.clone(), flaw.help(help));
        return None;
    }
    reader.list(node, label)
}

fn environment_name(
    table: &Node,
    first_lines: &mut BTreeMap<String, usize>,
    reader: &mut Reader<'_>,
) -> Option<EnvironmentName> {
    let node = reader.required(table, "this environment", "name", "\"test\"")?;
    let text = reader.text(node, "name", |text| Ok(text.to_owned()))?;
    let line = reader.line_of(node.span.start);
    let first = *first_lines.entry(text.clone()).or_insert(line);
    if first != line {
        let flaw = Flaw::new(format!("environment {} is declared twice", quoted(&text)));
        reader.report(
            node.span.clone(),
            flaw.help(format!("it is first declared in line {first}")),
        );
    }
    reader.name(&text, node.span.clone())
}

fn hosts(
    environment: &Node,
    position: usize,
    services: &[&str],
    fleet: &mut Fleet,
    seen: &mut Seen<'_>,
    reader: &mut Reader<'_>,
) -> Vec<Host> {
    let nodes = match environment.get("host") {
        Some(node) => list_of_tables(node, "host", "[[environment.host]]", reader),
        None => Some(&[] as &[Node]),
    };
    let Some(nodes) = nodes else {
        fleet.incomplete = true;
        return Vec::new();
    };
    fleet.incomplete |= nodes.is_empty();
    if nodes.is_empty() && (environment.get("host").is_some() || reader.lacks(environment, "host"))
    {
        let flaw = Flaw::new("this environment has no hosts");
        let help = "add `[[environment.host]]` with name, zone and address below it";
        reader.report(environment.span.clone(), flaw.help(help));
    }
    let mut hosts = Vec::new();
    for node in nodes {
        let known = ["name", "zone", "address", "services", "class"];
        let Some(table) = reader.table(node, "host", &known) else {
            fleet.incomplete = true;
            continue;
        };
        let name = reader
            .required(table, "this host", "name", "\"web-1\"")
            .and_then(|node| host_name(node, seen, reader));
        let zone = reader
            .required(table, "this host", "zone", "\"a\"")
            .and_then(|node| {
                let text = reader.text(node, "zone", |text| Ok(text.to_owned()))?;
                reader.name(&text, node.span.clone())
            });
        let runs = runs(table, position, services, fleet, reader);
        check_addresses(table, &runs, seen, reader);
        let class = table
            .get("class")
            .and_then(|node| class(node, seen.classes, reader));
        if let (Some(name), Some(zone)) = (name, zone) {
            let services = runs
                .into_iter()
                .filter_map(|(service, address, _)| Some((service?, address)))
                .collect();
            hosts.push(Host {
                name,
                zone,
                services,
                class,
            });
        }
    }
    hosts
}

fn class(node: &Node, declared: &[&str], reader: &mut Reader<'_>) -> Option<ClassName> {
    let text = reader.text(node, "class", |text| Ok(text.to_owned()))?;
    if !declared.contains(&text.as_str()) {
        let flaw = match declared {
            [] => Flaw::new(format!("unknown class {}", quoted(&text)))
                .help(format!("declare it: `[class.{}.packages]`", shown(&text))),
            declared => unknown("class", &text, declared),
        };
        reader.report(node.span.clone(), flaw);
        return None;
    }
    // A name that is none is reported where it is declared.
    text.parse().ok()
}

fn host_name(node: &Node, seen: &mut Seen<'_>, reader: &mut Reader<'_>) -> Option<model::HostName> {
    let text = reader.text(node, "name", |text| Ok(text.to_owned()))?;
    match seen.hosts.get(&text) {
        Some(first) => {
            let line = reader.line_of(*first);
            let flaw = Flaw::new(format!("host {} is declared twice", quoted(&text)));
            let help = format!(
                "it is first declared in line {line}; a host's name is unique over all environments"
            );
            reader.report(node.span.clone(), flaw.help(help));
        }
        None => {
            seen.hosts.insert(text.clone(), node.span.start);
        }
    }
    reader.name(&text, node.span.clone())
}

/// A service on a host: its name if well formed, its address, and where that stands.
type Run = (Option<ServiceName>, String, Range<usize>);

/// What runs on a host, from `address` (for every service) or `services`.
fn runs(
    host: &Node,
    position: usize,
    declared: &[&str],
    fleet: &mut Fleet,
    reader: &mut Reader<'_>,
) -> Vec<Run> {
    match (host.get("address"), host.get("services")) {
        (Some(node), None) => {
            declared
                .iter()
                .for_each(|service| fleet.note(service, position));
            let Some(address) = reader.text(node, "address", places::address) else {
                return Vec::new();
            };
            let run = |service: &&str| (service.parse().ok(), address.clone(), node.span.clone());
            declared.iter().map(run).collect()
        }
        (None, Some(node)) => {
            let Some(fields) = reader.fields(node, "services") else {
                fleet.incomplete = true;
                return Vec::new();
            };
            if fields.is_empty() {
                fleet.incomplete = true;
                let flaw = Flaw::new("this host runs no service");
                let help = "write `services = { api = \"10.0.0.5:8080\" }`";
                reader.report(node.span.clone(), flaw.help(help));
            }
            let mut runs = Vec::new();
            for field in fields {
                if declared.contains(&field.name.as_str()) {
                    fleet.note(&field.name, position);
                } else if !declared.is_empty() {
                    // Without any declared service that is the problem, not each mention of one.
                    fleet.incomplete = true;
                    let flaw = unknown("service", &field.name, declared);
                    reader.report(field.name_span.clone(), flaw);
                }
                if let Some(address) = reader.text(&field.node, &field.name, places::address) {
                    runs.push((field.name.parse().ok(), address, field.node.span.clone()));
                }
            }
            runs
        }
        (Some(_), Some(node)) => {
            fleet.incomplete = true;
            let flaw = Flaw::new("a host has either `address` or `services`, not both");
            let help = "`address` is the short form when every service listens there";
            reader.report(node.span.clone(), flaw.help(help));
            Vec::new()
        }
        (None, None) => {
            fleet.incomplete = true;
            if !reader.lacks(host, "address") || !reader.lacks(host, "services") {
                return Vec::new();
            }
            let flaw = Flaw::new("`address` is missing in this host");
            let help = "add `address = \"10.0.0.5:8080\"`, or `services` with an address for each";
            reader.report(host.span.clone(), flaw.help(help));
            Vec::new()
        }
    }
}

/// Two hosts with one address are one process under two names: waves and
/// exposure would be wrong. The loopback is each host's own, so it may repeat.
fn check_addresses(host: &Node, runs: &[Run], seen: &mut Seen<'_>, reader: &mut Reader<'_>) {
    for (_, address, span) in runs {
        let local = ["127.", "localhost:", "[::1]:", "0.0.0.0:", "[::]:"];
        if local.iter().any(|prefix| address.starts_with(prefix)) {
            continue;
        }
        let name = match host.get("name").map(|name| &name.value) {
            Some(Value::Text(name)) => name.clone(),
            _ => String::from("?"),
        };
        let first = seen.addresses.entry(address.clone());
        let first = first.or_insert(Taken {
            host: host.span.start,
            name,
            at: span.start,
        });
        if first.host != host.span.start {
            let line = reader.line_of(first.at);
            let flaw = Flaw::new(format!("the address {} is taken", quoted(address)));
            let help = format!("host {} has it in line {line}", quoted(&first.name));
            reader.report(span.clone(), flaw.help(help));
        }
    }
}

impl Fleet {
    fn note(&mut self, service: &str, position: usize) {
        let runs_in = self.runs_in.entry(service.to_owned()).or_default();
        runs_in.insert(position);
    }

    /// Each service needs hosts, and none may skip a step on its way to a later environment.
    pub(super) fn check_services(&self, root: &Node, reader: &mut Reader<'_>) {
        let Some(Value::Table(fields)) = root.get("service").map(|node| &node.value) else {
            return;
        };
        if self.incomplete || self.unnamed {
            return;
        }
        for field in fields {
            let runs_in = self.runs_in.get(&field.name);
            let Some(last) = runs_in.and_then(BTreeSet::last) else {
                let flaw = Flaw::new(format!("no host runs the service {}", quoted(&field.name)));
                let help = "give a host its address: `services = { NAME = \"10.0.0.5:8080\" }`";
                reader.report(field.name_span.clone(), flaw.help(help));
                continue;
            };
            let skipped = (0..*last).find(|at| runs_in.is_some_and(|runs| !runs.contains(at)));
            let name = |at: usize| self.names.get(at).map(String::as_str).unwrap_or_default();
            if let Some(skipped) = skipped {
                let flaw = Flaw::new(format!(
                    "the service {} has hosts in {} but none in {}",
                    quoted(&field.name),
                    quoted(name(*last)),
                    quoted(name(skipped))
                ));
                let help = "a release must pass every earlier environment; give it a host there";
                reader.report(field.name_span.clone(), flaw.help(help));
            }
        }
    }

    pub(super) fn into_environments(self) -> Vec<Environment> {
        self.environments
    }
}
