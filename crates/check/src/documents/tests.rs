//! What documents are read as, and what is said about those that can't be.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::load::text_of;
use super::*;

fn shown(format: Format, text: &str) -> String {
    let (roots, flaws) = load(format, text);
    let places = Places::new(text);
    let mut out = String::new();
    for root in &roots {
        walk(root, &mut Vec::new(), &places, &mut out);
    }
    for flaw in flaws {
        let (line, column) = places.of(flaw.span.start);
        out.push_str(&format!("! {line}:{column} {}\n", flaw.message));
    }
    out
}

fn walk(node: &Node, path: &mut Vec<String>, places: &Places<'_>, out: &mut String) {
    let (line, column) = places.of(node.span.range().start);
    let text = serde_json::to_string(node).unwrap();
    let pointer = crate::pattern::pointer_text(path);
    out.push_str(&format!("{line}:{column} {pointer} {text}\n"));
    for (step, child) in node.children() {
        path.push(step);
        walk(child, path, places, out);
        path.pop();
    }
}

fn check(format: Format, text: &str, expected: Expect) {
    expected.assert_eq(&shown(format, text));
}

#[test]
fn json_places() {
    check(
        Format::Json,
        "\u{feff}{\"a\": [1, -2.5, \"ä\\n\"],\n \"b\": {\"c\": null, \"d\": 18446744073709551615}}",
        expect![[r#"
            1:1  {"a":[1,-2.5,"ä\n"],"b":{"c":null,"d":18446744073709551615}}
            1:7 /a [1,-2.5,"ä\n"]
            1:8 /a/0 1
            1:11 /a/1 -2.5
            1:17 /a/2 "ä\n"
            2:7 /b {"c":null,"d":18446744073709551615}
            2:13 /b/c null
            2:24 /b/d 18446744073709551615
        "#]],
    );
}

#[test]
fn json_says_all_it_can() {
    check(
        Format::Json,
        "{\"a\": 1, // why\n \"a\": 01,\n \"b\": yes,\n \"c\": [1, 2,],\n \"d\": \"\\x\"\n \"e\": {},}",
        expect![[r#"
            1:1  {"a":1,"b":null,"c":[1,2],"d":"\"\\x\"","e":{}}
            1:7 /a 1
            3:7 /b null
            4:7 /c [1,2]
            4:8 /c/0 1
            4:11 /c/1 2
            5:7 /d "\"\\x\""
            6:7 /e {}
            ! 1:10 a comment: JSON has none
            ! 2:7 01 is no JSON number
            ! 3:7 `yes` is no JSON value
            ! 4:12 a comma after the last entry
            ! 5:7 an escape that JSON does not know
            ! 5:11 a comma is missing here
            ! 6:9 a comma after the last entry
            ! 2:2 the key "a" is here for the second time
        "#]],
    );
    check(
        Format::Json,
        "{\"a\": 1",
        expect![[r#"
        ! 1:1 `{` is never closed by `}`
    "#]],
    );
    check(
        Format::Json,
        "",
        expect![[r#"
        ! 1:1 not JSON: the document ends where a value should be
    "#]],
    );
    check(
        Format::Json,
        "{\"a\": \"x\ny\"}",
        expect![[r#"
        ! 1:9 not JSON: the string does not end in its line
    "#]],
    );
    check(
        Format::Json,
        "[1] 2",
        expect![[r#"
        1:1  [1]
        1:2 /0 1
        ! 1:5 not JSON: text after the end of the document
    "#]],
    );
}

#[test]
fn toml_places() {
    check(
        Format::Toml,
        "a = 1\nb.c = \"x\"\n[[d]]\ne = 2026-01-01\n[[d]]\n[f.g]\nh = [1, { i = 2.0 }]\n",
        expect![[r#"
            1:1  {"a":1,"b":{"c":"x"},"d":[{"e":"2026-01-01"},{}],"f":{"g":{"h":[1,{"i":2.0}]}}}
            1:5 /a 1
            2:1 /b {"c":"x"}
            2:7 /b/c "x"
            3:1 /d [{"e":"2026-01-01"},{}]
            3:1 /d/0 {"e":"2026-01-01"}
            4:5 /d/0/e "2026-01-01"
            5:1 /d/1 {}
            6:2 /f {"g":{"h":[1,{"i":2.0}]}}
            6:1 /f/g {"h":[1,{"i":2.0}]}
            7:5 /f/g/h [1,{"i":2.0}]
            7:6 /f/g/h/0 1
            7:9 /f/g/h/1 {"i":2.0}
            7:15 /f/g/h/1/i 2.0
        "#]],
    );
    check(
        Format::Toml,
        "a = 1\na = 2\n",
        expect![[r#"
        ! 2:1 not TOML: duplicate key
    "#]],
    );
    check(
        Format::Toml,
        &format!("{} = 1", ["a"; 100_000].join(".")),
        expect![[r#"
        ! 1:1 not TOML: recursion limit
    "#]],
    );
    check(
        Format::Toml,
        &format!("[{}]", ["a"; 100_000].join(".")),
        expect![[r#"
        ! 1:1 not TOML: recursion limit
    "#]],
    );
}

#[test]
fn yaml_places() {
    check(
        Format::Yaml,
        "# ä\nlist:\n  - ä: 1\n    b: 0x1F\n  - [~, 1.5e3, \"1\", yes]\nempty:\n'quoted key': |\n  text\n  more\n5: five\n",
        expect![[r#"
            2:1  {"list":[{"ä":1,"b":31},[null,1500.0,"1","yes"]],"empty":null,"quoted key":"text\nmore\n","5":"five"}
            3:3 /list [{"ä":1,"b":31},[null,1500.0,"1","yes"]]
            3:5 /list/0 {"ä":1,"b":31}
            3:8 /list/0/ä 1
            4:8 /list/0/b 31
            5:5 /list/1 [null,1500.0,"1","yes"]
            5:6 /list/1/0 null
            5:9 /list/1/1 1500.0
            5:16 /list/1/2 "1"
            5:21 /list/1/3 "yes"
            6:6 /empty null
            8:3 /quoted key "text\nmore\n"
            10:4 /5 "five"
        "#]],
    );
}

#[test]
fn yaml_aliases_and_merge_keys() {
    check(
        Format::Yaml,
        "base: &base {a: 1, b: 2}\none:\n  <<: *base\n  b: 3\ntwo: *base\nthree:\n  <<: [{a: 7}, *base]\n",
        expect![[r#"
            1:1  {"base":{"a":1,"b":2},"one":{"b":3,"a":1},"two":{"a":1,"b":2},"three":{"a":7,"b":2}}
            1:7 /base {"a":1,"b":2}
            1:17 /base/a 1
            1:23 /base/b 2
            3:3 /one {"b":3,"a":1}
            4:6 /one/b 3
            1:17 /one/a 1
            5:6 /two {"a":1,"b":2}
            1:17 /two/a 1
            1:23 /two/b 2
            7:3 /three {"a":7,"b":2}
            7:12 /three/a 7
            1:23 /three/b 2
        "#]],
    );
}

#[test]
fn yaml_flaws() {
    check(
        Format::Yaml,
        "a: 1\nb:\n\tc: 2\n",
        expect![[r#"
        ! 3:2 not YAML: tabs disallowed within this context (block indentation)
    "#]],
    );
    check(
        Format::Yaml,
        "a: 1\na: 2\nb: {c: 1, c: 2}\n",
        expect![[r#"
        1:1  {"a":1,"b":{"c":1}}
        1:4 /a 1
        3:4 /b {"c":1}
        3:8 /b/c 1
        ! 3:11 the key "c" is here for the second time
        ! 2:1 the key "a" is here for the second time
    "#]],
    );
    check(
        Format::Yaml,
        "a: [1\n",
        expect![[r#"
        ! 2:1 not YAML: while parsing a flow sequence, expected ',' or ']'
    "#]],
    );
    check(
        Format::Yaml,
        "a: &x [*x]\n",
        expect![[r#"
        ! 1:8 this alias stands inside its own anchor
    "#]],
    );
    check(
        Format::Yaml,
        "a: *nothing\n",
        expect![[r#"
        ! 1:4 not YAML: while parsing node, found unknown anchor
    "#]],
    );
    check(
        Format::Yaml,
        "? [a]\n: 1\n",
        expect![[r#"
        ! 1:3 a list or map as a key
    "#]],
    );
    check(
        Format::Yaml,
        "a: 1\n---\nb: 2\n",
        expect![[r#"
        1:1  {"a":1}
        1:4 /a 1
        3:1  {"b":2}
        3:4 /b 2
    "#]],
    );
}

#[test]
fn bombs_are_flaws() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    let (_, flaws) = load(Format::Yaml, &bomb);
    assert_eq!(flaws.len(), 1);
    assert!(flaws[0].message.contains("aliases"), "{flaws:?}");
}

#[test]
fn depth_is_a_flaw() {
    for (format, open, close) in [
        (Format::Json, "[", "]"),
        (Format::Json, "{\"a\":", "}"),
        (Format::Yaml, "[", "]"),
        (Format::Yaml, "{a: ", "}"),
        (Format::Yaml, "- ", ""),
        (Format::Toml, "a = [", "]"),
        (Format::Toml, "a = {a = ", "}"),
    ] {
        for depth in [100, 10_000] {
            let open = match format {
                Format::Toml => format!("a = {}", open[4..].repeat(depth)),
                Format::Json | Format::Yaml => open.repeat(depth),
            };
            let text = format!("{open}1{}", close.repeat(depth));
            let (_, flaws) = load(format, &text);
            assert!(!flaws.is_empty(), "{format:?} {depth}");
        }
    }
}

#[test]
fn size_is_a_flaw() {
    let text = " ".repeat(DOCUMENT_BYTES_MAX + 1);
    for format in [Format::Json, Format::Toml, Format::Yaml] {
        let (roots, flaws) = load(format, &text);
        assert!(roots.is_empty());
        assert_eq!(flaws.len(), 1);
    }
    let many = format!("[{}1]", "1,".repeat(NODES_MAX));
    let (_, flaws) = load(Format::Json, &many);
    assert!(flaws[0].message.contains("values"), "{flaws:?}");
}

#[test]
fn bytes_that_are_no_text() {
    let (text, flaw) = text_of(b"a: \xff").unwrap_err();
    assert_eq!(text, "a: ");
    assert_eq!(flaw.span, 3..3);
    assert_eq!(flaw.message, "not UTF-8: byte 0xff");
}

#[test]
fn endings() {
    assert_eq!(format_of("a/b.YML"), Some(Format::Yaml));
    assert_eq!(format_of("b.json"), Some(Format::Json));
    assert_eq!(format_of("b.csv"), None);
    assert_eq!(format_of("json"), None);
    assert_eq!(format_of("a.json/b"), None);
    assert_eq!(format_of(".json"), None);
}

/// Pieces that mean something to the readers.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "'",
    "\\",
    "\n",
    "\r\n",
    "\t",
    "  ",
    "- ",
    "a",
    "b: ",
    "a = ",
    "[a]\n",
    "[[a.b]]\n",
    "a.b.c = 1\n",
    "&x ",
    "*x",
    "<<: ",
    "? ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "!!str ",
    "!x ",
    "|\n",
    ">-\n",
    "1",
    "-0",
    "0x",
    "1e9",
    ".inf",
    "true",
    "null",
    "\"ä\": ",
    "漢",
    "\u{feff}",
    "\0",
    "\u{202e}",
    "#",
    "//",
    "/*",
    "\"\\ud800\"",
    "\"\\u0041\"",
    "'''",
    "\"\"\"",
    "1979-05-27",
    "{a = 1}",
];

fn holds(text: &str) -> Result<(), TestCaseError> {
    for format in [Format::Json, Format::Toml, Format::Yaml] {
        let (roots, flaws) = load(format, text);
        for root in &roots {
            spans_lie_in(root, text)?;
            prop_assert!(serde_json::to_value(root).is_ok());
        }
        for flaw in &flaws {
            prop_assert!(text.get(flaw.span.clone()).is_some(), "{flaw:?}");
            prop_assert!(!flaw.message.chars().any(char::is_control), "{flaw:?}");
        }
        // What is accepted as JSON means what `serde_json` reads.
        if format == Format::Json && flaws.is_empty() {
            let bare = text.trim_start_matches('\u{feff}');
            let ours = roots
                .first()
                .map(|root| serde_json::to_value(root).unwrap());
            prop_assert_eq!(ours, serde_json::from_str(bare).ok());
        }
    }
    Ok(())
}

fn spans_lie_in(node: &Node, text: &str) -> Result<(), TestCaseError> {
    prop_assert!(text.get(node.span.range()).is_some(), "{:?}", node.span);
    for (_, child) in node.children() {
        spans_lie_in(child, text)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_text(text in any::<String>()) {
        holds(&text)?;
    }

    #[test]
    fn any_pieces(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        holds(&pieces.concat())?;
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        match text_of(&bytes) {
            Ok(text) => holds(text)?,
            Err((text, flaw)) => {
                prop_assert!(text.get(flaw.span).is_some());
                holds(text)?;
            }
        }
    }
}
