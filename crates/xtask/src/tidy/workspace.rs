//! What cargo knows of the workspace, in the few words that the rules need.
//!
//! Invariant: it is read with `--locked`, so that the rules judge what is built.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// The crates of this workspace and everything that they are built from.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub(super) crates: Vec<Crate>,
    /// By cargo's own id.
    pub(super) packages: BTreeMap<String, Package>,
}

/// One crate of this workspace.
#[derive(Debug)]
pub(super) struct Crate {
    pub(super) name: String,
    /// Its package.
    pub(super) id: String,
    pub(super) dependencies: Vec<Dependency>,
}

/// A dependency as a manifest declares it.
#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// Another crate of this workspace.
    pub(super) local: bool,
}

/// A package at one version.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// As its author wrote it.
    pub(super) licence: Option<String>,
    pub(super) local: bool,
    /// What it is built with and from, without what only its tests need.
    pub(super) needs: Vec<String>,
}

impl Crate {
    /// Its manifest, relative to the root.
    pub(super) fn manifest(&self) -> String {
        format!("crates/{}/Cargo.toml", self.name)
    }
}

/// Asks cargo, for these platforms only.
pub(super) fn read(root: &Path, targets: &[String]) -> Result<Workspace> {
    let mut options = vec!["--locked".to_owned()];
    for target in targets {
        options.extend(["--filter-platform".to_owned(), target.clone()]);
    }
    let metadata = MetadataCommand::new()
        .current_dir(root)
        .other_options(options)
        .exec()
        .context("cargo can't describe the workspace; does `cargo check --locked` work?")?;
    Ok(of(&metadata))
}

fn of(metadata: &Metadata) -> Workspace {
    let crates = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| Crate {
            name: package.name.to_string(),
            id: package.id.repr.clone(),
            dependencies: package
                .dependencies
                .iter()
                .map(|dependency| Dependency {
                    name: dependency.name.clone(),
                    local: dependency.path.is_some(),
                })
                .collect(),
        })
        .collect();
    let mut needs = needs(metadata);
    let packages = metadata
        .packages
        .iter()
        .map(|package| {
            let id = package.id.repr.clone();
            let needs = needs.remove(&id).unwrap_or_default();
            let package = Package {
                name: package.name.to_string(),
                version: package.version.to_string(),
                licence: package.license.clone(),
                local: package.source.is_none(),
                needs,
            };
            (id, package)
        })
        .collect();
    Workspace { crates, packages }
}

fn needs(metadata: &Metadata) -> BTreeMap<String, Vec<String>> {
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    nodes
        .map(|node| {
            let needs = node
                .deps
                .iter()
                .filter(|dep| {
                    let mut kinds = dep.dep_kinds.iter().map(|kind| kind.kind);
                    kinds.any(|kind| kind != DependencyKind::Development)
                })
                .map(|dep| dep.pkg.repr.clone());
            (node.id.repr.clone(), needs.collect())
        })
        .collect()
}
