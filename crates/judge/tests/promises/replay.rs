//! A verdict follows again from its record.
//!
//! Invariant: bit for bit, also when the record was written down and read again.

use judge::tick::GroupTick;
use judge::{History, Judge, Record, Settings, Side, Standing};

use crate::chance::Chance;
use crate::world::{history, second, stratum, sums, tick};

fn record(seed: u64, seconds: u64) -> (Record, Standing) {
    let mut chance = Chance::new(seed);
    let mut before = history(&mut chance, 997, 0.003);
    for at in 600..900 {
        let mut more = tick(at, vec![stratum(3, sums(0, 0), sums(at % 7, 311))]);
        more.hosts = (0..9)
            .map(|group| GroupTick {
                group,
                side: Side::Control,
                sums: sums(chance.binomial(40, 0.01 * f64::from(group)), 40),
            })
            .collect();
        before.observe(&more);
    }
    let settings = Settings {
        alpha: 0.001 * 0.9 / 7.0,
        ..Settings::default()
    };
    let mut judge = Judge::new(&settings, &before);
    let mut ticks = Vec::new();
    let mut waves = Vec::new();
    for at in (0..seconds).filter(|at| at % 17 != 5) {
        if at % 100 == 0 {
            waves.push(ticks.len());
            judge.begin_wave();
        }
        let mut next = second(&mut chance, at, (33, 641), (0.0041, 0.003));
        next.strata[0].canary_latency = vec![(3, 30), (9, 3)];
        next.strata[0].control_latency = vec![(3, 600), (8, 40), (20, 1)];
        next.strata.push(stratum(3, sums(at % 2, 5), sums(1, 60)));
        judge.observe(&next);
        ticks.push(next);
    }
    let record = Record {
        settings,
        history: before,
        first: Some(1_800_000_000),
        ticks,
        waves,
        strata: vec!["all".into()],
        hosts: vec!["a".into()],
    };
    (record, judge.standing())
}

#[test]
fn a_record_gives_the_same_standing_bit_for_bit() {
    let (record, standing) = record(11, 400);
    // The debug form shows floats in full, and -0.0 and NaN as they are.
    assert_eq!(format!("{:?}", record.replay()), format!("{standing:?}"));
    assert!(standing.harm != 0.0 && standing.pass != 0.0, "{standing:?}");
}

#[test]
fn a_record_that_was_written_down_gives_it_too() {
    for seed in 0..5 {
        let (record, standing) = record(seed, 200);
        let text = serde_json::to_vec(&record).unwrap();
        let read: Record = serde_json::from_slice(&text).unwrap();
        assert_eq!(read, record);
        assert_eq!(format!("{:?}", read.replay()), format!("{standing:?}"));
    }
}

#[test]
fn a_record_says_with_which_second_harm_was_shown() {
    let (mut healthy, _) = record(3, 50);
    for tick in &mut healthy.ticks {
        for stratum in &mut tick.strata {
            stratum.canary.e = 0;
            stratum.canary_latency.clear();
            stratum.control_latency.clear();
        }
    }
    assert_eq!((healthy.served(), healthy.shown()), (Some(0), None));
    let mut bad = healthy;
    let worst = &mut bad.ticks[10].strata[0].canary;
    worst.e = worst.n;
    assert_eq!(bad.shown(), Some(bad.ticks[10].at));
    for tick in &mut bad.ticks[..10] {
        tick.strata.iter_mut().for_each(|it| it.canary = sums(0, 0));
    }
    assert_eq!(bad.served(), Some(bad.ticks[10].at));
}

#[test]
fn waves_that_begin_after_the_last_second_are_in_the_record() {
    let (mut record, _) = record(3, 50);
    record.waves.push(record.ticks.len());
    let standing = record.replay();
    assert_eq!(standing.wave_canary, sums(0, 0));
    assert!(standing.canary.n > 0);
}

#[test]
fn a_history_of_nothing_is_written_and_read() {
    let text = serde_json::to_string(&History::default()).unwrap();
    let read: History = serde_json::from_str(&text).unwrap();
    assert_eq!(read, History::default());
    let empty: History = serde_json::from_str("{}").unwrap();
    assert_eq!(empty, History::default());
}
