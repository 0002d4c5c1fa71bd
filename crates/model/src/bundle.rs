//! The bundle: one immutable, content-addressed release object.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, EnvironmentName, Millis, PackageName, Permille, ServiceName, canonical};

/// Most files and packages in one bundle: its manifest is one journal event and one order.
pub const BUNDLE_ENTRIES_MAX: usize = 10_000;
/// Most bytes of all files and packages of one bundle together.
pub const BUNDLE_BYTES_MAX: u64 = 1 << 30;
/// Longest path inside a bundle, in bytes.
pub const PATH_BYTES_MAX: usize = 512;

/// What is released: configuration files, packages, and how to put them in use.
///
/// Its digest covers everything here, so code, configuration, commands and
/// plan go forward and back together. What it replaces is not part of it (the
/// release carries that), so the same content always has the same digest and
/// a quarantined content can't come back under another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Whose bundle this is.
    pub service: ServiceName,
    /// Configuration files by their path below the tree's root.
    #[serde(default)]
    pub files: BTreeMap<BundlePath, FileEntry>,
    /// Packages, unpacked at `packages/NAME` below the tree's root.
    #[serde(default)]
    pub packages: BTreeMap<PackageName, PackageEntry>,
    /// Packages and features that the files need beside them, with version ranges.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requires: BTreeMap<PackageName, String>,
    /// How the host checks and applies the tree.
    #[serde(default)]
    pub commands: Commands,
    /// How the host knows that the service works.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// How the bundle travels through environments.
    #[serde(default)]
    pub plan: Plan,
}

impl Bundle {
    /// The bundle's identity: BLAKE3 over its canonical encoding.
    pub fn digest(&self) -> Digest {
        // Text keys and integers only, by the types above; there is nothing to fail on.
        canonical::digest(self).unwrap_or_else(|error| unreachable!("bundle encodes: {error}"))
    }

    /// Every blob the bundle needs, with its size in bytes.
    pub fn blobs(&self) -> BTreeMap<Digest, u64> {
        let files = self
            .files
            .values()
            .map(|file| (file.digest, file.size_bytes));
        let packages = self
            .packages
            .values()
            .map(|package| (package.digest, package.size_bytes));
        files.chain(packages).collect()
    }

    /// The sum of all sizes, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.blobs()
            .values()
            .fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// Laws that types alone don't hold; each broken one as a sentence.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let entries = self.files.len() + self.packages.len();
        if entries > BUNDLE_ENTRIES_MAX {
            problems.push(format!(
                "{entries} files and packages; at most {BUNDLE_ENTRIES_MAX}"
            ));
        }
        let size = self.size_bytes();
        if size > BUNDLE_BYTES_MAX {
            problems.push(format!("{size} bytes in all; at most {BUNDLE_BYTES_MAX}"));
        }
        let paths: BTreeSet<&str> = self.files.keys().map(BundlePath::as_str).collect();
        for path in &paths {
            if *path == "packages" || path.starts_with("packages/") {
                problems.push(format!("{path}: the folder packages/ is kept for packages"));
            }
            let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
            for parent in parents.filter(|parent| paths.contains(parent)) {
                problems.push(format!("{parent} is both a file and the folder of {path}"));
            }
        }
        problems
    }
}

/// A path below the tree's root: relative, `/`-separated, without `.`, `..`,
/// empty parts or control characters, so it can't leave the tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BundlePath(String);

/// A path that would leave the bundle, or can't name a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} can't be a path in a bundle: {reason}")]
pub struct InvalidPath {
    /// What was given.
    pub path: String,
    /// Which law it breaks.
    pub reason: &'static str,
}

impl BundlePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BundlePath {
    type Err = InvalidPath;

    fn from_str(path: &str) -> Result<Self, InvalidPath> {
        let reason = if path.is_empty() {
            "it is empty"
        } else if path.len() > PATH_BYTES_MAX {
            "it is longer than 512 bytes"
        } else if path.starts_with('/') {
            "it is absolute"
        } else if path.contains('\\') || path.chars().any(char::is_control) {
            "it holds a backslash or a control character"
        } else if path.split('/').any(|part| part == "..") {
            "it leaves the bundle by '..'"
        } else if path.split('/').any(|part| part.is_empty() || part == ".") {
            "it has an empty part or '.'"
        } else {
            return Ok(BundlePath(path.to_owned()));
        };
        Err(InvalidPath {
            path: path.chars().take(PATH_BYTES_MAX).collect(),
            reason,
        })
    }
}

impl TryFrom<String> for BundlePath {
    type Error = InvalidPath;

    fn try_from(path: String) -> Result<Self, InvalidPath> {
        path.parse()
    }
}

impl From<BundlePath> for String {
    fn from(path: BundlePath) -> String {
        path.0
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content.
    pub size_bytes: u64,
    /// Whether the file is made executable.
    #[serde(default)]
    pub executable: bool,
}

/// One package: a tar archive (`.tar` or `.tar.gz`), addressed by the digest of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageEntry {
    /// The package's own version, as its makers write it.
    pub version: String,
    /// Digest of the archive.
    pub digest: Digest,
    /// Size of the archive.
    pub size_bytes: u64,
    /// Packages and features that must be deployed beside it, with version ranges: `"^2.1"`.
    // Left out when empty, here and below: a bundle's digest is over what is written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requires: BTreeMap<PackageName, String>,
    /// Packages and features that must not be, with version ranges.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conflicts: BTreeMap<PackageName, String>,
    /// Features that it brings, with their versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provides: BTreeMap<PackageName, String>,
}

/// A program with its arguments (no shell), and how long it may take.
///
/// It runs in the tree's root with `PLIMSOLL_HOST`, `PLIMSOLL_ZONE`,
/// `PLIMSOLL_ENVIRONMENT`, `PLIMSOLL_SERVICE`, `PLIMSOLL_ADDRESS`,
/// `PLIMSOLL_TREE` and `PLIMSOLL_DIGEST` in its environment, in a process group
/// of its own, which is killed at the deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments; `${address}` and the like are replaced as in [`HealthProbe`].
    pub run: Vec<String>,
    /// The process group is killed after this long.
    pub deadline_ms: Millis,
}

/// What the agent runs on the way. Each may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commands {
    /// Checks the staged tree before anything changes; failing refuses the order.
    #[serde(default)]
    pub check: Option<Command>,
    /// Makes the running service take the new tree, when restart is not needed.
    #[serde(default)]
    pub reload: Option<Command>,
    /// Restarts the service on the new tree. With both, a change of packages restarts and any other reloads.
    #[serde(default)]
    pub restart: Option<Command>,
    /// Prints one number: how often the service has exited unplanned since it was installed.
    #[serde(default)]
    pub exits: Option<Command>,
}

/// How a host knows that its service works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: HealthProbe,
    /// Pause between two looks.
    pub interval_ms: Millis,
    /// Each look gives up after this long.
    pub deadline_ms: Millis,
    /// How long the service may take to become healthy after a (re)start.
    pub grace_ms: Millis,
    /// So many good looks in a row make it healthy, so many bad ones unhealthy.
    pub threshold: u32,
}

/// One look. In texts `${address}`, `${host}`, `${zone}`, `${environment}`,
/// `${service}` and `${tree}` are replaced by the host's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum HealthProbe {
    /// A GET that must answer with `status`.
    Http {
        /// Where to ask.
        url: String,
        /// The one good answer.
        status: u16,
    },
    /// A connection that must be accepted.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// A program that must exit with 0.
    Command {
        /// Program and arguments.
        run: Vec<String>,
    },
}

/// How a bundle travels: one stage for each environment it passes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// By environment; an environment without an entry uses [`StagePlan::default`].
    #[serde(default)]
    pub stages: BTreeMap<EnvironmentName, StagePlan>,
    /// Going back would do more harm than waiting (a migration that loses data): what
    /// the judge finds pauses the release and asks people, and reverts nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub irreversible: bool,
}

/// How a bundle travels through one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagePlan {
    /// In order; hosts that no wave names come in a last one.
    pub waves: Vec<WavePlan>,
    /// A wave is watched at least this long after its last host confirmed.
    pub bake_ms: Millis,
    /// A wave that can't be judged for this long is held, and people are asked.
    pub bake_max_ms: Millis,
    /// A wave passes only after this many requests on the new bundle.
    pub requests_min: u64,
    /// A wave passes once it is shown that no more than this share of requests fails on the new
    /// bundle beyond what fails on the old.
    pub failure_budget_permille: Permille,
    /// So many hosts of one wave change at the same time.
    pub parallel: u32,
    /// A host must have confirmed this long after it was ordered; else it goes back by itself.
    pub confirm_within_ms: Millis,
    /// At least so many of the environment's hosts serve while others are changed; going back
    /// asks for none. Absent: three quarters where customers are, none elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_permille: Option<Permille>,
    /// What the judge holds against the new bundle, and how sure it must be.
    #[serde(default, skip_serializing_if = "JudgePlan::is_default")]
    pub judge: JudgePlan,
}

/// What the judge holds against a new bundle in one environment.
///
/// Harm is shown when the new bundle's failing share is above
/// `tolerated ratio * old + tolerated points`; a wave passes when it is shown to be
/// below `pass ratio * old + failure budget`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JudgePlan {
    /// Failing up to this much more often than the old bundle is not held against it: 200 is a fifth more.
    pub tolerated_increase_permille: u32,
    /// Nor is failing by so many points more.
    pub tolerated_points_permille: Permille,
    /// Nor is being slower by this much: 100 is a tenth.
    pub tolerated_slowdown_permille: u32,
    /// Of so many healthy releases (in millionths) at most are sent back by mistake.
    pub false_rollbacks_ppm: u32,
    /// To pass it must be shown to fail less than this much more often (beside the failure budget): 1000 is twice as often.
    pub pass_increase_permille: u32,
    /// Latency is not compared for so long after a host's restart.
    pub latency_warmup_ms: Millis,
    /// What becomes of a wave that can't be judged in time.
    pub undecided: Undecided,
}

/// What becomes of a wave that can't be judged in time, although requests were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Undecided {
    /// It is held and people are asked.
    #[default]
    Hold,
    /// It passes if nothing speaks against it; a high-risk release is held all the same.
    Advance,
}

impl JudgePlan {
    fn is_default(&self) -> bool {
        *self == JudgePlan::default()
    }
}

impl Default for JudgePlan {
    fn default() -> Self {
        JudgePlan {
            tolerated_increase_permille: 0,
            tolerated_points_permille: Permille::NONE,
            tolerated_slowdown_permille: 100,
            false_rollbacks_ppm: 1000,
            pass_increase_permille: 1000,
            latency_warmup_ms: Millis::seconds(30),
            undecided: Undecided::Hold,
        }
    }
}

impl Default for StagePlan {
    fn default() -> Self {
        StagePlan {
            waves: vec![
                WavePlan::of(WaveSelector::Hosts { count: 1 }),
                WavePlan::of(WaveSelector::ShareOfZone {
                    permille: Permille::new(50).unwrap_or(Permille::ALL),
                }),
                WavePlan::of(WaveSelector::Zone),
                WavePlan::of(WaveSelector::EachZone),
            ],
            bake_ms: Millis::seconds(60),
            bake_max_ms: Millis::seconds(1800),
            requests_min: 100,
            failure_budget_permille: Permille::new(10).unwrap_or(Permille::NONE),
            parallel: 4,
            confirm_within_ms: Millis::seconds(60),
            floor_permille: None,
            judge: JudgePlan::default(),
        }
    }
}

/// One wave of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WavePlan {
    /// Which hosts join.
    pub hosts: WaveSelector,
    /// Share of the environment's traffic for the new bundle while this wave
    /// bakes; absent: the share of hosts that run it.
    #[serde(default)]
    pub traffic_permille: Option<Permille>,
}

impl WavePlan {
    /// A wave whose traffic follows its hosts.
    pub fn of(hosts: WaveSelector) -> WavePlan {
        WavePlan {
            hosts,
            traffic_permille: None,
        }
    }
}

/// Which hosts a wave adds to those before it. "The zone" is the zone of the
/// first wave's first host; zones go in the order of the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum WaveSelector {
    /// So many more hosts of the zone (of all zones once it is done).
    Hosts {
        /// How many.
        count: u32,
    },
    /// Up to this share of the zone.
    ShareOfZone {
        /// Share of the zone's hosts, rounded up.
        permille: Permille,
    },
    /// Up to this share of the environment.
    Share {
        /// Share of all hosts, rounded up.
        permille: Permille,
    },
    /// The rest of the zone.
    Zone,
    /// The zones that are left, one wave each.
    EachZone,
    /// Everything that is left.
    All,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for good in ["a", "a/b.toml", "conf.d/10-x", "..a/b..", ".env"] {
            assert!(good.parse::<BundlePath>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "a/./b",
            "a/",
            "a\\b",
            "a\0b",
        ] {
            assert!(bad.parse::<BundlePath>().is_err(), "{bad:?}");
            let json = serde_json::to_string(bad).unwrap();
            assert!(
                serde_json::from_str::<BundlePath>(&json).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_file_is_not_also_a_folder() {
        let file = FileEntry {
            digest: Digest::of(b""),
            size_bytes: 0,
            executable: false,
        };
        let bundle = Bundle {
            service: "api".parse().unwrap(),
            files: ["a", "a/b", "packages/x"]
                .map(|path| (path.parse().unwrap(), file.clone()))
                .into(),
            packages: BTreeMap::new(),
            requires: BTreeMap::new(),
            commands: Commands::default(),
            health: None,
            plan: Plan::default(),
        };
        assert_eq!(bundle.problems().len(), 2, "{:?}", bundle.problems());
    }
}
