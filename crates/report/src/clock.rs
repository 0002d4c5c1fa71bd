//! Times of day as people write them: `5.20 PM`, `10:00AM`, `17:05 UTC`, noon.
//!
//! Invariant: a token holds everything that belongs to the time (range, zone,
//! brackets), so that the words around it are found by looking outside of it.

use serde::{Deserialize, Serialize};

use crate::place::{Text, tail};
use crate::zone::{self, Context, Named, Zone};

/// How the half of the day was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Half {
    Am,
    Pm,
    /// Hours count to 24.
    Day,
    /// An hour from 1 to 12 and no word: it may be of either half.
    Open,
}

/// A time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// Minutes after midnight, 0 to 1439; of an open half as if it were 24 hours.
    pub minute: u16,
    pub half: Half,
}

/// Minutes of a day, and of half of one.
pub(crate) const DAY: i64 = 24 * 60;
pub(crate) const HALF_DAY: i64 = DAY / 2;

impl Time {
    pub(crate) fn of(self) -> i64 {
        i64::from(self.minute)
    }

    /// The least difference to another, in minutes; halves that are open may be either.
    pub(crate) fn apart(self, other: Time, ahead: i64) -> i64 {
        let turn = if self.half == Half::Open || other.half == Half::Open {
            HALF_DAY
        } else {
            DAY
        };
        let gap = (self.of() - other.of() - ahead).rem_euclid(turn);
        gap.min(turn - gap)
    }

    /// As it was told: with its half of the day, or as 24 hours.
    pub(crate) fn words(self) -> String {
        let (hour, minute) = (self.minute / 60, self.minute % 60);
        let twelve = match hour % 12 {
            0 => 12,
            hour => hour,
        };
        match self.half {
            Half::Am | Half::Pm if hour < 12 => format!("{twelve}:{minute:02} am"),
            Half::Am | Half::Pm => format!("{twelve}:{minute:02} pm"),
            Half::Day => format!("{hour:02}:{minute:02}"),
            Half::Open => format!("{hour}:{minute:02}"),
        }
    }

    /// The same reading of the clock, half a day later or before.
    pub(crate) fn other_half(self) -> Time {
        Time {
            minute: (self.minute + 720) % 1440,
            half: match self.half {
                Half::Am => Half::Pm,
                Half::Pm => Half::Am,
                Half::Day | Half::Open => self.half,
            },
        }
    }

    /// In a report that counts hours to 24.
    pub(crate) fn of_day(self) -> Time {
        let half = match self.half {
            Half::Open | Half::Day => Half::Day,
            told @ (Half::Am | Half::Pm) => told,
        };
        Time { half, ..self }
    }

    pub(crate) fn is_told(self) -> bool {
        matches!(self.half, Half::Am | Half::Pm)
    }
}

/// How sure the words before a time are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hedge {
    Exact,
    /// Around, about, shortly after.
    Near,
    /// By, before, after, until, since.
    Bound,
}

/// A zone beside a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ZoneAt {
    pub(crate) named: Named,
    pub(crate) at: usize,
}

/// A time, or a range of two, in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) time: Time,
    pub(crate) until: Option<Time>,
    pub(crate) zone: Option<ZoneAt>,
    pub(crate) hedge: Hedge,
}

impl Token {
    /// The zone, if it is one.
    pub(crate) fn zone(&self) -> Option<&Zone> {
        match &self.zone.as_ref()?.named {
            Named::Zone(zone) => Some(zone),
            Named::Unknown(_) => None,
        }
    }
}

/// All times of a text, in order; two that make a range are one.
pub(crate) fn scan(text: &Text) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    for token in single(text) {
        let Some(last) = found.last_mut() else {
            found.push(token);
            continue;
        };
        if last.until.is_none() && is_range(text, last, &token) {
            last.end = token.end;
            last.until = Some(token.time);
            if last.zone.is_none() {
                last.zone = token.zone;
            }
            inherit(last);
        } else {
            found.push(token);
        }
    }
    found
}

/// `10:00 - 11:30 PM`: the first time has the second's half, or the one before it.
fn inherit(range: &mut Token) {
    let Some(until) = range.until.filter(|until| until.is_told()) else {
        return;
    };
    if range.time.half == Half::Open {
        let hour = range.time.minute % 720;
        let same = hour + if until.half == Half::Pm { 720 } else { 0 };
        let (minute, half) = if same <= until.minute {
            (same, until.half)
        } else {
            ((same + 720) % 1440, until.other_half().half)
        };
        range.time = Time { minute, half };
    }
}

/// What stands between them makes a range of two times.
fn is_range(text: &Text, first: &Token, second: &Token) -> bool {
    let gap = text.low_in(first.end, second.start).trim();
    // The word before is one of a few, however long a text without blanks is.
    let before = tail(text.low_in(0, first.start), 16).trim_end();
    let word = before.rsplit([' ', '(', '|']).next().unwrap_or_default();
    let joined = gap.strip_prefix("and ").map_or(gap, |_| gap);
    match joined {
        "-" | "--" | "to" | "until" | "till" | "through" | "thru" | "up to" | "- to" => true,
        "and" => word == "between",
        // A slip that is common enough to be understood.
        "at" => word == "from",
        _ => false,
    }
}

fn single(text: &Text) -> Vec<Token> {
    let low = text.low.as_str();
    let bytes = low.as_bytes();
    let mut found: Vec<Token> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let free = at == 0 || begins(bytes, at);
        let read = if !free {
            None
        } else if bytes[at].is_ascii_digit() {
            digits(low, at)
        } else {
            word(low, at)
        };
        let Some((time, end)) = read else {
            at += 1;
            continue;
        };
        let (zone, end) = zone_after(text, end);
        let token = Token {
            start: at,
            end,
            time,
            until: None,
            zone,
            hedge: hedge(text.low_in(0, at)),
        };
        at = end.max(at + 1);
        found.push(token);
    }
    found
}

/// A time may begin here: no number, word or address goes on.
fn begins(bytes: &[u8], at: usize) -> bool {
    let before = bytes[at - 1];
    let earlier = at.checked_sub(2).and_then(|at| bytes.get(at));
    match before {
        // ISO 8601: 2024-05-12T10:00.
        b't' => earlier.is_some_and(u8::is_ascii_digit) && bytes[at].is_ascii_digit(),
        b':' | b'.' | b'/' | b'-' | b'+' | b'$' | b'#' | b',' => {
            // 10:00-10:22 and |10:00; not 1.2.3, 10/12, :8080.
            matches!(before, b'-' | b',' | b'.' | b':')
                && earlier
                    .is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b':' || before == b'-')
                && (before != b'-'
                    || earlier.is_none_or(|b| !b.is_ascii_alphabetic() || *b == b'm'))
        }
        _ => !before.is_ascii_alphanumeric() && before != b'_',
    }
}

/// A time that begins with a digit, and its end.
fn digits(low: &str, start: usize) -> Option<(Time, usize)> {
    let bytes = low.as_bytes();
    let count = |at: usize| {
        bytes.get(at..).map_or(0, |rest| {
            rest.iter().take_while(|b| b.is_ascii_digit()).count()
        })
    };
    let value = |at: usize, length: usize| low.get(at..at + length)?.parse::<u16>().ok();
    let hour_digits = count(start);
    if hour_digits == 4 {
        return military(low, start);
    }
    if !(1..=2).contains(&hour_digits) {
        return None;
    }
    let hour = value(start, hour_digits)?;
    let mut end = start + hour_digits;
    let separator = bytes.get(end).copied().unwrap_or_default();
    let two = count(end + 1) == 2;
    if matches!(separator, b':' | b'h') && two {
        let minute = value(end + 1, 2)?;
        end = seconds(low, end + 3)?;
        if let Some((half, after)) = meridiem(low, end) {
            return Some((twelve(hour, minute, half)?, after));
        }
        if bytes
            .get(end)
            .is_some_and(|b| b.is_ascii_alphanumeric() && *b != b'z')
            || (bytes.get(end) == Some(&b'.') && count(end + 1) > 0)
            || hour > 23
            || minute > 59
        {
            return None;
        }
        let open = (1..=12).contains(&hour) && bytes[start] != b'0';
        let half = if open { Half::Open } else { Half::Day };
        return Some((
            Time {
                minute: hour * 60 + minute,
                half,
            },
            end,
        ));
    }
    if matches!(separator, b'.') && two {
        let minute = value(end + 1, 2)?;
        let (half, after) = meridiem(low, end + 3)?;
        return Some((twelve(hour, minute, half)?, after));
    }
    let (half, after) = meridiem(low, end)?;
    Some((twelve(hour, 0, half)?, after))
}

/// Seconds and their fractions say nothing that a report's findings need; none
/// if what follows makes it something else (an address, a ratio of three).
fn seconds(low: &str, end: usize) -> Option<usize> {
    let bytes = low.as_bytes();
    if bytes.get(end) != Some(&b':') {
        return Some(end);
    }
    let run = |at: usize| {
        bytes.get(at..).map_or(0, |rest| {
            rest.iter().take_while(|b| b.is_ascii_digit()).count()
        })
    };
    match run(end + 1) {
        0 => Some(end),
        2 => {
            let after = end + 3;
            match bytes.get(after) {
                Some(b'.' | b',') if run(after + 1) > 0 => Some(after + 1 + run(after + 1)),
                Some(b':') if run(after + 1) > 0 => None,
                _ => Some(after),
            }
        }
        _ => None,
    }
}

/// `1430 UTC`, `at 0915Z`: four digits count only with a zone that no year has.
fn military(low: &str, start: usize) -> Option<(Time, usize)> {
    let end = start + 4;
    let rest = low.get(end..)?;
    let zoned = ["z", " utc", " gmt", "utc", " z"].iter().any(|zone| {
        rest.strip_prefix(zone)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    });
    let before = low.get(..start)?.trim_end();
    let placed = before.is_empty()
        || [
            "at", "from", "to", "until", "between", "by", "-", "around", "|",
        ]
        .iter()
        .any(|word| before.ends_with(word));
    let hour: u16 = low.get(start..start + 2)?.parse().ok()?;
    let minute: u16 = low.get(start + 2..end)?.parse().ok()?;
    (zoned && placed && hour < 24 && minute < 60).then_some((
        Time {
            minute: hour * 60 + minute,
            half: Half::Day,
        },
        end,
    ))
}

/// `am`, `a.m.`, `PM` after at most one blank, and where it ends.
fn meridiem(low: &str, end: usize) -> Option<(Half, usize)> {
    let rest = low.get(end..)?;
    let blank = usize::from(rest.starts_with(' '));
    let rest = &rest[blank..];
    let (half, letter) = match rest.as_bytes().first()? {
        b'a' => (Half::Am, 'a'),
        b'p' => (Half::Pm, 'p'),
        _ => return None,
    };
    let after = |text: &str| !text.starts_with(|c: char| c.is_ascii_alphanumeric());
    for form in ["m", ".m.", ".m", ". m."] {
        let tail = rest.strip_prefix(letter)?.strip_prefix(form);
        if let Some(tail) = tail.filter(|tail| after(tail))
            // The dot of `a.m.` belongs to it.
            && (form != ".m" || !tail.starts_with('.'))
        {
            return Some((half, end + blank + 1 + form.len()));
        }
    }
    None
}

fn twelve(hour: u16, minute: u16, half: Half) -> Option<Time> {
    // `17:05 PM` says the same twice.
    if (13..24).contains(&hour) && half == Half::Pm && minute < 60 {
        return Some(Time {
            minute: hour * 60 + minute,
            half: Half::Pm,
        });
    }
    if !(1..=12).contains(&hour) || minute > 59 {
        return None;
    }
    let hour = hour % 12 + if half == Half::Pm { 12 } else { 0 };
    Some(Time {
        minute: hour * 60 + minute,
        half,
    })
}

/// Noon and midnight.
fn word(low: &str, at: usize) -> Option<(Time, usize)> {
    let rest = low.as_bytes().get(at..)?;
    for (name, minute) in [("noon", 720), ("midnight", 0)] {
        if rest.starts_with(name.as_bytes())
            && !rest.get(name.len()).is_some_and(u8::is_ascii_alphanumeric)
        {
            let time = Time {
                minute,
                half: Half::Day,
            };
            return Some((time, at + name.len()));
        }
    }
    None
}

/// The zone after a time, in brackets or not.
fn zone_after(text: &Text, end: usize) -> (Option<ZoneAt>, usize) {
    let rest = text.raw_in(end, text.len());
    let blank = rest.len() - rest.trim_start_matches(' ').len();
    let bracket = usize::from(rest[blank..].starts_with('('));
    let inner = rest[blank + bracket..].trim_start_matches(' ');
    let skip = rest.len() - inner.len();
    // An offset stands right at the time; `10:00 -07:00` would be a range.
    if inner.starts_with(['+', '-']) && skip > 0 && !(inner.starts_with('+') && blank <= 1) {
        return (None, end);
    }
    let Some((named, length)) = zone::at_start(inner, Context::Time) else {
        return (None, end);
    };
    let mut after = end + skip + length;
    if bracket == 1 && text.raw_in(after, after + 1) == ")" {
        after += 1;
    }
    let at = end + skip;
    (Some(ZoneAt { named, at }), after)
}

/// What the words right before a time say about it.
fn hedge(before: &str) -> Hedge {
    let mut before = tail(before, 48).trim_end();
    if before.ends_with('~') || before.ends_with('\u{2248}') {
        return Hedge::Near;
    }
    before = before.trim_end_matches(['(', '"', '\'']).trim_end();
    // Only the last words matter, however long the text is.
    let mut words = before.rsplit(|c: char| !c.is_ascii_alphabetic());
    let last = words.next().unwrap_or_default();
    let near = [
        "around",
        "about",
        "approximately",
        "approx",
        "circa",
        "roughly",
        "nearly",
        "ca",
        "near",
    ];
    if near.contains(&last) {
        return Hedge::Near;
    }
    if before.ends_with("approx.") {
        return Hedge::Near;
    }
    let second = words.next().unwrap_or_default();
    if [
        "shortly",
        "just",
        "soon",
        "minutes",
        "minute",
        "hour",
        "hours",
        "immediately",
    ]
    .contains(&second)
        && ["after", "before", "past"].contains(&last)
    {
        return Hedge::Near;
    }
    if last == "at" && near.contains(&second) {
        return Hedge::Near;
    }
    match last {
        "by" | "before" | "after" | "until" | "till" | "since" | "past" | "than" => Hedge::Bound,
        _ => Hedge::Exact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source;

    fn text(line: &str) -> Text {
        source::read(line).remove(0).text
    }

    /// Time, range, zone of each token.
    fn read(line: &str) -> Vec<String> {
        let text = text(line);
        let words = |token: Token| {
            let until = token.until.map(|until| format!("-{}", until.words()));
            let zone = token.zone().map(|zone| format!(" {}", zone.name));
            format!(
                "{}{}{}",
                token.time.words(),
                until.unwrap_or_default(),
                zone.unwrap_or_default()
            )
        };
        scan(&text).into_iter().map(words).collect()
    }

    #[test]
    fn times_are_read_in_many_ways() {
        for (line, expected) in [
            ("5.20 PM", "5:20 pm"),
            ("10:00AM", "10:00 am"),
            ("10:35 Am", "10:35 am"),
            ("at 8 a.m. we", "8:00 am"),
            ("12:00pm WAT", "12:00 pm WAT"),
            ("12:00 am", "12:00 am"),
            ("17:05", "17:05"),
            ("08:04 UTC", "08:04 UTC"),
            ("8:04", "8:04"),
            ("`*16:00 PST:*` alarms", "16:00 PST"),
            ("**14:54** OUTAGE", "14:54"),
            ("[10:00:32] x", "10:00"),
            ("2024-05-12T10:00:00Z", "10:00 Z"),
            ("2024-05-12 10:00:00.123+01:00", "10:00 +01:00"),
            ("At 10am (GMT + 1), we", "10:00 am GMT + 1"),
            ("10:00 UTC+03:00", "10:00 UTC+03:00"),
            ("10:00 Pacific Time, the", "10:00 Pacific Time"),
            ("17h20", "17:20"),
            ("at 1430 UTC", "14:30 UTC"),
            ("at noon", "12:00"),
            ("10:00 - 10:22: down", "10:00-10:22"),
            ("10:00-10:22 UTC", "10:00-10:22 UTC"),
            ("from 11:30 to 1:00 PM EAT", "11:30 am-1:00 pm EAT"),
            ("from 8:00 a.m. at 11:58 a.m. UTC", "8:00 am-11:58 am UTC"),
            ("between 10:00 UTC and 10:22 UTC", "10:00-10:22 UTC"),
        ] {
            // Without a half, hours from 1 to 12 are told as they stand.
            let found: Vec<String> = read(line);
            assert_eq!(found, [expected], "{line}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in [
            "127.0.0.1:8080",
            "localhost:8080",
            "fe80::10:20",
            "ratio 16:9",
            "version 5.20",
            "5.20 percent",
            "25:00",
            "10:60",
            "aa:12:34:56:78",
            "https://example.org/10:00/x",
            "May 12, 2024",
            "in 2023 UTC became",
            "10:30abc",
            "afternoon",
        ] {
            assert_eq!(read(line), [] as [&str; 0], "{line}");
        }
    }

    #[test]
    fn hedges_are_heard() {
        let hedge = |line| scan(&text(line))[0].hedge;
        assert_eq!(hedge("at 10:00"), Hedge::Exact);
        assert_eq!(hedge("around 10:00"), Hedge::Near);
        assert_eq!(hedge("at approximately 10:00"), Hedge::Near);
        assert_eq!(hedge("~10:00"), Hedge::Near);
        assert_eq!(hedge("shortly after 10:00"), Hedge::Near);
        assert_eq!(hedge("by 10:00"), Hedge::Bound);
        assert_eq!(hedge("until 10:00"), Hedge::Bound);
    }

    #[test]
    fn halves_that_are_open_agree_with_both() {
        let time = |line: &str| scan(&text(line))[0].time;
        assert_eq!(time("8:04").apart(time("8:04 pm"), 0), 0);
        assert_eq!(time("08:04").apart(time("8:04 pm"), 0), 720);
        assert_eq!(time("11:58 pm").apart(time("12:01 am"), 0), 3);
    }
}
