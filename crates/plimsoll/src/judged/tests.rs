//! Verdicts as people see them.

use expect_test::{Expect, expect};
use model::Millis;
use model::Rule;
use model::judged::MetricEvidence;

use super::*;

fn interval(estimate: Option<u64>, low: u64, high: Option<u64>) -> Interval {
    Interval {
        estimate,
        low,
        high,
    }
}

/// A regression from 1 % to 5 % as it is found: 20 seconds are quiet, then 9 tell.
fn failing() -> VerdictView {
    let course = (0..29)
        .map(|second| {
            let since = (second as i64 - 19).max(0);
            Point {
                second,
                harm: since * 790 - 200,
                pass: (second as i64 * 60) - since * 200,
                requests: 10,
                failed: u64::from(since > 0) * (1 + second % 2),
            }
        })
        .collect();
    VerdictView {
        release: 12,
        service: "api".parse().unwrap(),
        environment: Some("production".parse().unwrap()),
        wave: 2,
        waves: 4,
        live: false,
        verdict: "fail".into(),
        rule: Some(Rule::Errors),
        reason: "14 of 290 requests failed (4.8 %), 1 % on the old bundle".into(),
        explanation: Some(Explanation {
            metric: Some(Metric::Errors),
            stratum: Some("write in zone b".into()),
            suspect: Some("web-b1".parse().unwrap()),
            canary: BundleCounts {
                requests: 290,
                failed: 14,
            },
            control: BundleCounts {
                requests: 22_911,
                failed: 229,
            },
            ratio: Some(interval(Some(4_830), 1_990, Some(12_010))),
            metrics: vec![
                MetricEvidence {
                    metric: Metric::Errors,
                    millinats: 7_960,
                    dispersion_permille: 1_320,
                },
                MetricEvidence {
                    metric: Metric::Latency,
                    millinats: -140,
                    dispersion_permille: 1000,
                },
            ],
            harm_millinats: 6_919,
            harm_needed_millinats: 6_908,
            pass_millinats: -90,
            pass_needed_millinats: 2_996,
            course,
            began_before: Some(Millis::seconds(9)),
            ticks_late: 1,
            ticks_missing: 3,
            warnings: vec!["memory of web-b1 is full in 14 min at its present slope".into()],
            record: Some(model::Digest::of(b"record")),
            ..Explanation::default()
        }),
    }
}

fn check(view: &VerdictView, width: Option<usize>, expected: Expect) {
    let look = Look {
        width,
        colour: false,
    };
    let lines = lines(view, look);
    for line in &lines {
        let fits = width.is_none_or(|width| line.chars().count() <= width.max(60));
        assert!(fits, "{line}");
        assert_eq!(line.trim_end(), line);
    }
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn harm_with_everything_that_is_known() {
    check(
        &failing(),
        Some(60),
        expect![[r#"
            release 12 of api, production 2/4
            FAIL             errors: 14 of 290 requests failed (4.8
                             %), 1 % on the old bundle
            new bundle       290 requests, 14 failed (4.8 %)
            old bundle       22911 requests, 229 failed (1 %)
            errors           4.8 times as often, 1.9 to 13 times
            carried by       errors of write in zone b
            suspect          web-b1: without it the evidence would be
                             weakest
            began            about 9 s before the verdict
            warning          memory of web-b1 is full in 14 min at its
                             present slope
            left out         1 second came too late and were left out,
                             3 seconds of which nothing is known
            record           `plimsoll verdict 12 --replay` computes
                             it again

            second 0 to 28
            failing  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▄█▆▄█▄▆  at most 20 %
            harm     ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▂▃▄▅▆█  6.9, goes back at 6.9
            pass     ▁▁▁▁▁▁▁▂▂▂▂▂▂▃▃▃▃▃▃▂▂▁▁▁  0.0, passes at 3.0

            metric         harm  dispersion
            errors          7.9  1.3
            latency        -0.1
        "#]],
    );
    check(
        &failing(),
        Some(100),
        expect![[r#"
            release 12 of api, production 2/4
            FAIL             errors: 14 of 290 requests failed (4.8 %), 1 % on the old bundle
            new bundle       290 requests, 14 failed (4.8 %)
            old bundle       22911 requests, 229 failed (1 %)
            errors           4.8 times as often, 1.9 to 13 times
            carried by       errors of write in zone b
            suspect          web-b1: without it the evidence would be weakest
            began            about 9 s before the verdict
            warning          memory of web-b1 is full in 14 min at its present slope
            left out         1 second came too late and were left out, 3 seconds of which nothing is known
            record           `plimsoll verdict 12 --replay` computes it again

            second 0 to 28
            failing  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▄█▆▄█▄▆  at most 20 %
            harm     ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▂▃▄▅▆█  6.9, goes back at 6.9
            pass     ▁▁▁▁▁▁▁▂▂▂▂▂▂▃▃▃▃▃▃▂▂▁▁▁  0.0, passes at 3.0

            metric         harm  dispersion
            errors          7.9  1.3
            latency        -0.1
        "#]],
    );
    expect!["harm 6.9 of 6.9, pass 0.0 of 3.0; errors 4.8 times as often, 1.9 to 13 times"]
        .assert_eq(&line(&failing()).unwrap());
}

#[test]
fn a_wave_that_waits() {
    let mut view = failing();
    view.live = true;
    view.verdict = "insufficient".into();
    view.rule = None;
    view.reason = "needs about 1400 more requests on the new bundle".into();
    view.explanation = Some(Explanation {
        needs: "about 1400 more requests on the new bundle".into(),
        canary: BundleCounts {
            requests: 600,
            failed: 0,
        },
        control: BundleCounts {
            requests: 11_000,
            failed: 3,
        },
        ratio: Some(interval(Some(0), 0, Some(8_020))),
        harm_millinats: -12,
        harm_needed_millinats: 6_908,
        pass_millinats: 2_999,
        pass_needed_millinats: 3_000,
        metrics: vec![MetricEvidence {
            metric: Metric::Errors,
            millinats: -12,
            dispersion_permille: 1000,
        }],
        ..Explanation::default()
    });
    check(
        &view,
        Some(60),
        expect![[r#"
            release 12 of api, production 2/4, judged now
            insufficient     needs about 1400 more requests on the new
                             bundle
            new bundle       600 requests, 0 failed (0 %)
            old bundle       11000 requests, 3 failed (0.027 %)
            errors           never on the new bundle; at most 8.1
                             times as often

            metric         harm
            errors          0.0
        "#]],
    );
    expect!["harm 0.0 of 6.9, pass 2.9 of 3.0; errors never on the new bundle; at most 8.1 times as often"]
        .assert_eq(&line(&view).unwrap());
}

#[test]
fn nothing_counted_and_nowhere_yet() {
    let view = VerdictView {
        environment: None,
        wave: 0,
        waves: 0,
        live: true,
        verdict: "insufficient".into(),
        rule: None,
        reason: "it has entered no environment yet".into(),
        explanation: None,
        ..failing()
    };
    check(
        &view,
        Some(60),
        expect![[r#"
            release 12 of api, judged now
            insufficient     it has entered no environment yet
                             (nothing was counted)
        "#]],
    );
    assert_eq!(line(&view), None);
}

#[test]
fn a_pass_that_the_plan_gave() {
    let mut view = failing();
    view.verdict = "pass".into();
    view.rule = None;
    view.reason = String::new();
    view.explanation = Some(Explanation {
        undecided: true,
        ..Explanation::default()
    });
    check(
        &view,
        Some(60),
        expect![[r#"
        release 12 of api, production 2/4
        pass
        new bundle       no requests
        old bundle       no requests
        undecided        passed without enough evidence, as the
                         plan says (undecided = "advance")
    "#]],
    );
}

#[test]
fn ratios_in_words() {
    let words: Vec<String> = [
        interval(Some(14_200), 5_000, None),
        interval(Some(4_830), 1_990, Some(12_010)),
        interval(Some(1_000), 400, Some(3_010)),
        interval(Some(0), 0, Some(2_100)),
        interval(None, 5_200, None),
        interval(None, 0, None),
        interval(Some(950), 0, None),
        interval(Some(120_400), 11_999, Some(u64::MAX / 2)),
        interval(Some(10), 99, Some(1)),
    ]
    .iter()
    .map(ratio_words)
    .collect();
    expect![[r#"
        14 times as often, at least 5 times
        4.8 times as often, 1.9 to 13 times
        as often, 0.4 to 3.1 times
        never on the new bundle; at most 2.1 times as often
        never on the old bundle where both are compared: at least 5.2 times as often
        nothing can be said of how often yet
        as often
        120 times as often, at least 11 times
        under 0.1 times as often, at most 0.1 times
    "#]]
    .assert_eq(&(words.join("\n") + "\n"));
}

#[test]
fn shares_have_two_digits_that_count() {
    let shares = [
        (0, 9),
        (1, 3),
        (1, 1),
        (51, 1000),
        (1, 1000),
        (3, 22_911),
        (1, 10_000_000),
    ];
    let words: Vec<String> = shares.iter().map(|(a, b)| share(*a, *b)).collect();
    expect!["0 %, 33 %, 100 %, 5.1 %, 0.1 %, 0.013 %, under 0.0001 %"].assert_eq(&words.join(", "));
}
