use expect_test::{Expect, expect};

use super::*;
use crate::render::render;

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
    let project = good(example.split("```").next().unwrap());
    expect![[r#"
        Project {
            topology: Topology {
                environments: [
                    Environment {
                        name: EnvironmentName(
                            "test",
                        ),
                        hosts: [
                            Host {
                                name: HostName(
                                    "test-1",
                                ),
                                zone: ZoneName(
                                    "lab",
                                ),
                                services: {
                                    ServiceName(
                                        "api",
                                    ): "10.0.0.5:8080",
                                },
                            },
                        ],
                    },
                    Environment {
                        name: EnvironmentName(
                            "production",
                        ),
                        hosts: [
                            Host {
                                name: HostName(
                                    "web-1",
                                ),
                                zone: ZoneName(
                                    "a",
                                ),
                                services: {
                                    ServiceName(
                                        "api",
                                    ): "10.1.0.1:8080",
                                },
                            },
                            Host {
                                name: HostName(
                                    "web-2",
                                ),
                                zone: ZoneName(
                                    "a",
                                ),
                                services: {
                                    ServiceName(
                                        "api",
                                    ): "10.1.0.2:8080",
                                },
                            },
                            Host {
                                name: HostName(
                                    "web-3",
                                ),
                                zone: ZoneName(
                                    "b",
                                ),
                                services: {
                                    ServiceName(
                                        "api",
                                    ): "10.1.1.3:8080",
                                },
                            },
                        ],
                    },
                ],
                services: {
                    ServiceName(
                        "api",
                    ): ServiceSpec {
                        tenant_header: Some(
                            "x-api-key",
                        ),
                    },
                },
            },
            services: {
                ServiceName(
                    "api",
                ): ServiceSource {
                    files: Some(
                        "config",
                    ),
                    packages: {
                        PackageName(
                            "server",
                        ): PackageSource {
                            version: "1.4.2",
                            archive: "dist/server-1.4.2.tar.gz",
                        },
                    },
                    commands: Commands {
                        check: Some(
                            Command {
                                run: [
                                    "packages/server/bin/server",
                                    "--check",
                                    "config.toml",
                                ],
                                deadline_ms: Millis(
                                    10000,
                                ),
                            },
                        ),
                        reload: Some(
                            Command {
                                run: [
                                    "systemctl",
                                    "reload",
                                    "api",
                                ],
                                deadline_ms: Millis(
                                    10000,
                                ),
                            },
                        ),
                        restart: Some(
                            Command {
                                run: [
                                    "systemctl",
                                    "restart",
                                    "api",
                                ],
                                deadline_ms: Millis(
                                    30000,
                                ),
                            },
                        ),
                        exits: Some(
                            Command {
                                run: [
                                    "systemctl",
                                    "show",
                                    "--property=NRestarts",
                                    "--value",
                                    "api",
                                ],
                                deadline_ms: Millis(
                                    10000,
                                ),
                            },
                        ),
                    },
                    health: Some(
                        HealthCheck {
                            probe: Http {
                                url: "http://${address}/healthz",
                                status: 200,
                            },
                            interval_ms: Millis(
                                1000,
                            ),
                            deadline_ms: Millis(
                                1000,
                            ),
                            grace_ms: Millis(
                                10000,
                            ),
                            threshold: 2,
                        },
                    ),
                    plan: Plan {
                        stages: {
                            EnvironmentName(
                                "production",
                            ): StagePlan {
                                waves: [
                                    WavePlan {
                                        hosts: Hosts {
                                            count: 1,
                                        },
                                        traffic_permille: Some(
                                            Permille(
                                                10,
                                            ),
                                        ),
                                    },
                                    WavePlan {
                                        hosts: ShareOfZone {
                                            permille: Permille(
                                                50,
                                            ),
                                        },
                                        traffic_permille: None,
                                    },
                                    WavePlan {
                                        hosts: Zone,
                                        traffic_permille: None,
                                    },
                                    WavePlan {
                                        hosts: EachZone,
                                        traffic_permille: None,
                                    },
                                ],
                                bake_ms: Millis(
                                    60000,
                                ),
                                bake_max_ms: Millis(
                                    1800000,
                                ),
                                requests_min: 100,
                                failure_budget_permille: Permille(
                                    10,
                                ),
                                parallel: 4,
                                confirm_within_ms: Millis(
                                    60000,
                                ),
                            },
                            EnvironmentName(
                                "test",
                            ): StagePlan {
                                waves: [
                                    WavePlan {
                                        hosts: All,
                                        traffic_permille: None,
                                    },
                                ],
                                bake_ms: Millis(
                                    10000,
                                ),
                                bake_max_ms: Millis(
                                    1800000,
                                ),
                                requests_min: 0,
                                failure_budget_permille: Permille(
                                    10,
                                ),
                                parallel: 4,
                                confirm_within_ms: Millis(
                                    60000,
                                ),
                            },
                        },
                    },
                },
            },
        }
    "#]]
    .assert_debug_eq(&project);
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
    expect![[r#"
        Project {
            topology: Topology {
                environments: [
                    Environment {
                        name: EnvironmentName(
                            "staging",
                        ),
                        hosts: [
                            Host {
                                name: HostName(
                                    "s1",
                                ),
                                zone: ZoneName(
                                    "lab",
                                ),
                                services: {
                                    ServiceName(
                                        "api",
                                    ): "[2001:db8::1]:80",
                                    ServiceName(
                                        "web.site",
                                    ): "s1.lab:81",
                                },
                            },
                            Host {
                                name: HostName(
                                    "s2",
                                ),
                                zone: ZoneName(
                                    "lab",
                                ),
                                services: {
                                    ServiceName(
                                        "api",
                                    ): "127.0.0.1:80",
                                },
                            },
                            Host {
                                name: HostName(
                                    "s3",
                                ),
                                zone: ZoneName(
                                    "lab",
                                ),
                                services: {
                                    ServiceName(
                                        "api",
                                    ): "127.0.0.1:80",
                                },
                            },
                        ],
                    },
                    Environment {
                        name: EnvironmentName(
                            "production",
                        ),
                        hosts: [
                            Host {
                                name: HostName(
                                    "p1",
                                ),
                                zone: ZoneName(
                                    "a",
                                ),
                                services: {
                                    ServiceName(
                                        "api",
                                    ): "10.1.0.1:65535",
                                    ServiceName(
                                        "web.site",
                                    ): "10.1.0.1:65535",
                                },
                            },
                            Host {
                                name: HostName(
                                    "p2",
                                ),
                                zone: ZoneName(
                                    "b",
                                ),
                                services: {
                                    ServiceName(
                                        "api",
                                    ): "10.1.0.2:1",
                                    ServiceName(
                                        "web.site",
                                    ): "10.1.0.2:1",
                                },
                            },
                        ],
                    },
                ],
                services: {
                    ServiceName(
                        "api",
                    ): ServiceSpec {
                        tenant_header: Some(
                            "x-api-key",
                        ),
                    },
                    ServiceName(
                        "web.site",
                    ): ServiceSpec {
                        tenant_header: None,
                    },
                },
            },
            services: {
                ServiceName(
                    "api",
                ): ServiceSource {
                    files: Some(
                        "config/api",
                    ),
                    packages: {},
                    commands: Commands {
                        check: Some(
                            Command {
                                run: [
                                    "bin/check",
                                    "${tree}/a",
                                ],
                                deadline_ms: Millis(
                                    500,
                                ),
                            },
                        ),
                        reload: Some(
                            Command {
                                run: [
                                    "kill",
                                    "-HUP",
                                    "$PID",
                                ],
                                deadline_ms: Millis(
                                    10000,
                                ),
                            },
                        ),
                        restart: None,
                        exits: None,
                    },
                    health: Some(
                        HealthCheck {
                            probe: Tcp {
                                address: "${address}",
                            },
                            interval_ms: Millis(
                                120000,
                            ),
                            deadline_ms: Millis(
                                3600000,
                            ),
                            grace_ms: Millis(
                                0,
                            ),
                            threshold: 1,
                        },
                    ),
                    plan: Plan {
                        stages: {
                            EnvironmentName(
                                "production",
                            ): StagePlan {
                                waves: [
                                    WavePlan {
                                        hosts: Hosts {
                                            count: 1,
                                        },
                                        traffic_permille: None,
                                    },
                                    WavePlan {
                                        hosts: ShareOfZone {
                                            permille: Permille(
                                                50,
                                            ),
                                        },
                                        traffic_permille: None,
                                    },
                                    WavePlan {
                                        hosts: Zone,
                                        traffic_permille: None,
                                    },
                                    WavePlan {
                                        hosts: EachZone,
                                        traffic_permille: None,
                                    },
                                ],
                                bake_ms: Millis(
                                    60000,
                                ),
                                bake_max_ms: Millis(
                                    1800000,
                                ),
                                requests_min: 100,
                                failure_budget_permille: Permille(
                                    10,
                                ),
                                parallel: 4,
                                confirm_within_ms: Millis(
                                    60000,
                                ),
                            },
                            EnvironmentName(
                                "staging",
                            ): StagePlan {
                                waves: [
                                    WavePlan {
                                        hosts: All,
                                        traffic_permille: None,
                                    },
                                ],
                                bake_ms: Millis(
                                    10000,
                                ),
                                bake_max_ms: Millis(
                                    1800000,
                                ),
                                requests_min: 0,
                                failure_budget_permille: Permille(
                                    10,
                                ),
                                parallel: 4,
                                confirm_within_ms: Millis(
                                    60000,
                                ),
                            },
                        },
                    },
                },
                ServiceName(
                    "web.site",
                ): ServiceSource {
                    files: None,
                    packages: {
                        PackageName(
                            "server",
                        ): PackageSource {
                            version: "2.0.0-rc.1+build.5",
                            archive: "dist/server.tar",
                        },
                    },
                    commands: Commands {
                        check: None,
                        reload: None,
                        restart: None,
                        exits: None,
                    },
                    health: Some(
                        HealthCheck {
                            probe: Command {
                                run: [
                                    "bin/healthy",
                                    "${host}",
                                    "${zone}",
                                    "${environment}",
                                    "${service}",
                                ],
                            },
                            interval_ms: Millis(
                                1000,
                            ),
                            deadline_ms: Millis(
                                1000,
                            ),
                            grace_ms: Millis(
                                10000,
                            ),
                            threshold: 2,
                        },
                    ),
                    plan: Plan {
                        stages: {
                            EnvironmentName(
                                "production",
                            ): StagePlan {
                                waves: [
                                    WavePlan {
                                        hosts: Hosts {
                                            count: 1,
                                        },
                                        traffic_permille: None,
                                    },
                                    WavePlan {
                                        hosts: ShareOfZone {
                                            permille: Permille(
                                                50,
                                            ),
                                        },
                                        traffic_permille: None,
                                    },
                                    WavePlan {
                                        hosts: Zone,
                                        traffic_permille: None,
                                    },
                                    WavePlan {
                                        hosts: EachZone,
                                        traffic_permille: None,
                                    },
                                ],
                                bake_ms: Millis(
                                    60000,
                                ),
                                bake_max_ms: Millis(
                                    1800000,
                                ),
                                requests_min: 100,
                                failure_budget_permille: Permille(
                                    10,
                                ),
                                parallel: 4,
                                confirm_within_ms: Millis(
                                    60000,
                                ),
                            },
                            EnvironmentName(
                                "staging",
                            ): StagePlan {
                                waves: [
                                    WavePlan {
                                        hosts: Hosts {
                                            count: 3,
                                        },
                                        traffic_permille: None,
                                    },
                                    WavePlan {
                                        hosts: Share {
                                            permille: Permille(
                                                200,
                                            ),
                                        },
                                        traffic_permille: None,
                                    },
                                    WavePlan {
                                        hosts: ShareOfZone {
                                            permille: Permille(
                                                5,
                                            ),
                                        },
                                        traffic_permille: Some(
                                            Permille(
                                                1000,
                                            ),
                                        ),
                                    },
                                    WavePlan {
                                        hosts: Share {
                                            permille: Permille(
                                                125,
                                            ),
                                        },
                                        traffic_permille: Some(
                                            Permille(
                                                0,
                                            ),
                                        ),
                                    },
                                    WavePlan {
                                        hosts: Zone,
                                        traffic_permille: None,
                                    },
                                    WavePlan {
                                        hosts: All,
                                        traffic_permille: Some(
                                            Permille(
                                                10,
                                            ),
                                        ),
                                    },
                                ],
                                bake_ms: Millis(
                                    0,
                                ),
                                bake_max_ms: Millis(
                                    604800000,
                                ),
                                requests_min: 0,
                                failure_budget_permille: Permille(
                                    5,
                                ),
                                parallel: 1,
                                confirm_within_ms: Millis(
                                    3600000,
                                ),
                            },
                        },
                    },
                },
            },
        }
    "#]]
    .assert_debug_eq(&project);
    good(include_str!("../../tests/valid/smallest.toml"));
}

#[test]
fn line_ends_and_a_byte_order_mark_change_nothing() {
    let project = good(GOOD);
    assert_eq!(good(&GOOD.replace('\n', "\r\n")), project);
    assert_eq!(good(&format!("\u{feff}{GOOD}")), project);
}

#[test]
fn an_empty_file() {
    check(
        "",
        expect![[r#"
        plimsoll.toml:1:1: the pipeline is empty: no environment is declared
          help: add `[[environment]]` with its name and hosts, `test` first and `production` last

        plimsoll.toml:1:1: no service is declared
          help: add `[service.NAME]` with the `files` or `packages` to release
    "#]],
    );
}

#[test]
fn malformed_toml() {
    check_with(
        "zone = \"lab\"",
        "zone = \"lab",
        expect![[r#"
        plimsoll.toml:8:12: not TOML: invalid basic string, expected `"`
          8 | zone = "lab
            |            ^
    "#]],
    );
    check_with(
        "[service.api]",
        "[service.api",
        expect![[r#"
        plimsoll.toml:1:13: not TOML: unclosed table, expected `]`
          1 | [service.api
            |             ^
    "#]],
    );
    check_with(
        "zone = \"lab\"",
        "zone = \"lab\"\nzone = \"a\"",
        expect![[r#"
            plimsoll.toml:9:1: not TOML: duplicate key
              9 | zone = "a"
                | ^^^^
        "#]],
    );
    check_with(
        "zone = \"lab\"",
        "zone lab",
        expect![[r#"
        plimsoll.toml:8:6: not TOML: key with no value, expected `=`
          8 | zone lab
            |      ^
    "#]],
    );
    check_with(
        "zone = \"lab\"",
        "zone =",
        expect![[r#"
        plimsoll.toml:8:7: not TOML: string values must be quoted, expected literal string
          8 | zone =
            |       ^
    "#]],
    );
    check_with(
        "[[environment]]\n",
        "[environment]\n",
        expect![[r#"
        plimsoll.toml:11:3: not TOML: duplicate key
          11 | [[environment]]
             |   ^^^^^^^^^^^
    "#]],
    );
}

#[test]
fn a_huge_file_is_not_read() {
    check(
        &"#".repeat(FILE_BYTES_MAX + 1),
        expect![[r#"
        plimsoll.toml:1:1: the file has 1048577 bytes; at most 1048576 are read
          1 | ##################################################################…
            | ^
          help: is this the right file?
    "#]],
    );
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
            plimsoll.toml:2:1: this service has nothing to release
              2 | [service.API]
                | ^^^^^^^^^^^^^
              help: add `files = "config"` (a folder), or packages, or both

            plimsoll.toml:2:10: "API" is not a service name
              2 | [service.API]
                |          ^^^
              help: use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit

            plimsoll.toml:3:1: unknown key "file" in service
              3 | file = "config"
                | ^^^^
              help: did you mean `files`? known keys: files, packages, commands, health, plan, tenant_header

            plimsoll.toml:4:17: "x api key" is not a header name
              4 | tenant_header = "x api key"
                |                 ^^^^^^^^^^^
              help: write the name alone, like "x-api-key"

            plimsoll.toml:7:9: the path "../config" leaves its folder by `..`
              7 | files = "../config"
                |         ^^^^^^^^^^^
              help: write a path below the folder of plimsoll.toml, like "config"

            plimsoll.toml:8:10: this health check asks nothing
              8 | health = { htpp = "x", interval = 5 }
                |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              help: add `http = "http://${address}/healthz"`, `tcp = "${address}"` or `command = [...]`

            plimsoll.toml:8:12: unknown key "htpp" in health
              8 | health = { htpp = "x", interval = 5 }
                |            ^^^^
              help: did you mean `http`? known keys: http, tcp, command, status, interval, deadline, grace, threshold

            plimsoll.toml:8:35: `interval` must be a duration with its unit
              8 | health = { htpp = "x", interval = 5 }
                |                                   ^
              help: write it like "500ms", "30s", "2m" or "1h"

            plimsoll.toml:9:6: unknown environment "prodution"
              9 | plan.prodution.bake = "soon"
                |      ^^^^^^^^^
              help: did you mean "production"?

            plimsoll.toml:9:23: "soon" is not a duration
              9 | plan.prodution.bake = "soon"
                |                       ^^^^^^
              help: write it like "500ms", "30s", "2m" or "1h"

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

#[test]
fn unknown_keys() {
    check_with(
        "[service.api]",
        "[services.api]",
        expect![[r#"
        plimsoll.toml:1:1: no service is declared
          1 | [services.api]
            | ^
          help: add `[service.NAME]` with the `files` or `packages` to release

        plimsoll.toml:1:2: unknown key "services" in plimsoll.toml
          1 | [services.api]
            |  ^^^^^^^^
          help: did you mean `service`? known keys: service, environment
    "#]],
    );
    check_with(
        "zone = \"lab\"",
        "zone = \"lab\"\nroom = 1\n\"a\\u001bb\" = 2",
        expect![[r#"
            plimsoll.toml:9:1: unknown key "room" in host
              9 | room = 1
                | ^^^^
              help: known keys: name, zone, address, services

            plimsoll.toml:10:1: unknown key "a\u{1b}b" in host
              10 | "a\u001bb" = 2
                 | ^^^^^^^^^^
              help: known keys: name, zone, address, services
        "#]],
    );
    check_service(
        "commands.chekc = []",
        expect![[r#"
        plimsoll.toml:3:10: unknown key "chekc" in commands
          3 | commands.chekc = []
            |          ^^^^^
          help: did you mean `check`? known keys: check, reload, restart, exits
    "#]],
    );
    check_service(
        "plan.test.waves = [{ host = \"1 host\" }]",
        expect![[r#"
        plimsoll.toml:3:20: `hosts` is missing in this wave
          3 | plan.test.waves = [{ host = "1 host" }]
            |                    ^^^^^^^^^^^^^^^^^^^
          help: add `hosts = "1 host"`

        plimsoll.toml:3:22: unknown key "host" in wave
          3 | plan.test.waves = [{ host = "1 host" }]
            |                      ^^^^
          help: did you mean `hosts`? known keys: hosts, traffic
    "#]],
    );
}

#[test]
fn wrong_types() {
    check(
        "service = 1\nenvironment = \"x\"",
        expect![[r#"
        plimsoll.toml:1:11: `service` must be a table, not a whole number
          1 | service = 1
            |           ^

        plimsoll.toml:2:15: `environment` must be a list, not a string
          2 | environment = "x"
            |               ^^^
    "#]],
    );
    check(
        "service.api = 1\nenvironment = [1]",
        expect![[r#"
        plimsoll.toml:1:15: `service` must be a table, not a whole number
          1 | service.api = 1
            |               ^

        plimsoll.toml:2:16: `environment` must be a table, not a whole number
          2 | environment = [1]
            |                ^
    "#]],
    );
    check(
        "[[service]]\n[environment]\nname = \"a\"",
        expect![[r#"
        plimsoll.toml:1:3: `service` must be a table, not a list
          1 | [[service]]
            |   ^^^^^^^

        plimsoll.toml:2:1: `environment` must be a list of tables, not one table
          2 | [environment]
            | ^^^^^^^^^^^^^
          help: write `[[environment]]` with two brackets
    "#]],
    );
    check_with(
        "files = \"config\"",
        "files = [\"config\"]",
        expect![[r#"
        plimsoll.toml:2:9: `files` must be a string, not a list
          2 | files = ["config"]
            |         ^^^^^^^^^^
    "#]],
    );
    check_with(
        "zone = \"lab\"",
        "zone = 2026-01-01",
        expect![[r#"
        plimsoll.toml:8:8: `zone` must be a string, not a date
          8 | zone = 2026-01-01
            |        ^^^^^^^^^^
    "#]],
    );
    check_with(
        "address = \"10.0.0.1:80\"",
        "services = \"10.0.0.1:80\"",
        expect![[r#"
            plimsoll.toml:9:12: `services` must be a table, not a string
              9 | services = "10.0.0.1:80"
                |            ^^^^^^^^^^^^^
        "#]],
    );
    check_service(
        "commands.check = \"bin/check a\"\ncommands.exits = [1]",
        expect![[r#"
            plimsoll.toml:3:18: `check` must be a list of program and arguments, not a string
              3 | commands.check = "bin/check a"
                |                  ^^^^^^^^^^^^^
              help: write it like ["bin/check", "config.toml"]: no shell parts or expands it

            plimsoll.toml:4:19: `exits` must be a string, not a whole number
              4 | commands.exits = [1]
                |                   ^
        "#]],
    );
    check_service(
        "health = { tcp = true, threshold = 2.0 }",
        expect![[r#"
        plimsoll.toml:3:18: `tcp` must be a string, not true or false
          3 | health = { tcp = true, threshold = 2.0 }
            |                  ^^^^

        plimsoll.toml:3:36: `threshold` must be a whole number, not a number with a fraction
          3 | health = { tcp = true, threshold = 2.0 }
            |                                    ^^^
    "#]],
    );
    check_service(
        "plan.test = { waves = \"all\", bake = 60, failure_budget = 0.01 }",
        expect![[r#"
            plimsoll.toml:3:23: `waves` must be a list, not a string
              3 | plan.test = { waves = "all", bake = 60, failure_budget = 0.01 }
                |                       ^^^^^

            plimsoll.toml:3:37: `bake` must be a duration with its unit
              3 | plan.test = { waves = "all", bake = 60, failure_budget = 0.01 }
                |                                     ^^
              help: write it like "500ms", "30s", "2m" or "1h"

            plimsoll.toml:3:58: `failure_budget` must be a share with its unit
              3 | plan.test = { waves = "all", bake = 60, failure_budget = 0.01 }
                |                                                          ^^^^
              help: write it like "5%" or "0.5%", from 0% to 100%
        "#]],
    );
    check_service(
        "plan.test.waves = [1]",
        expect![[r#"
        plimsoll.toml:3:20: `wave` must be a string like "1 host" or a table, not a whole number
          3 | plan.test.waves = [1]
            |                    ^
    "#]],
    );
}

#[test]
fn missing_keys() {
    check_with(
        "files = \"config\"\n",
        "",
        expect![[r#"
        plimsoll.toml:1:1: this service has nothing to release
          1 | [service.api]
            | ^^^^^^^^^^^^^
          help: add `files = "config"` (a folder), or packages, or both
    "#]],
    );
    check_with(
        "name = \"test\"\n",
        "",
        expect![[r#"
        plimsoll.toml:4:1: `name` is missing in this environment
          4 | [[environment]]
            | ^^^^^^^^^^^^^^^
          help: add `name = "test"`
    "#]],
    );
    check_with(
        "name = \"test-1\"\nzone = \"lab\"\naddress = \"10.0.0.1:80\"\n",
        "",
        expect![[r#"
            plimsoll.toml:6:1: `name` is missing in this host
              6 | [[environment.host]]
                | ^^^^^^^^^^^^^^^^^^^^
              help: add `name = "web-1"`

            plimsoll.toml:6:1: `zone` is missing in this host
              6 | [[environment.host]]
                | ^^^^^^^^^^^^^^^^^^^^
              help: add `zone = "a"`

            plimsoll.toml:6:1: `address` is missing in this host
              6 | [[environment.host]]
                | ^^^^^^^^^^^^^^^^^^^^
              help: add `address = "10.0.0.5:8080"`, or `services` with an address for each
        "#]],
    );
    check_service(
        "packages.server = {}\ncommands.check = { deadline = \"1s\" }",
        expect![[r#"
            plimsoll.toml:3:19: `version` is missing in this package
              3 | packages.server = {}
                |                   ^^
              help: add `version = "1.4.2"`

            plimsoll.toml:3:19: `archive` is missing in this package
              3 | packages.server = {}
                |                   ^^
              help: add `archive = "dist/server-1.4.2.tar.gz"`

            plimsoll.toml:4:18: `run` is missing in this command
              4 | commands.check = { deadline = "1s" }
                |                  ^^^^^^^^^^^^^^^^^^^
              help: add `run = ["bin/check"]`
        "#]],
    );
    check_service(
        "plan.test.waves = [{ traffic = \"1%\" }]\nhealth = {}",
        expect![[r#"
            plimsoll.toml:3:20: `hosts` is missing in this wave
              3 | plan.test.waves = [{ traffic = "1%" }]
                |                    ^^^^^^^^^^^^^^^^^^
              help: add `hosts = "1 host"`

            plimsoll.toml:4:10: this health check asks nothing
              4 | health = {}
                |          ^^
              help: add `http = "http://${address}/healthz"`, `tcp = "${address}"` or `command = [...]`
        "#]],
    );
}

#[test]
fn bad_names() {
    check_with(
        "name = \"test-1\"",
        "name = \"Test 1\"",
        expect![[r#"
        plimsoll.toml:7:8: "Test 1" is not a host name
          7 | name = "Test 1"
            |        ^^^^^^^^
          help: use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit
    "#]],
    );
    check_with(
        "name = \"production\"",
        "name = \"\"",
        expect![[r#"
        plimsoll.toml:12:8: "" is not a environment name
          12 | name = ""
             |        ^^
          help: use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit
    "#]],
    );
    check_with(
        "[service.api]",
        "[service.\"a/b\"]",
        expect![[r#"
        plimsoll.toml:1:10: "a/b" is not a service name
          1 | [service."a/b"]
            |          ^^^^^
          help: use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit
    "#]],
    );
}

#[test]
fn duplicates() {
    check_with(
        "name = \"web-1\"",
        "name = \"test-1\"",
        expect![[r#"
        plimsoll.toml:14:8: host "test-1" is declared twice
          14 | name = "test-1"
             |        ^^^^^^^^
          help: it is first declared in line 7; a host's name is unique over all environments
    "#]],
    );
    check_with(
        "name = \"production\"",
        "name = \"test\"",
        expect![[r#"
        plimsoll.toml:12:8: environment "test" is declared twice
          12 | name = "test"
             |        ^^^^^^
          help: it is first declared in line 5
    "#]],
    );
    check_with(
        "address = \"10.0.0.2:80\"",
        "address = \"10.0.0.1:80\"",
        expect![[r#"
            plimsoll.toml:16:11: the address "10.0.0.1:80" is taken
              16 | address = "10.0.0.1:80"
                 |           ^^^^^^^^^^^^^
              help: host "test-1" in line 6 has it
        "#]],
    );
}

#[test]
fn the_pipeline() {
    check(
        "[service.api]\nfiles = \"config\"",
        expect![[r#"
        plimsoll.toml:1:1: the pipeline is empty: no environment is declared
          1 | [service.api]
            | ^
          help: add `[[environment]]` with its name and hosts, `test` first and `production` last
    "#]],
    );
    check(
        "environment = []\n[service.api]\nfiles = \"config\"",
        expect![[r#"
            plimsoll.toml:1:1: the pipeline is empty: no environment is declared
              1 | environment = []
                | ^
              help: add `[[environment]]` with its name and hosts, `test` first and `production` last
        "#]],
    );
    let swapped = GOOD
        .replace("\"test\"", "\"later\"")
        .replace("\"production\"", "\"test\"");
    check(
        &swapped.replace("\"later\"", "\"production\""),
        expect![[r#"
            plimsoll.toml:5:8: "production" is not the last environment
              5 | name = "production"
                |        ^^^^^^^^^^^^
              help: a release passes the environments in the order of the file, so production comes last
        "#]],
    );
    check_with(
        "[[environment.host]]\nname = \"web-1\"\nzone = \"a\"\naddress = \"10.0.0.2:80\"\n",
        "",
        expect![[r#"
            plimsoll.toml:11:1: this environment has no hosts
              11 | [[environment]]
                 | ^^^^^^^^^^^^^^^
              help: add `[[environment.host]]` with name, zone and address below it
        "#]],
    );
}

#[test]
fn services_and_their_hosts() {
    check_with(
        "address = \"10.0.0.1:80\"",
        "services = { apy = \"10.0.0.1:80\" }",
        expect![[r#"
            plimsoll.toml:1:10: the service "api" has hosts in "production" but none in "test"
              1 | [service.api]
                |          ^^^
              help: a release must pass every earlier environment; give it a host there

            plimsoll.toml:9:14: unknown service "apy"
              9 | services = { apy = "10.0.0.1:80" }
                |              ^^^
              help: did you mean "api"?
        "#]],
    );
    check_with(
        "address = \"10.0.0.1:80\"",
        "services = {}",
        expect![[r#"
        plimsoll.toml:1:10: the service "api" has hosts in "production" but none in "test"
          1 | [service.api]
            |          ^^^
          help: a release must pass every earlier environment; give it a host there

        plimsoll.toml:9:12: this host runs no service
          9 | services = {}
            |            ^^
          help: write `services = { api = "10.0.0.5:8080" }`
    "#]],
    );
    check_with(
        "zone = \"lab\"",
        "zone = \"lab\"\nservices = { api = \"10.0.0.1:80\" }",
        expect![[r#"
            plimsoll.toml:9:12: a host has either `address` or `services`, not both
              9 | services = { api = "10.0.0.1:80" }
                |            ^^^^^^^^^^^^^^^^^^^^^^^
              help: `address` is the short form when every service listens there
        "#]],
    );
    let both = GOOD.replace("address = ", "services.api = ");
    check(
        &format!("service.web.files = \"web\"\n{both}"),
        expect![[r#"
            plimsoll.toml:1:9: no host runs the service "web"
              1 | service.web.files = "web"
                |         ^^^
              help: give a host its address: `services = { NAME = "10.0.0.5:8080" }`
        "#]],
    );
}

#[test]
fn addresses() {
    for bad in [
        "10.0.0.1",
        "http://10.0.0.1:80",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:+80",
        "10.0.0.999:80",
        "2001:db8::1:80",
        "[2001:db8::g]:80",
        ":80",
        "a b:80",
        "a..b:80",
        "${host}:80",
    ] {
        let text = GOOD.replace("10.0.0.1:80", bad);
        let problems = parse("plimsoll.toml", &text).unwrap_err();
        assert_eq!(problems.as_slice().len(), 1, "{bad}: {problems}");
        assert_eq!(
            (problems.as_slice()[0].line, problems.as_slice()[0].column),
            (9, 11)
        );
    }
    check_with(
        "10.0.0.1:80",
        "http://10.0.0.1:80",
        expect![[r#"
        plimsoll.toml:9:11: "http://10.0.0.1:80" is not an address
          9 | address = "http://10.0.0.1:80"
            |           ^^^^^^^^^^^^^^^^^^^^
          help: write `host:port` without a scheme, like "10.0.0.5:8080"
    "#]],
    );
}

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
              help: use 1 ms to 60 min

            plimsoll.toml:4:45: `deadline` is out of range: "61m"
              4 | commands.reload = { run = ["a"], deadline = "61m" }
                |                                             ^^^^^
              help: use 1 ms to 60 min

            plimsoll.toml:5:46: "1.5s" is not a duration
              5 | commands.restart = { run = ["a"], deadline = "1.5s" }
                |                                              ^^^^^^
              help: write it like "500ms", "30s", "2m" or "1h"

            plimsoll.toml:6:44: "99999999999h" is not a duration
              6 | commands.exits = { run = ["a"], deadline = "99999999999h" }
                |                                            ^^^^^^^^^^^^^^
              help: write it like "500ms", "30s", "2m" or "1h"
        "#]],
    );
    check_service(
        "plan.production = { bake = \"1h\" }\nplan.test = { bake = \"1m\", bake_max = \"30s\" }",
        expect![[r#"
            plimsoll.toml:3:28: `bake` (60 min) is longer than `bake_max` (30 min)
              3 | plan.production = { bake = "1h" }
                |                            ^^^^
              help: a wave is held after `bake_max` (30m if absent), so it must be the longer one

            plimsoll.toml:4:39: `bake` (60 s) is longer than `bake_max` (30 s)
              4 | plan.test = { bake = "1m", bake_max = "30s" }
                |                                       ^^^^^
              help: a wave is held after `bake_max` (30m if absent), so it must be the longer one
        "#]],
    );
    check_service(
        "plan.production = { bake = \"5 s\", bake_max = \"200h\", confirm_within = \"2h\" }",
        expect![[r#"
            plimsoll.toml:3:28: "5 s" is not a duration
              3 | …n.production = { bake = "5 s", bake_max = "200h", confirm_within =…
                |                          ^^^^^
              help: write it like "500ms", "30s", "2m" or "1h"

            plimsoll.toml:3:46: `bake_max` is out of range: "200h"
              3 | …ake = "5 s", bake_max = "200h", confirm_within = "2h" }
                |                          ^^^^^^
              help: use 0 ms to 168 h 0 min

            plimsoll.toml:3:71: `confirm_within` is out of range: "2h"
              3 | …200h", confirm_within = "2h" }
                |                          ^^^^
              help: use 1 ms to 60 min
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
              3 | …st = { failure_budget = "101%", parallel = 0, requests_min = -1 }
                |                          ^^^^^^
              help: write it like "5%" or "0.5%", from 0% to 100%

            plimsoll.toml:3:51: `parallel` is out of range: 0
              3 | …et = "101%", parallel = 0, requests_min = -1 }
                |                          ^
              help: use 1 to 10000

            plimsoll.toml:3:69: `requests_min` is out of range: -1
              3 | …lel = 0, requests_min = -1 }
                |                          ^^
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
              4 | … "one host", "0 hosts", "0% of zone", "zones", "5", "1 host at 200…
                |                          ^^^^^^^^^^^^
              help: write "1 host", "3 hosts", "5% of zone", "20%", "zone", "each zone" or "all", each with " at 1%" behind it if you like

            plimsoll.toml:4:42: "zones" is not a wave
              4 | …0 hosts", "0% of zone", "zones", "5", "1 host at 200%", "1 host at…
                |                          ^^^^^^^
              help: write "1 host", "3 hosts", "5% of zone", "20%", "zone", "each zone" or "all", each with " at 1%" behind it if you like

            plimsoll.toml:4:51: "5" is not a wave
              4 | … "0% of zone", "zones", "5", "1 host at 200%", "1 host at", "99999…
                |                          ^^^
              help: write "1 host", "3 hosts", "5% of zone", "20%", "zone", "each zone" or "all", each with " at 1%" behind it if you like

            plimsoll.toml:4:56: "200%" is more than everything
              4 | …of zone", "zones", "5", "1 host at 200%", "1 host at", "999999999 …
                |                          ^^^^^^^^^^^^^^^^
              help: write it like "5%" or "0.5%", from 0% to 100%

            plimsoll.toml:4:74: "1 host at" is not a wave
              4 | … "5", "1 host at 200%", "1 host at", "999999999 hosts", " hosts",
                |                          ^^^^^^^^^^^
              help: write "1 host", "3 hosts", "5% of zone", "20%", "zone", "each zone" or "all", each with " at 1%" behind it if you like

            plimsoll.toml:4:87: "999999999 hosts" is more hosts than any fleet has
              4 | … at 200%", "1 host at", "999999999 hosts", " hosts",
                |                          ^^^^^^^^^^^^^^^^^
              help: use at most 100000, or "all"

            plimsoll.toml:4:106: " hosts" is not a wave
              4 | …at", "999999999 hosts", " hosts",
                |                          ^^^^^^^^
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
              3 | …k = ["a", "${HOME}/x", "${adress}", "${tree", "b\u0000"]
                |                          ^^^^^^^^^
              help: did you mean `${address}`? known placeholders: ${address}, ${host}, ${zone}, ${environment}, ${service}, ${tree} (there is no shell and no environment variable)

            plimsoll.toml:3:51: `${` is never closed by `}`
              3 | …HOME}/x", "${adress}", "${tree", "b\u0000"]
                |                          ^^
              help: known placeholders: ${address}, ${host}, ${zone}, ${environment}, ${service}, ${tree}

            plimsoll.toml:3:60: an argument can't hold a NUL character
              3 | … "${adress}", "${tree", "b\u0000"]
                |                          ^^^^^^^^^
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
    for bad in [
        "healthz",
        "ftp://${address}/",
        "http:///healthz",
        "http://${address}:80/",
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
