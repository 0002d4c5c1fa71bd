//! The project's own tasks, for people and for CI alike: `cargo xtask --help`.
//!
//! Invariant: a task needs a Rust tool chain and a C compiler, nothing else, so
//! that what CI runs can be run by anybody on the first day.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task runner talks to the person who called it"
)]

pub mod bench;
mod run;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::run::{Run, cargo};

/// Plimsoll's own tasks.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", after_help = EXAMPLES)]
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
  cargo xtask bench journal --json      measure, for programs
  cargo xtask bench judge --quick       what the judge promises, in a minute
  cargo xtask bench gateway --help      our gateway beside others";

#[derive(Debug, Subcommand)]
enum Task {
    /// Run everything that has to hold before a change is merged
    Test(test::Options),
    /// Check the house rules
    Tidy(TidyOptions),
    /// Run the simulation, on one seed or on many
    Sim(SimOptions),
    /// Build the program and test it with real processes
    E2e(E2eOptions),
    /// Measure one part of the program
    #[command(subcommand)]
    Bench(Bench),
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

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask e2e                       all of them
  cargo xtask e2e rollback              by name
  cargo xtask e2e rollback --seed 1729  with the draws of a run that failed")]
struct E2eOptions {
    /// Run only the tests whose names contain this
    filter: Option<String>,
    /// Draw what is drawn from this seed; the tests find it in PLIMSOLL_SEED
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Static checks of a large configuration, beside other programs
    Check {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// What the gateway costs and saves, beside nginx, HAProxy and Envoy
    Gateway(bench::GatewayOptions),
    /// Appends to the journal, and what an idle server costs
    Journal {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// What the judge finds, how soon and how often by mistake, beside others
    Judge {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
        /// Fewer runs
        #[arg(long)]
        quick: bool,
        /// Draw from this seed instead of the usual one
        #[arg(long)]
        seed: Option<u64>,
        /// One part alone: cost, detect, healthy, pass or latency
        #[arg(long)]
        only: Option<String>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test(options) => return test::run(&options),
        Task::Tidy(options) => tidy_alone(&options),
        Task::Sim(options) => sim(&options).check(),
        Task::E2e(options) => e2e(&options),
        Task::Bench(bench) => measure(bench),
        Task::Goldens { update } => goldens(update),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a backtrace: it would be this program's, and say nothing
            // about what was asked of it.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(bench: Bench) -> Result<()> {
    match bench {
        Bench::Check { json } => bench::check(json),
        Bench::Gateway(options) => bench::gateway(&options),
        Bench::Journal { json } => bench::journal(json),
        Bench::Judge {
            json,
            quick,
            seed,
            only,
        } => bench::judge(json, quick, seed, only.as_deref()),
    }
}

fn tidy_alone(options: &TidyOptions) -> Result<()> {
    if options.update_ratchet {
        tidy::update_ratchet()?;
    }
    let found = tidy::run()?;
    if found > 0 {
        bail!("house rules are broken in {found} places");
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

fn e2e(options: &E2eOptions) -> Result<()> {
    let [build, mut tests] = test::e2e();
    build.check()?;
    if let Some(seed) = options.seed {
        tests = tests.env("PLIMSOLL_SEED", seed);
    }
    if let Some(filter) = &options.filter {
        tests = tests.arg(filter);
    }
    tests.check()
}

fn goldens(update: bool) -> Result<()> {
    if !update {
        bail!("say `--update`: this rewrites what the tests expect; read the diff afterwards");
    }
    test::unit().env("UPDATE_EXPECT", "1").check()?;
    cargo(["fmt", "--all"]).check()
}
