//! Whole changes, and what is said about them.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use model::bundle::{Command, Commands, FileEntry, PackageEntry, Plan};
use model::gate::{Guard, Policy, ReferenceKind, ReferenceRule, RiskRule, probe_deadline};
use model::{Digest, Permille};
use proptest::prelude::*;

use super::*;

pub(super) fn contents(files: &[(&str, &str)]) -> BTreeMap<BundlePath, Vec<u8>> {
    let files = files.iter();
    files
        .map(|(path, text)| (path.parse().unwrap(), text.as_bytes().to_vec()))
        .collect()
}

pub(super) fn bundle(files: &BTreeMap<BundlePath, Vec<u8>>) -> Bundle {
    let entry = |bytes: &Vec<u8>| FileEntry {
        digest: Digest::of(bytes),
        size_bytes: bytes.len() as u64,
        executable: false,
    };
    Bundle {
        service: "api".parse().unwrap(),
        files: files
            .iter()
            .map(|(path, bytes)| (path.clone(), entry(bytes)))
            .collect(),
        packages: BTreeMap::new(),
        requires: BTreeMap::new(),
        commands: Commands::default(),
        health: None,
        plan: Plan::default(),
    }
}

pub(crate) fn assess_files(
    rules: &CheckSet,
    new: &[(&str, &str)],
    old: Option<&[(&str, &str)]>,
) -> Assessment {
    let files = contents(new);
    let bundle_new = bundle(&files);
    let old_files = contents(old.unwrap_or_default());
    let bundle_old = bundle(&old_files);
    let new = Tree {
        bundle: &bundle_new,
        files: &files,
    };
    let old = old.map(|_| Tree {
        bundle: &bundle_old,
        files: &old_files,
    });
    let environments = ["test".parse().unwrap(), "production".parse().unwrap()];
    assess(rules, &environments, &new, old.as_ref())
}

fn told(assessment: &Assessment) -> String {
    let mut out = String::new();
    for finding in &assessment.findings {
        let severity = serde_json::to_value(finding.severity).unwrap();
        out.push_str(&format!("{}: {finding}\n", severity.as_str().unwrap()));
        if let Some(help) = &finding.help {
            out.push_str(&format!("  help: {help}\n"));
        }
    }
    out
}

fn check(rules: &CheckSet, new: &[(&str, &str)], old: Option<&[(&str, &str)]>, expected: Expect) {
    expected.assert_eq(&told(&assess_files(rules, new, old)));
}

fn with_schema(pattern: &str, schema: &str) -> CheckSet {
    CheckSet {
        schemas: [(pattern.to_owned(), schema.to_owned())].into(),
        ..CheckSet::default()
    }
}

fn policy(name: &str, file: Option<&str>, when: &str, severity: Severity) -> Policy {
    Policy {
        name: name.to_owned(),
        file: file.map(str::to_owned),
        when: when.to_owned(),
        severity,
        message: format!("mind {name}"),
    }
}

const SCHEMA: &str = r##"{
  "type": "object",
  "required": ["listen", "limits"],
  "additionalProperties": false,
  "properties": {
    "listen": {"type": "string", "pattern": "^[^:]+:[0-9]+$"},
    "limits": {
      "type": "object",
      "properties": {"threads": {"type": "integer", "minimum": 2}, "mode": {"enum": ["fast", "safe"]}}
    },
    "auth": {
      "x-plimsoll-risk": "a wrong address stops every request",
      "additionalProperties": {"$ref": "#/$defs/auth"}
    }
  },
  "$defs": {"auth": {"properties": {
    "address": {"x-plimsoll-reference": {"kind": "http", "from": ["*"], "path": "/authenticate", "status": 200}},
    "password": {"x-plimsoll-secret": true}
  }}}
}"##;

#[test]
fn schema_errors_are_in_the_lines_of_the_file() {
    let rules = with_schema("service.*", SCHEMA);
    check(
        &rules,
        &[
            (
                "service.toml",
                "listen = \"x\"\nlimit = 1\n[limits]\nthreads = 1\nmode = \"quick\"\n",
            ),
            ("service.yaml", "listen: [1]\nlimits: 7\n"),
            ("service.json", "{\n  \"listen\": \"a:1\"\n}"),
        ],
        None,
        expect![[r#"
            deny: service.json:1:1: "limits" is missing in the document
            deny: service.toml:1:10: listen must fit the pattern ^[^:]+:[0-9]+$, is "x"
            deny: service.toml:2:1: "limit" is not known in the document
            deny: service.toml:4:11: threads must be at least 2, is 1
            deny: service.toml:5:8: mode must be one of "fast", "safe", is "quick"
            deny: service.yaml:1:9: listen must be a string, is a list of 1
            deny: service.yaml:2:9: limits must be a map, is 7
        "#]],
    );
}

#[test]
fn a_blank_document_is_what_its_format_says() {
    check(
        &with_schema("service.*", SCHEMA),
        &[
            ("service.json", ""),
            ("service.toml", "# nothing\n"),
            ("service.yaml", "# nothing\n"),
        ],
        None,
        expect![[r#"
            deny: service.json:1:1: not JSON: the document ends where a value should be
            deny: service.toml:1:1: "limits" is missing in the document
            deny: service.toml:1:1: "listen" is missing in the document
            deny: service.yaml:1:1: the document must be a map, is null
        "#]],
    );
}

#[test]
fn alternatives_name_the_nearest() {
    let schema = r#"{"properties": {"store": {"oneOf": [
        {"type": "object", "required": ["path"], "properties": {"path": {"type": "string"}}, "additionalProperties": false},
        {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}, "pool": {"type": "integer"}}, "additionalProperties": false}
    ]}}}"#;
    check(
        &with_schema("a.yaml", schema),
        &[("a.yaml", "store:\n  url: x\n  pool: many\n")],
        None,
        expect![[r#"
            deny: a.yaml:2:3: store fits none of its 2 allowed forms; nearest: pool must be a whole number, is "many"
        "#]],
    );
}

#[test]
fn broken_documents() {
    let rules = with_schema("a.*", "true");
    check(
        &rules,
        &[
            ("a.yaml", "a: 1\na: 2\n"),
            ("a.toml", "a = = 1"),
            ("a.json", "{"),
            ("other.json", "{,}"),
            ("a.yml", "a: 1\n---\nb: 1\n"),
        ],
        None,
        expect![[r#"
            deny: a.json:1:1: `{` is never closed by `}`
            deny: a.toml:1:5: not TOML: extra `=`, expected nothing
            deny: a.yaml:2:1: the key "a" is here for the second time
              help: most readers take the last one in silence: keep one
            deny: a.yml:3:1: a second YAML document begins before this; rules see only one
              help: one document in each file that the service's rules name
            warn: other.json:1:2: not JSON: a key in double quotes should be here
        "#]],
    );
}

#[test]
fn blank_vanished_and_unknown_files() {
    let rules = CheckSet {
        guards: vec![Guard {
            file: "*.csv".to_owned(),
            ..Guard::default()
        }],
        ..with_schema("service.toml", "true")
    };
    check(
        &rules,
        &[("notes", " \n"), ("new", "")],
        Some(&[
            ("notes", "text"),
            ("prices.csv", "a,b\n"),
            ("gone", "not named"),
        ]),
        expect![[r#"
            warn: the service's rules name "service.toml", and no file is called that
              help: mend the rule, or the file's name
            deny: notes: the file is blank, and was not before
              help: if it has to go, remove it and the rules about it
            deny: prices.csv: the file has vanished, and a rule of the service names it
              help: bring it back, or have an operator drop the rule
        "#]],
    );
}

#[test]
fn policies_bite() {
    let rules = CheckSet {
        policies: vec![
            policy(
                "threads",
                Some("service.toml"),
                "new.limits.threads < 2",
                Severity::Deny,
            ),
            policy(
                "halved",
                Some("service.toml"),
                "old != null && new.limits.threads * 2 < old.limits.threads",
                Severity::Warn,
            ),
            policy(
                "hosts",
                Some("service.toml"),
                "new.hosts.exists(h, !h.name.matches('^[a-z]+$'))",
                Severity::Deny,
            ),
            policy(
                "absent",
                Some("service.toml"),
                "new.missing.field == 1",
                Severity::Deny,
            ),
            policy(
                "kind",
                Some("service.toml"),
                "new.limits.threads + 1",
                Severity::Deny,
            ),
            policy(
                "warned",
                Some("service.toml"),
                "new.limits.nothing",
                Severity::Warn,
            ),
            policy(
                "fine",
                Some("service.toml"),
                "has(new.limits.nothing) && new.limits.nothing",
                Severity::Deny,
            ),
            policy(
                "packages",
                None,
                "!('web' in packages) && service == 'api'",
                Severity::Warn,
            ),
            policy("broken", None, "1 +", Severity::Warn),
        ],
        ..CheckSet::default()
    };
    check(
        &rules,
        &[(
            "service.toml",
            "[limits]\nthreads = 1\n[[hosts]]\nname = \"a\"\n[[hosts]]\nname = \"B\"\n",
        )],
        Some(&[("service.toml", "[limits]\nthreads = 8\n")]),
        expect![[r#"
            deny: policy broken: `when` at 1:4: Syntax error: mismatched input '<EOF>' expecting expression
              help: an operator must mend the service's rules
            warn: mind packages (policy packages)
            deny: service.toml:1:1: policy absent can't be evaluated: "missing" is missing
              help: ask first whether a field is there: `has(new.limits) && has(new.limits.threads) && …`
            warn: service.toml:1:1: policy warned can't be evaluated: "nothing" is missing
              help: ask first whether a field is there: `has(new.limits) && has(new.limits.threads) && …`
            deny: service.toml:2:11: mind threads (policy threads)
            deny: service.toml:2:11: policy kind can't be evaluated: `when` gives int, not true or false
            warn: service.toml:2:11: mind halved (policy halved)
            deny: service.toml:3:1: mind hosts (policy hosts)
        "#]],
    );
}

#[test]
fn risks_are_told_only_when_they_change() {
    let rules = CheckSet {
        risks: vec![RiskRule {
            file: "service.toml".to_owned(),
            at: "/limits/*".to_owned(),
            why: "load".to_owned(),
        }],
        policies: vec![policy("any", Some("service.toml"), "true", Severity::Risk)],
        ..with_schema("service.toml", SCHEMA)
    };
    let old = "listen = \"a:1\"\n[limits]\nthreads = 2\n[auth.test]\naddress = \"a:1\"\npassword = \"vault:x\"\n";
    let same =
        "# other\n[limits]\nthreads = 2\n[auth.test]\npassword = \"vault:x\"\naddress = \"a:1\"\n";
    let same = same.replace("[limits]", "listen = \"a:1\"\n[limits]");
    let risks = |new: &str, old: Option<&str>| {
        let old = old.map(|old| [("service.toml", old)]);
        let old = old.as_ref().map(|old| &old[..]);
        let checked = assess_files(&rules, &[("service.toml", new)], old).checked;
        let risks = checked.risks.iter();
        risks
            .map(|risk| {
                format!(
                    "{} {}: {:?} -> {:?}",
                    risk.at, risk.why, risk.before, risk.after
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(risks(&same, Some(old)), [""; 0]);
    assert_eq!(
        risks(
            &old.replace("vault:x", "hunter2")
                .replace("threads = 2", "threads = 3"),
            Some(old)
        ),
        [
            " mind any: None -> None",
            "/auth a wrong address stops every request: Some(\"{\\\"test\\\":{\\\"address\\\":\\\"a:1\\\",\\\"password\\\":(hidden)}}\") -> Some(\"{\\\"test\\\":{\\\"address\\\":\\\"a:1\\\",\\\"password\\\":(hidden)}}\")",
            "/limits/threads load: Some(\"2\") -> Some(\"3\")",
        ]
    );
    let without = "listen = \"a:1\"\n[limits]\nmode = \"safe\"\n";
    assert_eq!(
        risks(without, Some(old)),
        [
            " mind any: None -> None",
            "/auth a wrong address stops every request: Some(\"{\\\"test\\\":{\\\"address\\\":\\\"a:1\\\",\\\"password\\\":(hidden)}}\") -> None",
            "/limits/mode load: None -> Some(\"\\\"safe\\\"\")",
            "/limits/threads load: Some(\"2\") -> None",
        ]
    );
    assert_eq!(risks(old, None).len(), 3);
}

fn reference(at: &str, kind: ReferenceKind, from: &[&str]) -> ReferenceRule {
    ReferenceRule {
        file: "**/*.yaml".to_owned(),
        at: at.to_owned(),
        kind,
        from: from.iter().map(|it| (*it).to_owned()).collect(),
        path: None,
        status: None,
        deadline_ms: probe_deadline(),
    }
}

#[test]
fn references_are_found() {
    let rules = CheckSet {
        references: vec![
            reference("/db/*/url", ReferenceKind::Postgres, &["*"]),
            reference("/brokers/*", ReferenceKind::Tcp, &[]),
            reference("/name", ReferenceKind::Dns, &["production"]),
        ],
        egress: Some(vec!["*.internal".to_owned(), "10.0.0.0/8:9092".to_owned()]),
        ..with_schema("service.toml", SCHEMA)
    };
    let service = "listen = \"a:1\"\nlimits = {}\n[auth.test]\naddress = \"https://auth.internal\"\n[auth.production]\naddress = \"auth.internal:80\"\n";
    let db = "db:\n  test: {url: 'postgres://u@db.internal/x'}\n  dev: {url: 'db.internal'}\nbrokers: ['10.0.0.1:9092', '10.0.0.1:9093', 'kafka:9092', 'x', '${B}']\nname: a.internal\n";
    let assessment = assess_files(&rules, &[("service.toml", service), ("db.yaml", db)], None);
    let references = assessment.checked.references.iter().map(|it| {
        let from: Vec<&str> = it.from.iter().map(EnvironmentName::as_str).collect();
        format!(
            "{}:{} {} {} {} {from:?} {:?}\n",
            it.file, it.line, it.at, it.kind, it.target, it.status
        )
    });
    let all = format!("{}{}", references.collect::<String>(), told(&assessment));
    expect![[r#"
        db.yaml:4 /brokers/0 tcp 10.0.0.1:9092 [] None
        db.yaml:4 /brokers/2 tcp kafka:9092 [] None
        db.yaml:2 /db/test/url postgres postgres://u@db.internal:5432/x ["test"] None
        db.yaml:5 /name dns a.internal ["production"] None
        service.toml:6 /auth/production/address http http://auth.internal:80/authenticate ["production"] Some(200)
        service.toml:4 /auth/test/address http https://auth.internal/authenticate ["test"] Some(200)
        warn: db.yaml:3:14: "dev" is no environment, so nobody asks what it names
          help: environments: test, production
        deny: db.yaml:4:28: brokers[1] leads to 10.0.0.1, where probes may not go
          help: an operator must add it to `egress` of the service's rules
        deny: db.yaml:4:59: brokers[3] has no port; it must name what a probe by tcp can ask
        warn: db.yaml:4:64: brokers[4] is filled in on the host, so nobody can ask beforehand whether it answers
    "#]].assert_eq(&all);
}

#[test]
fn link_local_targets_are_denied_without_a_list() {
    let rules = CheckSet {
        references: vec![reference("/url", ReferenceKind::Http, &[])],
        ..CheckSet::default()
    };
    check(
        &rules,
        &[("a.yaml", "url: http://169.254.169.254/latest\n")],
        None,
        expect![[r#"
        deny: a.yaml:1:6: url leads to 169.254.169.254, where probes may not go
          help: link-local addresses belong to the host: its cloud keeps credentials there
    "#]],
    );
}

#[test]
fn guards_hold() {
    let guard = Guard {
        file: "*".to_owned(),
        size_bytes_max: Some(60),
        shrink_permille_max: Permille::new(200),
        growth_percent_max: Some(100),
        ..Guard::default()
    };
    let rows = Guard {
        file: "prices.csv".to_owned(),
        rows_min: Some(2),
        rows_max: Some(3),
        rows_shrink_permille_max: Permille::new(100),
        ..Guard::default()
    };
    let fields = Guard {
        file: "*.json".to_owned(),
        rows_at: Some("/prices".to_owned()),
        rows_min: Some(2),
        keep: vec!["/auth/*/address".to_owned()],
        ..Guard::default()
    };
    let rules = CheckSet {
        guards: vec![guard, rows, fields],
        ..CheckSet::default()
    };
    check(
        &rules,
        &[
            ("big", &"x".repeat(61)),
            ("shrunk", "12345678901"),
            ("prices.csv", "a\n\nb\nc\nd\n"),
            (
                "a.json",
                r#"{"prices": [1], "auth": {"test": {"address": ""}, "x": {}}}"#,
            ),
            ("b.json", r#"{"x": 1}"#),
        ],
        Some(&[
            ("big", "x"),
            ("shrunk", "12345678901234567890"),
            ("prices.csv", "a\nb\nc\nd\ne\n"),
            (
                "a.json",
                r#"{"auth": {"test": {"address": "a"}, "x": {"address": "b"}, "y": {"address": ""}}}"#,
            ),
        ]),
        expect![[r#"
            deny: a.json: the file shrinks from 81 to 59 bytes; its guard allows 20% less
              help: if it is meant, have an operator widen the guard
            deny: a.json:1:2: prices has 1 row; its guard wants 2
              help: if it is meant, have an operator widen the guard
            deny: a.json:1:35: /auth/test/address is empty, and was not before
              help: a guard keeps this field: fill it, or have an operator drop it there
            deny: a.json:1:56: /auth/x/address has vanished
              help: a guard keeps this field: fill it, or have an operator drop it there
            deny: b.json: the guard counts rows at /prices, and nothing is there
              help: if it is meant, have an operator widen the guard
            deny: big: the file grows from 1 to 61 bytes; its guard allows 100% more
              help: if it is meant, have an operator widen the guard
            deny: big: the file has 61 bytes; its guard allows 60
              help: if it is meant, have an operator widen the guard
            deny: prices.csv:1:1: the file has 4 rows; its guard allows 3
              help: if it is meant, have an operator widen the guard
            deny: prices.csv:1:1: the file shrinks from 5 to 4 rows; its guard allows 10% less
              help: if it is meant, have an operator widen the guard
            deny: shrunk: the file shrinks from 20 to 11 bytes; its guard allows 20% less
              help: if it is meant, have an operator widen the guard
        "#]],
    );
}

#[test]
fn marked_secrets_must_be_references() {
    check(
        &with_schema("service.yaml", SCHEMA),
        &[(
            "service.yaml",
            "listen: a:1\nlimits: {}\nauth:\n  test:\n    password: none\n  production:\n    password: ${secret:auth}\n",
        )],
        None,
        expect![[r#"
            deny: service.yaml:5:15: password must be a reference to a secret, and is a literal
              help: write a reference (`${secret:NAME}`, `vault:PATH`, `file:/PATH`, `${NAME}`), change the secret, or have an operator list the field in `literals`
        "#]],
    );
}

#[test]
fn hostile_documents_need_a_schema_and_a_check() {
    let rules = with_schema("service.toml", "true");
    let files = contents(&[("service.toml", "a = 1"), ("other.toml", "a = 1")]);
    let mut with_check = bundle(&files);
    let hostile = |rules: &CheckSet, bundle: &Bundle| {
        let tree = Tree {
            bundle,
            files: &files,
        };
        assess(rules, &[], &tree, None).checked.hostile.len()
    };
    assert_eq!(hostile(&rules, &with_check), 0);
    with_check.commands.check = Some(Command {
        run: vec!["true".to_owned()],
        deadline_ms: model::Millis::seconds(1),
    });
    assert_eq!(hostile(&rules, &with_check), 1);
    let off = CheckSet {
        hostile: false,
        ..rules
    };
    assert_eq!(hostile(&off, &with_check), 0);
}

#[test]
fn findings_are_bounded_and_keep_the_worst() {
    let lines: String = (0..5000).map(|n| format!("k{n}: 1\n")).collect();
    let rules = CheckSet {
        policies: vec![policy("warned", Some("a.yaml"), "true", Severity::Warn)],
        ..with_schema("a.yaml", r#"{"additionalProperties": {"type": "string"}}"#)
    };
    let assessment = assess_files(&rules, &[("a.yaml", &lines)], None);
    assert_eq!(assessment.findings.len(), model::gate::FINDINGS_MAX);
    let last = assessment.findings.last().unwrap();
    assert!(last.message.starts_with("and "), "{last}");
    assert!(assessment.denies());
    let warnings = assessment
        .findings
        .iter()
        .filter(|it| it.severity == Severity::Warn);
    assert_eq!(warnings.count(), 0);
}

#[test]
fn packages_are_known_to_policies() {
    let files = contents(&[]);
    let mut new = bundle(&files);
    let package = PackageEntry {
        version: "2.0.0".to_owned(),
        digest: Digest::of(b""),
        size_bytes: 0,
        requires: BTreeMap::new(),
        conflicts: BTreeMap::new(),
        provides: BTreeMap::new(),
    };
    new.packages.insert("web".parse().unwrap(), package);
    let old = bundle(&files);
    let rules = CheckSet {
        policies: vec![policy(
            "new",
            None,
            "packages.all(p, !(p in old_packages)) && packages.web == '2.0.0'",
            Severity::Deny,
        )],
        ..CheckSet::default()
    };
    let (new, old) = (
        Tree {
            bundle: &new,
            files: &files,
        },
        Tree {
            bundle: &old,
            files: &files,
        },
    );
    let assessment = assess(&rules, &[], &new, Some(&old));
    assert_eq!(assessment.findings.len(), 1, "{:?}", assessment.findings);
}

/// Anything in any file under any rules: an answer, with places inside the files.
fn holds(rules: &CheckSet, new: &str, old: &str) -> Result<(), TestCaseError> {
    for path in ["a.json", "a.toml", "a.yaml", "a.env"] {
        let assessment = assess_files(rules, &[(path, new)], Some(&[(path, old)]));
        let lines: Vec<&str> = new.split('\n').collect();
        for finding in &assessment.findings {
            if finding.line > 0 {
                let line = lines.get(finding.line as usize - 1);
                prop_assert!(
                    line.is_some_and(|line| finding.column as usize <= line.chars().count() + 1),
                    "{finding:?}"
                );
            }
            prop_assert!(
                !finding.message.chars().any(char::is_control),
                "{finding:?}"
            );
        }
        let again = assess_files(rules, &[(path, new)], Some(&[(path, old)]));
        prop_assert_eq!(assessment, again);
    }
    Ok(())
}

fn every_rule() -> CheckSet {
    CheckSet {
        policies: vec![policy(
            "p",
            Some("*"),
            "new.a == old.b || new.exists(k, k == 'a')",
            Severity::Warn,
        )],
        guards: vec![Guard {
            file: "**".to_owned(),
            shrink_permille_max: Permille::new(1),
            growth_percent_max: Some(1),
            rows_at: Some("/*".to_owned()),
            rows_min: Some(1),
            keep: vec!["/*".to_owned(), "/a/*".to_owned()],
            ..Guard::default()
        }],
        references: vec![ReferenceRule {
            file: "*".to_owned(),
            ..reference("/a", ReferenceKind::Http, &["*"])
        }],
        risks: vec![RiskRule {
            file: "*".to_owned(),
            at: "/*".to_owned(),
            why: "w".to_owned(),
        }],
        literals: vec!["/b".to_owned()],
        ..with_schema("*", SCHEMA)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn any_files(new in any::<String>(), old in any::<String>()) {
        holds(&every_rule(), &new, &old)?;
    }

    #[test]
    fn any_small_documents(
        new in prop::collection::vec(prop::sample::select(&["a", "b", ": ", "=", "\n", "  ", "[", "]", "{", "}", "\"", ",", "1", "http://x:1", "auth", "address", "password"][..]), 0..30),
        old in prop::sample::select(&["{\"a\": 1, \"b\": {}}", "a = 1", "a: {b: c}", ""][..]),
    ) {
        holds(&every_rule(), &new.concat(), old)?;
    }
}
