//! What the judge says, for people.
//!
//! Invariant: no line of the chart or the table is wider than 60 columns, and
//! none of the rest wider than the terminal.

use model::judged::{Interval, Metric, Point};
use model::{BundleCounts, Explanation, ReleaseId};
use wire::Client;
use wire::api::VerdictView;

use crate::chart;
use crate::look::Look;
use crate::output::Paint;
use crate::words::led;

/// Columns of a chart; with its label and its words it fits 60.
const CHART_COLUMNS: usize = 24;
/// Columns of a chart's label.
const LABEL: usize = 9;
/// A bound of a thousandfold and more bounds nothing.
const TIMES_MAX: u64 = 1_000_000;
/// What is no more than chance.
const NO_DISPERSION: u64 = 1000;

/// The whole verdict.
pub(crate) fn lines(view: &VerdictView, look: Look) -> Vec<String> {
    let mut lines = vec![head(view, look)];
    let reason = match (view.rule, view.reason.as_str()) {
        (Some(rule), reason) => format!("{rule}: {reason}"),
        (None, reason) => reason.to_owned(),
    };
    let Some(explanation) = &view.explanation else {
        let words = match reason.as_str() {
            "" => "nothing was counted".to_owned(),
            reason => format!("{reason} (nothing was counted)"),
        };
        lines.extend(led_if(&word(view), &words, look));
        return lines;
    };
    lines.extend(led_if(&word(view), &reason, look));
    lines.extend(counts("new bundle", explanation.canary, look));
    lines.extend(counts("old bundle", explanation.control, look));
    if let Some(ratio) = &explanation.ratio {
        lines.extend(led("errors", &ratio_words(ratio), look));
    }
    lines.extend(carried(view, explanation, look));
    if explanation.undecided {
        let words = "passed without enough evidence, as the plan says (undecided = \"advance\")";
        lines.extend(led("undecided", words, look));
    }
    for warning in &explanation.warnings {
        lines.extend(led("warning", warning, look));
    }
    lines.extend(unknown(explanation, look));
    // The reason of a wave that waits is what it needs; it is not told twice.
    if !explanation.needs.is_empty() && !reason.contains(&explanation.needs) {
        lines.extend(led("needs", &explanation.needs, look));
    }
    if explanation.record.is_some() {
        let words = format!(
            "`plimsoll verdict {} --replay` computes it again",
            view.release
        );
        lines.extend(led("record", &words, look));
    }
    lines.extend(course(explanation, look));
    lines.extend(metrics(explanation, look));
    lines
}

/// A release's verdict where it is told beside other things: nothing when it can't be had,
/// from a control plane that is older too.
pub(crate) async fn of(client: &Client, release: ReleaseId) -> Option<VerdictView> {
    client.verdict(release).await.ok()
}

/// How it stands, in one line: evidence first, because that is what moves.
pub(crate) fn line(view: &VerdictView) -> Option<String> {
    let explanation = view.explanation.as_ref()?;
    let mut words = evidence(explanation);
    if let Some(ratio) = explanation.ratio.as_ref().filter(|it| tells(it)) {
        words = format!("{words}; errors {}", ratio_words(ratio));
    }
    Some(words)
}

/// `harm 2.1 of 6.9, pass 1.4 of 3.0`.
pub(crate) fn evidence(explanation: &Explanation) -> String {
    let (harm, harm_needed) = harm(explanation);
    let (pass, pass_needed) = pass(explanation);
    format!("harm {harm} of {harm_needed}, pass {pass} of {pass_needed}")
}

fn harm(explanation: &Explanation) -> (String, String) {
    reached(
        explanation.harm_millinats,
        explanation.harm_needed_millinats,
    )
}

fn pass(explanation: &Explanation) -> (String, String) {
    reached(
        explanation.pass_millinats,
        explanation.pass_needed_millinats,
    )
}

fn head(view: &VerdictView, look: Look) -> String {
    let place = match &view.environment {
        Some(environment) if view.wave > 0 => {
            format!(", {environment} {}/{}", view.wave, view.waves)
        }
        Some(environment) => format!(", {environment}"),
        None => String::new(),
    };
    let when = if view.live { ", judged now" } else { "" };
    format!(
        "release {} of {}{place}{when}",
        view.release,
        look.paint(Paint::Bold, view.service.as_str())
    )
}

/// The word alone; it is painted where it stands.
fn word(view: &VerdictView) -> String {
    match view.verdict.as_str() {
        "fail" => "FAIL".to_owned(),
        other => other.to_owned(),
    }
}

/// A line whose lead says how it is meant by its colour.
fn led_if(lead: &str, text: &str, look: Look) -> Vec<String> {
    let paint = match lead {
        "FAIL" => Paint::Red,
        "pass" => Paint::Green,
        _ => Paint::Yellow,
    };
    let mut lines = led(lead, text, look);
    if let Some(first) = lines.first_mut() {
        *first = first.replacen(lead, &look.paint(paint, lead), 1);
    }
    lines
}

fn counts(lead: &str, counts: BundleCounts, look: Look) -> Vec<String> {
    let BundleCounts { requests, failed } = counts;
    let words = match requests {
        0 => "no requests".to_owned(),
        _ => format!(
            "{requests} requests, {failed} failed ({})",
            share(failed, requests)
        ),
    };
    led(lead, &words, look)
}

/// Where the evidence comes from.
fn carried(view: &VerdictView, explanation: &Explanation, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    let by = match (&explanation.metric, &explanation.stratum) {
        (Some(metric), Some(stratum)) => Some(format!("{metric} of {stratum}")),
        (Some(metric), None) => Some(metric.to_string()),
        (None, Some(stratum)) => Some(stratum.clone()),
        (None, None) => None,
    };
    if let Some(by) = by {
        lines.extend(led("carried by", &by, look));
    }
    if let Some(host) = &explanation.suspect {
        let words = format!("{host}: without it the evidence would be weakest");
        lines.extend(led("suspect", &words, look));
    }
    if let Some(before) = explanation.began_before {
        let before = if before.0 == 0 {
            "with the newest second".to_owned()
        } else if view.live {
            format!("about {before} ago")
        } else {
            format!("about {before} before the verdict")
        };
        lines.extend(led("began", &before, look));
    }
    lines
}

/// How it came about, from the first second in the environment to now.
fn course(explanation: &Explanation, look: Look) -> Vec<String> {
    let points = &explanation.course;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let columns = points.len().min(CHART_COLUMNS);
    let line = |label: &str, paint: Paint, chart: &str, words: &str| {
        format!("{label:<LABEL$}{}  {words}", look.paint(paint, chart))
    };
    let (failing, most) = chart::shares(&failures(points), columns);
    let most = most.map_or_else(
        || "none".to_owned(),
        |(part, whole)| format!("at most {}", share(part, whole)),
    );
    let graph = |value: fn(&Point) -> i64, needed: i64| {
        let values: Vec<i64> = points.iter().map(value).collect();
        chart::sparkline(&values, needed, columns)
    };
    let harm = graph(|point| point.harm, explanation.harm_needed_millinats);
    let pass = graph(|point| point.pass, explanation.pass_needed_millinats);
    let ends = format!("second {} to {}", first.second, last.second);
    let (harmful, harm_needed) = self::harm(explanation);
    let (passing, pass_needed) = self::pass(explanation);
    vec![
        String::new(),
        look.paint(Paint::Dim, &ends),
        line("failing", Paint::Yellow, &failing, &most),
        line(
            "harm",
            Paint::Red,
            &harm,
            &format!("{harmful}, goes back at {harm_needed}"),
        ),
        line(
            "pass",
            Paint::Green,
            &pass,
            &format!("{passing}, passes at {pass_needed}"),
        ),
    ]
}

fn failures(points: &[Point]) -> Vec<(u64, u64)> {
    let pair = |point: &Point| (point.failed, point.requests);
    points.iter().map(pair).collect()
}

/// Evidence for harm by metric; how unequal hosts are stands there where they are.
fn metrics(explanation: &Explanation, look: Look) -> Vec<String> {
    let evidence = &explanation.metrics;
    if evidence.is_empty() {
        return Vec::new();
    }
    // Of events it is assumed and not measured.
    let measured = |it: &&model::judged::MetricEvidence| it.metric == Metric::Errors;
    let unequal = evidence
        .iter()
        .filter(measured)
        .any(|it| it.dispersion_permille != NO_DISPERSION);
    let head = if unequal {
        "metric         harm  dispersion"
    } else {
        "metric         harm"
    };
    let mut lines = vec![String::new(), look.paint(Paint::Dim, head)];
    let known = |metric: Metric| evidence.iter().find(|it| it.metric == metric);
    for it in Metric::ALL.into_iter().filter_map(known) {
        let harm = nats(it.millinats / 100);
        let dispersion = match it.dispersion_permille {
            _ if !measured(&it) => String::new(),
            NO_DISPERSION => String::new(),
            permille => format!("  {}", times(permille)),
        };
        lines.push(format!("{:<12} {harm:>6}{dispersion}", it.metric));
    }
    lines
}

/// Seconds that are not part of it.
fn unknown(explanation: &Explanation, look: Look) -> Vec<String> {
    let (late, missing) = (explanation.ticks_late, explanation.ticks_missing);
    let seconds = |count: u64, words: &str| {
        let s = if count == 1 { "" } else { "s" };
        (count > 0).then(|| format!("{count} second{s} {words}"))
    };
    let words: Vec<String> = [
        seconds(late, "came too late and were left out"),
        seconds(missing, "of which nothing is known"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if words.is_empty() {
        return Vec::new();
    }
    led("left out", &words.join(", "), look)
}

/// Whether a ratio says more than that nothing is known.
fn tells(ratio: &Interval) -> bool {
    ratio.low > 0 || ratio.high.is_some()
}

/// `14 times as often, at least 5 times`.
fn ratio_words(ratio: &Interval) -> String {
    // Bounds are rounded outwards: they must go on to hold.
    let low = Some(ratio.low / 100 * 100).filter(|low| *low > 0);
    let low = low.map(|low| times(if low < 10_000 { low } else { low / 1000 * 1000 }));
    let high = ratio.high.filter(|high| *high < TIMES_MAX);
    let high = high.map(|high| match high {
        0..10_000 => times(high.div_ceil(100) * 100),
        10_000.. => times(high.div_ceil(1000) * 1000),
    });
    let bounds = match (low, high) {
        (Some(low), Some(high)) => Some(format!("{low} to {high} times")),
        (Some(low), None) => Some(format!("at least {low} times")),
        (None, Some(high)) => Some(format!("at most {high} times")),
        (None, None) => None,
    };
    match (ratio.estimate, bounds) {
        (Some(0), None) => "never on the new bundle".to_owned(),
        (Some(0), Some(bounds)) => format!("never on the new bundle; {bounds} as often"),
        (Some(1..50), bounds) => format!("under 0.1 times as often{}", behind(bounds)),
        (Some(950..1050), bounds) => format!("as often{}", behind(bounds)),
        (Some(estimate), bounds) => {
            format!("{} times as often{}", times(estimate), behind(bounds))
        }
        // Only seconds and classes count in which both had requests: elsewhere the old one may have failed.
        (None, Some(bounds)) => {
            format!("never on the old bundle where both are compared: {bounds} as often")
        }
        (None, None) => "nothing can be said of how often yet".to_owned(),
    }
}

fn behind(bounds: Option<String>) -> String {
    bounds.map_or_else(String::new, |bounds| format!(", {bounds}"))
}

/// Thousandths as a number: from ten up whole ones, below with one digit behind the point.
fn times(permille: u64) -> String {
    if permille >= 9_950 {
        return (permille.saturating_add(500) / 1000).to_string();
    }
    match (permille + 50) / 100 {
        tenths if tenths % 10 == 0 => (tenths / 10).to_string(),
        tenths => format!("{}.{}", tenths / 10, tenths % 10),
    }
}

/// Evidence and what is needed, in nats with one digit. Evidence is cut and not rounded, so that
/// it reads as enough exactly when it is.
fn reached(millinats: i64, needed: i64) -> (String, String) {
    let needed_tenths = needed.saturating_add(50).div_euclid(100);
    let tenths = millinats / 100;
    let shown = if millinats >= needed {
        tenths.max(needed_tenths)
    } else {
        tenths.min(needed_tenths.saturating_sub(1))
    };
    (nats(shown), nats(needed_tenths))
}

/// Tenths of a nat.
fn nats(tenths: i64) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    let tenths = tenths.unsigned_abs();
    format!("{sign}{}.{}", tenths / 10, tenths % 10)
}

/// A share of requests with two digits that count.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    percentage(percent)
}

/// A percentage with two digits that count.
pub(crate) fn percentage(percent: f64) -> String {
    if percent < 0.0001 {
        return "under 0.0001 %".to_owned();
    }
    let digits = match percent {
        p if p >= 9.95 => 0,
        p if p >= 0.995 => 1,
        p if p >= 0.0995 => 2,
        p if p >= 0.00995 => 3,
        _ => 4,
    };
    let text = format!("{percent:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text} %")
}

#[cfg(test)]
mod tests;
