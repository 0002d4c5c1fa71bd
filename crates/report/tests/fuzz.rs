//! Any text can be read, and what a report writes of itself is at peace.
//!
//! Invariant: no input panics, and each finding's place is in the text.

use jiff::civil::date;
use proptest::prelude::*;
use report::{Entry, Measure, Report, Role, check};

/// Pieces that reports are made of, and pieces of pieces.
const PIECES: &[&str] = &[
    "\n",
    "\r\n",
    "\r",
    " ",
    "- ",
    "* ",
    "1. ",
    "12 - ",
    "# ",
    "## Timeline (PST)\n",
    ">>",
    "|",
    "\t",
    "| Time | What |\n",
    "|---|---|\n",
    "10:00",
    "10:00AM",
    "5.20 PM",
    "12:00 pm WAT",
    "23:59",
    "1430Z",
    "noon",
    " - ",
    " to ",
    "from ",
    "at ",
    "between ",
    " and ",
    "GMT + 1",
    "UTC+03:00",
    "(PCT)",
    "Pacific time",
    "May 12, 2024",
    "2024-05-12",
    "12/05/2024",
    "Febuary 30",
    "Sunday, ",
    "37 minutes",
    "an hour and a half",
    "lasted for ",
    "1.5 hours",
    "0.",
    "99999999999999999999",
    "outage begins",
    "pagers alerted",
    "rolled back",
    "100% of traffic is back online",
    "25%",
    "%",
    "a quarter of the traffic restored",
    "200 error response",
    "503 Bad Gateway",
    "[your name]",
    "<start time>",
    "{{x}}",
    "TBD",
    "<td>",
    "</tr>",
    "<tr>",
    "<h2>",
    "<br",
    "<!--",
    "-->",
    "&nbsp;",
    "&#8211;",
    "&#x110000;",
    "&",
    "[",
    "](",
    ")",
    "![",
    "**",
    "__",
    "`",
    "```\n",
    "~~~",
    "---\n",
    "===\n",
    "## Action items\n",
    "| Owner | Due |\n",
    "@ada",
    "owner: ",
    "due: ",
    "é",
    "🙂",
    "—",
    "’",
    "\u{feff}",
    "\u{0}",
    "．",
    "٣",
    "ß",
    "İ",
    "Root cause:",
    "Summary",
    "Date: ",
    "a.m.",
    "p.m",
    ".",
    "; ",
    "!",
    "am",
    "+",
    "-",
    "T",
    "Z",
    "h",
    ":",
    "00",
    "::",
    "/",
    "\\",
];

fn sound(text: &str) {
    let checked = check(text, None);
    let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count();
    for finding in checked.findings {
        let line = finding.place.line as usize;
        assert!((1..=lines).contains(&line), "{finding:?} of {lines} lines");
        assert!(finding.place.column >= 1, "{finding:?}");
        assert!(!finding.message.is_empty() && !finding.repair.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        sound(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text_is_read(text in "\\PC{0,400}") {
        sound(&text);
    }

    #[test]
    fn any_shuffle_of_pieces_is_read(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..120),
    ) {
        sound(&pieces.concat());
    }

    #[test]
    fn any_shuffle_of_lines_is_read(
        at in prop::collection::vec((0usize..400, 0usize..11), 1..80),
    ) {
        let texts = fixtures();
        let lines: Vec<&str> = at
            .iter()
            .filter_map(|(line, file)| texts[file % texts.len()].lines().nth(line % 40))
            .collect();
        sound(&lines.join("\n"));
    }
}

fn fixtures() -> Vec<String> {
    let folder = format!("{}/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).expect("fixtures").flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("a fixture"))
        .collect()
}

fn written() -> impl Strategy<Value = Report> {
    let steps = prop::collection::vec(0u32..200, 6);
    let zone = prop::sample::select(vec!["UTC", "UTC+01:00", "UTC-07:00", "WAT", "EAT"]);
    let day = (2015i16..2035, 1i8..=12, 1i8..=28);
    (steps, 0u32..1440, zone, day, any::<bool>()).prop_map(|(steps, start, zone, day, owners)| {
        let texts = [
            "configuration change pushed to production",
            "outage begins",
            "pagers alert the on-call engineer",
            "on-call engineer acknowledges",
            "rollback succeeded",
            "100% of traffic is back online",
        ];
        let mut minute = start;
        let timeline: Vec<Entry> = texts
            .iter()
            .zip(steps)
            .map(|(text, step)| {
                minute += step;
                Entry {
                    minute,
                    text: (*text).to_owned(),
                }
            })
            .collect();
        let lasted = timeline[5].minute - timeline[1].minute;
        let measure = |text: &str, done| Measure {
            text: text.to_owned(),
            owner: owners.then(|| "Ada".to_owned()),
            due: owners.then(|| date(2036, 1, 15)),
            done,
        };
        Report {
            title: "Outage of the ordering service".to_owned(),
            date: date(day.0, day.1, day.2),
            zone: zone.to_owned(),
            summary: format!(
                "All requests failed with 500 errors. The outage lasted {lasted} minutes."
            ),
            timeline,
            cause: "A configuration named an address where nobody answers.".to_owned(),
            resolution: "The configuration was rolled back. The pager had told us.".to_owned(),
            measures: vec![
                measure("Test before production", false),
                measure("Page sooner", true),
            ],
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_is_at_peace(report in written()) {
        let text = report.markdown();
        let checked = check(&text, None);
        prop_assert_eq!(&checked.findings, &[], "{}", text);
        let read = &checked.reading;
        prop_assert_eq!(&read.title, &report.title);
        prop_assert_eq!(read.zone.as_ref().map(|it| it.name.as_str()), Some(report.zone.as_str()));
        let minutes: Vec<i64> = read.rows.iter().map(|row| row.at - read.rows[0].at).collect();
        let first = report.timeline[0].minute;
        let expected: Vec<i64> = report.timeline.iter().map(|it| i64::from(it.minute - first)).collect();
        prop_assert_eq!(minutes, expected, "{}", text);
        let texts: Vec<&str> = read.rows.iter().map(|row| row.text.as_str()).collect();
        let expected: Vec<&str> = report.timeline.iter().map(|it| it.text.as_str()).collect();
        prop_assert_eq!(texts, expected);
        prop_assert!(read.rows[5].roles.contains(&Role::Restored(100)));
        let lasted = i64::from(report.timeline[5].minute - report.timeline[1].minute);
        prop_assert_eq!(checked.outage.minutes, Some(lasted));
        prop_assert_eq!(read.actions.len(), report.measures.len());
    }
}

/// Prints how long a megabyte takes: `cargo test --release -p report --test fuzz -- --ignored --nocapture`.
#[test]
#[ignore = "prints times, which mean something only in a release build on a quiet machine"]
fn a_megabyte_takes() {
    const MEGABYTE: usize = 1 << 20;
    let all = fixtures().join("\n\n");
    let mut inputs: Vec<(String, String)> = vec![("fixtures".to_owned(), all.clone())];
    inputs.push(("one line".to_owned(), all.replace('\n', " ")));
    for piece in PIECES {
        inputs.push((format!("{piece:?}"), (*piece).to_owned()));
        inputs.push((
            format!("10:00 {piece:?} line"),
            format!("10:00 {piece} outage begins at 10:00\n"),
        ));
    }
    let mut slowest = (std::time::Duration::ZERO, String::new());
    for (name, piece) in inputs {
        let text = piece.repeat(MEGABYTE / piece.len() + 1);
        let start = std::time::Instant::now();
        let findings = check(&text, None).findings.len();
        let took = start.elapsed();
        if took.as_millis() > 150 {
            println!("{name}: {} ms, {findings} findings", took.as_millis());
        }
        if took > slowest.0 {
            slowest = (took, name);
        }
    }
    println!("slowest: {} with {} ms", slowest.1, slowest.0.as_millis());
}
