//! `[[freeze]]`: times of the week in which nothing is released.

use model::{FreezeWindow, Scope};

use super::fleet::{Fleet, list_of_tables};
use super::grammar::{self, Flaw};
use super::reader::Reader;
use super::tree::Node;
use super::unknown;

const KEYS: [&str; 6] = ["environment", "service", "from", "to", "zone", "reason"];

/// Reads all windows; `services` are the declared services' names as written.
pub(super) fn read(
    root: &Node,
    services: &[&str],
    fleet: &Fleet,
    reader: &mut Reader<'_>,
) -> Vec<FreezeWindow> {
    let nodes = root.get("freeze");
    let nodes = nodes.and_then(|node| list_of_tables(node, "freeze", "[[freeze]]", reader));
    let windows = nodes.unwrap_or_default().iter();
    let windows = windows.map(|node| window(node, services, fleet, reader));
    windows.collect::<Vec<_>>().into_iter().flatten().collect()
}

fn window(
    node: &Node,
    services: &[&str],
    fleet: &Fleet,
    reader: &mut Reader<'_>,
) -> Option<FreezeWindow> {
    let table = reader.table(node, "freeze", &KEYS)?;
    let scope = scope(table, services, fleet, reader);
    let label = "this freeze";
    let from = reader
        .required(table, label, "from", "\"fri 16:00\"")
        .and_then(|node| reader.text(node, "from", grammar::week_minute));
    let to = reader.required(table, label, "to", "\"mon 08:00\"");
    let to_minute = to.and_then(|node| reader.text(node, "to", grammar::week_minute));
    if let (Some(node), true) = (to, from.is_some() && from == to_minute) {
        let flaw = Flaw::new("this freeze ends when it begins");
        let help = "to stop everything for longer use `plimsoll freeze`";
        reader.report(node.span.clone(), flaw.help(help));
    }
    let zone = reader
        .required(table, label, "zone", "\"Europe/Berlin\"")
        .and_then(|node| reader.text(node, "zone", grammar::time_zone));
    let reason = reader
        .required(table, label, "reason", "\"weekend\"")
        .and_then(|node| reader.text(node, "reason", grammar::sentence));
    Some(FreezeWindow {
        scope: scope?,
        from_minute: from?,
        to_minute: to_minute?,
        zone: zone?,
        reason: reason?,
    })
}

fn scope(table: &Node, services: &[&str], fleet: &Fleet, reader: &mut Reader<'_>) -> Option<Scope> {
    let plain = |text: &str| Ok(text.to_owned());
    match (table.get("environment"), table.get("service")) {
        (None, None) => Some(Scope::Everything),
        (Some(_), Some(node)) => {
            let flaw = Flaw::new("a freeze has either `environment` or `service`, not both");
            let help = "write two freezes, or leave both out to freeze everything";
            reader.report(node.span.clone(), flaw.help(help));
            None
        }
        (Some(node), None) => {
            let name = reader.text(node, "environment", plain)?;
            if !fleet.unnamed && !fleet.names.contains(&name) {
                let known: Vec<&str> = fleet.names.iter().map(String::as_str).collect();
                reader.report(node.span.clone(), unknown("environment", &name, &known));
            }
            name.parse().ok().map(Scope::Environment)
        }
        (None, Some(node)) => {
            let name = reader.text(node, "service", plain)?;
            if !services.is_empty() && !services.contains(&name.as_str()) {
                reader.report(node.span.clone(), unknown("service", &name, services));
            }
            name.parse().ok().map(Scope::Service)
        }
    }
}
