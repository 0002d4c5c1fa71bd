//! Packages of a fleet: as their makers ship them, as hosts have them, as a release brings them.
//!
//! Invariant: whatever says something of a package (its own manifest, its
//! archive, the fleet's project file) says it from the one [`Package`].

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;

use super::{Place, World};

/// Names with versions or ranges.
pub type Relations = &'static [(&'static str, &'static str)];

/// One version of a package.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it uses at run time: the tables of its `extension.toml`.
    pub uses: &'static str,
    /// Packages and features that must be deployed beside it.
    pub requires: Relations,
    /// Packages and features that must not be.
    pub conflicts: Relations,
    /// Features that it brings.
    pub provides: Relations,
}

impl Package {
    /// What the service reads when it loads it.
    fn manifest(&self) -> String {
        format!(
            "name = \"{}\"\nversion = \"{}\"\n\n{}",
            self.name, self.version, self.uses
        )
    }

    /// What its archive says of it, for whoever checks what goes together.
    fn facts(&self) -> String {
        let mut text = format!("name = \"{}\"\nversion = \"{}\"\n", self.name, self.version);
        for (word, relations) in self.relations() {
            let _ = writeln!(text, "{word} = {}", inline(relations));
        }
        text
    }

    fn relations(&self) -> impl Iterator<Item = (&'static str, Relations)> {
        let all = [
            ("requires", self.requires),
            ("conflicts", self.conflicts),
            ("provides", self.provides),
        ];
        all.into_iter()
            .filter(|(_, relations)| !relations.is_empty())
    }

    /// `name = { version = …, … }`, as classes of hosts declare what they have.
    pub(super) fn declared(&self) -> String {
        let mut text = format!("{} = {{ version = \"{}\"", self.name, self.version);
        for (word, relations) in self.relations() {
            let _ = write!(text, ", {word} = {}", inline(relations));
        }
        text + " }\n"
    }

    /// `[[catalog]]`: a version that could be deployed.
    pub(super) fn listed(&self) -> String {
        format!("\n[[catalog]]\n{}", self.facts())
    }

    /// Writes it as a folder that the service can load.
    fn install(&self, packages: &Path) -> Result<()> {
        let folder = packages.join(self.name);
        let file = folder.join("extension.toml");
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&file, self.manifest()))
            .with_context(|| file.display().to_string())
    }

    /// The archive that is released; with `facts` it says what it goes with.
    fn archive(&self, facts: bool) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut files = vec![("extension.toml", self.manifest())];
        if facts {
            files.insert(0, ("plimsoll-package.toml", self.facts()));
        }
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, text.as_bytes())?;
        }
        Ok(archive.into_inner()?)
    }
}

/// `{ a = "1", b = "2" }`.
fn inline(relations: Relations) -> String {
    let pairs: Vec<String> = relations
        .iter()
        .map(|(name, range)| format!("{name} = {range:?}"))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}

impl World {
    /// What the reports tell of: configuration and packages go straight onto these
    /// hosts, past every gate and wave, and their servers are restarted.
    ///
    /// # Errors
    /// When a file can't be written or a restart can't be asked for.
    pub async fn push_directly(&self, hosts: &[Place], packages: &[Package]) -> Result<()> {
        let config = self.folder.join("project/config/service.toml");
        for place in hosts {
            std::fs::copy(&config, place.folder.join("live/service.toml"))?;
            World::install_directly(place, packages)?;
        }
        let restarts = hosts.iter().map(|place| {
            let state = place.folder.join("init");
            async move { crate::supervise::restart(&state, Duration::from_secs(10)).await }
        });
        for outcome in join_all(restarts).await {
            outcome?;
        }
        Ok(())
    }

    /// What the next release brings beside its configuration.
    ///
    /// # Errors
    /// When the archives or the project file can't be written.
    pub fn write_packages(&self, packages: &[Package]) -> Result<()> {
        let dist = self.folder.join("project/dist");
        std::fs::create_dir_all(&dist)?;
        for package in packages {
            let file = dist.join(format!("{}.tar", package.name));
            std::fs::write(&file, package.archive(self.shape.gates)?)
                .with_context(|| file.display().to_string())?;
        }
        self.write_project(packages)
    }

    /// What a host has beside the service, from its class.
    pub(super) fn deploy(&self, place: &Place) -> Result<()> {
        for package in self.shape.deployed(place.environment) {
            package.install(&place.folder.join("deployed"))?;
        }
        Ok(())
    }

    /// Past every gate: these packages and no others are in the host's live tree.
    pub(super) fn install_directly(place: &Place, packages: &[Package]) -> Result<()> {
        let folder = place.folder.join("live/packages");
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| folder.display().to_string());
            }
            _ => {}
        }
        packages
            .iter()
            .try_for_each(|package| package.install(&folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Package = Package {
        name: "web",
        version: "2.0.0",
        uses: "[authentication]\nprotocol = \"token-exchange\"\n",
        requires: &[("sso", "^2")],
        conflicts: &[("cart", "<3"), ("old-web", "*")],
        provides: &[],
    };

    #[test]
    fn what_is_written_can_be_read() {
        let manifest: toml_edit::DocumentMut = WEB.manifest().parse().unwrap();
        assert_eq!(
            manifest["authentication"]["protocol"].as_str(),
            Some("token-exchange")
        );
        let declared: toml_edit::DocumentMut = WEB.declared().parse().unwrap();
        assert_eq!(
            declared["web"]["conflicts"]["old-web"].as_str(),
            Some("*"),
            "{declared}"
        );
        let listed: toml_edit::DocumentMut = WEB.listed().parse().unwrap();
        let listed = &listed["catalog"][0];
        assert_eq!(listed["requires"]["sso"].as_str(), Some("^2"));
        assert!(listed.get("provides").is_none());
    }

    #[test]
    fn only_a_full_archive_says_what_it_goes_with() {
        for (facts, names) in [
            (true, &["plimsoll-package.toml", "extension.toml"][..]),
            (false, &["extension.toml"][..]),
        ] {
            let bytes = WEB.archive(facts).unwrap();
            let mut archive = tar::Archive::new(bytes.as_slice());
            let found: Vec<String> = archive
                .entries()
                .unwrap()
                .map(|entry| entry.unwrap().path().unwrap().display().to_string())
                .collect();
            assert_eq!(found, names);
        }
    }
}
