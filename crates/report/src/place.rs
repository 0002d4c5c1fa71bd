//! Where something stands in a report, and text that remembers it.
//!
//! Invariant: the lower-case copy has the same bytes at the same offsets but
//! for the case of ASCII letters, so an offset found in one holds in the other.

use serde::{Deserialize, Serialize};

/// A line and a column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// Text without its markup.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    /// As it was written.
    pub(crate) raw: String,
    /// In lower case, for looking up words.
    pub(crate) low: String,
    /// Where each byte came from.
    places: Vec<Place>,
}

impl Text {
    pub(crate) fn push(&mut self, c: char, place: Place) {
        self.raw.push(c);
        self.low.push(c.to_ascii_lowercase());
        self.places.resize(self.raw.len(), place);
    }

    /// Adds another text after a blank.
    pub(crate) fn join(&mut self, other: &Text) {
        let place = other.place(0);
        self.push(' ', place);
        self.raw.push_str(&other.raw);
        self.low.push_str(&other.low);
        self.places.extend_from_slice(&other.places);
    }

    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.raw.trim().is_empty()
    }

    /// Where the byte at an offset came from; beyond the end, the last one's place.
    pub(crate) fn place(&self, at: usize) -> Place {
        let found = self.places.get(at).or(self.places.last());
        found.copied().unwrap_or_default()
    }

    /// A part, in lower case; empty when the offsets don't fit.
    pub(crate) fn low_in(&self, start: usize, end: usize) -> &str {
        self.low.get(start..end).unwrap_or_default()
    }

    /// A part, as it was written; empty when the offsets don't fit.
    pub(crate) fn raw_in(&self, start: usize, end: usize) -> &str {
        self.raw.get(start..end).unwrap_or_default()
    }

    /// Without the bytes before an offset, and without blanks around the rest.
    pub(crate) fn from(&self, start: usize) -> Text {
        let rest = self.raw.get(start..).unwrap_or_default();
        let from = start + (rest.len() - rest.trim_start().len());
        self.part(from, from + rest.trim().len())
    }

    pub(crate) fn part(&self, start: usize, end: usize) -> Text {
        Text {
            raw: self.raw_in(start, end).to_owned(),
            low: self.low_in(start, end).to_owned(),
            places: self.places.get(start..end).unwrap_or_default().to_vec(),
        }
    }
}

/// At most so many bytes from the beginning of a text.
pub(crate) fn head(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// At most so many bytes from the end of a text.
pub(crate) fn tail(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
