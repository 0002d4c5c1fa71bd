//! Packages that extend the service, and what they take when they are loaded.
//!
//! They lie in `packages/NAME` beside the configuration (those that were
//! released with it) and in the host's own folder (those that are deployed
//! there anyway). Invariant: the service runs only with all of them loaded,
//! and what one of them holds it holds until the process ends.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use model::{BundlePath, PackageName};
use serde::Deserialize;

use super::auth_client::Protocol;

/// What a package says of itself, in its folder.
const MANIFEST: &str = "extension.toml";
/// A manifest is a dozen lines.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024;
/// Twice what the run before may need to end ([`super::Limits::drain_ms`]): who
/// holds a store for longer means to keep it.
const STORE_WITHIN: Duration = Duration::from_secs(1);
/// Between two tries to get a store.
const STORE_AGAIN: Duration = Duration::from_millis(20);

/// `extension.toml`.
///
/// ```toml
/// name = "session-store"
/// version = "3.0.0"
///
/// [session_store]            # it keeps sessions in this folder of the host's
/// folder = "sessions"
///
/// [authentication]           # requests are authenticated its way
/// protocol = "token-exchange"
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: PackageName,
    version: String,
    #[serde(default)]
    session_store: Option<SessionStore>,
    #[serde(default)]
    authentication: Option<Authentication>,
}

/// A store has one owner at a time: two would write over each other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionStore {
    folder: BundlePath,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Authentication {
    protocol: Protocol,
}

impl std::fmt::Display for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Why the packages can't be used together, or not at all.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A manifest or a store can't be read or written.
    #[error("{}: can't be used", path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The manifest says something that the service doesn't understand.
    #[error("{}: {message}", path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// What is wrong in it.
        message: String,
    },
    /// Somebody else keeps sessions there.
    #[error("{package} can't have the session store {}: {holder} holds it", folder.display())]
    StoreHeld {
        /// Who wants it.
        package: String,
        /// Which one.
        folder: PathBuf,
        /// Who has it, as the store itself says.
        holder: String,
    },
    /// Only one way to authenticate can be in use.
    #[error("{first} and {second} both say how requests are authenticated")]
    TwoProtocols {
        /// Loaded first.
        first: String,
        /// The other.
        second: String,
    },
    /// Sessions need a folder of the host's.
    #[error("{package} keeps sessions: --run DIR is needed")]
    NoRunFolder {
        /// Which package.
        package: String,
    },
}

/// Packages that were found, in the order in which they are loaded.
#[derive(Debug)]
pub(super) struct Found(Vec<Manifest>);

/// Packages that are in use; what they hold is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Loaded {
    /// `name version` of each.
    pub(super) names: Vec<String>,
    /// How requests are authenticated.
    pub(super) protocol: Protocol,
    /// Their locks go with the files.
    _stores: Vec<File>,
}

/// Reads the manifests of the host's own packages and of those beside `config`.
pub(super) fn find(config: &Path, deployed: Option<&Path>) -> Result<Found, PackageError> {
    let released = config.parent().unwrap_or(Path::new("")).join("packages");
    let mut found = Vec::new();
    for folder in deployed.into_iter().chain([released.as_path()]) {
        let mut manifests = Vec::new();
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(unusable(folder))?,
        };
        for entry in entries {
            let path = entry.map_err(unusable(folder))?.path().join(MANIFEST);
            // Not every package extends the service.
            if path.exists() {
                manifests.push(read(&path)?);
            }
        }
        // Folders come in any order; a service must start the same way each time.
        manifests.sort_by(|a: &Manifest, b| a.name.cmp(&b.name));
        found.append(&mut manifests);
    }
    Ok(Found(found))
}

impl Found {
    /// Loads them one by one; each takes what it uses. Blocks for up to a second for each store.
    pub(super) fn load(self, run: Option<&Path>) -> Result<Loaded, PackageError> {
        let protocol = self.protocol()?;
        let mut stores = Vec::new();
        for package in &self.0 {
            if let Some(store) = &package.session_store {
                let run = run.ok_or_else(|| PackageError::NoRunFolder {
                    package: package.to_string(),
                })?;
                stores.push(open_store(package, &run.join(store.folder.as_str()))?);
            }
        }
        Ok(Loaded {
            names: self.0.iter().map(ToString::to_string).collect(),
            protocol,
            _stores: stores,
        })
    }

    /// How requests are authenticated with them.
    pub(super) fn protocol(&self) -> Result<Protocol, PackageError> {
        let mut ways = self
            .0
            .iter()
            .filter_map(|package| Some((package, package.authentication?.protocol)));
        match (ways.next(), ways.next()) {
            (None, _) => Ok(Protocol::default()),
            (Some((_, protocol)), None) => Ok(protocol),
            (Some((first, _)), Some((second, _))) => Err(PackageError::TwoProtocols {
                first: first.to_string(),
                second: second.to_string(),
            }),
        }
    }
}

fn read(path: &Path) -> Result<Manifest, PackageError> {
    let size = std::fs::metadata(path).map_err(unusable(path))?.len();
    let invalid = |message| PackageError::Manifest {
        path: path.to_owned(),
        message,
    };
    if size > MANIFEST_BYTES_MAX {
        return Err(invalid(format!(
            "{size} bytes; at most {MANIFEST_BYTES_MAX}"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(unusable(path))?;
    toml_edit::de::from_str(&text)
        .map_err(|error| invalid(error.message().trim().replace('\n', "; ")))
}

/// Takes a store for this package, and says in it who has it now.
fn open_store(package: &Manifest, folder: &Path) -> Result<File, PackageError> {
    std::fs::create_dir_all(folder).map_err(unusable(folder))?;
    let path = folder.join("owner");
    let mut options = File::options();
    let opened = options.create(true).append(true).open(&path);
    let mut file = opened.map_err(unusable(&path))?;
    let until = Instant::now() + STORE_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(STORE_AGAIN),
            Err(TryLockError::WouldBlock) => {
                let holder = std::fs::read_to_string(&path).unwrap_or_default();
                return Err(PackageError::StoreHeld {
                    package: package.to_string(),
                    folder: folder.to_owned(),
                    holder: holder.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(&path)(source)),
        }
    }
    file.set_len(0).map_err(unusable(&path))?;
    writeln!(file, "{package}").map_err(unusable(&path))?;
    Ok(file)
}

fn unusable(path: &Path) -> impl FnOnce(std::io::Error) -> PackageError {
    let path = path.to_owned();
    move |source| PackageError::File { path, source }
}
