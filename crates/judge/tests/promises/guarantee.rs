//! How often the judge is wrong, by simulation with fixed seeds, and how soon it is right.
//!
//! Invariant: alpha is large in these tests, so that few runs can show that it holds.

use judge::{History, Judge, Settings, Word};
use model::{JudgePlan, Permille, StagePlan};

use crate::chance::Chance;
use crate::world::{errors_only, first, history, is_harm, second, stratum, sums, tick};

#[test]
fn a_healthy_bundle_is_sent_back_at_most_as_often_as_was_asked() {
    let settings = Settings {
        alpha: 0.1,
        horizon_ticks: 400,
        ..errors_only()
    };
    let runs = 1000;
    let wrong = (0..runs).filter(|run| {
        let mut chance = Chance::new(*run);
        let share = [0.001, 0.01, 0.3][(run % 3) as usize];
        let mut judge = Judge::new(&settings, &history(&mut chance, 300, share));
        let ticks = (0..400).map(|at| {
            // Both sides get worse and better together.
            let now = share * if (100..200).contains(&at) { 3.0 } else { 1.0 };
            second(&mut chance, at, (20, 280), (now, now))
        });
        first(&mut judge, ticks, is_harm).is_some()
    });
    let wrong = wrong.count();
    // At a true rate of 0.1 more than 150 would come once in ten million times.
    assert!(wrong <= 150, "{wrong} of {runs}");
    // Bets that are worth something use up a part of it.
    assert!(wrong >= 10, "{wrong} of {runs}");
}

#[test]
fn a_bundle_at_the_margin_passes_at_most_as_often_as_was_asked() {
    let runs = 1000;
    let wrong = (0..runs).filter(|run| {
        let mut chance = Chance::new(*run + 77_000);
        let settings = Settings {
            beta: 0.1,
            // Harm is not looked for: only the pass process decides.
            alpha: 1e-300,
            ..errors_only()
        };
        let share = [0.002, 0.02][(run % 2) as usize];
        let mut judge = Judge::new(&settings, &history(&mut chance, 300, share));
        let ticks = (0..600).map(|at| second(&mut chance, at, (30, 270), (2.0 * share, share)));
        first(&mut judge, ticks, |word| word == Word::Pass).is_some()
    });
    let wrong = wrong.count();
    assert!(wrong <= 150, "{wrong} of {runs}");
}

#[test]
fn a_change_of_traffic_between_strata_is_no_harm() {
    for run in 0..50 {
        let mut chance = Chance::new(run + 31);
        let mut before = History::default();
        for at in 0..600 {
            let cheap = sums(chance.binomial(800, 0.001), 800);
            let dear = sums(chance.binomial(200, 0.02), 200);
            let none = sums(0, 0);
            before.observe(&tick(
                at,
                vec![stratum(0, none, cheap), stratum(1, none, dear)],
            ));
        }
        let mut judge = Judge::new(&errors_only(), &before);
        let ticks = (0..600).map(|at| {
            let mut of = |n, p| sums(chance.binomial(n, p), n);
            // The canary gets mostly what fails often.
            let strata = vec![
                stratum(0, of(5, 0.001), of(760, 0.001)),
                stratum(1, of(45, 0.02), of(190, 0.02)),
            ];
            tick(at, strata)
        });
        assert_eq!(first(&mut judge, ticks, is_harm), None, "run {run}");
        let standing = judge.standing();
        let ratio = standing.ratio.unwrap();
        assert!(ratio.low <= 1.0 && ratio.high >= 1.0, "{ratio:?}");
    }
}

#[test]
fn harm_in_one_stratum_is_found_there() {
    let mut chance = Chance::new(5);
    let mut judge = Judge::new(&errors_only(), &History::default());
    for at in 0..120 {
        let mut strata: Vec<_> = (0..8)
            .map(|it| stratum(it, sums(0, 6), sums(chance.binomial(120, 0.01), 120)))
            .collect();
        let share = if at < 60 { 0.01 } else { 0.3 };
        strata[3].canary.e = chance.binomial(6, share);
        judge.observe(&tick(at, strata));
        if is_harm(judge.word()) {
            break;
        }
    }
    let standing = judge.standing();
    assert!(is_harm(standing.word), "{standing:?}");
    assert_eq!(standing.stratum, Some(3));
    let began = standing.began.unwrap();
    assert!((55..70).contains(&began), "{standing:?}");
}

#[test]
fn detection_needs_no_more_requests_than_the_design_measured() {
    // Failing share before and after, and the mean of canary requests in the design's own
    // measurement with a tenth more for these few runs.
    for (before, after, most) in [
        (0.001, 0.01, 877.0),
        (0.01, 0.05, 307.0),
        (0.001, 1.0, 50.0),
    ] {
        let runs = 300;
        let mut requests = 0;
        for run in 0..runs {
            let mut chance = Chance::new(run + 1000);
            let mut judge = Judge::new(&errors_only(), &history(&mut chance, 1000, before));
            let ticks = (0..3600).map(|at| second(&mut chance, at, (50, 950), (after, before)));
            requests += 50 * (first(&mut judge, ticks, is_harm).unwrap() + 1);
        }
        let mean = requests as f64 / runs as f64;
        assert!(mean <= most, "{before} -> {after}: {mean}");
    }
}

#[test]
fn unequal_hosts_raise_the_bar() {
    // Every host has a failing share of its own; the canary's happens to be the worst.
    let mut judge = Judge::new(&errors_only(), &History::default());
    let mut alone = Judge::new(&errors_only(), &History::default());
    for at in 0..600 {
        let host = |group: u8| judge::tick::GroupTick {
            group,
            side: if group == 0 {
                judge::Side::Canary
            } else {
                judge::Side::Control
            },
            sums: sums(u64::from(at % 13 >= u64::from(group)), 50),
        };
        let hosts: Vec<_> = (0..12).map(host).collect();
        let control = hosts[1..].iter().map(|it| it.sums.e).sum();
        let strata = vec![stratum(0, hosts[0].sums, sums(control, 550))];
        alone.observe(&tick(at, strata.clone()));
        let mut tick = tick(at, strata);
        tick.hosts = hosts;
        judge.observe(&tick);
    }
    assert!(is_harm(alone.word()), "{:?}", alone.standing());
    let standing = judge.standing();
    assert_eq!(standing.word, Word::Wait, "{standing:?}");
    assert!(standing.metrics[0].dispersion > 10.0, "{standing:?}");
}

#[test]
fn an_outage_is_found_although_hosts_are_unequal_and_few() {
    let mut judge = Judge::new(&errors_only(), &History::default());
    let ticks = (0..30).map(|at| {
        let host = |group, side, e, n| judge::tick::GroupTick {
            group,
            side,
            sums: sums(e, n),
        };
        let is_out = at >= 20;
        let canary = sums(if is_out { 50 } else { 0 }, 50);
        let mut tick = tick(at, vec![stratum(0, canary, sums(3, 400))]);
        tick.hosts = vec![
            host(0, judge::Side::Canary, canary.e, 50),
            host(1, judge::Side::Control, 3, 200),
            host(2, judge::Side::Control, 0, 200),
        ];
        tick
    });
    let found = first(&mut judge, ticks, is_harm).unwrap();
    assert!(found <= 25, "{found}");
    assert_eq!(judge.standing().suspect, Some(0));
}

#[test]
fn a_plan_becomes_settings() {
    let plan = StagePlan {
        failure_budget_permille: Permille::new(20).unwrap(),
        judge: JudgePlan {
            tolerated_increase_permille: 200,
            tolerated_points_permille: Permille::new(5).unwrap(),
            tolerated_slowdown_permille: 1000,
            false_rollbacks_ppm: 2000,
            pass_increase_permille: 500,
            ..JudgePlan::default()
        },
        ..StagePlan::default()
    };
    let settings = Settings::of(&plan, 0.5);
    assert_eq!((settings.ratio, settings.points), (1.2, 0.005));
    assert_eq!((settings.pass_ratio, settings.pass_points), (1.5, 0.02));
    assert_eq!((settings.alpha, settings.beta), (0.001, 0.05));
    assert_eq!(settings.slowdown, 1.0);
    assert_eq!(settings.horizon_ticks, 4 * 1800);
    let weights: f64 = settings.weights.iter().map(|it| it.1).sum();
    assert!((weights - 1.0).abs() < 1e-12);
}
