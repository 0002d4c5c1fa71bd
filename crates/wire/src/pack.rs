//! Packs a folder and package archives into a bundle and its blobs.
//!
//! Invariant: what was packed is what was read once. Each file is read one
//! time into a blob, so a file that changes meanwhile can't give a manifest
//! that fits no blob.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use model::bundle::{BUNDLE_BYTES_MAX, BUNDLE_ENTRIES_MAX};
use model::{BundlePath, Digest, FileEntry, PackageEntry, PackageFacts, PackageName};

/// Files and their contents.
#[derive(Debug, Default)]
pub struct Packed {
    /// For [`model::Bundle::files`].
    pub files: BTreeMap<BundlePath, FileEntry>,
    /// Contents by digest.
    pub blobs: BTreeMap<Digest, Bytes>,
}

/// One thing that can't be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackProblem {
    /// It isn't there, or can't be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Links may point out of the bundle, and mean something else on another host.
    #[error("{path} is a symbolic link: put the file itself in its place")]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// A socket, device or pipe.
    #[error("{path} is neither file nor folder")]
    Special {
        /// Which.
        path: PathBuf,
    },
    /// The name can't be a path in a bundle.
    #[error("{path}: {reason}")]
    Name {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Too many files, or too many bytes.
    #[error("{path}: {reason}")]
    TooMuch {
        /// Where the limit was met.
        path: PathBuf,
        /// Which limit.
        reason: String,
    },
    /// What the archive says of its package can't be read, or is not what `plimsoll.toml` says.
    #[error("{path}: {reason}")]
    Facts {
        /// Which archive.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Packs every file below `folder`. All problems at once.
///
/// # Errors
/// Everything that can't be packed.
pub fn folder(folder: &Path) -> Result<Packed, Vec<PackProblem>> {
    let mut packing = Packing {
        packed: Packed::default(),
        problems: Vec::new(),
        bytes: 0,
    };
    packing.walk(folder, "");
    packing.full(folder);
    if packing.problems.is_empty() {
        Ok(packing.packed)
    } else {
        Err(packing.problems)
    }
}

/// Reads one package archive. What is declared of it is united with what the
/// archive says of itself ([`crate::facts`]).
///
/// # Errors
/// When it can't be read, is larger than a bundle may be, or when the two contradict each other.
pub fn package(
    path: &Path,
    name: &PackageName,
    declared: PackageFacts,
) -> Result<(PackageEntry, Bytes), Vec<PackProblem>> {
    let bytes = archive(path).map_err(|problem| vec![problem])?;
    let mut entry = PackageEntry {
        version: declared.version,
        digest: Digest::of(&bytes),
        size_bytes: bytes.len() as u64,
        requires: declared.requires,
        conflicts: declared.conflicts,
        provides: declared.provides,
    };
    let problem = |reason| PackProblem::Facts {
        path: path.into(),
        reason,
    };
    match crate::facts::read(&bytes[..]) {
        Err(error) => return Err(vec![problem(error.to_string())]),
        Ok(None) => {}
        Ok(Some(stated)) => {
            let contradictions = stated.contradictions(name, &entry);
            if !contradictions.is_empty() {
                return Err(contradictions.into_iter().map(problem).collect());
            }
            stated.unite(&mut entry);
        }
    }
    Ok((entry, bytes))
}

fn archive(path: &Path) -> Result<Bytes, PackProblem> {
    let unreadable = |source| PackProblem::Unreadable {
        path: path.into(),
        source,
    };
    let size_bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if size_bytes > BUNDLE_BYTES_MAX {
        let reason = format!("{size_bytes} bytes; a bundle may have {BUNDLE_BYTES_MAX}");
        return Err(PackProblem::TooMuch {
            path: path.into(),
            reason,
        });
    }
    std::fs::read(path).map(Bytes::from).map_err(unreadable)
}

struct Packing {
    packed: Packed,
    problems: Vec<PackProblem>,
    bytes: u64,
}

impl Packing {
    fn walk(&mut self, folder: &Path, prefix: &str) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(source) => {
                return self.problems.push(PackProblem::Unreadable {
                    path: folder.into(),
                    source,
                });
            }
        };
        for entry in entries {
            if self.full(folder) {
                return;
            }
            match entry {
                Ok(entry) => self.entry(&entry, prefix),
                Err(source) => {
                    self.problems.push(PackProblem::Unreadable {
                        path: folder.into(),
                        source,
                    });
                }
            }
        }
    }

    fn entry(&mut self, entry: &std::fs::DirEntry, prefix: &str) {
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            let reason = "its name is not UTF-8".into();
            return self.problems.push(PackProblem::Name { path, reason });
        };
        let inner = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        match entry.file_type() {
            Err(source) => self.problems.push(PackProblem::Unreadable { path, source }),
            Ok(kind) if kind.is_symlink() => self.problems.push(PackProblem::Link { path }),
            Ok(kind) if kind.is_dir() => self.walk(&path, &inner),
            Ok(kind) if kind.is_file() => self.file(path, &inner),
            Ok(_) => self.problems.push(PackProblem::Special { path }),
        }
    }

    fn file(&mut self, path: PathBuf, inner: &str) {
        let name = match inner.parse::<BundlePath>() {
            Ok(name) => name,
            Err(error) => {
                return self.problems.push(PackProblem::Name {
                    path,
                    reason: error.to_string(),
                });
            }
        };
        let read = std::fs::metadata(&path).and_then(|metadata| {
            self.bytes = self.bytes.saturating_add(metadata.len());
            // A file past the limit is not read at all: it may not fit in memory.
            let bytes = if self.bytes > BUNDLE_BYTES_MAX {
                Vec::new()
            } else {
                std::fs::read(&path)?
            };
            Ok((bytes, metadata.permissions().mode() & 0o111 != 0))
        });
        match read {
            Err(source) => self.problems.push(PackProblem::Unreadable { path, source }),
            Ok((bytes, executable)) => {
                let bytes = Bytes::from(bytes);
                let digest = Digest::of(&bytes);
                let size_bytes = bytes.len() as u64;
                self.packed.files.insert(
                    name,
                    FileEntry {
                        digest,
                        size_bytes,
                        executable,
                    },
                );
                self.packed.blobs.insert(digest, bytes);
            }
        }
    }

    fn full(&mut self, at: &Path) -> bool {
        let reason = if self.packed.files.len() > BUNDLE_ENTRIES_MAX {
            format!("more than {BUNDLE_ENTRIES_MAX} files")
        } else if self.bytes > BUNDLE_BYTES_MAX {
            format!("more than {BUNDLE_BYTES_MAX} bytes in all")
        } else {
            return false;
        };
        let known = self
            .problems
            .iter()
            .any(|p| matches!(p, PackProblem::TooMuch { .. }));
        if !known {
            self.problems.push(PackProblem::TooMuch {
                path: at.into(),
                reason,
            });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_what_is_there_and_reports_all_that_is_wrong() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("conf.d")).unwrap();
        std::fs::write(root.path().join("conf.d/a.toml"), "a = 1\n").unwrap();
        std::fs::write(root.path().join("same.toml"), "a = 1\n").unwrap();
        let packed = folder(root.path()).unwrap();
        assert_eq!(packed.files.len(), 2);
        assert_eq!(packed.blobs.len(), 1, "equal contents are one blob");

        std::os::unix::fs::symlink("/etc/passwd", root.path().join("link")).unwrap();
        std::fs::write(root.path().join("tab\there"), "").unwrap();
        let problems = folder(root.path()).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(matches!(
            folder(&root.path().join("absent")).unwrap_err()[..],
            [PackProblem::Unreadable { .. }]
        ));
    }

    #[test]
    fn a_sparse_giant_is_refused_without_being_read() {
        let root = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(root.path().join("giant")).unwrap();
        file.set_len(BUNDLE_BYTES_MAX + 1).unwrap();
        std::fs::write(root.path().join("zz"), "x").unwrap();
        let problems = folder(root.path()).unwrap_err();
        assert!(
            problems
                .iter()
                .any(|p| matches!(p, PackProblem::TooMuch { .. }))
        );
    }
}
