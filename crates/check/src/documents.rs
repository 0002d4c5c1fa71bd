//! YAML, TOML and JSON files as one kind of tree, in which every key and value
//! knows its place in the text.
//!
//! Whatever the bytes, loading ends: the size of the text, the depth and the
//! number of nodes are bounded, and so is what YAML aliases unfold to.
//!
//! Invariant: every span lies in the text, on borders of characters.

mod json;
mod load;
mod place;
mod toml;
mod yaml;

use std::ops::Range;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

pub(crate) use load::{Flaw, format_of, load, text_of};
pub(crate) use place::Places;

/// Most bytes of one document. Above is data, not configuration, and a tree of
/// it would take some twenty times as much memory.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// Most levels of lists and maps. Nothing that people write is half as deep, and
/// every recursion over the tree fits into the smallest stack of a thread.
pub(crate) const DEPTH_MAX: usize = 64;
/// Most keys and values of one document: what 16 MiB of the densest text could
/// hold is more, but then it is data.
pub(crate) const NODES_MAX: usize = 1 << 20;
/// Most nodes that all YAML aliases of a document may stand for together.
/// Shared blocks of real files stand for hundreds; bombs for billions.
pub(crate) const ALIASED_NODES_MAX: usize = 100_000;

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Toml,
    Yaml,
}

/// Bytes of the text; a document has fewer than 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// What does not fit is cut: no document is that long.
    pub(crate) fn new(range: Range<usize>) -> Span {
        let fit = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span {
            start: fit(range.start),
            end: fit(range.end.max(range.start)),
        }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// A whole number above those of [`Value::Integer`].
    Large(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// Keys and values in the order of the text, each key once.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Map {
    entries: Vec<Entry>,
    /// Places of the entries, sorted by key.
    sorted: Vec<u32>,
}

/// One key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) node: Node,
}

impl Map {
    /// The map of `entries`, and those whose key was there before.
    pub(crate) fn new(entries: Vec<Entry>) -> (Map, Vec<Entry>) {
        let mut sorted: Vec<u32> = (0..u32::try_from(entries.len()).unwrap_or(u32::MAX)).collect();
        let key = |at: &u32| entries[*at as usize].key.as_str();
        // Stable: of equal keys the first stays first.
        sorted.sort_by(|a, b| key(a).cmp(key(b)));
        if !sorted.windows(2).any(|pair| key(&pair[0]) == key(&pair[1])) {
            let map = Map { entries, sorted };
            return (map, Vec::new());
        }
        let mut again = vec![false; entries.len()];
        for pair in sorted.windows(2) {
            if key(&pair[0]) == key(&pair[1]) {
                again[pair[1] as usize] = true;
            }
        }
        let mut flags = again.into_iter();
        let (again, once): (Vec<Entry>, Vec<Entry>) = entries
            .into_iter()
            .partition(|_| flags.next() == Some(true));
        (Map::new(once).0, again)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        let at = self
            .sorted
            .binary_search_by(|at| self.entries[*at as usize].key.as_str().cmp(key));
        at.ok().map(|at| &self.entries[self.sorted[at] as usize])
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Node {
    pub(crate) fn new(range: Range<usize>, value: Value) -> Node {
        Node {
            span: Span::new(range),
            value,
        }
    }

    /// The value below, by key or index.
    pub(crate) fn child(&self, step: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(map) => map.get(step).map(|entry| &entry.node),
            Value::List(items) => index(step).and_then(|at| items.get(at)),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Large(_)
            | Value::Float(_)
            | Value::Text(_) => None,
        }
    }

    /// The values below with their steps, in the order of the text.
    pub(crate) fn children(&self) -> Box<dyn Iterator<Item = (String, &Node)> + '_> {
        match &self.value {
            Value::Map(map) => Box::new(
                map.entries()
                    .iter()
                    .map(|entry| (entry.key.clone(), &entry.node)),
            ),
            Value::List(items) => Box::new(
                items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| (at.to_string(), item)),
            ),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Large(_)
            | Value::Float(_)
            | Value::Text(_) => Box::new(std::iter::empty()),
        }
    }

    pub(crate) fn at<S: AsRef<str>>(&self, steps: &[S]) -> Option<&Node> {
        steps
            .iter()
            .try_fold(self, |node, step| node.child(step.as_ref()))
    }

    /// The place to show for the last of `steps`: its key when it has one, or the value.
    pub(crate) fn place_of<S: AsRef<str>>(&self, steps: &[S]) -> Option<Span> {
        let Some((last, above)) = steps.split_last() else {
            return Some(self.span);
        };
        let above = self.at(above)?;
        match &above.value {
            Value::Map(map) => map.get(last.as_ref()).map(|entry| entry.key_span),
            Value::List(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Large(_)
            | Value::Float(_)
            | Value::Text(_) => above.child(last.as_ref()).map(|node| node.span),
        }
    }

    /// Nothing in it: null, blank text, no entries.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Text(text) => text.trim().is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(map) => map.len() == 0,
            Value::Bool(_) | Value::Integer(_) | Value::Large(_) | Value::Float(_) => false,
        }
    }

    /// The same value, wherever it stands.
    pub(crate) fn same(&self, other: &Node) -> bool {
        match (&self.value, &other.value) {
            (Value::List(a), Value::List(b)) => {
                a.len() == b.len() && std::iter::zip(a, b).all(|(a, b)| a.same(b))
            }
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len()
                    && a.entries().iter().all(|entry| {
                        b.get(&entry.key)
                            .is_some_and(|other| entry.node.same(&other.node))
                    })
            }
            (a, b) => a == b,
        }
    }
}

fn index(step: &str) -> Option<usize> {
    let plain = step == "0" || !step.starts_with(['0', '+']);
    step.parse().ok().filter(|_| plain)
}

/// As JSON: for schemas, and for showing values.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Integer(value) => serializer.serialize_i64(*value),
            Value::Large(value) => serializer.serialize_u64(*value),
            Value::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            // JSON has no such numbers.
            Value::Float(value) => serializer.serialize_str(&value.to_string()),
            Value::Text(value) => serializer.serialize_str(value),
            Value::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Value::Map(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for entry in map.entries() {
                    out.serialize_entry(&entry.key, &entry.node)?;
                }
                out.end()
            }
        }
    }
}

#[cfg(test)]
mod tests;
