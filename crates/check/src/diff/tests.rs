//! Every kind of change, as a line.

use expect_test::{Expect, expect};
use model::{Millis, Permille, Plan};

use super::*;

fn file(content: &str, executable: bool) -> FileEntry {
    FileEntry {
        digest: Digest::of(content.as_bytes()),
        size_bytes: content.len() as u64,
        executable,
    }
}

fn package(version: &str, content: &str) -> PackageEntry {
    PackageEntry {
        conflicts: Default::default(),
        provides: Default::default(),
        requires: Default::default(),
        version: version.to_owned(),
        digest: Digest::of(content.as_bytes()),
        size_bytes: content.len() as u64,
    }
}

fn bundle() -> Bundle {
    let restart = Command {
        run: ["systemctl", "restart", "api"].map(String::from).into(),
        deadline_ms: Millis::seconds(30),
    };
    Bundle {
        requires: Default::default(),
        service: "api".parse().unwrap(),
        files: [
            ("config.toml", file("port = 1", false)),
            ("bin/check", file("#!/bin/sh", true)),
            ("old.toml", file("", false)),
        ]
        .map(|(path, file)| (path.parse().unwrap(), file))
        .into(),
        packages: [
            ("server", package("1.4.1", "a")),
            ("client", package("2.0.0", "b")),
        ]
        .map(|(name, package)| (name.parse().unwrap(), package))
        .into(),
        commands: Commands {
            restart: Some(restart),
            ..Commands::default()
        },
        health: None,
        plan: Plan {
            stages: [("production".parse().unwrap(), StagePlan::default())].into(),
            irreversible: false,
        },
    }
}

fn check(old: Option<&Bundle>, new: &Bundle, expected: Expect) {
    let lines: Vec<String> = diff(old, new).iter().map(Change::to_string).collect();
    assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn nothing_changed() {
    assert_eq!(diff(Some(&bundle()), &bundle()), []);
}

#[test]
fn the_first_bundle_is_all_new() {
    check(
        None,
        &bundle(),
        expect![[r#"
        + package client: 2.0.0
        + package server: 1.4.1
        + file bin/check: 9 bytes, executable
        + file config.toml: 8 bytes
        + file old.toml: 0 bytes
        + command restart: systemctl restart api (within 30 s)
        + plan for production: 1 host, 5 % of zone, zone, each zone"#]],
    );
}

#[test]
fn a_change_that_can_be_taken_back_again() {
    let mut old = bundle();
    old.plan.irreversible = true;
    check(
        Some(&old),
        &bundle(),
        expect!["~ reversible: harm sends it back again"],
    );
    check(
        None,
        &Bundle {
            files: Default::default(),
            packages: Default::default(),
            ..old
        },
        expect![[r#"
            + command restart: systemctl restart api (within 30 s)
            + plan for production: 1 host, 5 % of zone, zone, each zone
            ~ not reversible: harm pauses it, and people decide"#]],
    );
}

#[test]
fn each_kind_of_change() {
    let old = bundle();
    let mut new = bundle();
    new.files.remove(&"old.toml".parse().unwrap());
    new.files
        .insert("config.toml".parse().unwrap(), file("port = 2", false));
    new.files
        .insert("bin/check".parse().unwrap(), file("#!/bin/sh", false));
    new.files
        .insert("longer".parse().unwrap(), file("longer", false));
    new.packages
        .insert("server".parse().unwrap(), package("1.4.2", "c"));
    new.packages
        .insert("client".parse().unwrap(), package("2.0.0", "d"));
    new.commands.restart = None;
    new.commands.check = Some(Command {
        run: ["bin/check", "two words", "line\nbreak", ""]
            .map(String::from)
            .into(),
        deadline_ms: Millis::seconds(10),
    });
    new.health = Some(HealthCheck {
        probe: HealthProbe::Http {
            url: "http://${address}/healthz".to_owned(),
            status: 200,
        },
        interval_ms: Millis::seconds(1),
        deadline_ms: Millis(500),
        grace_ms: Millis::seconds(10),
        threshold: 2,
    });
    let stage = new.plan.stages.values_mut().next().unwrap();
    stage.bake_ms = Millis::seconds(5);
    stage.waves = vec![
        WavePlan {
            hosts: WaveSelector::Hosts { count: 3 },
            traffic_permille: Permille::new(5),
        },
        WavePlan::of(WaveSelector::All),
    ];
    stage.judge.tolerated_increase_permille = 205;
    stage.judge.false_rollbacks_ppm = 10_000;
    stage.judge.undecided = Undecided::Advance;
    new.plan.irreversible = true;
    check(
        Some(&old),
        &new,
        expect![[r#"
            ~ package client: 2.0.0 with other bytes (10e5cf3d3c8a -> d5ede538f628)
            ~ package server: 1.4.1 -> 1.4.2
            ~ file bin/check: no longer executable
            ~ file config.toml: 8 bytes (1f258d7437d3 -> 02597f2e7fed)
            + file longer: 6 bytes
            - file old.toml: 0 bytes
            + command check: bin/check "two words" "line\nbreak" "" (within 10 s)
            - command restart: systemctl restart api (within 30 s)
            + health: http http://${address}/healthz is 200 (every 1 s, within 500 ms, 2 times, grace 10 s)
            ~ plan for production: waves [1 host, 5 % of zone, zone, each zone] -> [3 hosts at 0.5 %, all], bake 60 s -> 5 s, judge.tolerated_increase 0 % -> 20.5 %, judge.false_rollbacks 0.1 % -> 1 %, judge.undecided hold -> advance
            ~ not reversible: harm pauses it, and people decide"#]],
    );
}
