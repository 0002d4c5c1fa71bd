//! What judging costs.
//!
//! Invariant: time is the processor's for this thread, so that a busy machine does not look slow.

use std::hint::black_box;
use std::time::Instant;

use judge::tick::StratumTick;
use judge::{History, Judge, Settings, Sums, Tick};

use crate::draw::{Alias, Binomial, Draw};
use crate::report::{Report, Table, number};
use crate::world::{HEALTHY, Latencies};

/// Odd, so that the median is a round that happened.
const ROUNDS: usize = 5;
const TICKS: u64 = 2000;
const JUDGES: usize = 500;

pub(crate) fn measure(report: &mut Report) {
    let head = [
        "",
        "observe and decide, ns",
        "explain, ns",
        "whole judge, bytes",
    ];
    let title = "Cost at 1000 requests a second: processor time for each metric and stratum in each second (median \
                 of 5 rounds), and memory";
    let mut table = Table::new(title, &head);
    // What is given back and taken again would not be counted.
    let mut kept = Vec::new();
    // The program's own pages come with its first use.
    bytes(&ticks(1, true), &mut kept);
    for (metrics, latency) in [("errors", false), ("errors and latency", true)] {
        let sizes = [1, 16].map(|strata| {
            let name = match strata {
                1 => format!("{metrics}, 1 stratum"),
                _ => format!("{metrics}, {strata} strata"),
            };
            let ticks = ticks(strata, latency);
            let parts = f64::from(strata) * if latency { 2.0 } else { 1.0 };
            let bytes = bytes(&ticks, &mut kept);
            let [decide, explain] = nanos(&ticks).map(|nanos| nanos / parts);
            let bytes_text = bytes.map_or_else(|| "not known here".to_owned(), number);
            table.row([name.clone(), number(decide), number(explain), bytes_text]);
            report.at_most(
                format!("{name}: ns to observe and decide, for each"),
                decide,
                1000.0,
            );
            (parts, bytes)
        });
        // What a judge has once, groups of hosts above all, is no metric's.
        if let [(few, Some(small)), (many, Some(large))] = sizes {
            report.at_most(
                format!("{metrics}: bytes of one more metric and stratum"),
                (large - small) / (many - few),
                1024.0,
            );
        }
    }
    report.tables.push(table);
}

fn ticks(strata: u8, latency: bool) -> Vec<Tick> {
    let mut draw = Draw::new(1, "cost", 0);
    let shape = Latencies::new(HEALTHY);
    let tables = [Alias::new(&shape.canary), Alias::new(&shape.control)];
    let sizes = [50, 950].map(|n| n / u64::from(strata));
    let failed = sizes.map(|n| Binomial::new(n, 0.01));
    let mut stratum = |stratum: u8| {
        let mut buckets = |side: usize| {
            let counts = tables[side].counts(&mut draw, sizes[side]);
            (0..).zip(counts).filter(|(_, count)| *count > 0).collect()
        };
        let [canary_latency, control_latency] = match latency {
            true => [buckets(0), buckets(1)],
            false => Default::default(),
        };
        let mut sums = |side: usize| Sums {
            n: sizes[side],
            e: failed[side].draw(&mut draw),
        };
        let (canary, control) = (sums(0), sums(1));
        StratumTick {
            stratum,
            canary,
            control,
            canary_latency,
            control_latency,
        }
    };
    let tick = |at| Tick {
        at,
        strata: (0..strata).map(&mut stratum).collect(),
        ..Tick::default()
    };
    (0..TICKS).map(tick).collect()
}

/// Nanoseconds for one second: to observe it and ask for the word, and to ask for the standing.
fn nanos(ticks: &[Tick]) -> [f64; 2] {
    let rounds = (0..ROUNDS).map(|_| {
        let mut judge = Judge::new(&Settings::default(), &History::default());
        let begin = now();
        for tick in ticks {
            judge.observe(black_box(tick));
            black_box(judge.word());
        }
        let observed = now();
        for _ in ticks {
            black_box(black_box(&judge).standing());
        }
        [observed - begin, now() - observed]
    });
    let rounds: Vec<[f64; 2]> = rounds.collect();
    [0, 1].map(|part| {
        let mut nanos: Vec<f64> = rounds.iter().map(|round| round[part]).collect();
        nanos.sort_by(f64::total_cmp);
        nanos[ROUNDS / 2] / ticks.len() as f64
    })
}

/// Nanoseconds that this thread has been running; of the wall where the system does not say.
fn now() -> f64 {
    thread_local!(static BEGIN: Instant = Instant::now());
    // The account of a thread that runs is brought up to date when it yields, else at the next timer interrupt.
    std::thread::yield_now();
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| BEGIN.with(|begin| begin.elapsed().as_nanos() as f64))
}

/// What a judge holds, on its own and on the heap, by what many of them take.
fn bytes(ticks: &[Tick], kept: &mut Vec<Vec<Judge>>) -> Option<f64> {
    let before = resident()?;
    let judges: Vec<Judge> = (0..JUDGES)
        .map(|_| {
            let mut judge = Judge::new(&Settings::default(), &History::default());
            ticks[..100].iter().for_each(|tick| judge.observe(tick));
            judge
        })
        .collect();
    let after = resident()?;
    kept.push(black_box(judges));
    Some((after - before).max(0.0) / JUDGES as f64)
}

fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}
