//! `plimsoll report`: incident reports, read and held against themselves.
//!
//! Invariant: a file that can't be read never makes the others go unread.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use ::report::{Checked, Finding, Zone};
use model::{Gate, Severity};
use serde::Serialize;

use crate::cli::{ReportArgs, ReportCheckArgs, ReportCommand};
use crate::look::Look;
use crate::output::{self, Failure, Paint, REFUSED, paint};

/// A longer file is no report, and reading it whole would take its own size in memory
/// several times; it is refused with these words.
const FILE_BYTES_MAX: u64 = 16 << 20;

pub(crate) fn report(args: &ReportArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        ReportCommand::Check(args) => check(args).map_err(|failure| failure.with_json(args.json)),
    }
}

/// One file, for programs.
#[derive(Debug, Serialize)]
struct View<'a> {
    file: &'a str,
    zone: Option<&'a str>,
    /// How many lines its timelines have.
    rows: usize,
    /// `2024-05-12T10:00`, or `10:00` when the day isn't known; of the zone above.
    begin: Option<String>,
    restored: Option<String>,
    duration_min: Option<i64>,
    claimed_min: Option<i64>,
    findings: &'a [Finding],
}

fn check(args: &ReportCheckArgs) -> Result<ExitCode, Failure> {
    let mut unread: Option<Failure> = None;
    let mut found = false;
    for path in &args.files {
        let (name, text) = match read(path) {
            Ok(read) => read,
            Err(failure) => {
                // The last one ends the command; the others are told as they come.
                if let Some(before) = unread.replace(failure) {
                    eprintln!("error: {}", before.words());
                }
                continue;
            }
        };
        let checked = ::report::check(&text, args.zone.as_ref());
        found |= !checked.findings.is_empty();
        if args.json {
            output::json(&view(&name, &checked))?;
        } else {
            show(&name, &text, &checked, args.zone.as_ref());
        }
    }
    match unread {
        Some(failure) => Err(failure),
        None if found => Ok(ExitCode::from(REFUSED)),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// A report's name for people, and its text; bytes that are no UTF-8 are replaced,
/// because old reports have other encodings and their figures are the same.
fn read(path: &Path) -> Result<(String, String), Failure> {
    let name = path.display().to_string();
    let broken = |error: std::io::Error| Failure::broken(format!("{name}: {error}"));
    let mut bytes = Vec::new();
    let count = if name == "-" {
        let input = std::io::stdin().lock();
        input.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(path).map_err(broken)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    }
    .map_err(broken)?;
    if count as u64 > FILE_BYTES_MAX {
        let words = format!("{name}: longer than {} MiB", FILE_BYTES_MAX >> 20);
        return Err(Failure::broken(words).next("Name a single report."));
    }
    Ok((name, String::from_utf8_lossy(&bytes).into_owned()))
}

fn view<'a>(file: &'a str, checked: &'a Checked) -> View<'a> {
    let outage = &checked.outage;
    View {
        file,
        zone: checked.reading.zone.as_ref().map(|zone| zone.name.as_str()),
        rows: checked.reading.rows.len(),
        begin: outage.begin.map(|it| it.iso()),
        restored: outage.restored.map(|it| it.iso()),
        duration_min: outage.minutes,
        claimed_min: outage.claimed,
        findings: &checked.findings,
    }
}

/// Each finding under its line, then one line about the whole.
fn show(name: &str, text: &str, checked: &Checked, zone: Option<&Zone>) {
    let look = Look::stdout();
    // Lines may end in either way; places count them as the reader does.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for finding in &checked.findings {
        let shown = model::Finding {
            gate: Gate::Checks,
            severity: Severity::Deny,
            file: Some(name.to_owned()),
            line: finding.place.line,
            column: finding.place.column,
            message: format!("{}: {}", finding.code, finding.message),
            help: Some(finding.repair.clone()),
        };
        println!(
            "{}",
            check::render_finding(&shown, Some(&text), look.width, look.colour)
        );
    }
    let (mark, words) = match checked.findings.len() {
        0 => (
            paint(Paint::Green, "ok"),
            "nothing contradicts itself".to_owned(),
        ),
        1 => (paint(Paint::Red, "1 finding"), String::new()),
        count => (
            paint(Paint::Red, format!("{count} findings")),
            String::new(),
        ),
    };
    let mut facts: Vec<String> = Vec::new();
    facts.extend((!words.is_empty()).then_some(words));
    facts.extend(outage(checked, zone));
    let line = format!(
        "{}: {mark}; {}",
        check::render::harmless(name),
        facts.join("; ")
    );
    println!("{}", line.trim_end_matches([';', ' ']));
}

/// "outage from 10:00 to 10:22 GMT+1, 22 min, 37 min claimed; 8 lines of timeline".
fn outage(checked: &Checked, zone: Option<&Zone>) -> Vec<String> {
    let outage = &checked.outage;
    let mut facts = Vec::new();
    let zone = checked.reading.zone.as_ref().or(zone);
    let zone = zone.map_or(String::new(), |zone| {
        format!(" {}", check::render::harmless(&zone.name))
    });
    let claimed = outage
        .claimed
        .map(|minutes| format!(", {minutes} min claimed"));
    let claimed = claimed.unwrap_or_default();
    match (outage.begin, outage.restored, outage.minutes) {
        (Some(begin), Some(restored), Some(minutes)) => facts.push(format!(
            "outage from {} to {}{zone}, {minutes} min{claimed}",
            begin.iso(),
            restored.iso(),
        )),
        (Some(begin), ..) => facts.push(format!("outage from {}{zone}{claimed}", begin.iso())),
        _ if !claimed.is_empty() => facts.push(claimed.trim_start_matches([',', ' ']).to_owned()),
        _ => {}
    }
    match checked.reading.rows.len() {
        0 => facts.push("no timeline".to_owned()),
        1 => facts.push("1 line of timeline".to_owned()),
        count => facts.push(format!("{count} lines of timeline")),
    }
    facts
}
