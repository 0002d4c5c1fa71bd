//! Lines and columns of byte offsets.
//!
//! Invariant: a byte order mark takes no column, as in editors.

/// Where each line of a text begins.
#[derive(Debug, Clone)]
pub(crate) struct Places<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Places<'t> {
    pub(crate) fn new(text: &'t str) -> Places<'t> {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Places {
            text,
            line_starts: std::iter::once(0).chain(after_breaks).collect(),
        }
    }

    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// Line from 1, and column from 1 in characters.
    pub(crate) fn of(&self, offset: usize) -> (u32, u32) {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        let before = &self.text[start..offset];
        let marks = usize::from(start == 0 && before.starts_with('\u{feff}'));
        let column = before.chars().count() - marks + 1;
        let fit = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (fit(line), fit(column))
    }
}
