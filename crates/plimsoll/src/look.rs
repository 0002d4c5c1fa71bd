//! How wide and how colourful an output may be.
//!
//! Invariant: text that was made to fit holds nothing that drives the terminal.

use std::io::IsTerminal;

use crate::output::{Paint, colourful, dress};

/// Wider lines are hard to read, and a time at their far end belongs to nothing.
const COLUMNS_MAX: usize = 100;
/// A terminal that says it is narrower still gets lines of this length.
const COLUMNS_MIN: usize = 40;

/// An output's width and colours. Without a width (pipes, files) lines are whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) width: Option<usize>,
    pub(crate) colour: bool,
}

impl Look {
    /// Of standard output.
    pub(crate) fn stdout() -> Look {
        Look::of(std::io::stdout().is_terminal())
    }

    /// Of standard error.
    pub(crate) fn stderr() -> Look {
        Look::of(std::io::stderr().is_terminal())
    }

    fn of(terminal: bool) -> Look {
        let asked = comfy_table::Table::new().width().map(usize::from);
        Look {
            width: terminal
                .then_some(asked.unwrap_or(80))
                .map(|width| width.clamp(COLUMNS_MIN, COLUMNS_MAX)),
            colour: colourful(terminal),
        }
    }

    /// For lines that are indented by so many columns.
    pub(crate) fn less(self, columns: usize) -> Look {
        Look {
            width: self.width.map(|width| width.saturating_sub(columns)),
            ..self
        }
    }

    /// Text in a colour, where there are colours.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        dress(self.colour, paint, text)
    }

    /// Text in lines that fit after `indent` columns; one line where there is no width.
    pub(crate) fn fit(self, text: &str, indent: usize) -> Vec<String> {
        check::render::fold(text, self.width, indent)
    }
}
