//! Mistakes inside values.

use expect_test::expect;

use super::*;

#[test]
fn paths() {
    for (path, reason) in [
        ("/etc", "is absolute"),
        ("~/config", "is absolute"),
        ("C:/config", "is absolute"),
        ("a/../../b", "leaves its folder"),
        ("..", "leaves its folder"),
        ("a\\\\b", "holds a backslash"),
        ("a\\u0000b", "holds a backslash or control"),
        ("", "names no folder"),
        ("./", "names no folder"),
    ] {
        let text = GOOD.replace("\"config\"", &format!("\"{path}\""));
        let problems = parse("plimsoll.toml", &text).unwrap_err();
        assert!(problems.to_string().contains(reason), "{path}: {problems}");
    }
    check_service(
        "packages.a = { version = \"\", archive = \"/a.zip\" }",
        expect![[r#"
            plimsoll.toml:3:26: "" is not a version
              3 | packages.a = { version = "", archive = "/a.zip" }
                |                          ^^
              help: use 1 to 64 visible ASCII characters without `/`, like "1.4.2"

            plimsoll.toml:3:40: the path "/a.zip" is absolute
              3 | packages.a = { version = "", archive = "/a.zip" }
                |                                        ^^^^^^^^
              help: write a path below the folder of plimsoll.toml, like "config"
        "#]],
    );
    check_service(
        "packages.a = { version = \"1/2\", archive = \"a.zip\" }",
        expect![[r#"
            plimsoll.toml:3:26: "1/2" is not a version
              3 | packages.a = { version = "1/2", archive = "a.zip" }
                |                          ^^^^^
              help: use 1 to 64 visible ASCII characters without `/`, like "1.4.2"

            plimsoll.toml:3:43: "a.zip" is not a tar archive by its name
              3 | packages.a = { version = "1/2", archive = "a.zip" }
                |                                           ^^^^^^^
              help: packages are `.tar` or `.tar.gz` files
        "#]],
    );
}

#[test]
fn durations_and_deadlines() {
    check_service(
        "commands.check = { run = [\"a\"], deadline = \"0s\" }\n\
         commands.reload = { run = [\"a\"], deadline = \"61m\" }\n\
         commands.restart = { run = [\"a\"], deadline = \"1.5s\" }\n\
         commands.exits = { run = [\"a\"], deadline = \"99999999999h\" }",
        expect![[r#"
            plimsoll.toml:3:44: `deadline` is out of range: "0s"
              3 | commands.check = { run = ["a"], deadline = "0s" }
                |                                            ^^^^
              help: use "1ms" to "1h"

            plimsoll.toml:4:45: `deadline` is out of range: "61m"
              4 | commands.reload = { run = ["a"], deadline = "61m" }
                |                                             ^^^^^
              help: use "1ms" to "1h"

            plimsoll.toml:5:46: "1.5s" is not a duration
              5 | commands.restart = { run = ["a"], deadline = "1.5s" }
                |                                              ^^^^^^
              help: write a whole number with its unit, like "500ms", "30s", "2m" or "1h"

            plimsoll.toml:6:44: "99999999999h" is not a duration
              6 | commands.exits = { run = ["a"], deadline = "99999999999h" }
                |                                            ^^^^^^^^^^^^^^
              help: write a whole number with its unit, like "500ms", "30s", "2m" or "1h"
        "#]],
    );
    check_service(
        "plan.production = { bake = \"1h\" }\nplan.test = { bake = \"1m\", bake_max = \"30s\" }",
        expect![[r#"
            plimsoll.toml:3:28: `bake` ("1h") is longer than `bake_max` ("30m")
              3 | plan.production = { bake = "1h" }
                |                            ^^^^
              help: a wave is held after `bake_max` ("30m" if absent), so it can't be the shorter one

            plimsoll.toml:4:39: `bake` ("1m") is longer than `bake_max` ("30s")
              4 | plan.test = { bake = "1m", bake_max = "30s" }
                |                                       ^^^^^
              help: a wave is held after `bake_max` ("30m" if absent), so it can't be the shorter one
        "#]],
    );
    check_service(
        "plan.production = { bake = \"5 s\", bake_max = \"200h\", confirm_within = \"2h\" }",
        expect![[r#"
            plimsoll.toml:3:28: "5 s" is not a duration
              3 | plan.production = { bake = "5 s", bake_max = "200h", confirm_withi…
                |                            ^^^^^
              help: write a whole number with its unit, like "500ms", "30s", "2m" or "1h"

            plimsoll.toml:3:46: `bake_max` is out of range: "200h"
              3 | plan.production = { bake = "5 s", bake_max = "200h", confirm_withi…
                |                                              ^^^^^^
              help: use "0s" to "168h"

            plimsoll.toml:3:71: `confirm_within` is out of range: "2h"
              3 | …ction = { bake = "5 s", bake_max = "200h", confirm_within = "2h" }
                |                                                              ^^^^
              help: use "1ms" to "1h"
        "#]],
    );
}

#[test]
fn shares_and_counts() {
    check_service(
        "plan.test = { failure_budget = \"101%\", parallel = 0, requests_min = -1 }\n\
         plan.production = { failure_budget = \"0.05%\", parallel = 99999 }",
        expect![[r#"
            plimsoll.toml:3:32: "101%" is more than everything
              3 | plan.test = { failure_budget = "101%", parallel = 0, requests_min …
                |                                ^^^^^^
              help: write it like "5%" or "0.5%", from 0% to 100%

            plimsoll.toml:3:51: `parallel` is out of range: 0
              3 | plan.test = { failure_budget = "101%", parallel = 0, requests_min …
                |                                                   ^
              help: use 1 to 10000

            plimsoll.toml:3:69: `requests_min` is out of range: -1
              3 | …est = { failure_budget = "101%", parallel = 0, requests_min = -1 }
                |                                                                ^^
              help: use 0 to 1000000000

            plimsoll.toml:4:38: "0.05%" is finer than steps of 0.1%
              4 | plan.production = { failure_budget = "0.05%", parallel = 99999 }
                |                                      ^^^^^^^
              help: write it like "5%" or "0.5%", from 0% to 100%

            plimsoll.toml:4:58: `parallel` is out of range: 99999
              4 | plan.production = { failure_budget = "0.05%", parallel = 99999 }
                |                                                          ^^^^^
              help: use 1 to 10000
        "#]],
    );
}

#[test]
fn waves() {
    check_service(
        r#"plan.production.waves = [
    "one host", "0 hosts", "0% of zone", "zones", "5", "1 host at 200%", "1 host at", "999999999 hosts", " hosts",
]"#,
        expect![[r#"
            plimsoll.toml:4:5: "one host" is not a wave
              4 |     "one host", "0 hosts", "0% of zone", "zones", "5", "1 host at …
                |     ^^^^^^^^^^
              help: write "1 host", "3 hosts", "5% of zone", "20%", "zone", "each zone" or "all", each with " at 1%" behind it if you like

            plimsoll.toml:4:17: "0 hosts" is a wave of nothing
              4 |     "one host", "0 hosts", "0% of zone", "zones", "5", "1 host at …
                |                 ^^^^^^^^^
              help: write "1 host", "3 hosts", "5% of zone", "20%", "zone", "each zone" or "all", each with " at 1%" behind it if you like

            plimsoll.toml:4:28: "0% of zone" is a wave of nothing
              4 |     "one host", "0 hosts", "0% of zone", "zones", "5", "1 host at …
                |                            ^^^^^^^^^^^^
              help: write "1 host", "3 hosts", "5% of zone", "20%", "zone", "each zone" or "all", each with " at 1%" behind it if you like

            plimsoll.toml:4:42: "zones" is not a wave
              4 |     "one host", "0 hosts", "0% of zone", "zones", "5", "1 host at …
                |                                          ^^^^^^^
              help: write "1 host", "3 hosts", "5% of zone", "20%", "zone", "each zone" or "all", each with " at 1%" behind it if you like

            plimsoll.toml:4:51: "5" is not a wave
              4 |     "one host", "0 hosts", "0% of zone", "zones", "5", "1 host at …
                |                                                   ^^^
              help: write "1 host", "3 hosts", "5% of zone", "20%", "zone", "each zone" or "all", each with " at 1%" behind it if you like

            plimsoll.toml:4:67: "200%" is more than everything
              4 | …zones", "5", "1 host at 200%", "1 host at", "999999999 hosts", " h…
                |                          ^^^^
              help: write it like "5%" or "0.5%", from 0% to 100%

            plimsoll.toml:4:74: "1 host at" is not a wave
              4 | …, "5", "1 host at 200%", "1 host at", "999999999 hosts", " hosts",
                |                           ^^^^^^^^^^^
              help: write "1 host", "3 hosts", "5% of zone", "20%", "zone", "each zone" or "all", each with " at 1%" behind it if you like

            plimsoll.toml:4:87: "999999999 hosts" is more hosts than any fleet has
              4 | …, "5", "1 host at 200%", "1 host at", "999999999 hosts", " hosts",
                |                                        ^^^^^^^^^^^^^^^^^
              help: use at most 100000, or "all"

            plimsoll.toml:4:106: " hosts" is not a wave
              4 | …, "5", "1 host at 200%", "1 host at", "999999999 hosts", " hosts",
                |                                                           ^^^^^^^^
              help: write "1 host", "3 hosts", "5% of zone", "20%", "zone", "each zone" or "all", each with " at 1%" behind it if you like
        "#]],
    );
    check_service(
        "plan.production.waves = [\"each zone\", \"zone\"]\nplan.test.waves = []",
        expect![[r#"
            plimsoll.toml:3:39: no host is left for this wave: wave 1 takes all
              3 | plan.production.waves = ["each zone", "zone"]
                |                                       ^^^^^^
              help: leave it out, or put it earlier

            plimsoll.toml:4:19: a plan has 1 to 1000 waves, not 0
              4 | plan.test.waves = []
                |                   ^^
              help: for a single wave write `waves = ["all"]`
        "#]],
    );
}

#[test]
fn commands() {
    check_service(
        "commands.check = []\ncommands.reload = [\"\"]\ncommands.exits = { run = [\" \"] }",
        expect![[r#"
            plimsoll.toml:3:18: `check` names no program
              3 | commands.check = []
                |                  ^^
              help: write it like ["bin/check", "config.toml"]

            plimsoll.toml:4:20: `reload` names no program
              4 | commands.reload = [""]
                |                    ^^
              help: write it like ["bin/check", "config.toml"]

            plimsoll.toml:5:27: `run` names no program
              5 | commands.exits = { run = [" "] }
                |                           ^^^
              help: write it like ["bin/check", "config.toml"]
        "#]],
    );
    check_service(
        "commands.check = [\"a\", \"${HOME}/x\", \"${adress}\", \"${tree\", \"b\\u0000\"]",
        expect![[r#"
            plimsoll.toml:3:25: unknown placeholder "${HOME}"
              3 | commands.check = ["a", "${HOME}/x", "${adress}", "${tree", "b\u000…
                |                         ^^^^^^^
              help: known placeholders: ${address}, ${host}, ${zone}, ${environment}, ${service}, ${tree} (there is no shell and no environment variable)

            plimsoll.toml:3:38: unknown placeholder "${adress}"
              3 | commands.check = ["a", "${HOME}/x", "${adress}", "${tree", "b\u000…
                |                                      ^^^^^^^^^
              help: did you mean `${address}`? known placeholders: ${address}, ${host}, ${zone}, ${environment}, ${service}, ${tree} (there is no shell and no environment variable)

            plimsoll.toml:3:51: `${` is never closed by `}`
              3 | commands.check = ["a", "${HOME}/x", "${adress}", "${tree", "b\u000…
                |                                                   ^^
              help: known placeholders: ${address}, ${host}, ${zone}, ${environment}, ${service}, ${tree}

            plimsoll.toml:3:60: an argument can't hold a NUL character
              3 | …mands.check = ["a", "${HOME}/x", "${adress}", "${tree", "b\u0000"]
                |                                                          ^^^^^^^^^
        "#]],
    );
}

#[test]
fn health() {
    check_service(
        "health = { http = \"http://${address}/\", tcp = \"x\", status = 99 }",
        expect![[r#"
            plimsoll.toml:3:47: a health check has one probe: `http` or `tcp`
              3 | health = { http = "http://${address}/", tcp = "x", status = 99 }
                |                                               ^^^
              help: leave one of them out

            plimsoll.toml:3:47: "x" is not an address
              3 | health = { http = "http://${address}/", tcp = "x", status = 99 }
                |                                               ^^^
              help: write `host:port`, most often just "${address}"

            plimsoll.toml:3:61: `status` is out of range: 99
              3 | health = { http = "http://${address}/", tcp = "x", status = 99 }
                |                                                             ^^
              help: use 100 to 599
        "#]],
    );
    check_service(
        "health = { command = [\"a\"], status = 200, threshold = 0 }",
        expect![[r#"
            plimsoll.toml:3:38: `status` goes with `http` only
              3 | health = { command = ["a"], status = 200, threshold = 0 }
                |                                      ^^^
              help: leave it out

            plimsoll.toml:3:55: `threshold` is out of range: 0
              3 | health = { command = ["a"], status = 200, threshold = 0 }
                |                                                       ^
              help: use 1 to 1000
        "#]],
    );
    check_service(
        "health.tcp = \"${address}0\"",
        expect![[r#"
        plimsoll.toml:3:14: "${address}0" is not an address
          3 | health.tcp = "${address}0"
            |              ^^^^^^^^^^^^^
          help: write `host:port`, most often just "${address}"
    "#]],
    );
    for bad in [
        "healthz",
        "ftp://${address}/",
        "http:///healthz",
        "http://${address}:80/",
        "http://${address}0/",
        "http://a${address}/",
        "http://${tree}/",
        "http://user:pw@${address}/",
        "http://${address}/a b",
        "http://${address}/#a",
        "http://10.0.0.1:99999/",
        "http://ä/",
        "http://[::1/",
    ] {
        let text = format!(
            "service.api.health.http = {bad:?}\n{}",
            GOOD.replace("[service.api]\n", "service.api.")
        );
        let problems = parse("plimsoll.toml", &text).unwrap_err();
        assert_eq!(problems.as_slice().len(), 1, "{bad}: {problems}");
        assert!(
            problems.to_string().contains("is not a URL to probe"),
            "{problems}"
        );
    }
    for fine in [
        "http://localhost/",
        "https://${host}.example.org:8443/h?z=${zone}",
        "http://[::1]:80",
    ] {
        good(&format!(
            "service.api.health.http = {fine:?}\n{}",
            GOOD.replace("[service.api]\n", "service.api.")
        ));
    }
}

#[test]
fn an_error_budget() {
    let project = good(&GOOD.replacen(
        "files = \"config\"\n",
        "files = \"config\"\nerror_budget = { failed_max = \"0.1%\", window = \"6h\" }\n",
        1,
    ));
    let spec = project.topology.services.values().next().unwrap();
    let budget = spec.error_budget.as_ref().unwrap();
    assert_eq!(budget.failed_permille_max.get(), 1);
    assert_eq!(budget.window_ms, model::Millis::seconds(6 * 3600));
    assert_eq!(budget.requests_min, 100);
    check_service(
        "error_budget = { window = \"48h\", requests_min = 0 }",
        expect![[r#"
            plimsoll.toml:3:16: `failed_max` is missing in an error budget
              3 | error_budget = { window = "48h", requests_min = 0 }
                |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              help: add `failed_max = "0.1%"`

            plimsoll.toml:3:27: `window` is out of range: "48h"
              3 | error_budget = { window = "48h", requests_min = 0 }
                |                           ^^^^^
              help: use "1m" to "24h"

            plimsoll.toml:3:49: `requests_min` is out of range: 0
              3 | error_budget = { window = "48h", requests_min = 0 }
                |                                                 ^
              help: use 1 to 1000000000
        "#]],
    );
}

#[test]
fn how_requests_are_carried() {
    check_service(
        "workers = 0\ndeadline = \"9ms\"\ntenant_header = \"x-who\"\npriority_header = \"X-Who\"\n\
         endpoint = [{ name = \"a\", priority = \"cirtical\", retry = \"twice\" }]",
        expect![[r#"
            plimsoll.toml:3:11: `workers` is out of range: 0
              3 | workers = 0
                |           ^
              help: use 1 to 10000

            plimsoll.toml:4:12: `deadline` is out of range: "9ms"
              4 | deadline = "9ms"
                |            ^^^^^
              help: use "10ms" to "1h"

            plimsoll.toml:6:19: "x-who" names the customer already
              6 | priority_header = "X-Who"
                |                   ^^^^^^^
              help: `priority_header` and `tenant_header` are two headers

            plimsoll.toml:7:38: unknown `priority` "cirtical"
              7 | endpoint = [{ name = "a", priority = "cirtical", retry = "twice" }…
                |                                      ^^^^^^^^^^
              help: did you mean "critical"? use one of: critical, normal, background

            plimsoll.toml:7:58: unknown `retry` "twice"
              7 | endpoint = [{ name = "a", priority = "cirtical", retry = "twice" }…
                |                                                          ^^^^^^^
              help: use one of: never, idempotent, always
        "#]],
    );
    check_service(
        "workers = \"8\"\ndeadline = 5",
        expect![[r#"
        plimsoll.toml:3:11: "8" is no number of workers
          3 | workers = "8"
            |           ^^^
          help: write a number like 8, "auto" or "off"

        plimsoll.toml:4:12: `deadline` must be a duration with its unit
          4 | deadline = 5
            |            ^
          help: write a whole number with its unit, like "500ms", "30s", "2m" or "1h"
    "#]],
    );
    check_service(
        "workers = 1.5",
        expect![[r#"
        plimsoll.toml:3:11: `workers` must be a number or a word, not a number with a fraction
          3 | workers = 1.5
            |           ^^^
          help: write a number like 8, "auto" or "off"
    "#]],
    );
    let lines = "files = \"config\"\nworkers = \"off\"\ndeadline = \"5s\"\n\
                 priority_header = \"X-Priority\"\n\
                 endpoint = [{ name = \"pay\", priority = \"critical\", retry = \"never\" }]\n";
    let text = GOOD.replacen("files = \"config\"\n", lines, 1);
    let project = good(&text);
    let spec = &project.topology.services[&"api".parse().unwrap()];
    let expected = model::Serving {
        workers: Some(model::Workers::Off),
        deadline_ms: Some(model::Millis::seconds(5)),
        priority_header: Some("x-priority".to_owned()),
        ..model::Serving::default()
    };
    assert_eq!(spec.serving, expected);
    let class = &spec.endpoints[0];
    assert_eq!(class.priority, model::Priority::Critical);
    assert_eq!(class.retry, model::Retry::Never);
}

#[test]
fn how_hosts_are_spoken_to() {
    check_service(
        "upstream = \"tls\"\nupstream_protocol = \"http2\"\nupstream_name = \"api:443\"",
        expect![[r#"
            plimsoll.toml:3:12: unknown `upstream` "tls"
              3 | upstream = "tls"
                |            ^^^^^
              help: use one of: http, https

            plimsoll.toml:4:21: unknown `upstream_protocol` "http2"
              4 | upstream_protocol = "http2"
                |                     ^^^^^^^
              help: use one of: http/1.1, h2

            plimsoll.toml:5:17: "api:443" is no name of a server
              5 | upstream_name = "api:443"
                |                 ^^^^^^^^^
              help: write the name in its certificate, like "api.internal", without a port
        "#]],
    );
    check_service(
        "upstream_name = \"api.internal\"",
        expect![[r#"
        plimsoll.toml:3:17: `upstream_name` goes with `upstream = "https"` only
          3 | upstream_name = "api.internal"
            |                 ^^^^^^^^^^^^^^
          help: leave it out, or add the other
    "#]],
    );
    check_service(
        "upsteam = \"https\"\nupstream_name = \"api.internal\"",
        expect![[r#"
            plimsoll.toml:3:1: unknown key "upsteam" in service.api
              3 | upsteam = "https"
                | ^^^^^^^
              help: did you mean `upstream`? known keys: files, packages, commands, health, plan, reversible, tenant_header, workers, deadline, priority_header, upstream, upstream_protocol, upstream_name, endpoint, prometheus, error_budget, requires, checks
        "#]],
    );
    let lines = "files = \"config\"\nupstream = \"https\"\nupstream_protocol = \"h2\"\n\
                 upstream_name = \"api.internal\"\n";
    let project = good(&GOOD.replacen("files = \"config\"\n", lines, 1));
    let spec = &project.topology.services[&"api".parse().unwrap()];
    let expected = model::serving::UpstreamSpec {
        tls: true,
        protocol: model::serving::Protocol::Http2,
        server_name: Some("api.internal".to_owned()),
    };
    assert_eq!(spec.serving.upstream, expected);
}
