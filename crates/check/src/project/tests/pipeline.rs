//! Mistakes in environments, hosts and what runs on them.

use expect_test::expect;

use super::*;

#[test]
fn bad_names() {
    check_with(
        "name = \"test-1\"",
        "name = \"Test 1\"",
        expect![[r#"
            plimsoll.toml:7:8: "Test 1" is not a valid host name
              7 | name = "Test 1"
                |        ^^^^^^^^
              help: use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit
        "#]],
    );
    check_with(
        "name = \"production\"",
        "name = \"\"",
        expect![[r#"
            plimsoll.toml:12:8: "" is not a valid environment name
              12 | name = ""
                 |        ^^
              help: use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit
        "#]],
    );
    check_with(
        "[service.api]",
        "[service.\"a/b\"]",
        expect![[r#"
            plimsoll.toml:1:10: "a/b" is not a valid service name
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
              help: host "test-1" has it in line 9
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
            plimsoll.toml:1:15: the pipeline is empty: no environment is declared
              1 | environment = []
                |               ^^
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
    let skips = both.replace(
        "services.api = \"10.0.0.2:80\"",
        "services = { api = \"10.0.0.2:80\", web = \"10.0.0.2:81\" }",
    );
    check(
        &format!("service.web.files = \"web\"\n{skips}"),
        expect![[r#"
            plimsoll.toml:1:9: the service "web" has hosts in "production" but none in "test"
              1 | service.web.files = "web"
                |         ^^^
              help: a release must pass every earlier environment; give it a host there
        "#]],
    );
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
