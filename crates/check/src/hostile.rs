//! Broken variants of a document, for the bundle's own check to refuse.
//!
//! What goes wrong with configuration files in practice: they are empty, cut
//! off, there twice, lack a field, hold an empty or absurd value or one of
//! another kind. Each variant is one such accident. A good check refuses those
//! that the schema calls invalid; on the others it must only end by itself.
//!
//! Invariant: the same document gives the same variants, in the same order, at
//! most [`VARIANTS_MAX`] of them.

use crate::assess::{Schema, required};
use crate::documents::{self, Entry, Format, Map, Node, Value};
use crate::pattern::pointer_text;

/// Most variants of one document: each is one run of the bundle's check, of a
/// tenth of a second or so.
pub const VARIANTS_MAX: usize = 64;
/// Bytes of all variants of one document together.
const BYTES_MAX: usize = 64 << 20;
/// So many places of a document are tried for each kind of accident.
const PLACES_MAX: usize = 200;
/// Of these, on each level of it.
const LEVEL_PLACES_MAX: usize = 60;
/// Characters of a text that is too long: more than any name, less than any body limit.
const LONG_TEXT_CHARS: usize = 64 << 10;
/// Levels of a value that is too deep: readers that recurse are still alive at it.
const DEEP_LEVELS: usize = 60;

/// A broken document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// What was done to it: "blank", "without /auth".
    pub name: String,
    /// The document, in its own format.
    pub bytes: Vec<u8>,
    /// Whether a good check refuses it. On the others it must only end by itself.
    pub must_refuse: bool,
}

/// The variants of the document at `path`. `schema` is the JSON Schema that holds for it.
///
/// A file that is no YAML, TOML or JSON, or can't be read as such, has only
/// those variants that need no understanding.
pub fn variants(path: &str, bytes: &[u8], schema: Option<&str>) -> Vec<Variant> {
    let schema = schema.and_then(|text| Schema::new(text).ok());
    let mut out = Out {
        variants: Vec::new(),
        bytes: 0,
    };
    let requires = |schema: &Schema| !schema.fits_json(&serde_json::json!({}));
    let must_refuse = schema.as_ref().is_some_and(requires);
    out.push("blank".to_owned(), Vec::new(), must_refuse);
    out.push(
        "only its first half".to_owned(),
        bytes[..bytes.len() / 2].to_vec(),
        false,
    );
    out.push("there twice".to_owned(), [bytes, bytes].concat(), false);

    let document = documents::format_of(path).zip(documents::text_of(bytes).ok());
    let Some((format, text)) = document else {
        return out.variants;
    };
    let (roots, flaws) = documents::load(format, text);
    if let ([root], []) = (roots.as_slice(), flaws.as_slice()) {
        let broken = Breaker {
            format,
            root,
            schema: schema.as_ref(),
        };
        broken.all(&mut out);
    }
    out.variants
}

struct Out {
    variants: Vec<Variant>,
    bytes: usize,
}

impl Out {
    fn push(&mut self, name: String, bytes: Vec<u8>, must_refuse: bool) {
        if self.variants.len() < VARIANTS_MAX && self.bytes + bytes.len() <= BYTES_MAX {
            self.bytes += bytes.len();
            self.variants.push(Variant {
                name,
                bytes,
                must_refuse,
            });
        }
    }
}

/// One accident at one place.
struct Accident {
    name: String,
    path: Vec<String>,
    /// What stands there now; `None`: nothing.
    value: Option<Value>,
}

struct Breaker<'d> {
    format: Format,
    root: &'d Node,
    schema: Option<&'d Schema>,
}

impl Breaker<'_> {
    fn all(&self, out: &mut Out) {
        let places = places(self.root);
        let required = self
            .schema
            .map_or(Vec::new(), |schema| required(schema, self.root));
        let missing = required.into_iter().take(PLACES_MAX).map(|path| Accident {
            name: format!("without {}", pointer_text(&path)),
            path,
            value: None,
        });
        self.some(18, missing.collect(), out);
        self.some(14, self.each(&places, "empty", blanked), out);
        self.some(
            12,
            self.each(&places, "of another kind", |node| Some(wrong(node))),
            out,
        );
        self.some(
            10,
            self.each(&places, "as large as can be", |node| {
                largest(node, self.format)
            }),
            out,
        );
        self.some(6, self.each(&places, "with each item twice", doubled), out);
        let deep = |node: &Node| is_leaf(node).then(|| Value::List(vec![deep()]));
        self.some(1, self.each(&places, "nested deep", deep), out);
    }

    fn each(
        &self,
        places: &[(Vec<String>, &Node)],
        what: &str,
        change: impl Fn(&Node) -> Option<Value>,
    ) -> Vec<Accident> {
        let changed = places.iter().filter_map(|(path, node)| {
            let value = change(node)?;
            Some(Accident {
                name: format!("{} {what}", pointer_text(path)),
                path: path.clone(),
                value: Some(value),
            })
        });
        changed.collect()
    }

    /// At most `count` of the accidents, first those that the schema calls invalid.
    fn some(&self, count: usize, accidents: Vec<Accident>, out: &mut Out) {
        let mut chosen = Vec::new();
        let mut others = Vec::new();
        for accident in accidents {
            if chosen.len() == count {
                break;
            }
            let document = changed(self.root, &accident.path, accident.value.as_ref());
            let refused = self.schema.is_some_and(|schema| !schema.fits(&document));
            if refused {
                chosen.push((accident.name, document, true));
            } else if others.len() < count {
                others.push((accident.name, document, false));
            }
        }
        let rest = count - chosen.len();
        chosen.extend(others.into_iter().take(rest));
        for (name, document, refused) in chosen {
            if let Some(bytes) = written(&document, self.format) {
                out.push(name, bytes, refused);
            }
        }
    }
}

/// The document with another value, or none, at `path`.
fn changed(node: &Node, path: &[String], value: Option<&Value>) -> Node {
    let here = |value: Value| Node {
        span: node.span,
        value,
    };
    let Some((step, below)) = path.split_first() else {
        return here(value.cloned().unwrap_or(Value::Null));
    };
    let gone = below.is_empty() && value.is_none();
    match &node.value {
        Value::Map(map) => {
            let entries = map
                .entries()
                .iter()
                .filter(|entry| !(gone && entry.key == *step));
            let entries = entries.map(|entry| Entry {
                key: entry.key.clone(),
                key_span: entry.key_span,
                node: match entry.key == *step {
                    true => changed(&entry.node, below, value),
                    false => entry.node.clone(),
                },
            });
            here(Value::Map(Map::new(entries.collect()).0))
        }
        Value::List(items) => {
            let items = items.iter().enumerate();
            let items = items.filter(|(at, _)| !(gone && at.to_string() == *step));
            let items = items.map(|(at, item)| match at.to_string() == *step {
                true => changed(item, below, value),
                false => item.clone(),
            });
            here(Value::List(items.collect()))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Large(_)
        | Value::Float(_)
        | Value::Text(_) => node.clone(),
    }
}

/// Places to break, nearest to the root first: what is wrong there matters most.
fn places(root: &Node) -> Vec<(Vec<String>, &Node)> {
    let mut found: Vec<(Vec<String>, &Node)> = Vec::new();
    let mut level = vec![(Vec::new(), root)];
    while !level.is_empty() && found.len() < PLACES_MAX {
        let mut next = Vec::new();
        for (path, node) in &level {
            for (step, child) in node.children().take(PLACES_MAX) {
                let path: Vec<String> = path.iter().cloned().chain([step]).collect();
                next.push((path, child));
            }
        }
        // A level of thousands must not hide those below it.
        next.truncate(LEVEL_PLACES_MAX);
        found.extend(next.iter().cloned());
        level = next;
    }
    found.truncate(PLACES_MAX);
    found
}

fn is_leaf(node: &Node) -> bool {
    !matches!(node.value, Value::List(_) | Value::Map(_))
}

fn blanked(node: &Node) -> Option<Value> {
    let blank = match &node.value {
        Value::Text(_) => Value::Text(String::new()),
        Value::List(_) => Value::List(Vec::new()),
        Value::Map(_) => Value::Map(Map::default()),
        Value::Integer(_) | Value::Large(_) => Value::Integer(0),
        Value::Float(_) => Value::Float(0.0),
        Value::Null | Value::Bool(_) => return None,
    };
    (node.value != blank).then_some(blank)
}

fn wrong(node: &Node) -> Value {
    match &node.value {
        Value::Text(_) => Value::Integer(-1),
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Large(_) | Value::Float(_) => {
            Value::Text("none".to_owned())
        }
        Value::List(_) | Value::Map(_) => Value::Bool(true),
    }
}

fn largest(node: &Node, format: Format) -> Option<Value> {
    match &node.value {
        // TOML's whole numbers end here; JSON readers may take more.
        Value::Integer(_) if format == Format::Toml => Some(Value::Integer(i64::MAX)),
        Value::Integer(_) | Value::Large(_) => Some(Value::Large(u64::MAX)),
        Value::Float(_) => Some(Value::Float(1e308)),
        Value::Text(_) => Some(Value::Text("x".repeat(LONG_TEXT_CHARS))),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
    }
}

fn doubled(node: &Node) -> Option<Value> {
    match &node.value {
        Value::List(items) if !items.is_empty() => {
            Some(Value::List(items.iter().chain(items).cloned().collect()))
        }
        Value::List(_)
        | Value::Map(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Large(_)
        | Value::Float(_)
        | Value::Text(_) => None,
    }
}

fn deep() -> Node {
    (1..DEEP_LEVELS).fold(Node::new(0..0, Value::Integer(1)), |inner, _| {
        Node::new(0..0, Value::List(vec![inner]))
    })
}

/// The document's text; `None` when its format has no way to say it.
fn written(document: &Node, format: Format) -> Option<Vec<u8>> {
    match format {
        // JSON is YAML, and says everything without a doubt.
        Format::Json | Format::Yaml => serde_json::to_vec_pretty(document).ok(),
        Format::Toml => toml_edit::ser::to_string_pretty(document)
            .ok()
            .map(String::into_bytes),
    }
}

#[cfg(test)]
mod tests;
