//! Problems as people read them: place first, then the line with a mark under the mistake.
//!
//! Invariant: no control character of the file reaches the terminal.

use std::fmt::Write;

use crate::problem::{Problem, Problems};

/// Shown characters of a source line; the rest is cut around the mistake, so
/// that the mark stays under it on a terminal of 80 columns.
const LINE_CHARS_MAX: usize = 66;
/// Characters kept before the mistake when a line is cut.
const LEAD_CHARS: usize = 24;
/// Shown width of a tab.
const TAB: &str = "    ";

/// All problems for a terminal. `text` is what they were found in.
pub fn render(problems: &Problems, text: &str, colour: bool) -> String {
    let paint = Paint { colour };
    let mut out = String::new();
    for (index, problem) in problems.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        // Writing to a string can't fail.
        let _ = one(&mut out, problem, text, &paint);
    }
    out
}

fn one(out: &mut String, problem: &Problem, text: &str, paint: &Paint) -> std::fmt::Result {
    let place = format!("{}:{}:{}", problem.file, problem.line, problem.column);
    writeln!(
        out,
        "{}: {}",
        paint.bold(&place),
        paint.red(&problem.message)
    )?;
    if let Some(line) = text.split('\n').nth(problem.line.saturating_sub(1)) {
        let line = line.trim_start_matches('\u{feff}').trim_end_matches('\r');
        let length = marked_chars(problem, text);
        let (shown, indent, mark) = cut(line, problem.column.saturating_sub(1), length);
        let number = problem.line.to_string();
        let gutter = " ".repeat(number.len());
        if !shown.trim().is_empty() {
            writeln!(out, "  {} {shown}", paint.blue(&format!("{number} |")))?;
            let mark = paint.red(&mark);
            writeln!(
                out,
                "  {} {indent}{mark}",
                paint.blue(&format!("{gutter} |"))
            )?;
        }
    }
    if let Some(help) = &problem.help {
        writeln!(out, "  {} {help}", paint.blue("help:"))?;
    }
    Ok(())
}

/// Characters of the first line of the span.
fn marked_chars(problem: &Problem, text: &str) -> usize {
    let marked = text.get(problem.span.clone()).unwrap_or_default();
    let first_line = marked.split('\n').next().unwrap_or_default();
    first_line.trim_end_matches('\r').chars().count()
}

/// The visible part of a line, the space before the mark, and the mark.
fn cut(line: &str, column: usize, length: usize) -> (String, String, String) {
    let chars: Vec<char> = line.chars().collect();
    let column = column.min(chars.len());
    let start = if chars.len() > LINE_CHARS_MAX {
        column.saturating_sub(LEAD_CHARS)
    } else {
        0
    };
    let end = chars.len().min(start + LINE_CHARS_MAX);
    let mut shown: String = chars[start..end].iter().map(|c| visible(*c)).collect();
    let mut indent: String = chars[start..column].iter().map(|c| blank(*c)).collect();
    if start > 0 {
        shown.insert(0, '…');
        indent.insert(0, ' ');
    }
    if end < chars.len() {
        shown.push('…');
    }
    let marked = &chars[column..end.min(column.saturating_add(length)).max(column)];
    let mut mark: String = marked.iter().map(|c| "^".repeat(width(*c))).collect();
    if mark.is_empty() {
        mark.push('^');
    }
    (shown, indent, mark)
}

fn visible(c: char) -> String {
    match c {
        '\t' => TAB.to_owned(),
        // Controls move the cursor, and bidirectional marks reorder the line: neither may act.
        c if c.is_control() || is_bidi_control(c) => '\u{fffd}'.to_string(),
        c => c.to_string(),
    }
}

/// White space as wide as the character above it.
fn blank(c: char) -> String {
    " ".repeat(width(c))
}

/// Columns that a terminal gives to a character; near enough for a mark.
fn width(c: char) -> usize {
    match c {
        '\t' => TAB.len(),
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Colours, or none.
struct Paint {
    colour: bool,
}

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn red(&self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn blue(&self, text: &str) -> String {
        self.with("34", text)
    }
}
