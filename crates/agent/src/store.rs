//! Trees on disk: `trees/DIGEST` with its manifest beside it, `packages/DIGEST`
//! with the list of its files beside it.
//!
//! Invariant: what stands under its final name was complete and synced before
//! it got there; whether it still is right is found out by reading every byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Bundle, Digest, PackageEntry};

use crate::disk;
use crate::files::{digest_file, exchange, fingerprint, make_parent, sync, walk, write_file};
use crate::unpack;

/// Free space that staging leaves alone, so that the state can always be written.
const SPARE_BYTES: u64 = 8 << 20;

/// The folders below the state folder.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

/// Why a tree isn't there or isn't right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The operating system's no.
    #[error("{}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The disk is full, or would be.
    #[error("no space left on device: {what} needs {needs} bytes")]
    NoSpace { what: String, needs: u64 },
    /// Bytes that aren't what the manifest says.
    #[error("{what} is damaged: {reason}")]
    Damaged { what: String, reason: String },
    /// Not on this disk.
    #[error("tree {digest} is not on this disk")]
    Absent { digest: String },
    /// A package that can't be unpacked.
    #[error("package {name}: {source}")]
    Package {
        name: String,
        source: unpack::UnpackError,
    },
}

type Result<T> = std::result::Result<T, StoreError>;

pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + '_ {
    move |source| StoreError::Io {
        path: path.into(),
        source,
    }
}

impl StoreError {
    /// Names what a full disk was needed for.
    pub(crate) fn sized(self, what: &str, needs: u64) -> StoreError {
        let full = |error: &std::io::Error| {
            matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded
            )
        };
        let is_full = match &self {
            StoreError::Io { source, .. } => full(source),
            StoreError::Package {
                source: unpack::UnpackError::Io(source),
                ..
            } => full(source),
            StoreError::NoSpace { .. }
            | StoreError::Damaged { .. }
            | StoreError::Absent { .. }
            | StoreError::Package { .. } => false,
        };
        if is_full {
            let what = what.to_owned();
            return StoreError::NoSpace { what, needs };
        }
        self
    }
}

impl Store {
    /// Makes the folders. What an earlier life left half done is removed.
    pub(crate) fn open(state_dir: &Path) -> std::io::Result<Store> {
        let make = |name: &str, mode| {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(mode);
            builder.create(state_dir.join(name))
        };
        make("trees", 0o755)?;
        make("packages", 0o755)?;
        make("blobs", 0o700)?;
        make("aside", 0o700)?;
        let staging = state_dir.join("staging");
        if staging.exists() {
            fs::remove_dir_all(&staging)?;
        }
        make("staging", 0o755)?;
        let root = fs::canonicalize(state_dir)?;
        Ok(Store { root })
    }

    pub(crate) fn tree(&self, digest: Digest) -> PathBuf {
        self.root.join("trees").join(digest.to_string())
    }

    fn manifest_path(&self, digest: Digest) -> PathBuf {
        self.root.join("trees").join(format!("{digest}.json"))
    }

    pub(crate) fn package(&self, digest: Digest) -> PathBuf {
        self.root.join("packages").join(digest.to_string())
    }

    fn listing_path(&self, digest: Digest) -> PathBuf {
        self.root.join("packages").join(format!("{digest}.json"))
    }

    pub(crate) fn blob(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs").join(digest.to_string())
    }

    pub(crate) fn aside(&self, name: &str) -> PathBuf {
        self.root.join("aside").join(name)
    }

    /// A folder of its own for what is being built; not made yet, and gone after a crash.
    pub(crate) fn staging(&self) -> PathBuf {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        self.root
            .join("staging")
            .join(format!("{}-{number}", std::process::id()))
    }

    /// The manifest kept beside a tree.
    pub(crate) fn manifest(&self, digest: Digest) -> Result<Bundle> {
        let path = self.manifest_path(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::Absent {
                    digest: digest.short(),
                });
            }
            Err(error) => return Err(io(&path)(error)),
        };
        let damaged = |reason: String| StoreError::Damaged {
            what: format!("the manifest of {}", digest.short()),
            reason,
        };
        let bundle: Bundle =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if bundle.digest() != digest {
            return Err(damaged("its digest is another".into()));
        }
        Ok(bundle)
    }

    /// Reads every byte of a tree and its packages. With `strict`, files that
    /// the manifest doesn't know are damage too: they may change what programs do.
    pub(crate) fn verify(&self, digest: Digest, strict: bool) -> Result<Bundle> {
        let bundle = self.manifest(digest)?;
        let tree = self.tree(digest);
        let damaged = |reason: String| StoreError::Damaged {
            what: format!("tree {}", digest.short()),
            reason,
        };
        if !tree.is_dir() {
            return Err(StoreError::Absent {
                digest: digest.short(),
            });
        }
        for (path, entry) in &bundle.files {
            let place = tree.join(path.as_str());
            let right = digest_file(&place).is_ok_and(|found| found == entry.digest);
            let executable = fs::metadata(&place)
                .is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0);
            if !right || executable != entry.executable {
                return Err(damaged(format!("{path} is not as it was staged")));
            }
        }
        for (name, package) in &bundle.packages {
            let link = tree.join("packages").join(name.as_str());
            if fs::read_link(&link).ok() != Some(package_link(package.digest)) {
                return Err(damaged(format!("packages/{name} is not its link")));
            }
            self.verify_package(name.as_str(), package.digest)?;
        }
        if strict {
            let expected = bundle.files.keys().map(|path| path.as_str().to_owned());
            let packages = bundle.packages.keys();
            let packages = packages.map(|name| format!("packages/{name}"));
            let expected: BTreeSet<String> = expected.chain(packages).collect();
            let found = walk(&tree).map_err(io(&tree))?;
            if let Some((extra, _)) = found.iter().find(|(path, _)| !expected.contains(*path)) {
                return Err(damaged(format!("{extra} was put there by somebody else")));
            }
        }
        Ok(bundle)
    }

    /// Files that were added to a package (caches, mostly) are no damage.
    fn verify_package(&self, name: &str, digest: Digest) -> Result<()> {
        let what = || format!("package {name}");
        let bytes = fs::read(self.listing_path(digest)).map_err(|_| StoreError::Damaged {
            what: what(),
            reason: "it is not unpacked here".into(),
        })?;
        let listing: BTreeMap<String, String> =
            serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
                what: what(),
                reason: format!("its list of files: {error}"),
            })?;
        let folder = self.package(digest);
        for (path, expected) in &listing {
            let found = fingerprint(&folder.join(path));
            if found.ok().as_ref() != Some(expected) {
                return Err(StoreError::Damaged {
                    what: what(),
                    reason: format!("{path} is not as it was unpacked"),
                });
            }
        }
        Ok(())
    }

    /// The files on this disk that have wanted contents, for what is fetched anew.
    fn sources(&self, wanted: &BTreeSet<Digest>) -> BTreeMap<Digest, PathBuf> {
        let mut sources = BTreeMap::new();
        for digest in self.trees() {
            let Ok(bundle) = self.manifest(digest) else {
                continue;
            };
            for (path, entry) in &bundle.files {
                if wanted.contains(&entry.digest) && !sources.contains_key(&entry.digest) {
                    let place = self.tree(digest).join(path.as_str());
                    if digest_file(&place).is_ok_and(|found| found == entry.digest) {
                        sources.insert(entry.digest, place);
                    }
                }
            }
        }
        sources
    }

    fn trees(&self) -> Vec<Digest> {
        let folder = self.root.join("trees");
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    }

    /// The blobs that must be fetched before `bundle` can be assembled, with their sizes.
    pub(crate) fn missing(&self, bundle: &Bundle) -> BTreeMap<Digest, u64> {
        let mut missing: BTreeMap<Digest, u64> = BTreeMap::new();
        for entry in bundle.files.values() {
            missing.insert(entry.digest, entry.size_bytes);
        }
        let here = self.sources(&missing.keys().copied().collect());
        missing.retain(|digest, _| !here.contains_key(digest));
        for (
            name,
            PackageEntry {
                digest, size_bytes, ..
            },
        ) in &bundle.packages
        {
            if self.verify_package(name.as_str(), *digest).is_err() {
                missing.insert(*digest, *size_bytes);
            }
        }
        missing.retain(|digest, _| !digest_file(&self.blob(*digest)).is_ok_and(|f| f == *digest));
        missing
    }

    /// Refuses what the disk can't take, before a byte is written.
    pub(crate) fn room(&self, bundle: &Bundle) -> Result<()> {
        // Twice: the blobs, and the tree made of them.
        let twice = bundle.size_bytes().saturating_mul(2);
        let needs = twice.saturating_add(SPARE_BYTES);
        let space = rustix::fs::statvfs(&self.root).map_err(|error| StoreError::Io {
            path: self.root.clone(),
            source: error.into(),
        })?;
        if space.f_bavail.saturating_mul(space.f_frsize) < needs {
            let what = format!("trees/{}", bundle.digest().short());
            return Err(StoreError::NoSpace { what, needs });
        }
        Ok(())
    }

    /// Builds a tree from blobs and files that are here, and puts it in its place.
    pub(crate) fn assemble(&self, bundle: &Bundle) -> Result<()> {
        let digest = bundle.digest();
        let staging = self.staging();
        let built = self
            .build(bundle, &staging)
            .and_then(|()| self.place(&staging.join("tree"), &self.tree(digest)));
        // Also what was exchanged for the new tree, and everything after a failure.
        let _ = fs::remove_dir_all(&staging);
        built.map_err(|error| {
            error.sized(&format!("trees/{}", digest.short()), bundle.size_bytes())
        })?;
        for blob in bundle.blobs().keys() {
            let _ = fs::remove_file(self.blob(*blob));
        }
        Ok(())
    }

    fn build(&self, bundle: &Bundle, staging: &Path) -> Result<()> {
        let tree = staging.join("tree");
        fs::create_dir_all(&tree).map_err(io(&tree))?;
        let wanted = bundle.files.values().map(|entry| entry.digest).collect();
        let sources = self.sources(&wanted);
        for (path, entry) in &bundle.files {
            let place = tree.join(path.as_str());
            let mode = if entry.executable { 0o755 } else { 0o644 };
            let blob = self.blob(entry.digest);
            let from = sources.get(&entry.digest).unwrap_or(&blob);
            let bytes = fs::read(from).map_err(io(from))?;
            if Digest::of(&bytes) != entry.digest {
                return Err(StoreError::Damaged {
                    what: format!("the source of {path}"),
                    reason: "its digest is another".into(),
                });
            }
            write_file(&place, &bytes, mode).map_err(io(&place))?;
        }
        for (name, package) in &bundle.packages {
            self.build_package(name.as_str(), package.digest, staging)?;
            let link = tree.join("packages").join(name.as_str());
            make_parent(&link).map_err(io(&link))?;
            symlink(package_link(package.digest), &link).map_err(io(&link))?;
        }
        let manifest = serde_json::to_vec(bundle).unwrap_or_default();
        let path = self.manifest_path(bundle.digest());
        sync(&tree).map_err(io(&tree))?;
        disk::write(&path, &manifest, 0o600).map_err(io(&path))
    }

    fn build_package(&self, name: &str, digest: Digest, staging: &Path) -> Result<()> {
        if self.verify_package(name, digest).is_ok() {
            return Ok(());
        }
        let folder = staging.join(format!("package-{digest}"));
        fs::create_dir_all(&folder).map_err(io(&folder))?;
        unpack::unpack(&self.blob(digest), &folder).map_err(|source| StoreError::Package {
            name: name.into(),
            source,
        })?;
        let mut listing = BTreeMap::new();
        for (path, _) in walk(&folder).map_err(io(&folder))? {
            let print = fingerprint(&folder.join(&path)).map_err(io(&folder))?;
            listing.insert(path, print);
        }
        sync(&folder).map_err(io(&folder))?;
        let path = self.listing_path(digest);
        let listing = serde_json::to_vec(&listing).unwrap_or_default();
        disk::write(&path, &listing, 0o600).map_err(io(&path))?;
        self.place(&folder, &self.package(digest))
    }

    /// Moves a finished folder to its final name; one that is there is exchanged
    /// in one step, because programs may be reading it.
    fn place(&self, from: &Path, to: &Path) -> Result<()> {
        if to.exists() {
            exchange(from, to).map_err(io(to))?;
        } else {
            fs::rename(from, to).map_err(io(to))?;
        }
        disk::sync_parent(to).map_err(io(to))
    }

    /// Writes generation 0's tree from what was read of the live folder.
    pub(crate) fn adopt(&self, bundle: &Bundle, packed: &wire::pack::Packed) -> Result<()> {
        if self.verify(bundle.digest(), true).is_ok() {
            return Ok(());
        }
        for (digest, bytes) in &packed.blobs {
            let path = self.blob(*digest);
            disk::write(&path, bytes, 0o600).map_err(io(&path))?;
        }
        self.assemble(bundle)
    }

    /// Removes all trees but these, and all packages that none of them needs.
    pub(crate) fn prune(&self, keep: &BTreeSet<Digest>) -> Result<()> {
        let mut packages = BTreeSet::new();
        for digest in keep {
            if let Ok(bundle) = self.manifest(*digest) {
                packages.extend(bundle.packages.values().map(|package| package.digest));
            }
        }
        for digest in self.trees() {
            if !keep.contains(&digest) {
                // The manifest goes last: a tree without one is nobody's.
                remove(&self.tree(digest))?;
                let _ = fs::remove_file(self.manifest_path(digest));
            }
        }
        let folder = self.root.join("packages");
        for entry in fs::read_dir(&folder).map_err(io(&folder))?.flatten() {
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.parse::<Digest>().ok());
            if let Some(digest) = digest.filter(|digest| !packages.contains(digest)) {
                let _ = fs::remove_file(self.listing_path(digest));
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Where a tree's link to a package points: the same on every host.
fn package_link(digest: Digest) -> PathBuf {
    PathBuf::from(format!("../../../packages/{digest}"))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io(folder)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
