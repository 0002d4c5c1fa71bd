//! Counting, outages, restoration.

use super::*;

fn report(bins: &[(u64, u64, u64)]) -> LoadReport {
    let mut recorder = Recorder::new(Instant::now(), Timestamp::UNIX_EPOCH, 1);
    recorder.bins = bins
        .iter()
        .map(|&(sent, ok, failed)| Bin {
            tally: Tally { sent, ok, failed },
            ..Bin::default()
        })
        .collect();
    recorder.report()
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

fn permille(value: u16) -> Permille {
    Permille::new(value).unwrap()
}

#[test]
fn outages_are_runs_of_failing_bins() {
    let report = report(&[
        (10, 10, 0),
        (10, 0, 10),
        (10, 9, 1),
        (10, 1, 9),
        (0, 0, 0),
        (10, 0, 10),
        (10, 10, 0),
        (10, 0, 0),
    ]);
    let outage = report.longest_outage(permille(900));
    assert_eq!(outage, Some((at(300), Duration::from_millis(300))));
    let outage = report.longest_outage(permille(100));
    assert_eq!(outage, Some((at(100), Duration::from_millis(500))));
    assert_eq!(report.restored_at(permille(900)), Some(at(600)));
    assert_eq!(report.between(at(100), at(300)).sent, 20);
    assert_eq!(report.share_failed_between(at(100), at(300)), permille(550));
    assert_eq!(
        report.share_failed_between(at(700), at(800)),
        Permille::NONE
    );
}

#[test]
fn no_failure_is_no_outage_even_at_zero() {
    let report = report(&[(1, 1, 0), (1, 1, 0)]);
    assert_eq!(report.longest_outage(Permille::NONE), None);
    assert_eq!(report.restored_at(Permille::NONE), None);
}

#[test]
fn an_outage_that_lasts_is_not_restored() {
    let report = report(&[(1, 0, 1), (1, 1, 0), (1, 0, 1)]);
    assert_eq!(report.restored_at(Permille::ALL), None);
}

#[test]
fn old_bins_are_forgotten_but_counted() {
    let start = Instant::now() - Duration::from_secs(100_000);
    let mut recorder = Recorder::new(start, Timestamp::UNIX_EPOCH, 1);
    let last = start + BIN * 72_004;
    recorder.sent(start, 0, false);
    recorder.sent(last, 0, false);
    recorder.done(start, 0, Err(Failure::Other));
    recorder.done(last, 0, Ok(()));
    let report = recorder.report();
    assert_eq!(report.bins.len(), BINS_MAX);
    assert_eq!(report.bins_from, at(500));
    assert_eq!(report.bins.last().map(|bin| bin.tally.ok), Some(1));
    let whole = Tally {
        sent: 2,
        ok: 1,
        failed: 1,
    };
    assert_eq!((report.total, report.tenants[0]), (whole, whole));
}

#[test]
fn latency_classes_hold_what_is_put_in() {
    for us in (0..5000).chain([1 << 20, (1 << 30) + 12_345]) {
        let end = latency_class_end(latency_class(us));
        assert!(end >= us && end - us <= us / 8, "{us} in a class to {end}");
        assert!(latency_class(end) == latency_class(us), "{us}");
        assert!(latency_class(end + 1) == latency_class(us) + 1, "{us}");
    }
    assert_eq!(latency_class(u64::MAX), LATENCY_CLASSES - 1);
}
