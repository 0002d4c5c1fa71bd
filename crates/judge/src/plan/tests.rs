//! What is foretold is what happens: times are compared with those of the judge itself.

use super::*;
use crate::chance::Chance;
use crate::history::History;
use crate::judge::{Judge, Word};
use crate::tick::{StratumTick, Sums, Tick};

fn baseline(requests_per_s: f64, failing: f64) -> Baseline {
    let mut latency = vec![0.0; LATENCY_BUCKETS];
    for (bucket, share) in (8..).zip([0.05, 0.1, 0.2, 0.25, 0.2, 0.12, 0.05, 0.02, 0.01]) {
        latency[bucket] = share;
    }
    Baseline {
        requests_per_s,
        failing,
        dispersion: 1.0,
        latency,
    }
}

fn wave(share: f64, bake_s: f64) -> WaveShape {
    WaveShape {
        share,
        bake_s,
        bake_max_s: 1e6,
    }
}

fn one(baseline: &Baseline, share: f64) -> WaveAdvice {
    advise(&Settings::default(), baseline, &[wave(share, 0.0)], 0.0).remove(0)
}

/// One second: a twentieth of a thousand requests on the new bundle.
fn second(chance: &mut Chance, at: u64, (p_c, p_b): (f64, f64)) -> Tick {
    let mut sums = |n, p| Sums {
        n,
        e: chance.binomial(n, p),
    };
    Tick {
        at,
        strata: vec![StratumTick {
            canary: sums(50, p_c),
            control: sums(950, p_b),
            ..StratumTick::default()
        }],
        ..Tick::default()
    }
}

/// Seconds until the judge says something, over some runs in order.
fn seconds(runs: u64, (p_c, p_b): (f64, f64), word: impl Fn(&Judge) -> bool) -> Vec<f64> {
    let mut seconds: Vec<f64> = (0..runs)
        .map(|seed| {
            let mut chance = Chance::new(seed);
            let mut history = History::default();
            for at in 0..600 {
                history.observe(&second(&mut chance, at, (p_b, p_b)));
            }
            let mut judge = Judge::new(&Settings::default(), &history);
            let told = (0..7200).find(|at| {
                judge.observe(&second(&mut chance, *at, (p_c, p_b)));
                word(&judge)
            });
            told.unwrap_or(7200) as f64 + 1.0
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

#[test]
fn a_doubling_shows_when_the_plan_says() {
    for usual in [0.001, 0.01] {
        let runs = seconds(60, (2.0 * usual, usual), |judge| {
            matches!(judge.word(), Word::RollBack(_))
        });
        let mean = runs.iter().sum::<f64>() / runs.len() as f64;
        let told = one(&baseline(1000.0, usual), 0.05).doubling_s.unwrap();
        println!("{usual}: {mean} s, foretold {told} s");
        assert!(
            (told / mean - 1.0).abs() < 0.35,
            "{usual}: {mean} s, foretold {told} s"
        );
    }
}

#[test]
fn a_healthy_bundle_passes_when_the_plan_says() {
    for usual in [0.001, 0.01] {
        let runs = seconds(60, (usual, usual), |judge| judge.word() == Word::Pass);
        let median = runs[runs.len() / 2];
        let told = one(&baseline(1000.0, usual), 0.05).pass_s.unwrap();
        println!("{usual}: {median} s, foretold {told} s");
        assert!(
            (told / median - 1.0).abs() < 0.35,
            "{usual}: {median} s, foretold {told} s"
        );
    }
}

#[test]
fn a_slowdown_shows_when_the_plan_says() {
    for (n_c, n_b) in [(50, 950), (5, 95), (20, 20)] {
        let known = baseline((n_c + n_b) as f64, 0.001);
        let control: [f64; LATENCY_BUCKETS] = known.latency.clone().try_into().unwrap();
        let canary = Slower::by(SLOWER).spread(&control);
        let share = n_c as f64 / (n_c + n_b) as f64;
        let told = one(&known, share).slower_s.unwrap();
        let mut chance = Chance::new(3);
        let mut history = latency::LatencyHistory::default();
        history.observe(0, &chance.histogram(100_000, &control));
        let mut sum = 0.0;
        for _ in 0..60 {
            let mut process = latency::LatencyProcess::new(&Settings::default(), &history);
            let shown = (0..3600u64).find(|at| {
                let (c, b) = (
                    chance.histogram(n_c, &canary),
                    chance.histogram(n_b, &control),
                );
                process.observe(*at, 0, &c, &b);
                // With the metric's weight.
                process.ln_m() >= ln(1000.0 / 0.25)
            });
            sum += shown.unwrap() as f64 + 1.0;
        }
        let mean = sum / 60.0;
        println!("slower: {mean} s, foretold {told} s");
        assert!(
            (told / mean - 1.0).abs() < 0.35,
            "{mean} s, foretold {told} s"
        );
    }
}

#[test]
fn evidence_of_earlier_waves_counts() {
    let known = baseline(1000.0, 0.01);
    let alone = one(&known, 0.05).doubling_s.unwrap();
    let plan = [wave(0.05, alone / 2.0), wave(0.05, alone), wave(0.5, alone)];
    let advice = advise(&Settings::default(), &known, &plan, 10.0);
    assert!((advice[1].doubling_s.unwrap() - alone / 2.0).abs() < 1e-6);
    assert_eq!(advice[2].doubling_s, Some(0.0));
    // One request in a hundred more fails on 50 a second: the whole time and the way back.
    let harm = 0.5 * (alone + 10.0);
    assert!((advice[1].harm_doubling.unwrap() - harm).abs() < 1e-6);
    assert_eq!(advice[2].harm_doubling, advice[1].harm_doubling);
}

#[test]
fn what_cannot_be_shown_has_no_time() {
    let known = baseline(1000.0, 0.001);
    let settings = Settings {
        pass_points: 0.01,
        ..Settings::default()
    };
    // Everything is changed: nothing to compare with, but an outage shows, and it may pass.
    let last = advise(&settings, &known, &[wave(1.0, 60.0)], 5.0).remove(0);
    assert_eq!(
        (last.doubling_s, last.point_s, last.slower_s),
        (None, None, None)
    );
    assert!(last.outage_s.is_some_and(|s| s <= 2.0), "{last:?}");
    assert_eq!(last.pass_s, Some(60.0));
    // Without a budget it takes longer, against what the old bundle did before.
    assert!(one(&known, 1.0).pass_s.is_some_and(|s| s > 0.0));
    // No traffic.
    let silent = one(&baseline(0.0, 0.001), 0.05);
    assert_eq!(
        (silent.doubling_s, silent.outage_s, silent.pass_s),
        (None, None, None)
    );
    assert_eq!(silent.harm_outage, 0.0);
    // A doubling that is tolerated.
    let settings = Settings {
        ratio: 2.5,
        ..Settings::default()
    };
    let tolerant = advise(&settings, &known, &[wave(0.05, 60.0)], 5.0).remove(0);
    assert_eq!(tolerant.doubling_s, None);
    assert!(tolerant.point_s.is_some());
    // A bake that is too short.
    let short = WaveShape {
        share: 0.05,
        bake_s: 10.0,
        bake_max_s: 20.0,
    };
    let short = advise(&Settings::default(), &known, &[short], 5.0).remove(0);
    assert_eq!((short.doubling_s, short.pass_s), (None, None));
    assert!(short.outage_s.is_some_and(|s| s <= 1.0));
}

#[test]
fn an_outage_hurts_a_larger_share_more() {
    let known = baseline(1000.0, 0.001);
    let plan = [wave(0.01, 60.0), wave(0.5, 60.0)];
    let advice = advise(&Settings::default(), &known, &plan, 9.0);
    assert!(
        (advice[0].harm_outage - 0.999 * 100.0).abs() < 1.0,
        "{advice:?}"
    );
    assert!(
        (advice[1].harm_outage - 0.999 * 5000.0).abs() < 1.0,
        "{advice:?}"
    );
}

proptest::proptest! {
    #[test]
    fn any_plan_is_advised(
        rate in 0.0..1e9f64,
        failing in 0.0..=1.0f64,
        dispersion in 0.0..1e6f64,
        latency: Vec<bool>,
        waves in proptest::collection::vec((0.0..=1.0f64, 0.0..1e6f64, 0.0..1e6f64), 0..6),
        (ratio, points) in (1.0..10.0f64, 0.0..0.5f64),
    ) {
        let latency = latency.into_iter().map(f64::from).collect();
        let baseline = Baseline { requests_per_s: rate, failing, dispersion, latency };
        let waves: Vec<_> = waves
            .into_iter()
            .map(|(share, bake_s, bake_max_s)| WaveShape { share, bake_s, bake_max_s })
            .collect();
        let settings = Settings { ratio, points, pass_points: points, ..Settings::default() };
        for advice in advise(&settings, &baseline, &waves, 5.0) {
            let times = [
                advice.doubling_s, advice.point_s, advice.slower_s, advice.outage_s, advice.pass_s,
                Some(advice.harm_outage), advice.harm_doubling,
            ];
            for time in times.into_iter().flatten() {
                proptest::prop_assert!(time.is_finite() && time >= 0.0, "{:?}", advice);
            }
        }
    }
}
