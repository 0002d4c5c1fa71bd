//! The files that rules of a service stand in, beside `plimsoll.toml`.
//!
//! Invariant: what could not be read is a problem at the place that names it;
//! a project that was resolved has every rule that it declares.

use std::collections::BTreeMap;
use std::ops::Range;

use model::gate::CHECK_SET_BYTES_MAX;

use super::Project;
use super::grammar::quoted;
use crate::problem::{Found, Problem, Problems};

/// What of a service's rules stands in files of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChecksSource {
    /// JSON Schemas by the path pattern of the files they hold for: where each
    /// is, relative to `plimsoll.toml`, in the form of [`super::ServiceSource::files`].
    pub schemas: BTreeMap<String, String>,
    /// Where each path stands in `plimsoll.toml`, by its pattern.
    pub(super) spans: BTreeMap<String, Range<usize>>,
    places: BTreeMap<String, Problem>,
}

impl ChecksSource {
    /// Notes the lines and columns of the paths, for problems that are found when the text is gone.
    pub(super) fn locate(&mut self, file: &str, text: &str) {
        for (pattern, span) in std::mem::take(&mut self.spans) {
            let found = Found {
                span,
                message: String::new(),
                help: None,
            };
            let placed = Problems::place(file, text, vec![found]);
            let place = placed.and_then(|problems| problems.as_slice().first().cloned());
            self.places.extend(place.map(|place| (pattern, place)));
        }
    }
}

impl Project {
    /// Puts the schemas' texts into the topology's check sets.
    ///
    /// `read` gets a path relative to `plimsoll.toml` and gives the file's bytes,
    /// or says why it can't. Each file is asked for once.
    ///
    /// # Errors
    /// Every schema that can't be read or is no JSON, at the place of its path.
    pub fn resolve(
        mut self,
        mut read: impl FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Project, Problems> {
        let mut read_once: BTreeMap<&str, Result<String, Flawed>> = BTreeMap::new();
        let mut problems = Vec::new();
        for (service, source) in &self.services {
            let Some(spec) = self.topology.services.get_mut(service) else {
                continue;
            };
            for (pattern, path) in &source.checks.schemas {
                let schema = read_once
                    .entry(path)
                    .or_insert_with(|| schema(path, read(path)));
                match schema {
                    Ok(text) => {
                        spec.checks.schemas.insert(pattern.clone(), text.clone());
                    }
                    Err((message, help)) => {
                        let place = source.checks.places.get(pattern);
                        problems.extend(place.map(|place| Problem {
                            message: message.clone(),
                            help: Some((*help).to_owned()),
                            ..place.clone()
                        }));
                    }
                }
            }
        }
        match Problems::of(problems) {
            Some(problems) => Err(problems),
            None => Ok(self),
        }
    }
}

/// What is wrong with a file, and what to do.
type Flawed = (String, &'static str);

fn schema(path: &str, read: Result<Vec<u8>, String>) -> Result<String, Flawed> {
    let path = quoted(path);
    let bytes = read.map_err(|why| {
        let help = "write the path of a JSON Schema, relative to plimsoll.toml";
        (
            format!("can't read the schema {path}: {}", one_line(&why)),
            help,
        )
    })?;
    if bytes.len() > CHECK_SET_BYTES_MAX {
        let message = format!(
            "the schema {path} has {} bytes; at most {CHECK_SET_BYTES_MAX}",
            bytes.len()
        );
        return Err((message, "is this the right file?"));
    }
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!(
            "the schema {path} is not JSON: {}",
            one_line(&error.to_string())
        );
        (message, "a schema is JSON in UTF-8; mend it there")
    })?;
    if !value.is_object() && !value.is_boolean() {
        let message = format!("{path} is JSON, but no schema");
        return Err((
            message,
            "a JSON Schema is an object, like `{ \"type\": \"object\" }`",
        ));
    }
    // Its own text and not what was read from it: line numbers stay those of the file.
    String::from_utf8(bytes).map_err(|_| {
        (
            format!("the schema {path} is not UTF-8"),
            "a schema is JSON in UTF-8; mend it there",
        )
    })
}

/// A shell's words, fit for one line.
fn one_line(text: &str) -> String {
    let fit = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(fit).collect()
}
