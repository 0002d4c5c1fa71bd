//! How soon harm is found, beside the best that can be had and beside others.
//!
//! Invariant: all rules of a run look at the same requests.

use judge::Settings;
use model::Metric;

use crate::draw::Draw;
use crate::oracles::{Rule, Sprt, TwoSample, two_sample, wald};
use crate::ours::{Ours, is_harm, only, until};
use crate::peers::{GroupSequential, Kayenta, LindonMalek, Threshold};
use crate::report::{Report, Scale, Table, Times, number, percent};
use crate::threads::each;
use crate::world::{CANARY, CONTROL, HOUR, Plain, history};

const ALPHA: f64 = 1e-3;
pub(crate) const SHARE: f64 = CANARY as f64 / (CANARY + CONTROL) as f64;
/// Means are over runs that may last longer than the hour in which peers are looked at: a mean over
/// those alone that are found within the hour would flatter.
const CAP: u64 = 4 * HOUR;
/// Below so many requests, seconds of 50 are too coarse a measure.
const FEW: f64 = 600.0;
/// One canary request and the control requests that belong to it at this share.
const BLOCK: [u64; 2] = [1, 19];

/// Failing shares before and after.
const ROWS: [(f64, f64); 10] = [
    (0.001, 0.0015),
    (0.001, 0.002),
    (0.001, 0.005),
    (0.001, 0.01),
    (0.001, 0.05),
    (0.001, 1.0),
    (0.01, 0.015),
    (0.01, 0.02),
    (0.01, 0.05),
    (0.01, 1.0),
];
/// Held to the same bar and not shown beside peers.
const MORE: [(f64, f64); 5] = [
    (0.001, 0.2),
    (0.01, 0.2),
    (0.05, 0.075),
    (0.05, 0.1),
    (0.05, 0.2),
];

const NAMES: [&str; 10] = [
    "SPRT oracle",
    "2-sample oracle",
    "Plimsoll",
    "Plimsoll, six metrics",
    "Lindon–Malek k=100",
    "group-sequential ×12",
    "Kayenta /5 min",
    "Kayenta against all",
    "Flagger 99 %, 5",
    "Argo >1 %, 1",
];
const ORACLE: usize = 1;
const OURS: usize = 2;
/// The first so many run on after the hour.
const LASTING: usize = 4;
const KAYENTA: usize = 6;
const FLAGGER: usize = 8;
const ARGO: usize = 9;

pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let mut head = vec!["p0→p1", "Wald", "2-sample bound"];
    head.extend(NAMES);
    head.push("Plimsoll mean");
    let runs = scale.runs(2000);
    let title = format!(
        "Median canary requests until a regression is found within 60 minutes, in seconds of {CANARY}, {runs} runs \
         (share found when not all are; *false*: it says the same of a healthy release)"
    );
    let mut table = Table::new(title, &head);
    let boundary = GroupSequential::boundary(ALPHA);
    for (p0, p1) in ROWS {
        let times = seconds(scale, runs, boundary, p0, p1);
        table.row(row(p0, p1, &times));
        bars(report, p0, p1, &times);
    }
    report.tables.push(table);
    blocks(scale, report);
    late(scale, report);
}

fn name(p0: f64, p1: f64) -> String {
    format!("{}→{}", percent(p0).trim_end_matches(" %"), percent(p1))
}

/// When each rule says harm, run by run.
fn seconds(scale: Scale, runs: usize, boundary: f64, p0: f64, p1: f64) -> Vec<Times> {
    let world = Plain::new(p0, p1);
    let found = each(runs, |run| {
        let mut draw = Draw::new(scale.seed, &name(p0, p1), run);
        let history = history(&mut &world, &mut draw);
        let mut rules: Vec<Box<dyn Rule>> = vec![
            Box::new(Sprt::new(ALPHA, p0, p1)),
            Box::new(TwoSample::new(ALPHA, p0, p1)),
            Box::new(Ours::new(&only(Metric::Errors), &history)),
            Box::new(Ours::new(&Settings::default(), &history)),
            Box::new(LindonMalek::new(ALPHA, SHARE)),
            Box::new(GroupSequential::new(boundary)),
            Box::new(Kayenta::new(Draw::new(scale.seed, "baseline", run))),
            Box::new(Kayenta::against_all()),
            Box::new(Threshold::new(5)),
            Box::new(Threshold::new(1)),
        ];
        let mut times = vec![None; rules.len()];
        for at in 0..CAP {
            let running = if at < HOUR { rules.len() } else { LASTING };
            if times[..running].iter().all(Option::is_some) {
                break;
            }
            let sums = world.counts(&mut draw, at);
            for (rule, time) in rules.iter_mut().zip(&mut times).take(running) {
                if time.is_none() && rule.second(&sums) {
                    *time = Some(at + 1);
                }
            }
        }
        times
    });
    let of_rule = |rule: usize| Times(found.iter().map(|times| times[rule]).collect());
    (0..NAMES.len()).map(of_rule).collect()
}

/// Thresholds of 1 % say the same of a bundle that fails as often as the old one.
fn is_false(rule: usize, p0: f64) -> bool {
    rule >= FLAGGER && p0 >= 0.01
}

fn row(p0: f64, p1: f64, times: &[Times]) -> Vec<String> {
    let mut row = vec![
        name(p0, p1),
        number(wald(ALPHA, p0, p1).round()),
        number(two_sample(ALPHA, SHARE, p0, p1)),
    ];
    for (rule, times) in times.iter().enumerate() {
        let share = times.share(HOUR);
        let median = number(times.median(HOUR) * CANARY as f64);
        row.push(match () {
            () if is_false(rule, p0) => "*false*".to_owned(),
            () if share < 1.0 => format!("{median} ({})", percent(share)),
            () => median,
        });
    }
    row.push(number(times[OURS].mean(CAP) * CANARY as f64));
    row
}

fn bars(report: &mut Report, p0: f64, p1: f64, times: &[Times]) {
    let name = name(p0, p1);
    let ratio = p1 / p0;
    let mean = |rule: usize| times[rule].mean(CAP);
    let median = |rule: usize| times[rule].median(HOUR);
    if two_sample(ALPHA, SHARE, p0, p1) >= FEW && p1 <= 0.2 {
        let worse = mean(OURS) / mean(ORACLE);
        report.about_at_most(
            format!("{name}: mean, times the 2-sample oracle's"),
            worse,
            1.35,
        );
        if ratio <= 5.01 {
            let worse = mean(OURS) * CANARY as f64 / wald(ALPHA, p0, p1);
            report.about_at_most(format!("{name}: mean, times Wald's bound"), worse, 1.5);
        }
    }
    let faster = match ratio {
        ..1.99 => return,
        ..4.99 => 2.0,
        ..9.99 => 6.0,
        _ => 20.0,
    };
    let times_faster = median(KAYENTA) / median(OURS);
    report.about_at_least(
        format!("{name}: times as soon as Kayenta"),
        times_faster,
        faster,
    );
    if (p0, p1) == (0.001, 0.002) {
        report.about_at_least(
            format!("{name}: share found within the hour"),
            times[OURS].share(HOUR),
            0.99,
        );
        for rule in [FLAGGER, ARGO] {
            let missed = format!("{name}: share found by {}", NAMES[rule]);
            report.about_at_most(missed, times[rule].share(HOUR), 0.01);
        }
    }
}

/// Where few requests suffice: request by request.
fn blocks(scale: Scale, report: &mut Report) {
    let head = [
        "p0→p1",
        "Wald",
        "2-sample bound",
        NAMES[ORACLE],
        NAMES[OURS],
        NAMES[4],
    ];
    let title =
        "Mean canary requests where few suffice, one canary request and 19 others at a time";
    let mut table = Table::new(title, &head);
    let runs = scale.runs(4000);
    for (p0, p1) in ROWS.into_iter().chain(MORE) {
        let bound = two_sample(ALPHA, SHARE, p0, p1);
        let is_shown = ROWS.contains(&(p0, p1));
        if bound >= FEW && is_shown {
            continue;
        }
        let means = block_means(scale, runs, p0, p1);
        let wald = wald(ALPHA, p0, p1);
        let mut cells = vec![name(p0, p1), number(wald), number(bound)];
        cells.extend(means.map(number));
        table.row(cells);
        let name = name(p0, p1);
        match p1 <= 0.2 {
            true => {
                report.about_at_most(
                    format!("{name}: mean, times the 2-sample oracle's"),
                    means[1] / means[0],
                    1.35,
                );
                if p1 / p0 <= 5.01 {
                    report.about_at_most(
                        format!("{name}: mean, times Wald's bound"),
                        means[1] / wald,
                        1.5,
                    );
                }
            }
            false => report.about_at_most(format!("{name}: mean canary requests"), means[1], 4.0),
        }
    }
    report.tables.push(table);
}

fn block_means(scale: Scale, runs: usize, p0: f64, p1: f64) -> [f64; 3] {
    let world = Plain::sized(BLOCK[0], BLOCK[1], p0, p1);
    let found = each(runs, |run| {
        let mut draw = Draw::new(scale.seed, &format!("blocks {}", name(p0, p1)), run);
        let history = history(&mut &world, &mut draw);
        let mut rules: [Box<dyn Rule>; 3] = [
            Box::new(TwoSample::new(ALPHA, p0, p1)),
            Box::new(Ours::new(&only(Metric::Errors), &history)),
            Box::new(LindonMalek::new(ALPHA, SHARE)),
        ];
        let mut times = [None; 3];
        let mut at = 0;
        while times.iter().any(Option::is_none) && at < CAP {
            let sums = world.counts(&mut draw, at);
            at += 1;
            for (rule, time) in rules.iter_mut().zip(&mut times) {
                if time.is_none() && rule.second(&sums) {
                    *time = Some(at);
                }
            }
        }
        times
    });
    [0, 1, 2].map(|rule| Times(found.iter().map(|times| times[rule]).collect()).mean(CAP))
}

/// A bundle that turns bad after twenty healthy minutes.
fn late(scale: Scale, report: &mut Report) {
    const ONSET: u64 = 1200;
    let head = [
        "p0→p1",
        "2-sample bound",
        "Plimsoll, median",
        "said harm before",
    ];
    let title = "Canary requests from a late onset (after 20 healthy minutes) until it is found";
    let mut table = Table::new(title, &head);
    for (p0, p1) in [(0.001, 0.002), (0.001, 0.01), (0.01, 0.02)] {
        let world = Plain::new(p0, p1).late(ONSET);
        let name = name(p0, p1);
        let settings = only(Metric::Errors);
        let found = each(scale.runs(1000), |run| {
            let mut draw = Draw::new(scale.seed, &format!("late {name}"), run);
            until(&settings, &mut &world, &mut draw, ONSET + CAP, is_harm)
        });
        let early = found.iter().flatten().filter(|at| **at <= ONSET).count();
        let delays = found
            .into_iter()
            .filter(|at| at.is_none_or(|at| at > ONSET))
            .map(|at| at.map(|at| at - ONSET))
            .collect();
        let median = Times(delays).median(CAP) * CANARY as f64;
        let bound = two_sample(ALPHA, SHARE, p0, p1);
        table.row([
            name.clone(),
            number(bound),
            number(median),
            early.to_string(),
        ]);
        let limit = 2.5 * bound + 2.0 * CANARY as f64;
        report.about_at_most(
            format!("{name} after 20 min: median requests"),
            median,
            limit,
        );
    }
    report.tables.push(table);
}
