//! How often a healthy release is sent back.
//!
//! Invariant: a judge whose true rate is alpha misses a limit once in a hundred times.

use judge::{Sums, Tick};
use model::Metric;

use crate::draw::Draw;
use crate::oracles::{Rule, limit};
use crate::ours::{Ours, is_harm, only, until};
use crate::peers::{GroupSequential, Kayenta, LindonMalek, Threshold};
use crate::report::{Report, Scale, Table, Times, number, percent};
use crate::threads::each;
use crate::world::{Drift, HOUR, Hosts, Mix, Plain, World, history};

const ALPHA: f64 = 1e-3;

const NAMES: [&str; 8] = [
    "Plimsoll",
    "Lindon–Malek k=100",
    "group-sequential ×12",
    "Kayenta /5 min",
    "Kayenta, one look",
    "Kayenta against all /5 min",
    "Flagger 99 %, 5",
    "Argo >1 %, 1",
];
const KAYENTA: usize = 3;

pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let runs = scale.runs(10_000);
    let mut head = vec!["healthy releases"];
    head.extend(NAMES);
    let title =
        format!("Healthy releases of 60 minutes that are sent back, of {runs} (alpha is {ALPHA})");
    let mut table = Table::new(title, &head);
    for p0 in [0.001, 0.01, 0.05] {
        let world = Plain::new(p0, p0);
        let name = format!("clean, {}", percent(p0));
        let counts = beside_peers(scale, runs, &name, |_| &world);
        judge_row(report, &mut table, &name, &counts, p0 < 0.05);
    }
    let drift = Drift::new(0.001);
    let name = "0.1 %, both sides drift ×3, ×20 for two minutes";
    let counts = beside_peers(scale, runs, name, |draw| drift.run(draw));
    judge_row(report, &mut table, name, &counts, true);
    report.tables.push(table);
    mix(scale, runs, report);
}

fn judge_row(report: &mut Report, table: &mut Table, name: &str, counts: &[usize], beats: bool) {
    let mut row = vec![name.to_owned()];
    row.extend(counts[..NAMES.len()].iter().map(usize::to_string));
    table.row(row);
    let runs = counts[NAMES.len()];
    let ours = counts[0] as f64;
    report.at_most(
        format!("{name}: sent back of {runs}"),
        ours,
        limit(runs, ALPHA),
    );
    if beats {
        let quarter = counts[KAYENTA] as f64 / 4.0;
        report.at_most(
            format!("{name}: sent back, beside a quarter of Kayenta's"),
            ours,
            quarter,
        );
    }
}

/// How many of each rule, and the number of runs.
fn beside_peers<W: World>(
    scale: Scale,
    runs: usize,
    name: &str,
    world: impl Fn(&mut Draw) -> W + Sync,
) -> Vec<usize> {
    let boundary = GroupSequential::boundary(ALPHA);
    let found = each(runs, |run| {
        let mut draw = Draw::new(scale.seed, name, run);
        let mut world = world(&mut draw);
        let history = history(&mut world, &mut draw);
        let baseline = || Draw::new(scale.seed, "baseline", run);
        let mut rules: [Box<dyn Rule>; NAMES.len()] = [
            Box::new(Ours::new(&only(Metric::Errors), &history)),
            Box::new(LindonMalek::new(ALPHA, crate::detect::SHARE)),
            Box::new(GroupSequential::new(boundary)),
            Box::new(Kayenta::new(baseline())),
            Box::new(Kayenta::new(baseline()).once(HOUR)),
            Box::new(Kayenta::against_all()),
            Box::new(Threshold::new(5)),
            Box::new(Threshold::new(1)),
        ];
        let mut said = [false; NAMES.len()];
        let mut tick = Tick::default();
        for at in 0..HOUR {
            world.second(&mut draw, at, &mut tick);
            let sums: [Sums; 2] = [tick.strata[0].canary, tick.strata[0].control];
            for (rule, said) in rules.iter_mut().zip(&mut said) {
                *said = *said || rule.second(&sums);
            }
        }
        said
    });
    let count = |rule: usize| found.iter().filter(|said| said[rule]).count();
    (0..NAMES.len()).map(count).chain([runs]).collect()
}

/// A new bundle that gets other requests than the old one, and none that fail more.
fn mix(scale: Scale, runs: usize, report: &mut Report) {
    let settings = only(Metric::Errors);
    let times = |name: &str, runs: usize, world: Mix| {
        let found = each(runs, |run| {
            let mut draw = Draw::new(scale.seed, name, run);
            until(&settings, &mut &world, &mut draw, HOUR, is_harm)
        });
        Times(found)
    };
    let head = ["", "in strata", "pooled"];
    let mut table = Table::new(
        "Two kinds of requests, 0.1 % (nine in ten) and 1 %; median seconds until found",
        &head,
    );
    let name = "the mix shifts from 10 % to 30 % of the bad kind, nothing is worse";
    let strata = times(name, runs, Mix::new([1.0; 2], true, false));
    let few = scale.runs(1000);
    let pooled = times(name, few, Mix::new([1.0; 2], true, true));
    let sent_back = |times: &Times| times.found(HOUR).count();
    table.row([
        name.to_owned(),
        format!("sent back: {} of {runs}", sent_back(&strata)),
        format!("sent back: {} of {few}", sent_back(&pooled)),
    ]);
    let bar = format!("mix shift in strata: sent back of {runs}");
    report.at_most(bar, sent_back(&strata) as f64, limit(runs, ALPHA));
    for (name, factors) in [
        ("the good kind fails three times as often", [3.0, 1.0]),
        ("the bad kind fails three times as often", [1.0, 3.0]),
        ("all fail twice as often", [2.0; 2]),
    ] {
        let median = |pooled| {
            let times = times(name, few, Mix::new(factors, false, pooled));
            number(times.median(HOUR))
        };
        table.row([name.to_owned(), median(false), median(true)]);
    }
    report.tables.push(table);
}

/// Hosts that are not equal, and minutes that are not.
pub(crate) fn hosts(scale: Scale, report: &mut Report) {
    let runs = scale.runs(10_000);
    let settings = only(Metric::Errors);
    let times = |runs: usize, p0: f64, cv: (f64, f64), factor: f64, grouped: bool| {
        let name = format!("hosts {p0} {cv:?} {factor}");
        let found = each(runs, |run| {
            let mut draw = Draw::new(scale.seed, &name, run);
            let mut world = Hosts::new(&mut draw, p0, cv.0, cv.1, factor);
            if !grouped {
                world = world.ungrouped();
            }
            until(&settings, &mut world, &mut draw, HOUR, is_harm)
        });
        Times(found)
    };
    let head = [
        "variation of hosts / of minutes, p0",
        "not told of hosts: healthy sent back",
        "Plimsoll: healthy sent back",
        "2× found after (s)",
        "5× found after (s)",
    ];
    let title = "200 hosts, 10 with the new bundle, failing shares log-normal";
    let mut table = Table::new(title, &head);
    let few = scale.runs(400);
    for (cv, p0, is_bar) in [
        ((0.0, 0.0), 0.01, false),
        ((0.15, 0.0), 0.01, false),
        ((0.3, 0.0), 0.01, true),
        ((0.5, 0.0), 0.01, false),
        ((0.0, 1.0), 0.01, false),
        ((0.3, 1.0), 0.01, true),
        ((0.5, 0.0), 0.001, false),
    ] {
        let runs = if is_bar { runs } else { few };
        let share = |times: &Times, runs: usize| format!("{} of {runs}", times.found(HOUR).count());
        let power = |times: &Times| match times.share(HOUR) {
            share if share < 1.0 => format!("{} ({})", number(times.median(HOUR)), percent(share)),
            _ => number(times.median(HOUR)),
        };
        let healthy = times(runs, p0, cv, 1.0, true);
        let name = format!("{} / {}, {}", cv.0, cv.1, percent(p0));
        table.row([
            name.clone(),
            share(&times(few, p0, cv, 1.0, false), few),
            share(&healthy, runs),
            power(&times(few, p0, cv, 2.0, true)),
            power(&times(few, p0, cv, 5.0, true)),
        ]);
        if is_bar {
            let bar = format!("unequal hosts {name}: sent back of {runs}");
            report.at_most(bar, healthy.found(HOUR).count() as f64, limit(runs, ALPHA));
        }
    }
    report.tables.push(table);
}
