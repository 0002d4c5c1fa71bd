//! What the judge is told: percentages, endpoints, where counts come from.

use super::*;

#[test]
fn a_judge_wrong_in_every_way() {
    check_service(
        r#"
reversible = "no"

[service.api.plan.production.judge]
tolerated_increse = "20%"
tolerated_points = 0.1
tolerated_slowdown = "1001%"
false_rollbacks = "0.001%"
pass_increase = "5.25%"
latency_warmup = "2h"
undecided = "advanced"

[service.api.plan.test]
judge = "strict"
"#,
        expect![[r#"
            plimsoll.toml:4:14: `reversible` must be true or false, not a string
              4 | reversible = "no"
                |              ^^^^

            plimsoll.toml:7:1: unknown key "tolerated_increse" in judge
              7 | tolerated_increse = "20%"
                | ^^^^^^^^^^^^^^^^^
              help: did you mean `tolerated_increase`? known keys: tolerated_increase, tolerated_points, tolerated_slowdown, false_rollbacks, pass_increase, latency_warmup, undecided

            plimsoll.toml:8:20: `tolerated_points` must be a share with its unit
              8 | tolerated_points = 0.1
                |                    ^^^
              help: write it like "5%" or "0.5%", from 0% to 100%

            plimsoll.toml:9:22: `tolerated_slowdown` is out of range: "1001%"
              9 | tolerated_slowdown = "1001%"
                |                      ^^^^^^^
              help: use "0%" to "1000%"

            plimsoll.toml:10:19: `false_rollbacks` is out of range: "0.001%"
              10 | false_rollbacks = "0.001%"
                 |                   ^^^^^^^^
              help: use "0.01%" to "10%"

            plimsoll.toml:11:17: "5.25%" is finer than steps of 0.1%
              11 | pass_increase = "5.25%"
                 |                 ^^^^^^^
              help: write it like "20%" or "0.5%"

            plimsoll.toml:12:18: `latency_warmup` is out of range: "2h"
              12 | latency_warmup = "2h"
                 |                  ^^^^
              help: use "0s" to "1h"

            plimsoll.toml:13:13: unknown `undecided` "advanced"
              13 | undecided = "advanced"
                 |             ^^^^^^^^^^
              help: did you mean "advance"? use one of: hold, advance

            plimsoll.toml:16:9: `judge` must be a table, not a string
              16 | judge = "strict"
                 |         ^^^^^^^^
        "#]],
    );
}

#[test]
fn what_is_tolerated_must_be_able_to_pass() {
    check_service(
        r#"
[service.api.plan.production]
failure_budget = "0%"
[service.api.plan.production.judge]
tolerated_increase = "120%"
tolerated_points = "0.5%"
[service.api.plan.test]
requests_min = 10
[service.api.plan.test.judge]
tolerated_points = "1.1%"
"#,
        expect![[r#"
            plimsoll.toml:5:18: with a `failure_budget` of 0% no wave could ever pass
              5 | failure_budget = "0%"
                |                  ^^^^
              help: no number of requests shows that nothing fails; allow "0.1%", or set `requests_min = 0` to pass by health alone

            plimsoll.toml:7:22: `tolerated_increase` (120%) is more than `pass_increase` (100%)
              7 | tolerated_increase = "120%"
                |                      ^^^^^^
              help: what is tolerated must be able to pass: raise `pass_increase` ("100%" if absent), or tolerate less

            plimsoll.toml:8:20: `tolerated_points` (0.5 %) is more than `failure_budget` (0 %)
              8 | tolerated_points = "0.5%"
                |                    ^^^^^^
              help: what is tolerated must be able to pass: raise `failure_budget`, or tolerate less

            plimsoll.toml:12:20: `tolerated_points` (1.1 %) is more than `failure_budget` (1 %)
              12 | tolerated_points = "1.1%"
                 |                    ^^^^^^
              help: what is tolerated must be able to pass: raise `failure_budget`, or tolerate less
        "#]],
    );
    // Where health alone decides, no share of failures is needed to pass.
    good(&GOOD.replacen(
        "files = \"config\"\n",
        "files = \"config\"\nplan.production = { requests_min = 0, failure_budget = \"0%\" }\n",
        1,
    ));
}

#[test]
fn endpoints_wrong_in_every_way() {
    check_service(
        r#"
[[service.api.endpoint]]
name = "Orders"
methods = ["get", "PSOT", "PURGE"]
paths = ["orders", "/orders/*/items", "/orders?all=1", "/orders/*"]

[[service.api.endpoint]]
name = "orders"
methods = []

[[service.api.endpoint]]
name = "orders"

[[service.api.endpoint]]
name = "late"
path = ["/late"]

[[service.api.endpoint]]
name = "later"
paths = ["/later"]
"#,
        expect![[r#"
            plimsoll.toml:5:8: "Orders" is not a name for endpoints
              5 | name = "Orders"
                |        ^^^^^^^^
              help: use 1 to 32 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit

            plimsoll.toml:6:12: "get" is not a method
              6 | methods = ["get", "PSOT", "PURGE"]
                |            ^^^^^
              help: did you mean "GET"?

            plimsoll.toml:6:19: "PSOT" is not a method
              6 | methods = ["get", "PSOT", "PURGE"]
                |                   ^^^^^^
              help: did you mean "POST"?

            plimsoll.toml:7:10: "orders" is not a path of requests
              7 | paths = ["orders", "/orders/*/items", "/orders?all=1", "/orders/*"…
                |          ^^^^^^^^
              help: write it like "/orders" or "/orders/*", with `/` first

            plimsoll.toml:7:20: "/orders/*/items" is not a path of requests
              7 | paths = ["orders", "/orders/*/items", "/orders?all=1", "/orders/*"…
                |                    ^^^^^^^^^^^^^^^^^
              help: `*` stands for anything at the end, like "/orders/*", and nowhere else

            plimsoll.toml:7:39: "/orders?all=1" is not a path of requests
              7 | paths = ["orders", "/orders/*/items", "/orders?all=1", "/orders/*"…
                |                                       ^^^^^^^^^^^^^^^
              help: only the path is looked at; leave out what comes behind `?` or `#`

            plimsoll.toml:11:11: `methods` has 1 to 16 entries, not 0
              11 | methods = []
                 |           ^^
              help: write it like `methods = ["GET"]`, or leave it out: then all fit

            plimsoll.toml:14:8: endpoint "orders" is declared twice
              14 | name = "orders"
                 |        ^^^^^^^^
              help: it is first declared in line 10; give all its methods and paths there

            plimsoll.toml:18:1: unknown key "path" in endpoint
              18 | path = ["/late"]
                 | ^^^^
              help: did you mean `paths`? known keys: name, methods, paths, priority, retry

            plimsoll.toml:20:1: no request is left for this class: "orders" takes all
              20 | [[service.api.endpoint]]
                 | ^^^^^^^^^^^^^^^^^^^^^^^^
              help: the first class that fits counts; put this one before it
        "#]],
    );
    let many = "[[service.api.endpoint]]\nname = \"N\"\npaths = [\"/N\"]\n";
    let many: String = (0..9).map(|n| many.replace('N', &n.to_string())).collect();
    check_service(
        &many,
        expect![[r#"
        plimsoll.toml:3:15: 9 classes of endpoints; at most 8
          3 | [[service.api.endpoint]]
            |               ^^^^^^^^
          help: each is compared with itself, zone by zone: few and large ones show most
    "#]],
    );
    check_service(
        "[service.api.endpoint]\nname = \"a\"",
        expect![[r#"
        plimsoll.toml:3:1: `endpoint` must be a list of tables, not one table
          3 | [service.api.endpoint]
            | ^^^^^^^^^^^^^^^^^^^^^^
          help: write `[[service.NAME.endpoint]]` with two brackets
    "#]],
    );
}

#[test]
fn a_source_wrong_in_every_way() {
    check_service(
        r#"
[service.api.prometheus]
url = "prometheus:9090"
requests = ""
faild = "a"
every = "500ms"
environment = "prodution"
"#,
        expect![[r#"
            plimsoll.toml:5:7: "prometheus:9090" is not the URL of a server
              5 | url = "prometheus:9090"
                |       ^^^^^^^^^^^^^^^^^
              help: write it like "http://prometheus:9090"

            plimsoll.toml:6:12: this query is empty
              6 | requests = ""
                |            ^^
              help: write PromQL that gives running totals by host or bundle, like 'sum by (host) (http_requests_total)'

            plimsoll.toml:7:1: unknown key "faild" in prometheus
              7 | faild = "a"
                | ^^^^^
              help: did you mean `failed`? known keys: url, requests, failed, every, environment

            plimsoll.toml:8:9: `every` is out of range: "500ms"
              8 | every = "500ms"
                |         ^^^^^^^
              help: use "1s" to "5m"

            plimsoll.toml:9:15: unknown environment "prodution"
              9 | environment = "prodution"
                |               ^^^^^^^^^^^
              help: did you mean "production"?
        "#]],
    );
    check_service(
        "prometheus = { url = \"http://${host}:9090\" }",
        expect![[r#"
            plimsoll.toml:3:14: `requests` is missing in this source
              3 | prometheus = { url = "http://${host}:9090" }
                |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              help: add `requests = 'sum by (host) (http_requests_total{service="api"})'`

            plimsoll.toml:3:14: `failed` is missing in this source
              3 | prometheus = { url = "http://${host}:9090" }
                |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              help: add `failed = 'sum by (host) (http_requests_total{service="api", status=~"5.."})'`

            plimsoll.toml:3:22: "http://${host}:9090" is not the URL of a server
              3 | prometheus = { url = "http://${host}:9090" }
                |                      ^^^^^^^^^^^^^^^^^^^^^
              help: write it like "http://prometheus:9090", without `$` and `?`
        "#]],
    );
    check_service(
        "prometheus = { url = \"http://a b\", requests = \"a\", failed = \"b\" }",
        expect![[r#"
            plimsoll.toml:3:22: "http://a b" is not the URL of a server
              3 | prometheus = { url = "http://a b", requests = "a", failed = "b" }
                |                      ^^^^^^^^^^^^
              help: a URL has no spaces, control characters or letters outside ASCII
        "#]],
    );
    let source = "prometheus = { url = \"http://a:9090/\", requests = \"a\", failed = \"b\" }";
    let text = GOOD.replacen(
        "files = \"config\"\n",
        &format!("files = \"config\"\n{source}\n"),
        1,
    );
    let project = good(&text);
    let read = project.topology.services[&"api".parse().unwrap()]
        .prometheus
        .clone();
    let read = read.unwrap();
    assert_eq!(read.environment.as_str(), "production");
    assert_eq!(
        (read.url.as_str(), read.every_ms),
        ("http://a:9090", model::Millis::seconds(5))
    );
}
