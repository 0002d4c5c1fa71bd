//! The course with every gate on: the change must not reach production.
//!
//! Invariant: that no host was touched is read from the hosts and from the
//! journal, not from what the refusal says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use model::{Event, Finding, GateState};
use serde::Deserialize;
use wire::api::{JournalRecord, ReleaseView};

use super::waves::decision;
use super::{AFTER, BEFORE, Drill, Mode, customers, last_line};
use crate::load::LoadReport;
use crate::outcome::{Check, Moment, Outcome, from_journal, seconds_between};
use crate::world::{Place, World};

/// A refusal that takes longer comes from somebody who could have deployed
/// meanwhile: test, rehearsal and probes together are over by then.
const REFUSED_WITHIN_S: f64 = 120.0;

/// How the change was stopped.
struct Refused {
    at: Timestamp,
    /// Which gate.
    gate: String,
    /// Everything that its author is told.
    words: String,
    /// The release, if it became one.
    release: Option<ReleaseView>,
}

pub(super) async fn run(
    drill: &Drill,
    world: &World,
    tell: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let hosts: Vec<Place> = world.production().cloned().collect();
    let before = live(&hosts)?;
    let load = customers(world)?;
    tokio::time::sleep(BEFORE).await;
    tell("pushing the change, with every gate on");
    let pushed_at = Timestamp::now();
    drill.fault.write(world)?;
    let pushed = world.push(drill.message).await?;
    let answered_at = Timestamp::now();
    let records: Vec<JournalRecord> = world.client.get("/v1/journal?limit=1000").await?;
    let refused = refusal(last_line(&pushed)?, &records, answered_at)?;
    tokio::time::sleep(AFTER).await;
    let report = load.stop().await;
    let changed: Vec<bool> = live(&hosts)?
        .iter()
        .zip(&before)
        .map(|(now, before)| now != before)
        .collect();
    let ordered = ordered(&records, &hosts);
    let touched = hosts
        .iter()
        .zip(changed)
        .filter(|(place, changed)| *changed || ordered.contains(place.name.as_str()))
        .count();
    let mut timeline = vec![Moment {
        at: pushed_at,
        event: format!("plimsoll push: {}", drill.message),
    }];
    match refused
        .as_ref()
        .and_then(|refused| refused.release.as_ref())
    {
        Some(release) => timeline.extend(from_journal(&records, release.id)),
        None => timeline.extend(refused.as_ref().map(|refused| Moment {
            at: refused.at,
            event: format!("refused ({})", refused.gate),
        })),
    }
    let took = |refused: &Refused| seconds_between(pushed_at, refused.at);
    let checks = checks(
        drill,
        world,
        &report,
        touched,
        refused.as_ref().map(|refused| (refused, took(refused))),
    );
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Outcome {
        hosts_touched: count(touched),
        hosts: count(hosts.len()),
        refused_s: refused.as_ref().map(took),
        stopped_by: refused.as_ref().map(|refused| refused.gate.clone()),
        refusal: refused.map(|refused| refused.words),
        ..Outcome::of(drill.name, Mode::Guarded, &report, timeline, checks)
    })
}

fn checks(
    drill: &Drill,
    world: &World,
    report: &LoadReport,
    touched: usize,
    refused: Option<(&Refused, f64)>,
) -> Vec<Check> {
    let (cause, names) = drill.fault.cause(world);
    let words = refused.map_or("", |(refused, _)| refused.words.as_str());
    let unnamed: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !words.contains(name))
        .collect();
    let took = refused.map(|(_, took)| took);
    vec![
        Check::new(
            "no request of customers failed",
            format!(
                "{} of {}{}",
                report.total.failed,
                report.total.sent,
                kinds(report)
            ),
            report.total.failed == 0 && report.total.sent > 0,
        ),
        Check::new(
            "no production host touched",
            touched.to_string(),
            touched == 0,
        ),
        Check::new(
            cause,
            if unnamed.is_empty() {
                names.join(", ")
            } else {
                format!("not {}", unnamed.join(", "))
            },
            unnamed.is_empty(),
        ),
        Check::new(
            "refused in good time",
            took.map_or_else(
                || "not refused".into(),
                |s| format!("{s:.1} s after the push"),
            ),
            took.is_some_and(|took| took <= REFUSED_WITHIN_S),
        ),
    ]
}

/// How requests failed, if any did.
fn kinds(report: &LoadReport) -> String {
    if report.total.failed == 0 {
        return String::new();
    }
    let failures = &report.failures;
    format!(
        " ({} without answer in time, {} without connection, {} with 5xx, {} otherwise)",
        failures.timeout,
        failures.connect,
        failures.server_error,
        failures.other + failures.generator_full
    )
}

/// What `plimsoll push` said in the end, as a refusal; none when the release became good.
fn refusal(
    said: &[u8],
    records: &[JournalRecord],
    answered_at: Timestamp,
) -> Result<Option<Refused>> {
    let told = || format!("plimsoll push said {}", String::from_utf8_lossy(said));
    let value: serde_json::Value = serde_json::from_slice(said).with_context(told)?;
    if value.get("stages").is_none() {
        let problem: Problem = serde_json::from_value(value).with_context(told)?;
        let first = problem.findings.first();
        return Ok(Some(Refused {
            at: answered_at,
            gate: first.map_or(problem.code.clone(), |finding| finding.gate.to_string()),
            words: problem.words(),
            release: None,
        }));
    }
    let release: ReleaseView = serde_json::from_value(value).with_context(told)?;
    let Some(rollback) = &release.rollback else {
        return Ok(None);
    };
    let failed = release
        .gates
        .iter()
        .filter(|look| look.state == GateState::Failed);
    let mut words = vec![rollback.reason.clone()];
    let details = failed.clone().map(|look| look.detail.clone());
    words.extend(details.filter(|detail| *detail != rollback.reason));
    let gate = failed.clone().next().map(|look| look.gate.to_string());
    let decided = decision(records, release.id);
    let (at, by) = decided.unwrap_or((answered_at, "plimsoll".into()));
    Ok(Some(Refused {
        at,
        gate: gate.unwrap_or(by),
        words: words.join("\n"),
        release: Some(release),
    }))
}

/// What `plimsoll push --json` prints of a refusal.
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    next: String,
    #[serde(default)]
    findings: Vec<Finding>,
}

impl Problem {
    fn words(&self) -> String {
        let mut lines = vec![self.detail.clone()];
        for finding in &self.findings {
            lines.push(finding.to_string());
            lines.extend(finding.help.iter().map(|help| format!("help: {help}")));
        }
        lines.push(format!("next: {}", self.next));
        lines.join("\n")
    }
}

/// Production hosts that were told to run something.
fn ordered(records: &[JournalRecord], hosts: &[Place]) -> BTreeSet<String> {
    let orders = records.iter().filter_map(|record| match &record.event {
        Event::HostOrdered { order } => Some(order.host.to_string()),
        _ => None,
    });
    let hosts: BTreeSet<&str> = hosts.iter().map(|place| place.name.as_str()).collect();
    orders
        .filter(|host| hosts.contains(host.as_str()))
        .collect()
}

/// What is live on a host.
#[derive(PartialEq, Eq)]
struct Live {
    config: Vec<u8>,
    /// Where the live path leads.
    tree: PathBuf,
    packages: BTreeSet<String>,
}

fn live(hosts: &[Place]) -> Result<Vec<Live>> {
    let read = |live: &Path| -> std::io::Result<Live> {
        let packages = match std::fs::read_dir(live.join("packages")) {
            Ok(entries) => entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<std::io::Result<_>>()?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        Ok(Live {
            config: std::fs::read(live.join("service.toml"))?,
            tree: live.canonicalize()?,
            packages,
        })
    };
    hosts
        .iter()
        .map(|place| {
            let live = place.folder.join("live");
            read(&live).with_context(|| live.display().to_string())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_and_everything() {
        let problem = r#"{
            "type": "docs/errors/incompatible.md", "code": "incompatible", "status": 409,
            "detail": "what is deployed does not go with it", "next": "push again",
            "findings": [{
                "gate": "compatibility", "severity": "deny",
                "message": "web 2.0.0 needs sso 2", "help": "deploy auth-runtime 2.0.0 first"
            }]
        }"#;
        let at = Timestamp::UNIX_EPOCH;
        let refused = refusal(problem.as_bytes(), &[], at).unwrap().unwrap();
        assert_eq!(
            (refused.gate.as_str(), refused.at),
            (model::Gate::Compatibility.as_str(), at)
        );
        for words in ["web 2.0.0 needs sso 2", "deploy auth-runtime", "push again"] {
            assert!(refused.words.contains(words), "{}", refused.words);
        }
        let bare = br#"{"code": "frozen", "detail": "no", "next": "wait"}"#;
        assert_eq!(refusal(bare, &[], at).unwrap().unwrap().gate, "frozen");
    }
}
