//! What came out of a drill: the numbers, and what happened when.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use model::{Event, Permille, ReleaseId};
use serde::Serialize;
use wire::api::JournalRecord;

use crate::drills::Mode;
use crate::load::{LoadReport, Tally};

/// A tenth of a second in which this share of requests fails counts as outage.
pub const OUTAGE_SHARE: Permille = match Permille::new(950) {
    Some(share) => share,
    None => Permille::ALL,
};

/// The result of a drill, as `--json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Which drill.
    pub drill: String,
    /// `unguarded`, `waves-only` or `guarded`.
    pub mode: &'static str,
    /// Requests from the change to the end.
    pub requests: Requests,
    /// Customers.
    pub tenants: Tenants,
    /// Production hosts that the change reached.
    pub hosts_touched: u32,
    /// Of so many.
    pub hosts: u32,
    /// Which layer stopped it.
    pub stopped_by: Option<String>,
    /// What its author was told, when it was refused before production.
    pub refusal: Option<String>,
    /// From the push to that refusal, in seconds.
    pub refused_s: Option<f64>,
    /// From the first failed request to the decision to go back, in seconds.
    pub detect_s: Option<f64>,
    /// From that decision until every host was back, in seconds.
    pub rollback_s: Option<f64>,
    /// From the first failed request to the last, in seconds: after it service was restored.
    pub restored_s: Option<f64>,
    /// How the judge found what nothing else could see; absent in drills of outages.
    pub judged: Option<Judged>,
    /// The longest time in which at least 95 % of requests failed, in seconds.
    pub outage_s: f64,
    /// What happened when.
    pub timeline: Vec<Moment>,
    /// Whether the drill showed what it must.
    pub passed: bool,
    /// Each thing it must show.
    pub checks: Vec<Check>,
}

/// Requests of customers.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Requests {
    /// Sent.
    pub total: u64,
    /// Failed.
    pub failed: u64,
}

/// Customers.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Tenants {
    /// Who sent requests.
    pub total: u64,
    /// Who had one fail.
    pub hit: u64,
}

/// How soon counts showed harm, by the verdict's own record.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// From the first second with requests on the new bundle (its beginning) to the verdict, in seconds.
    pub found_s: f64,
    /// Of these, until the end of the second with which the counts were enough.
    pub shown_s: f64,
    /// And from there to the verdict: what telling and deciding take.
    pub delay_s: f64,
    /// Requests on the new bundle until the verdict.
    pub requests: Requests,
    /// In words.
    pub verdict: String,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: String,
}

/// Something a drill must show.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What.
    pub what: String,
    /// What was seen.
    pub seen: String,
    /// Whether that is enough.
    pub ok: bool,
}

impl Check {
    /// A check.
    pub fn new(what: &str, seen: String, ok: bool) -> Check {
        Check {
            what: what.into(),
            seen,
            ok,
        }
    }
}

impl Outcome {
    /// What customers saw; hosts, decisions and refusals are for the course to add.
    pub fn of(
        drill: &str,
        mode: Mode,
        report: &LoadReport,
        mut timeline: Vec<Moment>,
        checks: Vec<Check>,
    ) -> Outcome {
        mark_failures(&mut timeline, report);
        Outcome {
            drill: drill.into(),
            mode: mode.as_str(),
            requests: Requests {
                total: report.total.sent,
                failed: report.total.failed,
            },
            tenants: Tenants {
                total: report.tenants.len() as u64,
                hit: report.tenants_hit() as u64,
            },
            hosts_touched: 0,
            hosts: 0,
            stopped_by: None,
            refusal: None,
            refused_s: None,
            detect_s: None,
            rollback_s: None,
            restored_s: report
                .first_failed_at
                .zip(report.last_failed_at)
                .map(|(first, last)| seconds_between(first, last)),
            judged: None,
            outage_s: outage_s(report),
            timeline,
            passed: checks.iter().all(|check| check.ok),
            checks,
        }
    }

    /// The outcome for people: numbers, timeline, checks.
    pub fn table(&self, recorded: &[(&str, &str)]) -> String {
        let seconds =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1} s"));
        let share = |part: u64, whole: u64| {
            let percent = 100.0 * part as f64 / (whole.max(1)) as f64;
            format!("{part} of {whole} ({percent:.1} %)")
        };
        let mut rows = vec![
            (
                "requests failed",
                share(self.requests.failed, self.requests.total),
            ),
            ("customers hit", share(self.tenants.hit, self.tenants.total)),
            (
                "production hosts touched",
                format!("{} of {}", self.hosts_touched, self.hosts),
            ),
            (
                "longest time with 95 % failing",
                format!("{:.1} s", self.outage_s),
            ),
            (
                "stopped by",
                self.stopped_by.clone().unwrap_or_else(|| "nothing".into()),
            ),
            ("push to refusal", seconds(self.refused_s)),
            ("first failure to decision", seconds(self.detect_s)),
            ("decision to every host back", seconds(self.rollback_s)),
            ("first failure to last", seconds(self.restored_s)),
        ];
        if let Some(judged) = &self.judged {
            let Requests { total, failed } = judged.requests;
            rows.extend([
                ("first request to verdict", seconds(Some(judged.found_s))),
                ("  until counts were enough", seconds(Some(judged.shown_s))),
                ("  from there to the verdict", seconds(Some(judged.delay_s))),
                ("failed on it until then", share(failed, total)),
            ]);
        }
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        let recorded_word = if recorded.is_empty() { "" } else { "recorded" };
        table.set_header([
            format!("{} {}", self.drill, self.mode),
            "here".into(),
            recorded_word.into(),
        ]);
        for (what, here) in rows {
            let known = recorded.iter().find(|(name, _)| *name == what);
            let known = known.map_or("", |(_, value)| value);
            table.add_row([what, &here, known]);
        }
        let mut text = trimmed(&table);
        text.push('\n');
        text.push_str(&timeline(&self.timeline));
        text.push('\n');
        if let Some(refusal) = &self.refusal {
            text.push_str(&format!("what the author is told:\n{refusal}\n\n"));
        }
        for check in &self.checks {
            let mark = if check.ok { "ok  " } else { "FAIL" };
            text.push_str(&format!("{mark} {}: {}\n", check.what, check.seen));
        }
        text
    }
}

/// Moments as lines, with seconds since the first.
pub fn timeline(moments: &[Moment]) -> String {
    let Some(first) = moments.first() else {
        return String::new();
    };
    let mut text = String::new();
    for moment in moments {
        let since = seconds_between(first.at, moment.at);
        let clock = moment.at.strftime("%H:%M:%S");
        text.push_str(&format!("{clock} {since:>+7.1} s  {}\n", moment.event));
    }
    text
}

/// A table without trailing spaces.
pub fn trimmed(table: &Table) -> String {
    table
        .to_string()
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line).trim_end()))
        .collect()
}

/// Seconds from `a` to `b`, with their fraction.
pub fn seconds_between(a: Timestamp, b: Timestamp) -> f64 {
    b.duration_since(a).as_secs_f64()
}

/// The longest time in which nearly all requests failed, in seconds.
pub fn outage_s(report: &LoadReport) -> f64 {
    report
        .longest_outage(OUTAGE_SHARE)
        .map_or(0.0, |(_, length)| length.as_secs_f64())
}

/// The last two seconds whose requests have all ended.
pub fn tail(report: &LoadReport) -> Tally {
    let end = report.taken_at;
    let start = end.checked_sub(Duration::from_secs(2)).unwrap_or(end);
    report.between(start, end)
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

/// What the journal tells of one release, for a timeline.
pub fn from_journal(records: &[JournalRecord], release: ReleaseId) -> Vec<Moment> {
    let of_release = |event: &Event| match event {
        Event::ReleaseProposed { release: id, .. }
        | Event::StageStarted { release: id, .. }
        | Event::WaveJudged { release: id, .. }
        | Event::WaveHeld { release: id, .. }
        | Event::WaveContinued { release: id, .. }
        | Event::ReleaseGood { release: id, .. }
        | Event::RollbackStarted { release: id, .. }
        | Event::RollbackCompleted { release: id, .. }
        | Event::DigestQuarantined { release: id, .. } => *id == release,
        Event::HostOrdered { order } => order.release == release,
        Event::HostFailed { .. } | Event::HostRevertFailing { .. } => true,
        Event::HostHealthChanged { .. } => true,
        _ => false,
    };
    let told = records.iter().filter(|record| of_release(&record.event));
    told.map(|record| Moment {
        at: record.at,
        event: record.event.to_string(),
    })
    .collect()
}
