//! The machines in a simulated world: the real engine and the real node
//! machines, on a network, disks and clocks that fail as a seed says.
//!
//! Everything follows from one number, so a failure is replayed by its seed.
//! After every step the laws in `laws` are checked, which read the journal
//! apart from the engine; at random moments the state is compared with its
//! journal and a rollback is tried on a copy; and when the faults have stopped
//! everything must come to rest where the journal says (`settle`).
//!
//! Invariant: no wall clock, no shared state, no unordered map; the same seed
//! gives the same run on every machine.

mod agent;
mod attest;
mod calls;
mod evidence;
mod faults;
mod fleet;
mod laws;
mod machine;
mod people;
mod plane;
mod random;
mod reference;
mod service;
mod settle;
mod traffic;
mod weather;
mod world;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::laws::Broken;
use crate::world::{Trace, World};

/// So much of a failing run's trace is shown.
const TAIL_LINES: usize = 40;

/// Seeds that failed once, one in each line; they are run every time.
const REGRESSIONS: &str = include_str!("../regressions.txt");

/// What must have happened over many seeds, or they have shown nothing.
pub const WANTED: &[&str] = &[
    "agent crashes",
    "agents killed after they wrote",
    "agents killed before they wrote",
    "answers lost after the append",
    "confirmations refused",
    "control plane clocks set",
    "control plane crashes",
    "damaged trees mended",
    "effects done, outcome lost",
    "freezes",
    "gateway restarts",
    "host clocks set",
    "host crashes",
    "hosts holding",
    "links cut: control plane",
    "links cut: gateway",
    "links cut: host",
    "links cut: zone",
    "local reverts",
    "messages cut off",
    "messages doubled",
    "messages late",
    "messages lost",
    "orders declined",
    "peers asked",
    "pushes",
    "pushes refused",
    "quarantines lifted",
    "releases good",
    "releases rolled back",
    "restarts failing for once",
    "reverts failing at first",
    "rollbacks by people",
    "rollbacks by verdict",
    "self-reverts",
    "services exited",
    "services hung",
    "traffic stops",
    "trees damaged",
    "waves begun in production",
    "waves continued by people",
    "waves held",
];

/// What happened in one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// Events in the journal at the end.
    pub events: u64,
    /// How long it took in the simulated world.
    pub simulated_ms: u64,
}

/// A law that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// Which law.
    pub law: String,
    /// How.
    pub what: String,
    /// The end of the run's trace.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure {
            seed,
            law,
            what,
            trace,
        } = self;
        let from = trace.len().saturating_sub(TAIL_LINES);
        for line in &trace[from..] {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {seed} breaks the law \"{law}\": {what}")?;
        write!(f, "replay it with: cargo xtask sim --seed {seed}")
    }
}

impl std::error::Error for Failure {}

/// Runs one seed.
///
/// # Errors
/// The law that the run broke, with the end of its trace.
pub fn run(seed: u64) -> Result<Summary, Failure> {
    match attempt(seed, &Trace::default()) {
        Ok(summary) => Ok(summary),
        // Once more, this time with somebody taking notes: making lines is half the cost of a run.
        Err(broken) => Err(replayed(seed, broken)),
    }
}

/// Runs one seed and keeps every line of its trace.
pub fn run_traced(seed: u64) -> (Vec<String>, Result<Summary, Failure>) {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let result = attempt(seed, &Trace(Some(Rc::clone(&lines))));
    let trace = lines.take();
    let result = result.map_err(|broken| failure(seed, broken, trace.clone()));
    (trace, result)
}

/// Seeds that failed once.
pub fn regressions() -> impl Iterator<Item = u64> {
    let lines = REGRESSIONS
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    lines.filter_map(|line| line.trim().parse().ok())
}

fn replayed(seed: u64, broken: Broken) -> Failure {
    match run_traced(seed) {
        (_, Err(failure)) if failure.what == broken.what => failure,
        (trace, _) => {
            let what = format!(
                "{}; but not again in the replay: a run is not a function of its seed",
                broken.what
            );
            failure(seed, Broken { what, ..broken }, trace)
        }
    }
}

fn failure(seed: u64, broken: Broken, trace: Vec<String>) -> Failure {
    Failure {
        seed,
        law: broken.law.to_owned(),
        what: broken.what,
        trace,
    }
}

fn attempt(seed: u64, trace: &Trace) -> Result<Summary, Broken> {
    let run = || -> Result<Summary, Broken> {
        let mut world = World::new(seed, trace.clone())?;
        world.run()?;
        Ok(Summary {
            events: world.plane.journal.len() as u64,
            simulated_ms: world.now,
            counts: world.counts,
        })
    };
    // The machines assert what must never be; that is a law like the others.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Broken {
            law: "no panic",
            what: words.unwrap_or_default(),
        })
    })
}
