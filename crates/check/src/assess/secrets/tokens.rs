//! Keys and tokens that show by their form what they are.
//!
//! Invariant: a hit's span lies in the text, on borders of characters.

use std::ops::Range;

use super::{is_ordinary_word, is_reference, names_secret};

/// Something in a text that has the form of a secret.
pub(super) struct Hit {
    pub(super) span: Range<usize>,
    pub(super) what: &'static str,
}

/// Whether a text holds a key or token of a known kind.
pub(in crate::assess) fn is_strong(text: &str) -> bool {
    !strong(text).is_empty()
}

/// A kind of token: how it begins, and how many of which characters follow.
struct Token {
    prefix: &'static str,
    what: &'static str,
    chars_min: usize,
    /// No more than this follow.
    chars_max: usize,
    part: fn(u8) -> bool,
}

const fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

const fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

const fn wide(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

const fn token(
    prefix: &'static str,
    what: &'static str,
    chars_min: usize,
    part: fn(u8) -> bool,
) -> Token {
    Token {
        prefix,
        what,
        chars_min,
        chars_max: usize::MAX,
        part,
    }
}

const fn aws(prefix: &'static str) -> Token {
    Token {
        chars_max: 16,
        ..token(prefix, "an AWS access key", 16, upper)
    }
}

const TOKENS: &[Token] = &[
    aws("AKIA"),
    aws("ASIA"),
    token("ghp_", "a GitHub token", 36, plain),
    token("gho_", "a GitHub token", 36, plain),
    token("ghu_", "a GitHub token", 36, plain),
    token("ghs_", "a GitHub token", 36, plain),
    token("ghr_", "a GitHub token", 36, plain),
    token("github_pat_", "a GitHub token", 22, wide),
    token("glpat-", "a GitLab token", 20, wide),
    token("xoxb-", "a Slack token", 20, wide),
    token("xoxp-", "a Slack token", 20, wide),
    token("xoxa-", "a Slack token", 20, wide),
    token("xoxr-", "a Slack token", 20, wide),
    token("xoxs-", "a Slack token", 20, wide),
    token("sk_live_", "a Stripe key", 16, plain),
    token("rk_live_", "a Stripe key", 16, plain),
    token("sk_test_", "a Stripe key", 16, plain),
    token("AIza", "a Google API key", 35, wide),
    token("npm_", "an npm token", 36, plain),
    token("pypi-AgEI", "a PyPI token", 50, wide),
];

pub(super) fn strong(text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    for (at, word) in long_words(text) {
        hits.extend(known_token(at, word));
        if word.starts_with("eyJ") {
            hits.extend(json_web_token(at, text));
        }
    }
    private_keys(text, &mut hits);
    secrets_in_urls(text, &mut hits);
    hits.sort_by_key(|hit| hit.span.start);
    hits
}

/// Runs of letters, digits, `_` and `-` that are long enough for a token, with
/// their places: one walk over the text, however many kinds there are.
fn long_words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    /// Of all kinds the shortest: the head of a JSON web token.
    const BYTES_MIN: usize = 10;
    let words = text.as_bytes().split(|byte| !wide(*byte));
    let words = words.scan(0, |next, word| {
        let at = *next;
        *next += word.len() + 1;
        Some((at, word.len()))
    });
    let words = words.filter(|(_, length)| *length >= BYTES_MIN);
    words.filter_map(|(at, length)| Some((at, text.get(at..at + length)?)))
}

fn known_token(at: usize, word: &str) -> Option<Hit> {
    let kind = TOKENS.iter().find(|kind| word.starts_with(kind.prefix))?;
    let after = &word.as_bytes()[kind.prefix.len()..];
    let length = after.iter().take_while(|byte| (kind.part)(**byte)).count();
    // The documentation's own example says so at its end.
    let example = after[..length].ends_with(b"EXAMPLE");
    let fits = (kind.chars_min..=kind.chars_max).contains(&length) && !example;
    fits.then(|| Hit {
        span: at..at + kind.prefix.len() + length,
        what: kind.what,
    })
}

fn private_keys(text: &str, hits: &mut Vec<Hit>) {
    for (at, begin) in text.match_indices("-----BEGIN ") {
        let rest = &text[at + begin.len()..];
        // The label ends in the same line; the longest known has 21 characters.
        let Some(end) = rest.bytes().take(64).position(|byte| byte == b'-') else {
            continue;
        };
        let label = rest.get(..end).unwrap_or_default();
        if label.ends_with("PRIVATE KEY") || label.ends_with("PRIVATE KEY BLOCK") {
            let close = rest.find("-----END ").unwrap_or(end);
            hits.push(Hit {
                span: at..at + begin.len() + close,
                what: "a private key",
            });
        }
    }
}

/// The token that begins at `at`: three parts with dots between them.
fn json_web_token(at: usize, text: &str) -> Option<Hit> {
    let part = |from: usize| {
        let bytes = text.as_bytes().get(from..).unwrap_or_default();
        from + bytes.iter().take_while(|byte| wide(**byte)).count()
    };
    let head = part(at);
    if !text[head..].starts_with(".eyJ") {
        return None;
    }
    let body = part(head + 1);
    let end = part(body + 1);
    let long = head - at >= 10 && body - head >= 10 && end - body > 10;
    (text[body..].starts_with('.') && long).then_some(Hit {
        span: at..end,
        what: "a JSON web token",
    })
}

fn secrets_in_urls(text: &str, hits: &mut Vec<Hit>) {
    for (at, _) in text.match_indices("://") {
        let start = at + 3;
        let ends = |c: char| c.is_whitespace() || "\"'`<>,;)#".contains(c);
        let rest = &text[start..];
        let url = &rest[..rest.find(ends).unwrap_or(rest.len())];
        let (authority, after) = url.split_at(url.find(['/', '?']).unwrap_or(url.len()));
        let before = text.as_bytes()[..at].iter().rev();
        let scheme = before.take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'+');
        let scheme = scheme.count();
        let mut hit = |what, end| {
            hits.push(Hit {
                span: at - scheme..end,
                what,
            });
        };
        if let Some((user, _)) = authority.rsplit_once('@')
            && let Some((_, password)) = user.split_once(':')
            && is_literal(password)
        {
            hit("a password in a URL", start + user.len());
            continue;
        }
        let query = after.split_once('?').map_or("", |(_, query)| query);
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        if pairs.any(|(name, value)| names_secret(name) && is_literal(value)) {
            hit("a secret in a URL", start + url.len());
        }
    }
}

fn is_literal(text: &str) -> bool {
    !is_reference(text) && !is_ordinary_word(text)
}
