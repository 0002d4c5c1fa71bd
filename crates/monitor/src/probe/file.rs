//! Whether a file on this host can be read.
//!
//! Invariant: only an ordinary file on a disk is ever opened. Opening a device
//! can do something (a watchdog restarts the machine), opening a pipe can wait,
//! and so can reading what the kernel makes up (`/proc/kmsg` waits for ever, and
//! takes away what it gives).

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use model::gate::ProbeVerdict;
use rustix::fs::{FileType, Mode, OFlags};

use super::reach::{Answer, Limits, miss};

/// Opens it and reads a byte; nothing of what it holds is told but how much it is.
pub(super) async fn ask(limits: &Limits, target: &str) -> Answer {
    if limits.reach.is_shut() {
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
                ErrorKind::PermissionDenied => "the file may not be read by this program".into(),
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

/// File systems without files on a disk, by their magic numbers (statfs(2)):
/// proc, sysfs, debugfs, tracefs, both of cgroups, bpf, securityfs, configfs,
/// efivarfs, fusectl, pstore, selinuxfs.
const KERNEL_MADE: [u64; 13] = [
    0x9fa0,
    0x6265_6572,
    0x6462_6720,
    0x7472_6163,
    0x0027_e0eb,
    0x6367_7270,
    0xcafe_4a11,
    0x7363_6673,
    0x6265_6570,
    0xde5e_81e4,
    0x6573_5543,
    0x6165_676c,
    0xf97c_ff8c,
];

fn kind_of(handle: impl AsFd) -> std::io::Result<u64> {
    let kind = rustix::fs::fstatfs(handle)?.f_type;
    // The numbers have 32 bits; how wide the field is differs between machines.
    #[expect(clippy::cast_sign_loss, reason = "a magic number, cut to its 32 bits")]
    Ok(kind as u64 & 0xffff_ffff)
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
    if KERNEL_MADE.contains(&kind_of(&handle)?) {
        return Err(std::io::Error::other(
            "the kernel makes it up: it is on no disk",
        ));
    }
    let mut file = File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
    let _ = file.read(&mut [0])?;
    Ok(file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_on_a_disk_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prices.csv");
        std::fs::write(&file, "a,b\n").unwrap();
        assert_eq!(size_bytes(&file).unwrap(), 4);
        let said = |path: &str| size_bytes(&path.into()).unwrap_err().to_string();
        assert!(said("/proc/self/status").contains("kernel"));
        assert!(said("/sys/kernel/notes").contains("kernel"));
        assert!(said("/dev/null").contains("not an ordinary file"));
        assert!(said("/").contains("folder"));
    }
}
