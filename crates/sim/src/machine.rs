//! One host: the real node machine, its disk, and the service's process.

use std::collections::{BTreeMap, BTreeSet};

use model::{Digest, Generation, ServiceName};
use node::{Action, EffectId, Host, Outcome};

use crate::fleet::Place;
use crate::laws::{Lawful, law};

/// Everything on one host.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) place: Place,
    /// The agent's memory; nothing while it is down.
    pub(crate) agent: Option<Host>,
    /// The agent's state on disk.
    pub(crate) saved: Host,
    /// Counts the agent's processes, so that answers to a dead one are told apart.
    pub(crate) life: u64,
    /// How far its clock is from the true time.
    pub(crate) offset_ms: i64,
    pub(crate) disks: BTreeMap<ServiceName, Disk>,
    /// Effects under way.
    pub(crate) flights: BTreeMap<EffectId, Flight>,
    /// The tag of the newest orders that it fetched.
    pub(crate) tag: String,
    /// When it looks at the clock again.
    pub(crate) wake: Option<u64>,
    pub(crate) fences: BTreeMap<ServiceName, Generation>,
}

/// An effect under way.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) action: Action,
    /// Known already: what is left is to hear of it.
    pub(crate) outcome: Option<Outcome>,
}

/// What one service has on a host's disk, and what runs.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Complete trees are true, damaged ones false.
    pub(crate) trees: BTreeMap<Digest, bool>,
    pub(crate) live: Digest,
    pub(crate) process: Option<Process>,
    /// Counts processes.
    pub(crate) started: u64,
    /// Unplanned exits.
    pub(crate) exits: u64,
    pub(crate) origin: Digest,
    /// Nothing was there at first.
    pub(crate) empty: bool,
}

/// The service's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    /// What it read when it started.
    pub(crate) digest: Digest,
    pub(crate) number: u64,
    /// It has come to hang.
    pub(crate) hangs: bool,
}

impl Disk {
    pub(crate) fn new(origin: Digest, empty: bool) -> Disk {
        let process = Process {
            digest: origin,
            number: 1,
            hangs: false,
        };
        Disk {
            trees: [(origin, true)].into(),
            live: origin,
            process: (!empty).then_some(process),
            started: 1,
            exits: 0,
            origin,
            empty,
        }
    }

    pub(crate) fn whole(&self, tree: Digest) -> bool {
        self.trees.get(&tree) == Some(&true)
    }

    /// Whether there is anything to run at all.
    pub(crate) fn nothing(&self, tree: Digest) -> bool {
        self.empty && tree == self.origin
    }

    pub(crate) fn swap(&mut self, to: Digest) -> Outcome {
        if !self.trees.contains_key(&to) {
            return failed("no such tree");
        }
        self.live = to;
        Outcome::Done
    }

    /// Removes trees. What is live or running must stay, or the next restart has nothing.
    pub(crate) fn prune(&mut self, keep: &BTreeSet<Digest>) -> Lawful {
        let running = self.process.map_or(self.live, |process| process.digest);
        law(
            keep.contains(&self.live) && keep.contains(&running),
            "prune",
            || {
                format!(
                    "{} is live, {} runs, but only {keep:?} stay",
                    self.live.short(),
                    running.short()
                )
            },
        )?;
        self.trees.retain(|tree, _| keep.contains(tree));
        Ok(())
    }
}

pub(crate) fn failed(reason: &str) -> Outcome {
    Outcome::Failed {
        reason: reason.into(),
    }
}
