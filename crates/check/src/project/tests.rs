//! Each mistake in its place, and documents that are right.

use expect_test::{Expect, expect, expect_file};

use super::*;
use crate::render::render;

mod checks;
mod form;
mod judge;
mod pipeline;
mod random;
mod values;

/// A well-formed project; tests break one part of it.
const GOOD: &str = r#"[service.api]
files = "config"

[[environment]]
name = "test"
[[environment.host]]
name = "test-1"
zone = "lab"
address = "10.0.0.1:80"

[[environment]]
name = "production"
[[environment.host]]
name = "web-1"
zone = "a"
address = "10.0.0.2:80"
"#;

fn check(text: &str, expected: Expect) {
    let shown = match parse("plimsoll.toml", text) {
        Ok(_) => String::from("no problems"),
        Err(problems) => render(&problems, text, false),
    };
    expected.assert_eq(&shown);
}

/// The good project with one text replaced by another.
fn check_with(from: &str, to: &str, expected: Expect) {
    assert!(GOOD.contains(from), "{from}");
    check(&GOOD.replacen(from, to, 1), expected);
}

/// The good project with more lines for its service.
fn check_service(lines: &str, expected: Expect) {
    check_with(
        "files = \"config\"\n",
        &format!("files = \"config\"\n{lines}\n"),
        expected,
    );
}

fn good(text: &str) -> Project {
    parse("plimsoll.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_documented_example_is_read_in_full() {
    let page = include_str!("../../../../docs/plimsoll-toml.md");
    let example = page.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let project = good(example);
    expect_file!["../../tests/valid/documented.txt"].assert_debug_eq(&project);
    let rules = page.split("```toml\n").nth(2).unwrap();
    let with_rules = format!("{example}{}", rules.split("```").next().unwrap());
    let with_rules = good(&with_rules);
    let checks = &with_rules.topology.services[&"api".parse().unwrap()].checks;
    assert_eq!((checks.policies.len(), checks.guards.len()), (1, 2));
    let judged = page.split("```toml\n").nth(3).unwrap();
    let judged = good(&format!("{example}{}", judged.split("```").next().unwrap()));
    let name = &"api".parse().unwrap();
    let spec = &judged.topology.services[name];
    assert_eq!(spec.endpoints.len(), 2);
    assert!(spec.prometheus.is_some());
    let stage = &judged.services[name].plan.stages[&"production".parse().unwrap()];
    let as_written = model::JudgePlan {
        tolerated_increase_permille: 200,
        tolerated_points_permille: model::Permille::new(1).unwrap(),
        ..model::JudgePlan::default()
    };
    assert_eq!(stage.judge, as_written);
}

#[test]
fn defaults_depend_on_the_place_in_the_pipeline() {
    let project = good(GOOD);
    let stages = &project.services[&"api".parse().unwrap()].plan.stages;
    assert_eq!(
        stages[&"production".parse().unwrap()],
        model::StagePlan::default()
    );
    let test = &stages[&"test".parse().unwrap()];
    assert_eq!(
        (test.requests_min, test.bake_ms),
        (0, model::Millis::seconds(10))
    );
    assert_eq!(test.waves, [model::WavePlan::of(model::WaveSelector::All)]);
}

#[test]
fn every_way_to_write_it() {
    let project = good(include_str!("../../tests/valid/forms.toml"));
    expect_file!["../../tests/valid/forms.txt"].assert_debug_eq(&project);
    good(include_str!("../../tests/valid/smallest.toml"));
}

#[test]
fn line_ends_and_a_byte_order_mark_change_nothing() {
    let project = good(GOOD);
    assert_eq!(good(&GOOD.replace('\n', "\r\n")), project);
    assert_eq!(good(&format!("\u{feff}{GOOD}")), project);
}

#[test]
fn everything_wrong_at_once() {
    check(
        r#"
[service.API]
file = "config"
tenant_header = "x api key"

[service.web]
files = "../config"
health = { htpp = "x", interval = 5 }
plan.prodution.bake = "soon"

[[environment]]
name = "production"
[[environment.host]]
name = "web-1"
address = "10.0.0.2"
[[environment.host]]
name = "web-1"
zone = 7
services = { wbe = "10.0.0.3:80" }

[[environment]]
name = "test"
"#,
        expect![[r#"
            plimsoll.toml:2:10: "API" is not a valid service name
              2 | [service.API]
                |          ^^^
              help: use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit

            plimsoll.toml:3:1: unknown key "file" in service.API
              3 | file = "config"
                | ^^^^
              help: did you mean `files`? known keys: files, packages, commands, health, plan, reversible, tenant_header, workers, deadline, priority_header, upstream, upstream_protocol, upstream_name, endpoint, prometheus, error_budget, requires, checks

            plimsoll.toml:4:17: "x api key" is not a header name
              4 | tenant_header = "x api key"
                |                 ^^^^^^^^^^^
              help: write the name alone, like "x-api-key"

            plimsoll.toml:7:9: the path "../config" leaves its folder by `..`
              7 | files = "../config"
                |         ^^^^^^^^^^^
              help: write a path below the folder of plimsoll.toml, like "config"

            plimsoll.toml:8:12: unknown key "htpp" in health
              8 | health = { htpp = "x", interval = 5 }
                |            ^^^^
              help: did you mean `http`? known keys: http, tcp, command, status, interval, deadline, grace, threshold

            plimsoll.toml:8:35: `interval` must be a duration with its unit
              8 | health = { htpp = "x", interval = 5 }
                |                                   ^
              help: write a whole number with its unit, like "500ms", "30s", "2m" or "1h"

            plimsoll.toml:9:6: unknown environment "prodution"
              9 | plan.prodution.bake = "soon"
                |      ^^^^^^^^^
              help: did you mean "production"?

            plimsoll.toml:9:23: "soon" is not a duration
              9 | plan.prodution.bake = "soon"
                |                       ^^^^^^
              help: write a whole number with its unit, like "500ms", "30s", "2m" or "1h"

            plimsoll.toml:12:8: "production" is not the last environment
              12 | name = "production"
                 |        ^^^^^^^^^^^^
              help: a release passes the environments in the order of the file, so production comes last

            plimsoll.toml:13:1: `zone` is missing in this host
              13 | [[environment.host]]
                 | ^^^^^^^^^^^^^^^^^^^^
              help: add `zone = "a"`

            plimsoll.toml:15:11: "10.0.0.2" is not an address
              15 | address = "10.0.0.2"
                 |           ^^^^^^^^^^
              help: write `host:port`, like "10.0.0.5:8080"

            plimsoll.toml:17:8: host "web-1" is declared twice
              17 | name = "web-1"
                 |        ^^^^^^^
              help: it is first declared in line 14; a host's name is unique over all environments

            plimsoll.toml:18:8: `zone` must be a string, not a whole number
              18 | zone = 7
                 |        ^

            plimsoll.toml:19:14: unknown service "wbe"
              19 | services = { wbe = "10.0.0.3:80" }
                 |              ^^^
              help: did you mean "web"?

            plimsoll.toml:21:1: this environment has no hosts
              21 | [[environment]]
                 | ^^^^^^^^^^^^^^^
              help: add `[[environment.host]]` with name, zone and address below it
        "#]],
    );
}
