//! `[[service.NAME.endpoint]]` and `[service.NAME.prometheus]`: which requests
//! are alike, and where counts come from without our gateway.
//!
//! Invariant: every class that was read can have requests: none stands behind one that takes all.

use std::collections::BTreeMap;

use model::topology::ENDPOINT_CLASSES_MAX;
use model::{EndpointClass, Millis, PrometheusSource};

use super::fleet::{Fleet, list_of_tables};
use super::grammar::{self, Flaw, quoted};
use super::places;
use super::reader::Reader;
use super::tree::Node;
use super::{serving, unknown};

/// Paths of one class at most: each request is held against all of them.
const PATHS_MAX: usize = 64;
/// More methods than HTTP has.
const METHODS_MAX: usize = 16;
/// Prometheus is asked once a second at most: a tick is one second.
const EVERY_MIN: Millis = Millis::seconds(1);
/// A regression that is looked for less often than this has done its harm.
const EVERY_MAX: Millis = Millis::seconds(300);
/// Most scrape every 15 s; asking more often finds a new count sooner and costs little.
const EVERY: Millis = Millis::seconds(5);

/// The classes of endpoints, in the order in which they are tried.
pub(super) fn endpoints(node: &Node, reader: &mut Reader<'_>) -> Vec<EndpointClass> {
    let header = "[[service.NAME.endpoint]]";
    let nodes = list_of_tables(node, "endpoint", header, reader).unwrap_or_default();
    if nodes.len() > ENDPOINT_CLASSES_MAX {
        let flaw = Flaw::new(format!(
            "{} classes of endpoints; at most {ENDPOINT_CLASSES_MAX}",
            nodes.len()
        ));
        let help = "each is compared with itself, zone by zone: few and large ones show most";
        reader.report(node.span.clone(), flaw.help(help));
    }
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut takes_all: Option<String> = None;
    let mut classes = Vec::new();
    for node in nodes {
        let Some(class) = endpoint(node, &mut lines, reader) else {
            continue;
        };
        if let Some(before) = &takes_all {
            let flaw = Flaw::new(format!(
                "no request is left for this class: {} takes all",
                quoted(before)
            ));
            let help = "the first class that fits counts; put this one before it";
            reader.report(node.span.clone(), flaw.help(help));
        } else if class.methods.is_empty() && class.paths.is_empty() {
            takes_all = Some(class.name.clone());
        }
        classes.push(class);
    }
    classes
}

fn endpoint(
    node: &Node,
    lines: &mut BTreeMap<String, usize>,
    reader: &mut Reader<'_>,
) -> Option<EndpointClass> {
    let table = reader.table(
        node,
        "endpoint",
        &["name", "methods", "paths", "priority", "retry"],
    )?;
    let name = reader
        .required(table, "this endpoint", "name", "\"orders\"")
        .and_then(|node| {
            let name = reader.text(node, "name", grammar::class_name)?;
            let line = reader.line_of(node.span.start);
            let first = *lines.entry(name.clone()).or_insert(line);
            if first != line {
                let flaw = Flaw::new(format!("endpoint {} is declared twice", quoted(&name)));
                let help = format!(
                    "it is first declared in line {first}; give all its methods and paths there"
                );
                reader.report(node.span.clone(), flaw.help(help));
            }
            Some(name)
        });
    let methods = words(
        table,
        "methods",
        "[\"GET\"]",
        METHODS_MAX,
        grammar::method,
        reader,
    );
    let paths = words(
        table,
        "paths",
        "[\"/orders/*\"]",
        PATHS_MAX,
        places::endpoint_path,
        reader,
    );
    let priority = serving::priority(table, reader);
    let retry = serving::retry(table, reader);
    Some(EndpointClass {
        name: name?,
        methods: methods?,
        paths: paths?,
        priority: priority?,
        retry: retry?,
    })
}

/// A list that has entries if it is there; nothing when it is absent.
fn words(
    table: &Node,
    key: &str,
    example: &str,
    most: usize,
    read: impl Fn(&str) -> Result<String, Flaw>,
    reader: &mut Reader<'_>,
) -> Option<Vec<String>> {
    let Some(node) = table.get(key) else {
        // A misspelt key was reported; without it the class would take more than is meant.
        return reader.lacks(table, key).then(Vec::new);
    };
    let items = reader.list(node, key)?;
    if items.is_empty() || items.len() > most {
        let flaw = Flaw::new(format!(
            "`{key}` has 1 to {most} entries, not {}",
            items.len()
        ));
        let help = format!("write it like `{key} = {example}`, or leave it out: then all fit");
        reader.report(node.span.clone(), flaw.help(help));
        return None;
    }
    let read = reader.texts(node, key, read)?;
    (read.len() == items.len()).then_some(read)
}

/// Where counts come from when no gateway of ours carries the traffic.
pub(super) fn prometheus(
    node: &Node,
    fleet: &Fleet,
    reader: &mut Reader<'_>,
) -> Option<PrometheusSource> {
    let known = ["url", "requests", "failed", "every", "environment"];
    let table = reader.table(node, "prometheus", &known)?;
    let label = "this source";
    let url = reader
        .required(table, label, "url", "\"http://prometheus:9090\"")
        .and_then(|node| reader.text(node, "url", places::base_url));
    let mut query = |key: &str, example: &str| {
        reader
            .required(table, label, key, example)
            .and_then(|node| reader.text(node, key, grammar::query))
    };
    let requests = query(
        "requests",
        "'sum by (host) (http_requests_total{service=\"api\"})'",
    );
    let failed = query(
        "failed",
        "'sum by (host) (http_requests_total{service=\"api\", status=~\"5..\"})'",
    );
    let every_ms = match table.get("every") {
        Some(node) => reader.duration(node, "every", EVERY_MIN..=EVERY_MAX),
        None => Some(EVERY),
    };
    let environment = match table.get("environment") {
        Some(node) => {
            let name = reader.text(node, "environment", |text| Ok(text.to_owned()))?;
            let names: Vec<&str> = fleet.names.iter().map(String::as_str).collect();
            if !fleet.unnamed && !names.contains(&name.as_str()) {
                let flaw = unknown("environment", &name, &names);
                reader.report(node.span.clone(), flaw);
            }
            name.parse().ok()
        }
        None => fleet.names.last().and_then(|name| name.parse().ok()),
    };
    Some(PrometheusSource {
        url: url?,
        requests: requests?,
        failed: failed?,
        every_ms: every_ms?,
        environment: environment?,
    })
}
