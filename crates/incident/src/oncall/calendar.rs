//! A schedule as a calendar feed (RFC 5545).
//!
//! Invariant: a shift keeps its `UID` whatever becomes of it. It is made of the
//! schedule and the turn (or the override), never of times, so that a moved
//! handoff moves the entry in people's calendars instead of doubling it; one
//! that somebody else took over is `CANCELLED` and not just gone.

use std::collections::{BTreeMap, BTreeSet};

use model::incident::Contact;
use model::{ContactName, ScheduleName, Timestamp};

use super::shifts::{layered, real, turns_began};
use super::{
    PREVIEW_DAYS_MAX, Plan, Shift, Source, days_between, days_from, local_date, turn_starts,
};
use crate::state::State;

/// Longest line, in octets without its end (RFC 5545, 3.1).
const LINE_OCTETS_MAX: usize = 75;

/// What a feed shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// Of which schedule.
    pub schedule: ScheduleName,
    /// Only this contact's shifts.
    pub contact: Option<ContactName>,
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
    /// The right-hand side of each UID: the control plane's own name.
    pub domain: String,
}

/// The feed as text; none if there is no such schedule.
pub fn feed(state: &State, feed: &Feed) -> Option<String> {
    let plan = Plan::of(state, &feed.schedule)?;
    let known = state.schedules.get(&feed.schedule);
    let revision = known.map_or(0, |it| it.revision);
    let stamp = known.and_then(|it| it.changed_at);
    let stamp = stamp.unwrap_or(Timestamp::UNIX_EPOCH);
    let mut lines = Lines(String::new());
    for (name, value) in [
        ("BEGIN", "VCALENDAR"),
        ("VERSION", "2.0"),
        ("PRODID", "-//Plimsoll//on call//EN"),
        ("CALSCALE", "GREGORIAN"),
        ("METHOD", "PUBLISH"),
    ] {
        lines.add(name, value);
    }
    lines.text("X-WR-CALNAME", &format!("On call: {}", feed.schedule));
    for entry in entries(&plan, feed) {
        let contact = state.setup.contacts.get(&entry.contact);
        lines.add("BEGIN", "VEVENT");
        lines.text("UID", &entry.uid);
        lines.add("SEQUENCE", &revision.to_string());
        lines.add("DTSTAMP", &utc(stamp));
        lines.add("DTSTART", &utc(entry.from));
        lines.add("DTEND", &utc(entry.until));
        let name = named(&entry.contact, contact);
        lines.text("SUMMARY", &format!("{name} on call ({})", feed.schedule));
        let status = match entry.cancelled {
            true => "CANCELLED",
            false => "CONFIRMED",
        };
        lines.add("STATUS", status);
        lines.add("TRANSP", "TRANSPARENT");
        lines.add("END", "VEVENT");
    }
    lines.add("END", "VCALENDAR");
    Some(lines.0)
}

struct Entry {
    uid: String,
    contact: ContactName,
    from: Timestamp,
    until: Timestamp,
    cancelled: bool,
}

/// Shifts as they are, and those that somebody would have had.
fn entries(plan: &Plan<'_>, feed: &Feed) -> Vec<Entry> {
    // Whole turns, so that an entry is named the same however much of it is shown.
    let from = turns_began(plan, feed.from);
    let until = feed.until.min(days_from(feed.from, PREVIEW_DAYS_MAX));
    let mut pieces: BTreeMap<String, u32> = BTreeMap::new();
    let mut entry = |shift: &Shift, cancelled: bool| {
        let (contact, source) = shift.who.as_ref()?;
        let name = part(plan, feed, *source, shift.from);
        let piece = pieces.entry(name.clone()).or_default();
        let uid = format!("{name}-{piece}@{}", feed.domain);
        *piece += 1;
        let wanted = feed.contact.as_ref().is_none_or(|wanted| wanted == contact);
        (wanted && shift.until > feed.from).then(|| Entry {
            uid,
            contact: contact.clone(),
            from: shift.from,
            until: shift.until,
            cancelled,
        })
    };
    let now = real(plan, from, until);
    let mut all: Vec<Entry> = now.iter().filter_map(|it| entry(it, false)).collect();
    let name = |shift: &Shift| {
        let (_, source) = shift.who.as_ref()?;
        Some(part(plan, feed, *source, shift.from))
    };
    let kept: BTreeSet<String> = now.iter().filter_map(name).collect();
    let planned = layered(plan, from, until);
    let gone = planned
        .iter()
        .filter(|shift| name(shift).is_some_and(|name| !kept.contains(&name)));
    all.extend(gone.filter_map(|shift| entry(shift, true)));
    all.sort_by(|a, b| (a.from, &a.uid).cmp(&(b.from, &b.uid)));
    all
}

/// What an entry is a part of: the day of a turn, counted from 0, or an override.
fn part(plan: &Plan<'_>, feed: &Feed, source: Source, from: Timestamp) -> String {
    let schedule = &feed.schedule;
    match source {
        Source::Layer { layer, turn } => {
            let declared = plan.schedule.layers.get(layer);
            let began = declared.and_then(|it| turn_starts(&plan.zone, it, turn));
            let began = local_date(&plan.zone, began.unwrap_or(from));
            let day = days_between(began, local_date(&plan.zone, from));
            format!("{schedule}-layer{layer}-turn{turn}-day{day}")
        }
        Source::Override { id } => format!("{schedule}-override{id}"),
    }
}

fn named<'a>(id: &'a ContactName, contact: Option<&'a Contact>) -> &'a str {
    let name = contact.map(|contact| contact.name.as_str());
    name.filter(|name| !name.is_empty()).unwrap_or(id.as_str())
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

struct Lines(String);

impl Lines {
    /// A line whose value needs no escapes.
    fn add(&mut self, name: &str, value: &str) {
        self.0.push_str(&folded(&format!("{name}:{value}")));
    }

    /// A line of text.
    fn text(&mut self, name: &str, value: &str) {
        self.add(name, &escaped(value));
    }
}

/// TEXT of RFC 5545, 3.3.11. Other control characters are not allowed in it and left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// A content line, folded where a character begins, with its end.
pub(crate) fn folded(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 8);
    let mut octets = 0;
    for c in line.chars() {
        if octets + c.len_utf8() > LINE_OCTETS_MAX {
            out.push_str("\r\n ");
            octets = 1;
        }
        out.push(c);
        octets += c.len_utf8();
    }
    out.push_str("\r\n");
    out
}
