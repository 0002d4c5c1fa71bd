//! The project's own tasks, for people and for CI alike: `cargo xtask --help`.
//!
//! Invariant: a task needs a Rust tool chain and a C compiler, nothing else, so
//! that what CI runs can be run by anybody on the first day.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task runner talks to the person who called it"
)]

mod run;
mod test;
mod tidy;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::run::{Run, cargo};

/// Plimsoll's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                      everything CI runs, in CI's order
  cargo xtask test --only unit          one step of it
  cargo xtask tidy                      the house rules alone, in a second
  cargo xtask sim --seed 1729           replay one simulated history
  cargo xtask sim --seeds 5000 --from 200
  cargo xtask e2e rollback              the tests of the built program, by name
  cargo xtask goldens --update          accept what the programs print now
  cargo xtask bench journal --json      measure, for programs";

#[derive(Debug, Subcommand)]
enum Task {
    /// Run everything that has to hold before a change is merged
    Test(test::Options),
    /// Check the house rules
    Tidy(TidyOptions),
    /// Run the simulation, on one seed or on many
    Sim(SimOptions),
    /// Build the program and test it with real processes
    E2e {
        /// Run only the tests whose names contain this
        filter: Option<String>,
    },
    /// Measure one part of the program
    Bench {
        /// What to measure
        name: Bench,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Accept the present output of the tests as the expected one
    Goldens {
        /// Really rewrite the expectations; read the diff afterwards
        #[arg(long)]
        update: bool,
    },
}

#[derive(Debug, Args)]
struct TidyOptions {
    /// Lower or remove what the ratchet lists; it never adds or raises
    #[arg(long)]
    update_ratchet: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask sim                       200 seeds, as in `cargo xtask test`
  cargo xtask sim --seed 1729           replay one, with its whole history
  cargo xtask sim --seeds 5000 --from 200")]
struct SimOptions {
    /// Replay this one seed and print its history
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// How many seeds to run
    #[arg(long, default_value_t = test::SIM_SEEDS)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bench {
    /// Appends to the journal
    Journal,
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Test(options) => test::run(&options),
        Task::Tidy(options) => tidy_alone(&options),
        Task::Sim(options) => sim(&options).check(),
        Task::E2e { filter } => e2e(filter.as_deref()),
        Task::Bench { name, json } => bench(name, json),
        Task::Goldens { update } => goldens(update),
    }
}

fn tidy_alone(options: &TidyOptions) -> Result<()> {
    if options.update_ratchet {
        tidy::update_ratchet()?;
    }
    let found = tidy::run()?;
    if found > 0 {
        bail!("{found} house rules are broken");
    }
    Ok(())
}

fn sim(options: &SimOptions) -> Run {
    match options.seed {
        Some(seed) => test::sim().arg("--seed").arg(seed),
        None => test::sim()
            .arg("--seeds")
            .arg(options.seeds)
            .arg("--from")
            .arg(options.from),
    }
}

fn e2e(filter: Option<&str>) -> Result<()> {
    let [build, tests] = test::e2e();
    build.check()?;
    match filter {
        Some(filter) => tests.arg(filter).check(),
        None => tests.check(),
    }
}

fn bench(name: Bench, _json: bool) -> Result<()> {
    bail!("{name:?} can't be measured yet");
}

fn goldens(update: bool) -> Result<()> {
    if !update {
        bail!("say `--update`: this rewrites what the tests expect; read the diff afterwards");
    }
    test::unit().env("UPDATE_EXPECT", "1").check()?;
    cargo(["fmt", "--all"]).check()
}
