//! Sentences, and which words of them belong to which time.
//!
//! Invariant: a fact's clause never reaches into another sentence.

use std::ops::Range;

use crate::calendar::{self, DateToken, WrittenDate};
use crate::clock::{self, Half, Hedge, Time};
use crate::layout::{Block, Kind};
use crate::place::{Place, Text};
use crate::role::{self, Role};
use crate::span::{self, Span};
use crate::zone::Zone;

/// A time in running text, and what it is about.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) place: Place,
    pub(crate) time: Time,
    /// The date in its sentence.
    pub(crate) date: Option<WrittenDate>,
    pub(crate) zone: Option<Zone>,
    pub(crate) hedge: Hedge,
    pub(crate) roles: Vec<Role>,
    pub(crate) kind: Kind,
    pub(crate) section: usize,
    /// The words that it belongs to, in lower case.
    pub(crate) clause: String,
    /// It is the first time of its sentence and stands at its beginning.
    pub(crate) leads: bool,
    /// A field like "Start time: 10:00".
    pub(crate) field: bool,
}

impl Fact {
    /// The time, and the zone that stands with it.
    pub(crate) fn clock(&self) -> (Time, Option<&Zone>) {
        (self.time, self.zone.as_ref())
    }
}

/// "From ... to ...", told of the outage.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) place: Place,
    pub(crate) from: Time,
    pub(crate) to: Time,
    pub(crate) date: Option<WrittenDate>,
    pub(crate) zone: Option<Zone>,
    pub(crate) hedge: Hedge,
    pub(crate) kind: Kind,
    pub(crate) section: usize,
    /// It spans two dates, so its length is more than the clock says.
    pub(crate) days: bool,
}

impl Window {
    /// Its length in minutes; midnight may lie within.
    pub(crate) fn minutes(&self) -> i64 {
        let open = self.from.half == Half::Open && self.to.half == Half::Open;
        // From 11:30 to 1:00 is an hour and a half, not thirteen and a half.
        let turn = if open { clock::HALF_DAY } else { clock::DAY };
        (self.to.of() - self.from.of()).rem_euclid(turn)
    }
}

/// How long the outage is said to have lasted.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) place: Place,
    pub(crate) span: Span,
    pub(crate) kind: Kind,
    pub(crate) section: usize,
}

/// A sentence with more times than this is a log in one line.
const SENTENCE_TIMES_MAX: usize = 50;

#[derive(Debug, Default)]
pub(crate) struct Prose {
    pub(crate) facts: Vec<Fact>,
    pub(crate) windows: Vec<Window>,
    pub(crate) claims: Vec<Claim>,
}

/// Takes what a paragraph, an item or a field tells.
pub(crate) fn read(block: &Block, into: &mut Prose) {
    let text = &block.text;
    let (times, dates) = (&block.times, &block.dates);
    if !matches!(block.kind, Kind::Actions | Kind::Lessons | Kind::Timeline) {
        for token in span::claims(text) {
            into.claims.push(Claim {
                place: text.place(token.start),
                span: token.span,
                kind: block.kind,
                section: block.section,
            });
        }
    }
    let mut next = 0;
    for sentence in sentences(text) {
        let from = next;
        while times
            .get(next)
            .is_some_and(|token| token.start < sentence.end)
        {
            next += 1;
        }
        let first = dates.partition_point(|date| date.start < sentence.start);
        let inside: Vec<&DateToken> = dates[first..]
            .iter()
            .take_while(|date| date.start < sentence.end)
            .take(3)
            .collect();
        // Beyond so many times it is a log, and nothing rests on it.
        let told = &times[from..next.min(from + SENTENCE_TIMES_MAX)];
        one(block, &sentence, told, &inside, into);
    }
}

fn one(
    block: &Block,
    sentence: &Range<usize>,
    times: &[clock::Token],
    dates: &[&DateToken],
    into: &mut Prose,
) {
    let text = &block.text;
    // Of several dates nobody can tell which is meant.
    let date = match dates {
        [one] => Some(one.date.clone()),
        _ => None,
    };
    let outage = is_outage(text.low_in(sentence.start, sentence.end));
    let clauses = clauses(text, sentence, times);
    for (at, (token, clause)) in times.iter().zip(clauses).enumerate() {
        let place = text.place(token.start);
        if let Some(to) = token.until {
            if outage && !matches!(block.kind, Kind::Actions | Kind::Lessons) {
                into.windows.push(Window {
                    place,
                    from: token.time,
                    to,
                    date: date.clone(),
                    zone: token.zone().cloned(),
                    hedge: token.hedge,
                    kind: block.kind,
                    section: block.section,
                    days: dates.len() > 1,
                });
            }
            continue;
        }
        let words = text.low_in(clause.start, clause.end);
        let field = field(text.low_in(sentence.start, token.start));
        let roles = match field {
            Some(role) => vec![role],
            None => role::roles(words),
        };
        let before = text.low_in(sentence.start, token.start);
        into.facts.push(Fact {
            place,
            time: token.time,
            date: date.clone(),
            zone: token.zone().cloned(),
            hedge: token.hedge,
            roles,
            kind: block.kind,
            section: block.section,
            clause: words.to_owned(),
            leads: at == 0 && matches!(before.trim(), "at" | "on" | ""),
            field: field.is_some(),
        });
    }
}

/// The role of a field's label: "start time:", "| end |".
fn field(before: &str) -> Option<Role> {
    // A date may stand between the label and the time.
    let head = before.split(|c: char| c.is_ascii_digit()).next()?;
    let (label, _) = head.trim_start_matches(['|', ' ']).split_once([':', '|'])?;
    if label.len() > 40 {
        return None;
    }
    let label: Vec<&str> = label
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| {
            ![
                "outage", "incident", "issue", "time", "date", "of", "the", "at", "and", "",
            ]
            .contains(word)
        })
        .collect();
    Some(match label.as_slice() {
        ["start" | "started" | "begin" | "began" | "beginning"] => Role::Begin,
        ["end" | "ended" | "resolved" | "resolution" | "restored" | "recovered"] => {
            Role::Restored(100)
        }
        ["detected" | "detection"] => Role::Detect,
        _ => return None,
    })
}

/// It tells of an outage, and not of work that was planned.
fn is_outage(low: &str) -> bool {
    let told = [
        "outage",
        "unavailab",
        "down",
        "error",
        "degrad",
        "affect",
        "impact",
        "incident",
        "disrupt",
        "interrupt",
        "fail",
        "duration",
        "window",
        "experienced",
        "unable",
        "could not",
        "inaccessible",
        "unreachable",
        "slow",
        "offline",
        "when:",
        "time:",
    ];
    let other = [
        "maintenance",
        "scheduled",
        "business hours",
        "working hours",
        "office hours",
        "deploy",
        "every ",
        "some users",
        "again",
        "second ",
        "first ",
        "partial",
        "daily",
        "peak",
        "meeting",
        "additional",
    ];
    told.iter().any(|word| low.contains(word)) && !other.iter().any(|word| low.contains(word))
}

/// Splits where a full stop ends a sentence and not an abbreviation.
pub(crate) fn sentences(text: &Text) -> Vec<Range<usize>> {
    let bytes = text.raw.as_bytes();
    let mut found = Vec::new();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let ends = match byte {
            b'!' | b'?' | b'|' => true,
            b'.' | b';' => stops(text, at),
            _ => false,
        };
        let gap = *byte == b'|' || bytes.get(at + 1).is_none_or(|b| b" \"')".contains(b));
        if ends && gap && !is_label(text, start, at) {
            found.push(start..at + 1);
            start = at + 1;
        }
    }
    if start < bytes.len() {
        found.push(start..bytes.len());
    }
    found
}

/// A cell that only names the next one belongs to it: `| Duration | 10:00 - 10:22 |`.
fn is_label(text: &Text, start: usize, at: usize) -> bool {
    const LABEL: usize = 30;
    text.raw_in(at, at + 1) == "|"
        && at - start <= LABEL
        && !text.raw_in(start, at).bytes().any(|b| b.is_ascii_digit())
}

fn stops(text: &Text, at: usize) -> bool {
    let next = text.raw_in(at + 1, text.len()).trim_start();
    if text.raw_in(at, at + 1) == ";" {
        return true;
    }
    let capital = next
        .chars()
        .next()
        .is_none_or(|c| c.is_uppercase() || c.is_ascii_digit() || "\"'(".contains(c));
    let mut from = at.saturating_sub(12);
    while !text.low.is_char_boundary(from) {
        from += 1;
    }
    let word = text
        .low_in(from, at)
        .rsplit([' ', '('])
        .next()
        .unwrap_or_default();
    let abbreviated = [
        "e.g", "i.e", "approx", "vs", "etc", "mr", "mrs", "dr", "no", "st", "a", "p",
    ];
    // "at 8:00 am. Pacific Time": the zone still belongs to it.
    let meridiem = word.ends_with("am") || word.ends_with("pm") || word.ends_with(".m");
    let zoned = meridiem && crate::zone::at_start(next, crate::zone::Context::Time).is_some();
    capital && !abbreviated.contains(&word) && !zoned
}

/// For each time of a sentence, the words that tell what happened then.
///
/// "At T, this happened" has them behind, "this happened at T" before.
fn clauses(text: &Text, sentence: &Range<usize>, times: &[clock::Token]) -> Vec<Range<usize>> {
    let mut found = Vec::with_capacity(times.len());
    let mut from = sentence.start;
    for (at, token) in times.iter().enumerate() {
        let next = times.get(at + 1).map_or(sentence.end, |next| next.start);
        let before = text.low_in(from, token.start);
        if is_leading(before) {
            let after = text.low_in(token.end, next);
            let end = match times.get(at + 1) {
                Some(_) => token.end + joint(after),
                None => next,
            };
            found.push(token.end..end);
            from = end;
        } else {
            // The last part of it, if that says anything; else all.
            let cut = before.trim_end().rfind(", ").map_or(0, |cut| cut + 2);
            let near = from + cut..token.start;
            let says = !role::roles(text.low_in(near.start, near.end)).is_empty();
            found.push(if says { near } else { from..token.start });
            from = token.end;
        }
    }
    found
}

/// Nothing that tells anything stands before the time.
fn is_leading(before: &str) -> bool {
    let last = before.rsplit([',', ';', ':']).next().unwrap_or(before);
    let plain = [
        "at",
        "by",
        "on",
        "around",
        "about",
        "approximately",
        "from",
        "and",
        "then",
        "later",
        "finally",
        "in",
        "the",
        "same",
        "day",
        "utc",
        "exactly",
        "until",
        "after",
        "before",
        "since",
        "afterwards",
        "shortly",
        "roughly",
    ];
    let mut words = last
        .split(|c: char| !c.is_alphanumeric())
        .filter(|it| !it.is_empty());
    words.all(|word| {
        plain.contains(&word) || word.bytes().all(|b| b.is_ascii_digit()) || calendar::is_part(word)
    })
}

/// Where a clause that goes on to another time ends.
fn joint(after: &str) -> usize {
    let joints = [
        ", and ", ", who ", ", which ", " and ", "; ", ", with ", ", but ", " but ", ", ",
    ];
    let cut = |word: &&str| {
        // Right behind the time it is only the comma of "At T, ...".
        after
            .get(2..)
            .and_then(|rest| rest.rfind(*word))
            .map(|at| at + 2)
    };
    joints
        .iter()
        .filter_map(cut)
        .min_by_key(|at| after.len() - at)
        .unwrap_or(after.len())
}
