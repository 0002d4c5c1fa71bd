//! Unpacks package archives (`.tar`, `.tar.gz`) without trusting them.
//!
//! Invariant: nothing lands outside the folder given, whatever the archive
//! says. Entries don't pass through links; a link's `..` come first, so it
//! can't climb through another link; devices, pipes and absolute names are
//! refused; entries and bytes are counted before they are written.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

/// Most entries in one archive: a large runtime has some tens of thousands.
const ENTRIES_MAX: u64 = 200_000;
/// Most bytes that one archive may unpack to: four times what it may weigh packed.
const BYTES_MAX: u64 = 4 << 30;

/// Unpacks `archive` into `folder`, which is empty.
pub(crate) fn unpack(archive: &Path, folder: &Path) -> Result<(), UnpackError> {
    let mut file = fs::File::open(archive)?;
    let mut magic = [0; 2];
    let read = file.read(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    let reader = BufReader::new(file);
    if read == 2 && magic == [0x1f, 0x8b] {
        Unpacking::new(folder).all(flate2::read::MultiGzDecoder::new(reader))
    } else {
        Unpacking::new(folder).all(reader)
    }
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{path:?} in the archive: {reason}")]
    Entry { path: String, reason: &'static str },
    #[error("the archive holds more than {0}")]
    TooMuch(&'static str),
}

struct Unpacking<'a> {
    folder: &'a Path,
    links: BTreeSet<PathBuf>,
    entries: u64,
    bytes: u64,
}

impl Unpacking<'_> {
    fn new(folder: &Path) -> Unpacking<'_> {
        Unpacking {
            folder,
            links: BTreeSet::new(),
            entries: 0,
            bytes: 0,
        }
    }

    fn all(mut self, reader: impl Read) -> Result<(), UnpackError> {
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries()? {
            let mut entry = entry?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(UnpackError::TooMuch("200,000 entries"));
            }
            self.entry(&mut entry)?;
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), UnpackError> {
        let name = entry.path()?.into_owned();
        let refuse = |reason| UnpackError::Entry {
            path: name.display().to_string(),
            reason,
        };
        let Some(inner) = inside(&name) else {
            return Err(refuse("it leaves the archive"));
        };
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader || (inner.as_os_str().is_empty() && kind.is_dir()) {
            return Ok(());
        }
        if inner.as_os_str().is_empty() {
            return Err(refuse("it has no name"));
        }
        if inner.ancestors().any(|above| self.links.contains(above)) {
            return Err(refuse("it passes through a link"));
        }
        let place = self.folder.join(&inner);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        match kind {
            EntryType::Directory => Ok(fs::create_dir_all(&place)?),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
                self.file(entry, &place, mode | 0o400)
            }
            EntryType::Symlink => {
                let target = entry.link_name()?.map(std::borrow::Cow::into_owned);
                let target = target.ok_or_else(|| refuse("a link to nothing"))?;
                if !stays(&inner, &target) {
                    return Err(refuse("a link that leaves the archive"));
                }
                symlink(&target, &place)?;
                self.links.insert(inner);
                Ok(())
            }
            EntryType::Link => {
                let target = entry.link_name()?.and_then(|target| inside(&target));
                let target = target.ok_or_else(|| refuse("a link that leaves the archive"))?;
                if target.ancestors().any(|above| self.links.contains(above)) {
                    return Err(refuse("a hard link through a link"));
                }
                Ok(fs::hard_link(self.folder.join(target), &place)?)
            }
            _ => Err(refuse("neither file, folder nor link")),
        }
    }

    fn file(&mut self, from: &mut impl Read, place: &Path, mode: u32) -> Result<(), UnpackError> {
        // An archive may name a file twice: the later one counts, and never writes through the earlier.
        let _ = fs::remove_file(place);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(place)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.bytes += read as u64;
            if self.bytes > BYTES_MAX {
                return Err(UnpackError::TooMuch("4 GiB"));
            }
            file.write_all(&buffer[..read])?;
        }
    }
}

/// The path without `.`, or `None` if it is absolute or climbs.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut inner = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => inner.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(inner)
}

/// Whether a link at `place` with this target stays inside: it may climb first, no higher than the root, and then only go down.
fn stays(place: &Path, target: &Path) -> bool {
    let mut height = place.components().count().saturating_sub(1);
    let mut down = false;
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => down = true,
            Component::ParentDir if !down && height > 0 => height -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of raw entries: the tar crate itself refuses to write bad names.
    fn archive(entries: &[(EntryType, &str, &str)]) -> tempfile::NamedTempFile {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            let data = if *kind == EntryType::Regular {
                content.as_bytes()
            } else {
                header.as_gnu_mut().unwrap().linkname[..content.len()]
                    .copy_from_slice(content.as_bytes());
                b""
            };
            header.set_size(data.len() as u64);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, data).unwrap();
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&builder.into_inner().unwrap()).unwrap();
        file
    }

    use EntryType::{Block, Directory, Link, Regular, Symlink};

    #[test]
    fn an_ordinary_archive_unpacks() {
        let folder = tempfile::tempdir().unwrap();
        let file = archive(&[
            (Directory, "./", ""),
            (Directory, "bin/", ""),
            (Regular, "bin/server", "run"),
            (Symlink, "bin/current", "server"),
            (Symlink, "lib/deep/up", "../../bin/server"),
            (Link, "bin/twin", "bin/server"),
        ]);
        unpack(file.path(), folder.path()).unwrap();
        for name in ["bin/server", "bin/current", "lib/deep/up", "bin/twin"] {
            assert_eq!(
                fs::read(folder.path().join(name)).unwrap(),
                b"run",
                "{name}"
            );
        }
        let mode = fs::metadata(folder.path().join("bin/server")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o7777, 0o755, "no setuid");
    }

    #[test]
    fn nothing_leaves_the_folder() {
        for entries in [
            &[(Regular, "../escaped", "x")][..],
            &[(Regular, "a/../../escaped", "x")],
            &[(Regular, "/tmp/escaped", "x")],
            &[(Symlink, "link", "/etc/passwd")],
            &[(Symlink, "link", "../outside")],
            &[(Symlink, "link", "a/../../x")],
            &[(Symlink, "d", "."), (Regular, "d/x", "through a link")],
            &[(Symlink, "a/b/s", "../.."), (Symlink, "a/b/s/t", "../..")],
            &[(Symlink, "s", "."), (Symlink, "t", "s/../..")],
            &[(Link, "hard", "/etc/passwd")],
            &[(Link, "hard", "../x")],
            &[(Block, "device", "")],
        ] {
            let outer = tempfile::tempdir().unwrap();
            let folder = outer.path().join("inner");
            fs::create_dir(&folder).unwrap();
            let file = archive(entries);
            let error = unpack(file.path(), &folder).unwrap_err();
            assert!(
                matches!(error, UnpackError::Entry { .. }),
                "{entries:?}: {error}"
            );
            assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn compressed_and_truncated_archives() {
        let file = archive(&[(Regular, "a", "content")]);
        let bytes = fs::read(file.path()).unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&bytes).unwrap();
        let packed = packed.finish().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        fs::write(&path, &packed).unwrap();
        let target = folder.path().join("t");
        fs::create_dir(&target).unwrap();
        unpack(&path, &target).unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"content");
        fs::write(&path, &packed[..packed.len() / 2]).unwrap();
        assert!(matches!(unpack(&path, &target), Err(UnpackError::Io(_))));
    }
}
