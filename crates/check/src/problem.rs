//! What is wrong with a file, and where.
//!
//! Invariant: a problem's line and column lie inside the text it was found in
//! (the place after the last character counts as inside).

use std::fmt;
use std::ops::Range;

/// One mistake in a file that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as it was given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The bytes of the text that are wrong; may be empty.
    pub span: Range<usize>,
    /// What is wrong, in one line.
    pub message: String,
    /// What to write instead, in one line.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            file,
            line,
            column,
            message,
            ..
        } = self;
        write!(f, "{file}:{line}:{column}: {message}")?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Every mistake in a file, in the order of the text. Never empty. `Display` lists them all, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Places each finding in the text; `None` when nothing was found.
    pub(crate) fn place(file: &str, text: &str, mut found: Vec<Found>) -> Option<Problems> {
        found.sort_by_key(|found| (found.span.start, found.span.end));
        found.dedup();
        let mut cursor = Cursor::new(text);
        let problems: Vec<Problem> = found
            .into_iter()
            .map(|found| {
                let (line, column) = cursor.forward_to(found.span.start);
                Problem {
                    file: file.to_owned(),
                    line,
                    column,
                    span: found.span,
                    message: found.message,
                    help: found.help,
                }
            })
            .collect();
        (!problems.is_empty()).then_some(Problems(problems))
    }

    /// Problems that have their places already; `None` when there are none.
    pub(crate) fn of(mut problems: Vec<Problem>) -> Option<Problems> {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        (!problems.is_empty()).then_some(Problems(problems))
    }

    /// The problems, at least one.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }

    /// The problems one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A mistake before its line and column are known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// Counts lines and columns in one walk over the text, however many problems
/// stand on one long line.
struct Cursor<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    column: usize,
}

impl<'t> Cursor<'t> {
    fn new(text: &'t str) -> Cursor<'t> {
        Cursor {
            text,
            at: 0,
            line: 1,
            column: 1,
        }
    }

    /// `offset` never goes back: findings are sorted.
    fn forward_to(&mut self, offset: usize) -> (usize, usize) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        for c in rest.chars() {
            if self.at + c.len_utf8() > offset {
                break;
            }
            // Editors don't show a byte order mark, so it takes no column.
            match (c, self.at) {
                ('\n', _) => (self.line, self.column) = (self.line + 1, 1),
                ('\u{feff}', 0) => {}
                _ => self.column += 1,
            }
            self.at += c.len_utf8();
        }
        (self.line, self.column)
    }
}
