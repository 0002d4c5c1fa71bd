//! The same objectives as a rule file for Prometheus.
//!
//! Invariant: an alert of Prometheus has the labels of our own about the same
//! budget, so whoever finds it first, it is one alert.

use std::fmt::Write;

use model::incident::Objective;

use super::{BURN_ALERT, DAY, EVENTS_MIN, HOUR, MINUTE, WINDOWS, Windows, spare};

/// Recording and alerting rules of all objectives that name their counters.
pub fn rules(objectives: &[Objective]) -> String {
    let counted = objectives.iter().filter(|it| !it.good.is_empty());
    let groups: String = counted.map(group).collect();
    match groups.is_empty() {
        true => "groups: []\n".to_owned(),
        false => format!("groups:\n{groups}"),
    }
}

fn group(objective: &Objective) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(
        out,
        "  - name: {}",
        quoted(&format!("plimsoll-slo-{}", objective.name))
    );
    let _ = writeln!(out, "    interval: 30s\n    rules:");
    let mut spans: Vec<u64> = WINDOWS.iter().flat_map(|it| [it.short, it.long]).collect();
    spans.sort_unstable();
    spans.dedup();
    for seconds in spans {
        let span = span(seconds);
        let (good, total) = (&objective.good, &objective.total);
        let expr = format!(
            "1 - ((sum(rate({good}[{span}])) or vector(0)) / (sum(rate({total}[{span}])) > 0))"
        );
        out.push_str(&record(
            &format!("plimsoll:slo_errors:ratio_rate{span}"),
            &expr,
            objective,
        ));
    }
    for long in WINDOWS.iter().map(|it| it.long) {
        let span = span(long);
        let expr = format!("sum(increase({}[{span}]))", objective.total);
        let name = format!("plimsoll:slo_requests:increase{span}");
        out.push_str(&record(&name, &expr, objective));
    }
    for page in [true, false] {
        out.push_str(&alert(objective, page));
    }
    out
}

fn record(name: &str, expr: &str, objective: &Objective) -> String {
    format!(
        "      - record: {name}\n        expr: {}\n        labels:\n          objective: {}\n          service: {}\n",
        quoted(expr),
        quoted(&objective.name),
        quoted(objective.service.as_str())
    )
}

fn alert(objective: &Objective, page: bool) -> String {
    let severity = if page { "error" } else { "warning" };
    let either = WINDOWS.iter().filter(|it| it.page == page);
    let either: Vec<String> = either.map(|it| agree(objective, it)).collect();
    let days = objective.window_days;
    let summary = format!(
        "{{{{ $value | humanizePercentage }}}} of requests fail: the budget of {days} days is used too fast"
    );
    let mut out = format!("      - alert: {BURN_ALERT}\n");
    for (indent, name, value) in [
        (8, "expr", Some(either.join(" or "))),
        (8, "labels", None),
        (10, "objective", Some(objective.name.clone())),
        (10, "service", Some(objective.service.to_string())),
        (10, "severity", Some(severity.to_owned())),
        (8, "annotations", None),
        (10, "summary", Some(summary)),
    ] {
        let value = value.map_or(String::new(), |value| format!(" {}", quoted(&value)));
        let _ = writeln!(out, "{:indent$}{name}:{value}", "");
    }
    out
}

/// Both windows burn, and there are enough requests to say so.
fn agree(objective: &Objective, windows: &Windows) -> String {
    let name = &objective.name;
    let limit = decimal(windows.factor_tenths * spare(objective));
    let (long, short) = (span(windows.long), span(windows.short));
    let of = |span: &str| format!("plimsoll:slo_errors:ratio_rate{span}{{objective=\"{name}\"}}");
    format!(
        "({} >= {limit} and {} >= {limit} and plimsoll:slo_requests:increase{long}{{objective=\"{name}\"}} >= {EVENTS_MIN})",
        of(&long),
        of(&short)
    )
}

/// Ten-millionths as a decimal number.
fn decimal(parts: u64) -> String {
    let text = format!("{}.{:07}", parts / 10_000_000, parts % 10_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn span(seconds: u64) -> String {
    match seconds {
        seconds if seconds % DAY == 0 => format!("{}d", seconds / DAY),
        seconds if seconds % HOUR == 0 => format!("{}h", seconds / HOUR),
        seconds => format!("{}m", seconds / MINUTE),
    }
}

/// A YAML scalar in single quotes; what is declared holds no line break.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
