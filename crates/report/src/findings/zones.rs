//! `zone-missing`, `zone-unknown`, `zone-dst`.
//!
//! Invariant: a zone that may be right somewhere on that day is right.

use super::{Code, Finding};
use crate::calendar;
use crate::layout::{Kind, Shape};
use crate::reading::{Reading, ZoneUse};

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(missing(reading));
    found.extend(unknown(reading));
    found.extend(wrong_half(reading));
    found
}

fn missing(reading: &Reading) -> Option<Finding> {
    if reading.zone.is_some()
        || !reading.zones.is_empty()
        || !reading.unknown_zones.is_empty()
        || reading.times < 2
        || reading.blocks.iter().any(|block| says_any(&block.text.raw))
    {
        return None;
    }
    let heading = reading
        .blocks
        .iter()
        .find(|block| block.kind == Kind::Timeline && block.shape == Shape::Heading);
    let place = match (heading, reading.rows.first()) {
        (Some(heading), Some(_)) => heading.text.place(0),
        _ => reading.first_time?,
    };
    let message = format!("{} times of day are told, and no time zone", reading.times);
    let repair = "name the zone once, in the timeline's heading: (UTC), (UTC+01:00)";
    Some(Finding::new(Code::ZoneMissing, place, message, repair))
}

/// Any word that names a zone, wherever it stands.
fn says_any(raw: &str) -> bool {
    const NAMES: &[&str] = &[
        "UTC", "GMT", "PST", "PDT", "EST", "EDT", "CST", "CDT", "MST", "MDT", "CET", "CEST", "WAT",
        "EAT", "IST", "BST", "JST", "SGT", "AEST", "AEDT", "SAST", "NZST", "NZDT", "timezone",
    ];
    let named = |word: &str| (3..=8).contains(&word.len()) && NAMES.contains(&word);
    calendar::words(raw).iter().any(|(_, word)| named(word))
        || raw.contains("time zone")
        || raw.contains("local time")
}

/// One finding for each name, at its first use.
fn unknown(reading: &Reading) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    let mut told: Vec<&str> = Vec::new();
    for (name, place) in &reading.unknown_zones {
        if told.contains(&name.as_str()) {
            continue;
        }
        told.push(name);
        let message = format!(
            "{name} is no time zone{}",
            others(reading, place.line, name)
        );
        let repair = match &reading.zone {
            Some(zone) => format!("write {}, as elsewhere in the report", right(reading, zone)),
            None => "name the zone by its offset: UTC+01:00".to_owned(),
        };
        found.push(Finding::new(Code::ZoneUnknown, *place, message, repair));
    }
    found
}

fn others(reading: &Reading, line: u32, name: &str) -> String {
    let lines = reading
        .unknown_zones
        .iter()
        .filter(|(it, place)| it == name && place.line != line);
    list(lines.map(|(_, place)| place.line).collect())
}

/// "; also in lines 3, 4".
fn list(mut lines: Vec<u32>) -> String {
    /// More of them help nobody.
    const SHOWN: usize = 8;
    lines.sort_unstable();
    lines.dedup();
    let more = if lines.len() > SHOWN { ", ..." } else { "" };
    let shown: Vec<String> = lines.iter().take(SHOWN).map(u32::to_string).collect();
    match shown.as_slice() {
        [] => String::new(),
        [one] => format!("; also in line {one}"),
        _ => format!("; also in lines {}{more}", shown.join(", ")),
    }
}

/// The zone's name on the day of the incident.
fn right(reading: &Reading, zone: &crate::zone::Zone) -> String {
    let other = reading.date.and_then(|day| zone.right_on(day));
    other.map_or(zone.name.clone(), str::to_owned)
}

/// Standard time in summer, or summer time in winter; one finding for each name.
fn wrong_half(reading: &Reading) -> Vec<Finding> {
    let day_of = |it: &ZoneUse| {
        let own = it.day.as_ref().and_then(|day| day.certain());
        own.or(reading.date)
    };
    let wrong: Vec<(&ZoneUse, &'static str, jiff::civil::Date)> = reading
        .zones
        .iter()
        .filter_map(|it| {
            let day = day_of(it)?;
            Some((it, it.zone.right_on(day)?, day))
        })
        .collect();
    let mut found: Vec<Finding> = Vec::new();
    let mut told: Vec<String> = Vec::new();
    for (it, right, day) in &wrong {
        let name = it.zone.name.to_ascii_uppercase();
        if told.contains(&name) {
            continue;
        }
        let same = wrong.iter().filter(|(other, ..)| {
            other.zone.name.eq_ignore_ascii_case(&name) && other.place.line != it.place.line
        });
        let also = list(same.map(|(other, ..)| other.place.line).collect());
        let message = format!(
            "{} is not in use on {day}, when clocks show {right}{also}",
            it.zone.name
        );
        let repair = format!("write {right}");
        found.push(Finding::new(Code::ZoneDst, it.place, message, repair));
        told.push(name);
    }
    found
}
