//! The JSON Schema and the parser agree: what one takes the other takes, and
//! mistakes of form fail both.

use proptest::prelude::*;
use serde_json::Value;

const SMALLEST: &str = include_str!("valid/smallest.toml");
const FORMS: &str = include_str!("valid/forms.toml");
const PAGE: &str = include_str!("../../../docs/plimsoll-toml.md");

fn schema() -> Value {
    serde_json::from_str(check::SCHEMA).expect("the schema is JSON")
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema()).expect("the schema is a schema")
}

fn json(text: &str) -> Value {
    toml_edit::de::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn the_schema_is_one() {
    assert!(jsonschema::draft202012::meta::is_valid(&schema()));
}

/// Hover texts are what an editor's user reads instead of the manual.
#[test]
fn every_key_is_described() {
    fn walk(path: &str, value: &Value, missing: &mut Vec<String>, root: &Value) {
        let Value::Object(object) = value else { return };
        for (key, child) in object {
            let path = format!("{path}/{key}");
            if key == "properties" {
                for (name, property) in child.as_object().unwrap() {
                    let target = property["$ref"].as_str().map(|to| &to[1..]);
                    let target = target.and_then(|to| root.pointer(to)).unwrap_or(property);
                    if property["description"].is_null() && target["description"].is_null() {
                        missing.push(format!("{path}/{name}"));
                    }
                }
            }
            walk(&path, child, missing, root);
        }
    }
    let (schema, mut missing) = (schema(), Vec::new());
    walk("", &schema, &mut missing, &schema);
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn good_files_pass_both() {
    let documented = PAGE.split("```toml\n").nth(1).unwrap();
    let documented = documented.split("```").next().unwrap();
    let validator = validator();
    let rules = PAGE.split("```toml\n").nth(2).unwrap();
    let with_rules = format!("{documented}{}", rules.split("```").next().unwrap());
    let judged = PAGE.split("```toml\n").nth(3).unwrap();
    let judged = format!("{documented}{}", judged.split("```").next().unwrap());
    for text in [SMALLEST, FORMS, documented, &with_rules, &judged] {
        let errors: Vec<String> = validator
            .iter_errors(&json(text))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{text}");
        check::parse("plimsoll.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn mistakes_of_form_fail_both() {
    let files = "files = \"config\"";
    let address = "address = \"web-1.example.org:8080\"";
    let mut mistakes = vec![
        (files.to_owned(), String::new()),
        (files.to_owned(), "file = \"config\"".to_owned()),
        (address.to_owned(), String::new()),
        (address.to_owned(), "services = {}".to_owned()),
        (
            address.to_owned(),
            "services = { api = \"web-1\" }".to_owned(),
        ),
        (
            address.to_owned(),
            format!("{address}\nservices = {{ api = \"a:1\" }}"),
        ),
        ("name = \"production\"".to_owned(), String::new()),
        (
            "name = \"production\"".to_owned(),
            "name = \"Production\"".to_owned(),
        ),
        (
            "name = \"web-1\"".to_owned(),
            "name = \"web-1-\"".to_owned(),
        ),
        (
            "name = \"web-1\"".to_owned(),
            "name = \"web..1\"".to_owned(),
        ),
        ("zone = \"a\"".to_owned(), String::new()),
        ("zone = \"a\"".to_owned(), "zone = 1".to_owned()),
        ("[[environment]]".to_owned(), "[[environments]]".to_owned()),
        (
            "[[environment.host]]".to_owned(),
            "[[environment.hosts]]".to_owned(),
        ),
        ("[service.api]".to_owned(), "[service.a_]".to_owned()),
    ];
    for value in [
        "1",
        "\"/etc\"",
        "\"../a\"",
        "\"a/..\"",
        "\"a\\\\b\"",
        "\"\"",
        "\".\"",
        "\"~/a\"",
        "\"c:/a\"",
    ] {
        mistakes.push((files.to_owned(), format!("files = {value}")));
    }
    for value in [
        "\"a\"",
        "\"a:0\"",
        "\"a:b\"",
        "\"http://a:80\"",
        "\"a b:80\"",
        "80",
    ] {
        mistakes.push((address.to_owned(), format!("address = {value}")));
    }
    for line in [
        "tenant_header = \"x api\"",
        "workers = 0",
        "workers = 10001",
        "workers = 1.5",
        "workers = \"8\"",
        "workers = \"on\"",
        "workers = [8]",
        "deadline = 10",
        "deadline = \"0s\"",
        "deadline = \"10\"",
        "priority_header = \"x priority\"",
        "priority_header = true",
        "upstream = \"h2\"",
        "upstream = true",
        "upstream_protocol = \"http/2\"",
        "upstream_protocol = 2",
        "upstream = \"https\"\nupstream_name = \"a b\"",
        "upstream = \"https\"\nupstream_name = \"\"",
        "upstream = \"https\"\nupstream_name = [\"a\"]",
        "packages = { a = {} }",
        "packages = { a = \"1\" }",
        "packages = { A = { version = \"1\", archive = \"a.tar\" } }",
        "packages = { a = { version = \"\", archive = \"a.tar\" } }",
        "packages = { a = { version = \"1\", archive = \"a.zip\" } }",
        "packages = { a = { version = \"1\", archive = \"/a.tar\" } }",
        "packages = { a = { version = \"1\", archive = \"a.tar\", digest = \"\" } }",
        "commands.check = \"a\"",
        "commands.check = []",
        "commands.check = [\"\"]",
        "commands.check = [1]",
        "commands.check = [\"a\", \"${HOME}\"]",
        "commands.check = [\"a\", \"${\"]",
        "commands.check = { deadline = \"1s\" }",
        "commands.check = { run = [\"a\"], deadline = \"0s\" }",
        "commands.check = { run = [\"a\"], deadline = \"1\" }",
        "commands.check = { run = [\"a\"], timeout = \"1s\" }",
        "commands.start = [\"a\"]",
        "health = {}",
        "health = { http = \"healthz\" }",
        "health = { http = \"http://${addr}/\" }",
        "health = { http = \"http://a/\", tcp = \"a:1\" }",
        "health = { http = \"http://a/\", status = 99 }",
        "health = { tcp = \"a:1\", status = 200 }",
        "health = { tcp = \"a\" }",
        "health = { tcp = \"a:1\", threshold = 0 }",
        "health = { tcp = \"a:1\", threshold = 1.5 }",
        "health = { tcp = \"a:1\", interval = 1 }",
        "health = { command = \"a\" }",
        "plan.production.waves = \"all\"",
        "plan.production.waves = []",
        "plan.production.waves = [1]",
        "plan.production.waves = [\"one host\"]",
        "plan.production.waves = [\"0 hosts\"]",
        "plan.production.waves = [\"zones\"]",
        "plan.production.waves = [\"zone at\"]",
        "plan.production.waves = [{ traffic = \"1%\" }]",
        "plan.production.waves = [{ hosts = \"zone at 1%\" }]",
        "plan.production.waves = [{ hosts = \"zone\", traffic = \"101%\" }]",
        "plan.production.bake = 60",
        "plan.production.bake = \"60\"",
        "plan.production.bake = \"1d\"",
        "plan.production.requests_min = -1",
        "plan.production.failure_budget = 0.01",
        "plan.production.failure_budget = \"100.1%\"",
        "plan.production.failure_budget = \"0.01%\"",
        "plan.production.failure_budget = \"1\"",
        "plan.production.parallel = 0",
        "plan.production.confirm_within = \"0s\"",
        "plan.production.floor = 75",
        "plan.production.floor = \"101%\"",
        "plan.production.pause = \"1s\"",
        "plan.production.judge = \"strict\"",
        "plan.production.judge.tolerated_increase = 0.2",
        "plan.production.judge.tolerated_increase = \"20\"",
        "plan.production.judge.tolerated_increase = \"0.05%\"",
        "plan.production.judge.tolerated_points = \"101%\"",
        "plan.production.judge.tolerated_slowdown = \"-1%\"",
        "plan.production.judge.false_rollbacks = 0.001",
        "plan.production.judge.false_rollbacks = \"0.00001%\"",
        "plan.production.judge.pass_increase = \"x%\"",
        "plan.production.judge.latency_warmup = 30",
        "plan.production.judge.undecided = \"pass\"",
        "plan.production.judge.alpha = \"0.1%\"",
        "reversible = \"no\"",
        "endpoint = {}",
        "endpoint = [{ methods = [\"GET\"] }]",
        "endpoint = [{ name = \"Orders\" }]",
        "endpoint = [{ name = \"a-\" }]",
        "endpoint = [{ name = \"a234567890123456789012345678901234\" }]",
        "endpoint = [{ name = \"a\", methods = [\"get\"] }]",
        "endpoint = [{ name = \"a\", methods = [] }]",
        "endpoint = [{ name = \"a\", methods = \"GET\" }]",
        "endpoint = [{ name = \"a\", paths = [\"orders\"] }]",
        "endpoint = [{ name = \"a\", paths = [\"/*/orders\"] }]",
        "endpoint = [{ name = \"a\", paths = [\"/orders?x=1\"] }]",
        "endpoint = [{ name = \"a\", path = \"/orders\" }]",
        "endpoint = [{ name = \"a\", priority = \"high\" }]",
        "endpoint = [{ name = \"a\", priority = 1 }]",
        "endpoint = [{ name = \"a\", retry = \"once\" }]",
        "endpoint = [{ name = \"a\", retry = false }]",
        "prometheus = \"http://a:9090\"",
        "prometheus = { url = \"http://a:9090\", requests = \"a\" }",
        "prometheus = { url = \"a:9090\", requests = \"a\", failed = \"b\" }",
        "prometheus = { url = \"http://a:9090\", requests = \" \", failed = \"b\" }",
        "prometheus = { url = \"http://${host}:9090\", requests = \"a\", failed = \"b\" }",
        "prometheus = { url = \"http://a:9090/$b\", requests = \"a\", failed = \"b\" }",
        "prometheus = { url = \"http://u:p@a:9090\", requests = \"a\", failed = \"b\" }",
        "prometheus = { url = \"http://a:9090\", requests = \"a\", failed = \"b\", every = \"0s\" }",
        "prometheus = { url = \"http://a:9090\", requests = \"a\", failed = \"b\", every = 5 }",
        "plan.Production.parallel = 1",
        "plan = [1]",
        "requires = { sso = \"two\" }",
        "requires = { SSO = \"^2\" }",
        "requires = [\"sso\"]",
        "packages.a = { version = \"1\", archive = \"a.tar\", requires = { b = 1 } }",
        "packages.a = { version = \"1\", archive = \"a.tar\", provides = { b = \"^1\" } }",
        "packages.a = { version = \"1\", archive = \"a.tar\", needs = {} }",
        "checks = []",
        "checks.schema = {}",
        "checks.schemas = { \"/a.toml\" = \"a.json\" }",
        "checks.schemas = { \"a.toml\" = \"../a.json\" }",
        "checks.schemas = { \"a**.toml\" = \"a.json\" }",
        "checks.schemas = { \"a//b\" = \"a.json\" }",
        "checks.egress = \"all\"",
        "checks.egress = [\"\"]",
        "checks.literals = [\"auth\"]",
        "checks.hostile = \"yes\"",
        "checks.matrix = \"on\"",
        "checks.approvals = -1",
        "checks.approvals = 11",
        "checks.attestation_valid = \"0s\"",
        "checks.attestation_valid = 24",
        "checks.rehearsal = \"no\"",
        "checks.rehearsal = { load = { url = \"http://a/\" } }",
        "checks.rehearsal = { load = { url = \"http://a/\", rate = 0 } }",
        "checks.rehearsal = { revert = \"1s\" }",
        "checks.policy = {}",
        "checks.policy = [{ name = \"a\", when = \"true\", severity = \"deny\" }]",
        "checks.policy = [{ name = \"a\", when = \" \", severity = \"deny\", message = \"b\" }]",
        "checks.policy = [{ name = \"a\", when = \"true\", severity = \"error\", message = \"b\" }]",
        "checks.policy = [{ name = \"a\", when = \"true\", severity = \"deny\", message = \"\" }]",
        "checks.guard = [{ file = \"a\" }]",
        "checks.guard = [{ size_max = \"1B\" }]",
        "checks.guard = [{ file = \"a\", size_max = \"1MB\" }]",
        "checks.guard = [{ file = \"a\", size_max = 1 }]",
        "checks.guard = [{ file = \"a\", shrink_max = \"101%\" }]",
        "checks.guard = [{ file = \"a\", growth_max = \"0.5%\" }]",
        "checks.guard = [{ file = \"a\", rows_at = \"/a\", keep = [] }]",
        "checks.guard = [{ file = \"a\", rows_min = -1 }]",
        "checks.guard = [{ file = \"a\", keep = [\"a\"] }]",
        "checks.reference = [{ file = \"a\", at = \"/a\" }]",
        "checks.reference = [{ file = \"a\", at = \"/a\", kind = \"udp\" }]",
        "checks.reference = [{ file = \"a\", at = \"a\", kind = \"tcp\" }]",
        "checks.reference = [{ file = \"a\", at = \"/a\", kind = \"tcp\", status = 200 }]",
        "checks.reference = [{ file = \"a\", at = \"/a\", kind = \"http\", path = \"a\" }]",
        "checks.reference = [{ file = \"a\", at = \"/a\", kind = \"http\", status = 99 }]",
        "checks.reference = [{ file = \"a\", at = \"/a\", kind = \"tcp\", from = \"production\" }]",
        "checks.reference = [{ file = \"a\", at = \"/a\", kind = \"tcp\", from = [\"**\"] }]",
        "checks.risk = [{ file = \"a\", at = \"/a\" }]",
        "checks.risk = [{ file = \"a\", at = \"/a\", why = \" \" }]",
    ] {
        mistakes.push((files.to_owned(), format!("{files}\n{line}")));
    }
    for head in [
        "[class.web]",
        "[class.Web.packages]",
        "[class.web.packages]\na = \"1\"",
        "[class.web.packages]\na = { archive = \"a.tar\", version = \"1\" }",
        "[class.web.packages]\na = { version = \"nightly\" }",
        "[class.web.packages]\na = { version = \"1\", conflicts = { b = \"?\" } }",
        "[catalog]",
        "[[catalog]]\nname = \"a\"",
        "[[catalog]]\nname = \"a\"\nversion = \"1.2.3.4\"",
        "[freeze]",
        "[[freeze]]\nfrom = \"fri 16:00\"\nto = \"mon 08:00\"\nzone = \"UTC\"",
        "[[freeze]]\nfrom = \"fri 24:00\"\nto = \"mon 08:00\"\nzone = \"UTC\"\nreason = \"a\"",
        "[[freeze]]\nfrom = \"Fri 16:00\"\nto = \"mon 08:00\"\nzone = \"UTC\"\nreason = \"a\"",
        "[[freeze]]\nfrom = \"fri 16:00\"\nto = \"mon 8:00\"\nzone = \"UTC\"\nreason = \"a\"",
        "[[freeze]]\nfrom = \"fri 16:00\"\nto = \"mon 08:00\"\nzone = \"+02:00\"\nreason = \"a\"",
        "[[freeze]]\nservice = \"api\"\nenvironment = \"production\"\nfrom = \"fri 16:00\"\n\
         to = \"mon 08:00\"\nzone = \"UTC\"\nreason = \"a\"",
    ] {
        let first = "[service.api]".to_owned();
        mistakes.push((first.clone(), format!("{head}\n{first}")));
    }
    let validator = validator();
    for (from, to) in mistakes {
        let text = SMALLEST.replacen(&from, &to, 1);
        assert!(text != SMALLEST, "{from} -> {to}");
        assert!(!validator.is_valid(&json(&text)), "the schema takes {to:?}");
        assert!(check::parse("f", &text).is_err(), "the parser takes {to:?}");
    }
}

/// A value that the parser takes and an editor underlines would be a lie in the editor.
#[test]
fn what_the_parser_takes_the_schema_takes() {
    let documented = PAGE.split("```toml\n").nth(1).unwrap();
    let documented = documented.split("```").next().unwrap();
    let judged = PAGE.split("```toml\n").nth(3).unwrap();
    let judged = format!("{SMALLEST}{}", judged.split("```").next().unwrap());
    let validator = validator();
    let edits = prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            0usize..3,
            "[a-z0-9 .%:/_$-]{0,3}",
        ),
        1..3,
    );
    let texts = vec![SMALLEST, FORMS, documented, &judged];
    let texts = prop::sample::select(texts.into_iter().map(str::to_owned).collect::<Vec<_>>());
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(3000)
    };
    let outcome =
        proptest::test_runner::TestRunner::new(config).run(&(texts, edits), |(text, edits)| {
            let mut text = text;
            for (at, deleted, inserted) in edits {
                let start = text.floor_char_boundary(at.index(text.len() + 1));
                let end = text.ceil_char_boundary((start + deleted).min(text.len()));
                text.replace_range(start..end, &inserted);
            }
            if check::parse("f", &text).is_ok() {
                prop_assert!(validator.is_valid(&json(&text)), "{text}");
            }
            Ok(())
        });
    outcome.unwrap();
}
