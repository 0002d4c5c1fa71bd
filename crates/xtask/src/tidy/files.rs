//! Reads the project's files into memory.
//!
//! Invariant: what git ignores is not read, and what is new and not yet added
//! is, so that a rule is broken on the author's machine first.

use std::io::ErrorKind::{IsADirectory, NotFound};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::File;

/// All text files of the project, in the order of their paths.
pub(super) fn read(root: &Path) -> Result<Vec<File>> {
    let mut paths = match listed(root) {
        Some(paths) => paths,
        None => walked(root)?,
    };
    paths.sort();
    paths.dedup();
    let mut files = Vec::new();
    for path in paths {
        let bytes = match std::fs::read(root.join(&path)) {
            Ok(bytes) => bytes,
            // Deleted and not yet committed, or a link to a folder.
            Err(error) if matches!(error.kind(), NotFound | IsADirectory) => continue,
            Err(error) => return Err(error).with_context(|| format!("can't read {path}")),
        };
        // Pictures and the like have no lines to judge.
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path, text });
        }
    }
    Ok(files)
}

/// As git sees it; none without git or outside a repository.
fn listed(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others"])
        .arg("--exclude-standard")
        .current_dir(root)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split_terminator('\0').map(ToOwned::to_owned).collect())
}

/// Everything but build output, for a source tree without git.
fn walked(root: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root.join(&folder))
            .with_context(|| format!("can't list ./{folder}"))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if folder.is_empty() && (name == "target" || name == ".git") {
                continue;
            }
            let path = match folder.as_str() {
                "" => name,
                folder => format!("{folder}/{name}"),
            };
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}
