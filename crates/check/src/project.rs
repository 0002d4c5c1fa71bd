//! `plimsoll.toml`: what there is, and what `plimsoll push` packs.
//!
//! The text goes through three steps: TOML to a `tree` that knows its places,
//! readers that check each part by itself (`fleet`, `service`, `checks` …),
//! and last the checks between parts. A mistake in one part never hides
//! another, so people see everything that is wrong in one run. Only broken TOML
//! ends the reading, because nothing after it can be trusted to mean what it says.

mod checks;
mod fleet;
mod freeze;
mod grammar;
mod judge;
mod packages;
mod people;
mod places;
mod plan;
mod reader;
mod resolve;
mod service;
mod serving;
mod traffic;
mod tree;

use std::collections::BTreeMap;

use model::{Commands, HealthCheck, PackageName, Plan, ServiceName, Topology};

use crate::problem::Problems;
use grammar::{Flaw, quoted};
pub use people::{Draft, people};
use reader::Reader;
pub use resolve::ChecksSource;

/// A longer file is refused unread: it is a wrong file, not a project.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Everything `plimsoll.toml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The pipeline of environments with their hosts, and the services.
    pub topology: Topology,
    /// What each service's bundle is packed from; the same keys as `topology.services`.
    pub services: BTreeMap<ServiceName, ServiceSource>,
}

/// What `plimsoll push` packs into a service's bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceSource {
    /// The folder with the configuration files, relative to `plimsoll.toml`:
    /// `/`-separated, without `.`, `..` and empty parts.
    pub files: Option<String>,
    /// Packages by name.
    pub packages: BTreeMap<PackageName, PackageSource>,
    /// Packages and features that the files need beside them, with version ranges.
    pub requires: BTreeMap<PackageName, String>,
    /// How hosts check and apply the bundle.
    pub commands: Commands,
    /// How hosts know that the service works.
    pub health: Option<HealthCheck>,
    /// A stage for every environment of the pipeline, defaults filled in.
    pub plan: Plan,
    /// What of the service's rules stands in other files; the rest is in the topology.
    pub checks: ChecksSource,
}

/// Where a package comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSource {
    /// The package's own version.
    pub version: String,
    /// The `.tar` or `.tar.gz` file, relative to `plimsoll.toml`, in the form of [`ServiceSource::files`].
    pub archive: String,
    /// Packages and features that must be deployed beside it, with version ranges.
    pub requires: BTreeMap<PackageName, String>,
    /// Packages and features that must not be.
    pub conflicts: BTreeMap<PackageName, String>,
    /// Features that it brings, with their versions.
    pub provides: BTreeMap<PackageName, String>,
}

/// Reads `plimsoll.toml`.
///
/// `file_name` is used in problems only.
///
/// # Errors
/// Every mistake in the text, in its order. Of broken TOML only the first.
pub fn parse(file_name: &str, text: &str) -> Result<Project, Problems> {
    let mut reader = Reader::new(text);
    let mut project = read(text, &mut reader);
    for source in project.services.values_mut() {
        source.checks.locate(file_name, text);
    }
    match Problems::place(file_name, text, reader.into_found()) {
        Some(problems) => Err(problems),
        None => Ok(project),
    }
}

fn read(text: &str, reader: &mut Reader<'_>) -> Project {
    let mut project = Project {
        topology: Topology::default(),
        services: BTreeMap::new(),
    };
    if text.len() > FILE_BYTES_MAX {
        let flaw = Flaw::new(format!(
            "the file has {} bytes; at most {FILE_BYTES_MAX} are read",
            text.len()
        ));
        reader.report(0..0, flaw.help("is this the right file?"));
        return project;
    }
    let document = match toml_edit::Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            // Some of the parser's messages have several lines; a problem has one.
            let message = error.message().trim().replace('\n', ", ");
            reader.report(span, Flaw::new(format!("not TOML: {message}")));
            return project;
        }
    };
    let root = tree::of_document(document.as_table());
    let known = ["service", "environment", "class", "catalog", "freeze"];
    reader.table(&root, "plimsoll.toml", &known);

    let declared = declared(&root, "service");
    let fleet = fleet::read(&root, &declared, &self::declared(&root, "class"), reader);
    let (services, specs) = service::read(&root, &fleet, reader);
    fleet.check_services(&root, reader);
    project.topology.classes = packages::classes(&root, reader);
    project.topology.catalog = packages::catalog(&root, reader);
    project.topology.freezes = freeze::read(&root, &declared, &fleet, reader);

    project.services = services;
    project.topology.services = specs;
    project.topology.environments = fleet.into_environments();
    project
}

/// The names under a key as written, well formed or not.
fn declared<'n>(root: &'n tree::Node, key: &str) -> Vec<&'n str> {
    match root.get(key).map(|node| &node.value) {
        Some(tree::Value::Table(fields)) => {
            fields.iter().map(|field| field.name.as_str()).collect()
        }
        _ => Vec::new(),
    }
}

/// "unknown service `x`", with the known ones and the one that was probably meant.
fn unknown(kind: &str, name: &str, known: &[&str]) -> Flaw {
    let flaw = Flaw::new(format!("unknown {kind} {}", quoted(name)));
    let meant = crate::suggest::nearest(name, known.iter().copied());
    match meant {
        Some(meant) => flaw.help(format!("did you mean {meant:?}?")),
        None => {
            // A few are a help, hundreds are noise.
            let shown: Vec<String> = known.iter().take(8).map(|name| quoted(name)).collect();
            let more = if known.len() > 8 { ", …" } else { "" };
            flaw.help(format!("declared: {}{more}", shown.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests;
