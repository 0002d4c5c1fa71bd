//! The drill of the `api-infrastructure` report: a configuration that names a
//! wrong authentication address, a client library that waits for ever.
//!
//! The fault is real: at the wrong address connections are taken and nobody
//! ever answers, so each request costs the API server one blocked thread until
//! none is left. Recorded: change 7:52 pm, outage and page 8:04, first rollback
//! failed 8:37, rolled back 9:01, servers running 9:06, all traffic back 9:41.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use model::{Event, Permille, ReleaseId, RollbackCause, Verdict};
use wire::api::{JournalRecord, ReleaseView};

use crate::load::{Load, LoadConfig, LoadHandle, LoadReport, Spread};
use crate::outcome::{Check, Moment, Outcome, Requests, Tenants, from_journal, seconds_between};
use crate::world::{Place, Shape, World};

/// The drill's name.
pub const NAME: &str = "api-infrastructure";
/// What the report recorded, beside our own rows of the same name.
pub const RECORDED: &[(&str, &str)] = &[
    ("requests failed", "100 %"),
    ("customers hit", "all"),
    ("production hosts touched", "all"),
    ("longest time with 95 % failing", "57 to 97 min"),
    ("stopped by", "people"),
    ("first failure to decision", "33 min, refused"),
    ("decision to every host back", "24 min"),
    ("first failure to last", "97 min"),
];

/// Requests each second.
pub const RATE_PER_S: u32 = 300;
/// Customers.
pub const TENANTS: u32 = 1000;
/// Traffic before the change, to have something to compare with.
const BEFORE: Duration = Duration::from_secs(3);
/// Traffic after the end, to see that service really is restored.
const AFTER: Duration = Duration::from_secs(4);
/// How long the unguarded outage is let be before people find it.
const OUTAGE: Duration = Duration::from_secs(14);
/// A tenth of a second in which this share of requests fails counts as outage.
pub const OUTAGE_SHARE: Permille = match Permille::new(950) {
    Some(share) => share,
    None => Permille::ALL,
};

/// Customers' traffic through the gateway.
///
/// # Errors
/// When the load can't be set up.
pub fn customers(world: &World) -> Result<LoadHandle> {
    let config = LoadConfig {
        rate_per_s: RATE_PER_S,
        tenants: TENANTS,
        spread: Spread::Uniform,
        timeout: Duration::from_secs(4),
        ..LoadConfig::new(world.url())
    };
    Load::start(config).context("customers' traffic")
}

/// Runs it. `tell` hears what happens.
///
/// # Errors
/// When the fleet can't be started, or a part of it can't be asked.
pub async fn run(folder: &Path, guarded: bool, tell: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let shape = Shape {
        watchdog: !guarded,
        ..Shape::default()
    };
    let world = World::start(folder, shape, tell).await?;
    let outcome = if guarded {
        contained(&world, tell).await
    } else {
        outage(&world, tell).await
    };
    world.stop().await;
    outcome
}

async fn contained(world: &World, tell: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let load = customers(world)?;
    tokio::time::sleep(BEFORE).await;
    tell("pushing the change through test, waves and verdicts");
    let changed_at = Timestamp::now();
    world.write_config("2", world.blackhole)?;
    let pushed = world
        .push("authentication moves to its new address")
        .await?;
    tokio::time::sleep(AFTER).await;
    let report = load.stop().await;
    let last = pushed
        .stdout
        .split(|byte| *byte == b'\n')
        .rfind(|line| !line.is_empty());
    let last = last.with_context(|| {
        format!(
            "plimsoll push said nothing; {}",
            String::from_utf8_lossy(&pushed.stderr)
        )
    })?;
    let release: ReleaseView = serde_json::from_slice(last)
        .with_context(|| format!("plimsoll push said {}", String::from_utf8_lossy(last)))?;
    let records: Vec<JournalRecord> = world.client.get("/v1/journal?limit=1000").await?;
    Ok(guarded_outcome(&report, &release, &records, changed_at))
}

fn guarded_outcome(
    report: &LoadReport,
    release: &ReleaseView,
    records: &[JournalRecord],
    changed_at: Timestamp,
) -> Outcome {
    let first_failed = report.first_failed_at;
    let decided = decision(records, release.id);
    let back = records.iter().find_map(|record| match &record.event {
        Event::RollbackCompleted { release: id, .. } if *id == release.id => Some(record.at),
        _ => None,
    });
    let since_first = |at: Timestamp| first_failed.map(|first| seconds_between(first, at));
    let span = |at: Option<Timestamp>| at.and_then(since_first);
    let decided_at = decided.as_ref().map(|(at, _)| *at);
    let rollback_s = decided_at
        .zip(back)
        .map(|(from, to)| seconds_between(from, to));
    let mut timeline = from_journal(records, release.id);
    mark_failures(&mut timeline, report);
    timeline.retain(|moment| moment.at >= changed_at);
    let (total, failed) = (report.total.sent, report.total.failed);
    let (tenants, hit) = (report.tenants.len() as u64, report.tenants_hit() as u64);
    let touched = release.exposure.hosts;
    let checks = guarded_checks(report, touched, back.is_some(), span(back));
    Outcome {
        drill: NAME.into(),
        mode: "guarded",
        requests: Requests { total, failed },
        tenants: Tenants {
            total: tenants,
            hit,
        },
        hosts_touched: touched,
        hosts: release.exposure.hosts_total,
        stopped_by: decided.map(|(_, by)| by),
        detect_s: span(decided_at),
        rollback_s,
        restored_s: span(report.last_failed_at),
        outage_s: outage_s(report),
        timeline,
        passed: checks.iter().all(|check| check.ok),
        checks,
    }
}

/// `back`: every host is back; `back_after`: so many seconds after the first failure.
fn guarded_checks(
    report: &LoadReport,
    touched: u32,
    back: bool,
    back_after: Option<f64>,
) -> Vec<Check> {
    let (total, failed) = (report.total.sent, report.total.failed);
    let (tenants, hit) = (report.tenants.len() as u64, report.tenants_hit() as u64);
    let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    let (requests_share, tenants_share) = (share(failed, total), share(hit, tenants));
    vec![
        Check::new(
            "at most 1 production host touched",
            touched.to_string(),
            touched <= 1,
        ),
        Check::new(
            "at most 1.5 % of requests failed",
            format!("{requests_share:.2} %"),
            requests_share <= 1.5,
        ),
        Check::new(
            "at most 2 % of customers hit",
            format!("{tenants_share:.2} %"),
            tenants_share <= 2.0,
        ),
        Check::new(
            "rolled back within 10 s of the first failed request",
            back_after.map_or_else(|| "no request failed".into(), |s| format!("{s:.1} s")),
            back && back_after.unwrap_or(0.0) <= 10.0,
        ),
        Check::new(
            "service restored",
            format!(
                "{} of the last {} s failed",
                tail(report).failed_permille(),
                AFTER.as_secs() - 2
            ),
            tail(report).failed == 0,
        ),
    ]
}

/// When the way back was decided, and by what.
fn decision(records: &[JournalRecord], release: ReleaseId) -> Option<(Timestamp, String)> {
    records.iter().find_map(|record| match &record.event {
        Event::RollbackStarted {
            release: id, cause, ..
        } if *id == release => {
            let by = match cause {
                RollbackCause::Verdict {
                    verdict: Verdict::Fail { rule, .. },
                } => {
                    format!("waves and judge ({rule})")
                }
                RollbackCause::Verdict { .. } => "judge".into(),
                RollbackCause::Person { .. } => "a person".into(),
            };
            Some((record.at, by))
        }
        _ => None,
    })
}

async fn outage(world: &World, tell: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let mut timeline = Vec::new();
    let mut note = |tell: &mut dyn FnMut(&str), event: String| {
        tell(&event);
        timeline.push(Moment {
            at: Timestamp::now(),
            event,
        });
    };
    let load = customers(world)?;
    tokio::time::sleep(BEFORE).await;
    let hosts: Vec<Place> = world.production().cloned().collect();
    note(
        tell,
        format!(
            "the change goes straight to all {} production hosts",
            hosts.len()
        ),
    );
    world.write_config("2", world.blackhole)?;
    world.push_directly(&hosts).await?;
    tokio::time::sleep(OUTAGE).await;
    let (starts, exits) = restarts(&hosts);
    let (busy, threads) = threads(&hosts).await;
    note(
        tell,
        format!("{busy} of {threads} serving threads wait for an answer that never comes"),
    );
    note(
        tell,
        format!("servers hang and are restarted in a loop: {exits} forced restarts so far"),
    );
    let decided_at = Timestamp::now();
    note(tell, "people take the change back, host by host".into());
    let quarter = hosts.len().div_ceil(4);
    take_back(world, &hosts[..quarter]).await?;
    note(
        tell,
        format!(
            "{quarter} of {} servers run the old configuration again",
            hosts.len()
        ),
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    take_back(world, &hosts[quarter..]).await?;
    let back_at = Timestamp::now();
    note(tell, "all servers run the old configuration again".into());
    tokio::time::sleep(AFTER + Duration::from_secs(4)).await;
    let report = load.stop().await;
    let seen = Mechanism {
        busy,
        threads,
        starts,
        exits,
    };
    Ok(unguarded_outcome(
        &report,
        &seen,
        hosts.len(),
        (decided_at, back_at),
        timeline,
    ))
}

/// `way_back`: when it was decided, and when every host was back.
fn unguarded_outcome(
    report: &LoadReport,
    seen: &Mechanism,
    hosts: usize,
    way_back: (Timestamp, Timestamp),
    mut timeline: Vec<Moment>,
) -> Outcome {
    mark_failures(&mut timeline, report);
    let (total, failed) = (report.total.sent, report.total.failed);
    let outage = outage_s(report);
    let checks = unguarded_checks(report, seen, hosts);
    let first = report.first_failed_at;
    let since = |at| first.map(|first| seconds_between(first, at));
    let count = u32::try_from(hosts).unwrap_or(u32::MAX);
    Outcome {
        drill: NAME.into(),
        mode: "unguarded",
        requests: Requests { total, failed },
        tenants: Tenants {
            total: report.tenants.len() as u64,
            hit: report.tenants_hit() as u64,
        },
        hosts_touched: count,
        hosts: count,
        stopped_by: None,
        detect_s: since(way_back.0),
        rollback_s: Some(seconds_between(way_back.0, way_back.1)),
        restored_s: report.last_failed_at.and_then(since),
        outage_s: outage,
        timeline,
        passed: checks.iter().all(|check| check.ok),
        checks,
    }
}

async fn take_back(world: &World, hosts: &[Place]) -> Result<()> {
    world.write_config("1", world.auth)?;
    world.push_directly(hosts).await
}

/// What the outage was made of.
struct Mechanism {
    busy: u64,
    threads: u64,
    starts: u64,
    exits: u64,
}

fn unguarded_checks(report: &LoadReport, seen: &Mechanism, hosts: usize) -> Vec<Check> {
    let Mechanism {
        busy,
        threads,
        starts,
        exits,
    } = *seen;
    let outage = outage_s(report);
    let hang = format!("{exits} forced restarts of {hosts} servers, {starts} starts");
    vec![
        Check::new(
            "at least 95 % of requests fail for at least 10 s",
            format!("{outage:.1} s"),
            outage >= 10.0,
        ),
        Check::new(
            "servers hang and restart in a loop",
            hang,
            exits as usize >= hosts,
        ),
        Check::new(
            "by the real mechanism: every serving thread is consumed",
            format!("{busy} of {threads} threads waited for ever"),
            threads > 0 && busy == threads,
        ),
        Check::new(
            "service restored",
            tail(report).failed_permille().to_string(),
            tail(report).failed == 0,
        ),
    ]
}

/// How many serving threads all servers have, and how many of them were taken
/// at once: the most in two seconds, because a server that was just restarted
/// loses its threads one by one.
async fn threads(hosts: &[Place]) -> (u64, u64) {
    const LOOKS: usize = 10;
    let mut most = vec![(0, 0); hosts.len()];
    for _ in 0..LOOKS {
        for (place, most) in hosts.iter().zip(&mut most) {
            let url = format!("http://{}/stats", place.stats);
            let stats = async {
                reqwest::get(url)
                    .await
                    .ok()?
                    .json::<serde_json::Value>()
                    .await
                    .ok()
            };
            let stats = tokio::time::timeout(Duration::from_secs(1), stats)
                .await
                .ok()
                .flatten();
            let read = |name: &str| stats.as_ref().and_then(|stats| stats.get(name)?.as_u64());
            if let (Some(busy), Some(threads)) = (read("threads_busy"), read("threads")) {
                *most = (most.0.max(busy), threads);
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    most.into_iter()
        .fold((0, 0), |(busy, all), (b, a)| (busy + b, all + a))
}

/// Starts and forced restarts of the hosts' servers, as their init systems count them.
fn restarts(hosts: &[Place]) -> (u64, u64) {
    let states = hosts
        .iter()
        .filter_map(|place| crate::supervise::read_state(&place.folder.join("init")).ok());
    states.fold((0, 0), |(starts, exits), state| {
        (starts + state.starts, exits + state.exits_unplanned)
    })
}

fn mark_failures(timeline: &mut Vec<Moment>, report: &LoadReport) {
    let marks = [
        (report.first_failed_at, "first"),
        (report.last_failed_at, "last"),
    ];
    for (at, which) in marks {
        timeline.extend(at.map(|at| Moment {
            at,
            event: format!("{which} request fails"),
        }));
    }
    timeline.sort_by_key(|moment| moment.at);
}

fn outage_s(report: &LoadReport) -> f64 {
    report
        .longest_outage(OUTAGE_SHARE)
        .map_or(0.0, |(_, length)| length.as_secs_f64())
}

/// The last two seconds whose requests have all ended.
fn tail(report: &LoadReport) -> crate::load::Tally {
    let end = report.taken_at;
    let start = end.checked_sub(Duration::from_secs(2)).unwrap_or(end);
    report.between(start, end)
}
