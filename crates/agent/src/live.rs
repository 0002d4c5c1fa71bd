//! The one path that programs read: taking it over, and pointing it elsewhere.
//!
//! Invariant: at every instant `live` is either the old tree or the new one.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use model::{Bundle, Commands, Digest, Plan, ServiceName};
use wire::pack::{PackProblem, Packed};

use crate::AgentError;
use crate::disk;
use crate::error::{at, chain};
use crate::files::exchange;
use crate::store::{Store, StoreError, io};

/// What was found at a live path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its digest.
    pub(crate) digest: Digest,
    /// There was nothing.
    pub(crate) empty: bool,
}

/// Takes over what is live as generation 0. Nothing live changes by this.
pub(crate) fn adopt(
    store: &Store,
    service: &ServiceName,
    live: &Path,
) -> Result<Found, AgentError> {
    if let Some(digest) = pointed(store, live) {
        return Ok(Found {
            digest,
            empty: false,
        });
    }
    let (bundle, packed) = read(service, live)?;
    let adopt = |reason: String| AgentError::Adopt {
        service: service.clone(),
        path: live.into(),
        reason,
    };
    store
        .adopt(&bundle, &packed)
        .map_err(|error| adopt(chain(&error)))?;
    keep_owners(live, &store.tree(bundle.digest()), &bundle);
    Ok(Found {
        digest: bundle.digest(),
        empty: bundle.files.is_empty(),
    })
}

/// What programs find at `live`, as a bundle without commands: what generation 0 is.
fn read(service: &ServiceName, live: &Path) -> Result<(Bundle, Packed), AgentError> {
    let adopt = |reason: String| AgentError::Adopt {
        service: service.clone(),
        path: live.into(),
        reason,
    };
    let packed = match fs::metadata(live) {
        Err(error) if error.kind() == ErrorKind::NotFound => Packed::default(),
        Err(error) => return Err(at(live)(error)),
        Ok(_) => wire::pack::folder(live).map_err(|problems| {
            let lines = problems.iter().map(|problem| match problem {
                PackProblem::Unreadable { source, .. } => format!("{problem} ({source})"),
                PackProblem::Link { .. }
                | PackProblem::Special { .. }
                | PackProblem::Name { .. }
                | PackProblem::TooMuch { .. }
                | PackProblem::Facts { .. } => problem.to_string(),
            });
            adopt(lines.collect::<Vec<_>>().join("\n"))
        })?,
    };
    let bundle = Bundle {
        requires: Default::default(),
        service: service.clone(),
        files: packed.files.clone(),
        packages: Default::default(),
        commands: Commands::default(),
        health: None,
        plan: Plan::default(),
    };
    match bundle.problems().first() {
        Some(problem) => Err(adopt(problem.clone())),
        None => Ok((bundle, packed)),
    }
}

/// Whether programs find this tree at `live`: through the link, or, as long as
/// nothing was ever changed here, as the very files that were taken over.
pub(crate) fn shows(store: &Store, service: &ServiceName, live: &Path, digest: Digest) -> bool {
    match pointed(store, live) {
        Some(pointed) => pointed == digest,
        None => read(service, live).is_ok_and(|(bundle, _)| bundle.digest() == digest),
    }
}

/// Generation 0 keeps its files' owners and modes: programs run as somebody, and secrets are not for all.
fn keep_owners(live: &Path, tree: &Path, bundle: &Bundle) {
    use std::os::unix::fs::MetadataExt;
    for path in bundle.files.keys() {
        let (from, to) = (live.join(path.as_str()), tree.join(path.as_str()));
        let kept = fs::metadata(&from).and_then(|metadata| {
            std::os::unix::fs::chown(&to, Some(metadata.uid()), Some(metadata.gid()))?;
            fs::set_permissions(&to, metadata.permissions())
        });
        if let Err(error) = kept {
            tracing::warn!(%path, %error, "owner and mode can't be kept");
        }
    }
}

/// Which of our trees `live` points to.
pub(crate) fn pointed(store: &Store, live: &Path) -> Option<Digest> {
    let target = fs::read_link(live).ok()?;
    let digest: Digest = target.file_name()?.to_str()?.parse().ok()?;
    (target == store.tree(digest)).then_some(digest)
}

/// Points `live` to a tree.
pub(crate) fn swap(
    store: &Store,
    service: &ServiceName,
    live: &Path,
    digest: Digest,
) -> Result<(), StoreError> {
    let tree = store.tree(digest);
    if !tree.is_dir() {
        return Err(StoreError::Absent {
            digest: digest.short(),
        });
    }
    if let Some(parent) = live.parent() {
        fs::create_dir_all(parent).map_err(io(parent))?;
    }
    let link = disk::aside(live);
    let _ = fs::remove_file(&link);
    symlink(&tree, &link).map_err(io(&link))?;
    let is_folder = fs::symlink_metadata(live).is_ok_and(|metadata| metadata.is_dir());
    if is_folder {
        take_over(store, service, live, &link)?;
    } else {
        fs::rename(&link, live).map_err(io(live))?;
    }
    disk::sync_parent(live).map_err(io(live))
}

/// The first time: the folder itself makes way for the link, in one step, and is put aside.
fn take_over(
    store: &Store,
    service: &ServiceName,
    live: &Path,
    link: &Path,
) -> Result<(), StoreError> {
    exchange(link, live).map_err(io(live))?;
    let name = format!("{service}-{}", jiff::Timestamp::now().as_second());
    let aside = store.aside(&name);
    if fs::rename(link, &aside).is_ok() {
        tracing::info!(%service, aside = %aside.display(), "the folder that was live is kept");
        return Ok(());
    }
    // On another file system: it stays where it was, under another name.
    let mut beside = live.file_name().unwrap_or_default().to_owned();
    beside.push(".before-plimsoll");
    let beside: PathBuf = live.with_file_name(beside);
    fs::rename(link, &beside).map_err(io(&beside))?;
    tracing::info!(%service, aside = %beside.display(), "the folder that was live is kept");
    Ok(())
}
