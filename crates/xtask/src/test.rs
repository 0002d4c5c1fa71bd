//! Everything that has to hold before a change is merged, in the order in which
//! it fails soonest.
//!
//! Invariant: the last line is `N passed, N failed`, and it says `0 failed` only
//! if every step that was asked for succeeded.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::run::{Counts, Run, cargo};
use crate::tidy;

/// Seeds for each push: enough that every fault of the simulated world is met
/// many times, few enough for a minute on two cores. Nightly runs take more.
pub(crate) const SIM_SEEDS: u64 = 200;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                      all steps, stopping at the first that fails
  cargo xtask test --list               the steps and their commands
  cargo xtask test --only e2e           one step")]
pub(crate) struct Options {
    /// Run this step alone
    #[arg(long, value_name = "STEP")]
    only: Option<Step>,
    /// Show the steps and their commands
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// The form of the source
    Fmt,
    /// The house rules
    Tidy,
    /// The compiler's and clippy's warnings
    Clippy,
    /// Unit, property and scenario tests of all crates
    Unit,
    /// The machines in a simulated world
    Sim,
    /// The built program, with real processes
    E2e,
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// What it runs; empty for what happens inside this program.
    fn runs(self) -> Vec<Run> {
        match self {
            Step::Fmt => vec![cargo(["fmt", "--all", "--check"])],
            Step::Tidy => Vec::new(),
            Step::Clippy => vec![clippy()],
            Step::Unit => vec![unit()],
            Step::Sim => vec![sim().arg("--seeds").arg(SIM_SEEDS)],
            Step::E2e => e2e().into(),
        }
    }
}

fn clippy() -> Run {
    cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ])
}

/// `--no-fail-fast`, so that one run names everything that is broken.
pub(crate) fn unit() -> Run {
    cargo([
        "test",
        "--workspace",
        "--exclude",
        "e2e",
        "--exclude",
        "sim",
        "--locked",
        "--no-fail-fast",
    ])
}

/// The simulation, which wants its flags.
pub(crate) fn sim() -> Run {
    cargo(["run", "--quiet", "--locked", "-p", "sim", "--"])
}

/// The tests start the program that the first command builds.
pub(crate) fn e2e() -> [Run; 2] {
    [
        cargo(["build", "-p", "plimsoll", "--locked"]),
        cargo(["test", "-p", "e2e", "--locked", "--no-fail-fast"]),
    ]
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let steps: Vec<Step> = match options.only {
        Some(step) => vec![step],
        None => Step::value_variants().to_vec(),
    };
    if options.list {
        list(&steps);
        return ExitCode::SUCCESS;
    }
    let mut total = Counts::default();
    let done = all(&steps, &mut total);
    if let Err(problem) = &done {
        println!("\n{problem:#}");
        // A step that fails without a failed test is a failure all the same.
        total.failed = total.failed.max(1);
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn list(steps: &[Step]) {
    for step in steps {
        let runs: Vec<String> = match step.runs().as_slice() {
            [] => vec![format!("cargo xtask {}", step.name())],
            runs => runs.iter().map(Run::to_string).collect(),
        };
        println!("{:<8}{}", step.name(), runs.join(" && "));
    }
}

fn all(steps: &[Step], total: &mut Counts) -> Result<()> {
    let start = Instant::now();
    let mut took = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        println!("\n== {} ({} of {})", step.name(), n + 1, steps.len());
        let began = Instant::now();
        one(*step, total)?;
        took.push((*step, began.elapsed()));
        println!("== {}: {}", step.name(), seconds(began.elapsed()));
    }
    println!();
    for (step, took) in took {
        println!("{:<8}{:>9}", step.name(), seconds(took));
    }
    println!("{:<8}{:>9}", "all", seconds(start.elapsed()));
    Ok(())
}

fn one(step: Step, total: &mut Counts) -> Result<()> {
    if step == Step::Tidy {
        let found = tidy::run()?;
        if found > 0 {
            bail!("step `tidy` failed in {found} places; alone: cargo xtask tidy");
        }
    }
    for run in step.runs() {
        println!("$ {run}");
        let outcome = run.count()?;
        *total += outcome.counts;
        if !outcome.success {
            bail!("step `{}` failed; alone: {run}", step.name());
        }
    }
    Ok(())
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
