//! Rules, packages, classes, the catalog and freezes.

use super::*;

#[test]
fn rules_wrong_in_every_way() {
    check_service(
        r#"
[service.api.checks]
schemas = { "/service.toml" = "schemas/a.json", "a.toml" = "../a.json" }
egress = ["10.0.0.0/8", "http://internal"]
literals = ["auth/key"]
hostile = "no"
matrix = "requires"
approvals = 11
attestation_valid = "24"
rehearsal = { load = { url = "http://${adress}/", rate = 0 }, revert_within = "2h" }
polices = []

[[service.api.checks.policy]]
name = "threads"
when = ""
severity = "denied"

[[service.api.checks.policy]]
name = "threads"
file = "a**"
when = "true"
severity = "warn"
message = "two\nlines"

[[service.api.checks.guard]]
file = "prices.csv"
rows_at = "/prices"

[[service.api.checks.guard]]
file = "prices.csv"
size_max = "10MB"
shrink_max = "120%"
growth_max = 200
rows_min = 10
rows_max = 1
keep = "/auth"

[[service.api.checks.reference]]
file = "service.toml"
at = "/auth/address"
kind = "htpp"
from = ["*", "prod"]

[[service.api.checks.reference]]
at = "auth"
kind = "tcp"
path = "authenticate"
status = 200
deadline = "61s"

[service.api.checks.risk]
file = "service.toml"
"#,
        expect![[r#"
            plimsoll.toml:5:13: "/service.toml" is no path pattern: it begins with `/`; paths in a bundle are relative
              5 | schemas = { "/service.toml" = "schemas/a.json", "a.toml" = "../a.j…
                |             ^^^^^^^^^^^^^^^
              help: write a path in the bundle; `*` is anything in one folder, `**` any folders

            plimsoll.toml:5:60: the path "../a.json" leaves its folder by `..`
              5 | …s = { "/service.toml" = "schemas/a.json", "a.toml" = "../a.json" }
                |                                                       ^^^^^^^^^^^
              help: write a path below the folder of plimsoll.toml, like "config"

            plimsoll.toml:6:25: "http://internal" names no places: the port must be a number from 1 to 65535
              6 | egress = ["10.0.0.0/8", "http://internal"]
                |                         ^^^^^^^^^^^^^^^^^
              help: write a name, "*.domain" or "10.0.0.0/8", each with ":port" behind it if you like

            plimsoll.toml:7:13: "auth/key" is no pointer
              7 | literals = ["auth/key"]
                |             ^^^^^^^^^^
              help: write it like "/auth/*/address": names behind slashes, `*` for any one

            plimsoll.toml:8:11: `hostile` must be true or false, not a string
              8 | hostile = "no"
                |           ^^^^

            plimsoll.toml:9:10: unknown `matrix` "requires"
              9 | matrix = "requires"
                |          ^^^^^^^^^^
              help: did you mean "require"? use one of: off, tell, require

            plimsoll.toml:10:13: `approvals` is out of range: 11
              10 | approvals = 11
                 |             ^^
              help: use 0 to 10

            plimsoll.toml:11:21: "24" is not a duration
              11 | attestation_valid = "24"
                 |                     ^^^^
              help: write a whole number with its unit, like "500ms", "30s", "2m" or "1h"

            plimsoll.toml:12:38: unknown placeholder "${adress}"
              12 | rehearsal = { load = { url = "http://${adress}/", rate = 0 }, reve…
                 |                                      ^^^^^^^^^
              help: did you mean `${address}`? known placeholders: ${address}, ${host}, ${zone}, ${environment}, ${service}, ${tree} (there is no shell and no environment variable)

            plimsoll.toml:12:58: `rate` is out of range: 0
              12 | rehearsal = { load = { url = "http://${adress}/", rate = 0 }, reve…
                 |                                                          ^
              help: use 1 to 10000

            plimsoll.toml:12:79: `revert_within` is out of range: "2h"
              12 | … = { url = "http://${adress}/", rate = 0 }, revert_within = "2h" }
                 |                                                              ^^^^
              help: use "1ms" to "1h"

            plimsoll.toml:13:1: unknown key "polices" in checks
              13 | polices = []
                 | ^^^^^^^
              help: did you mean `policy`? known keys: schemas, policy, guard, reference, risk, egress, literals, hostile, matrix, approvals, attestation_valid, countersigners, rehearsal

            plimsoll.toml:15:1: `message` is missing in this policy
              15 | [[service.api.checks.policy]]
                 | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              help: add `message = "two threads at least"`

            plimsoll.toml:17:8: this expression is empty
              17 | when = ""
                 |        ^^
              help: write CEL that is true when the policy bites

            plimsoll.toml:18:12: unknown `severity` "denied"
              18 | severity = "denied"
                 |            ^^^^^^^^
              help: use one of: deny, warn, risk

            plimsoll.toml:21:8: the policy "threads" is declared twice
              21 | name = "threads"
                 |        ^^^^^^^^^
              help: each has a name of its own

            plimsoll.toml:22:8: "a**" is no path pattern: `**` stands for whole folders and must be alone between slashes
              22 | file = "a**"
                 |        ^^^^^
              help: write a path in the bundle; `*` is anything in one folder, `**` any folders

            plimsoll.toml:25:11: this is longer than one line of 500 bytes
              25 | message = "two\nlines"
                 |           ^^^^^^^^^^^^
              help: say it shorter; it is shown in lists

            plimsoll.toml:27:1: this guard limits nothing
              27 | [[service.api.checks.guard]]
                 | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              help: add one of: size_max, shrink_max, growth_max, rows_min, rows_max, rows_shrink_max, keep

            plimsoll.toml:29:11: `rows_at` says where rows are, but nothing limits them
              29 | rows_at = "/prices"
                 |           ^^^^^^^^^
              help: add one of: rows_min, rows_max, rows_shrink_max

            plimsoll.toml:33:12: "10MB" is not a size
              33 | size_max = "10MB"
                 |            ^^^^^^
              help: write a whole number with its unit, like "500B", "64KiB" or "10MiB"

            plimsoll.toml:34:14: "120%" is more than everything
              34 | shrink_max = "120%"
                 |              ^^^^^^
              help: write it like "5%" or "0.5%", from 0% to 100%

            plimsoll.toml:35:14: `growth_max` must be a string, not a whole number
              35 | growth_max = 200
                 |              ^^^

            plimsoll.toml:37:12: `rows_max` (1) is less than `rows_min` (10)
              37 | rows_max = 1
                 |            ^
              help: no file could pass this guard

            plimsoll.toml:38:8: `keep` must be a list, not a string
              38 | keep = "/auth"
                 |        ^^^^^^^

            plimsoll.toml:43:8: unknown `kind` "htpp"
              43 | kind = "htpp"
                 |        ^^^^^^
              help: did you mean "http"? use one of: tcp, tls, dns, http, postgres, file

            plimsoll.toml:44:9: "*" in `from` is what the first `*` in `at` is, and there is none
              44 | from = ["*", "prod"]
                 |         ^^^
              help: write `at = "/auth/*/address"`, or the environments by name

            plimsoll.toml:44:14: unknown environment "prod"
              44 | from = ["*", "prod"]
                 |              ^^^^^^
              help: declared: "test", "production"

            plimsoll.toml:46:1: `file` is missing in this reference
              46 | [[service.api.checks.reference]]
                 | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              help: add `file = "service.toml"`

            plimsoll.toml:47:6: "auth" is no pointer
              47 | at = "auth"
                 |      ^^^^^^
              help: write it like "/auth/*/address": names behind slashes, `*` for any one

            plimsoll.toml:49:8: `path` goes with kind "http" only
              49 | path = "authenticate"
                 |        ^^^^^^^^^^^^^^
              help: leave it out

            plimsoll.toml:49:8: "authenticate" is not a path to ask for
              49 | path = "authenticate"
                 |        ^^^^^^^^^^^^^^
              help: write it like "/authenticate", visible ASCII without `#`

            plimsoll.toml:50:10: `status` goes with kind "http" only
              50 | status = 200
                 |          ^^^
              help: leave it out

            plimsoll.toml:51:12: `deadline` is out of range: "61s"
              51 | deadline = "61s"
                 |            ^^^^^
              help: use "1ms" to "1m"

            plimsoll.toml:53:1: `risk` must be a list of tables, not one table
              53 | [service.api.checks.risk]
                 | ^^^^^^^^^^^^^^^^^^^^^^^^^
              help: write `[[service.NAME.checks.risk]]` with two brackets
        "#]],
    );
}

#[test]
fn packages_classes_and_the_catalog_wrong_in_every_way() {
    check(
        &format!(
            "{GOOD}class = \"wbe\"\n{}",
            r#"
[service.api.requires]
sso = "2 or newer"
SSO = "^2"
[service.api.packages.web]
version = "nightly"
archive = "a.tar"
requires = { a = ">= two", b = 2 }
provides = { c = "^1" }
conflict = {}

[class.web]
package = {}
[class.edge.packages]
runtime = { version = "nightly", requires = [] }
_ = { requires = {} }

[[catalog]]
name = "runtime"
version = "1.4"
[[catalog]]
name = "runtime"
version = "1.4.0"
[[catalog]]
name = "Runtime"
"#
        ),
        expect![[r#"
            plimsoll.toml:17:9: unknown class "wbe"
              17 | class = "wbe"
                 |         ^^^^^
              help: did you mean "web"?

            plimsoll.toml:20:7: "2 or newer" is not a version range
              20 | sso = "2 or newer"
                 |       ^^^^^^^^^^^^
              help: write it like "^2", ">=2, <3", "~1.4", "=1.4.2" or "*"

            plimsoll.toml:21:1: "SSO" is not a valid package name
              21 | SSO = "^2"
                 | ^^^
              help: use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit

            plimsoll.toml:25:18: ">= two" is not a version range
              25 | requires = { a = ">= two", b = 2 }
                 |                  ^^^^^^^^
              help: write it like "^2", ">=2, <3", "~1.4", "=1.4.2" or "*"

            plimsoll.toml:25:32: `b` must be a string, not a whole number
              25 | requires = { a = ">= two", b = 2 }
                 |                                ^

            plimsoll.toml:26:18: "^1" is not a version to compare
              26 | provides = { c = "^1" }
                 |                  ^^^^
              help: write a semantic version, like "1.4.2" or "2.0.0-rc.1"

            plimsoll.toml:27:1: unknown key "conflict" in package
              27 | conflict = {}
                 | ^^^^^^^^
              help: did you mean `conflicts`? known keys: version, archive, requires, conflicts, provides

            plimsoll.toml:30:1: unknown key "package" in class.web
              30 | package = {}
                 | ^^^^^^^
              help: did you mean `packages`? known keys: packages

            plimsoll.toml:32:23: "nightly" is not a version to compare
              32 | runtime = { version = "nightly", requires = [] }
                 |                       ^^^^^^^^^
              help: write a semantic version, like "1.4.2" or "2.0.0-rc.1"

            plimsoll.toml:32:45: `requires` must be a table, not a list
              32 | runtime = { version = "nightly", requires = [] }
                 |                                             ^^

            plimsoll.toml:33:1: "_" is not a valid package name
              33 | _ = { requires = {} }
                 | ^
              help: use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit

            plimsoll.toml:33:5: `version` is missing in this package
              33 | _ = { requires = {} }
                 |     ^^^^^^^^^^^^^^^^^
              help: add `version = "1.4.2"`

            plimsoll.toml:38:1: runtime 1.4.0 is in the catalog twice
              38 | [[catalog]]
                 | ^^^^^^^^^^^
              help: leave one of them out

            plimsoll.toml:41:1: `version` is missing in this entry
              41 | [[catalog]]
                 | ^^^^^^^^^^^
              help: add `version = "1.4.2"`

            plimsoll.toml:42:8: "Runtime" is not a valid package name
              42 | name = "Runtime"
                 |        ^^^^^^^^^
              help: use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit
        "#]],
    );
    check(
        &format!("{GOOD}class = \"web\"\n[catalog]\nname = \"a\"\n"),
        expect![[r#"
            plimsoll.toml:17:9: unknown class "web"
              17 | class = "web"
                 |         ^^^^^
              help: declare it: `[class.web.packages]`

            plimsoll.toml:18:1: `catalog` must be a list of tables, not one table
              18 | [catalog]
                 | ^^^^^^^^^
              help: write `[[catalog]]` with two brackets
        "#]],
    );
}

#[test]
fn freezes_wrong_in_every_way() {
    check(
        &format!(
            "{GOOD}{}",
            r#"
[[freeze]]
environment = "prodution"
from = "friday 16:00"
to = "mon 8:00"
zone = "Europe/Berln"
reason = ""
[[freeze]]
service = "app"
environment = "test"
from = "fri 16:00"
to = "fri 16:00"
zone = "+02:00"
reason = "x"
[[freeze]]
service = "app"
from = "fri 16:60"
to = "fri"
"#
        ),
        expect![[r#"
            plimsoll.toml:19:15: unknown environment "prodution"
              19 | environment = "prodution"
                 |               ^^^^^^^^^^^
              help: did you mean "production"?

            plimsoll.toml:20:8: "friday 16:00" is not a time of the week
              20 | from = "friday 16:00"
                 |        ^^^^^^^^^^^^^^
              help: write it like "fri 16:00", from 00:00 to 23:59; days: mon, tue, wed, thu, fri, sat, sun

            plimsoll.toml:21:6: "mon 8:00" is not a time of the week
              21 | to = "mon 8:00"
                 |      ^^^^^^^^^^
              help: write it like "fri 16:00", from 00:00 to 23:59; days: mon, tue, wed, thu, fri, sat, sun

            plimsoll.toml:22:8: "Europe/Berln" is not a known time zone
              22 | zone = "Europe/Berln"
                 |        ^^^^^^^^^^^^^^
              help: did you mean "Europe/Berlin"?

            plimsoll.toml:23:10: this is empty
              23 | reason = ""
                 |          ^^
              help: say it in a few words

            plimsoll.toml:25:11: a freeze has either `environment` or `service`, not both
              25 | service = "app"
                 |           ^^^^^
              help: write two freezes, or leave both out to freeze everything

            plimsoll.toml:28:6: this freeze ends when it begins
              28 | to = "fri 16:00"
                 |      ^^^^^^^^^^^
              help: to stop everything for longer use `plimsoll freeze`

            plimsoll.toml:29:8: "+02:00" is not a known time zone
              29 | zone = "+02:00"
                 |        ^^^^^^^^
              help: write its IANA name, like "Europe/Berlin" or "UTC"

            plimsoll.toml:31:1: `zone` is missing in this freeze
              31 | [[freeze]]
                 | ^^^^^^^^^^
              help: add `zone = "Europe/Berlin"`

            plimsoll.toml:31:1: `reason` is missing in this freeze
              31 | [[freeze]]
                 | ^^^^^^^^^^
              help: add `reason = "weekend"`

            plimsoll.toml:32:11: unknown service "app"
              32 | service = "app"
                 |           ^^^^^
              help: did you mean "api"?

            plimsoll.toml:33:8: "fri 16:60" is not a time of the week
              33 | from = "fri 16:60"
                 |        ^^^^^^^^^^^
              help: write it like "fri 16:00", from 00:00 to 23:59; days: mon, tue, wed, thu, fri, sat, sun

            plimsoll.toml:34:6: "fri" is not a time of the week
              34 | to = "fri"
                 |      ^^^^^
              help: write it like "fri 16:00", from 00:00 to 23:59; days: mon, tue, wed, thu, fri, sat, sun
        "#]],
    );
}

const SCHEMAS: &str = r#"
[service.api.checks.schemas]
"a.toml" = "schemas/a.json"
"b.toml" = "./schemas/a.json"
"c.toml" = "schemas/c.json"
"#;

fn resolve(files: &[(&str, &[u8])]) -> (Result<Project, Problems>, usize) {
    let text = format!("{GOOD}{SCHEMAS}");
    let mut asked = 0;
    let resolved = good(&text).resolve(|path| {
        asked += 1;
        let found = files.iter().find(|(name, _)| *name == path);
        found
            .map(|(_, bytes)| bytes.to_vec())
            .ok_or_else(|| "no such file\n(os error 2)".to_owned())
    });
    (resolved, asked)
}

#[test]
fn schemas_come_into_the_rules() {
    let spaced = b"{ \"type\":\n  \"object\" }";
    let files: [(&str, &[u8]); 2] = [("schemas/a.json", spaced), ("schemas/c.json", b"true")];
    let (resolved, asked) = resolve(&files);
    let project = resolved.unwrap_or_else(|problems| panic!("{problems}"));
    let schemas = &project.topology.services[&"api".parse().unwrap()]
        .checks
        .schemas;
    let texts: Vec<(&str, &str)> = schemas
        .iter()
        .map(|(pattern, text)| (pattern.as_str(), text.as_str()))
        .collect();
    let object = "{ \"type\":\n  \"object\" }";
    assert_eq!(
        texts,
        [("a.toml", object), ("b.toml", object), ("c.toml", "true")]
    );
    assert_eq!(asked, 2, "each file once");
}

#[test]
fn schemas_that_are_none_are_told_in_their_place() {
    let text = format!("{GOOD}{SCHEMAS}");
    let shown = |files: &[(&str, &[u8])]| {
        let (resolved, _) = resolve(files);
        render(&resolved.unwrap_err(), &text, false)
    };
    expect![[r#"
        plimsoll.toml:19:12: can't read the schema "schemas/a.json": no such file (os error 2)
          19 | "a.toml" = "schemas/a.json"
             |            ^^^^^^^^^^^^^^^^
          help: write the path of a JSON Schema, relative to plimsoll.toml

        plimsoll.toml:20:12: can't read the schema "schemas/a.json": no such file (os error 2)
          20 | "b.toml" = "./schemas/a.json"
             |            ^^^^^^^^^^^^^^^^^^
          help: write the path of a JSON Schema, relative to plimsoll.toml

        plimsoll.toml:21:12: "schemas/c.json" is JSON, but no schema
          21 | "c.toml" = "schemas/c.json"
             |            ^^^^^^^^^^^^^^^^
          help: a JSON Schema is an object, like `{ "type": "object" }`
    "#]]
    .assert_eq(&shown(&[("schemas/c.json", b"[1]")]));
    expect![[r#"
        plimsoll.toml:19:12: the schema "schemas/a.json" is not JSON: expected value at line 1 column 11
          19 | "a.toml" = "schemas/a.json"
             |            ^^^^^^^^^^^^^^^^
          help: a schema is JSON in UTF-8; mend it there

        plimsoll.toml:20:12: the schema "schemas/a.json" is not JSON: expected value at line 1 column 11
          20 | "b.toml" = "./schemas/a.json"
             |            ^^^^^^^^^^^^^^^^^^
          help: a schema is JSON in UTF-8; mend it there

        plimsoll.toml:21:12: the schema "schemas/c.json" is not JSON: invalid unicode code point at line 1 column 2
          21 | "c.toml" = "schemas/c.json"
             |            ^^^^^^^^^^^^^^^^
          help: a schema is JSON in UTF-8; mend it there
    "#]].assert_eq(&shown(&[
        ("schemas/a.json", b"{ \"type\": }"),
        ("schemas/c.json", b"\"\xff\""),
    ]));
    let large = vec![b' '; model::gate::CHECK_SET_BYTES_MAX + 1];
    expect![[r#"
        plimsoll.toml:19:12: the schema "schemas/a.json" has 1048577 bytes; at most 1048576
          19 | "a.toml" = "schemas/a.json"
             |            ^^^^^^^^^^^^^^^^
          help: is this the right file?

        plimsoll.toml:20:12: the schema "schemas/a.json" has 1048577 bytes; at most 1048576
          20 | "b.toml" = "./schemas/a.json"
             |            ^^^^^^^^^^^^^^^^^^
          help: is this the right file?
    "#]]
    .assert_eq(&shown(&[
        ("schemas/a.json", &large),
        ("schemas/c.json", b"{}"),
    ]));
}

#[test]
fn words_that_must_be_read_exactly() {
    use super::super::grammar;
    for (text, bytes) in [
        ("0B", Some(0)),
        ("64 KiB", Some(64 << 10)),
        ("4GiB", Some(4 << 30)),
        ("10MB", None),
        ("10", None),
        ("MiB", None),
        ("1.5MiB", None),
    ] {
        assert_eq!(grammar::size(text).ok(), bytes, "{text}");
    }
    for (text, minute) in [
        ("mon 00:00", Some(0)),
        ("fri 16:00", Some(6720)),
        ("sun 23:59", Some(10_079)),
        ("sun 24:00", None),
        ("fri16:00", None),
        ("fri  16:00", None),
        ("fri 1:00", None),
        ("fri +1:00", None),
    ] {
        assert_eq!(grammar::week_minute(text).ok(), minute, "{text}");
    }
    for (text, zone) in [
        ("Europe/Berlin", Some("Europe/Berlin")),
        ("europe/berlin", Some("Europe/Berlin")),
        ("UTC", Some("UTC")),
        ("", None),
        ("../etc/passwd", None),
        ("CET-1CEST", None),
    ] {
        assert_eq!(grammar::time_zone(text).ok().as_deref(), zone, "{text}");
    }
}
