//! How soon slowness is found.
//!
//! Invariant: oracle, band and judge look at the same buckets of the same requests.

use judge::{Judge, Tick};
use model::Metric;

use crate::detect::SHARE;
use crate::draw::Draw;
use crate::oracles::{Histograms, limit};
use crate::ours::{is_harm, only, until};
use crate::peers::Band;
use crate::report::{Report, Scale, Table, Times, number, percent};
use crate::threads::each;
use crate::world::{CANARY, HEALTHY, HOUR, Latencies, Slower, history, write_latencies};

const ALPHA: f64 = 1e-3;

const ROWS: [(&str, Slower); 6] = [
    (
        "all +10 %",
        Slower {
            factor: 1.1,
            ..HEALTHY
        },
    ),
    (
        "all +20 %",
        Slower {
            factor: 1.2,
            ..HEALTHY
        },
    ),
    (
        "all +50 %",
        Slower {
            factor: 1.5,
            ..HEALTHY
        },
    ),
    (
        "slow mode 2→4 %",
        Slower {
            slow: 0.04,
            ..HEALTHY
        },
    ),
    (
        "slow mode 2→3 %",
        Slower {
            slow: 0.03,
            ..HEALTHY
        },
    ),
    (
        "0.5 % hang",
        Slower {
            hangs: 0.005,
            ..HEALTHY
        },
    ),
];

pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let runs = scale.runs(400);
    let title =
        format!("Median canary requests until slowness is found within 60 minutes, {runs} runs");
    let head = ["", "oracle", "Plimsoll", "Howard–Ramdas band"];
    let mut table = Table::new(title, &head);
    for (name, slower) in ROWS {
        let times = times(scale, runs, name, slower);
        let [oracle, ours, band] = [0, 1, 2].map(|rule: usize| times[rule].median(HOUR));
        let mut row = vec![name.to_owned()];
        row.extend(times.iter().map(|times| {
            let median = number(times.median(HOUR) * CANARY as f64);
            match times.share(HOUR) {
                share if share < 1.0 => format!("{median} ({})", percent(share)),
                _ => median,
            }
        }));
        table.row(row);
        report.about_at_most(
            format!("{name}: times the oracle that knows both histograms"),
            ours / oracle,
            2.5,
        );
        report.about_at_least(
            format!("{name}: times as soon as the band"),
            band / ours,
            3.0,
        );
    }
    let runs = scale.runs(2000);
    let world = Latencies::new(HEALTHY);
    let healthy = each(runs, |run| {
        let mut draw = Draw::new(scale.seed, "latency healthy", run);
        until(
            &only(Metric::Latency),
            &mut &world,
            &mut draw,
            HOUR,
            is_harm,
        )
    });
    let sent_back = healthy.iter().flatten().count();
    let cells = [
        "healthy",
        "",
        &format!("sent back: {sent_back} of {runs}"),
        "",
    ];
    table.row(cells.map(str::to_owned));
    report.at_most(
        format!("latency, healthy: sent back of {runs}"),
        sent_back as f64,
        limit(runs, ALPHA),
    );
    report.tables.push(table);
}

fn times(scale: Scale, runs: usize, name: &str, slower: Slower) -> [Times; 3] {
    let world = Latencies::new(slower);
    let found = each(runs, |run| {
        let mut draw = Draw::new(scale.seed, name, run);
        let settings = only(Metric::Latency);
        let mut judge = Judge::new(&settings, &history(&mut &world, &mut draw));
        let mut tick = Tick::default();
        let mut oracle = Histograms::new(ALPHA, SHARE, &world.canary, &world.control);
        let mut band = Band::new(ALPHA);
        let mut times = [None; 3];
        for at in 0..HOUR {
            let counts = world.counts(&mut draw);
            tick.at = at;
            write_latencies(&counts, &mut tick);
            let mut said = |rule: usize, look: &mut dyn FnMut() -> bool| {
                if times[rule].is_none() && look() {
                    times[rule] = Some(at + 1);
                }
            };
            said(0, &mut || oracle.second(&counts));
            said(1, &mut || {
                judge.observe(&tick);
                is_harm(&judge)
            });
            said(2, &mut || band.second(&counts));
            if times.iter().all(Option::is_some) {
                break;
            }
        }
        times
    });
    [0, 1, 2].map(|rule| Times(found.iter().map(|times| times[rule]).collect()))
}
