//! What a package says of itself: `plimsoll-package.toml` at its archive's root.
//!
//! ```toml
//! name = "web"
//! version = "2.0.0"
//! [requires]
//! auth-runtime = ">=2"
//! ```
//!
//! Invariant: reading costs little whatever the archive holds. Entries, bytes
//! on the way and the file's own size are bounded, and nothing is unpacked.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use model::{PackageEntry, PackageName};
use serde::Deserialize;

/// The file's name; it lies at the archive's root.
pub const FACTS_FILE: &str = "plimsoll-package.toml";
/// It must be among so many first entries: tools write small files of the root first or can be told to.
pub const FACTS_ENTRIES_MAX: usize = 1_000;
/// So many unpacked bytes are read to find it: some tenths of a second of gunzipping.
pub const FACTS_SEARCH_BYTES_MAX: u64 = 256 << 20;
/// Longest such file; a thousand ranges fit.
pub const FACTS_BYTES_MAX: u64 = 64 << 10;

/// What an archive says of its package.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatedFacts {
    /// Its name; absent: any.
    #[serde(default)]
    pub name: Option<String>,
    /// Its version; absent: any.
    #[serde(default)]
    pub version: Option<String>,
    /// Packages and features that must be deployed beside it, with version ranges.
    #[serde(default)]
    pub requires: BTreeMap<PackageName, String>,
    /// Packages and features that must not be, with version ranges.
    #[serde(default)]
    pub conflicts: BTreeMap<PackageName, String>,
    /// Features that it brings, with their versions.
    #[serde(default)]
    pub provides: BTreeMap<PackageName, String>,
}

/// Why an archive's own words can't be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// Not a tar archive (gzipped or not), or it can't be read.
    #[error("the archive can't be read: {0}")]
    Archive(#[source] std::io::Error),
    /// Too long to be one.
    #[error("{FACTS_FILE} has {0} bytes; at most {FACTS_BYTES_MAX} are read")]
    TooLong(u64),
    /// Not the TOML it should be.
    #[error("{FACTS_FILE}: {0}")]
    Form(String),
}

/// Reads what an archive (`.tar` or `.tar.gz`) says of itself; `None` if it says nothing.
///
/// # Errors
/// See [`FactsError`].
pub fn read(mut archive: impl Read) -> Result<Option<StatedFacts>, FactsError> {
    let mut magic = Vec::with_capacity(2);
    archive
        .by_ref()
        .take(2)
        .read_to_end(&mut magic)
        .map_err(FactsError::Archive)?;
    let gzipped = magic == [0x1f, 0x8b];
    let whole = Cursor::new(magic).chain(archive);
    if gzipped {
        find(flate2::read::MultiGzDecoder::new(whole))
    } else {
        find(whole)
    }
}

fn find(unpacked: impl Read) -> Result<Option<StatedFacts>, FactsError> {
    let mut archive = tar::Archive::new(unpacked.take(FACTS_SEARCH_BYTES_MAX));
    match search(&mut archive) {
        // The search ended within an entry; what comes after is not looked at.
        Err(FactsError::Archive(_)) if archive.into_inner().limit() == 0 => Ok(None),
        found => found,
    }
}

fn search(archive: &mut tar::Archive<impl Read>) -> Result<Option<StatedFacts>, FactsError> {
    let entries = archive.entries().map_err(FactsError::Archive)?;
    for entry in entries.take(FACTS_ENTRIES_MAX) {
        let mut entry = entry.map_err(FactsError::Archive)?;
        let path = entry.path_bytes().into_owned();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        if path != FACTS_FILE.as_bytes() || !entry.header().entry_type().is_file() {
            continue;
        }
        if entry.size() > FACTS_BYTES_MAX {
            return Err(FactsError::TooLong(entry.size()));
        }
        let mut text = String::new();
        entry
            .read_to_string(&mut text)
            .map_err(FactsError::Archive)?;
        return toml_edit::de::from_str(&text)
            .map(Some)
            // The parser draws the place over several lines; here one is enough.
            .map_err(|error| FactsError::Form(error.message().replace('\n', ", ")));
    }
    Ok(None)
}

impl StatedFacts {
    /// Where these and a manifest's entry of `name` say different things, in
    /// sentences; what only one of them says is no contradiction.
    pub fn contradictions(&self, name: &PackageName, entry: &PackageEntry) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(own) = self.name.as_deref().filter(|own| *own != name.as_str()) {
            found.push(format!("the archive says that it is {own:?}, not {name}"));
        }
        if let Some(own) = self.version.as_ref().filter(|own| **own != entry.version) {
            found.push(format!(
                "the archive says that {name} is version {own}, not {}",
                entry.version
            ));
        }
        for (word, own, declared) in self.pairs(entry) {
            for (key, text) in own {
                if let Some(other) = declared.get(key).filter(|other| *other != text) {
                    found.push(format!(
                        "{name} {word} {key} {other:?}, but the archive says {text:?}"
                    ));
                }
            }
        }
        found
    }

    /// What these say and a manifest's entry of `name` leaves out, in sentences: such
    /// a manifest would be held against less than its package needs.
    pub fn left_out(&self, name: &PackageName, entry: &PackageEntry) -> Vec<String> {
        let mut found = Vec::new();
        for (word, own, declared) in self.pairs(entry) {
            for (key, text) in own.iter().filter(|(key, _)| !declared.contains_key(*key)) {
                found.push(format!(
                    "the archive says that {name} {word} {key} {text:?}; the bundle leaves it out"
                ));
            }
        }
        found
    }

    /// Adds to `entry` what it leaves out.
    pub fn unite(self, entry: &mut PackageEntry) {
        for (into, from) in [
            (&mut entry.requires, self.requires),
            (&mut entry.conflicts, self.conflicts),
            (&mut entry.provides, self.provides),
        ] {
            for (key, text) in from {
                into.entry(key).or_insert(text);
            }
        }
    }

    fn pairs<'a>(&'a self, entry: &'a PackageEntry) -> [(&'static str, &'a Said, &'a Said); 3] {
        [
            ("requires", &self.requires, &entry.requires),
            ("conflicts with", &self.conflicts, &entry.conflicts),
            ("provides", &self.provides, &entry.provides),
        ]
    }
}

type Said = BTreeMap<PackageName, String>;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use model::Digest;

    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, path, text.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn entry(version: &str, requires: &[(&str, &str)]) -> PackageEntry {
        PackageEntry {
            version: version.into(),
            digest: Digest::of(b""),
            size_bytes: 0,
            requires: requires
                .iter()
                .map(|(key, text)| (key.parse().unwrap(), (*text).to_owned()))
                .collect(),
            conflicts: BTreeMap::new(),
            provides: BTreeMap::new(),
        }
    }

    const FACTS: &str = "name = 'web'\nversion = '2.0.0'\n[requires]\nauth-runtime = '>=2'\n";

    #[test]
    fn facts_are_found_in_plain_and_gzipped_archives_and_only_at_the_root() {
        let plain = archive(&[("bin/web", "x"), ("./plimsoll-package.toml", FACTS)]);
        for bytes in [plain.clone(), gzip(&plain)] {
            let facts = read(&bytes[..]).unwrap().unwrap();
            assert_eq!(facts.version.as_deref(), Some("2.0.0"));
            assert_eq!(facts.requires.len(), 1);
        }
        let below = archive(&[("share/plimsoll-package.toml", FACTS)]);
        assert_eq!(read(&below[..]).unwrap(), None);
        assert_eq!(read(&archive(&[])[..]).unwrap(), None);
    }

    #[test]
    fn what_is_no_archive_too_long_or_misspelt_is_told() {
        assert!(matches!(read(&[7; 2048][..]), Err(FactsError::Archive(_))));
        let long = "#".repeat(usize::try_from(FACTS_BYTES_MAX).unwrap() + 1);
        assert!(matches!(
            read(&archive(&[(FACTS_FILE, &long)])[..]),
            Err(FactsError::TooLong(_))
        ));
        let error = read(&archive(&[(FACTS_FILE, "requiers = {}")])[..]).unwrap_err();
        assert!(error.to_string().contains("requiers"), "{error}");
    }

    #[test]
    fn a_file_behind_too_many_others_is_not_looked_for() {
        let many: Vec<String> = (0..FACTS_ENTRIES_MAX).map(|n| format!("f{n}")).collect();
        let mut files: Vec<(&str, &str)> = many.iter().map(|path| (path.as_str(), "")).collect();
        files.push((FACTS_FILE, FACTS));
        assert_eq!(read(&archive(&files)[..]).unwrap(), None);
        assert!(read(&archive(&files[1..])[..]).unwrap().is_some());
    }

    #[test]
    fn both_sides_are_united_and_contradictions_are_all_told() {
        let name: PackageName = "web".parse().unwrap();
        let facts = read(&archive(&[(FACTS_FILE, FACTS)])[..]).unwrap().unwrap();
        let mut fits = entry("2.0.0", &[("libc", "^2")]);
        assert!(facts.contradictions(&name, &fits).is_empty());
        assert_eq!(facts.left_out(&name, &fits).len(), 1);
        facts.clone().unite(&mut fits);
        assert_eq!(fits.requires.len(), 2);
        assert!(facts.left_out(&name, &fits).is_empty());

        let other: PackageName = "api".parse().unwrap();
        let differs = entry("2.1.0", &[("auth-runtime", "^1")]);
        assert_eq!(facts.contradictions(&other, &differs).len(), 3);
    }
}
