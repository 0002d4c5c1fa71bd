//! Gauges: noise is no evidence, a rise is, a climb is told of, and full is full.

use super::*;
use crate::chance::Chance;

const HOSTS: u8 = 20;

/// Every host's sample of one second; `used` gives a host's share of its limit.
fn samples(canaries: u8, mut used: impl FnMut(u8) -> f64) -> Vec<GaugeSample> {
    (0..HOSTS)
        .map(|group| GaugeSample {
            gauge: 1,
            group,
            side: if group < canaries {
                Side::Canary
            } else {
                Side::Control
            },
            permille: (used(group) * 1000.0).clamp(0.0, 1000.0) as u16,
        })
        .collect()
}

/// Hosts with levels of their own, from 0.3 to 0.5.
fn level(group: u8) -> f64 {
    0.3 + 0.01 * f64::from(group)
}

fn noise(chance: &mut Chance) -> f64 {
    0.1 * (chance.uniform() - 0.5)
}

fn known(chance: &mut Chance) -> GaugeHistory {
    let mut history = GaugeHistory::default();
    for at in 0..600 {
        history.observe(at, &samples(0, |group| level(group) + noise(chance)));
    }
    history
}

/// Evidence after so many seconds of one sample each five, when the canary uses so much more.
fn told(
    canaries: u8,
    seconds: u64,
    chance: &mut Chance,
    more: impl Fn(u64) -> f64,
) -> GaugeProcess {
    let mut process = GaugeProcess::new(&known(chance));
    for at in (0..seconds).step_by(5) {
        let rise = more(at);
        process.observe(
            at,
            &samples(canaries, |group| {
                let own = if group < canaries { rise } else { 0.0 };
                level(group) + noise(chance) + own
            }),
        );
    }
    process
}

/// A difference that is as often above as below 0 by the same: no bet gains on average.
#[test]
fn no_bet_gains_on_average_on_a_symmetric_difference() {
    let mut largest: f64 = 0.0;
    for size in [0.0, 1e-9, 0.1, 1.0, 7.0, 300.0] {
        for shift in [0.0, 0.5, 4.0] {
            for lambda in LAMBDAS {
                let e = |x: f64| exp(ln_sign_bet(lambda * x));
                largest = largest.max((e(size - shift) + e(-size - shift)) / 2.0);
            }
        }
    }
    assert!((largest - 1.0).abs() <= 1e-9, "{largest}");
}

#[test]
fn hosts_with_levels_of_their_own_are_no_evidence() {
    let mut chance = Chance::new(1);
    // The margin makes it less than undecided.
    let process = told(10, 3600, &mut chance, |_| 0.0);
    assert!(process.told());
    assert!(process.ln_m() < 0.0, "{}", process.ln_m());
    assert_eq!(process.warnings(), []);
}

#[test]
fn differences_at_the_margin_reach_a_threshold_as_seldom_as_promised() {
    let mut chance = Chance::new(4);
    let mut wrong = 0;
    for _ in 0..200 {
        let mut process = GaugeProcess::new(&known(&mut chance));
        wrong += u32::from((0..60).any(|block| {
            // The canary's mean is at the margin, its noise symmetric and common to a block.
            let (canary, control) = (noise(&mut chance) + MARGIN, noise(&mut chance));
            let used = |group| level(group) + if group < 10 { canary } else { control };
            process.observe(block * BLOCK_S, &samples(10, used));
            process.ln_m() >= ln(100.0)
        }));
    }
    assert!(wrong <= 6, "{wrong} of 200");
}

#[test]
fn a_canary_that_uses_a_fifth_of_the_limit_more_is_found() {
    let mut chance = Chance::new(2);
    let process = told(2, 900, &mut chance, |_| 0.2);
    assert!(process.ln_m() >= ln(1000.0), "{}", process.ln_m());
}

#[test]
fn a_leak_that_begins_late_is_found_and_told_of_before_it_is_full() {
    let mut chance = Chance::new(3);
    let mut process = GaugeProcess::new(&known(&mut chance));
    let mut warned = None;
    for at in (0..3600).step_by(5) {
        let leak = (at as f64 - 1800.0).max(0.0) / 4000.0;
        let used = |group| level(group) + noise(&mut chance) + if group < 2 { leak } else { 0.0 };
        process.observe(at, &samples(2, used));
        if warned.is_none() {
            warned = process.warnings().first().map(|warning| (at, *warning));
        }
    }
    let (at, warning) = warned.unwrap();
    assert!((1800..2400).contains(&at), "warned at {at}");
    assert_eq!((warning.gauge, warning.is_full), (1, false));
    // It leaks a quarter of a thousandth each second, from 0.3 up.
    let left = 0.7 * 4000.0 - (at as f64 - 1800.0);
    assert!(
        (warning.full_in_s / left - 1.0).abs() < 0.25,
        "{warning:?}, {left} left"
    );
    assert!(process.ln_m() >= ln(1000.0), "{}", process.ln_m());
}

#[test]
fn noise_hardly_ever_warns() {
    let mut chance = Chance::new(9);
    let mut warned = 0;
    for _ in 0..100 {
        warned += usize::from(!told(2, 330, &mut chance, |_| 0.0).warnings().is_empty());
    }
    assert!(warned <= 1, "{warned} of 100");
}

#[test]
fn full_on_half_of_the_canary_and_not_on_the_control_is_a_hard_rule() {
    let run = |full: u8, control: f64, times: u64| {
        let mut process = GaugeProcess::new(&GaugeHistory::default());
        for at in 0..times {
            let used = |group| match group {
                _ if group < full => 0.97,
                _ if group < 4 => 0.5,
                _ => control,
            };
            process.observe(at, &samples(4, used));
        }
        process.warnings().iter().any(|warning| warning.is_full)
    };
    assert!(run(2, 0.5, 3));
    assert!(!run(2, 0.5, 2), "two samples are a spike");
    assert!(!run(1, 0.5, 9), "one host of four");
    assert!(!run(4, 0.85, 9), "the control is nearly full as well");
}

#[test]
fn a_side_that_is_not_sampled_is_no_evidence() {
    let mut chance = Chance::new(5);
    let history = known(&mut chance);
    for kept in [Side::Canary, Side::Control] {
        let mut process = GaugeProcess::new(&history);
        for at in 0..2000 {
            let mut all = samples(10, |_| 0.99);
            all.retain(|sample| sample.side == kept);
            process.observe(at, &all);
        }
        assert!(process.ln_m().abs() < 1e-9 && !process.told());
        assert_eq!(process.warnings(), []);
    }
}

#[test]
fn hosts_of_which_nothing_was_known_before_are_no_evidence() {
    let mut process = GaugeProcess::new(&GaugeHistory::default());
    for at in 0..2000 {
        process.observe(at, &samples(10, |group| if group < 10 { 0.9 } else { 0.1 }));
    }
    assert!(process.ln_m().abs() < 1e-9, "{}", process.ln_m());
}

proptest::proptest! {
    #[test]
    fn any_samples_are_taken(ticks: Vec<(u16, Vec<(u8, u8, bool, u16)>)>) {
        let (mut history, mut at) = (GaugeHistory::default(), 0);
        let mut process = GaugeProcess::new(&history);
        for (later, samples) in ticks {
            at += u64::from(later);
            let samples: Vec<_> = samples
                .into_iter()
                .map(|(gauge, group, canary, permille)| GaugeSample {
                    gauge,
                    group,
                    side: if canary { Side::Canary } else { Side::Control },
                    permille,
                })
                .collect();
            process.observe(at, &samples);
            history.observe(at, &samples);
            proptest::prop_assert!(!process.ln_m().is_nan());
            process.warnings();
            process = if at % 7 == 0 { GaugeProcess::new(&history) } else { process };
        }
    }
}
