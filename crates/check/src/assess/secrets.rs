//! Secrets that stand in files: told, and never shown.
//!
//! Two looks. Any text of any file that has the form of a key or token of a
//! known kind is one. In documents, and in files of `NAME=value` lines, a
//! literal under a name like `password` is one too.
//!
//! Invariant: no message holds any part of a value.

mod tokens;

use std::ops::Range;

use model::gate::Severity;

use super::Ground;
use super::annotations::{Mark, MarkKind};
use super::file::File;
use super::findings::Findings;
use super::values;
use crate::documents::{Node, Value};
use crate::pattern::Pointer;
use tokens::{Hit, strong};

pub(super) use tokens::is_strong;

const HELP: &str = "write a reference (`${secret:NAME}`, `vault:PATH`, `file:/PATH`, `${NAME}`), change the secret, \
    or have an operator list the field in `literals`";

/// Strong hits that one file can tell: the first few say what is to be done.
const HITS_MAX: usize = 50;

pub(super) fn check(ground: &Ground<'_>, marks: &[Mark<'_>], findings: &mut Findings) {
    let exempt: Vec<Pointer> = ground
        .rules
        .literals
        .iter()
        .filter_map(|pattern| Pointer::parse(pattern).ok())
        .collect();
    for (path, file) in &ground.files {
        let mut fields = Fields {
            exempt: &exempt,
            marked: marks
                .iter()
                .filter(|mark| mark.file == *path && matches!(mark.kind, MarkKind::Secret))
                .map(|mark| mark.path.as_slice())
                .collect(),
            allowed: Vec::new(),
            found: Vec::new(),
        };
        for root in &file.roots {
            fields.walk(root, &mut Vec::new(), false);
        }
        let strong = strong(file.text());
        let strong = strong.into_iter().filter(|hit| {
            let mut allowed = fields.allowed.iter();
            !allowed.any(|span| span.start <= hit.span.start && hit.span.end <= span.end)
        });
        let strong: Vec<Hit> = strong.take(HITS_MAX).collect();
        for hit in &strong {
            let message = format!("{} stands here in the clear", hit.what);
            findings.at(Severity::Deny, file, hit.span.start, message, Some(HELP));
        }
        let told = |span: &Range<usize>| {
            let overlap = |hit: &Hit| hit.span.start < span.end && span.start < hit.span.end;
            strong.iter().any(overlap)
        };
        let lines = if file.roots.is_empty() {
            assignments(file)
        } else {
            Vec::new()
        };
        for (span, message) in fields.found.into_iter().chain(lines) {
            if !told(&span) {
                findings.at(Severity::Deny, file, span.start, message, Some(HELP));
            }
        }
    }
}

/// Walks a document for literals under names of secrets.
struct Fields<'g> {
    exempt: &'g [Pointer],
    marked: Vec<&'g [String]>,
    /// Where anything may stand.
    allowed: Vec<Range<usize>>,
    found: Vec<(Range<usize>, String)>,
}

impl Fields<'_> {
    /// `secret`: a list above has the name of secrets.
    fn walk(&mut self, node: &Node, path: &mut Vec<String>, secret: bool) {
        if self.is_exempt(path) {
            self.allowed.push(node.span.range());
            return;
        }
        let marked = self.marked.contains(&path.as_slice());
        match &node.value {
            Value::Map(map) => {
                for entry in map.entries() {
                    let secret = names_secret(&entry.key);
                    path.push(entry.key.clone());
                    self.walk(&entry.node, path, secret);
                    path.pop();
                }
            }
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    path.push(at.to_string());
                    self.walk(item, path, secret);
                    path.pop();
                }
            }
            Value::Text(text) => self.text(node, text, path, secret, marked),
            Value::Integer(_) | Value::Large(_) | Value::Float(_) => {
                let last = path.last().map_or("", String::as_str);
                if marked || (secret && is_chosen(last)) {
                    self.note(node, path, marked);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn is_exempt(&self, path: &[String]) -> bool {
        if self.exempt.is_empty() {
            return false;
        }
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        self.exempt.iter().any(|pointer| pointer.covers(&steps))
    }

    fn text(&mut self, node: &Node, text: &str, path: &[String], secret: bool, marked: bool) {
        let text = text.trim();
        if is_reference(text) {
            return;
        }
        let last = path
            .iter()
            .rev()
            .find(|step| step.parse::<usize>().is_err());
        let last = last.map_or("", String::as_str);
        // Pass phrases have spaces; tokens and keys have none.
        let sentence = text.contains(char::is_whitespace) && !is_chosen(last);
        let literal = secret && !sentence && !is_ordinary_word(text);
        let random = near_secret(last) && is_random(text);
        if marked || literal || random {
            self.note(node, path, marked);
        }
    }

    fn note(&mut self, node: &Node, path: &[String], marked: bool) {
        let name = values::name(path);
        let message = if marked {
            format!("{name} must be a reference to a secret, and is a literal")
        } else {
            format!("{name} looks like a secret in the clear")
        };
        self.found.push((node.span.range(), message));
    }
}

/// `NAME=value` and `name: value` lines of files that are nothing else.
fn assignments(file: &File<'_>) -> Vec<(Range<usize>, String)> {
    let name = file.path.as_str().rsplit('/').next().unwrap_or_default();
    let ending = name.rsplit('.').next().unwrap_or_default();
    if !["env", "ini", "cfg", "conf", "properties"].contains(&ending) && !name.starts_with(".env") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut start = 0;
    for line in file.text().split_inclusive('\n') {
        let body = line.trim_start();
        let body = body.strip_prefix("export ").unwrap_or(body);
        if let Some((key, value)) = body.split_once(['=', ':'])
            && !body.starts_with(['#', ';', '/'])
            && names_secret(key.trim())
            && key
                .trim()
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        {
            let value = value.trim().trim_matches(['"', '\'']).trim_end_matches(';');
            if !is_reference(value) && !is_ordinary_word(value) {
                let message = format!("{} looks like a secret in the clear", key.trim());
                let at = start + line.len() - line.trim_start().len();
                found.push((at..start + line.trim_end().len(), message));
            }
        }
        start += line.len();
    }
    found.truncate(HITS_MAX);
    found
}

/// The words of a key: `dbPassword`, `DB_PASSWORD` and `db-password` have two.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in key.chars() {
        let breaks = !c.is_alphanumeric() || (c.is_uppercase() && lower);
        if breaks {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            let word = words.len() - 1;
            words[word].extend(c.to_lowercase());
        }
        lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Last words of names under which a literal is a secret when it looks drawn at random.
const NEAR: &[&str] = &[
    "key",
    "keys",
    "auth",
    "credential",
    "credentials",
    "cookie",
    "salt",
    "pepper",
    "hmac",
    "authorization",
    "bearer",
    "signature",
    "pwd",
    "pass",
];

/// Whether `key` ends with anything that matters here. Nearly all keys don't,
/// and are not taken apart.
fn hints(key: &str) -> bool {
    const SURE: &[&str] = &[
        "password",
        "passwords",
        "passwd",
        "passphrase",
        "secret",
        "secrets",
        "token",
        "tokens",
    ];
    let key = key
        .trim_end_matches(|c: char| !c.is_alphanumeric())
        .as_bytes();
    let ends = |end: &&str| {
        let start = key.len().checked_sub(end.len());
        start.is_some_and(|start| key[start..].eq_ignore_ascii_case(end.as_bytes()))
    };
    SURE.iter().chain(NEAR).any(ends)
}

/// Whether what stands under `key` is a secret by its name.
pub(super) fn names_secret(key: &str) -> bool {
    if !hints(key) {
        return false;
    }
    let words = words(key);
    let mut last = words.iter().rev().map(String::as_str);
    let (last, before) = (last.next().unwrap_or(""), last.next().unwrap_or(""));
    match last {
        "password" | "passwords" | "passwd" | "passphrase" | "secret" | "secrets" | "apikey"
        | "secretkey" | "privatekey" | "accesstoken" | "authtoken" => true,
        // `max_tokens` counts, `csrf_token` and `access_tokens` are secret.
        "token" | "tokens" => !["max", "min", "num", "total", "per", "stop"].contains(&before),
        "key" | "keys" => ["api", "private", "secret", "signing", "encryption"].contains(&before),
        _ => false,
    }
}

/// What people choose themselves: it may be a number, or have spaces.
fn is_chosen(key: &str) -> bool {
    let words = words(key);
    let last = words.last().map_or("", String::as_str);
    ["password", "passwd", "passphrase", "secret"].contains(&last)
}

/// Names under which a literal is a secret when it looks drawn at random.
fn near_secret(key: &str) -> bool {
    if !hints(key) {
        return false;
    }
    let words = words(key);
    let public = words
        .iter()
        .any(|word| ["public", "pub", "cert", "certificate"].contains(&word.as_str()));
    let last = words.last().map_or("", String::as_str);
    !public && NEAR.contains(&last)
}

/// Whether a value only says where a secret is.
pub(super) fn is_reference(text: &str) -> bool {
    const SCHEMES: &[&str] = &[
        "secret://",
        "vault:",
        "file:/",
        "op://",
        "arn:aws:",
        "ENC[",
        "sops:",
    ];
    let text = text.trim();
    if SCHEMES
        .iter()
        .any(|scheme| text.starts_with(scheme) && text.len() > scheme.len())
    {
        return true;
    }
    if let Some(name) = text.strip_prefix('$')
        && is_variable(name)
    {
        return true;
    }
    // `${NAME}` and `{{ name }}`, with nothing but punctuation around them.
    let mut rest = text;
    let mut outside = String::new();
    let mut any = false;
    loop {
        let next = [("${", "}"), ("{{", "}}")]
            .iter()
            .filter_map(|(open, close)| Some((rest.find(open)?, open.len(), *close)))
            .min();
        let Some((at, open, close)) = next else {
            break;
        };
        let Some(end) = rest[at + open..].find(close).filter(|end| *end > 0) else {
            break;
        };
        any = true;
        outside.push_str(&rest[..at]);
        rest = &rest[at + open + end + close.len()..];
    }
    outside.push_str(rest);
    any && !outside.contains(char::is_alphanumeric)
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What is written where a secret could be, and is none.
fn is_ordinary_word(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "", "none", "null", "nil", "true", "false", "yes", "no", "on", "off", "disabled",
        "enabled", "required", "optional", "auto", "bearer", "basic", "jwt", "oauth2", "env",
        "prompt", "vault", "redacted", "string",
    ];
    let lower = text.to_ascii_lowercase();
    let masked = !text.is_empty()
        && text
            .chars()
            .all(|c| matches!(c, '*' | 'x' | 'X' | '.' | '•'));
    let placeholder = text.starts_with('<') && text.ends_with('>');
    WORDS.contains(&lower.as_str()) || masked || placeholder
}

/// Whether a text looks drawn at random: long, dense, of several kinds of characters.
fn is_random(text: &str) -> bool {
    const CHARS_MIN: usize = 20;
    let length = text.chars().count();
    if length < CHARS_MIN || text.contains(char::is_whitespace) || text.contains("://") {
        return false;
    }
    // Paths, names of hosts and identifiers are long too, but made of words.
    if text.contains('/') && !text.ends_with('=') || text.split(['-', '_', '.']).count() > 4 {
        return false;
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let letters = text.chars().filter(char::is_ascii_alphabetic).count();
    digits * 10 >= length && letters * 10 >= length && bits_per_char(text) > 3.3
}

/// Shannon's measure over the characters of a text.
fn bits_per_char(text: &str) -> f64 {
    let mut counts = std::collections::BTreeMap::new();
    for c in text.chars() {
        *counts.entry(c).or_insert(0_u32) += 1;
    }
    let total = f64::from(counts.values().sum::<u32>());
    let bits = counts.values().map(|count| {
        let share = f64::from(*count) / total;
        -share * share.log2()
    });
    bits.sum()
}

#[cfg(test)]
mod tests;
