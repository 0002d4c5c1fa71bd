//! Check sets that can't be used, and expressions that try to do harm.

use expect_test::{Expect, expect};
use model::Millis;
use model::gate::{Guard, Policy, ReferenceKind, ReferenceRule, RiskRule};
use proptest::prelude::*;

use super::*;

fn check(rules: &CheckSet, expected: Expect) {
    let problems = problems(rules).into_iter();
    let told: String = problems.map(|it| format!("{}\n", it.message)).collect();
    expected.assert_eq(&told);
}

fn policy(when: &str) -> Policy {
    Policy {
        name: "p".to_owned(),
        file: Some("a.toml".to_owned()),
        when: when.to_owned(),
        severity: Severity::Deny,
        message: "m".to_owned(),
    }
}

fn with_policy(when: &str) -> CheckSet {
    CheckSet {
        policies: vec![policy(when)],
        ..CheckSet::default()
    }
}

fn with_schema(schema: &str) -> CheckSet {
    CheckSet {
        schemas: [("a.toml".to_owned(), schema.to_owned())].into(),
        ..CheckSet::default()
    }
}

#[test]
fn an_empty_set_and_good_rules_are_fine() {
    check(&CheckSet::default(), expect![[""]]);
    for when in [
        "new.limits.threads < 2",
        "has(new.a) && new.a.exists(x, x.startsWith('y') && x.size() > 3)",
        "old == null || new.list.filter(x, x > 1).map(x, {'a': x}).size() != size(old.list)",
        "type(new.a) == string && new.b.matches('^[a-z]+$')",
        "new['key with spaces'][0] in [1, 2u, 3.0] ? true : file.contains('x')",
        "service == 'api' && packages.web == old_packages.web",
    ] {
        check(&with_policy(when), expect![[""]]);
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let nameless = Policy {
        name: " ".to_owned(),
        file: None,
        message: String::new(),
        ..policy("new.a == 1")
    };
    let rules = CheckSet {
        schemas: [
            ("/a".to_owned(), "{".to_owned()),
            ("b".to_owned(), "7".to_owned()),
            ("c".to_owned(), r#"{"$ref": "https://example.com/schema.json"}"#.to_owned()),
            ("d".to_owned(), r#"{"type": "text"}"#.to_owned()),
            ("e".to_owned(), r#"{"x-plimsoll-reference": {"kind": "smtp"}, "x-plimsoll-risk": 1, "x-plimsoll-secrets": true}"#.to_owned()),
            ("f".to_owned(), r##"{"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}}"##.to_owned()),
            ("g".to_owned(), r#"{"pattern": "("}"#.to_owned()),
        ]
        .into(),
        policies: vec![policy("new.a ="), policy("nwe.a"), policy("new.a.lower() == 'x'"), policy("a{b: 1} == 1"), nameless],
        guards: vec![Guard { file: "a//b".to_owned(), rows_at: Some("x".to_owned()), rows_min: Some(2), rows_max: Some(1), ..Guard::default() }],
        references: vec![ReferenceRule {
            file: "a**".to_owned(),
            at: "b".to_owned(),
            kind: ReferenceKind::Tcp,
            from: Vec::new(),
            path: None,
            status: Some(7),
            deadline_ms: Millis(0),
        }],
        risks: vec![RiskRule { file: "../x".to_owned(), at: "y".to_owned(), why: String::new() }],
        egress: Some(vec!["10.0.0.0/33".to_owned(), "a b".to_owned()]),
        literals: vec!["z".to_owned()],
        ..CheckSet::default()
    };
    check(
        &rules,
        expect![[r##"
        "/a" in schemas is no path pattern: it begins with `/`; paths in a bundle are relative
        "a//b" in a guard is no path pattern: it has an empty part, `.` or `..`
        "x" in the guard of "a//b" is no pointer: a pointer is empty or begins with `/`
        "a**" in a reference is no path pattern: `**` stands for whole folders and must be alone between slashes
        "b" in a reference in "a**" is no pointer: a pointer is empty or begins with `/`
        "../x" in a risk is no path pattern: it has an empty part, `.` or `..`
        "y" in a risk in "../x" is no pointer: a pointer is empty or begins with `/`
        "z" in `literals` is no pointer: a pointer is empty or begins with `/`
        "10.0.0.0/33" in `egress`: after `/` must be a number of bits: at most 32, for IPv6 128
        "a b" in `egress`: write a host name, `*.domain`, an address or `address/bits`
        the schema for "/a" can't be used: not JSON: EOF while parsing an object at line 1 column 1
        the schema for "b" can't be used: a schema is a map (or true or false)
        the schema for "c" can't be used: "https://example.com/schema.json" leads out of the schema, and nothing is fetched: copy it into `$defs`
        the schema for "d" can't be used: "text" is not valid under any of the schemas listed in the 'anyOf' keyword at /properties/type/anyOf
        the schema for "e": x-plimsoll-reference: unknown variant `smtp`, expected one of `tcp`, `tls`, `dns`, `http`, `postgres`, `file`
        the schema for "e": x-plimsoll-risk must be a string that says why
        the schema for "e": "x-plimsoll-secrets" is not known: there are x-plimsoll-reference, x-plimsoll-risk, x-plimsoll-secret
        the schema for "f" can't be used: "#/$defs/a" leads back to itself without an end
        the schema for "g" can't be used: "(" is not a "regex" at /pattern
        policy p: `when` at 1:7: Syntax error: mismatched input '=' expecting <EOF>
        two policies are called "p"
        policy p: `when` names "nwe", which is not known: there are new, old, file, service, packages, old_packages
        two policies are called "p"
        policy p: `when` calls "lower", which is not known: there are bool, bytes, contains, double, dyn, endsWith, int, matches, size, startsWith, string, type, uint, and has, all, exists, exists_one, map, filter
        two policies are called "p"
        policy p: `when` makes a "a", which is not known
        a policy has no name
        policy  : `message` is empty
        policy  : `when` names "new", for which the policy needs `file`
        the guard of "a//b" wants at least 2 and at most 1 rows
        the reference at b in "a**" has no time to be asked
        the reference at b in "a**": its `status` is none of HTTP
    "##]],
    );
}

#[test]
fn too_large_a_set_is_a_problem() {
    let schema = format!(
        r#"{{"description": "{}"}}"#,
        "x".repeat(CHECK_SET_BYTES_MAX)
    );
    assert_eq!(problems(&with_schema(&schema)).len(), 1);
}

#[test]
fn schemas_that_refer_to_themselves_further_down_are_fine() {
    let tree = r##"{"$ref": "#/$defs/node", "$defs": {"node": {"properties": {"below": {"$ref": "#/$defs/node"}}}}}"##;
    check(&with_schema(tree), expect![[""]]);
    check(&with_schema(r##"{"items": {"$ref": "#"}}"##), expect![[""]]);
    check(
        &with_schema(r##"{"$ref": "#"}"##),
        expect![[r##"
        the schema for "a.toml" can't be used: "#" leads back to itself without an end
    "##]],
    );
    check(
        &with_schema(r##"{"allOf": [{"$ref": "#"}]}"##),
        expect![[r##"
        the schema for "a.toml" can't be used: "#" leads back to itself without an end
    "##]],
    );
}

/// Reading recurses; on a thread of a server it must not run out of stack.
fn on_a_small_stack(body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    thread.spawn(body).unwrap().join().unwrap();
}

#[test]
fn expressions_that_nest_without_end() {
    on_a_small_stack(|| {
        for part in [
            "(",
            "[",
            "{",
            "!",
            "-",
            "f(",
            "a?b:",
            "[1].all(x,",
            "1+",
            "a.",
            "a[",
            "a.b[0]",
            "1<",
            "{1:",
            "!(",
            "'",
            "a &&",
            "1 in ",
        ] {
            for count in [20, 100, 1000] {
                let open = part.repeat(count);
                let close: String = open
                    .chars()
                    .rev()
                    .filter_map(|c| match c {
                        '(' => Some(')'),
                        '[' => Some(']'),
                        '{' => Some('}'),
                        _ => None,
                    })
                    .collect();
                for text in [open.clone(), format!("{open}1{close}"), format!("1{open}1")] {
                    let _ = problems(&with_policy(&text));
                }
            }
        }
        let long = problems(&with_policy(&"1".repeat(5000)));
        assert!(long[0].message.contains("5000 bytes"), "{long:?}");
    });
}

#[test]
fn schemas_that_nest_without_end() {
    on_a_small_stack(|| {
        for part in [
            "{\"not\":",
            "{\"items\":",
            "{\"properties\":{\"a\":",
            "[",
            "{\"allOf\":[",
        ] {
            for count in [20, 60, 120, 2000] {
                let open = part.repeat(count);
                let close: String = open
                    .chars()
                    .rev()
                    .filter_map(|c| match c {
                        '[' => Some(']'),
                        '{' => Some('}'),
                        _ => None,
                    })
                    .collect();
                let _ = problems(&with_schema(&format!("{open}{{}}{close}")));
            }
        }
    });
}

const PIECES: &[&str] = &[
    "new",
    "old",
    ".a",
    ".b",
    "[0]",
    "['a']",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "&&",
    "||",
    "!",
    "==",
    "!=",
    "<",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "in",
    "1",
    "-1",
    "1u",
    "1.5",
    "'a'",
    "\"b\"",
    "b'c'",
    "true",
    "null",
    "has(new.a)",
    ".size()",
    "size(",
    ".all(x, ",
    ".exists(x, ",
    ".map(x, ",
    ".filter(x, ",
    ".exists_one(x, ",
    "x",
    ".matches('a+')",
    "int(",
    "string(",
    "double(",
    "bytes(",
    "type(",
    "dyn(",
    "9223372036854775807",
    "'\\u0041'",
    "r'\\d'",
    "\n",
    "//",
    "service",
    "packages",
    "optional.none()",
    "漢",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn any_expression(text in any::<String>()) {
        let _ = problems(&with_policy(&text));
    }

    #[test]
    fn any_expression_of_pieces(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..30)) {
        let rules = with_policy(&pieces.concat());
        let fine = problems(&rules).is_empty();
        let new = [("a.toml", "a = [1, \"x\", {b = 2}]\nb = \"text\"\n")];
        let assessment = crate::assess::tests::assess_files(&rules, &new, None);
        // A rule without problems never fails for reasons of its own.
        let names_rules = |finding: &Finding| finding.help.as_deref() == Some("an operator must mend the service's rules");
        prop_assert_eq!(fine, !assessment.findings.iter().any(names_rules), "{:?}", assessment.findings);
    }

    #[test]
    fn any_schema(text in any::<String>()) {
        let _ = problems(&with_schema(&text));
    }
}
