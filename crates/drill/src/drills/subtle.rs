//! A change that does a little harm: no page for anybody, and one request in twenty.
//!
//! Invariant: how soon it was found follows from the journal and from the
//! verdict's own record, which is computed again for it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use model::{Event, ReleaseId, Verdict};
use serde::Deserialize;
use wire::api::{JournalRecord, ReleaseView, VerdictView};

use super::waves::decision;
use super::{AFTER, Drill, Mode, TENANTS, last_line, seen};
use crate::load::{Load, LoadConfig, LoadHandle, Spread, Tally};
use crate::outcome::{
    Check, Judged, Moment, Outcome, Requests, from_journal, seconds_between, tail,
};
use crate::world::{Place, World};

/// Requests each second; half of them come to the first wave's host.
const RATE_PER_S: u32 = 400;
/// Traffic before the change: some four thousand requests, enough to tell one in
/// a hundred from one in fifty.
const BEFORE: Duration = Duration::from_secs(10);
/// How long nobody notices: some six thousand requests.
const UNNOTICED: Duration = Duration::from_secs(15);
/// Of a thousand requests so many fail for long sessions at most before the
/// change, and so many at least and at most after it: six standard deviations
/// around 10 and 50.
const BEFORE_PERMILLE_MAX: u64 = 20;
/// See there.
const AFTER_PERMILLE: std::ops::RangeInclusive<u64> = 32..=68;
/// Over the last seconds there are fewer requests to tell from.
const TAIL_PERMILLE_MAX: u64 = 32;
/// It takes six seconds mostly. In one of a hundred runs the old bundle's few hosts look
/// unequal by chance; then the judge asks for more, and it takes up to ninety.
const FOUND_WITHIN_S: f64 = 120.0;
/// Seconds are told when they are over, and closed when a later one is told.
const DELAY_MAX_S: f64 = 3.0;

fn customers(world: &World) -> Result<LoadHandle> {
    let config = LoadConfig {
        rate_per_s: RATE_PER_S,
        tenants: TENANTS,
        spread: Spread::Uniform,
        sessions: true,
        timeout: Duration::from_secs(4),
        ..LoadConfig::new(world.url())
    };
    Load::start(config).context("customers' traffic")
}

/// Nothing in its way: everybody has it until somebody notices.
pub(super) async fn unguarded(
    drill: &Drill,
    world: &World,
    tell: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let mut timeline = Vec::new();
    let mut note = |event: String| {
        tell(&event);
        timeline.push(Moment {
            at: Timestamp::now(),
            event,
        });
    };
    let load = customers(world)?;
    tokio::time::sleep(BEFORE).await;
    let before = load.snapshot().total;
    let hosts: Vec<Place> = world.production().cloned().collect();
    note(format!(
        "the change goes straight to all {} production hosts",
        hosts.len()
    ));
    drill.fault.write(world)?;
    world.push_directly(&hosts, drill.fault.packages()).await?;
    let changed = load.snapshot().total;
    tokio::time::sleep(UNNOTICED).await;
    let report = load.snapshot();
    let seen = seen::look(drill.fault, world, &hosts, &report).await?;
    seen.notes.into_iter().for_each(&mut note);
    let during = since(&changed, &report.total);
    note("somebody looks at a graph, and people take the change back".into());
    let decided_at = Timestamp::now();
    drill.fault.unwrite(world)?;
    world.push_directly(&hosts, &[]).await?;
    let back_at = Timestamp::now();
    note("all servers run as before".into());
    tokio::time::sleep(AFTER).await;
    let report = load.stop().await;
    let mut checks = vec![
        Check::new(
            "before the change one request in a hundred fails",
            words(&before),
            permille(&before) <= BEFORE_PERMILLE_MAX,
        ),
        Check::new(
            "with it one in twenty, for everybody",
            words(&during),
            AFTER_PERMILLE.contains(&permille(&during)),
        ),
    ];
    checks.extend(seen.checks);
    checks.push(restored(&tail(&report)));
    let first = report.first_failed_at;
    let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    Ok(Outcome {
        hosts_touched: count,
        hosts: count,
        detect_s: first.map(|first| seconds_between(first, decided_at)),
        rollback_s: Some(seconds_between(decided_at, back_at)),
        ..Outcome::of(drill.name, Mode::Unguarded, &report, timeline, checks)
    })
}

/// With waves and judge, and with gates that can't see it or without.
pub(super) async fn judged(
    drill: &Drill,
    world: &World,
    mode: Mode,
    tell: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let load = customers(world)?;
    tokio::time::sleep(BEFORE).await;
    let before = load.snapshot().total;
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
    let verdict = world.client.verdict(release.id).await?;
    let found = match verdict.verdict.as_str() {
        "fail" => Some(found(world, &release, &records, &verdict).await?),
        _ => None,
    };
    let decided = decision(&records, release.id);
    let back = records.iter().find_map(|record| match &record.event {
        Event::RollbackCompleted { release: id, .. } if *id == release.id => Some(record.at),
        _ => None,
    });
    let decided_at = decided.as_ref().map(|(at, _)| *at);
    let rollback_s = decided_at
        .zip(back)
        .map(|(from, to)| seconds_between(from, to));
    let by = decided.map(|(_, by)| by);
    let mut checks = vec![Check::new(
        "before the change one request in a hundred fails",
        words(&before),
        permille(&before) <= BEFORE_PERMILLE_MAX,
    )];
    checks.extend(found_checks(
        drill,
        world,
        &verdict,
        found.as_ref(),
        by.as_deref(),
    ));
    checks.push(Check::new(
        "at most 1 production host touched",
        release.exposure.hosts.to_string(),
        release.exposure.hosts <= 1,
    ));
    checks.push(Check::new(
        "rolled back within 10 s of the verdict",
        rollback_s.map_or_else(|| "not rolled back".into(), |s| format!("{s:.1} s")),
        rollback_s.is_some_and(|s| s <= 10.0),
    ));
    checks.push(restored(&tail(&report)));
    let mut timeline = from_journal(&records, release.id);
    timeline.retain(|moment| moment.at >= changed_at);
    Ok(Outcome {
        hosts_touched: release.exposure.hosts,
        hosts: release.exposure.hosts_total,
        stopped_by: by,
        rollback_s,
        judged: found,
        ..Outcome::of(drill.name, mode, &report, timeline, checks)
    })
}

fn found_checks(
    drill: &Drill,
    world: &World,
    verdict: &VerdictView,
    found: Option<&Judged>,
    by: Option<&str>,
) -> Vec<Check> {
    let seconds =
        |value: Option<f64>| value.map_or_else(|| "not found".into(), |s| format!("{s:.1} s"));
    let found_s = found.map(|found| found.found_s);
    let delay_s = found.map(|found| found.delay_s);
    let (cause, names) = drill.fault.cause(world);
    let said = found.map_or_else(|| verdict.reason.clone(), |found| found.verdict.clone());
    let ratio = verdict.explanation.as_ref().and_then(|known| known.ratio);
    vec![
        Check::new(
            "stopped by the judge, in production",
            by.unwrap_or("nothing").to_owned(),
            by.is_some_and(|by| by.contains("judge") && by.contains("production")),
        ),
        Check::new(
            cause,
            said.clone(),
            names.iter().all(|name| said.contains(name.as_str())),
        ),
        Check::new(
            "the ratio's interval lies above 1",
            ratio.map_or_else(
                || "unknown".into(),
                |it| format!("from {:.2}", it.low as f64 / 1e3),
            ),
            ratio.is_some_and(|it| it.low > 1000),
        ),
        Check::new(
            "found within 120 s of the first second with requests on it",
            seconds(found_s),
            found_s.is_some_and(|s| s <= FOUND_WITHIN_S),
        ),
        Check::new(
            "verdict within 3 s of the second that was enough",
            seconds(delay_s),
            delay_s.is_some_and(|s| s <= DELAY_MAX_S),
        ),
    ]
}

/// What `plimsoll verdict --replay --json` prints, as far as it is read here.
#[derive(Deserialize)]
struct Replayed {
    same: bool,
    times: Times,
}

#[derive(Deserialize)]
struct Times {
    served: Option<Second>,
    shown: Option<Second>,
}

#[derive(Deserialize)]
struct Second {
    over: Option<Timestamp>,
}

/// Computes the verdict again, and holds its seconds against the journal's times.
async fn found(
    world: &World,
    release: &ReleaseView,
    records: &[JournalRecord],
    verdict: &VerdictView,
) -> Result<Judged> {
    let id = release.id.to_string();
    let mut command = world.command(&["verdict", &id, "--replay", "--json"]);
    let output = command.output().await.context("plimsoll verdict")?;
    let replayed: Replayed = serde_json::from_slice(last_line(&output)?)
        .with_context(|| format!("plimsoll verdict said {output:?}"))?;
    ensure!(replayed.same, "the verdict's record says something else");
    let over = |second: Option<Second>| second.and_then(|second| second.over);
    let served = over(replayed.times.served).context("the new bundle had no request")?;
    let shown = over(replayed.times.shown).context("the record shows no harm")?;
    let judged = judged_at(records, release.id).context("the journal has no failed wave")?;
    let known = verdict.explanation.as_ref();
    let canary = known.map(|known| known.canary).unwrap_or_default();
    // A second begins one before it is over.
    let began = served - Duration::from_secs(1);
    let rule = verdict
        .rule
        .map_or_else(String::new, |rule| format!("{rule}: "));
    Ok(Judged {
        found_s: seconds_between(began, judged),
        shown_s: seconds_between(began, shown),
        delay_s: seconds_between(shown, judged),
        requests: Requests {
            total: canary.requests,
            failed: canary.failed,
        },
        verdict: format!("{rule}{}", verdict.reason),
    })
}

fn judged_at(records: &[JournalRecord], release: ReleaseId) -> Option<Timestamp> {
    records.iter().find_map(|record| match &record.event {
        Event::WaveJudged {
            release: id,
            verdict: Verdict::Fail { .. },
            ..
        } if *id == release => Some(record.at),
        _ => None,
    })
}

fn restored(last: &Tally) -> Check {
    Check::new(
        "service as before",
        words(last),
        permille(last) <= TAIL_PERMILLE_MAX,
    )
}

fn since(before: &Tally, now: &Tally) -> Tally {
    Tally {
        sent: now.sent - before.sent,
        ok: now.ok - before.ok,
        failed: now.failed - before.failed,
    }
}

/// Of a thousand requests that ended, so many failed; all, when none did.
fn permille(tally: &Tally) -> u64 {
    let ended = tally.ok + tally.failed;
    (tally.failed * 1000).checked_div(ended).unwrap_or(1000)
}

fn words(tally: &Tally) -> String {
    let ended = tally.ok + tally.failed;
    let percent = 100.0 * tally.failed as f64 / ended.max(1) as f64;
    format!("{} of {ended} failed ({percent:.1} %)", tally.failed)
}
