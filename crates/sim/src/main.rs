//! Runs seeds of the simulated world, and says what they showed.
#![expect(clippy::print_stdout, reason = "this program's output is for people")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use sim::{Failure, Summary};

const USAGE: &str = "usage: sim --seeds N [--from N] | sim --seed N [--trace]";
/// From so many seeds on, everything that can happen must have happened.
const SEEDS_TELLING: u64 = 200;
/// Seeds that fail are shown up to this number; more of them help nobody.
const FAILURES_SHOWN: usize = 3;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match parse(&args) {
        Some(Task::One { seed, trace }) => one(seed, trace),
        Some(Task::Many { from, seeds }) => many(from, seeds),
        None => {
            println!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

enum Task {
    One { seed: u64, trace: bool },
    Many { from: u64, seeds: u64 },
}

fn parse(args: &[String]) -> Option<Task> {
    let (mut seed, mut seeds, mut from, mut trace) = (None, None, 0, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--trace" => trace = true,
            "--seed" => seed = Some(args.next()?.parse().ok()?),
            "--seeds" => seeds = Some(args.next()?.parse().ok()?),
            "--from" => from = args.next()?.parse().ok()?,
            _ => return None,
        }
    }
    match (seed, seeds) {
        (Some(seed), None) => Some(Task::One { seed, trace }),
        (None, Some(seeds)) => Some(Task::Many { from, seeds }),
        _ => None,
    }
}

fn one(seed: u64, trace: bool) -> ExitCode {
    let (lines, result) = sim::run_traced(seed);
    if trace {
        lines.iter().for_each(|line| println!("{line}"));
    }
    match result {
        Ok(summary) => {
            println!(
                "seed {seed} is fine: {} events in {} simulated seconds",
                summary.events,
                summary.simulated_ms / 1000
            );
            print_counts(&summary.counts);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn many(from: u64, seeds: u64) -> ExitCode {
    let list: Vec<u64> = sim::regressions()
        .chain(from..from.saturating_add(seeds))
        .collect();
    let (mut total, mut failures) = (Summary::default(), Vec::new());
    for result in all(&list) {
        match result {
            Ok(summary) => add(&mut total, &summary),
            Err(failure) => failures.push(failure),
        }
    }
    failures.sort_by_key(|failure| failure.seed);
    for failure in failures.iter().take(FAILURES_SHOWN) {
        println!("{failure}\n");
    }
    println!(
        "{} runs, {} failed; {} events in {} simulated hours",
        list.len(),
        failures.len(),
        total.events,
        total.simulated_ms / 3_600_000
    );
    print_counts(&total.counts);
    let missing: Vec<&&str> = sim::WANTED
        .iter()
        .filter(|what| !total.counts.contains_key(**what))
        .collect();
    let telling = seeds < SEEDS_TELLING || missing.is_empty();
    if !telling {
        println!("these runs show too little; never seen: {missing:?}");
    }
    if !failures.is_empty() {
        let seeds: Vec<u64> = failures.iter().map(|failure| failure.seed).collect();
        println!("failing seeds: {seeds:?}");
    }
    if failures.is_empty() && telling {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the list on every core; the results come in no particular order.
fn all(list: &[u64]) -> Vec<Result<Summary, Failure>> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut results = Vec::new();
        while let Some(seed) = usize::try_from(next.fetch_add(1, Ordering::Relaxed))
            .ok()
            .and_then(|at| list.get(at))
        {
            results.push(sim::run(*seed));
        }
        results
    };
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        // A run's panic is caught inside it, so a thread always ends well.
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect()
    })
}

fn add(total: &mut Summary, one: &Summary) {
    total.events += one.events;
    total.simulated_ms += one.simulated_ms;
    for (what, count) in &one.counts {
        *total.counts.entry(what).or_default() += count;
    }
}

fn print_counts(counts: &BTreeMap<&'static str, u64>) {
    for (what, count) in counts {
        println!("{count:>10}  {what}");
    }
}
