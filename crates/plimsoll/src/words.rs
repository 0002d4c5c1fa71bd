//! Releases, waves and exposure in words, with few colours.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use model::gate::Risk;
use model::{GateState, Millis, Permille};
use wire::api::{
    BreakGlassView, FreezeView, ReleaseState, ReleaseView, VerdictView, WaveState, WaveView,
};

use crate::checklist;
use crate::commands::emergency::standing;
use crate::judged;
use crate::look::Look;
use crate::output::{Paint, paint};

/// Columns of the words that lines begin with.
pub(crate) const LEAD: usize = 17;

/// A moment on this machine's clock; without the day when it is today's.
pub(crate) fn moment(at: Timestamp, now: Timestamp) -> String {
    let zone = TimeZone::system();
    let (at, now): (Zoned, Zoned) = (at.to_zoned(zone.clone()), now.to_zoned(zone));
    let form = if at.date() == now.date() {
        "%H:%M:%S %Z"
    } else {
        "%Y-%m-%d %H:%M %Z"
    };
    at.strftime(form).to_string()
}

/// A word, and after it text that fits; more lines where it must.
pub(crate) fn led(lead: &str, text: &str, look: Look) -> Vec<String> {
    let mut lines = look.fit(text, LEAD + 2).into_iter();
    let first = lines.next().unwrap_or_default();
    let head = format!("{lead:<LEAD$}{first}").trim_end().to_owned();
    let rest = lines.map(|line| format!("{:LEAD$}{line}", ""));
    std::iter::once(head).chain(rest).collect()
}

/// A word, and after it text that is for copying: never folded, so that a terminal wraps it whole.
pub(crate) fn led_whole(lead: &str, text: impl std::fmt::Display) -> Vec<String> {
    vec![format!("{lead:<LEAD$}{text}")]
}

/// Leaves of an option that are told one by one; of more the whole is shown.
const LEAVES_MAX: usize = 8;

/// What a high-risk change does: where, before, after. Of tables only what differs.
fn changes(risk: &Risk) -> Vec<(String, Option<String>, Option<String>)> {
    let whole = || vec![(risk.at.clone(), risk.before.clone(), risk.after.clone())];
    let table = |text: &Option<String>| {
        let value = serde_json::from_str::<serde_json::Value>(text.as_deref()?).ok()?;
        value.is_object().then_some(value)
    };
    // What was cut short is no JSON any more, and is shown as it came.
    let (Some(before), Some(after)) = (table(&risk.before), table(&risk.after)) else {
        return whole();
    };
    let mut leaves = std::collections::BTreeMap::new();
    spread(&risk.at, &before, &mut |at, value| {
        leaves.entry(at).or_insert((None, None)).0 = Some(value);
    });
    spread(&risk.at, &after, &mut |at, value| {
        leaves.entry(at).or_insert((None, None)).1 = Some(value);
    });
    let changed: Vec<_> = leaves
        .into_iter()
        .filter(|(_, (before, after))| before != after)
        .map(|(at, (before, after))| (at, before, after))
        .collect();
    if changed.is_empty() || changed.len() > LEAVES_MAX {
        return whole();
    }
    changed
}

/// Every leaf of a table with its pointer.
fn spread(at: &str, value: &serde_json::Value, leaf: &mut impl FnMut(String, String)) {
    match value.as_object() {
        Some(table) if !table.is_empty() => {
            for (key, value) in table {
                let key = key.replace('~', "~0").replace('/', "~1");
                spread(&format!("{at}/{key}"), value, leaf);
            }
        }
        Some(_) | None => leaf(at.to_owned(), value.to_string()),
    }
}

/// High-risk options: where, what it was, what it becomes, and why that is high risk.
pub(crate) fn risk_lines(risks: &[Risk], look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, risk) in risks.iter().enumerate() {
        let mut lead = if index == 0 { "high risk" } else { "" };
        let file = risk
            .file
            .as_ref()
            .map_or_else(|| "the whole bundle".to_owned(), ToString::to_string);
        for (at, before, after) in changes(risk) {
            let place = format!("{file} {at}");
            lines.extend(led(lead, place.trim_end(), look));
            lead = "";
            let side = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
            let change = format!("  {} -> {}", side(before), side(after));
            lines.extend(led("", &change, look));
        }
        lines.extend(led("", &format!("  {}", risk.why), look));
    }
    lines
}

/// A freeze in one sentence.
pub(crate) fn freeze_line(freeze: &FreezeView, now: Timestamp) -> String {
    let by = if freeze.automatic {
        "by itself".to_owned()
    } else {
        format!("by {}", freeze.by)
    };
    let since = freeze
        .since
        .map_or_else(String::new, |at| format!(" since {}", moment(at, now)));
    let until = freeze
        .until
        .map_or_else(String::new, |at| format!(" until {}", moment(at, now)));
    format!("{} {by}{since}{until}: {}", freeze.scope, freeze.reason)
}

/// A break-glass in a few lines.
pub(crate) fn break_glass_lines(view: &BreakGlassView, now: Timestamp) -> Vec<String> {
    let look = Look::stdout();
    let gates: Vec<&str> = view.gates.iter().map(|gate| gate.as_str()).collect();
    let mut lines = vec![format!(
        "{} of {}, asked by {}: without {}",
        paint(Paint::Yellow, format!("break-glass {}", view.id)),
        paint(Paint::Bold, view.service.as_str()),
        view.asked_by,
        gates.join(", ")
    )];
    lines.extend(led("  why", &view.reason, look));
    lines.extend(led("  stands", &standing(view, now), look));
    if !view.used_by.is_empty() {
        let used: Vec<String> = view.used_by.iter().map(ToString::to_string).collect();
        lines.extend(led(
            "  used",
            &format!("by release {}", used.join(", ")),
            look,
        ));
    }
    lines
}

/// Whether there is anything to show of the gates: services without rules have few.
fn has_gates(release: &ReleaseView) -> bool {
    release
        .gates
        .iter()
        .any(|gate| gate.state != GateState::Off)
}

/// What a release passes on its way, with its heading; empty when nothing is demanded.
fn gate_lines(release: &ReleaseView, now: Timestamp, look: Look) -> Vec<String> {
    if !has_gates(release) {
        return Vec::new();
    }
    let gates = checklist::with_next_steps(&release.gates, release.id);
    let mut lines = vec![format!("gates of release {}", release.id)];
    lines.extend(checklist::lines(&gates, now, look));
    lines
}

/// A bar for bytes on their way up.
pub(crate) fn upload_bar(total: u64) -> ProgressBar {
    if total == 0 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("uploading {bar:24} {bytes}/{total_bytes}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// A state in its colour.
pub(crate) fn state_word(state: ReleaseState) -> String {
    let colour = match state {
        ReleaseState::Good => Paint::Green,
        ReleaseState::Rolling => Paint::Cyan,
        ReleaseState::Held => Paint::Yellow,
        ReleaseState::RollingBack | ReleaseState::RolledBack => Paint::Red,
    };
    paint(colour, state.to_string())
}

/// A release in a few lines.
pub(crate) fn release_lines(release: &ReleaseView, look: Look) -> Vec<String> {
    let mut lines = vec![format!(
        "release {} {}  {}  by {}  {}",
        release.id,
        state_word(release.state),
        release.digest.short(),
        release.author,
        paint(Paint::Dim, &release.message),
    )];
    let now = Timestamp::now();
    lines.extend(gate_lines(release, now, look));
    lines.extend(risk_lines(&release.risks, look));
    for (index, warning) in release.warnings.iter().enumerate() {
        let lead = if index == 0 { "warned of" } else { "" };
        lines.extend(led(lead, &warning.to_string(), look));
    }
    for approval in &release.approvals {
        let note = if approval.note.is_empty() {
            String::new()
        } else {
            format!(": {}", approval.note)
        };
        let words = format!("by {} at {}{note}", approval.by, moment(approval.at, now));
        lines.extend(led("approved", &words, look));
    }
    if let Some(id) = release.break_glass {
        lines.extend(led("break-glass", &id.to_string(), look));
    }
    for stage in &release.stages {
        for (index, wave) in stage.waves.iter().enumerate() {
            let place = format!("{} {}/{}", stage.environment, index + 1, stage.waves.len());
            lines.push(format!("{place:<16} {}", wave_line(wave)));
        }
    }
    if let Some(back) = release.expected_rollback_ms {
        let words = format!("{}, as rehearsed in test", Millis(back));
        lines.extend(led("way back takes", &words, look));
    }
    lines.extend(led("exposure", &exposure_line(release), look));
    if let Some(rollback) = &release.rollback {
        let rule = rollback
            .rule
            .as_deref()
            .map_or(String::new(), |rule| format!("{rule}: "));
        let words = format!("by {}: {rule}{}", rollback.by, rollback.reason);
        lines.extend(led("rolled back", &words, look));
        for (host, why) in &rollback.outstanding {
            lines.extend(led("not back yet", &format!("{host}: {why}"), look));
        }
    }
    if let Some(waiting) = &release.waiting {
        lines.extend(led("waiting", waiting, look));
    }
    lines
}

/// What the judge says of a release, in a line of its own.
pub(crate) fn judge_lines(verdict: Option<&VerdictView>, look: Look) -> Vec<String> {
    let line = verdict.and_then(judged::line);
    line.map_or_else(Vec::new, |line| led("judge", &line, look))
}

pub(crate) fn wave_line(wave: &WaveView) -> String {
    let hosts: Vec<&str> = wave.hosts.iter().map(|host| host.host.as_str()).collect();
    let hosts = match hosts.as_slice() {
        [] => "nobody".to_owned(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one}, {two}"),
        [first, .., last] => format!("{first} to {last} ({})", hosts.len()),
    };
    match wave.state {
        WaveState::Pending => paint(Paint::Dim, format!("pending   {hosts}")),
        WaveState::Applying => format!("applying  {hosts}"),
        WaveState::Baking => {
            let word = paint(Paint::Cyan, "baking   ");
            // All of the traffic needs no words.
            match Permille::new(wave.traffic_permille) {
                Some(share) if share < Permille::ALL => {
                    format!("{word} {hosts}, {share} of traffic")
                }
                _ => format!("{word} {hosts}"),
            }
        }
        WaveState::Passed => format!("{} {hosts}", paint(Paint::Green, "passed   ")),
        WaveState::Failed => format!("{} {hosts}", paint(Paint::Red, "failed   ")),
    }
}

/// Before a number that may be more than could be counted.
fn at_least(is_exact: bool) -> &'static str {
    if is_exact { "" } else { "at least " }
}

pub(crate) fn exposure_line(release: &ReleaseView) -> String {
    let exposure = &release.exposure;
    format!(
        "{} of {} hosts, {}{} requests ({} failed), {}{} tenants ({} hit)",
        exposure.hosts,
        exposure.hosts_total,
        at_least(exposure.requests_exact),
        exposure.requests,
        exposure.failed,
        at_least(exposure.tenants_exact),
        exposure.tenants,
        exposure.tenants_hit
    )
}

pub(crate) fn status_line(release: &ReleaseView) -> String {
    let waiting = release.waiting.as_deref().unwrap_or("going on");
    format!("{waiting} · {}", exposure_line(release))
}

/// Waves passed of all known waves; twice as fine while one bakes.
pub(crate) fn progress(release: &ReleaseView) -> (u64, u64) {
    let waves = release.stages.iter().flat_map(|stage| &stage.waves);
    let (mut done, mut all) = (0, 0);
    for wave in waves {
        all += 2;
        done += match wave.state {
            WaveState::Passed => 2,
            WaveState::Baking => 1,
            WaveState::Pending | WaveState::Applying | WaveState::Failed => 0,
        };
    }
    (done, all.max(1))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn of_a_table_only_what_differs_is_told() {
        let risk = Risk {
            file: Some("service.toml".parse().unwrap()),
            at: "/auth".into(),
            why: "a wrong address stops every request".into(),
            before: Some(r#"{"test":{"address":"a:1"},"production":{"address":"b:1"}}"#.into()),
            after: Some(r#"{"test":{"address":"a:1"},"production":{"address":"c:1"}}"#.into()),
        };
        let cut = Risk {
            before: Some("{\"test\":{\"addr…".into()),
            after: None,
            ..risk.clone()
        };
        let look = Look {
            width: Some(60),
            colour: false,
        };
        let lines = risk_lines(&[risk, cut], look);
        expect![[r#"
            high risk        service.toml /auth/production/address
                             "b:1" -> "c:1"
                             a wrong address stops every request
                             service.toml /auth
                             {"test":{"addr… -> nothing
                             a wrong address stops every request
        "#]]
        .assert_eq(&(lines.join("\n") + "\n"));
    }
}
