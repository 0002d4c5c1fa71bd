//! What a new bundle changes, so that people see it before they push it.
//!
//! Only names, sizes, versions and digests are shown, never contents: a
//! configuration file may hold what not everybody should read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::{
    Bundle, BundlePath, Command, Commands, Digest, EnvironmentName, FileEntry, HealthCheck,
    HealthProbe, PackageEntry, PackageName, StagePlan, Undecided, WavePlan, WaveSelector,
};

/// One difference between two bundles. `Display` gives one line, which begins
/// with `+` (added), `-` (removed) or `~` (changed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A configuration file.
    File {
        /// Its path below the tree's root.
        path: BundlePath,
        /// Which way it changed.
        edit: Edit<FileEntry>,
    },
    /// A package.
    Package {
        /// Its name.
        name: PackageName,
        /// Which way it changed.
        edit: Edit<PackageEntry>,
    },
    /// One of the commands.
    Command {
        /// `check`, `reload`, `restart` or `exits`.
        name: &'static str,
        /// Which way it changed.
        edit: Edit<Command>,
    },
    /// The health check.
    Health {
        /// Which way it changed.
        edit: Edit<HealthCheck>,
    },
    /// The plan for one environment.
    Stage {
        /// The environment.
        environment: EnvironmentName,
        /// Which way it changed.
        edit: Edit<StagePlan>,
    },
    /// Whether a machine may take the release back.
    Reversible {
        /// It may now.
        now: bool,
    },
}

/// Which way something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit<T> {
    /// It is new.
    Added(T),
    /// It is gone.
    Removed(T),
    /// It is another.
    Changed {
        /// What it was.
        from: T,
        /// What it becomes.
        to: T,
    },
}

impl<T: Clone + PartialEq> Edit<T> {
    fn between(from: Option<&T>, to: Option<&T>) -> Option<Edit<T>> {
        match (from, to) {
            (None, Some(to)) => Some(Edit::Added(to.clone())),
            (Some(from), None) => Some(Edit::Removed(from.clone())),
            (Some(from), Some(to)) if from != to => Some(Edit::Changed {
                from: from.clone(),
                to: to.clone(),
            }),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    fn sign(&self) -> char {
        match self {
            Edit::Added(_) => '+',
            Edit::Removed(_) => '-',
            Edit::Changed { .. } => '~',
        }
    }
}

/// Every difference: packages first, because they matter most, then files,
/// commands, health and plan. Without an old bundle everything is added.
pub fn diff(old: Option<&Bundle>, new: &Bundle) -> Vec<Change> {
    let mut changes = Vec::new();
    let edits = edits(old.map(|old| &old.packages), &new.packages);
    changes.extend(edits.map(|(name, edit)| Change::Package { name, edit }));
    let edits = self::edits(old.map(|old| &old.files), &new.files);
    changes.extend(edits.map(|(path, edit)| Change::File { path, edit }));
    let before = old.map(|old| named(&old.commands));
    for (index, (name, to)) in named(&new.commands).into_iter().enumerate() {
        let from = before.and_then(|before| before[index].1);
        let edit = Edit::between(from, to);
        changes.extend(edit.map(|edit| Change::Command { name, edit }));
    }
    let from = old.and_then(|old| old.health.as_ref());
    let edit = Edit::between(from, new.health.as_ref());
    changes.extend(edit.map(|edit| Change::Health { edit }));
    let edits = self::edits(old.map(|old| &old.plan.stages), &new.plan.stages);
    changes.extend(edits.map(|(environment, edit)| Change::Stage { environment, edit }));
    if old.is_some_and(|old| old.plan.irreversible) != new.plan.irreversible {
        let now = !new.plan.irreversible;
        changes.push(Change::Reversible { now });
    }
    changes
}

fn named(commands: &Commands) -> [(&'static str, Option<&Command>); 4] {
    [
        ("check", commands.check.as_ref()),
        ("reload", commands.reload.as_ref()),
        ("restart", commands.restart.as_ref()),
        ("exits", commands.exits.as_ref()),
    ]
}

fn edits<'a, K: Clone + Ord, V: Clone + PartialEq>(
    old: Option<&'a BTreeMap<K, V>>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (K, Edit<V>)> + 'a {
    let keys: BTreeSet<&K> = old
        .into_iter()
        .flat_map(BTreeMap::keys)
        .chain(new.keys())
        .collect();
    keys.into_iter().filter_map(move |key| {
        let from = old.and_then(|old| old.get(key));
        Some((key.clone(), Edit::between(from, new.get(key))?))
    })
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::File { path, edit } => {
                write!(f, "{} file {path}: ", edit.sign())?;
                match edit {
                    Edit::Added(file) | Edit::Removed(file) => f.write_str(&file_text(file)),
                    Edit::Changed { from, to } => file_change(f, from, to),
                }
            }
            Change::Package { name, edit } => {
                write!(f, "{} package {name}: ", edit.sign())?;
                match edit {
                    Edit::Added(package) | Edit::Removed(package) => {
                        f.write_str(&package.version.escape_debug().to_string())
                    }
                    Edit::Changed { from, to } => package_change(f, from, to),
                }
            }
            Change::Command { name, edit } => {
                write!(f, "{} command {name}: ", edit.sign())?;
                plain(f, edit, command_text)
            }
            Change::Health { edit } => {
                write!(f, "{} health: ", edit.sign())?;
                plain(f, edit, health_text)
            }
            Change::Stage { environment, edit } => {
                write!(f, "{} plan for {environment}: ", edit.sign())?;
                match edit {
                    Edit::Added(stage) | Edit::Removed(stage) => f.write_str(&waves_text(stage)),
                    Edit::Changed { from, to } => f.write_str(&stage_change(from, to)),
                }
            }
            Change::Reversible { now: true } => {
                f.write_str("~ reversible: harm sends it back again")
            }
            Change::Reversible { now: false } => {
                f.write_str("~ not reversible: harm pauses it, and people decide")
            }
        }
    }
}

fn plain<T>(
    f: &mut fmt::Formatter<'_>,
    edit: &Edit<T>,
    text: impl Fn(&T) -> String,
) -> fmt::Result {
    match edit {
        Edit::Added(value) | Edit::Removed(value) => f.write_str(&text(value)),
        Edit::Changed { from, to } => write!(f, "{} -> {}", text(from), text(to)),
    }
}

fn file_text(file: &FileEntry) -> String {
    let executable = if file.executable { ", executable" } else { "" };
    format!("{} bytes{executable}", file.size_bytes)
}

fn file_change(f: &mut fmt::Formatter<'_>, from: &FileEntry, to: &FileEntry) -> fmt::Result {
    if from.digest == to.digest {
        let now = if to.executable { "now" } else { "no longer" };
        return write!(f, "{now} executable");
    }
    let (before, after) = (file_text(from), file_text(to));
    if before == after {
        // The digests show that it did change.
        let (from, to) = (from.digest.short(), to.digest.short());
        return write!(f, "{after} ({from} -> {to})");
    }
    write!(f, "{before} -> {after}")
}

fn package_change(
    f: &mut fmt::Formatter<'_>,
    from: &PackageEntry,
    to: &PackageEntry,
) -> fmt::Result {
    let digests = |from: &Digest, to: &Digest| format!("{} -> {}", from.short(), to.short());
    if from.version == to.version {
        // Worth a second look: somebody built the same version twice.
        let version = to.version.escape_debug();
        let digests = digests(&from.digest, &to.digest);
        return write!(f, "{version} with other bytes ({digests})");
    }
    let (before, after) = (from.version.escape_debug(), to.version.escape_debug());
    let same = if from.digest == to.digest {
        " (the same bytes)"
    } else {
        ""
    };
    write!(f, "{before} -> {after}{same}")
}

/// The command line; an argument that a reader could take for several is quoted.
fn run_text(run: &[String]) -> String {
    let quote = |argument: &String| {
        let plain = |c: char| c.is_ascii_graphic() && !"\"'\\".contains(c);
        if !argument.is_empty() && argument.chars().all(plain) {
            argument.clone()
        } else {
            format!("{argument:?}")
        }
    };
    run.iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn command_text(command: &Command) -> String {
    format!(
        "{} (within {})",
        run_text(&command.run),
        command.deadline_ms
    )
}

fn health_text(health: &HealthCheck) -> String {
    let probe = match &health.probe {
        HealthProbe::Http { url, status } => format!("http {} is {status}", url.escape_debug()),
        HealthProbe::Tcp { address } => format!("tcp {}", address.escape_debug()),
        HealthProbe::Command { run } => run_text(run),
    };
    format!(
        "{probe} (every {}, within {}, {} times, grace {})",
        health.interval_ms, health.deadline_ms, health.threshold, health.grace_ms
    )
}

fn wave_text(wave: &WavePlan) -> String {
    let hosts = match wave.hosts {
        WaveSelector::Hosts { count: 1 } => "1 host".to_owned(),
        WaveSelector::Hosts { count } => format!("{count} hosts"),
        WaveSelector::ShareOfZone { permille } => format!("{permille} of zone"),
        WaveSelector::Share { permille } => permille.to_string(),
        WaveSelector::Zone => "zone".to_owned(),
        WaveSelector::EachZone => "each zone".to_owned(),
        WaveSelector::All => "all".to_owned(),
    };
    match wave.traffic_permille {
        Some(traffic) => format!("{hosts} at {traffic}"),
        None => hosts,
    }
}

fn waves_text(stage: &StagePlan) -> String {
    let waves: Vec<String> = stage.waves.iter().map(wave_text).collect();
    waves.join(", ")
}

/// The parts that differ, as they are called in `plimsoll.toml`.
fn stage_change(from: &StagePlan, to: &StagePlan) -> String {
    let percent = |ppm: u64| {
        let part = format!("{:04}", ppm % 10_000);
        match part.trim_end_matches('0') {
            "" => format!("{} %", ppm / 10_000),
            part => format!("{}.{part} %", ppm / 10_000),
        }
    };
    let permille = |permille: u32| percent(u64::from(permille) * 1000);
    let parts = |stage: &StagePlan| {
        let judge = &stage.judge;
        let undecided = match judge.undecided {
            Undecided::Hold => "hold",
            Undecided::Advance => "advance",
        };
        [
            ("waves", format!("[{}]", waves_text(stage))),
            ("bake", stage.bake_ms.to_string()),
            ("bake_max", stage.bake_max_ms.to_string()),
            ("requests_min", stage.requests_min.to_string()),
            ("failure_budget", stage.failure_budget_permille.to_string()),
            ("parallel", stage.parallel.to_string()),
            ("confirm_within", stage.confirm_within_ms.to_string()),
            (
                "floor",
                stage
                    .floor_permille
                    .map_or_else(|| "usual".to_owned(), |floor| floor.to_string()),
            ),
            (
                "judge.tolerated_increase",
                permille(judge.tolerated_increase_permille),
            ),
            (
                "judge.tolerated_points",
                judge.tolerated_points_permille.to_string(),
            ),
            (
                "judge.tolerated_slowdown",
                permille(judge.tolerated_slowdown_permille),
            ),
            (
                "judge.false_rollbacks",
                percent(judge.false_rollbacks_ppm.into()),
            ),
            (
                "judge.pass_increase",
                permille(judge.pass_increase_permille),
            ),
            ("judge.latency_warmup", judge.latency_warmup_ms.to_string()),
            ("judge.undecided", undecided.to_owned()),
        ]
    };
    let pairs = parts(from).into_iter().zip(parts(to));
    let changed = pairs
        .filter(|((_, from), (_, to))| from != to)
        .map(|((name, from), (_, to))| format!("{name} {from} -> {to}"));
    changed.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
