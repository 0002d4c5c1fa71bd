//! What is full when, and what only looks as if.

use proptest::prelude::*;

use super::*;

const LIMIT: f64 = 100.0;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_768_000_000 + second).unwrap()
}

/// The forecasts of a series sampled each five seconds, with when they were made.
fn run(seconds: i64, value: impl Fn(i64) -> f64) -> Vec<(i64, Forecast)> {
    let mut series = Series::default();
    let samples = (0..seconds).step_by(5);
    samples
        .filter_map(|second| {
            series.add(at(second), value(second));
            // Asked each half minute: often enough to see what is told, and quick.
            let asked = second % 30 == 0;
            Some((second, asked.then(|| series.forecast(LIMIT))??))
        })
        .collect()
}

fn wave(second: i64) -> f64 {
    // A cheap noise that is the same in every run.
    ((second * 7919) % 101) as f64 / 101.0 - 0.5
}

#[test]
fn threads_that_hang_are_foretold_in_time() {
    // As in the second report: after a calm time all are used up within 16 minutes.
    let calm = 2 * 3600;
    let leak = |second: i64| match second < calm {
        true => 10.0 + wave(second),
        false => 10.0 + 90.0 * (second - calm) as f64 / 960.0 + wave(second),
    };
    let found = run(calm + 955, leak);
    let (when, first) = found[0];
    assert!(when > calm, "nothing before it began");
    assert!(first.page());
    let left = calm + 960 - when;
    assert!(left >= 9 * 60, "{left} s are left");
    let told = i64::try_from(first.full_in.0 / 1000).unwrap();
    assert!((told - left).abs() <= left / 5, "told {told} of {left} s");
    assert!(
        found.iter().all(|(_, it)| it.horizon_s <= 900),
        "an hour is too long to see it"
    );
}

#[test]
fn a_leak_of_hours_is_a_ticket_first_and_a_page_at_last() {
    let leak = |second: i64| 10.0 + 85.0 * second as f64 / 36_000.0 + wave(second);
    let found = run(36_000, leak);
    assert!(!found[0].1.page());
    assert!(found.last().unwrap().1.horizon_s >= 900);
    assert!(found[0].0 > 24_000, "{}", found[0].0);
}

#[test]
fn garbage_collection_is_no_leak() {
    for period in [60, 130, 300, 600, 1200, 3000] {
        for top in [40.0, 70.0, 85.0] {
            let saw = |second: i64| {
                let tooth = (second % period) as f64 / period as f64;
                20.0 + (top - 20.0) * tooth + wave(second)
            };
            let found = run(6 * 3600, saw);
            assert!(
                found.is_empty(),
                "period {period} s, top {top}: {:?}",
                found[0]
            );
        }
    }
}

#[test]
fn what_stays_or_falls_or_steps_foretells_nothing() {
    assert!(run(8000, |_| 50.0).is_empty());
    assert!(run(8000, |second| 50.0 + 10.0 * wave(second)).is_empty());
    assert!(run(8000, |second| 90.0 - second as f64 / 100.0).is_empty());
    assert!(run(12_000, |second| if second < 6000 { 20.0 } else { 70.0 }).is_empty());
}

#[test]
fn a_start_that_fills_caches_is_no_leak() {
    let start = |second: i64| (second as f64 / 10.0).min(75.0) + wave(second);
    assert!(run(8000, start).is_empty());
}

#[test]
fn a_leak_after_a_leak_is_seen_again() {
    // It was full, the process was restarted, and it fills again.
    let again = |second: i64| ((second % 9000) - 7200).max(0) as f64 / 18.0 + 5.0;
    let second_time = run(18_000, again)
        .into_iter()
        .filter(|(when, it)| *when > 9600 && it.full_in.0 > 0);
    assert!(
        second_time.count() > 0,
        "yesterday's trouble excuses nothing"
    );
}

#[test]
fn wild_samples_move_nothing() {
    let leak = |second: i64| match second % 50 {
        0 => 0.0,
        _ => 20.0 + (second - 7200).max(0) as f64 * 60.0 / 1800.0,
    };
    let found = run(7200 + 1500, leak);
    assert!(!found.is_empty());
}

#[test]
fn words_are_short() {
    let soon = Forecast {
        full_in: Millis::seconds(370),
        horizon_s: 300,
    };
    assert_eq!(soon.words("threads"), "threads full in 6 min");
    assert!(soon.page());
    let late = Forecast {
        full_in: Millis::seconds(900),
        horizon_s: 900,
    };
    assert!(!late.page());
    let alert = late.alert(&"api".parse().unwrap(), "threads", at(0));
    assert_eq!(alert.labels["severity"], "warning");
}

#[test]
fn what_is_full_is_full() {
    let mut series = Series::default();
    assert_eq!(series.forecast(LIMIT), None);
    series.add(at(0), 100.0);
    assert_eq!(
        series.forecast(LIMIT).unwrap().words("threads"),
        "threads full"
    );
    assert_eq!(series.forecast(0.0), None);
    assert_eq!(series.forecast(f64::NAN), None);
}

proptest! {
    #[test]
    fn memory_is_bounded_and_nothing_breaks_it(
        samples in proptest::collection::vec((-100_i64..100_000, any::<f64>()), 0..300),
        limit in any::<f64>(),
    ) {
        let mut series = Series::default();
        for (second, value) in samples {
            series.add(at(second), value);
            prop_assert!(series.slots.iter().all(|slots| slots.len() <= SLOTS as usize));
            prop_assert!(series.peaks.len() <= PEAKS_MAX);
            series.forecast(limit);
        }
    }
}
