//! From a project on disk to a bundle, its blobs, and what checks read of them.
//!
//! Invariant: what is checked here is what would be uploaded: the same bytes, read once.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use check::ServiceSource;
use model::{
    Bundle, BundlePath, Digest, Finding, Gate, PackageEntry, PackageFacts, ServiceName, Severity,
};

use crate::findings::Sources;
use crate::output::Failure;

/// Files are read into checks up to so many bytes in all, small ones first: what is
/// larger is data, and the control plane looks at it by its own bounds.
const CHECKED_BYTES_MAX: u64 = 64 << 20;

/// A service as it would be proposed.
#[derive(Debug)]
pub(crate) struct Pack {
    pub(crate) bundle: Bundle,
    pub(crate) blobs: BTreeMap<Digest, Bytes>,
    /// For [`check::Tree`].
    pub(crate) files: BTreeMap<BundlePath, Vec<u8>>,
    /// For findings.
    pub(crate) sources: Sources,
    /// What could not be looked at here, and does not stop a check.
    pub(crate) notes: Vec<Finding>,
}

/// What an archive that was not built yet means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Archives {
    /// It is needed: the bundle is uploaded.
    Needed,
    /// A hook runs before the build: what plimsoll.toml says of the package must do.
    MayBeAbsent,
}

/// Reads files and archives. All problems at once.
pub(crate) fn pack(
    service: &ServiceName,
    source: &ServiceSource,
    folder: &Path,
    archives: Archives,
) -> Result<Pack, Failure> {
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    let mut packed = wire::pack::Packed::default();
    if let Some(files) = &source.files {
        match wire::pack::folder(&folder.join(files)) {
            Ok(found) => packed = found,
            Err(found) => problems.extend(found),
        }
    }
    let mut packages = BTreeMap::new();
    for (name, package) in &source.packages {
        let path = folder.join(&package.archive);
        let declared = facts(package);
        if archives == Archives::MayBeAbsent && !path.exists() {
            notes.push(absent(&path));
            packages.insert(name.clone(), entry(declared));
            continue;
        }
        match wire::pack::package(&path, name, declared) {
            Ok((entry, bytes)) => {
                packed.blobs.insert(entry.digest, bytes);
                packages.insert(name.clone(), entry);
            }
            Err(found) => problems.extend(found),
        }
    }
    let bundle = Bundle {
        requires: source.requires.clone(),
        service: service.clone(),
        files: packed.files,
        packages,
        commands: source.commands.clone(),
        health: source.health.clone(),
        plan: source.plan.clone(),
    };
    let words: Vec<String> = problems
        .iter()
        .map(ToString::to_string)
        .chain(bundle.problems())
        .collect();
    if !words.is_empty() {
        let count = words.len();
        let s = if count == 1 { "" } else { "s" };
        return Err(Failure::broken(format!(
            "the bundle has {count} problem{s}:\n  {}",
            words.join("\n  ")
        )));
    }
    let prefix = source.files.as_deref().unwrap_or_default();
    let files = documents(&bundle, &packed.blobs, &mut notes);
    let sources = sources(&files, &folder.join(prefix));
    Ok(Pack {
        bundle,
        blobs: packed.blobs,
        files,
        sources,
        notes,
    })
}

/// What plimsoll.toml says of a package.
pub(crate) fn facts(package: &check::PackageSource) -> PackageFacts {
    PackageFacts {
        version: package.version.clone(),
        requires: package.requires.clone(),
        conflicts: package.conflicts.clone(),
        provides: package.provides.clone(),
    }
}

/// A package whose bytes nobody has looked at.
pub(crate) fn entry(facts: PackageFacts) -> PackageEntry {
    PackageEntry {
        version: facts.version,
        digest: Digest::of(b""),
        size_bytes: 0,
        requires: facts.requires,
        conflicts: facts.conflicts,
        provides: facts.provides,
    }
}

fn absent(path: &Path) -> Finding {
    note(
        None,
        format!(
            "{} is not there: its own words are not checked",
            path.display()
        ),
        "build it first to have them checked here; a push needs it",
    )
}

fn note(file: Option<String>, message: String, help: &str) -> Finding {
    Finding {
        gate: Gate::Checks,
        severity: Severity::Warn,
        file,
        line: 0,
        column: 0,
        message,
        help: Some(help.to_owned()),
    }
}

/// The files that checks read: smallest first, as far as there is room.
fn documents(
    bundle: &Bundle,
    blobs: &BTreeMap<Digest, Bytes>,
    notes: &mut Vec<Finding>,
) -> BTreeMap<BundlePath, Vec<u8>> {
    let mut by_size: Vec<_> = bundle
        .files
        .iter()
        .map(|(path, entry)| (entry.size_bytes, path, entry.digest))
        .collect();
    by_size.sort();
    let mut room = CHECKED_BYTES_MAX;
    let mut files = BTreeMap::new();
    for (size, path, digest) in by_size {
        match blobs.get(&digest) {
            Some(bytes) if size <= room => {
                room -= size;
                files.insert(path.clone(), bytes.to_vec());
            }
            Some(_) | None => notes.push(note(
                Some(path.to_string()),
                "too large to be checked here".to_owned(),
                "the control plane checks what rules name, by its own bounds",
            )),
        }
    }
    files
}

/// Texts by their path in the bundle, with the names that people know them by.
fn sources(files: &BTreeMap<BundlePath, Vec<u8>>, folder: &Path) -> Sources {
    let named = files.iter().filter_map(|(path, bytes)| {
        let text = std::str::from_utf8(bytes).ok()?.to_owned();
        let shown = folder.join(path.as_str()).display().to_string();
        let shown = shown.strip_prefix("./").unwrap_or(&shown).to_owned();
        Some((path.to_string(), (shown, text)))
    });
    Sources {
        files: named.collect(),
    }
}
