//! What packages need, don't go with and bring: those of a service, of a class
//! of hosts, and of the catalog.

use std::collections::{BTreeMap, BTreeSet};

use model::{CatalogEntry, ClassName, HostClass, PackageFacts, PackageName};

use super::PackageSource;
use super::fleet::list_of_tables;
use super::grammar::{self, Flaw, quoted, shown};
use super::places;
use super::reader::Reader;
use super::tree::Node;

/// The packages of a service.
pub(super) fn released(
    node: &Node,
    reader: &mut Reader<'_>,
) -> BTreeMap<PackageName, PackageSource> {
    let known = ["version", "archive", "requires", "conflicts", "provides"];
    let mut packages = BTreeMap::new();
    for field in reader.fields(node, "packages").unwrap_or_default() {
        let name: Option<PackageName> = reader.name(&field.name, field.name_span.clone());
        let Some(table) = reader.table(&field.node, "package", &known) else {
            continue;
        };
        let version = reader
            .required(table, "this package", "version", "\"1.4.2\"")
            .and_then(|node| reader.text(node, "version", places::version));
        let example = "\"dist/server-1.4.2.tar.gz\"";
        let archive = reader
            .required(table, "this package", "archive", example)
            .and_then(|node| reader.text(node, "archive", places::archive));
        let requires = ranges(table, "requires", reader);
        let conflicts = ranges(table, "conflicts", reader);
        let provides = provides(table, reader);
        if let (Some(name), Some(version), Some(archive)) = (name, version, archive) {
            let source = PackageSource {
                version,
                archive,
                requires,
                conflicts,
                provides,
            };
            packages.insert(name, source);
        }
    }
    packages
}

/// `[class.NAME]`: what is deployed on hosts beside the services.
pub(super) fn classes(root: &Node, reader: &mut Reader<'_>) -> BTreeMap<ClassName, HostClass> {
    let mut classes = BTreeMap::new();
    let fields = root.get("class");
    let fields = fields.and_then(|node| reader.fields(node, "class"));
    for field in fields.unwrap_or_default() {
        let name: Option<ClassName> = reader.name(&field.name, field.name_span.clone());
        let label = format!("class.{}", shown(&field.name));
        let Some(table) = reader.table(&field.node, &label, &["packages"]) else {
            continue;
        };
        let packages = reader.required(table, "this class", "packages", "{}");
        let packages = packages.and_then(|node| reader.fields(node, "packages"));
        let mut class = HostClass::default();
        for field in packages.unwrap_or_default() {
            let name: Option<PackageName> = reader.name(&field.name, field.name_span.clone());
            let known = ["version", "requires", "conflicts", "provides"];
            let table = reader.table(&field.node, "package", &known);
            let facts = table.and_then(|table| facts(table, "this package", reader));
            if let (Some(name), Some(facts)) = (name, facts) {
                class.packages.insert(name, facts);
            }
        }
        classes.extend(name.map(|name| (name, class)));
    }
    classes
}

/// `[[catalog]]`: versions that could be deployed.
pub(super) fn catalog(root: &Node, reader: &mut Reader<'_>) -> Vec<CatalogEntry> {
    let nodes = root.get("catalog");
    let nodes = nodes.and_then(|node| list_of_tables(node, "catalog", "[[catalog]]", reader));
    let known = ["name", "version", "requires", "conflicts", "provides"];
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for node in nodes.unwrap_or_default() {
        let Some(table) = reader.table(node, "catalog", &known) else {
            continue;
        };
        let name = reader
            .required(table, "this entry", "name", "\"auth-runtime\"")
            .and_then(|node| {
                let text = reader.text(node, "name", |text| Ok(text.to_owned()))?;
                reader.name::<PackageName>(&text, node.span.clone())
            });
        let facts = facts(table, "this entry", reader);
        let (Some(name), Some(facts)) = (name, facts) else {
            continue;
        };
        if !seen.insert((name.clone(), crate::compat::version(&facts.version))) {
            let flaw = Flaw::new(format!("{name} {} is in the catalog twice", facts.version));
            reader.report(table.span.clone(), flaw.help("leave one of them out"));
        }
        entries.push(CatalogEntry { name, facts });
    }
    entries
}

fn facts(table: &Node, label: &str, reader: &mut Reader<'_>) -> Option<PackageFacts> {
    let version = reader
        .required(table, label, "version", "\"1.4.2\"")
        .and_then(|node| reader.text(node, "version", grammar::semantic_version));
    let (requires, conflicts) = (
        ranges(table, "requires", reader),
        ranges(table, "conflicts", reader),
    );
    let provides = provides(table, reader);
    Some(PackageFacts {
        version: version?,
        requires,
        conflicts,
        provides,
    })
}

/// `{ NAME = RANGE }` under a key that may be absent.
pub(super) fn ranges(
    table: &Node,
    key: &str,
    reader: &mut Reader<'_>,
) -> BTreeMap<PackageName, String> {
    by_package(table, key, grammar::version_range, reader)
}

fn provides(table: &Node, reader: &mut Reader<'_>) -> BTreeMap<PackageName, String> {
    by_package(table, "provides", grammar::semantic_version, reader)
}

fn by_package(
    table: &Node,
    key: &str,
    read: fn(&str) -> Result<String, Flaw>,
    reader: &mut Reader<'_>,
) -> BTreeMap<PackageName, String> {
    let fields = table.get(key).and_then(|node| reader.fields(node, key));
    let mut all = BTreeMap::new();
    for field in fields.unwrap_or_default() {
        let name = reader.name(&field.name, field.name_span.clone());
        let label = quoted(&field.name);
        let value = reader.text(&field.node, label.trim_matches('"'), read);
        if let (Some(name), Some(value)) = (name, value) {
            all.insert(name, value);
        }
    }
    all
}
