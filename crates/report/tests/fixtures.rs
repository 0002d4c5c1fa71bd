//! Reports of many forms, each in order, and each with one thing that isn't.
//!
//! Invariant: nothing is found in the first, and exactly one thing in the second.

use report::{Code, check};

/// File, what is replaced in it, by what, and what is found then, in which line.
const SEEDS: &[(&str, &str, &str, Code, u32)] = &[
    (
        "availability.md",
        "1 hour and 12 minutes",
        "1 hour and 48 minutes",
        Code::DurationMismatch,
        5,
    ),
    (
        "cloud.md",
        "28 hours",
        "20 hours",
        Code::DurationMismatch,
        18,
    ),
    (
        "handbook.md",
        "**13:28**",
        "**12:28**",
        Code::OutOfOrder,
        30,
    ),
    (
        "markdown.md",
        "@otto due",
        "due",
        Code::ActionWithoutOwner,
        28,
    ),
    (
        "newest.md",
        "from 16:31 to",
        "from 16:23 to",
        Code::SummaryWindowMismatch,
        18,
    ),
    (
        "night.txt",
        "failed at 11:58 PM",
        "failed at 11:58 AM",
        Code::ClockSlip,
        17,
    ),
    ("prose.txt", "9:41 AM PST", "9:41 AM PDT", Code::ZoneDst, 8),
    (
        "sre.md",
        "down for 58 minutes",
        "down for 85 minutes",
        Code::DurationMismatch,
        9,
    ),
    (
        "student.md",
        "502 Bad Gateway",
        "502 Service Unavailable",
        Code::StatusCodeContradiction,
        6,
    ),
    (
        "table.html",
        "Tuesday, 14",
        "Wednesday, 14",
        Code::DateMismatch,
        3,
    ),
    ("updates.txt", "09:58", "10:58", Code::OutOfOrder, 11),
];

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn found(text: &str) -> Vec<(Code, u32)> {
    let findings = check(text, None).findings;
    findings
        .into_iter()
        .map(|it| (it.code, it.place.line))
        .collect()
}

#[test]
fn nothing_is_found_in_a_report_that_is_in_order() {
    for (name, ..) in SEEDS {
        assert_eq!(found(&fixture(name)), [], "{name}");
    }
}

#[test]
fn one_contradiction_is_one_finding() {
    for (name, from, to, code, line) in SEEDS {
        let text = fixture(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        assert_eq!(
            found(&text.replacen(from, to, 1)),
            [(*code, *line)],
            "{name}: {to}"
        );
    }
}

#[test]
fn ends_of_lines_and_endings_of_tables_change_nothing() {
    for (name, from, to, code, line) in SEEDS {
        let text = fixture(name);
        assert_eq!(found(&text.replace('\n', "\r\n")), [], "{name}");
        let seeded = text.replacen(from, to, 1).replace('\n', "\r\n");
        assert_eq!(found(&seeded), [(*code, *line)], "{name}");
    }
}

/// The outage as it is read from each form: minutes, and what is claimed.
#[test]
fn the_outage_is_read_from_every_form() {
    for (name, minutes, claimed, zone) in [
        ("availability.md", Some(72), Some(72), Some("UTC")),
        ("cloud.md", Some(1725), Some(1725), Some("UTC")),
        ("handbook.md", Some(102), None, Some("CET")),
        ("markdown.md", Some(50), Some(50), Some("UTC")),
        ("newest.md", Some(50), Some(50), Some("Pacific time")),
        ("night.txt", Some(45), None, Some("Africa/Lagos")),
        ("sre.md", Some(58), Some(58), Some("UTC")),
        ("student.md", Some(90), Some(90), Some("EAT")),
        ("table.html", Some(47), Some(47), Some("UTC+03:00")),
    ] {
        let checked = check(&fixture(name), None);
        assert_eq!(checked.outage.minutes, minutes, "{name}");
        assert_eq!(checked.outage.claimed, claimed, "{name}");
        let read = checked.reading.zone.map(|zone| zone.name);
        assert_eq!(read.as_deref(), zone, "{name}");
    }
}
