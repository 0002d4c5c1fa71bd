//! What schemas say about values beyond their form: that they name something
//! (`x-plimsoll-reference`), are risky (`x-plimsoll-risk`) or secret
//! (`x-plimsoll-secret`).
//!
//! Document and schema are walked side by side. Of alternatives (`anyOf`,
//! `oneOf`, `if`) all count, also those that the value does not fit: one mark
//! too many asks a question, one too few hides something.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::Ground;
use super::file::File;
use super::findings::Findings;
use super::schema::Schema;
use crate::documents::{Node, Value};
use crate::pattern::glob;

/// Steps that the walk over one document may take: a value under a handful of
/// alternatives takes a handful. What needs more has references in circles.
const STEPS_MAX: usize = 4 << 20;
/// Most references and alternatives that may stand between a value and its schema.
const NESTED_MAX: usize = 32;

/// A marked value.
pub(super) struct Mark<'g> {
    pub(super) file: &'g str,
    pub(super) path: Vec<String>,
    /// The first step that the schema leaves open: an environment's or tenant's name.
    pub(super) open: Option<String>,
    pub(super) kind: MarkKind<'g>,
}

pub(super) enum MarkKind<'g> {
    Reference(&'g Json),
    Risk(&'g str),
    Secret,
}

const REFERENCE: &str = "x-plimsoll-reference";
const RISK: &str = "x-plimsoll-risk";
const SECRET: &str = "x-plimsoll-secret";

/// Every mark on the new documents.
pub(super) fn collect<'g>(ground: &'g Ground<'_>, findings: &mut Findings) -> Vec<Mark<'g>> {
    let mut marks = Vec::new();
    for (pattern, schema) in &ground.schemas {
        if !marks_anything(schema.json()) {
            continue;
        }
        for (path, file) in ground.files.iter().filter(|(path, _)| glob(pattern, path)) {
            let Some(root) = file.root() else {
                continue;
            };
            let mut walk = Walk::new(schema, path);
            walk.node(schema.json(), root, 0);
            if walk.steps > STEPS_MAX {
                deny_steps(file, findings);
            }
            marks.append(&mut walk.marks);
        }
    }
    marks.sort_by(|a, b| (a.file, &a.path).cmp(&(b.file, &b.path)));
    marks
}

/// The risks that a schema marks in an old document, with their paths.
pub(super) fn risks_of<'g>(schema: &'g Schema, root: &Node) -> Vec<(Vec<String>, &'g str)> {
    let mut walk = Walk::new(schema, "");
    walk.node(schema.json(), root, 0);
    let marks = walk.marks.into_iter();
    marks
        .filter_map(|mark| match mark.kind {
            MarkKind::Risk(why) => Some((mark.path, why)),
            MarkKind::Reference(_) | MarkKind::Secret => None,
        })
        .collect()
}

/// Keys that a schema requires of a document and that are there, nearest to the root first.
pub(crate) fn required(schema: &Schema, root: &Node) -> Vec<Vec<String>> {
    let mut walk = Walk::new(schema, "");
    walk.required = Some(BTreeSet::new());
    walk.node(schema.json(), root, 0);
    let found = walk.required.unwrap_or_default().into_iter();
    let mut found: Vec<Vec<String>> = found.filter(|path| root.at(path).is_some()).collect();
    found.sort_by_key(Vec::len);
    found
}

fn deny_steps(file: &File<'_>, findings: &mut Findings) {
    let message = format!("the marks of this document's schema need more than {STEPS_MAX} steps");
    findings.deny(
        Some(file.path),
        message,
        "an operator must simplify the alternatives in its schema",
    );
}

/// What is wrong with the marks of a schema, in words.
pub(crate) fn problems(schema: &Json) -> Vec<String> {
    let mut found = Vec::new();
    visit(schema, &mut |map| {
        match map.get(REFERENCE) {
            None => {}
            Some(mark) => {
                if let Err(flaw) = super::references::annotation(mark) {
                    found.push(format!("{REFERENCE}: {flaw}"));
                }
            }
        }
        if map.get(RISK).is_some_and(|why| !why.is_string()) {
            found.push(format!("{RISK} must be a string that says why"));
        }
        if map.get(SECRET).is_some_and(|it| !it.is_boolean()) {
            found.push(format!("{SECRET} must be true or false"));
        }
        for key in map.keys().filter(|key| key.starts_with("x-plimsoll")) {
            if ![REFERENCE, RISK, SECRET].contains(&key.as_str()) {
                found.push(format!(
                    "{key:?} is not known: there are {REFERENCE}, {RISK}, {SECRET}"
                ));
            }
        }
    });
    found
}

fn marks_anything(schema: &Json) -> bool {
    let mut found = false;
    visit(schema, &mut |map| {
        found |= map.keys().any(|key| key.starts_with("x-plimsoll"));
    });
    found
}

fn visit(schema: &Json, each: &mut impl FnMut(&serde_json::Map<String, Json>)) {
    match schema {
        Json::Object(map) => {
            each(map);
            map.values().for_each(|value| visit(value, each));
        }
        Json::Array(items) => items.iter().for_each(|item| visit(item, each)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

struct Walk<'g, 'p> {
    schema: &'g Schema,
    file: &'p str,
    path: Vec<String>,
    open: Option<String>,
    steps: usize,
    patterns: BTreeMap<&'g str, Option<Schema>>,
    marks: Vec<Mark<'p>>,
    /// Required keys, when they are asked for.
    required: Option<BTreeSet<Vec<String>>>,
}

impl<'g: 'p, 'p> Walk<'g, 'p> {
    fn new(schema: &'g Schema, file: &'p str) -> Walk<'g, 'p> {
        Walk {
            schema,
            file,
            path: Vec::new(),
            open: None,
            steps: 0,
            patterns: BTreeMap::new(),
            marks: Vec::new(),
            required: None,
        }
    }

    /// `nested`: how many references and alternatives lie between the value and this.
    fn node(&mut self, schema: &'g Json, node: &Node, nested: usize) {
        self.steps += 1;
        let Json::Object(map) = schema else {
            return;
        };
        if self.steps > STEPS_MAX || nested > NESTED_MAX {
            return;
        }
        self.mark(map);
        for key in ["allOf", "anyOf", "oneOf"] {
            for item in map.get(key).and_then(Json::as_array).into_iter().flatten() {
                self.node(item, node, nested + 1);
            }
        }
        for key in ["if", "then", "else"] {
            if let Some(item) = map.get(key) {
                self.node(item, node, nested + 1);
            }
        }
        let dependent = map.get("dependentSchemas").and_then(Json::as_object);
        for (_, item) in dependent.into_iter().flatten() {
            self.node(item, node, nested + 1);
        }
        if let Some(target) = map
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|to| self.target(to))
        {
            self.node(target, node, nested + 1);
        }
        match &node.value {
            Value::Map(fields) => {
                for entry in fields.entries() {
                    self.field(map, &entry.key, &entry.node);
                }
            }
            Value::List(items) => self.items(map, items),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Large(_)
            | Value::Float(_)
            | Value::Text(_) => {}
        }
    }

    fn mark(&mut self, map: &'g serde_json::Map<String, Json>) {
        if let Some(required) = &mut self.required {
            let keys = map.get("required").and_then(Json::as_array);
            for key in keys.into_iter().flatten().filter_map(Json::as_str) {
                let path = self.path.iter().cloned().chain([key.to_owned()]);
                required.insert(path.collect());
            }
        }
        let reference = map.get(REFERENCE).map(MarkKind::Reference);
        let risk = map.get(RISK).and_then(Json::as_str).map(MarkKind::Risk);
        let secret = map.get(SECRET).and_then(Json::as_bool);
        let secret = secret.filter(|is| *is).map(|_| MarkKind::Secret);
        for kind in [reference, risk, secret].into_iter().flatten() {
            self.marks.push(Mark {
                file: self.file,
                path: self.path.clone(),
                open: self.open.clone(),
                kind,
            });
        }
    }

    fn field(&mut self, map: &'g serde_json::Map<String, Json>, key: &str, node: &Node) {
        let named = map.get("properties").and_then(|fields| fields.get(key));
        let mut known = named.is_some();
        if let Some(schema) = named {
            self.below(schema, key.to_owned(), false, node);
        }
        let patterns = map.get("patternProperties").and_then(Json::as_object);
        for (pattern, schema) in patterns.into_iter().flatten() {
            if self.fits_pattern(pattern, key) {
                known = true;
                self.below(schema, key.to_owned(), true, node);
            }
        }
        if known {
            return;
        }
        for rest in ["additionalProperties", "unevaluatedProperties"] {
            if let Some(schema) = map.get(rest) {
                self.below(schema, key.to_owned(), true, node);
            }
        }
    }

    fn items(&mut self, map: &'g serde_json::Map<String, Json>, items: &[Node]) {
        // Before draft 2020-12 a list under `items` is what `prefixItems` is now.
        let first = map.get("prefixItems").or(map.get("items"));
        let first = first
            .and_then(Json::as_array)
            .map_or(&[][..], Vec::as_slice);
        let rest = match map.get("items") {
            Some(schema @ Json::Object(_)) => Some(schema),
            _ => map.get("additionalItems"),
        };
        let rest = rest.or(map.get("unevaluatedItems"));
        for (at, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(at).or(rest) {
                self.below(schema, at.to_string(), true, item);
            }
            if let Some(schema) = map.get("contains") {
                self.below(schema, at.to_string(), true, item);
            }
        }
    }

    fn below(&mut self, schema: &'g Json, step: String, open: bool, node: &Node) {
        let before = self.open.clone();
        if open && before.is_none() {
            self.open = Some(step.clone());
        }
        self.path.push(step);
        self.node(schema, node, 0);
        self.path.pop();
        self.open = before;
    }

    fn target(&self, reference: &str) -> Option<&'g Json> {
        let root = self.schema.json();
        let pointer = reference.strip_prefix('#')?;
        if pointer.is_empty() || pointer.starts_with('/') {
            return root.pointer(&pointer.replace("%25", "%"));
        }
        anchored(root, pointer)
    }

    fn fits_pattern(&mut self, pattern: &'g str, key: &str) -> bool {
        let schema = self.patterns.entry(pattern).or_insert_with(|| {
            Schema::new(&serde_json::json!({ "pattern": pattern }).to_string()).ok()
        });
        let key = Json::String(key.to_owned());
        schema.as_ref().is_some_and(|schema| schema.fits_json(&key))
    }
}

fn anchored<'g>(schema: &'g Json, name: &str) -> Option<&'g Json> {
    match schema {
        Json::Object(map) => {
            let here = map.get("$anchor").and_then(Json::as_str) == Some(name);
            if here {
                return Some(schema);
            }
            map.values().find_map(|value| anchored(value, name))
        }
        Json::Array(items) => items.iter().find_map(|item| anchored(item, name)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    }
}
