//! Spans of time in words and figures, and which of them claim how long it lasted.
//!
//! Invariant: a span that is rounded knows how far it may be from the truth.

use serde::{Deserialize, Serialize};

use crate::calendar;
use crate::place::Text;

/// A span in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// Its length in minutes.
    pub minutes: i64,
    /// How far from that the truth may be without a contradiction, in minutes.
    pub tolerance: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) span: Span,
}

/// A longer span is a slip of the pen or a number that is no span.
const MINUTES_MAX: i64 = 366 * 24 * 60;

/// All spans of a text, in order.
pub(crate) fn scan(text: &Text) -> Vec<Token> {
    let words = calendar::words(&text.low);
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        match span(&text.low, &words, at) {
            Some((token, next)) => {
                found.push(token);
                at = next;
            }
            None => at += 1,
        }
    }
    found
}

/// One number with its unit, in seconds; and the word after it.
fn part(low: &str, words: &[(usize, &str)], at: usize) -> Option<(f64, i64, usize)> {
    let (start, word) = words[at];
    let (mut number, mut next) = match number(word) {
        Some(number) => (number, at + 1),
        None => return None,
    };
    let bytes = low.as_bytes();
    let before = start.checked_sub(1).and_then(|at| bytes.get(at));
    if before.is_some_and(|b| b".:/,".contains(b))
        && word.as_bytes()[0].is_ascii_digit()
        && start >= 2
        && bytes[start - 2].is_ascii_digit()
    {
        return None;
    }
    // 1.5 hours.
    if let Some((fraction_start, fraction)) = words.get(next).copied()
        && fraction_start == start + word.len() + 1
        && bytes.get(start + word.len()) == Some(&b'.')
        && let Ok(value) = format!("0.{fraction}").parse::<f64>()
    {
        number += value;
        next += 1;
    }
    // "half an hour", "two and a half hours".
    if word == "half"
        && words
            .get(next)
            .is_some_and(|(_, word)| matches!(*word, "an" | "a"))
    {
        next += 1;
    }
    if low
        .get(start + word.len()..)
        .is_some_and(|rest| rest.starts_with(" and a half "))
    {
        number += 0.5;
        next += 3;
    }
    let (unit_start, unit) = words.get(next).copied()?;
    let previous = words[next - 1];
    let gap = low.get(previous.0 + previous.1.len()..unit_start)?;
    let glued = gap.is_empty();
    if !matches!(gap, "" | " " | "-" | "  ") {
        return None;
    }
    let seconds = match unit {
        "day" | "days" => 86_400,
        "hour" | "hours" | "hr" | "hrs" => 3_600,
        "minute" | "minutes" | "min" | "mins" => 60,
        "second" | "seconds" | "sec" | "secs" => 1,
        "d" if glued => 86_400,
        "h" if glued => 3_600,
        "m" if glued => 60,
        "s" if glued => 1,
        _ => return None,
    };
    Some((number, seconds, next + 1))
}

fn span(low: &str, words: &[(usize, &str)], from: usize) -> Option<(Token, usize)> {
    let (number, mut unit, mut next) = part(low, words, from)?;
    #[expect(clippy::cast_precision_loss, reason = "units are small")]
    let mut seconds = number * unit as f64;
    let mut parts = 1;
    // "an hour and a half".
    let after = end_of(words, next - 1);
    let half = low
        .get(after..)
        .is_some_and(|rest| rest.starts_with(" and a half"));
    if half {
        #[expect(clippy::cast_precision_loss, reason = "units are small")]
        let more = unit as f64 / 2.0;
        seconds += more;
        next += 3;
    }
    while !half && next < words.len() {
        let and = usize::from(words[next].1 == "and");
        let Some(at) = words.get(next + and).map(|_| next + and) else {
            break;
        };
        let gap = low.get(end_of(words, next - 1)..words[at].0).unwrap_or("?");
        if !matches!(gap, "" | " " | ", " | " and " | ", and ") {
            break;
        }
        let Some((number, smaller, after)) = part(low, words, at).filter(|it| it.1 < unit) else {
            break;
        };
        #[expect(clippy::cast_precision_loss, reason = "units are small")]
        let more = number * smaller as f64;
        seconds += more;
        (unit, next, parts) = (smaller, after, parts + 1);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast saturates, and the bound refuses it"
    )]
    let minutes = (seconds / 60.0).round() as i64;
    let whole = (number - number.round()).abs() < f64::EPSILON && !half;
    let token = Token {
        start: words[from].0,
        end: end_of(words, next - 1),
        span: Span {
            minutes,
            tolerance: tolerance(minutes, unit, parts, whole),
        },
    };
    (minutes <= MINUTES_MAX).then_some((token, next))
}

fn end_of(words: &[(usize, &str)], at: usize) -> usize {
    words.get(at).map_or(0, |(start, word)| start + word.len())
}

/// How far from a span the truth may be: people round to what they name.
fn tolerance(minutes: i64, unit: i64, parts: usize, whole: bool) -> i64 {
    match (unit, parts) {
        (86_400, _) => 12 * 60,
        // "an hour" may be fifty minutes, "two hours" almost two and a half.
        (3_600, 1) if minutes <= 60 && whole => 15,
        (3_600, 1) if whole => 30,
        (3_600, _) => 15,
        // Ninety minutes, half an hour, two hundred minutes.
        (60, 1) if minutes % 30 == 0 => 4,
        (60, 1) if minutes % 5 == 0 => 2,
        _ => 1,
    }
}

fn number(word: &str) -> Option<f64> {
    const NAMES: &[&str] = &[
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: &[(&str, u8)] = &[
        ("twenty", 20),
        ("thirty", 30),
        ("forty", 40),
        ("fifty", 50),
        ("sixty", 60),
        ("ninety", 90),
    ];
    if word.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return word.parse().ok().filter(|_| word.len() <= 6);
    }
    if matches!(word, "a" | "an") {
        return Some(1.0);
    }
    if word == "half" {
        return Some(0.5);
    }
    if let Some((_, tens)) = TENS.iter().find(|(name, _)| *name == word) {
        return Some(f64::from(*tens));
    }
    let at = NAMES.iter().position(|name| *name == word)?;
    u8::try_from(at).ok().map(f64::from)
}

/// The spans of a text that claim how long the outage was.
pub(crate) fn claims(text: &Text) -> Vec<Token> {
    let mut found = scan(text);
    found.retain_mut(|token| {
        let Some(near) = claimed(text, token) else {
            return false;
        };
        if near {
            token.span.tolerance = token.span.tolerance.max(token.span.minutes / 5 + 2);
        }
        true
    });
    found
}

/// What an outage is called.
const NOUNS: [&str; 6] = [
    "outage",
    "downtime",
    "disruption",
    "interruption",
    "incident",
    "unavailability",
];

/// Spans of something else, and bounds instead of lengths.
const NOT_CLAIMED: &str = "deploy|rollback|restart|migration|maintenance|backup|replicat|failover|lag|\
    session|up to|within|less than|more than| over|at least|between|another|every|each|maximum|\
    minimum|average|detect|respon|previous|first |some |query|first-|mean|longest|most|window|\
    retention|timeout|would|could|should|will |under |below|next";

/// The words of a clause that decide stand within so many bytes.
const REACH: usize = 120;

/// Whether it claims that (and only roughly); none if it doesn't.
fn claimed(text: &Text, token: &Token) -> Option<bool> {
    let mut from = token.start.saturating_sub(REACH);
    while !text.low.is_char_boundary(from) {
        from += 1;
    }
    let before = text.low_in(from, token.start);
    let clause = before.rsplit(['.', ';', '!', '?']).next().unwrap_or(before);
    if NOT_CLAIMED.split('|').any(|word| clause.contains(word)) {
        return None;
    }
    let (head, near) = without_links(clause);
    let last = head.rsplit([' ', '(']).next().unwrap_or_default();
    let linked = head.len() < clause.trim_end().len();
    let verb = matches!(last, "lasted" | "lasting" | "lasts" | "duration");
    let down = matches!(
        last,
        "down" | "unavailable" | "offline" | "inaccessible" | "unreachable"
    );
    let state = linked && (down || NOUNS.contains(&last));
    let mut after = text
        .low_in(token.end, text.len())
        .trim_start_matches([' ', '-']);
    for filler in ["of ", "long ", "service ", "full ", "total "] {
        after = after.trim_start_matches(filler);
    }
    let noun = NOUNS.iter().take(4).any(|noun| after.starts_with(noun));
    (verb || state || (noun && !after.starts_with("outage of"))).then_some(near)
}

/// A clause without the words that lead to a span ("for about", "of", a colon),
/// and whether they say that it is only roughly so.
fn without_links(clause: &str) -> (&str, bool) {
    let mut head = clause.trim_end();
    let mut near = false;
    loop {
        near |= head.ends_with('~');
        let trimmed = head.trim_end_matches([' ', ':', '~', '|', '=', '-', '(', '*']);
        let mut words = trimmed.rsplitn(2, ' ');
        let last = words.next().unwrap_or_default();
        let rest = words.next().unwrap_or_default();
        match last {
            "about" | "approximately" | "approx" | "approx." | "around" | "roughly" | "nearly"
            | "almost" | "circa" => near = true,
            "for" | "of" | "was" | "is" | "a" | "total" | "an" | "the" | "exactly" | "period"
            | "were" => {}
            _ => return (trimmed, near),
        }
        if rest.is_empty() {
            return ("", near);
        }
        head = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source;

    fn minutes(line: &str) -> Vec<i64> {
        let text = source::read(line).remove(0).text;
        scan(&text).iter().map(|token| token.span.minutes).collect()
    }

    fn claimed(line: &str) -> Vec<i64> {
        let text = source::read(line).remove(0).text;
        claims(&text)
            .iter()
            .map(|token| token.span.minutes)
            .collect()
    }

    #[test]
    fn spans_are_read_in_many_ways() {
        for (line, expected) in [
            ("1 hour and 12 minutes", 72),
            ("1 hour, 12 minutes", 72),
            ("1h 30m", 90),
            ("1h30m", 90),
            ("37 mins", 37),
            ("90min", 90),
            ("37-minute", 37),
            ("an hour and a half", 90),
            ("two and a half hours", 150),
            ("1.5 hours", 90),
            ("half an hour", 30),
            ("2 days, 3 hours and 5 minutes", 3065),
            ("twenty minutes", 20),
            ("90 seconds", 2),
        ] {
            assert_eq!(minutes(line), [expected], "{line}");
        }
        assert_eq!(minutes("10:00 minutes"), [] as [i64; 0]);
    }

    #[test]
    fn only_what_claims_the_whole_is_a_claim() {
        for line in [
            "an outage which lasted for 37 minutes",
            "The outage lasted approximately 37 minutes.",
            "a 37-minute outage",
            "37 minutes of downtime",
            "Duration: 37 minutes",
            "| Duration | 37 minutes |",
            "the site was down for 37 minutes",
            "was unavailable for about 37 mins",
            "an outage of 37 minutes",
        ] {
            assert_eq!(claimed(line), [37], "{line}");
        }
        for line in [
            "alerted within 37 minutes",
            "the rollback lasted 37 minutes",
            "customers saw up to 37 minutes of downtime",
            "a restart every 37 minutes",
            "37 minutes later",
            "the first 37 minutes",
            "Time to detect: 37 minutes",
            "the migration took 37 minutes",
            "more than 37 minutes of downtime",
        ] {
            assert_eq!(claimed(line), [] as [i64; 0], "{line}");
        }
    }
}
