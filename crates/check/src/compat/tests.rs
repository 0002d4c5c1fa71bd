//! Explanations as people read them, and the solver against a checker that tries everything.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use model::{Digest, PackageEntry, Plan};

use super::*;

mod places;
mod random;
mod values;

/// `NAME VERSION; requires NAME RANGE; conflicts NAME RANGE; provides NAME VERSION`, in any order.
fn facts(text: &str) -> (PackageName, PackageFacts) {
    let mut parts = text.split("; ");
    let pair = |text: &str| {
        let (name, rest) = text.split_once(' ').unwrap();
        (name.parse::<PackageName>().unwrap(), rest.to_owned())
    };
    let (name, version) = pair(parts.next().unwrap());
    let mut facts = PackageFacts {
        version,
        ..PackageFacts::default()
    };
    for part in parts {
        let (kind, rest) = part.split_once(' ').unwrap();
        let (name, value) = pair(rest);
        match kind {
            "requires" => facts.requires.insert(name, value),
            "conflicts" => facts.conflicts.insert(name, value),
            "provides" => facts.provides.insert(name, value),
            other => panic!("{other}"),
        };
    }
    (name, facts)
}

fn bundle(packages: &[&str]) -> Bundle {
    let packages = packages.iter().map(|text| {
        let (name, facts) = facts(text);
        let entry = PackageEntry {
            version: facts.version,
            digest: Digest::of(b""),
            size_bytes: 0,
            requires: facts.requires,
            conflicts: facts.conflicts,
            provides: facts.provides,
        };
        (name, entry)
    });
    Bundle {
        service: "api".parse().unwrap(),
        files: BTreeMap::new(),
        packages: packages.collect(),
        requires: BTreeMap::new(),
        commands: model::Commands::default(),
        health: None,
        plan: Plan::default(),
    }
}

/// A place with packages of the class; `service auth: NAME …` for those of a service.
fn place(label: &str, deployed: &[&str]) -> Place {
    let deployed = deployed.iter().map(|text| {
        let (origin, text) = text.split_once(": ").unwrap_or(("class web", text));
        let (name, facts) = facts(text);
        Deployed {
            name,
            facts,
            origin: origin.to_owned(),
        }
    });
    Place {
        label: label.to_owned(),
        deployed: deployed.collect(),
    }
}

fn production(deployed: &[&str]) -> Vec<Place> {
    vec![place("production (class web)", deployed)]
}

fn catalog(entries: &[&str]) -> Vec<CatalogEntry> {
    let entries = entries.iter().map(|text| {
        let (name, facts) = facts(text);
        CatalogEntry { name, facts }
    });
    entries.collect()
}

fn shown(findings: &[Finding]) -> String {
    let texts = findings.iter().map(|finding| {
        let help = finding.help.as_deref().unwrap_or_default();
        format!("{finding}\nhelp: {help}\n")
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn check(bundle: &Bundle, places: &[Place], versions: &[&str], expected: Expect) {
    expected.assert_eq(&shown(&compatible(bundle, places, &catalog(versions))));
}

#[test]
fn what_fits_is_not_talked_about() {
    let web = "web 2.0.0; requires sso ^2; conflicts legacy-session <3";
    let deployed = [
        "auth-runtime 2.0.0; provides sso 2.1.0",
        "legacy-session 3.0.0",
    ];
    check(&bundle(&[web]), &production(&deployed), &[], expect![""]);
    check(
        &bundle(&["web nightly"]),
        &production(&deployed),
        &[],
        expect![""],
    );
}

#[test]
fn a_feature_that_the_deployed_version_lacks() {
    check(
        &bundle(&["web 2.0.0; requires sso >=2"]),
        &production(&[
            "auth-runtime 1.4.0; provides sso 1.0.0",
            "portal 1.0.0; requires sso >=1",
        ]),
        &["auth-runtime 2.0.0; provides sso 2.0.0"],
        expect![[r#"
            web 2.0.0 needs sso 2 or newer.
            On production (class web), sso comes from auth-runtime 1.4.0, which provides 1.0.0.
            help: deploy auth-runtime 2.0.0 first (it provides sso 2.0.0 and goes with everything else there), then push again
        "#]],
    );
}

#[test]
fn a_new_package_conflicts_with_a_deployed_one() {
    let web = "web 2.0.0; conflicts legacy-session <3";
    let deployed = ["legacy-session 2.4.0"];
    check(
        &bundle(&[web]),
        &production(&deployed),
        &["legacy-session 3.1.0", "legacy-session 3.0.0"],
        expect![[r#"
            web 2.0.0 does not go with legacy-session older than 3.
            On production (class web), legacy-session is 2.4.0.
            help: deploy legacy-session 3.0.0 first (it goes with everything else there), then push again
        "#]],
    );
    check(
        &bundle(&[web]),
        &production(&deployed),
        &[],
        expect![[r#"
        web 2.0.0 does not go with legacy-session older than 3.
        On production (class web), legacy-session is 2.4.0.
        help: no known version helps: change the bundle, or add to the catalog a version that fits
    "#]],
    );
}

#[test]
fn the_deployed_side_declares_the_conflict() {
    check(
        &bundle(&["web 2.0.0"]),
        &production(&["service shop: cart 1.2.0; conflicts web >=2", "web 1.9.0"]),
        &["cart 1.3.0"],
        expect![[r#"
            On production (class web), cart 1.2.0 (service shop) does not go with web 2 or newer.
            With this change, web is 2.0.0.
            help: deploy cart 1.3.0 first (it goes with everything else there), then push again
        "#]],
    );
}

#[test]
fn nothing_provides_it() {
    check(
        &bundle(&["web 2.0.0; requires libtls ^3"]),
        &production(&["libtlss 3.0.0"]),
        &["libtls 3.1.0", "libtls 3.2.0"],
        expect![[r#"
            web 2.0.0 needs libtls 3 or newer but older than 4.
            On production (class web), nothing provides libtls. Did you mean libtlss?
            help: deploy libtls 3.2.0 first (it goes with everything else there), then push again
        "#]],
    );
    let mut files = bundle(&[]);
    files
        .requires
        .insert("sso".parse().unwrap(), "^2".to_owned());
    check(
        &files,
        &production(&[]),
        &[],
        expect![[r#"
        The files of the bundle need sso 2 or newer but older than 3.
        On production (class web), nothing provides sso.
        help: no known version helps: change the bundle, or add to the catalog a version that fits
    "#]],
    );
}

#[test]
fn what_would_help_conflicts_with_a_third() {
    check(
        &bundle(&["a 2.0.0; requires b >=2"]),
        &production(&["b 1.0.0", "c 1.0.0"]),
        &[
            "b 2.0.0; conflicts c <2",
            "b 2.1.0; conflicts c <2; requires d ^1",
        ],
        expect![[r#"
            a 2.0.0 needs b 2 or newer.
            On production (class web), b is 1.0.0.
            b 2.0.0 and 2.1.0 do not go with c older than 2, and c is 1.0.0.
            help: no known version helps: change the bundle, or add to the catalog a version that fits
        "#]],
    );
}

#[test]
fn both_come_with_the_bundle() {
    check(
        &bundle(&["a 2.0.0; requires b >=2", "b 2.0.0; conflicts c <2"]),
        &production(&["b 1.0.0", "c 1.0.0"]),
        &["c 2.0.0"],
        expect![[r#"
            b 2.0.0 does not go with c older than 2.
            On production (class web), c is 1.0.0.
            help: deploy c 2.0.0 first (it goes with everything else there), then push again
        "#]],
    );
    check(
        &bundle(&["a 2.0.0; conflicts b >=2", "b 2.0.0"]),
        &[place("test", &[]), place("production", &["x 1.0.0"])],
        &[],
        expect![[r#"
            a 2.0.0 does not go with b 2 or newer.
            With this change, b is 2.0.0.
            help: no known version helps: change the bundle, or add to the catalog a version that fits
        "#]],
    );
}

#[test]
fn two_conflicts_are_both_told() {
    let two = bundle(&["web 2.0.0; requires sso ^2; conflicts cache <5"]);
    let deployed = ["auth-runtime 1.4.0; provides sso 1.0.0", "cache 4.0.0"];
    let auth = "auth-runtime 2.0.0; provides sso 2.0.0";
    check(
        &two,
        &production(&deployed),
        &[auth, "cache 5.0.0"],
        expect![[r#"
        web 2.0.0 needs sso 2 or newer but older than 3.
        On production (class web), sso comes from auth-runtime 1.4.0, which provides 1.0.0.
        help: deploy first auth-runtime 2.0.0, then cache 5.0.0 (then everything there goes together), then push again

        web 2.0.0 does not go with cache older than 5.
        On production (class web), cache is 4.0.0.
        help: deploy first auth-runtime 2.0.0, then cache 5.0.0 (then everything there goes together), then push again
    "#]],
    );
    check(
        &two,
        &production(&deployed),
        &[auth],
        expect![[r#"
        web 2.0.0 needs sso 2 or newer but older than 3.
        On production (class web), sso comes from auth-runtime 1.4.0, which provides 1.0.0.
        help: auth-runtime 2.0.0 would mend this one, but not everything that is wrong there

        web 2.0.0 does not go with cache older than 5.
        On production (class web), cache is 4.0.0.
        help: no known version helps: change the bundle, or add to the catalog a version that fits
    "#]],
    );
}

#[test]
fn two_moves_in_their_order() {
    check(
        &bundle(&["web 2.0.0; requires sso ^2"]),
        &production(&[
            "auth-runtime 1.4.0; provides sso 1.0.0; requires base ^1",
            "base 1.0.0",
        ]),
        &[
            "auth-runtime 2.0.0; provides sso 2.0.0; requires base >=1.5",
            "base 1.5.0",
            "base 2.0.0",
        ],
        expect![[r#"
            web 2.0.0 needs sso 2 or newer but older than 3.
            On production (class web), sso comes from auth-runtime 1.4.0, which provides 1.0.0.
            help: deploy first base 1.5.0, then auth-runtime 2.0.0 (then everything there goes together), then push again
        "#]],
    );
}

#[test]
fn moves_that_break_what_runs_now_are_not_to_come_first() {
    check(
        &bundle(&["web 2.0.0; requires sso ^2"]),
        &production(&[
            "auth-runtime 1.4.0; provides sso 1.0.0",
            "service api: web 1.0.0; requires sso ^1",
        ]),
        &["auth-runtime 2.0.0; provides sso 2.0.0"],
        expect![[r#"
            web 2.0.0 needs sso 2 or newer but older than 3.
            On production (class web), sso comes from auth-runtime 1.4.0, which provides 1.0.0.
            help: auth-runtime 2.0.0 would fit, but not with what is deployed there without this change: release them together in one bundle
        "#]],
    );
}

#[test]
fn the_change_takes_away_what_others_need() {
    check(
        &bundle(&["web 2.0.0"]),
        &production(&[
            "service api: web 1.9.0; provides login 1.0.0",
            "service api: helper 1.0.0",
            "portal 3.0.0; requires login ^1; requires web <2",
            "robot 1.0.0; requires helper *",
        ]),
        &[],
        expect![[r#"
            On production (class web), portal 3.0.0 needs login 1 or newer but older than 2.
            So far it comes from web 1.9.0, which this change takes away.
            help: no known version helps: change the bundle, or add to the catalog a version that fits

            On production (class web), portal 3.0.0 needs web older than 2.
            With this change, web is 2.0.0.
            help: no known version helps: change the bundle, or add to the catalog a version that fits

            On production (class web), robot 1.0.0 needs helper in any version.
            So far it comes from helper 1.0.0, which this change takes away.
            help: no known version helps: change the bundle, or add to the catalog a version that fits
        "#]],
    );
}

#[test]
fn what_did_not_fit_before_is_not_its_fault() {
    let deployed = [
        "a 1.0.0; requires ghost ^1; conflicts b *",
        "b 1.0.0",
        "web 1.0.0",
        "cart 1.0.0; conflicts web *; requires web >=3",
    ];
    check(
        &bundle(&["web 2.0.0"]),
        &production(&deployed),
        &[],
        expect![""],
    );
    // What the change itself needs is always its own.
    check(
        &bundle(&["web 2.0.0; requires ghost ^1"]),
        &production(&deployed),
        &[],
        expect![[r#"
            web 2.0.0 needs ghost 1 or newer but older than 2.
            On production (class web), nothing provides ghost.
            help: no known version helps: change the bundle, or add to the catalog a version that fits
        "#]],
    );
}

#[test]
fn the_same_at_several_places_is_told_once() {
    let old = ["auth-runtime 1.4.0; provides sso 1.0.0"];
    let older = ["auth-runtime 1.2.0; provides sso 0.9.0"];
    check(
        &bundle(&["web 2.0.0; requires sso ^2"]),
        &[
            place("test (class web)", &old),
            place("staging (class web)", &old),
            place("production (class web)", &old),
            place("production (class edge)", &older),
        ],
        &["auth-runtime 2.0.0; provides sso 2.0.0"],
        expect![[r#"
            web 2.0.0 needs sso 2 or newer but older than 3.
            On test (class web), staging (class web) and production (class web), sso comes from auth-runtime 1.4.0, which provides 1.0.0.
            help: deploy auth-runtime 2.0.0 first (it provides sso 2.0.0 and goes with everything else there), then push again

            web 2.0.0 needs sso 2 or newer but older than 3.
            On production (class edge), sso comes from auth-runtime 1.2.0 (class web), which provides 0.9.0.
            help: deploy auth-runtime 2.0.0 first (it provides sso 2.0.0 and goes with everything else there), then push again
        "#]],
    );
}

#[test]
fn cycles_and_several_providers() {
    let circle = [
        "a 1.0.0; requires b ^1",
        "b 1.0.0; requires a ^1; provides x 1.0.0",
    ];
    check(
        &bundle(&["c 1.0.0; requires x ^1"]),
        &production(&circle),
        &[],
        expect![""],
    );
    check(&bundle(&circle), &production(&circle), &[], expect![""]);
    check(
        &bundle(&["c 1.0.0; requires x ^2", "d 1.0.0; provides x 1.5.0"]),
        &production(&circle),
        &[
            "b 2.0.0; requires a ^2; provides x 2.0.0",
            "a 2.0.0; requires b ^2",
        ],
        expect![[r#"
            c 1.0.0 needs x 2 or newer but older than 3.
            With this change, x comes from d 1.0.0, which provides 1.5.0.
            On production (class web), x comes from b 1.0.0, which provides 1.0.0.
            help: a 2.0.0 and b 2.0.0 would fit, but not with what is deployed there without this change: release them together in one bundle
        "#]],
    );
    // Its own feature is no conflict, and two versions of a feature may stand side by side.
    check(
        &bundle(&["e 1.0.0; provides x 2.0.0; conflicts x >=2; requires x ^2"]),
        &production(&circle),
        &[],
        expect![""],
    );
}

#[test]
fn a_step_back_is_the_last_resort() {
    let web = bundle(&["web 2.0.0; conflicts cache =4.0.0"]);
    check(
        &web,
        &production(&["cache 4.0.0"]),
        &["cache 3.9.0", "cache 5.0.0"],
        expect![[r#"
            web 2.0.0 does not go with cache 4.0.0.
            On production (class web), cache is 4.0.0.
            help: deploy cache 5.0.0 first (it goes with everything else there), then push again
        "#]],
    );
    check(
        &web,
        &production(&["cache 4.0.0"]),
        &["cache 3.9.0"],
        expect![[r#"
        web 2.0.0 does not go with cache 4.0.0.
        On production (class web), cache is 4.0.0.
        help: deploy cache 3.9.0 instead of 4.0.0 first (it goes with everything else there), then push again
    "#]],
    );
}

#[test]
fn the_one_of_many_that_fits() {
    let others = (1..=5).map(|n| format!("p{n} 1.0.0; provides sso 2.0.0; conflicts c *"));
    let mut versions: Vec<String> = others.collect();
    versions.push("p6 1.0.0; provides sso 2.1.0".to_owned());
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    check(
        &bundle(&["web 2.0.0; requires sso ^2"]),
        &production(&["c 1.0.0"]),
        &versions,
        expect![[r#"
            web 2.0.0 needs sso 2 or newer but older than 3.
            On production (class web), nothing provides sso.
            help: deploy p6 1.0.0 first (it provides sso 2.1.0 and goes with everything else there), then push again
        "#]],
    );
    // With that one gone, each that could come is told, with what stands in its way.
    check(
        &bundle(&["web 2.0.0; requires sso ^2"]),
        &production(&["c 1.0.0"]),
        &versions[..2],
        expect![[r#"
            web 2.0.0 needs sso 2 or newer but older than 3.
            On production (class web), nothing provides sso.
            sso 2 or newer but older than 3 could come with p2 1.0.0.
            p2 1.0.0 does not go with c in any version, and c is 1.0.0.
            sso 2 or newer but older than 3 could come with p1 1.0.0.
            p1 1.0.0 does not go with c in any version, and c is 1.0.0.
            help: no known version helps: change the bundle, or add to the catalog a version that fits
        "#]],
    );
}
