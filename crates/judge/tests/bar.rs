//! A part of what `cargo xtask bench judge` measures, small enough for every run of the tests.
//!
//! Invariant: seeds are fixed, so it fails for a reason that is in the source.

#[path = "../benches/bar/draw.rs"]
mod draw;
#[expect(dead_code, reason = "the bench compares with more")]
#[path = "../benches/bar/oracles.rs"]
mod oracles;
#[path = "../benches/bar/ours.rs"]
mod ours;
#[expect(dead_code, reason = "the bench has more kinds of traffic")]
#[path = "../benches/bar/world.rs"]
mod world;

use draw::Draw;
use judge::Settings;
use model::Metric;
use oracles::{Rule, TwoSample, limit};
use ours::{Ours, is_harm, is_pass, only, until};
use world::{HOUR, Plain, history};

const ALPHA: f64 = 1e-3;
const SEED: u64 = 7;

#[test]
fn healthy_releases_are_sent_back_as_seldom_as_promised() {
    const RUNS: u64 = 1500;
    let world = Plain::new(0.001, 0.001);
    let settings = only(Metric::Errors);
    let found = (0..RUNS).filter(|run| {
        let mut draw = Draw::new(SEED, "healthy", *run);
        until(&settings, &mut &world, &mut draw, HOUR, is_harm).is_some()
    });
    let found = found.count();
    assert!(found as f64 <= limit(RUNS as usize, ALPHA), "{found}");
}

/// Mean numbers of ticks until the oracle and the judge are sure.
fn means(world: &Plain, p: [f64; 2], runs: u64) -> [f64; 2] {
    let mut sums = [0; 2];
    for run in 0..runs {
        let mut draw = Draw::new(SEED, "detect", run);
        let history = history(&mut &*world, &mut draw);
        let mut rules: [Box<dyn Rule>; 2] = [
            Box::new(TwoSample::new(ALPHA, p[0], p[1])),
            Box::new(Ours::new(&only(Metric::Errors), &history)),
        ];
        let mut sure = [false; 2];
        for at in 0.. {
            let counts = world.counts(&mut draw, at);
            for side in 0..2 {
                if !sure[side] {
                    sums[side] += 1;
                    sure[side] = rules[side].second(&counts);
                }
            }
            if sure == [true; 2] {
                break;
            }
            assert!(at < 4 * HOUR, "{p:?} is not found in run {run}: {sure:?}");
        }
    }
    sums.map(|sum| f64::from(sum) / runs as f64)
}

#[test]
fn harm_is_found_nearly_as_soon_as_by_an_oracle() {
    for (p0, p1, blocks) in [
        (0.001, 0.005, false),
        (0.01, 0.02, false),
        (0.01, 0.05, true),
    ] {
        let world = match blocks {
            true => Plain::sized(1, 19, p0, p1),
            false => Plain::new(p0, p1),
        };
        let [oracle, ours] = means(&world, [p0, p1], 400);
        let worse = ours / oracle;
        assert!(worse <= 1.35, "{p0} to {p1}: {ours}, oracle {oracle}");
    }
}

#[test]
fn what_is_as_bad_as_the_margin_passes_as_seldom_as_promised() {
    const RUNS: u64 = 300;
    // It is not to be sent back here, so that it has the whole hour to pass.
    let settings = Settings {
        ratio: 1.5,
        pass_ratio: 1.5,
        ..only(Metric::Errors)
    };
    let world = Plain::new(0.01, 0.015);
    let passed = (0..RUNS).filter(|run| {
        let mut draw = Draw::new(SEED, "wrong pass", *run);
        until(&settings, &mut &world, &mut draw, HOUR, is_pass).is_some()
    });
    let passed = passed.count();
    assert!(
        passed as f64 <= limit(RUNS as usize, settings.beta),
        "{passed}"
    );
    assert!(passed > 0, "nothing passes at all, which proves nothing");
}
