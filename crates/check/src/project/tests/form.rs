//! Mistakes in the form: TOML, keys and types.

use expect_test::expect;

use super::*;

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
fn unknown_keys() {
    check_with(
        "[service.api]",
        "[services.api]",
        expect![[r#"
            plimsoll.toml:1:2: unknown key "services" in plimsoll.toml
              1 | [services.api]
                |  ^^^^^^^^
              help: did you mean `service`? known keys: service, environment, class, catalog, freeze
        "#]],
    );
    check_with(
        "zone = \"lab\"",
        "zone = \"lab\"\nroom = 1\n\"a\\u001bb\" = 2",
        expect![[r#"
            plimsoll.toml:9:1: unknown key "room" in host
              9 | room = 1
                | ^^^^
              help: known keys: name, zone, address, services, class

            plimsoll.toml:10:1: unknown key "a\u{1b}b" in host
              10 | "a\u001bb" = 2
                 | ^^^^^^^^^^
              help: known keys: name, zone, address, services, class
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
            plimsoll.toml:1:15: `service.api` must be a table, not a whole number
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
              help: write a whole number with its unit, like "500ms", "30s", "2m" or "1h"

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
