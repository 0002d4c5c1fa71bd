//! Small doings on files: no state, no names of their own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model::Digest;

/// Exchanges two folders in one step.
pub(crate) fn exchange(one: &Path, other: &Path) -> std::io::Result<()> {
    let here = rustix::fs::CWD;
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    Ok(rustix::fs::renameat_with(here, one, here, other, flags)?)
}

pub(crate) fn make_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

pub(crate) fn write_file(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    make_parent(path)?;
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// One sync of the file system instead of one for each file: ten thousand of those take minutes.
pub(crate) fn sync(folder: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// The digest of a file's bytes, read as a stream. Links are not followed: a link is not the file.
pub(crate) fn digest_file(path: &Path) -> std::io::Result<Digest> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a file"));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
}

/// What a package's entry is, as text: content and mode of a file, target of a link.
pub(crate) fn fingerprint(path: &Path) -> std::io::Result<String> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(format!("link {}", fs::read_link(path)?.display()));
    }
    let mode = metadata.permissions().mode() & 0o777;
    Ok(format!("{mode:o} {}", digest_file(path)?))
}

/// Every file and link below `folder` by its path; folders only as the way to them.
pub(crate) fn walk(folder: &Path) -> std::io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut open = vec![(folder.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let inner = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            };
            if entry.file_type()?.is_dir() {
                open.push((entry.path(), inner));
            } else {
                found.insert(inner, entry.path());
            }
        }
    }
    Ok(found)
}
