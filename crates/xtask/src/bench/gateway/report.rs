//! Tables on the terminal, each with what was promised beside it.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

use super::memory::Memory;
use super::overload::{Bound, Outcome};
use super::stats::Spread;
use super::throughput::Row;

/// Of the best of nginx, `HAProxy` and Envoy in the same run, at least.
const PER_S_LEAST: f64 = 0.95;
/// Of nginx's in the same run, at most.
const CPU_MOST: f64 = 1.1;

/// One table of saturating runs; with `judged`, what is promised of our gateway's own.
pub(super) fn throughput(title: &str, rows: &[Row], judged: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{title}: median (least to most)")?;
    writeln!(
        out,
        "{:<18} {:>24} {:>8} {:>7} {:>7} {:>20} {:>8} {:>8} {:>5}",
        "",
        "requests/s",
        "x nginx",
        "p50 ms",
        "p99 ms",
        "CPU us/request",
        "x nginx",
        "RSS MiB",
        "bad"
    )?;
    let ratio = |it: Option<f64>| it.map_or(String::from("-"), |it| format!("{it:.2}"));
    for row in rows {
        let cpu = row.cpu_us.map_or(String::from("-"), |it| spread(&it, 1));
        let rss = row
            .rss_kib
            .map_or(String::from("-"), |it| (it / 1024).to_string());
        writeln!(
            out,
            "{:<18} {:>24} {:>8} {:>7.2} {:>7.2} {cpu:>20} {:>8} {rss:>8} {:>5}",
            row.name,
            spread(&row.per_s, 0),
            ratio(row.per_s_ratio),
            row.p50_ms.median,
            row.p99_ms.median,
            ratio(row.cpu_ratio),
            row.bad,
        )?;
    }
    if judged {
        promises(&mut out, rows)?;
    }
    Ok(())
}

fn promises(out: &mut impl Write, rows: &[Row]) -> Result<()> {
    let is_peer = |row: &&Row| ["nginx", "haproxy", "envoy"].contains(&row.name.as_str());
    let best = rows
        .iter()
        .filter(is_peer)
        .map(|row| row.per_s.median)
        .fold(0.0, f64::max);
    for row in rows.iter().filter(|row| row.name.starts_with("ours")) {
        if best > 0.0 {
            let reached = row.per_s.median / best;
            promise(
                out,
                &row.name,
                "requests/s of the best peer's",
                reached,
                PER_S_LEAST,
                reached >= PER_S_LEAST,
            )?;
        }
        if let Some(cpu) = row.cpu_ratio {
            promise(
                out,
                &row.name,
                "CPU of nginx's, at most",
                cpu,
                CPU_MOST,
                cpu <= CPU_MOST,
            )?;
        }
    }
    Ok(())
}

fn promise(
    out: &mut impl Write,
    name: &str,
    what: &str,
    reached: f64,
    bound: f64,
    kept: bool,
) -> Result<()> {
    let word = if kept { "kept" } else { "MISSED" };
    writeln!(
        out,
        "{name}: {what}: {reached:.2}, promised {bound}: {word}"
    )?;
    Ok(())
}

/// One gateway in one scenario, a line for each figure.
pub(super) fn outcome(outcome: &Outcome) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<24} {}", outcome.scenario, outcome.gateway)?;
    for figure in &outcome.figures {
        let value = &figure.value;
        let promised = match figure.bound {
            None => String::new(),
            Some(bound) => {
                let (words, number) = match bound {
                    Bound::Least(least) => ("at least", least),
                    Bound::Most(most) => ("at most", most),
                };
                let kept = if bound.holds(value.median) {
                    "kept"
                } else {
                    "MISSED"
                };
                format!("; promised {words} {}: {kept}", short(number))
            }
        };
        let (median, min, max) = (short(value.median), short(value.min), short(value.max));
        writeln!(
            out,
            "    {:<28} {median} ({min} to {max}){promised}",
            figure.what
        )?;
    }
    if outcome.late > 0 {
        writeln!(
            out,
            "    {} requests left late: the machine was short of time",
            outcome.late
        )?;
    }
    Ok(())
}

/// Resident memory over a long overload.
pub(super) fn memory(rows: &[Memory]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\nMemory in an overload of 10x, MiB: start, middle, end"
    )?;
    for row in rows {
        let [start, middle, end] = [row.start_kib, row.middle_kib, row.end_kib].map(|it| it / 1024);
        let name = &row.gateway;
        writeln!(
            out,
            "{name:<18} {start:>6} {middle:>6} {end:>6}   in {} min",
            row.minutes
        )?;
    }
    Ok(())
}

/// Three digits behind the point of what is small, none of what is large.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.4}"),
    }
}

/// On what this was, and how busy that was.
pub(super) fn machine(report: &Value) -> Result<()> {
    let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    writeln!(
        std::io::stdout().lock(),
        "\n{}; load {}",
        text("machine"),
        text("load")
    )?;
    Ok(())
}

fn spread(it: &Spread, digits: usize) -> String {
    format!(
        "{:.digits$} ({:.digits$} to {:.digits$})",
        it.median, it.min, it.max
    )
}
