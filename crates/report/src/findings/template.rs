//! `template-leftover`: what a form wanted to be filled in, and wasn't.
//!
//! Invariant: brackets alone are nobody's leftover; their words must ask for
//! something.

use super::{Code, Finding};
use crate::layout::{Kind, Shape};
use crate::place::Text;
use crate::reading::Reading;

/// Words that begin a request to whoever fills in a form.
const ASKS: &[&str] = &[
    "insert ",
    "your ",
    "enter ",
    "describe ",
    "briefly ",
    "brief description",
    "add ",
    "specify ",
    "fill in",
    "please ",
    "short description",
    "provide ",
    "summarize ",
    "list ",
    "explain ",
];

/// Whole contents of brackets that stand for something else.
const BLANKS: &[&str] = &[
    "name",
    "date",
    "time",
    "start time",
    "end time",
    "service",
    "service name",
    "team",
    "team name",
    "company",
    "company name",
    "incident name",
    "incident title",
    "title",
    "duration",
    "owner",
    "link",
    "yyyy-mm-dd",
    "hh:mm",
    "timezone",
    "time zone",
    "placeholder",
    "x",
    "xx",
    "xxx",
    "start",
    "end",
    "number",
    "incident number",
    "root cause",
    "impact",
    "system",
    "product",
    "customer impact",
    "incident id",
    "severity",
    "due date",
    "description",
    "timestamp",
    "user",
    "author",
    "authors",
];

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    let mut found = Vec::new();
    for block in reading.blocks.iter().filter(|block| !block.fenced) {
        found.extend(in_brackets(&block.text));
        found.extend(pattern(&block.text));
        // Fields of actions have findings of their own.
        if block.kind != Kind::Actions && block.shape != Shape::Heading {
            found.extend(value(&block.text));
        }
    }
    found
}

fn finding(text: &Text, at: usize, what: &str) -> Finding {
    let message = format!("\"{what}\" is left over from a template");
    Finding::new(
        Code::TemplateLeftover,
        text.place(at),
        message,
        "fill it in, or take it out",
    )
}

/// `[Your name]`, `<start time>`, `{{ incident }}`.
fn in_brackets(text: &Text) -> Vec<Finding> {
    /// What asks for more is text.
    const INNER: usize = 120;
    let mut found = Vec::new();
    let bytes = text.low.as_bytes();
    for (at, open) in bytes.iter().enumerate() {
        let close = match open {
            b'[' => b']',
            b'<' => b'>',
            b'{' => b'}',
            _ => continue,
        };
        let rest = bytes
            .get(at + 1..bytes.len().min(at + INNER))
            .unwrap_or_default();
        let Some(length) = rest.iter().position(|b| *b == close || b == open) else {
            continue;
        };
        if rest.get(length) != Some(&close) {
            continue;
        }
        let inner = text.low_in(at + 1, at + 1 + length);
        let plain = inner.trim().trim_matches(['{', '}', '.', ':']).trim();
        // A link's text, a key of JSON.
        let next = bytes.get(at + length + 2);
        if matches!(next, Some(b'(' | b'[')) || plain.is_empty() || plain.contains(['"', '=']) {
            continue;
        }
        let asks = ASKS.iter().any(|word| plain.starts_with(word)) && plain.len() > 6;
        let certain = *open != b'[' || plain.len() > 1;
        if asks || (certain && BLANKS.contains(&plain)) {
            found.push(finding(text, at, text.raw_in(at, at + length + 2)));
        }
    }
    found
}

/// `YYYY-MM-DD`, `HH:MM`, `XX:XX`, and the typesetters' Latin.
fn pattern(text: &Text) -> Option<Finding> {
    for pattern in [
        "YYYY-MM-DD",
        "YYYY/MM/DD",
        "DD/MM/YYYY",
        "MM/DD/YYYY",
        "HH:MM",
        "hh:mm",
        "XX:XX",
        "xx:xx",
        "Lorem ipsum",
    ] {
        let Some(at) = text.raw.find(pattern) else {
            continue;
        };
        let before = text.raw_in(at.saturating_sub(1), at);
        if !["[", "<", "{"].contains(&before) && !text.low.contains("format") {
            return Some(finding(text, at, pattern));
        }
    }
    None
}

/// `Impact: TBD`, `| TBD |`.
fn value(text: &Text) -> Option<Finding> {
    let end = text.raw.trim_end_matches([' ', '.', '|']);
    let word = end.rsplit([' ', '|', ':']).next().unwrap_or_default();
    let at = end.len() - word.len();
    let head = end.get(..at)?.trim_end();
    let alone = head.is_empty() || head.ends_with([':', '|']);
    (alone && matches!(word, "TBD" | "TBA" | "XXX" | "tbd")).then(|| finding(text, at, word))
}
