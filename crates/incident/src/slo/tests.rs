//! Budgets: when they burn, in words and as rules.

use proptest::prelude::*;

use super::*;

fn objective() -> Objective {
    Objective {
        name: "api_answers".to_owned(),
        service: "api".parse().unwrap(),
        target_ppm: 999_000,
        window_days: 30,
        good: "http_requests_total{service=\"api\",code!~\"5..\"}".to_owned(),
        total: "http_requests_total{service=\"api\"}".to_owned(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_768_000_000 + second).unwrap()
}

/// Requests each ten seconds up to an instant; `bad` says how many of the hundred fail.
fn served(seconds: i64, bad: impl Fn(i64) -> u64) -> Counters {
    let mut counters = Counters::new(&objective());
    for second in (0..seconds).step_by(10) {
        let good = 100 - bad(second);
        counters.add(at(second), Count { good, total: 100 });
    }
    counters
}

fn factor_at(seconds: i64, bad: impl Fn(i64) -> u64) -> Option<(u64, bool)> {
    let found = burn(&objective(), &served(seconds, bad), at(seconds - 1))?;
    Some((found.windows.factor_tenths, found.windows.page))
}

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

#[test]
fn each_pair_of_windows_tells_its_own_speed() {
    let since = |start: i64, bad: u64| move |second: i64| if second < start { 0 } else { bad };
    assert_eq!(factor_at(3 * DAY_S, |_| 0), None);
    assert_eq!(
        factor_at(3 * DAY_S, since(3 * DAY_S - HOUR_S, 2)),
        Some((144, true))
    );
    // 0.8 % for two of the six hours are not enough for 14.4, nor for 6.
    let per_mille = |parts: i64| move |second: i64| u64::from(second / 10 % 10 < parts);
    assert_eq!(factor_at(3 * DAY_S, per_mille(7)), Some((60, true)));
    assert_eq!(factor_at(3 * DAY_S, per_mille(4)), Some((30, false)));
    assert_eq!(factor_at(3 * DAY_S, per_mille(2)), Some((10, false)));
    let twentieth = |second: i64| u64::from(second / 10 % 20 == 0);
    assert_eq!(
        factor_at(3 * DAY_S, twentieth),
        None,
        "half of what is borne"
    );
}

#[test]
fn what_is_over_is_told_no_more() {
    let over = |second: i64| match second {
        second if second >= 2 * HOUR_S - 360 => 0,
        second if second >= HOUR_S => 50,
        _ => 0,
    };
    let counters = served(2 * HOUR_S, over);
    let found = burn(&objective(), &counters, at(2 * HOUR_S - 1)).unwrap();
    assert_eq!(
        found.windows.long,
        6 * HOUR,
        "five minutes without errors end the fast one"
    );
}

#[test]
fn a_handful_of_requests_is_no_outage() {
    let mut counters = Counters::new(&objective());
    counters.add(at(0), Count { good: 0, total: 9 });
    assert_eq!(burn(&objective(), &counters, at(1)), None);
    counters.add(
        at(1),
        Count {
            good: 90,
            total: 90,
        },
    );
    assert_eq!(burn(&objective(), &counters, at(2)), None, "99 requests");
    counters.add(at(2), Count { good: 0, total: 1 });
    assert!(
        burn(&objective(), &counters, at(3)).is_some(),
        "100, and 10 of them bad"
    );
}

#[test]
fn it_is_said_in_words() {
    let counters = served(2 * HOUR_S, |second| if second >= HOUR_S { 2 } else { 0 });
    let found = burn(&objective(), &counters, at(2 * HOUR_S - 1)).unwrap();
    let words = "2 % of requests fail, 0.1 % are borne (20.0 times too many): \
                 the month's budget is gone in 35 hours";
    assert_eq!(found.words, words);
    let alert = found.alert(&objective(), at(0));
    assert_eq!(alert.labels["severity"], "error");
    assert_eq!(alert.annotations["summary"], words);
    let all = served(30 * DAY_S, |_| 50);
    let found = burn(&objective(), &all, at(30 * DAY_S - 1)).unwrap();
    assert!(
        found.words.ends_with("the month's budget is gone"),
        "{}",
        found.words
    );
}

#[test]
fn the_budget_of_a_day_old_counter_is_that_of_the_whole_window() {
    let counters = served(3 * DAY_S, |second| u64::from(second / 10 % 10 == 0));
    let left = counters.left_permille(&objective(), at(3 * DAY_S));
    assert_eq!(
        left, 900,
        "three days at just what is borne use a tenth of thirty"
    );
}

#[test]
fn rules_for_prometheus_are_kept() {
    let kept = expect_test::expect_file!["tests/rules.yml"];
    kept.assert_eq(&rules::rules(&[objective()]));
    assert_eq!(rules::rules(&[]), "groups: []\n");
}

proptest! {
    #[test]
    fn a_ring_counts_what_a_list_counts(
        jumps in proptest::collection::vec((-400_i64..4000, 0_u64..50, 0_u64..50), 1..60),
        window in 1_u64..120,
    ) {
        let mut ring = Ring::new(30, 3600);
        let mut list: Vec<(u64, Count)> = Vec::new();
        let (mut now, mut head) = (0_i64, 0);
        for (jump, good, bad) in jumps {
            now = (now + jump).max(0);
            let count = Count { good, total: good + bad };
            let step = at(now).as_second() as u64 / 30;
            head = head.max(step);
            ring.add(at(now), count);
            if head - step < 120 {
                list.push((step, count));
            }
        }
        let last = at(now).as_second() as u64 / 30;
        let inside = list.iter().filter(|(step, _)| {
            *step <= last && last - step < window && head - step < 120
        });
        let expected = inside.fold(Count::default(), |sum, (_, it)| Count {
            good: sum.good + it.good,
            total: sum.total + it.total,
        });
        prop_assert_eq!(ring.sum(window * 30, at(now)), expected);
    }
}
