//! A verdict computed again from its recorded seconds.
//!
//! Invariant: a record is read only when its bytes have the digest that the journal names.

use jiff::Timestamp;
use model::judged::Interval;
use model::{Digest, Explanation, Metric};
use serde::Serialize;
use wire::Client;

use crate::output::Failure;

/// A record is one release's seconds in one environment: some hours of every stratum and host
/// fit many times over.
const RECORD_BYTES_MAX: usize = 256 << 20;

/// What is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// Which number.
    pub(crate) what: &'static str,
    /// As the journal has it.
    pub(crate) journal: String,
    /// As it was computed again.
    pub(crate) replayed: String,
}

/// The record's bytes from the control plane.
pub(crate) async fn fetch(client: &Client, digest: Digest) -> Result<Vec<u8>, Failure> {
    let mut answer = client.blob_from(digest, 0).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(Failure::caused)? {
        if bytes.len() + chunk.len() > RECORD_BYTES_MAX {
            let message = format!("the record {digest} has more than {RECORD_BYTES_MAX} bytes");
            return Err(Failure::broken(message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The record, if the bytes are those that the journal names.
pub(crate) fn read(digest: Digest, bytes: &[u8]) -> Result<judge::Record, Failure> {
    let found = Digest::of(bytes);
    if found != digest {
        return Err(Failure::broken(format!(
            "the record is another than the verdict's: {found}, not {digest}"
        ))
        .next("The control plane's blobs were changed; `plimsoll audit verify` holds the rest against one key."));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::broken(format!("the record {digest} can't be read: {error}"))
            .next("Was it written by a newer version? Use that one's `plimsoll`.")
    })
}

/// When things were in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Times {
    /// The first second in which the new bundle had requests.
    pub(crate) served: Option<Second>,
    /// The second with which harm was shown first.
    pub(crate) shown: Option<Second>,
}

/// One second of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Second {
    /// Counted from the record's first.
    pub(crate) at: u64,
    /// When it was over; absent in records of before this was kept.
    pub(crate) over: Option<Timestamp>,
}

/// When the new bundle got requests, and when they were enough to show harm.
pub(crate) fn times(record: &judge::Record) -> Times {
    let second = |at: u64| {
        let over = record.first.and_then(|first| {
            let ends = first.checked_add_unsigned(at)?.checked_add(1)?;
            Timestamp::from_second(ends).ok()
        });
        Second { at, over }
    };
    Times {
        served: record.served().map(second),
        shown: record.shown().map(second),
    }
}

/// What the journal says and the recorded seconds don't; nothing when both say the same.
pub(crate) fn differences(journal: &Explanation, record: &judge::Record) -> Vec<Difference> {
    let again = &record.replay();
    let mut found = evidence(journal, again);
    found.extend(counts(journal, again));
    if let Some(told) = &journal.ratio {
        let replayed = again.ratio.as_ref().map(interval);
        let replayed = replayed.map_or_else(|| "nothing".to_owned(), |it| bounds(&it));
        found.extend(differ("ratio", bounds(told), replayed));
    }
    let name = |names: &[String], number: Option<u8>| {
        let name = number.and_then(|number| names.get(usize::from(number)));
        name.cloned().unwrap_or_else(|| "none".to_owned())
    };
    // The journal names them only where there is more than one.
    if let Some(told) = &journal.stratum {
        let replayed = name(&record.strata, again.stratum);
        found.extend(differ("stratum", told.clone(), replayed));
    }
    if let Some(told) = &journal.suspect {
        let replayed = name(&record.hosts, again.suspect);
        found.extend(differ("suspect", told.to_string(), replayed));
    }
    found
}

fn differ(what: &'static str, journal: String, replayed: String) -> Option<Difference> {
    (journal != replayed).then_some(Difference {
        what,
        journal,
        replayed,
    })
}

/// For harm and for passing, altogether and by metric.
fn evidence(journal: &Explanation, again: &judge::Standing) -> Vec<Difference> {
    let nats = |millinats: i64| format!("{millinats} thousandths of a nat");
    let whole = [
        ("harm", journal.harm_millinats, again.harm),
        (
            "harm needed",
            journal.harm_needed_millinats,
            again.harm_needed,
        ),
        ("pass", journal.pass_millinats, again.pass),
        (
            "pass needed",
            journal.pass_needed_millinats,
            again.pass_needed,
        ),
    ];
    let whole = whole
        .into_iter()
        .filter_map(|(what, told, replayed)| differ(what, nats(told), nats(thousandths(replayed))));
    let of_metric =
        |harm: i64, dispersion: u64| format!("{} at dispersion {dispersion}", nats(harm));
    let metrics = journal.metrics.iter().filter_map(|it| {
        let same = |other: &&judge::MetricStanding| other.metric == it.metric;
        let replayed = again.metrics.iter().find(same).map(|other| {
            let dispersion = thousandths(other.dispersion).unsigned_abs();
            of_metric(thousandths(other.harm), dispersion)
        });
        let replayed = replayed.unwrap_or_else(|| "nothing".to_owned());
        let told = of_metric(it.millinats, it.dispersion_permille);
        differ(metric(it.metric), told, replayed)
    });
    whole.chain(metrics).collect()
}

fn counts(journal: &Explanation, again: &judge::Standing) -> Vec<Difference> {
    let words = |failed: u64, requests: u64| format!("{failed} of {requests} failed");
    let sides = [
        ("new bundle", journal.canary, again.canary),
        ("old bundle", journal.control, again.control),
    ];
    let sides = sides.into_iter().filter_map(|(what, told, replayed)| {
        let told = words(told.failed, told.requests);
        differ(what, told, words(replayed.e, replayed.n))
    });
    sides.collect()
}

/// As the journal has it: bounds rounded outwards, so that they go on to hold.
fn interval(ratio: &judge::judge::Ratio) -> Interval {
    let whole = |value: f64| (value * 1000.0) as u64;
    let estimate = ratio.estimate.filter(|it| it.is_finite());
    let high = ratio.high.is_finite().then_some(ratio.high);
    Interval {
        estimate: estimate.map(|it| thousandths(it).unsigned_abs()),
        low: whole(ratio.low),
        high: high.map(|high| whole(high).saturating_add(1)),
    }
}

fn bounds(interval: &Interval) -> String {
    let text = |value: Option<u64>| value.map_or_else(|| "none".to_owned(), |it| it.to_string());
    let Interval {
        estimate,
        low,
        high,
    } = *interval;
    format!("{} ({low} to {}) thousandths", text(estimate), text(high))
}

/// As the journal has numbers: in thousandths, rounded, the largest for what is infinite.
fn thousandths(value: f64) -> i64 {
    (value * 1000.0).round() as i64
}

fn metric(metric: Metric) -> &'static str {
    match metric {
        Metric::Errors => "errors",
        Metric::Latency => "latency",
        Metric::Crashes => "crashes",
        Metric::Heartbeats => "heartbeats",
        Metric::Saturation => "saturation",
        Metric::Custom => "events",
    }
}

#[cfg(test)]
mod tests {
    use judge::tick::{StratumTick, Sums, Tick};
    use model::BundleCounts;
    use model::judged::MetricEvidence;

    use super::*;

    fn record() -> judge::Record {
        let tick = |at: u64| Tick {
            at,
            strata: (0..2)
                .map(|stratum| StratumTick {
                    stratum,
                    canary: Sums {
                        n: 10,
                        e: at % 3 * u64::from(1 - stratum),
                    },
                    control: Sums { n: 190, e: 2 },
                    ..StratumTick::default()
                })
                .collect(),
            ..Tick::default()
        };
        judge::Record {
            settings: judge::Settings::default(),
            history: judge::History::default(),
            first: Some(1_800_000_000),
            ticks: (0..40).map(tick).collect(),
            waves: vec![0, 20],
            strata: vec!["read".into(), "write".into()],
            hosts: Vec::new(),
        }
    }

    fn told(standing: &judge::Standing) -> Explanation {
        let counts = |sums: Sums| BundleCounts {
            requests: sums.n,
            failed: sums.e,
        };
        Explanation {
            harm_millinats: thousandths(standing.harm),
            harm_needed_millinats: thousandths(standing.harm_needed),
            pass_millinats: thousandths(standing.pass),
            pass_needed_millinats: thousandths(standing.pass_needed),
            ratio: standing.ratio.as_ref().map(interval),
            stratum: Some("read".into()),
            canary: counts(standing.canary),
            control: counts(standing.control),
            metrics: standing
                .metrics
                .iter()
                .map(|it| MetricEvidence {
                    metric: it.metric,
                    millinats: thousandths(it.harm),
                    dispersion_permille: thousandths(it.dispersion).unsigned_abs(),
                })
                .collect(),
            ..Explanation::default()
        }
    }

    /// Written, stored, read and replayed it gives the same numbers, to the last bit.
    #[test]
    fn a_record_gives_the_same_verdict_again() {
        let record = record();
        let bytes = serde_json::to_vec(&record).unwrap();
        let read = read(Digest::of(&bytes), &bytes).unwrap();
        assert_eq!(read, record);
        let (first, again) = (record.replay(), read.replay());
        assert_eq!(first.harm.to_bits(), again.harm.to_bits());
        assert_eq!(first.pass.to_bits(), again.pass.to_bits());
        assert_eq!(differences(&told(&first), &read), []);
    }

    #[test]
    fn a_changed_second_is_found() {
        let mut changed = record();
        changed.ticks[7].strata[0].canary.e = 9;
        let found = differences(&told(&record().replay()), &changed);
        let what: Vec<&str> = found.iter().map(|it| it.what).collect();
        assert!(what.contains(&"new bundle"), "{found:?}");
        assert!(what.contains(&"harm"), "{found:?}");
    }

    #[test]
    fn seconds_are_placed_on_the_clock() {
        let mut record = record();
        for tick in &mut record.ticks {
            tick.strata[0].canary.e = 0;
        }
        let served = times(&record).served.unwrap();
        assert_eq!(served.at, 0);
        assert_eq!(served.over.unwrap().as_second(), 1_800_000_001);
        assert_eq!(times(&record).shown, None);
        record.ticks[30].strata[0].canary.e = 10;
        let shown = times(&record).shown.unwrap();
        assert_eq!(shown.at, 30);
        assert_eq!(shown.over.unwrap().as_second(), 1_800_000_031);
        record.first = None;
        assert_eq!(times(&record).shown.unwrap().over, None);
    }

    #[test]
    fn other_bytes_are_not_read() {
        let bytes = serde_json::to_vec(&record()).unwrap();
        let failure = read(Digest::of(b"another"), &bytes).unwrap_err();
        assert!(failure.words().contains("another than the verdict's"));
    }
}
