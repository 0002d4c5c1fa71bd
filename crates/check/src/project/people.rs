//! The file for people: contacts, schedules, policies, services, components, objectives.
//!
//! Read in two steps. Here each value is read in its form, and names that stand
//! nowhere are found. What makes sense together is the crate `incident`'s to
//! say; [`Draft::finish`] puts its words at the places that they are about.
//!
//! Invariant: an entry with a mistake keeps its name and its place in lists, so
//! that it is one mistake and not also one of all that name it.

mod care;
mod rota;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::str::FromStr;

use model::incident::{Day, Setup, TestPages};
use model::{InvalidName, Millis};

use super::grammar::{Flaw, quoted};
use super::reader::Reader;
use super::tree::{self, Field, Node, Value};
use super::{FILE_BYTES_MAX, unknown};
use crate::problem::{Found, Problems};

const KEYS: [&str; 9] = [
    "contacts",
    "schedules",
    "policies",
    "services",
    "components",
    "objectives",
    "default_policy",
    "group_by",
    "tests",
];
/// What waits are read; which of them make sense, the rules of pages say.
const WAITS: std::ops::RangeInclusive<Millis> = Millis(1)..=Millis::seconds(7 * 24 * 3600);
const DAYS: [(&str, Day); 7] = [
    ("mon", Day::Mon),
    ("tue", Day::Tue),
    ("wed", Day::Wed),
    ("thu", Day::Thu),
    ("fri", Day::Fri),
    ("sat", Day::Sat),
    ("sun", Day::Sun),
];

/// What was read, with the places of everything.
#[derive(Debug)]
pub struct Draft {
    setup: Setup,
    places: BTreeMap<String, Range<usize>>,
    flawed: BTreeSet<String>,
    found: Vec<Found>,
}

impl Draft {
    /// As far as it could be read.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The setup, unless something is wrong: here, or by the rules of pages, which say it as
    /// (`schedule platform, layer 2`, words).
    ///
    /// # Errors
    /// Everything that is wrong, in its place.
    pub fn finish(
        mut self,
        file: &str,
        text: &str,
        rules: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Setup, Problems> {
        for (place, words) in rules {
            // What could not be read has said so, and its rest is no declaration.
            let broken = |flawed: &String| {
                let within = place.strip_prefix(flawed.as_str());
                within.is_some_and(|rest| rest.is_empty() || rest.starts_with(", "))
            };
            if !self.flawed.iter().any(broken) {
                let span = self.places.get(&place).cloned().unwrap_or(0..0);
                self.found.push(Found {
                    span,
                    message: format!("{place}: {words}"),
                    help: None,
                });
            }
        }
        match Problems::place(file, text, self.found) {
            Some(problems) => Err(problems),
            None => Ok(self.setup),
        }
    }
}

/// Reads a file for people, as far as it can be read.
pub fn people(text: &str) -> Draft {
    let mut reading = Reading {
        reader: Reader::new(text),
        text,
        places: BTreeMap::new(),
        flawed: BTreeSet::new(),
    };
    let setup = reading.document().unwrap_or_default();
    Draft {
        setup,
        places: reading.places,
        flawed: reading.flawed,
        found: reading.reader.into_found(),
    }
}

struct Reading<'t> {
    reader: Reader<'t>,
    text: &'t str,
    places: BTreeMap<String, Range<usize>>,
    flawed: BTreeSet<String>,
}

/// The names that may be used, as they are written.
struct Names<'n> {
    contacts: Vec<&'n str>,
    schedules: Vec<&'n str>,
    policies: Vec<&'n str>,
}

impl Reading<'_> {
    fn document(&mut self) -> Option<Setup> {
        if self.text.len() > FILE_BYTES_MAX {
            let bytes = self.text.len();
            let words = format!("the file has {bytes} bytes; at most {FILE_BYTES_MAX} are read");
            self.reader.report(0..0, Flaw::new(words));
            return None;
        }
        let document = match toml_edit::Document::parse(self.text) {
            Ok(document) => document,
            Err(error) => {
                let message = error.message().trim().replace('\n', ", ");
                let flaw = Flaw::new(format!("not TOML: {message}"));
                self.reader.report(error.span().unwrap_or(0..0), flaw);
                return None;
            }
        };
        let root = tree::of_document(document.as_table());
        self.reader.table(&root, "this file", &KEYS);
        let names = Names {
            contacts: super::declared(&root, "contacts"),
            schedules: super::declared(&root, "schedules"),
            policies: super::declared(&root, "policies"),
        };
        let mut setup = Setup {
            contacts: self.named(&root, "contacts", "contact", Self::contact),
            schedules: self.named(&root, "schedules", "schedule", |it, node, label| {
                it.schedule(node, label, &names)
            }),
            policies: self.named(&root, "policies", "policy", |it, node, label| {
                it.policy(node, label, &names)
            }),
            services: self.named(&root, "services", "service", |it, node, label| {
                it.service(node, label, &names)
            }),
            components: self.components(&root),
            objectives: self.objectives(&root),
            ..Setup::default()
        };
        setup.default_policy = root
            .get("default_policy")
            .and_then(|node| self.known(node, "policy", "default_policy", &names.policies));
        setup.group_by = root
            .get("group_by")
            .and_then(|node| self.reader.texts(node, "group_by", plain))
            .unwrap_or_default();
        setup.tests = root
            .get("tests")
            .map(|node| self.tests(node))
            .unwrap_or_default();
        Some(setup)
    }

    /// A table whose keys are names; each entry is read, noted with its place, and whether it is flawed.
    fn named<K: FromStr<Err = InvalidName> + Ord, V>(
        &mut self,
        root: &Node,
        key: &str,
        kind: &str,
        mut read: impl FnMut(&mut Self, &Node, &str) -> V,
    ) -> BTreeMap<K, V> {
        let fields = root
            .get(key)
            .and_then(|node| self.reader.fields(node, key))
            .unwrap_or_default();
        let mut all = BTreeMap::new();
        for Field {
            name,
            name_span,
            node,
        } in fields
        {
            let label = format!("{kind} {name}");
            let value = self.noted(&label, name_span.clone(), |it| read(it, node, &label));
            if let Some(name) = self.reader.name(name, name_span.clone()) {
                all.insert(name, value);
            }
        }
        all
    }

    /// Reads an entry, and remembers its place and whether anything was wrong in it.
    fn noted<T>(
        &mut self,
        label: &str,
        span: Range<usize>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.places.insert(label.to_owned(), span);
        let before = self.reader.count_found();
        let value = read(self);
        if self.reader.count_found() > before {
            self.flawed.insert(label.to_owned());
        }
        value
    }

    /// A name that stands elsewhere in the file.
    fn known<T: FromStr<Err = InvalidName>>(
        &mut self,
        node: &Node,
        kind: &str,
        label: &str,
        known: &[&str],
    ) -> Option<T> {
        let name = self.reader.text(node, label, plain)?;
        if !known.contains(&name.as_str()) {
            let flaw = match known {
                [] => Flaw::new(format!("unknown {kind} {}", quoted(&name)))
                    .help(format!("no {kind} is declared in this file")),
                known => unknown(kind, &name, known),
            };
            self.reader.report(node.span.clone(), flaw);
            return None;
        }
        // Where it is declared its form is checked.
        name.parse().ok()
    }

    fn all_known<T: FromStr<Err = InvalidName>>(
        &mut self,
        node: &Node,
        kind: &str,
        label: &str,
        known: &[&str],
    ) -> Vec<T> {
        let items = self.reader.list(node, label).unwrap_or_default();
        let names = items
            .iter()
            .map(|item| self.known(item, kind, label, known));
        names.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    fn tests(&mut self, node: &Node) -> TestPages {
        let mut tests = TestPages::default();
        let Some(table) = self
            .reader
            .table(node, "`[tests]`", &["day", "time", "off"])
        else {
            return tests;
        };
        if let Some(day) = table.get("day") {
            tests.day = self.reader.word(day, "day", &DAYS).unwrap_or_default();
        }
        if let Some(time) = table.get("time") {
            tests.time = self.time(time, "time").unwrap_or(tests.time);
        }
        if let Some(off) = table.get("off") {
            tests.off = self.reader.boolean(off, "off").unwrap_or_default();
        }
        tests
    }

    /// A time of the day, with or without quotes around it.
    fn time(&mut self, node: &Node, label: &str) -> Option<jiff::civil::Time> {
        self.civil(node, label, "a time of the day", "write it like \"09:00\"")
    }

    /// What TOML has a form of its own for, but people write in quotes as well.
    fn civil<T: FromStr>(&mut self, node: &Node, label: &str, what: &str, help: &str) -> Option<T> {
        let written = match &node.value {
            Value::Text(text) => text.as_str(),
            Value::Date => self.text.get(node.span.clone()).unwrap_or_default(),
            Value::Integer(_)
            | Value::Float
            | Value::Boolean(_)
            | Value::List(_)
            | Value::Table(_) => {
                self.reader.wrong_type(node, label, what);
                return None;
            }
        };
        let read = written.parse().ok();
        if read.is_none() {
            let flaw = Flaw::new(format!("{} is not {what}", quoted(written)));
            self.reader.report(node.span.clone(), flaw.help(help));
        }
        read
    }

    /// A span of whole days, as `7d`.
    fn days(&mut self, node: &Node, label: &str, most: u16) -> Option<u16> {
        let help = format!("write whole days, like \"7d\", at most \"{most}d\"");
        self.reader.text(node, label, |text| {
            let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
            let days = days.filter(|days| (1..=most).contains(days));
            days.ok_or_else(|| {
                Flaw::new(format!("{} is not a span of days", quoted(text))).help(help)
            })
        })
    }

    /// A text that may be missing.
    fn words(&mut self, table: &Node, key: &str) -> String {
        let node = table.get(key);
        node.and_then(|node| self.reader.text(node, key, plain))
            .unwrap_or_default()
    }
}

fn plain(text: &str) -> Result<String, Flaw> {
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
