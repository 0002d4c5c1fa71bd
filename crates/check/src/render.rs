//! Problems as people read them: place first, then the line with a mark under the mistake.
//!
//! Invariant: no control character of the file reaches the terminal.

use std::fmt::Write;

use model::{Finding, Severity};

use crate::problem::{Problem, Problems};

/// Shown characters of a source line; the rest is cut around the mistake, so
/// that the mark stays under it on a terminal of 80 columns.
const LINE_CHARS_MAX: usize = 66;
/// Characters kept before the mistake when a line is cut.
const LEAD_CHARS: usize = 24;
/// More problems than this are counted, not shown: nobody reads on, and the first explain the rest.
const PROBLEMS_MAX: usize = 100;
/// Shown width of a tab.
const TAB: &str = "    ";

/// All problems for a terminal. `text` is what they were found in.
pub fn render(problems: &Problems, text: &str, colour: bool) -> String {
    let paint = Paint { colour };
    let lines: Vec<&str> = text.split('\n').collect();
    let mut out = String::new();
    for (index, problem) in problems.iter().take(PROBLEMS_MAX).enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let line = lines.get(problem.line.saturating_sub(1));
        // Writing to a string can't fail.
        let _ = one(&mut out, problem, line.copied(), text, &paint);
    }
    let count = problems.as_slice().len();
    if count > PROBLEMS_MAX {
        let _ = writeln!(out, "\nand {} more problems", count - PROBLEMS_MAX);
    }
    out
}

fn one(
    out: &mut String,
    problem: &Problem,
    line: Option<&str>,
    text: &str,
    paint: &Paint,
) -> std::fmt::Result {
    let place = format!("{}:{}:{}", problem.file, problem.line, problem.column);
    writeln!(
        out,
        "{}: {}",
        paint.bold(&place),
        paint.red(&problem.message)
    )?;
    if let Some(line) = line {
        let length = marked_chars(problem, text);
        let (number, column) = (problem.line, problem.column);
        out.push_str(&excerpt(
            line,
            number,
            column,
            length,
            LINE_CHARS_MAX,
            paint.colour,
        ));
    }
    if let Some(help) = &problem.help {
        writeln!(out, "  {} {help}", paint.blue("help:"))?;
    }
    Ok(())
}

/// One finding for a terminal of so many columns (without: whole lines, for pipes), under
/// its line when `text` (its file's content) is given. Ends with a line break.
pub fn render_finding(
    finding: &Finding,
    text: Option<&str>,
    columns: Option<usize>,
    colour: bool,
) -> String {
    let paint = Paint { colour };
    let (line, column) = (finding.line as usize, finding.column as usize);
    let place = match (&finding.file, line) {
        (None, _) => String::new(),
        (Some(file), 0) => format!("{}: ", harmless(file)),
        (Some(file), _) => format!("{}:{line}:{column}: ", harmless(file)),
    };
    let (word, dress): (&str, fn(&Paint, &str) -> String) = match finding.severity {
        Severity::Deny => ("", Paint::red),
        Severity::Risk => ("high risk: ", Paint::red),
        Severity::Warn => ("warning: ", Paint::yellow),
    };
    let mut out = String::new();
    let mut told = finding.message.lines();
    let head = format!("{place}{word}{}", told.next().unwrap_or_default());
    for (index, part) in fold(&head, columns, 2).into_iter().enumerate() {
        // The colours come last, so that they take no room.
        out.push_str(&match part.strip_prefix(place.as_str()) {
            Some(rest) if index == 0 && place.is_empty() => {
                format!("{}\n", dress(&paint, rest))
            }
            Some(rest) if index == 0 => {
                format!("{}{}\n", paint.bold(&place), dress(&paint, rest))
            }
            _ if index == 0 => format!("{}\n", paint.bold(&part)),
            _ => format!("  {}\n", dress(&paint, &part)),
        });
    }
    // Explanations of several lines keep their lines, and begin deeper when they go on.
    for line in told {
        let inner = line.chars().take_while(|c| *c == ' ').count() + 2;
        for part in fold(line.trim_start(), columns, inner + 2) {
            out.push_str(&format!("{:inner$}{part}\n", ""));
        }
    }
    let source = text.filter(|_| line > 0);
    if let Some(source) = source.and_then(|text| text.split('\n').nth(line - 1)) {
        let marked = token_chars(source, column);
        let gutter = line.to_string().len() + "   | …".len() + 1;
        let room = columns.map_or(LINE_CHARS_MAX, |columns| {
            columns
                .saturating_sub(gutter)
                .clamp(LEAD_CHARS, LINE_CHARS_MAX)
        });
        out.push_str(&excerpt(source, line, column, marked, room, colour));
    }
    if let Some(help) = &finding.help {
        for (index, part) in fold(help, columns, 8).into_iter().enumerate() {
            let lead = if index == 0 {
                paint.blue("help:")
            } else {
                "     ".into()
            };
            out.push_str(&format!("  {lead} {part}\n"));
        }
    }
    out
}

/// Lines that fit after `indent` columns; one line where there is no width.
pub fn fold(text: &str, columns: Option<usize>, indent: usize) -> Vec<String> {
    /// A column that is narrower can't be read at all.
    const ROOM_MIN: usize = 16;
    match columns {
        Some(columns) => wrap(text, columns.saturating_sub(indent).max(ROOM_MIN)),
        None => vec![harmless(text)],
    }
}

/// Breaks at spaces; a word that is longer than a line is broken inside.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in harmless(text).split(' ') {
        let length: usize = word.chars().map(width).sum();
        if used > 0 && used + 1 + length > columns {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            if used + width(c) > columns {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += width(c);
        }
    }
    lines.push(line);
    lines
}

/// What came over the network or from a file, without what drives a terminal.
pub fn harmless(text: &str) -> String {
    let visible = |c: char| match c {
        c if c.is_control() || is_bidi_control(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(visible).collect()
}

/// Characters of the key, string or number that begins at a column.
fn token_chars(line: &str, column: usize) -> usize {
    let line = line.trim_start_matches('\u{feff}');
    let mut rest = line.chars().skip(column.saturating_sub(1));
    match rest.next() {
        None => 0,
        Some(quote @ ('"' | '\'')) => {
            let inside = rest.clone().take_while(|c| *c != quote).count();
            let closed = rest.nth(inside).is_some();
            1 + inside + usize::from(closed)
        }
        Some(first) if is_part(first) => 1 + rest.take_while(|c| is_part(*c)).count(),
        Some(_) => 1,
    }
}

fn is_part(c: char) -> bool {
    !c.is_whitespace() && !"[]{},:=\"'#".contains(c)
}

/// A source line with a mark under `length` characters from `column` (both in
/// characters, the column from 1), in two lines that end with a line break;
/// empty for a blank line. What is longer than `chars_max` is cut around the mark.
pub fn excerpt(
    line: &str,
    number: usize,
    column: usize,
    length: usize,
    chars_max: usize,
    colour: bool,
) -> String {
    let paint = Paint { colour };
    let line = line.trim_start_matches('\u{feff}').trim_end_matches('\r');
    let (shown, indent, mark) = cut(line, column.saturating_sub(1), length, chars_max);
    if shown.trim().is_empty() {
        return String::new();
    }
    let number = number.to_string();
    let gutter = " ".repeat(number.len());
    format!(
        "  {} {shown}\n  {} {indent}{}\n",
        paint.blue(&format!("{number} |")),
        paint.blue(&format!("{gutter} |")),
        paint.red(&mark)
    )
}

/// Characters of the first line of the span.
fn marked_chars(problem: &Problem, text: &str) -> usize {
    let marked = text.get(problem.span.clone()).unwrap_or_default();
    let first_line = marked.split('\n').next().unwrap_or_default();
    first_line.trim_end_matches('\r').chars().count()
}

/// The visible part of a line, the space before the mark, and the mark.
fn cut(line: &str, column: usize, length: usize, chars_max: usize) -> (String, String, String) {
    let chars: Vec<char> = line.chars().collect();
    let column = column.min(chars.len());
    let fits = column + length.min(LEAD_CHARS) <= chars_max;
    let start = if fits {
        0
    } else {
        let lead = column.saturating_sub(LEAD_CHARS);
        lead.min(chars.len().saturating_sub(chars_max))
    };
    let end = chars.len().min(start + chars_max);
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

    fn yellow(&self, text: &str) -> String {
        self.with("33", text)
    }

    fn blue(&self, text: &str) -> String {
        self.with("34", text)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::parse;

    fn check(text: &str, colour: bool, expected: Expect) {
        let problems = parse("plimsoll.toml", text).unwrap_err();
        expected.assert_eq(&render(&problems, text, colour).replace('\u{1b}', "ESC"));
    }

    #[test]
    fn the_plain_form_lists_every_problem() {
        let problems = parse("a.toml", "servise = 1\nenvironment = 2\n").unwrap_err();
        expect![[r#"
            a.toml:1:1: unknown key "servise" in plimsoll.toml
              help: did you mean `service`? known keys: service, environment, class, catalog, freeze
            a.toml:2:15: `environment` must be a list, not a whole number"#]]
        .assert_eq(&problems.to_string());
    }

    fn finding(severity: Severity, place: Option<(u32, u32)>) -> Finding {
        Finding {
            gate: model::Gate::Checks,
            severity,
            file: place.map(|_| "service.toml".to_owned()),
            line: place.map_or(0, |place| place.0),
            column: place.map_or(0, |place| place.1),
            message: "threads must be at least 2, is 1".to_owned(),
            help: Some("write 2\u{1b}[2J".to_owned()),
        }
    }

    #[test]
    fn findings_stand_under_their_lines_too() {
        let text = "\u{feff}listen = \"a:1\"\r\n[limits]\nthreads = 1 # one\n";
        let mut shown = String::new();
        for (severity, place) in [
            (Severity::Deny, Some((3, 11))),
            (Severity::Warn, Some((3, 1))),
            (Severity::Risk, Some((1, 10))),
            (Severity::Deny, Some((2, 99))),
            (Severity::Deny, Some((99, 1))),
            (Severity::Deny, Some((0, 0))),
            (Severity::Deny, None),
        ] {
            let finding = finding(severity, place);
            shown.push_str(&render_finding(&finding, Some(text), None, false));
        }
        let warning = finding(Severity::Warn, Some((3, 11)));
        shown.push_str(&render_finding(&warning, None, None, true));
        expect![[r#"
            service.toml:3:11: threads must be at least 2, is 1
              3 | threads = 1 # one
                |           ^
              help: write 2�[2J
            service.toml:3:1: warning: threads must be at least 2, is 1
              3 | threads = 1 # one
                | ^^^^^^^
              help: write 2�[2J
            service.toml:1:10: high risk: threads must be at least 2, is 1
              1 | listen = "a:1"
                |          ^^^^^
              help: write 2�[2J
            service.toml:2:99: threads must be at least 2, is 1
              2 | [limits]
                |         ^
              help: write 2�[2J
            service.toml:99:1: threads must be at least 2, is 1
              help: write 2�[2J
            service.toml: threads must be at least 2, is 1
              help: write 2�[2J
            threads must be at least 2, is 1
              help: write 2�[2J
            ESC[1mservice.toml:3:11: ESC[0mESC[33mwarning: threads must be at least 2, is 1ESC[0m
              ESC[34mhelp:ESC[0m write 2�[2J
        "#]]
        .assert_eq(&shown.replace('\u{1b}', "ESC"));
    }

    #[test]
    fn findings_fit_narrow_terminals() {
        let text = "[auth.production]\naddress = \"auth.internal.example:0\" # it has moved there last week\n";
        let findings = [
            Finding {
                file: Some("config/service.toml".to_owned()),
                line: 2,
                column: 11,
                message: "/auth/production/address must be host:port with a port above 0".to_owned(),
                help: Some("write it like \"auth.internal:7800\", with the port that the service listens at".to_owned()),
                ..finding(Severity::Deny, None)
            },
            Finding {
                message: "web 2.0.0 can't be deployed on production (class web).\n  It requires auth-runtime >=2, and there is auth-runtime 1.4.0 of class web.".to_owned(),
                help: None,
                ..finding(Severity::Deny, None)
            },
        ];
        let shown: String = findings
            .iter()
            .map(|finding| render_finding(finding, Some(text), Some(60), false))
            .collect();
        assert!(
            shown.lines().all(|line| line.chars().count() <= 60),
            "{shown}"
        );
        expect![[r#"
            config/service.toml:2:11: /auth/production/address must be
              host:port with a port above 0
              2 | address = "auth.internal.example:0" # it has moved…
                |           ^^^^^^^^^^^^^^^^^^^^^^^^^
              help: write it like "auth.internal:7800", with the port
                    that the service listens at
            web 2.0.0 can't be deployed on production (class web).
                It requires auth-runtime >=2, and there is
                auth-runtime 1.4.0 of class web.
        "#]]
        .assert_eq(&shown);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("漢字", 3), ["漢", "字"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn colours_and_tabs_and_wide_characters() {
        check(
            "\t\"漢字é\" = 1\r\n[service]\n[[environment]]\n",
            true,
            expect![[r#"
                ESC[1mplimsoll.toml:1:2ESC[0m: ESC[1;31munknown key "漢字é" in plimsoll.tomlESC[0m
                  ESC[34m1 |ESC[0m     "漢字é" = 1
                  ESC[34m  |ESC[0m     ESC[1;31m^^^^^^^ESC[0m
                  ESC[34mhelp:ESC[0m known keys: service, environment, class, catalog, freeze

                ESC[1mplimsoll.toml:2:1ESC[0m: ESC[1;31mno service is declaredESC[0m
                  ESC[34m2 |ESC[0m [service]
                  ESC[34m  |ESC[0m ESC[1;31m^^^^^^^^^ESC[0m
                  ESC[34mhelp:ESC[0m add `[service.NAME]` with the `files` or `packages` to release

                ESC[1mplimsoll.toml:3:1ESC[0m: ESC[1;31m`name` is missing in this environmentESC[0m
                  ESC[34m3 |ESC[0m [[environment]]
                  ESC[34m  |ESC[0m ESC[1;31m^^^^^^^^^^^^^^^ESC[0m
                  ESC[34mhelp:ESC[0m add `name = "test"`

                ESC[1mplimsoll.toml:3:1ESC[0m: ESC[1;31mthis environment has no hostsESC[0m
                  ESC[34m3 |ESC[0m [[environment]]
                  ESC[34m  |ESC[0m ESC[1;31m^^^^^^^^^^^^^^^ESC[0m
                  ESC[34mhelp:ESC[0m add `[[environment.host]]` with name, zone and address below it
            "#]],
        );
    }

    #[test]
    fn nothing_of_the_file_drives_the_terminal() {
        check(
            "a = \"\u{1b}[2J\"",
            false,
            expect![[r#"
            plimsoll.toml:1:6: not TOML: invalid basic string, expected non-double-quote visible characters, `\`
              1 | a = "�[2J"
                |      ^
        "#]],
        );
        check(
            "# \u{202e}abc\na = = 1",
            false,
            expect![[r#"
            plimsoll.toml:2:5: not TOML: extra `=`, expected nothing
              2 | a = = 1
                |     ^
        "#]],
        );
        check(
            "\"\u{202e}abc\" = 1\nservice = {}\nenvironment = []",
            false,
            expect![[r#"
                plimsoll.toml:1:1: unknown key "\u{202e}abc" in plimsoll.toml
                  1 | "�abc" = 1
                    | ^^^^^^
                  help: known keys: service, environment, class, catalog, freeze

                plimsoll.toml:2:11: no service is declared
                  2 | service = {}
                    |           ^^
                  help: add `[service.NAME]` with the `files` or `packages` to release

                plimsoll.toml:3:15: the pipeline is empty: no environment is declared
                  3 | environment = []
                    |               ^^
                  help: add `[[environment]]` with its name and hosts, `test` first and `production` last
            "#]],
        );
    }

    #[test]
    fn a_span_over_several_lines_is_marked_in_its_first() {
        check(
            "service = [\n  1,\n]\nenvironment = [[]]\n",
            false,
            expect![[r#"
                plimsoll.toml:1:11: `service` must be a table, not a list
                  1 | service = [
                    |           ^

                plimsoll.toml:4:16: `environment` must be a table, not a list
                  4 | environment = [[]]
                    |                ^^
            "#]],
        );
    }
}
