//! Reads Rust source just far enough to judge it: which bytes are code, which
//! of that is for tests, and where functions begin and end.
//!
//! A parser would know more and cost a dependency on its version of the
//! language. The rules need no more than this, and formatted source (which the
//! step before guarantees) holds no surprises.
//!
//! Invariant: every view has as many lines as the text it was made from.

use std::ops::Range;

use super::File;

/// Whether the whole file is for tests.
pub(super) fn is_test(path: &str) -> bool {
    path.starts_with("crates/e2e/")
        || path.ends_with("/tests.rs")
        || path
            .split('/')
            .any(|part| part == "tests" || part == "benches")
}

/// The file's code: comments and literals are blank.
pub(super) fn code(file: &File) -> String {
    blanked(&file.text, &literals(&file.text))
}

/// The file's code without its tests.
pub(super) fn body(file: &File) -> String {
    let code = code(file);
    let tests = test_items(&code);
    blanked(&code, &tests)
}

/// The line that a byte is on, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].bytes().filter(|&byte| byte == b'\n').count()
}

/// How many lines are not for tests.
pub(super) fn body_lines(file: &File) -> usize {
    let code = code(file);
    let tests: usize = test_items(&code)
        .iter()
        .map(|range| lines_in(&code, range))
        .sum();
    code.lines().count() - tests
}

/// A function, with its signature and its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) lines: usize,
}

/// The functions that are not for tests and have a body.
pub(super) fn functions(file: &File) -> Vec<Function> {
    let body = body(file);
    let mut found = Vec::new();
    for at in words(&body, "fn") {
        let rest = &body[at + 2..];
        let name: String = rest
            .trim_start()
            .chars()
            .take_while(|&c| is_word(c))
            .collect();
        if name.is_empty() {
            continue; // The type of a function.
        }
        let end = item_end(&body, at);
        if body[..end].ends_with('}') {
            found.push(Function {
                name,
                line: line_of(&body, at),
                lines: lines_in(&body, &(at..end)),
            });
        }
    }
    found
}

/// Where a word stands by itself.
pub(super) fn words(code: &str, word: &str) -> Vec<usize> {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| {
            let before = code[..at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
        .collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn lines_in(text: &str, range: &Range<usize>) -> usize {
    line_of(text, range.end) - line_of(text, range.start) + 1
}

fn blanked(text: &str, ranges: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for range in ranges {
        out.push_str(&text[at..range.start]);
        let blank = |byte| if byte == b'\n' { '\n' } else { ' ' };
        out.extend(text[range.clone()].bytes().map(blank));
        at = range.end;
    }
    out.push_str(&text[at..]);
    out
}

/// Items under `#[cfg(test)]`, from the attribute to their end.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, attribute) in code.match_indices("#[cfg(") {
        let inside = &code[at + attribute.len()..];
        let test = inside.starts_with("test)") || inside.starts_with("all(test");
        let nested = found.last().is_some_and(|last| at < last.end);
        if test && !nested {
            found.push(at..item_end(code, at));
        }
    }
    found
}

/// The end of the item that begins here, attributes and all: after its first
/// braces, or after its semicolon if that comes sooner.
fn item_end(code: &str, at: usize) -> usize {
    let mut depth = 0_usize;
    let mut braces = 0_usize;
    for (n, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' => braces += 1,
            b'}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && depth == 0 {
                    return n + 1;
                }
            }
            b';' if depth == 0 && braces == 0 => return n + 1,
            _ => {}
        }
    }
    code.len()
}

/// Comments, strings and characters.
fn literals(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match literal(text, at) {
            Some(end) => {
                found.push(at..end);
                at = end;
            }
            None => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    found
}

/// The end of the comment or literal that begins here, if one does.
fn literal(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let length = match rest.as_bytes()[0] {
        b'/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
        b'/' if rest.starts_with("/*") => block_comment(rest),
        b'"' => quoted(rest, '"'),
        b'\'' => character(rest)?,
        b'r' if !inside_word(text, at) => raw_string(rest)?,
        _ => return None,
    };
    Some(at + length)
}

/// `br` and `cr` begin raw strings too; other words that end in `r` don't.
fn inside_word(text: &str, at: usize) -> bool {
    let before = &text[..at];
    let before = before
        .strip_suffix(['b', 'c'])
        .filter(|shorter| !shorter.chars().next_back().is_some_and(is_word))
        .unwrap_or(before);
    before.chars().next_back().is_some_and(is_word)
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest.as_bytes()[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.as_bytes()[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// A character, and not a lifetime or a label.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    let (_, second) = chars.next()?;
    (first == '\\' || second == '\'').then(|| quoted(rest, '\''))
}

fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|&byte| byte == b'#').count();
    let open = 1 + hashes;
    if rest.as_bytes().get(open) != Some(&b'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let end = rest[open + 1..].find(&close);
    Some(end.map_or(rest.len(), |end| open + 1 + end + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(text: &str) -> File {
        File {
            path: "crates/model/src/x.rs".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let file = rust(
            "a(\"fn \\\" b\"); // fn c\n/* fn /* d */ e */ f('\"', '\\'', r#\"fn \"g\"#, br\"h\");\n",
        );
        let code = code(&file);
        let words: Vec<&str> = code.split(|c: char| !is_word(c)).collect();
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        assert_eq!(words, ["a", "f", "b"]);
        assert_eq!(code.lines().count(), file.text.lines().count());
    }

    #[test]
    fn lifetimes_are_code() {
        let file = rust("fn a<'a>(b: &'a str) -> &'a str { b }\nfn r#for() {}\n");
        assert_eq!(code(&file), file.text);
    }

    #[test]
    fn tests_are_no_body() {
        let file = rust("a();\n#[cfg(test)]\nmod tests {\n    b();\n}\nc();\n");
        assert_eq!(
            body(&file).split_whitespace().collect::<String>(),
            "a();c();"
        );
        assert_eq!(body_lines(&file), 2);
    }

    #[test]
    fn a_function_is_measured_with_its_signature() {
        let file = rust(
            "trait T {\n    fn a(b: [u8; 2]);\n}\nfn c(\n    d: fn(u8),\n) {\n    if x {}\n}\n",
        );
        let expected = Function {
            name: "c".to_owned(),
            line: 4,
            lines: 5,
        };
        assert_eq!(functions(&file), [expected]);
    }

    #[test]
    fn test_files_are_told_by_their_path() {
        assert!(is_test("crates/judge/src/tests.rs"));
        assert!(is_test("crates/judge/src/tests/far.rs"));
        assert!(is_test("crates/journal/benches/append.rs"));
        assert!(!is_test("crates/judge/src/lib.rs"));
    }
}
