//! Whether a file on this host can be read.
//!
//! Invariant: only an ordinary file is ever opened. Opening a device can do
//! something (a watchdog restarts the machine), and opening a pipe can wait.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use model::gate::ProbeVerdict;
use rustix::fs::{FileType, Mode, OFlags};

use super::reach::{Answer, Limits, miss};

/// Opens it and reads a byte; nothing of what it holds is told but how much it is.
pub(super) async fn ask(limits: &Limits, target: &str) -> Answer {
    if limits.egress.is_shut() {
        return limits.shut();
    }
    let path = PathBuf::from(target.strip_prefix("file://").unwrap_or(target));
    if !path.is_absolute() {
        let words = "where a relative path leads depends on who opens it: write it from /";
        return miss(ProbeVerdict::Malformed, words);
    }
    match limits.apart(move || size_bytes(&path)).await {
        Some(Ok(size)) => Ok(format!("readable, {size} bytes")),
        Some(Err(error)) => {
            let words = match error.kind() {
                ErrorKind::NotFound => "the file does not exist".into(),
                ErrorKind::PermissionDenied => "the file may not be read by the agent".into(),
                _ => format!("the file can't be read: {error}"),
            };
            miss(ProbeVerdict::NoFile, words)
        }
        None => {
            let words = format!("the file system gave no answer within {}", limits.within);
            miss(ProbeVerdict::NoAnswer, words)
        }
    }
}

fn size_bytes(path: &PathBuf) -> std::io::Result<u64> {
    // A handle that opens nothing, to look at what it is; then the same file through the handle.
    let handle = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let found = rustix::fs::fstat(&handle)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(std::io::Error::other("it is a folder")),
        _ => return Err(std::io::Error::other("it is not an ordinary file")),
    }
    let mut file = File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
    let _ = file.read(&mut [0])?;
    Ok(file.metadata()?.len())
}
