//! `status-code-contradiction`: a success told as the error, an error told as the
//! success, or a code with another code's name.
//!
//! Source of codes and names: RFC 9110, section 15.
//!
//! Invariant: a number of errors is never taken for a code.

use super::{Code, Finding};
use crate::layout::Kind;
use crate::place::Text;
use crate::reading::Reading;

const NAMES: &[(&str, &str)] = &[
    ("400", "bad request"),
    ("401", "unauthorized"),
    ("403", "forbidden"),
    ("404", "not found"),
    ("405", "method not allowed"),
    ("408", "request timeout"),
    ("429", "too many requests"),
    ("500", "internal server error"),
    ("501", "not implemented"),
    ("502", "bad gateway"),
    ("503", "service unavailable"),
    ("504", "gateway timeout"),
    ("504", "gateway time-out"),
];

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    let blocks = reading
        .blocks
        .iter()
        .filter(|block| block.kind != Kind::Actions && !block.fenced);
    blocks.flat_map(|block| in_text(&block.text)).collect()
}

fn in_text(text: &Text) -> Vec<Finding> {
    let mut found = Vec::new();
    for (start, word) in crate::calendar::words(&text.low) {
        if word.len() != 3 || !word.starts_with(['2', '4', '5']) || word.parse::<u16>().is_err() {
            continue;
        }
        let end = start + 3;
        let edge = |at: Option<usize>| {
            at.and_then(|at| text.low.as_bytes().get(at))
                .is_none_or(|b| !(b.is_ascii_alphanumeric() || b"._-/:#$".contains(b)))
        };
        let after = text.low.as_bytes().get(end);
        if !edge(start.checked_sub(1))
            || after.is_some_and(|b| b.is_ascii_alphanumeric() || b"%".contains(b))
        {
            continue;
        }
        let before = text.low_in(0, start);
        let after = text.low_in(end, text.len());
        let finding = success_as_error(word, before, after)
            .or_else(|| error_as_success(word, before, after))
            .or_else(|| other_name(word, after));
        if let Some((message, repair)) = finding {
            found.push(Finding::new(
                Code::StatusCodeContradiction,
                text.place(start),
                message,
                repair,
            ));
        }
    }
    found
}

/// "a 200 error", "200 error response", "error code 200".
fn success_as_error(code: &str, before: &str, after: &str) -> Option<(String, String)> {
    if !matches!(code, "200" | "201" | "202" | "204") {
        return None;
    }
    let last = |words: &[&str]| {
        let head = before.trim_end_matches([' ', ':', '"', '\'', '(']);
        words.iter().any(|word| head.ends_with(word))
    };
    let counted = last(&[
        "over",
        "about",
        "than",
        "nearly",
        "around",
        "least",
        "to",
        "~",
        "of",
        "some",
        "approximately",
        "roughly",
        "almost",
    ]);
    let tail = after.trim_start_matches([' ', '-']);
    let rest = tail.strip_prefix("ok ").unwrap_or(tail);
    let error = rest
        .strip_prefix("error")
        .filter(|rest| !rest.starts_with('s'));
    let kind = error.map(str::trim_start).is_some_and(|rest| {
        ["response", "code", "status", "page"]
            .iter()
            .any(|word| rest.starts_with(word))
    });
    let coded = last(&["http", "status", "code", "http status", " a", "status code"]);
    let rate = ["per ", "/s", "a minute", "a second", "every"]
        .iter()
        .any(|word| {
            rest.get(..60.min(rest.len()))
                .unwrap_or(rest)
                .contains(word)
        });
    let named = last(&["error code", "http error", "error status"]) && !tail.starts_with("ok");
    let told = (error.is_some() && (kind || coded) && !rate) || named;
    (told && !counted).then(|| {
        (
            format!("{code} is told as the error, but it means success"),
            "write the code that clients got; 500 if servers failed".to_owned(),
        )
    })
}

/// "500 OK", "HTTP 503 success".
fn error_as_success(code: &str, before: &str, after: &str) -> Option<(String, String)> {
    let tail = after.trim_start_matches([' ', '-', '(']);
    let ok = tail.starts_with("ok") && !tail[2..].starts_with(|c: char| c.is_alphanumeric());
    let success = ["success response", "success status", "success code"]
        .iter()
        .any(|word| tail.starts_with(word));
    let coded = ["http", "status", "code", "returned", "returning", "a"]
        .iter()
        .any(|word| before.trim_end().ends_with(word));
    (!code.starts_with('2') && (ok || success) && coded).then(|| {
        (
            format!("{code} is told as a success, but it means that the request failed"),
            "write 200, if requests succeeded".to_owned(),
        )
    })
}

/// "503 Bad Gateway".
fn other_name(code: &str, after: &str) -> Option<(String, String)> {
    let tail = after.strip_prefix([' ', ':', '-']).unwrap_or(after);
    let tail = tail.trim_start_matches([' ', '-', '"', '(']);
    let (right, name) = NAMES.iter().find(|(_, name)| tail.starts_with(name))?;
    let own = NAMES.iter().find(|(it, _)| *it == code);
    (*right != code).then(|| {
        (
            format!("{code} is not called \"{name}\"; that is {right}"),
            match own {
                Some((_, own)) => format!("write {right}, or \"{own}\""),
                None => format!("write {right}"),
            },
        )
    })
}
