//! Which accidents a document gets, and which a check must refuse.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

const SCHEMA: &str = r##"{
  "type": "object", "required": ["listen", "limits"],
  "properties": {
    "listen": {"type": "string", "minLength": 1},
    "limits": {"$ref": "#/$defs/limits"},
    "hosts": {"type": "array", "items": {"type": "object", "required": ["name"]}}
  },
  "$defs": {"limits": {"type": "object", "required": ["threads"], "properties": {"threads": {"type": "integer", "maximum": 64}}}}
}"##;

fn check(path: &str, text: &str, schema: Option<&str>, expected: Expect) {
    let mut out = String::new();
    for variant in variants(path, text.as_bytes(), schema) {
        let shown = String::from_utf8(variant.bytes).unwrap();
        let shown: String = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut: String = shown.chars().take(90).collect();
        let verdict = if variant.must_refuse { "refuse" } else { "any" };
        let line = format!("{verdict} | {} | {cut}", variant.name);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    expected.assert_eq(&out);
}

#[test]
fn a_toml_document() {
    let text = "listen = \"a:1\"\n[limits]\nthreads = 4\n[[hosts]]\nname = \"a\"\n";
    check(
        "service.toml",
        text,
        Some(SCHEMA),
        expect![[r#"
            refuse | blank |
            any | only its first half | listen = "a:1" [limits] thre
            any | there twice | listen = "a:1" [limits] threads = 4 [[hosts]] name = "a" listen = "a:1" [limits] threads =
            refuse | without /limits | listen = "a:1" [[hosts]] name = "a"
            refuse | without /listen | [limits] threads = 4 [[hosts]] name = "a"
            refuse | without /limits/threads | listen = "a:1" [limits] [[hosts]] name = "a"
            refuse | without /hosts/0/name | listen = "a:1" [limits] threads = 4 [[hosts]]
            refuse | /listen empty | listen = "" [limits] threads = 4 [[hosts]] name = "a"
            refuse | /limits empty | listen = "a:1" [limits] [[hosts]] name = "a"
            refuse | /hosts/0 empty | listen = "a:1" [limits] threads = 4 [[hosts]]
            any | /hosts empty | listen = "a:1" hosts = [] [limits] threads = 4
            any | /limits/threads empty | listen = "a:1" [limits] threads = 0 [[hosts]] name = "a"
            any | /hosts/0/name empty | listen = "a:1" [limits] threads = 4 [[hosts]] name = ""
            refuse | /listen of another kind | listen = -1 [limits] threads = 4 [[hosts]] name = "a"
            refuse | /limits of another kind | listen = "a:1" limits = true [[hosts]] name = "a"
            refuse | /hosts of another kind | listen = "a:1" hosts = true [limits] threads = 4
            refuse | /limits/threads of another kind | listen = "a:1" [limits] threads = "none" [[hosts]] name = "a"
            refuse | /hosts/0 of another kind | listen = "a:1" hosts = [true] [limits] threads = 4
            any | /hosts/0/name of another kind | listen = "a:1" [limits] threads = 4 [[hosts]] name = -1
            refuse | /limits/threads as large as can be | listen = "a:1" [limits] threads = 9223372036854775807 [[hosts]] name = "a"
            any | /listen as large as can be | listen = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
            any | /hosts/0/name as large as can be | listen = "a:1" [limits] threads = 4 [[hosts]] name = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
            any | /hosts with each item twice | listen = "a:1" [limits] threads = 4 [[hosts]] name = "a" [[hosts]] name = "a"
            refuse | /listen nested deep | listen = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]
        "#]],
    );
}

#[test]
fn yaml_and_json_say_the_same() {
    check(
        "a.yaml",
        "listen: a:1\nlimits: {threads: 4}\nratio: 0.5\non: true\n",
        Some(SCHEMA),
        expect![[r#"
            refuse | blank |
            any | only its first half | listen: a:1 limits: {threa
            any | there twice | listen: a:1 limits: {threads: 4} ratio: 0.5 on: true listen: a:1 limits: {threads: 4} rati
            refuse | without /limits | { "listen": "a:1", "ratio": 0.5, "on": true }
            refuse | without /listen | { "limits": { "threads": 4 }, "ratio": 0.5, "on": true }
            refuse | without /limits/threads | { "listen": "a:1", "limits": {}, "ratio": 0.5, "on": true }
            refuse | /listen empty | { "listen": "", "limits": { "threads": 4 }, "ratio": 0.5, "on": true }
            refuse | /limits empty | { "listen": "a:1", "limits": {}, "ratio": 0.5, "on": true }
            any | /ratio empty | { "listen": "a:1", "limits": { "threads": 4 }, "ratio": 0.0, "on": true }
            any | /limits/threads empty | { "listen": "a:1", "limits": { "threads": 0 }, "ratio": 0.5, "on": true }
            refuse | /listen of another kind | { "listen": -1, "limits": { "threads": 4 }, "ratio": 0.5, "on": true }
            refuse | /limits of another kind | { "listen": "a:1", "limits": true, "ratio": 0.5, "on": true }
            refuse | /limits/threads of another kind | { "listen": "a:1", "limits": { "threads": "none" }, "ratio": 0.5, "on": true }
            any | /ratio of another kind | { "listen": "a:1", "limits": { "threads": 4 }, "ratio": "none", "on": true }
            any | /on of another kind | { "listen": "a:1", "limits": { "threads": 4 }, "ratio": 0.5, "on": "none" }
            refuse | /limits/threads as large as can be | { "listen": "a:1", "limits": { "threads": 18446744073709551615 }, "ratio": 0.5, "on": true
            any | /listen as large as can be | { "listen": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
            any | /ratio as large as can be | { "listen": "a:1", "limits": { "threads": 4 }, "ratio": 1e+308, "on": true }
            refuse | /listen nested deep | { "listen": [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [
        "#]],
    );
    check(
        "a.json",
        "{\"a\": 1}",
        None,
        expect![[r#"
            any | blank |
            any | only its first half | {"a"
            any | there twice | {"a": 1}{"a": 1}
            any | /a empty | { "a": 0 }
            any | /a of another kind | { "a": "none" }
            any | /a as large as can be | { "a": 18446744073709551615 }
            any | /a nested deep | { "a": [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [
        "#]],
    );
}

#[test]
fn what_is_no_document_gets_the_plain_accidents() {
    check(
        "a.csv",
        "a,b\n1,2\n",
        None,
        expect![[r#"
            any | blank |
            any | only its first half | a,b
            any | there twice | a,b 1,2 a,b 1,2
        "#]],
    );
    check(
        "a.json",
        "{",
        Some(SCHEMA),
        expect![[r#"
            refuse | blank |
            any | only its first half |
            any | there twice | {{
        "#]],
    );
}

#[test]
fn variants_are_bounded_and_valid_in_their_format() {
    let text: String = (0..3000)
        .map(|n| format!("key{n} = {{ a = [1, 2], b = \"x\" }}\n"))
        .collect();
    let all = variants("a.toml", text.as_bytes(), Some(SCHEMA));
    assert!(all.len() <= VARIANTS_MAX, "{}", all.len());
    assert!(all.len() > 40, "{}", all.len());
    for variant in all.iter().skip(3) {
        let text = std::str::from_utf8(&variant.bytes).unwrap();
        assert_eq!(
            documents::load(Format::Toml, text).1,
            [],
            "{}",
            variant.name
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_document(text in any::<String>(), path in prop::sample::select(&["a.json", "a.yaml", "a.toml", "a"][..])) {
        let first = variants(path, text.as_bytes(), Some(SCHEMA));
        prop_assert!(first.len() >= 3 && first.len() <= VARIANTS_MAX);
        prop_assert!(first[0].must_refuse && first[0].bytes.is_empty());
        prop_assert_eq!(first, variants(path, text.as_bytes(), Some(SCHEMA)));
    }
}
