//! Each metric can carry a verdict, and none takes from the others.
//!
//! Invariant: requests fail as usual in all of these, so that only the metric in question speaks.

use judge::tick::{EventTick, Exposed, GaugeSample};
use judge::{History, Judge, Settings, Side, Tick, Word};
use model::Metric;

use crate::world::{is_harm, stratum, sums, tick};

fn healthy(at: u64) -> Tick {
    let mut tick = tick(at, vec![stratum(0, sums(0, 50), sums(1, 950))]);
    tick.strata[0].canary_latency = vec![(5, 30), (6, 20)];
    tick.strata[0].control_latency = vec![(5, 570), (6, 380)];
    tick.events = vec![EventTick {
        metric: Metric::Crashes,
        canary: Exposed {
            events: 0,
            host_ms: 5_000,
        },
        control: Exposed {
            events: 0,
            host_ms: 95_000,
        },
    }];
    tick.gauges = gauges([300, 300]);
    tick
}

fn gauges(permille: [u16; 2]) -> Vec<GaugeSample> {
    let sample = |group: u8| GaugeSample {
        gauge: 0,
        group,
        side: if group < 3 {
            Side::Canary
        } else {
            Side::Control
        },
        permille: permille[usize::from(group >= 3)],
    };
    (0..6).map(sample).collect()
}

fn word_after(change: impl Fn(&mut Tick)) -> (Word, u64) {
    let mut history = History::default();
    for at in 0..600 {
        let mut before = healthy(at);
        before.strata[0].canary = sums(0, 0);
        before.strata[0].canary_latency.clear();
        before.gauges.retain(|it| it.side == Side::Control);
        history.observe(&before);
    }
    let mut judge = Judge::new(&Settings::default(), &history);
    for at in 0..600 {
        let mut tick = healthy(at);
        change(&mut tick);
        judge.observe(&tick);
        if is_harm(judge.word()) {
            return (judge.word(), at);
        }
    }
    (judge.word(), 600)
}

#[test]
fn a_healthy_bundle_passes_with_all_metrics_told() {
    assert_eq!(word_after(|_| {}), (Word::Pass, 600));
}

#[test]
fn slow_requests_are_harm() {
    let (word, at) = word_after(|tick| tick.strata[0].canary_latency = vec![(6, 30), (7, 20)]);
    assert_eq!(word, Word::RollBack(Metric::Latency));
    assert!(at < 10, "{at}");
}

#[test]
fn crashes_are_harm() {
    let (word, at) = word_after(|tick| tick.events[0].canary.events = u64::from(tick.at % 20 == 7));
    assert_eq!(word, Word::RollBack(Metric::Crashes));
    assert!(at < 120, "{at}");
}

#[test]
fn a_gauge_that_is_full_is_harm_and_one_that_fills_is_no_pass() {
    let (word, at) = word_after(|tick| tick.gauges = gauges([980, 300]));
    assert_eq!(word, Word::RollBack(Metric::Saturation));
    assert!(at < 10, "{at}");
    let (word, _) = word_after(|tick| {
        let used = 300 + u16::try_from(tick.at / 2).unwrap();
        tick.gauges = gauges([used, 300]);
    });
    assert_ne!(word, Word::Pass);
}

#[test]
fn what_both_sides_suffer_is_no_harm() {
    let (word, _) = word_after(|tick| {
        let strata = &mut tick.strata[0];
        (strata.canary.e, strata.control.e) = (5, 95);
        strata.canary_latency = vec![(9, 50)];
        strata.control_latency = vec![(9, 950)];
        tick.events[0].canary.events = u64::from(tick.at % 40 == 7);
        tick.events[0].control.events = u64::from(tick.at % 2 == 0);
        tick.gauges = gauges([980, 980]);
    });
    assert!(!is_harm(word), "{word:?}");
}
