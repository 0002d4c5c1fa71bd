//! YAML 1.2 (core schema) by the events of `saphyr-parser`, which keep places.
//!
//! Beyond the core schema: merge keys (`<<`), because most files that have
//! anchors use them, and most readers know them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::load::{Budget, Flaw, duplicate};
use super::{ALIASED_NODES_MAX, DEPTH_MAX, Entry, Map, Node, Span, Value};

pub(super) fn read(text: &str) -> (Vec<Node>, Vec<Flaw>) {
    let skipped = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut reader = Reader {
        offsets: Offsets::new(&text[skipped..], skipped),
        budget: Budget::default(),
        aliased: 0,
        anchors: BTreeMap::new(),
        stack: Vec::new(),
        roots: Vec::new(),
        flaws: Vec::new(),
    };
    let mut parser = Parser::new_from_str(&text[skipped..]);
    while let Some(next) = parser.next_event() {
        let step = match next {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, span)) => {
                let span = reader.offsets.range(span.start, span.end);
                reader.event(event, span)
            }
            Err(error) => Err(reader.broken(text, error.marker(), error.info())),
        };
        if let Err(flaw) = step {
            reader.flaws.push(flaw);
            break;
        }
    }
    if reader.roots.is_empty() && reader.flaws.is_empty() {
        // Nothing but white space and comments: that is null to YAML.
        reader.roots.push(Node::new(0..0, Value::Null));
    }
    (reader.roots, reader.flaws)
}

/// A list or map that is not closed yet.
enum Open {
    List {
        start: usize,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        start: usize,
        anchor: usize,
        entries: Vec<Entry>,
        merged: Vec<Node>,
        key: Option<(String, Range<usize>, bool)>,
    },
}

struct Reader<'t> {
    offsets: Offsets<'t>,
    budget: Budget,
    aliased: usize,
    /// Finished values by anchor, with the number of their nodes.
    anchors: BTreeMap<usize, (Node, usize)>,
    stack: Vec<Open>,
    roots: Vec<Node>,
    flaws: Vec<Flaw>,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), Flaw> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Alias(anchor) => {
                let (node, nodes) = self.unfold(anchor, &span)?;
                self.place(node, span, 0, nodes, None)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.budget.take(&span, self.stack.len())?;
                let merge = style == ScalarStyle::Plain && text == "<<";
                let value = scalar(&text, style, tag.as_deref());
                let key = (text, merge);
                let node = Node::new(span.clone(), value);
                self.place(node, span, anchor, 1, Some(key))
            }
            Event::SequenceStart(anchor, _) => {
                self.budget.take(&span, self.stack.len())?;
                self.stack.push(Open::List {
                    start: span.start,
                    anchor,
                    items: Vec::new(),
                });
                Ok(())
            }
            Event::MappingStart(anchor, _) => {
                self.budget.take(&span, self.stack.len())?;
                self.stack.push(Open::Map {
                    start: span.start,
                    anchor,
                    entries: Vec::new(),
                    merged: Vec::new(),
                    key: None,
                });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
        }
    }

    fn close(&mut self, end: Range<usize>) -> Result<(), Flaw> {
        let (start, anchor, value) = match self.stack.pop() {
            Some(Open::List {
                start,
                anchor,
                items,
            }) => (start, anchor, Value::List(items)),
            Some(Open::Map {
                start,
                anchor,
                entries,
                merged,
                ..
            }) => {
                let (map, again) = Map::new(entries);
                for entry in again {
                    let span = entry.key_span.range();
                    self.flaws.push(duplicate(span, &entry.key));
                }
                (start, anchor, Value::Map(merge(map, merged)))
            }
            None => return Ok(()),
        };
        let span = start..self.offsets.trimmed(start, end.end);
        let node = Node::new(span.clone(), value);
        let nodes = if anchor > 0 { count(&node) } else { 0 };
        self.place(node, span, anchor, nodes, None)
    }

    /// Puts a finished value where it belongs. `key` is its text, if it can be a key.
    fn place(
        &mut self,
        node: Node,
        span: Range<usize>,
        anchor: usize,
        nodes: usize,
        text: Option<(Cow<'_, str>, bool)>,
    ) -> Result<(), Flaw> {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), nodes));
        }
        match self.stack.last_mut() {
            None => self.roots.push(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map {
                entries,
                merged,
                key,
                ..
            }) => match key.take() {
                Some((_, _, true)) => merged.push(node),
                Some((name, key_span, false)) => entries.push(Entry {
                    key: name,
                    key_span: Span::new(key_span),
                    node,
                }),
                None => {
                    let Some((name, merge)) = text
                        .map(|(text, merge)| (text.into_owned(), merge))
                        .or_else(|| key_of_alias(&node))
                    else {
                        return Err(Flaw::new(span, "a list or map as a key")
                            .help("keys of configuration are names"));
                    };
                    *key = Some((name, span, merge));
                }
            },
        }
        Ok(())
    }

    fn unfold(&mut self, anchor: usize, span: &Range<usize>) -> Result<(Node, usize), Flaw> {
        let Some((node, nodes)) = self.anchors.get(&anchor) else {
            return Err(Flaw::new(
                span.clone(),
                "this alias stands inside its own anchor",
            ));
        };
        self.aliased += nodes;
        if self.aliased > ALIASED_NODES_MAX {
            let message = format!("aliases stand for more than {ALIASED_NODES_MAX} values");
            return Err(Flaw::new(span.clone(), message)
                .help("a few aliases of aliases can unfold to more than any memory holds"));
        }
        let mut node = node.clone();
        node.span = Span::new(span.clone());
        if self.stack.len() + depth(&node) > DEPTH_MAX {
            let message = format!("with this alias more than {DEPTH_MAX} levels");
            return Err(Flaw::new(span.clone(), message));
        }
        Ok((node, *nodes))
    }

    fn broken(&self, text: &str, marker: &Marker, info: &str) -> Flaw {
        let at = self.offsets.at(*marker);
        let flaw = Flaw::new(at..at, format!("not YAML: {info}"));
        let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
        let indent = text[line..].bytes().take_while(u8::is_ascii_whitespace);
        if indent.into_iter().any(|byte| byte == b'\t') {
            return flaw.help("YAML is indented with spaces; this line begins with a tab");
        }
        flaw
    }
}

fn key_of_alias(node: &Node) -> Option<(String, bool)> {
    match &node.value {
        Value::Text(text) => Some((text.clone(), false)),
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Large(_)
        | Value::Float(_)
        | Value::List(_)
        | Value::Map(_) => None,
    }
}

/// Entries of merged maps that the map itself has not; of several the first wins.
fn merge(map: Map, merged: Vec<Node>) -> Map {
    if merged.is_empty() {
        return map;
    }
    let mut entries = map.entries;
    for node in merged {
        let maps = match node.value {
            Value::List(items) => items,
            _ => vec![node],
        };
        for node in maps {
            if let Value::Map(map) = node.value {
                entries.extend(map.entries);
            }
        }
    }
    // What comes later under a key that is there is dropped.
    Map::new(entries).0
}

fn count(node: &Node) -> usize {
    1 + node
        .children()
        .map(|(_, child)| count(child))
        .sum::<usize>()
}

fn depth(node: &Node) -> usize {
    let below = node.children().map(|(_, child)| depth(child) + 1);
    below.max().unwrap_or(0)
}

/// A scalar's value by the core schema, or by its tag.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    if let Some(tag) = tag {
        let known = tag.is_yaml_core_schema().then_some(tag.suffix.as_str());
        return match known {
            Some("null" | "bool" | "int") => plain(text),
            Some("float") => match plain(text) {
                Value::Integer(_) => text.parse().map_or(Value::Null, Value::Float),
                other => other,
            },
            // `!!str`, `!!binary`, and tags that only the reader knows.
            Some(_) | None => Value::Text(text.to_owned()),
        };
    }
    match style {
        ScalarStyle::Plain => plain(text),
        ScalarStyle::SingleQuoted
        | ScalarStyle::DoubleQuoted
        | ScalarStyle::Literal
        | ScalarStyle::Folded => Value::Text(text.to_owned()),
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let (sign, digits) = match text.as_bytes() {
        [b'-', ..] => (-1.0, &text[1..]),
        [b'+', ..] => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Value::Float(sign * f64::INFINITY);
    }
    let based = |digits: &str, base| u64::from_str_radix(digits, base).ok();
    let whole = match text.as_bytes() {
        [b'0', b'x', b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..] => based(&text[2..], 16),
        [b'0', b'o', b'0'..=b'7', ..] => based(&text[2..], 8),
        _ => None,
    };
    if let Some(whole) = whole {
        return i64::try_from(whole).map_or(Value::Large(whole), Value::Integer);
    }
    if is_number(digits) {
        if let Ok(whole) = text.parse() {
            return Value::Integer(whole);
        }
        if let Ok(whole) = text.parse() {
            return Value::Large(whole);
        }
        if let Ok(number) = text.parse() {
            return Value::Float(number);
        }
    }
    Value::Text(text.to_owned())
}

/// `[0-9]+`, or a decimal number with at least one digit before its exponent.
fn is_number(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent
        .is_none_or(|exponent| all_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    let mantissa_fits = match mantissa.split_once('.') {
        None => all_digits(mantissa),
        Some((whole, part)) => {
            (all_digits(whole) || whole.is_empty())
                && (all_digits(part) || part.is_empty())
                && !(whole.is_empty() && part.is_empty())
        }
    };
    mantissa_fits && exponent_fits
}

/// From the parser's character counts to bytes, by a mark every few characters.
struct Offsets<'t> {
    text: &'t str,
    /// Bytes before `text` in the file.
    skipped: usize,
    marks: Vec<usize>,
}

const CHARS_PER_MARK: usize = 64;

impl<'t> Offsets<'t> {
    fn new(text: &'t str, skipped: usize) -> Offsets<'t> {
        let marks = if text.is_ascii() {
            Vec::new()
        } else {
            let starts = text.char_indices().map(|(at, _)| at);
            starts.step_by(CHARS_PER_MARK).collect()
        };
        Offsets {
            text,
            skipped,
            marks,
        }
    }

    fn at(&self, marker: Marker) -> usize {
        let chars = marker.index();
        let at = if self.marks.is_empty() {
            chars.min(self.text.len())
        } else {
            let mark = self.marks.get(chars / CHARS_PER_MARK);
            let mark = mark.copied().unwrap_or(self.text.len());
            let mut rest = self.text[mark..].char_indices();
            let found = rest.nth(chars % CHARS_PER_MARK);
            found.map_or(self.text.len(), |(at, _)| mark + at)
        };
        at + self.skipped
    }

    fn range(&self, start: Marker, end: Marker) -> Range<usize> {
        let start = self.at(start);
        start..self.at(end).max(start)
    }

    /// The end of a block without the white space up to what comes after it.
    fn trimmed(&self, start: usize, end: usize) -> usize {
        let inside = self.text.get(start - self.skipped..end - self.skipped);
        start + inside.unwrap_or_default().trim_end().len()
    }
}
