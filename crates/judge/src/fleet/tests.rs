//! Alarms of whole fleets: seldom for nothing, soon for something, and over when it is over.

use super::*;
use crate::chance::Chance;

/// Tells `ticks` seconds; the tick that raised the alarm, if one did.
fn run(
    fleet: &mut FleetWatch,
    chance: &mut Chance,
    from: u64,
    ticks: u64,
    rps: u64,
    failing: f64,
) -> Option<u64> {
    for at in from..from + ticks {
        let e = chance.binomial(rps, failing);
        fleet.observe(at, Sums { n: rps, e });
        if fleet.alarm().is_some() {
            return Some(at);
        }
    }
    None
}

#[test]
fn a_third_of_the_limit_raises_no_alarm_in_a_million_ticks() {
    for (seed, rps, failing) in [(1, 50, 0.01), (2, 20, 0.0003), (3, 300, 0.001)] {
        let mut fleet = FleetWatch::new(3.0 * failing);
        let mut chance = Chance::new(seed);
        assert_eq!(
            run(&mut fleet, &mut chance, 0, 1_000_000, rps, failing),
            None
        );
    }
}

#[test]
fn at_the_limit_alarms_are_a_million_ticks_apart() {
    // 200 fleets, 5000 ticks each, exactly at the limit: one alarm is expected at most.
    let mut alarms = 0;
    for seed in 0..200 {
        let mut fleet = FleetWatch::new(0.02);
        alarms += u32::from(run(&mut fleet, &mut Chance::new(seed), 0, 5000, 50, 0.02).is_some());
    }
    assert!(alarms <= 4, "{alarms} alarms");
}

#[test]
fn an_outage_shows_within_seven_seconds_and_its_beginning_is_known() {
    for seed in 0..50 {
        let mut fleet = FleetWatch::new(0.01);
        let mut chance = Chance::new(seed);
        assert_eq!(run(&mut fleet, &mut chance, 0, 600, 50, 0.002), None);
        let raised = run(&mut fleet, &mut chance, 600, 60, 50, 1.0);
        assert!(raised.is_some_and(|at| at <= 606), "{raised:?}");
        let onset = fleet.alarm().unwrap();
        assert!((595..=600).contains(&onset), "{onset}");
    }
}

#[test]
fn a_fleet_that_is_told_of_for_the_first_time_during_an_outage_shows_it() {
    let mut fleet = FleetWatch::new(0.01);
    let raised = run(&mut fleet, &mut Chance::new(1), 0, 60, 50, 1.0);
    assert!(raised.is_some_and(|at| at <= 15), "{raised:?}");
}

#[test]
fn a_restart_of_one_host_in_eight_is_no_alarm() {
    let mut fleet = FleetWatch::new(0.01);
    let mut chance = Chance::new(5);
    for restart in 0..20 {
        assert_eq!(
            run(&mut fleet, &mut chance, restart * 60, 60, 300, 0.001),
            None
        );
        fleet.observe(restart * 60 + 59, Sums { n: 300, e: 38 });
        assert_eq!(fleet.alarm(), None);
    }
}

#[test]
fn a_tenth_failing_shows_within_seconds() {
    let mut fleet = FleetWatch::new(0.01);
    let mut chance = Chance::new(7);
    assert_eq!(run(&mut fleet, &mut chance, 0, 600, 50, 0.002), None);
    let raised = run(&mut fleet, &mut chance, 600, 60, 50, 0.1);
    assert!(raised.is_some_and(|at| at <= 615), "{raised:?}");
}

#[test]
fn it_ends_ten_seconds_after_the_failing_did() {
    let mut fleet = FleetWatch::new(0.01);
    let mut chance = Chance::new(3);
    run(&mut fleet, &mut chance, 0, 600, 50, 0.002);
    for at in 600..1200 {
        fleet.observe(at, Sums { n: 50, e: 25 });
        assert_eq!(fleet.alarm().is_some(), at >= 605, "at {at}");
    }
    for at in 1200..1209 {
        fleet.observe(at, Sums { n: 50, e: 0 });
        assert!(fleet.alarm().is_some(), "at {at}");
    }
    fleet.observe(1209, Sums { n: 50, e: 0 });
    assert_eq!(fleet.alarm(), None);
    // The outage has not become usual: the next one shows as soon.
    assert_eq!(run(&mut fleet, &mut chance, 1210, 600, 50, 0.002), None);
    assert!(run(&mut fleet, &mut chance, 1810, 7, 50, 1.0).is_some());
}

#[test]
fn silence_changes_nothing() {
    let mut fleet = FleetWatch::new(0.01);
    run(&mut fleet, &mut Chance::new(3), 0, 100, 50, 0.002);
    let before = fleet.clone();
    fleet.observe(100, Sums { n: 0, e: 0 });
    fleet.observe(101, Sums { n: 0, e: 9 });
    assert_eq!(fleet, before);
}

#[test]
fn a_change_that_lasts_an_hour_becomes_usual() {
    let mut fleet = FleetWatch::new(0.01);
    let mut chance = Chance::new(4);
    run(&mut fleet, &mut chance, 0, 3600, 50, 0.005);
    assert!(run(&mut fleet, &mut chance, 3600, 60, 50, 0.08).is_some());
    for at in 3660..7000 {
        let e = chance.binomial(50, 0.08);
        fleet.observe(at, Sums { n: 50, e });
        assert!(fleet.alarm().is_some(), "at {at}");
    }
    for at in 7000..14_400 {
        let e = chance.binomial(50, 0.08);
        fleet.observe(at, Sums { n: 50, e });
    }
    assert_eq!(fleet.alarm(), None);
}

proptest::proptest! {
    #[test]
    fn any_counts_are_taken(ticks: Vec<(u64, u64, u64)>, slo in 0.0..1.0f64) {
        let mut fleet = FleetWatch::new(slo);
        for (at, n, e) in ticks {
            fleet.observe(at, Sums { n, e });
            proptest::prop_assert!(fleet.bets.iter().all(|bet| !bet.ln_g.is_nan()));
        }
    }
}
