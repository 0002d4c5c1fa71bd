//! The parsed text as a plain tree in which every key and value knows its place.
//!
//! TOML writes tables in four ways (headers, dotted keys, inline, arrays of
//! tables); here there is one, so the readers above don't care which was used.

use std::ops::Range;

use toml_edit::{Item, Key, TableLike};

/// A value and its bytes in the text.
#[derive(Debug)]
pub(super) struct Node {
    /// A table's span is its header or its braces.
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float,
    Boolean(bool),
    Date,
    List(Vec<Node>),
    Table(Vec<Field>),
}

/// One key of a table with its value.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) name_span: Range<usize>,
    pub(super) node: Node,
}

impl Node {
    /// What the value is, for "must be X, not Y".
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Float => "a number with a fraction",
            Value::Boolean(_) => "true or false",
            Value::Date => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The value of a key, if this is a table that has it.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        let Value::Table(fields) = &self.value else {
            return None;
        };
        fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| &field.node)
    }
}

/// The whole document. Its depth is bounded by the TOML parser's own limit.
pub(super) fn of_document(table: &toml_edit::Table) -> Node {
    table_node(table, 0..0)
}

/// `place` is where a value without a span of its own stands: a table that
/// exists only because another one was declared inside it.
fn node(item: &Item, place: Range<usize>) -> Node {
    match item {
        Item::None => Node {
            span: place,
            value: Value::Table(Vec::new()),
        },
        Item::Value(value) => value_node(value, place),
        Item::Table(table) => table_node(table, table.span().unwrap_or(place)),
        Item::ArrayOfTables(tables) => Node {
            // The span of the whole would cover half the file; its first header is where to look.
            span: place.clone(),
            value: Value::List(
                tables
                    .iter()
                    .map(|table| table_node(table, table.span().unwrap_or(place.clone())))
                    .collect(),
            ),
        },
    }
}

fn value_node(value: &toml_edit::Value, place: Range<usize>) -> Node {
    let span = value.span().unwrap_or(place);
    let value = match value {
        toml_edit::Value::String(text) => Value::Text(text.value().clone()),
        toml_edit::Value::Integer(number) => Value::Integer(*number.value()),
        toml_edit::Value::Float(_) => Value::Float,
        toml_edit::Value::Boolean(truth) => Value::Boolean(*truth.value()),
        toml_edit::Value::Datetime(_) => Value::Date,
        toml_edit::Value::Array(array) => Value::List(
            array
                .iter()
                .map(|value| value_node(value, span.clone()))
                .collect(),
        ),
        toml_edit::Value::InlineTable(table) => return table_node(table, span),
    };
    Node { span, value }
}

fn table_node(table: &dyn TableLike, span: Range<usize>) -> Node {
    let fields = table
        .iter()
        .map(|(name, item)| {
            let name_span = table.key(name).and_then(Key::span).unwrap_or(span.clone());
            Field {
                name: name.to_owned(),
                node: node(item, name_span.clone()),
                name_span,
            }
        })
        .collect();
    Node {
        span,
        value: Value::Table(fields),
    }
}
