//! When a healthy bundle passes, and how often one passes that is as bad as the margin.
//!
//! Invariant: a wrong pass counts at whatever second of the hour it is said.

use judge::tick::StratumTick;
use judge::{Judge, Settings, Sums, Tick};
use model::Metric;

use crate::draw::Draw;
use crate::oracles::limit;
use crate::ours::{is_harm, is_pass, only, until};
use crate::report::{Report, Scale, Table, Times, number, percent};
use crate::threads::each;
use crate::world::{CANARY, HOUR, Plain};

/// Failing share of the old bundle, and the margin: ratio and points.
const MARGINS: [(f64, f64, f64); 5] = [
    (0.001, 2.0, 0.0),
    (0.001, 1.5, 0.0),
    (0.001, 1.5, 0.0005),
    (0.01, 1.5, 0.0),
    (0.01, 1.2, 0.0),
];

pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let head = [
        "p0, margin",
        "median requests",
        "95th of a hundred",
        "wrong pass (beta 5 %)",
    ];
    let title = "Canary requests until a healthy bundle passes, and passes of one that is as bad as the margin";
    let mut table = Table::new(title, &head);
    for (p0, ratio, points) in MARGINS {
        let margin = Settings {
            pass_ratio: ratio,
            pass_points: points,
            ..only(Metric::Errors)
        };
        let name = match points {
            0.0 => format!("{}, {ratio}×", percent(p0)),
            _ => format!("{}, {ratio}× + {}", percent(p0), percent(points)),
        };
        let times = |p1: f64, settings: &Settings, runs: usize| {
            let world = Plain::new(p0, p1);
            let found = each(runs, |run| {
                let mut draw = Draw::new(scale.seed, &format!("pass {name} {p1}"), run);
                until(settings, &mut &world, &mut draw, HOUR, is_pass)
            });
            Times(found)
        };
        let healthy = times(p0, &margin, scale.runs(1000));
        // What is as bad as the margin is not to be sent back here, so that it has the whole hour to pass.
        let blind = Settings {
            ratio,
            points,
            ..margin.clone()
        };
        let runs = scale.runs(2000);
        let wrong = times(ratio * p0 + points, &blind, runs).share(HOUR);
        let requests = |seconds: f64| number(seconds * CANARY as f64);
        table.row([
            name.clone(),
            requests(healthy.median(HOUR)),
            requests(late(&healthy)),
            percent(wrong),
        ]);
        let name = format!("{name}: share of wrong passes");
        match scale.quick {
            // So few runs can be off by more than what is left below beta.
            true => report.at_most(name, wrong, limit(runs, margin.beta) / runs as f64),
            false => report.at_most(name, wrong, margin.beta),
        }
    }
    report.tables.push(table);
    silence(report);
}

fn late(times: &Times) -> f64 {
    let mut found: Vec<u64> = times.found(HOUR).collect();
    found.sort_unstable();
    let at = times.0.len() * 95 / 100;
    found.get(at).map_or(f64::INFINITY, |at| *at as f64)
}

/// Each way of hearing nothing, for an hour.
fn silence(report: &mut Report) {
    let told = |canary: u64, control: u64| StratumTick {
        canary: Sums { n: canary, e: 0 },
        control: Sums { n: control, e: 0 },
        ..StratumTick::default()
    };
    let second = |at: u64, strata: Vec<StratumTick>| Tick {
        at,
        strata,
        ..Tick::default()
    };
    type Second<'a> = Box<dyn Fn(u64) -> Option<Tick> + 'a>;
    let ways: [(&str, Second); 5] = [
        ("nothing is told", Box::new(|_| None)),
        (
            "seconds without requests",
            Box::new(|at| Some(second(at, vec![]))),
        ),
        (
            "no requests on either side",
            Box::new(|at| Some(second(at, vec![told(0, 0)]))),
        ),
        (
            "no requests on the new bundle",
            Box::new(|at| Some(second(at, vec![told(0, 950)]))),
        ),
        (
            "five seconds of requests, then none on the new bundle",
            Box::new(|at| Some(second(at, vec![told(if at < 5 { 5 } else { 0 }, 950)]))),
        ),
    ];
    let settings = Settings {
        pass_points: 0.01,
        ..Settings::default()
    };
    let mut table = Table::new("Silence for an hour", &["what is heard", "said"]);
    for (name, way) in ways {
        let mut judge = Judge::new(&settings, &judge::History::default());
        let (mut pass, mut harm) = (false, false);
        for at in 0..HOUR {
            if let Some(tick) = way(at) {
                judge.observe(&tick);
            }
            pass |= is_pass(&judge);
            harm |= is_harm(&judge);
        }
        let said = [(pass, "pass"), (harm, "roll back")];
        let said: Vec<&str> = said
            .iter()
            .filter(|(said, _)| *said)
            .map(|(_, word)| *word)
            .collect();
        let wrong = said.len() as f64;
        table.row([
            name.to_owned(),
            if said.is_empty() {
                "wait".to_owned()
            } else {
                said.join(", ")
            },
        ]);
        report.at_most(format!("silence ({name}): verdicts"), wrong, 0.0);
    }
    report.tables.push(table);
}
