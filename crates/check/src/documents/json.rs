//! A JSON reader (RFC 8259) that keeps places and goes on after small mistakes.
//!
//! Strings and numbers are read by `serde_json`, so that they mean here exactly
//! what they mean there; this file adds structure and places.

use std::ops::Range;

use super::load::{Budget, Flaw, duplicate};
use super::{Entry, Map, Node, Value};

/// After so many mistakes nobody reads on.
const FLAWS_MAX: usize = 50;

pub(super) fn read(text: &str) -> (Vec<Node>, Vec<Flaw>) {
    let mut reader = Reader {
        text,
        at: if text.starts_with('\u{feff}') { 3 } else { 0 },
        budget: Budget::default(),
        flaws: Vec::new(),
    };
    let root = reader.document();
    let roots = root.into_iter().collect();
    (roots, reader.flaws)
}

/// A mistake after which nothing more can be made of the text; it is noted.
struct Stop;

struct Reader<'t> {
    text: &'t str,
    at: usize,
    budget: Budget,
    flaws: Vec<Flaw>,
}

impl Reader<'_> {
    fn document(&mut self) -> Option<Node> {
        self.space().ok()?;
        let root = self.value(0).ok()?;
        if self.space().is_ok() && self.at < self.text.len() {
            let _: Result<(), Stop> = self.stop("text after the end of the document");
        }
        Some(root)
    }

    fn value(&mut self, depth: usize) -> Result<Node, Stop> {
        let start = self.at;
        if let Err(flaw) = self.budget.take(&(start..start + 1), depth) {
            self.flaws.push(flaw);
            return Err(Stop);
        }
        let value = match self.peek() {
            Some(b'{') => Value::Map(self.map(depth)?),
            Some(b'[') => Value::List(self.list(depth)?),
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z' | b'A'..=b'Z') => self.word()?,
            Some(b'\'') => return self.stop("strings stand in double quotes"),
            None => return self.stop("the document ends where a value should be"),
            Some(_) => return self.stop("a value should be here"),
        };
        Ok(Node::new(start..self.at, value))
    }

    fn map(&mut self, depth: usize) -> Result<Map, Stop> {
        let open = self.at;
        self.at += 1;
        let mut entries = Vec::new();
        loop {
            self.space()?;
            let key_start = self.at;
            let key = match self.peek() {
                Some(b'}') => break,
                Some(b'"') => self.string()?,
                None => return self.unclosed(open, '{', '}'),
                Some(_) => return self.stop("a key in double quotes should be here"),
            };
            let key_span = key_start..self.at;
            self.space()?;
            if self.peek() != Some(b':') {
                return self.stop("`:` should be here");
            }
            self.at += 1;
            self.space()?;
            let node = self.value(depth + 1)?;
            entries.push(Entry {
                key,
                key_span: super::Span::new(key_span),
                node,
            });
            if !self.comma(open, '{', b'}')? {
                break;
            }
        }
        self.at += 1;
        let (map, again) = Map::new(entries);
        for entry in again {
            self.note(duplicate(entry.key_span.range(), &entry.key))?;
        }
        Ok(map)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Stop> {
        let open = self.at;
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.space()?;
            match self.peek() {
                Some(b']') => break,
                None => return self.unclosed(open, '[', ']'),
                Some(_) => items.push(self.value(depth + 1)?),
            }
            if !self.comma(open, '[', b']')? {
                break;
            }
        }
        self.at += 1;
        Ok(items)
    }

    /// Whether another entry follows; the reader is at it, or at the closing bracket.
    fn comma(&mut self, open: usize, opened: char, close: u8) -> Result<bool, Stop> {
        let end = self.at;
        self.space()?;
        match self.peek() {
            Some(b',') => {
                let comma = self.at;
                self.at += 1;
                self.space()?;
                if self.peek() == Some(close) {
                    let flaw = Flaw::new(comma..comma + 1, "a comma after the last entry");
                    self.note(flaw.help("JSON has none: remove it"))?;
                    return Ok(false);
                }
                Ok(true)
            }
            Some(byte) if byte == close => Ok(false),
            None => self.unclosed(open, opened, char::from(close)),
            // The next entry begins: only the comma is missing.
            Some(b'"' | b'{' | b'[') => {
                self.note(Flaw::new(end..end, "a comma is missing here"))?;
                Ok(true)
            }
            Some(_) => {
                let close = char::from(close);
                self.stop(&format!("`,` or `{close}` should be here"))
            }
        }
    }

    fn string(&mut self) -> Result<String, Stop> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at += 2,
                Some(0..=0x1f) => {
                    self.at = at;
                    return match bytes[at] {
                        b'\n' | b'\r' => self.stop("the string does not end in its line"),
                        _ => self.stop("a control character in a string: write `\\t`, `\\u0000`"),
                    };
                }
                Some(_) => at += 1,
                None => {
                    self.flaws
                        .push(Flaw::new(start..start + 1, "this string never ends"));
                    return Err(Stop);
                }
            }
        }
        self.at = at + 1;
        let literal = self.text.get(start..self.at).unwrap_or_default();
        match serde_json::from_str(literal) {
            Ok(text) => Ok(text),
            Err(_) => {
                let flaw = Flaw::new(start..self.at, "an escape that JSON does not know");
                self.note(
                    flaw.help("after `\\` comes one of \" \\ / b f n r t, or u and 4 hex digits"),
                )?;
                Ok(literal.to_owned())
            }
        }
    }

    fn number(&mut self) -> Result<Value, Stop> {
        let span = self.run(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        let literal = &self.text[span.clone()];
        match serde_json::from_str::<serde_json::Number>(literal) {
            Ok(number) => Ok(of_number(&number)),
            Err(_) => {
                let shown: String = literal.chars().take(40).collect();
                self.note(Flaw::new(span, format!("{shown} is no JSON number")))?;
                Ok(Value::Null)
            }
        }
    }

    fn word(&mut self) -> Result<Value, Stop> {
        let span = self.run(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match &self.text[span.clone()] {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "null" => Ok(Value::Null),
            other => {
                let shown: String = other.chars().take(40).collect();
                let flaw = Flaw::new(span, format!("`{shown}` is no JSON value"));
                self.note(
                    flaw.help("strings stand in double quotes; words are true, false, null"),
                )?;
                Ok(Value::Null)
            }
        }
    }

    fn run(&mut self, part: impl Fn(u8) -> bool) -> Range<usize> {
        let start = self.at;
        while self.peek().is_some_and(&part) {
            self.at += 1;
        }
        start..self.at
    }

    /// Skips white space, and comments with a word about them.
    fn space(&mut self) -> Result<(), Stop> {
        loop {
            self.run(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
            let rest = &self.text[self.at..];
            let end = if rest.starts_with("//") || rest.starts_with('#') {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else {
                return Ok(());
            };
            let flaw = Flaw::new(self.at..self.at + end, "a comment: JSON has none");
            self.note(flaw.help("remove it, or use YAML or TOML"))?;
            self.at += end;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn note(&mut self, flaw: Flaw) -> Result<(), Stop> {
        self.flaws.push(flaw);
        if self.flaws.len() < FLAWS_MAX {
            Ok(())
        } else {
            Err(Stop)
        }
    }

    fn unclosed<T>(&mut self, open: usize, opened: char, close: char) -> Result<T, Stop> {
        let message = format!("`{opened}` is never closed by `{close}`");
        self.flaws.push(Flaw::new(open..open + 1, message));
        Err(Stop)
    }

    fn stop<T>(&mut self, message: &str) -> Result<T, Stop> {
        let end = self
            .text
            .ceil_char_boundary((self.at + 1).min(self.text.len()));
        let start = self.text.floor_char_boundary(self.at.min(end));
        self.flaws
            .push(Flaw::new(start..end, format!("not JSON: {message}")));
        Err(Stop)
    }
}

fn of_number(number: &serde_json::Number) -> Value {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(number), _, _) => Value::Integer(number),
        (None, Some(number), _) => Value::Large(number),
        (None, None, Some(number)) => Value::Float(number),
        (None, None, None) => Value::Null,
    }
}
