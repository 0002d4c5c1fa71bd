//! The state folder: its lock, the remembered state, durable writes.
//!
//! Invariant: a file here is whole or absent. Everything is written aside,
//! synced, renamed into place, and the folder synced.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use node::Host;

use crate::AgentError;
use crate::error::at;

/// Holds the state folder for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Makes the folder and takes its lock.
pub(crate) fn lock(state_dir: &Path) -> Result<Lock, AgentError> {
    // Programs read their trees through this folder, so they must be able to look into it.
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o755);
    builder.create(state_dir).map_err(at(state_dir))?;
    let path = state_dir.join("lock");
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.mode(0o644).open(&path).map_err(at(&path))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        let _ = file.read_to_string(&mut pid);
        return Err(AgentError::InUse {
            path: state_dir.into(),
            pid: pid.trim().to_owned(),
        });
    }
    // Only for the message above: a full disk is no reason not to start.
    let _ = file
        .set_len(0)
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    Ok(Lock { _file: file })
}

/// The remembered state, or `None` on a host that never ran an agent.
pub(crate) fn load(state_dir: &Path) -> Result<Option<Host>, AgentError> {
    let path = state_dir.join("host.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };
    match serde_json::from_slice(&bytes) {
        Ok(host) => Ok(Some(host)),
        Err(error) => Err(AgentError::State {
            path,
            reason: error.to_string(),
        }),
    }
}

/// Remembers the state, durably.
pub(crate) fn save(state_dir: &Path, host: &Host) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(host)?;
    write(&state_dir.join("host.json"), &bytes, 0o600)
}

/// Writes a file durably and at once.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let aside = aside(path);
    let written = (|| {
        let _ = fs::remove_file(&aside);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        sync_parent(path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

/// A name beside `path` for what is not yet it.
pub(crate) fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// Makes a rename in `path`'s folder durable.
pub(crate) fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_for_each_folder() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        let error = lock(folder.path()).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(error.to_string().ends_with(&pid), "{error}");
        drop(held);
        lock(folder.path()).unwrap();
    }

    #[test]
    fn state_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path()).unwrap().is_none());
        let host = Host::new("web-01".parse().unwrap());
        save(folder.path(), &host).unwrap();
        assert_eq!(load(folder.path()).unwrap(), Some(host));
        fs::write(folder.path().join("host.json"), "{").unwrap();
        assert!(matches!(load(folder.path()), Err(AgentError::State { .. })));
    }
}
