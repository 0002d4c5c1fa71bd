//! How full this host is: cores, memory, and the disk with the trees.
//!
//! The whole host is looked at, not the service alone: what a new bundle takes,
//! its neighbours lack. Hosts that share a machine (containers, a quickstart) say so
//! by [`machine`], and are then not compared by it.
//!
//! Invariant: what can't be read is left out, never guessed, and never holds up
//! a heartbeat for longer than [`READ_WITHIN`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Digest;
use tokio::task::JoinHandle;

/// Kernel files answer at once; a file system of the network that is gone may
/// never do. Then the beat goes without gauges until it does.
const READ_WITHIN: Duration = Duration::from_millis(500);

/// Reads the host's gauges, one look after the other.
pub(crate) struct Gauges {
    /// In the file system that is looked at.
    folder: PathBuf,
    /// Time that cores spent up to the last look.
    cores: Option<Cores>,
    /// A look that has not come back.
    under_way: Option<JoinHandle<Look>>,
}

/// What one look found.
struct Look {
    cores: Option<Cores>,
    memory: Option<u16>,
    disk: Option<u16>,
}

/// Time that all cores together have spent since the machine started, in the
/// kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cores {
    busy: u64,
    all: u64,
}

impl Gauges {
    pub(crate) fn new(folder: &Path) -> Gauges {
        Gauges {
            folder: folder.to_owned(),
            cores: None,
            under_way: None,
        }
    }

    /// How full each is since the last look (cores) or now, in thousandths.
    pub(crate) async fn look(&mut self) -> BTreeMap<String, u16> {
        let folder = self.folder.clone();
        // One that hangs is waited for, not joined by another.
        let looking = self.under_way.get_or_insert_with(|| {
            tokio::task::spawn_blocking(move || Look {
                cores: read("/proc/stat").and_then(|text| cores(&text)),
                memory: read("/proc/meminfo").and_then(|text| memory(&text)),
                disk: disk(&folder),
            })
        });
        let Ok(looked) = tokio::time::timeout(READ_WITHIN, looking).await else {
            return BTreeMap::new();
        };
        self.under_way = None;
        let Ok(look) = looked else {
            return BTreeMap::new();
        };
        let before = std::mem::replace(&mut self.cores, look.cores);
        let cpu = before.zip(look.cores).and_then(|(from, to)| busy(from, to));
        let gauges = [("cpu", cpu), ("memory", look.memory), ("disk", look.disk)];
        let known = gauges.into_iter();
        known
            .filter_map(|(name, full)| Some((name.to_owned(), full?)))
            .collect()
    }
}

/// Tells this machine from others, the same in all its containers: `/proc/stat` and
/// `/proc/meminfo` are the kernel's, whoever reads them, and so is its boot's number
/// (random(4)). None where there is no such file.
pub(crate) fn machine() -> Option<Digest> {
    let boot = read("/proc/sys/kernel/random/boot_id")?;
    Some(Digest::of(boot.trim().as_bytes()))
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq,
/// softirq, steal (proc_stat(5)); guests' time is in user's already. Waiting
/// for a disk leaves the core free; what other machines steal does not.
fn cores(text: &str) -> Option<Cores> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let spent: Result<Vec<u64>, _> = line.split_whitespace().take(8).map(str::parse).collect();
    let spent = spent.ok().filter(|spent| spent.len() >= 4)?;
    let all: u64 = spent.iter().sum();
    let idle: u64 = spent.iter().skip(3).take(2).sum();
    Some(Cores {
        busy: all - idle,
        all,
    })
}

/// The share of the time between two looks in which cores were busy; none when
/// no time has passed, or counters went back as they do when a core goes away.
fn busy(from: Cores, to: Cores) -> Option<u16> {
    let busy = to.busy.checked_sub(from.busy)?;
    let all = to.all.checked_sub(from.all)?;
    permille(busy, all)
}

/// What is not available to new work without swapping, of `/proc/meminfo`.
fn memory(text: &str) -> Option<u16> {
    let of = |name: &str| -> Option<u64> {
        let mut lines = text.lines();
        let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let (all, available) = (of("MemTotal")?, of("MemAvailable")?);
    permille(all.saturating_sub(available), all)
}

/// What is taken of the blocks that the agent may use at all: what is reserved
/// for root counts on neither side, as with df.
fn disk(folder: &Path) -> Option<u16> {
    let space = rustix::fs::statvfs(folder).ok()?;
    let used = space.f_blocks.saturating_sub(space.f_bfree);
    permille(used, used.saturating_add(space.f_bavail))
}

fn permille(part: u64, whole: u64) -> Option<u16> {
    let share = u128::from(part) * 1000 / u128::from(std::num::NonZeroU64::new(whole)?.get());
    Some(u16::try_from(share.min(1000)).unwrap_or(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  100 20 30 700 50 5 5 90 60 0\ncpu0 50 10 15 350 25 2 3 45 30 0\nintr 5\n";

    #[test]
    fn cores_are_busy_when_neither_idle_nor_waiting_for_a_disk() {
        let from = cores(STAT).unwrap();
        assert_eq!(
            from,
            Cores {
                busy: 250,
                all: 1000
            }
        );
        let to = Cores {
            busy: 400,
            all: 1200,
        };
        assert_eq!(busy(from, to), Some(750));
        assert_eq!(busy(from, from), None, "no time has passed");
        assert_eq!(busy(to, from), None, "a core went away");
        // Old kernels say less.
        let old = cores("cpu 1 2 3 4\n").unwrap();
        assert_eq!(old, Cores { busy: 6, all: 10 });
        for odd in ["", "cpu0 1 2 3 4\n", "cpu 1 2\n", "cpu a b c d\n"] {
            assert_eq!(cores(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn memory_is_full_of_what_is_not_available() {
        let text = "MemTotal:       2000 kB\nMemFree:  10 kB\nMemAvailable:    500 kB\n";
        assert_eq!(memory(text), Some(750));
        assert_eq!(memory("MemTotal: 2000 kB\nMemFree: 10 kB\n"), None);
        assert_eq!(memory("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), None);
        assert_eq!(memory("MemTotal: 5 kB\nMemAvailable: 9 kB\n"), Some(0));
    }

    #[test]
    fn a_disk_is_as_full_as_it_is_and_one_that_is_not_there_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        assert!(disk(folder.path()).unwrap() <= 1000);
        assert_eq!(disk(&folder.path().join("none")), None);
    }

    #[tokio::test]
    async fn the_first_look_knows_no_share_of_time_and_later_ones_do() {
        let folder = tempfile::tempdir().unwrap();
        let mut gauges = Gauges::new(folder.path());
        let mut looks: Vec<Vec<String>> = Vec::new();
        for _ in 0..500 {
            let look = gauges.look().await;
            assert!(look.values().all(|full| *full <= 1000), "{look:?}");
            let has_cpu = look.contains_key("cpu");
            looks.extend((!look.is_empty()).then(|| look.into_keys().collect()));
            if has_cpu {
                assert_eq!(looks[0], ["disk", "memory"]);
                assert_eq!(looks[looks.len() - 1], ["cpu", "disk", "memory"]);
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no time passed within 5 s");
    }
}
