//! Bets on events: fair for every pair of rates, soon at a few crashes, silent in silence.

use super::*;
use crate::chance::Chance;

const HOST_SECOND_MS: u64 = 1000;

fn tick(metric: Metric, canary: (u64, u64), control: (u64, u64)) -> EventTick {
    let exposed = |(events, hosts): (u64, u64)| Exposed {
        events,
        host_ms: hosts * HOST_SECOND_MS,
    };
    EventTick {
        metric,
        canary: exposed(canary),
        control: exposed(control),
    }
}

fn process(metric: Metric) -> EventProcess {
    EventProcess::new(&Settings::default(), metric, &EventHistory::default())
}

/// `n` hosts for so many seconds, with an event every `every` seconds.
fn known(metric: Metric, hosts: u64, seconds: u64, every: u64) -> EventHistory {
    let mut history = EventHistory::default();
    for at in 0..seconds {
        let events = u64::from(at % every == every - 1);
        history.observe(&tick(metric, (0, 0), (events, hosts)));
    }
    history
}

/// Given the events of a second, the canary's number is binomial with a chance that no claim
/// allows to be more than its part: over all outcomes no bet gains on average.
#[test]
fn no_bet_gains_on_average_while_the_canary_has_no_more_than_its_part() {
    let mut largest: f64 = 0.0;
    for ratio in [1.0, 1.5, 3.0] {
        let settings = Settings {
            ratio,
            ..Settings::default()
        };
        let process = EventProcess::new(&settings, Metric::Crashes, &EventHistory::default());
        for (h_c, h_b) in [(1, 19), (5, 5), (90, 10), (1, 1000)] {
            let exposure = ratio * h_c as f64;
            let border = exposure / (exposure + h_b as f64);
            for part in [0.0, 0.3, 0.9, 1.0] {
                let p = part * border;
                for d in 0..12 {
                    let mut mean = [0.0; TIMES.len()];
                    let mut ways = 1.0;
                    for d_c in 0..=d {
                        let told = tick(Metric::Crashes, (d_c, h_c), (d - d_c, h_b));
                        let probability = ways
                            * p.powi(i32::try_from(d_c).unwrap())
                            * (1.0 - p).powi(i32::try_from(d - d_c).unwrap());
                        let ln_e = process.ln_e(told.canary, told.control);
                        for (mean, ln_e) in mean.iter_mut().zip(ln_e) {
                            *mean += probability * exp(ln_e);
                        }
                        ways *= (d - d_c) as f64 / (d_c + 1) as f64;
                    }
                    largest = mean.into_iter().fold(largest, f64::max);
                }
            }
        }
    }
    assert!((largest - 1.0).abs() <= 1e-9, "{largest}");
}

#[test]
fn three_crashes_suffice_when_a_control_of_nineteen_has_none() {
    let mut process = process(Metric::Crashes);
    for n in 1..=3 {
        assert!(process.ln_m() < ln(1000.0), "after {} crashes", n - 1);
        process.observe(&tick(Metric::Crashes, (1, 1), (0, 19)));
    }
    assert!(process.ln_m() >= ln(1000.0), "{}", process.ln_m());
}

#[test]
fn equal_rates_are_called_unequal_as_seldom_as_promised() {
    let mut chance = Chance::new(17);
    let mut wrong = 0;
    for _ in 0..2000 {
        let mut process = process(Metric::Crashes);
        // A common storm in the middle changes nothing.
        let storm = |at| if (300..400).contains(&at) { 20.0 } else { 1.0 };
        wrong += u32::from((0..900).any(|at| {
            let rate = 0.005 * storm(at);
            let (c, b) = (chance.poisson(rate), chance.poisson(19.0 * rate));
            process.observe(&tick(Metric::Crashes, (c, 1), (b, 19)));
            process.ln_m() >= ln(1000.0)
        }));
    }
    assert!(wrong <= 6, "{wrong} of 2000");
}

#[test]
fn bursts_of_lines_in_a_log_are_no_more_than_one_cause_each() {
    let mut chance = Chance::new(23);
    let mut wrong = 0;
    for _ in 0..1000 {
        let mut process = process(Metric::Custom);
        wrong += u32::from((0..900).any(|_| {
            let burst = |chance: &mut Chance, rate| 5 * chance.poisson(rate);
            let (c, b) = (burst(&mut chance, 0.002), burst(&mut chance, 0.038));
            process.observe(&tick(Metric::Custom, (c, 1), (b, 19)));
            process.ln_m() >= ln(1000.0)
        }));
    }
    assert!(wrong <= 4, "{wrong} of 1000");
    // Yet a canary that writes them all the time is found.
    let mut process = process(Metric::Custom);
    for at in 0..300 {
        let b = 5 * chance.poisson(0.038);
        process.observe(&tick(
            Metric::Custom,
            (u64::from(at % 10 == 0) * 5, 1),
            (b, 19),
        ));
    }
    assert!(process.ln_m() >= ln(1000.0), "{}", process.ln_m());
}

#[test]
fn one_silent_side_is_no_evidence() {
    let mut process = process(Metric::Crashes);
    for _ in 0..1000 {
        process.observe(&tick(Metric::Crashes, (0, 0), (9, 20)));
        process.observe(&tick(Metric::Crashes, (9, 1), (0, 0)));
        process.observe(&tick(Metric::Crashes, (0, 0), (0, 0)));
        process.observe(&tick(Metric::Custom, (0, 20), (0, 20)));
    }
    assert!(process.ln_m().abs() < 1e-9, "{}", process.ln_m());
    assert!(!process.told() && !process.hard());
}

#[test]
fn crashes_beyond_what_the_past_explains_are_a_hard_rule() {
    let history = known(Metric::Crashes, 100, 86_400, 10_000);
    let mut process = EventProcess::new(&Settings::default(), Metric::Crashes, &history);
    let mut crashes = 0;
    // The last wave: nothing is left to compare with.
    for at in 0..60 {
        let crash = u64::from(at % 5 == 4);
        crashes += crash;
        process.observe(&tick(Metric::Crashes, (crash, 100), (0, 0)));
        if process.hard() {
            break;
        }
    }
    assert!((3..=6).contains(&crashes) && process.hard(), "{crashes}");
    assert_eq!(process.ln_m(), 0.0);
}

#[test]
fn what_the_control_suffers_too_is_no_hard_rule() {
    let history = known(Metric::Crashes, 100, 86_400, 10_000);
    let mut process = EventProcess::new(&Settings::default(), Metric::Crashes, &history);
    for _ in 0..600 {
        process.observe(&tick(Metric::Crashes, (1, 50), (1, 50)));
    }
    assert!(!process.hard());
}

#[test]
fn the_hard_rule_needs_a_past_and_fires_as_seldom_as_promised() {
    let mut unknown = process(Metric::Crashes);
    for _ in 0..600 {
        unknown.observe(&tick(Metric::Crashes, (50, 50), (0, 0)));
    }
    assert!(!unknown.hard(), "nothing is known of what is usual");

    let mut chance = Chance::new(31);
    let mut wrong = 0;
    for _ in 0..2000 {
        let mut history = EventHistory::default();
        for _ in 0..1000 {
            let crashes = chance.poisson(0.02);
            history.observe(&tick(Metric::Crashes, (0, 0), (crashes, 20)));
        }
        let mut process = EventProcess::new(&Settings::default(), Metric::Crashes, &history);
        for _ in 0..1000 {
            let crashes = chance.poisson(0.02);
            process.observe(&tick(Metric::Crashes, (crashes, 20), (0, 0)));
        }
        wrong += u32::from(process.hard());
    }
    assert!(wrong <= 2, "{wrong} of 2000");
}

#[test]
fn poisson_tails_agree_with_their_sums() {
    assert!((poisson_tail(1.0, 1) - (1.0 - exp(-1.0))).abs() < 1e-14);
    assert!((poisson_tail(2.5, 2) - (1.0 - 3.5 * exp(-2.5))).abs() < 1e-14);
    // P(Pois(0.01) >= 4), by its series.
    let series = 1e-8 / 24.0 * exp(-0.01) * (1.0 + 0.01 / 5.0 + 1e-4 / 30.0);
    assert!((poisson_tail(0.01, 4) / series - 1.0).abs() < 1e-6);
    assert!((poisson_tail(1000.0, 1000) - 0.504_205).abs() < 1e-6);
    assert_eq!((poisson_tail(3.0, 0), poisson_tail(0.0, 2)), (1.0, 0.0));
}

#[test]
fn an_upper_bound_is_the_exact_one() {
    let mut rate = Rate::default();
    assert_eq!(rate.upper(), f64::INFINITY);
    rate.add(Exposed {
        events: 0,
        host_ms: 1_000_000,
    });
    // No event: -ln 0.01 over the exposure.
    assert!((rate.upper() * 1e6 - 4.605_170_186).abs() < 1e-6);
}

proptest::proptest! {
    #[test]
    fn any_counts_are_taken(ticks: Vec<[u64; 4]>, ratio in 1.0..100.0f64) {
        let settings = Settings { ratio, ..Settings::default() };
        let mut history = EventHistory::default();
        let mut process = EventProcess::new(&settings, Metric::Crashes, &history);
        for [c, h_c, b, h_b] in ticks {
            let told = EventTick {
                metric: Metric::Crashes,
                canary: Exposed { events: c, host_ms: h_c },
                control: Exposed { events: b, host_ms: h_b },
            };
            process.observe(&told);
            history.observe(&told);
            proptest::prop_assert!(!process.ln_m().is_nan());
        }
        EventProcess::new(&settings, Metric::Crashes, &history);
    }
}
