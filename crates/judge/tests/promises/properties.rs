//! What holds for any counts.
//!
//! Invariant: the judge is total: no numbers make it panic or answer with what is no number.

use judge::tick::{GROUPS_MAX, GroupTick, StratumTick};
use judge::{History, Judge, Settings, Side, Standing, Sums, Tick};
use proptest::prelude::*;

use crate::world::{stratum, sums, tick};

fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..5_u64, 0..2000_u64, Just(u64::MAX), any::<u64>()]
}

fn any_sums() -> impl Strategy<Value = Sums> {
    (any_count(), any_count()).prop_map(|(n, e)| Sums { n, e })
}

fn any_latency() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((any::<u8>(), any_count()), 0..4)
}

fn any_stratum() -> impl Strategy<Value = StratumTick> {
    (
        0..20_u8,
        any_sums(),
        any_sums(),
        any_latency(),
        any_latency(),
    )
        .prop_map(
            |(stratum, canary, control, canary_latency, control_latency)| StratumTick {
                stratum,
                canary,
                control,
                canary_latency,
                control_latency,
            },
        )
}

fn any_group() -> impl Strategy<Value = GroupTick> {
    (any::<u8>(), any::<bool>(), any_sums()).prop_map(|(group, is_canary, sums)| GroupTick {
        group,
        side: if is_canary {
            Side::Canary
        } else {
            Side::Control
        },
        sums,
    })
}

fn any_tick() -> impl Strategy<Value = Tick> {
    let groups = || prop::collection::vec(any_group(), 0..6);
    let strata = prop::collection::vec(any_stratum(), 0..6);
    (any_count(), strata, groups(), groups()).prop_map(|(at, strata, hosts, clients)| Tick {
        at,
        strata,
        hosts,
        clients,
        ..Tick::default()
    })
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (0..3_usize, 0..3_usize, 0..3_usize, 0..3_u32).prop_map(|(ratio, points, pass, horizon)| {
        Settings {
            ratio: [1.0, 1.2, 4.0][ratio],
            points: [0.0, 0.005, 1.0][points],
            pass_ratio: [4.0, 5.0, 11.0][pass],
            pass_points: [1.0, 0.0, 0.01][points],
            horizon_ticks: 600 * horizon,
            ..Settings::default()
        }
    })
}

fn check(standing: &Standing) {
    for value in [standing.harm, standing.pass, standing.pass_needed] {
        assert!(!value.is_nan(), "{standing:?}");
    }
    if let Some(ratio) = standing.ratio {
        assert!(ratio.low <= ratio.high, "{standing:?}");
        assert!(!ratio.estimate.is_some_and(f64::is_nan), "{standing:?}");
    }
    assert!(standing.metrics.iter().all(|it| it.dispersion >= 1.0));
}

fn settled(ticks: &[Tick]) -> Standing {
    let mut judge = Judge::new(&Settings::default(), &History::default());
    ticks.iter().for_each(|tick| judge.observe(tick));
    judge.standing()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_counts_are_fine(
        settings in any_settings(),
        before in prop::collection::vec(any_tick(), 0..20),
        ticks in prop::collection::vec(any_tick(), 0..30),
    ) {
        let mut history = History::default();
        before.iter().for_each(|tick| history.observe(tick));
        let mut judge = Judge::new(&settings, &history);
        for (n, tick) in ticks.iter().enumerate() {
            if n % 7 == 3 {
                judge.begin_wave();
            }
            judge.observe(tick);
            let standing = judge.standing();
            check(&standing);
            prop_assert_eq!(standing.word, judge.word());
        }
        if let Some(baseline) = history.baseline() {
            prop_assert!(baseline.failing > 0.0 && baseline.failing < 1.0);
            prop_assert!(baseline.requests_per_s.is_finite() && baseline.dispersion >= 1.0);
        }
    }

    #[test]
    fn more_failures_never_look_better(
        seconds in prop::collection::vec((0..60_u64, 0..60_u64, 0..4_u64, 200..999_u64), 1..60),
        more in 1..10_u64,
        place in 0..60_usize,
    ) {
        let ticks = |more: u64| -> Vec<Tick> {
            let second = |(at, (e_c, n_c, e_b, n_b)): (usize, &(u64, u64, u64, u64))| {
                // The last second gets the failures: bets in it are made already.
                let more = if at + 1 == seconds.len() { more } else { 0 };
                let canary = sums((e_c + more).min(*n_c), *n_c);
                let which = u8::from(at % 3 == place % 3);
                tick(at as u64, vec![stratum(which, canary, sums(*e_b, *n_b))])
            };
            seconds.iter().enumerate().map(second).collect()
        };
        let (fewer, more) = (settled(&ticks(0)), settled(&ticks(more)));
        prop_assert!(more.harm >= fewer.harm, "{:?} {:?}", fewer, more);
        prop_assert!(more.pass <= fewer.pass, "{:?} {:?}", fewer, more);
    }

    #[test]
    fn the_order_of_strata_makes_no_difference(
        ticks in prop::collection::vec(prop::collection::vec((0..5_u64, 5..60_u64, 0..9_u64, 9..900_u64), 4), 1..40),
    ) {
        let order = |is_back: bool| -> Vec<Tick> {
            let second = |(at, counts): (usize, &Vec<(u64, u64, u64, u64)>)| {
                let each = |(it, (e_c, n_c, e_b, n_b)): (usize, &(u64, u64, u64, u64))| {
                    let mut told = stratum(it as u8, sums(*e_c, *n_c), sums(*e_b, *n_b));
                    told.canary_latency = vec![(3, n_c - e_c), (9, *e_c)];
                    told.control_latency = vec![(3, n_b - e_b), (9, *e_b)];
                    told
                };
                let mut strata: Vec<_> = counts.iter().enumerate().map(each).collect();
                if is_back {
                    strata.reverse();
                }
                tick(at as u64, strata)
            };
            ticks.iter().enumerate().map(second).collect()
        };
        prop_assert_eq!(settled(&order(false)), settled(&order(true)));
    }
}

#[test]
fn a_memory_of_days_is_as_large_as_one_of_hours() {
    let size = |seconds: u64| {
        let mut history = History::default();
        for at in 0..seconds {
            let mut told = tick(
                at,
                (0..16)
                    .map(|it| stratum(it, sums(0, 9), sums(1, 90)))
                    .collect(),
            );
            let group = |group| GroupTick {
                group,
                side: Side::Control,
                sums: sums(1, 20),
            };
            told.hosts = (0..GROUPS_MAX as u8).map(group).collect();
            history.observe(&told);
        }
        serde_json::to_vec(&history).unwrap().len()
    };
    let (hours, days) = (size(2 * 3600), size(20 * 3600));
    assert!(days < hours + hours / 4, "{hours} {days}");
    assert!(days < 64 * 1024, "{days}");
}
