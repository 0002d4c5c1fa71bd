//! The five reports that this project began with: every contradiction in them,
//! and nothing else. They lie beside the project's folder and are no part of it.
//!
//! Invariant: what is expected was read by a person, line by line, before there
//! was a program to read it.

use std::path::PathBuf;

use report::{Code, check};

/// Beginning of the file's name; codes with their lines; minutes; minutes claimed.
type Expected = (&'static str, &'static [(Code, u32)], i64, Option<i64>);

const EXPECTED: [Expected; 5] = [
    // Pushed at 11:49 in the morning, and at night.
    ("000", &[(Code::ClockSlip, 14)], 55, None),
    ("001", &[(Code::ClockSlip, 17)], 55, None),
    (
        "002",
        &[
            // From 8:00 here, from 8:16 in the timeline; PCT; 200 as an error.
            (Code::SummaryWindowMismatch, 7),
            (Code::StatusCodeContradiction, 7),
            (Code::ZoneUnknown, 7),
            // PST in September (again in line 31), and begun at 8:00 once more.
            (Code::ZoneDst, 27),
            (Code::ProseDisagrees, 27),
            // Found at 9:40 what was rolled back at 9:24.
            (Code::EffectBeforeCause, 31),
        ],
        222,
        None,
    ),
    // 37 minutes from the change, 22 from the outage.
    ("003", &[(Code::DurationMismatch, 10)], 22, Some(37)),
    // A quarter of the traffic back at 7:32, lost at 8:04; no zone.
    (
        "004",
        &[(Code::ZoneMissing, 9), (Code::EffectBeforeCause, 22)],
        97,
        None,
    ),
];

#[test]
fn every_contradiction_is_found_and_nothing_else() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reports");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("absent: {}; nothing is checked", folder.display());
        return;
    };
    let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    for (name, expected, minutes, claimed) in EXPECTED {
        let named = |path: &&PathBuf| {
            path.file_name()
                .is_some_and(|it| it.to_string_lossy().starts_with(name))
        };
        let path = files
            .iter()
            .find(named)
            .unwrap_or_else(|| panic!("no report {name}"));
        let bytes = std::fs::read(path).unwrap();
        let checked = check(&String::from_utf8_lossy(&bytes), None);
        let mut found: Vec<(Code, u32)> = checked
            .findings
            .iter()
            .map(|finding| (finding.code, finding.place.line))
            .collect();
        found.sort_by_key(|(code, line)| (*line, code.as_str()));
        let mut expected = expected.to_vec();
        expected.sort_by_key(|(code, line)| (*line, code.as_str()));
        assert_eq!(found, expected, "{name}: {:#?}", checked.findings);
        assert_eq!(checked.outage.minutes, Some(minutes), "{name}");
        assert_eq!(checked.outage.claimed, claimed, "{name}");
    }
}
