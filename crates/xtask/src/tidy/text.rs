//! What every file looks like.
//!
//! Invariant: these rules know no crate by name.

use super::source;
use super::{File, Violation};

/// Each source file says first what it is for.
pub(super) fn module_docs(files: &[File]) -> Vec<Violation> {
    let sources = files.iter().filter(|file| file.is(".rs"));
    sources
        .filter(|file| !file.text.starts_with("//!"))
        .map(|file| {
            Violation::new(
                &file.path,
                1,
                "no `//!` on the first line",
                "who opens a file must learn at once what it is for",
                "say its purpose and one invariant",
            )
        })
        .collect()
}

/// Ends with a newline, holds no tab where spaces are the custom, and no line
/// ends in white space.
pub(super) fn whitespace(files: &[File]) -> Vec<Violation> {
    const WHY: &str = "invisible bytes make noise in a diff";
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.text.is_empty()) {
        let spaces = file.is(".rs") || file.is(".toml") || file.is(".md");
        let mut report = |line: usize, what: &str, fix: &str| {
            found.push(Violation::new(&file.path, line, what, WHY, fix));
        };
        // Not `lines()`, which would hide a carriage return.
        for (n, line) in file.text.split('\n').enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                report(n + 1, "white space at the end of the line", "remove it");
            }
            if spaces && line.contains('\t') {
                report(n + 1, "a tab", "write spaces, or \\t in a literal");
            }
        }
        if !file.text.ends_with('\n') {
            let last = file.text.lines().count();
            report(last, "no newline at the end", "add one");
        }
    }
    found
}

/// A warning is silenced by an expectation with a reason, or not at all.
pub(super) fn suppressions(files: &[File]) -> Vec<Violation> {
    const WHY: &str = "a silenced warning outlives its cause unless it is expected, with a reason";
    const FIX: &str = "write #[expect(..., reason = \"...\")]";
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is(".rs")) {
        let code = source::code(file);
        for opening in ["#[", "#!["] {
            for (at, _) in code.match_indices(&format!("{opening}allow(")) {
                let line = source::line_of(&code, at);
                let what = format!("`{opening}allow(...)]`");
                found.push(Violation::new(&file.path, line, what, WHY, FIX));
            }
            for (at, _) in code.match_indices(&format!("{opening}expect(")) {
                let end = code[at..].find(']').map_or(code.len(), |end| at + end);
                if source::words(&code[at..end], "reason").is_empty() {
                    let line = source::line_of(&code, at);
                    let what = format!("`{opening}expect(...)]` without a reason");
                    found.push(Violation::new(&file.path, line, what, WHY, FIX));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> [File; 1] {
        [File {
            path: path.to_owned(),
            text: text.to_owned(),
        }]
    }

    #[test]
    fn a_source_file_begins_with_its_purpose() {
        assert_eq!(module_docs(&file("a.rs", "//! Adds.\n")), []);
        assert_eq!(module_docs(&file("a.rs", "// Adds.\n")).len(), 1);
        assert_eq!(module_docs(&file("a.md", "Adds.\n")), []);
    }

    #[test]
    fn clean_text_is_in_order() {
        assert_eq!(whitespace(&file("a.rs", "//! A.\n\nfn a() {}\n")), []);
        assert_eq!(whitespace(&file("Makefile", "a:\n\tb\n")), []);
        assert_eq!(whitespace(&file("empty.txt", "")), []);
    }

    #[test]
    fn invisible_bytes_are_refused_at_their_line() {
        let found = whitespace(&file("a.toml", "a = 1 \n\tb = 2\r\nc = 3"));
        let lines: Vec<usize> = found.iter().map(|it| it.line).collect();
        assert_eq!(lines, [1, 2, 2, 3]);
    }

    #[test]
    fn an_expectation_gives_its_reason() {
        let good = "#[expect(dead_code, reason = \"[soon]\")]\n// #[allow(x)]\n";
        assert_eq!(suppressions(&file("a.rs", good)), []);
        let bad = "#[allow(dead_code)]\n#![allow(x)]\n#[expect(dead_code)]\n";
        assert_eq!(suppressions(&file("a.rs", bad)).len(), 3);
    }
}
