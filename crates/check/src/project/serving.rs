//! What a service says of how gateways are to carry its requests.
//!
//! Invariant: what is absent stays absent; a gateway's own option is the default then.

use std::ops::RangeInclusive;

use model::serving::{Protocol, UpstreamSpec, WORKERS_MAX};
use model::{Millis, Priority, Retry, Serving, Workers};

use super::grammar::{Flaw, quoted};
use super::places;
use super::reader::Reader;
use super::tree::{Node, Value};

/// Shorter than a connection within a data centre; longer than any client waits.
const DEADLINE: RangeInclusive<Millis> = Millis(10)..=Millis::seconds(3600);
const WORKERS_HELP: &str = "write a number like 8, \"auto\" or \"off\"";

/// `workers`, `deadline`, `priority_header` and `upstream…` of a service's table.
pub(super) fn read(table: &Node, tenant: Option<&str>, reader: &mut Reader<'_>) -> Serving {
    let workers = table.get("workers").and_then(|node| workers(node, reader));
    let deadline_ms = table
        .get("deadline")
        .and_then(|node| reader.duration(node, "deadline", DEADLINE));
    let priority_header = table.get("priority_header").and_then(|node| {
        let name = reader.text(node, "priority_header", places::header)?;
        if tenant == Some(name.as_str()) {
            let message = format!("{} names the customer already", quoted(&name));
            let help = "`priority_header` and `tenant_header` are two headers";
            reader.report(node.span.clone(), Flaw::new(message).help(help));
        }
        Some(name)
    });
    Serving {
        workers,
        deadline_ms,
        priority_header,
        upstream: upstream(table, reader),
    }
}

fn upstream(table: &Node, reader: &mut Reader<'_>) -> UpstreamSpec {
    let schemes = [("http", false), ("https", true)];
    let tls = table
        .get("upstream")
        .map(|node| reader.word(node, "upstream", &schemes));
    let protocols = [("http/1.1", Protocol::Http1), ("h2", Protocol::Http2)];
    let protocol = table
        .get("upstream_protocol")
        .and_then(|node| reader.word(node, "upstream_protocol", &protocols));
    let server_name = table.get("upstream_name").and_then(|node| {
        let is_plain = match tls {
            None => reader.lacks(table, "upstream"),
            Some(tls) => tls == Some(false),
        };
        if is_plain {
            let flaw = Flaw::new("`upstream_name` goes with `upstream = \"https\"` only");
            reader.report(
                node.span.clone(),
                flaw.help("leave it out, or add the other"),
            );
        }
        reader.text(node, "upstream_name", places::server_name)
    });
    UpstreamSpec {
        tls: tls.flatten().unwrap_or_default(),
        protocol: protocol.unwrap_or_default(),
        server_name,
    }
}

fn workers(node: &Node, reader: &mut Reader<'_>) -> Option<Workers> {
    match &node.value {
        Value::Text(_) => reader.text(node, "workers", |text| match text {
            "auto" => Ok(Workers::Auto),
            "off" => Ok(Workers::Off),
            other => {
                let message = format!("{} is no number of workers", quoted(other));
                Err(Flaw::new(message).help(WORKERS_HELP))
            }
        }),
        Value::Integer(_) => {
            let number = reader.count(node, "workers", 1..=u64::from(WORKERS_MAX))?;
            u32::try_from(number).ok().map(Workers::Number)
        }
        Value::Float | Value::Boolean(_) | Value::Date | Value::List(_) | Value::Table(_) => {
            let message = format!("`workers` must be a number or a word, not {}", node.kind());
            reader.report(node.span.clone(), Flaw::new(message).help(WORKERS_HELP));
            None
        }
    }
}

/// `priority` of a class of endpoints.
pub(super) fn priority(table: &Node, reader: &mut Reader<'_>) -> Option<Priority> {
    let words = Priority::ALL.map(|it| (it.word(), it));
    match table.get("priority") {
        Some(node) => reader.word(node, "priority", &words),
        None => Some(Priority::default()),
    }
}

/// `retry` of a class of endpoints.
pub(super) fn retry(table: &Node, reader: &mut Reader<'_>) -> Option<Retry> {
    let words = [
        ("never", Retry::Never),
        ("idempotent", Retry::Idempotent),
        ("always", Retry::Always),
    ];
    match table.get("retry") {
        Some(node) => reader.word(node, "retry", &words),
        None => Some(Retry::default()),
    }
}
