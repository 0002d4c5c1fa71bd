//! The course with waves and judge and nothing else: the outage stays small.
//!
//! Invariant: the fleet knows of the fault only what its hosts and customers meet.

use anyhow::{Context, Result};
use jiff::Timestamp;
use model::{Event, ReleaseId, RollbackCause, Verdict};
use wire::api::{JournalRecord, ReleaseView};

use super::{AFTER, BEFORE, Drill, Mode, customers, last_line};
use crate::load::LoadReport;
use crate::outcome::{Check, Outcome, from_journal, seconds_between, tail};
use crate::world::World;

pub(super) async fn run(
    drill: &Drill,
    world: &World,
    tell: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let load = customers(world)?;
    tokio::time::sleep(BEFORE).await;
    tell("pushing the change through test, waves and verdicts");
    let changed_at = Timestamp::now();
    drill.fault.write(world)?;
    let pushed = world.push(drill.message).await?;
    tokio::time::sleep(AFTER).await;
    let report = load.stop().await;
    let last = last_line(&pushed)?;
    let release: ReleaseView = serde_json::from_slice(last)
        .with_context(|| format!("plimsoll push said {}", String::from_utf8_lossy(last)))?;
    let records: Vec<JournalRecord> = world.client.get("/v1/journal?limit=1000").await?;
    Ok(outcome(drill, &report, &release, &records, changed_at))
}

fn outcome(
    drill: &Drill,
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
    let span =
        |at: Option<Timestamp>| Some(seconds_between(first_failed?, at?)).filter(|s| *s >= 0.0);
    let decided_at = decided.as_ref().map(|(at, _)| *at);
    let rollback_s = decided_at
        .zip(back)
        .map(|(from, to)| seconds_between(from, to));
    let mut timeline = from_journal(records, release.id);
    timeline.retain(|moment| moment.at >= changed_at);
    let touched = release.exposure.hosts;
    let checks = checks(report, touched, back.is_some(), span(back));
    Outcome {
        hosts_touched: touched,
        hosts: release.exposure.hosts_total,
        stopped_by: decided.map(|(_, by)| by),
        detect_s: span(decided_at),
        rollback_s,
        ..Outcome::of(drill.name, Mode::WavesOnly, report, timeline, checks)
    }
}

/// `back`: every host is back; `back_after`: so many seconds after the first failure.
fn checks(report: &LoadReport, touched: u32, back: bool, back_after: Option<f64>) -> Vec<Check> {
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
pub(super) fn decision(
    records: &[JournalRecord],
    release: ReleaseId,
) -> Option<(Timestamp, String)> {
    let failed_in = records.iter().find_map(|record| match &record.event {
        Event::WaveJudged {
            release: id,
            environment,
            verdict: Verdict::Fail { .. },
            ..
        } if *id == release => Some(format!(" in {environment}")),
        _ => None,
    });
    let place = failed_in.unwrap_or_default();
    records.iter().find_map(|record| match &record.event {
        Event::RollbackStarted {
            release: id, cause, ..
        } if *id == release => {
            let by = match cause {
                RollbackCause::Verdict {
                    verdict: Verdict::Fail { rule, .. },
                } => {
                    format!("waves and judge{place} ({rule})")
                }
                RollbackCause::Verdict { .. } => "judge".into(),
                RollbackCause::Person { .. } => "a person".into(),
            };
            Some((record.at, by))
        }
        _ => None,
    })
}
