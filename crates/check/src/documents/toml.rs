//! TOML by `toml_edit`, which keeps places, and bounds the parts of keys and the
//! depth of lists before it builds anything.

use std::ops::Range;

use toml_edit::{Item, TableLike};

use super::load::{Budget, Flaw};
use super::{Entry, Map, Node, Span, Value};

pub(super) fn read(text: &str) -> (Vec<Node>, Vec<Flaw>) {
    let document = match toml_edit::Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            let span = text.floor_char_boundary(span.start)..text.ceil_char_boundary(span.end);
            let message = format!("not TOML: {}", error.message());
            return (Vec::new(), vec![Flaw::new(span, message)]);
        }
    };
    let mut budget = Budget::default();
    match table(document.as_table(), 0..text.len(), 0, &mut budget) {
        Ok(root) => (vec![root], Vec::new()),
        Err(flaw) => (Vec::new(), vec![flaw]),
    }
}

fn table(
    table: &dyn TableLike,
    span: Range<usize>,
    depth: usize,
    budget: &mut Budget,
) -> Result<Node, Flaw> {
    budget.take(&span, depth)?;
    let mut entries = Vec::with_capacity(table.len());
    for (name, item) in table.iter() {
        let key = table.key(name);
        let key_span = key.and_then(toml_edit::Key::span).unwrap_or(span.clone());
        let node = item_node(item, key_span.clone(), depth + 1, budget)?;
        entries.push(Entry {
            key: name.to_owned(),
            key_span: Span::new(key_span),
            node,
        });
    }
    // The order of the text, also where tables are opened again further down.
    entries.sort_by_key(|entry| entry.key_span.start);
    Ok(Node::new(span, Value::Map(Map::new(entries).0)))
}

fn item_node(
    item: &Item,
    place: Range<usize>,
    depth: usize,
    budget: &mut Budget,
) -> Result<Node, Flaw> {
    match item {
        Item::None => Ok(Node::new(place, Value::Null)),
        Item::Value(value) => value_node(value, place, depth, budget),
        Item::Table(inner) => table(inner, inner.span().unwrap_or(place), depth, budget),
        Item::ArrayOfTables(tables) => {
            budget.take(&place, depth)?;
            let mut items = Vec::with_capacity(tables.len());
            for inner in tables {
                let span = inner.span().unwrap_or(place.clone());
                items.push(table(inner, span, depth + 1, budget)?);
            }
            let span = items.first().map_or(place, |first| first.span.range());
            Ok(Node::new(span, Value::List(items)))
        }
    }
}

fn value_node(
    value: &toml_edit::Value,
    place: Range<usize>,
    depth: usize,
    budget: &mut Budget,
) -> Result<Node, Flaw> {
    let span = value.span().unwrap_or(place);
    if let toml_edit::Value::InlineTable(inner) = value {
        return table(inner, span, depth, budget);
    }
    budget.take(&span, depth)?;
    let plain = match value {
        toml_edit::Value::String(text) => Value::Text(text.value().clone()),
        toml_edit::Value::Integer(number) => Value::Integer(*number.value()),
        toml_edit::Value::Float(number) => Value::Float(*number.value()),
        toml_edit::Value::Boolean(yes) => Value::Bool(*yes.value()),
        toml_edit::Value::Datetime(date) => Value::Text(date.value().to_string()),
        toml_edit::Value::Array(array) => {
            let items = array.iter();
            let items = items.map(|item| value_node(item, span.clone(), depth + 1, budget));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        toml_edit::Value::InlineTable(_) => Value::Null,
    };
    Ok(Node::new(span, plain))
}
