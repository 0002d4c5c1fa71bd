//! `supervise.json`: what a supervisor leaves for others, and for its successor.
//!
//! Invariant: readers see a whole state or the one before it. It is not synced
//! to disk: it must outlive the supervisor, not the machine.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SuperviseError;

/// What a supervisor knows of its program.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SuperviseState {
    /// As given.
    pub name: String,
    /// The supervisor itself.
    pub supervisor_pid: u32,
    /// The program, while it runs.
    pub child_pid: Option<u32>,
    /// When the kernel started it, in clock ticks since boot: with the pid it
    /// names one process and never a later one with the same number.
    pub child_start_ticks: Option<u64>,
    /// Starts since the folder was made.
    pub starts: u64,
    /// Exits that nobody asked for, the watchdog's kills among them.
    pub exits_unplanned: u64,
}

/// Reads the state in a supervisor's folder, whether it runs or not.
///
/// # Errors
/// When there is none, or it can't be read.
pub fn read_state(dir: &Path) -> Result<SuperviseState, SuperviseError> {
    let path = dir.join("supervise.json");
    let text = std::fs::read(&path).map_err(unusable(&path))?;
    serde_json::from_slice(&text).map_err(|error| unusable(&path)(error.into()))
}

/// The state of earlier supervisors in this folder; a new one when there is none.
pub(super) fn inherited(dir: &Path) -> Result<SuperviseState, SuperviseError> {
    match read_state(dir) {
        Err(SuperviseError::File { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(SuperviseState::default())
        }
        state => state,
    }
}

pub(super) fn write(dir: &Path, state: &SuperviseState) -> Result<(), SuperviseError> {
    let path = dir.join("supervise.json");
    let fresh = dir.join("supervise.json.new");
    let text = serde_json::to_vec(state).map_err(|error| unusable(&path)(error.into()))?;
    std::fs::write(&fresh, text).map_err(unusable(&fresh))?;
    std::fs::rename(&fresh, &path).map_err(unusable(&path))
}

/// Takes the folder for this process; it is free again when the file is closed, or the process dies.
pub(super) fn take(dir: &Path) -> Result<File, SuperviseError> {
    std::fs::create_dir_all(dir).map_err(unusable(dir))?;
    let path = dir.join("supervise.lock");
    let file = File::create(&path).map_err(unusable(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(SuperviseError::Taken {
            dir: dir.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(unusable(&path)(source)),
    }
}

pub(super) fn unusable(path: &Path) -> impl FnOnce(std::io::Error) -> SuperviseError {
    let path: PathBuf = path.to_owned();
    move |source| SuperviseError::File { path, source }
}
