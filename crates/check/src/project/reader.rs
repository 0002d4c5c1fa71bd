//! Reads values of an expected form from the tree and collects what is wrong.
//!
//! Every method returns `None` after it has reported, and goes on: one mistake
//! never hides the next.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use model::{InvalidName, Millis, Permille};

use super::grammar::{self, Flaw, quoted};
use super::tree::{Field, Node, Value};
use crate::problem::Found;
use crate::suggest;

/// The text, and what was found wrong in it so far.
pub(super) struct Reader<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
    found: Vec<Found>,
    /// A table's span and the key that an unknown one in it was probably meant to be.
    misspelt: BTreeSet<(usize, usize, String)>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Reader<'t> {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Reader {
            text,
            line_starts: std::iter::once(0).chain(after_breaks).collect(),
            found: Vec::new(),
            misspelt: BTreeSet::new(),
        }
    }

    pub(super) fn into_found(self) -> Vec<Found> {
        self.found
    }

    /// How many mistakes were noted so far.
    pub(super) fn count_found(&self) -> usize {
        self.found.len()
    }

    /// The line of a byte, from 1, for "first declared at line 12".
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Notes a mistake; the span is fitted to the text.
    pub(super) fn report(&mut self, span: Range<usize>, flaw: Flaw) {
        let span = self.narrowed(span, flaw.part.as_deref());
        self.found.push(Found {
            span,
            message: flaw.message,
            help: flaw.help,
        });
    }

    /// The place of `part` inside `span` when the text has it literally there;
    /// in any case within the text and on character borders.
    fn narrowed(&self, span: Range<usize>, part: Option<&str>) -> Range<usize> {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.ceil_char_boundary(span.end.max(start));
        let source = self.text.get(start..end).unwrap_or_default();
        match part.and_then(|part| source.find(part).map(|at| (at, part.len()))) {
            Some((at, length)) => start + at..start + at + length,
            None => start..end,
        }
    }

    /// The fields of a table whose keys are names that people choose.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, label: &str) -> Option<&'n [Field]> {
        match &node.value {
            Value::Table(fields) => Some(fields),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float
            | Value::Boolean(_)
            | Value::Date
            | Value::List(_) => {
                self.wrong_type(node, label, "a table");
                None
            }
        }
    }

    /// A table with fixed keys; unknown ones are reported.
    pub(super) fn table<'n>(
        &mut self,
        node: &'n Node,
        label: &str,
        known: &[&str],
    ) -> Option<&'n Node> {
        for field in self.fields(node, label)? {
            if !known.contains(&field.name.as_str()) {
                let listed = format!("known keys: {}", known.join(", "));
                let help = match suggest::nearest(&field.name, known.iter().copied()) {
                    Some(meant) => {
                        let place = (node.span.start, node.span.end, meant.to_owned());
                        self.misspelt.insert(place);
                        format!("did you mean `{meant}`? {listed}")
                    }
                    None => listed,
                };
                let message = format!("unknown key {} in {label}", quoted(&field.name));
                self.report(field.name_span.clone(), Flaw::new(message).help(help));
            }
        }
        Some(node)
    }

    /// Whether a key is absent, and not just misspelt: then that was reported, and it is one mistake.
    pub(super) fn lacks(&self, table: &Node, key: &str) -> bool {
        let place = (table.span.start, table.span.end, key.to_owned());
        table.get(key).is_none() && !self.misspelt.contains(&place)
    }

    /// The value of a key that must be there; `example` shows how to write it.
    pub(super) fn required<'n>(
        &mut self,
        table: &'n Node,
        label: &str,
        key: &str,
        example: &str,
    ) -> Option<&'n Node> {
        if self.lacks(table, key) {
            let flaw = Flaw::new(format!("`{key}` is missing in {label}"));
            self.report(
                table.span.clone(),
                flaw.help(format!("add `{key} = {example}`")),
            );
        }
        table.get(key)
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, label: &str) -> Option<&'n [Node]> {
        let Value::List(items) = &node.value else {
            self.wrong_type(node, label, "a list");
            return None;
        };
        Some(items)
    }

    /// A string that `read` understands.
    pub(super) fn text<T>(
        &mut self,
        node: &Node,
        label: &str,
        read: impl FnOnce(&str) -> Result<T, Flaw>,
    ) -> Option<T> {
        let Value::Text(text) = &node.value else {
            self.wrong_type(node, label, "a string");
            return None;
        };
        read(text)
            .map_err(|flaw| self.report(node.span.clone(), flaw))
            .ok()
    }

    /// A list of strings that `read` understands; those that it doesn't are left out.
    pub(super) fn texts<T>(
        &mut self,
        node: &Node,
        label: &str,
        read: impl Fn(&str) -> Result<T, Flaw>,
    ) -> Option<Vec<T>> {
        let items = self.list(node, label)?;
        let texts = items.iter().map(|item| self.text(item, label, &read));
        Some(texts.collect::<Vec<_>>().into_iter().flatten().collect())
    }

    /// A string that is one of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        node: &Node,
        label: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        self.text(node, label, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let listed = format!("use one of: {}", known.join(", "));
                let flaw = Flaw::new(format!("unknown `{label}` {}", quoted(text)));
                match suggest::nearest(text, known) {
                    Some(meant) => flaw.help(format!("did you mean {meant:?}? {listed}")),
                    None => flaw.help(listed),
                }
            })
        })
    }

    pub(super) fn boolean(&mut self, node: &Node, label: &str) -> Option<bool> {
        let Value::Boolean(truth) = node.value else {
            self.wrong_type(node, label, "true or false");
            return None;
        };
        Some(truth)
    }

    /// A string or key that must be a name of the model.
    pub(super) fn name<T: FromStr<Err = InvalidName>>(
        &mut self,
        text: &str,
        span: Range<usize>,
    ) -> Option<T> {
        text.parse()
            .map_err(|error| self.report(span, grammar::bad_name(text, &error)))
            .ok()
    }

    pub(super) fn count(
        &mut self,
        node: &Node,
        label: &str,
        allowed: RangeInclusive<u64>,
    ) -> Option<u64> {
        let Value::Integer(number) = node.value else {
            self.wrong_type(node, label, "a whole number");
            return None;
        };
        let count = u64::try_from(number).ok();
        let count = count.filter(|count| allowed.contains(count));
        if count.is_none() {
            let (least, most) = allowed.into_inner();
            let flaw = Flaw::new(format!("`{label}` is out of range: {number}"));
            self.report(
                node.span.clone(),
                flaw.help(format!("use {least} to {most}")),
            );
        }
        count
    }

    pub(super) fn duration(
        &mut self,
        node: &Node,
        label: &str,
        allowed: RangeInclusive<Millis>,
    ) -> Option<Millis> {
        if matches!(node.value, Value::Integer(_) | Value::Float) {
            let flaw = Flaw::new(format!("`{label}` must be a duration with its unit"));
            self.report(node.span.clone(), flaw.help(grammar::DURATION_HELP));
            return None;
        }
        self.text(node, label, |text| grammar::duration(text, label, allowed))
    }

    pub(super) fn share(&mut self, node: &Node, label: &str) -> Option<Permille> {
        if matches!(node.value, Value::Integer(_) | Value::Float) {
            let flaw = Flaw::new(format!("`{label}` must be a share with its unit"));
            self.report(node.span.clone(), flaw.help(grammar::SHARE_HELP));
            return None;
        }
        self.text(node, label, grammar::share)
    }

    /// A percentage with so many digits behind the point, in steps of the last one.
    pub(super) fn percentage(
        &mut self,
        node: &Node,
        label: &str,
        digits: u32,
        allowed: RangeInclusive<u64>,
    ) -> Option<u64> {
        if matches!(node.value, Value::Integer(_) | Value::Float) {
            let flaw = Flaw::new(format!("`{label}` must be a percentage with its unit"));
            self.report(node.span.clone(), flaw.help(grammar::PERCENTAGE_HELP));
            return None;
        }
        self.text(node, label, |text| {
            grammar::percentage(text, label, digits, allowed)
        })
    }

    pub(super) fn wrong_type(&mut self, node: &Node, label: &str, wanted: &str) {
        let message = format!("`{label}` must be {wanted}, not {}", node.kind());
        self.report(node.span.clone(), Flaw::new(message));
    }
}
