//! Versions and ranges, sensible and not.

use super::*;

#[test]
fn versions_are_read_kindly() {
    for (text, read) in [
        ("1.4.2", Some("1.4.2")),
        ("1.4", Some("1.4.0")),
        ("2", Some("2.0.0")),
        ("v1.4.2", Some("1.4.2")),
        ("1.4-rc.1", Some("1.4.0-rc.1")),
        ("2026.01.02", Some("2026.1.2")),
        ("1.4.2+build.5", Some("1.4.2+build.5")),
        ("1.4.2.1", None),
        ("1..2", None),
        ("", None),
        ("v", None),
        ("nightly", None),
        ("99999999999999999999", None),
        ("1.0.0-", None),
    ] {
        let version = version(text).map(|version| version.to_string());
        assert_eq!(version.as_deref(), read, "{text}");
    }
}

#[test]
fn ranges_in_words() {
    for (text, words) in [
        ("*", "in any version"),
        ("^2", "2 or newer but older than 3"),
        ("2.1", "2.1 or newer but older than 3"),
        ("^0.3", "0.3 or newer but older than 0.4"),
        ("^0.0.3", "0.0.3 or newer but older than 0.0.4"),
        ("^0", "0 or newer but older than 1"),
        ("~1.4", "1.4 or newer but older than 1.5"),
        ("~1", "1 or newer but older than 2"),
        (">=2", "2 or newer"),
        (">=2, <3", "2 or newer and older than 3"),
        ("<=3.1", "3.1 or older"),
        (">3", "newer than 3"),
        ("=1.4.2", "1.4.2"),
        ("=1.4", "1.4.x"),
        ("1.*", "1.x"),
        (">=2.0.0-rc.1", "2.0.0-rc.1 or newer"),
        ("banana", "\"banana\" (which is no version range)"),
    ] {
        assert_eq!(facts::in_words(text), words, "{text}");
    }
}

/// What is not said to be finished meets no range that doesn't ask for it, and is hit like what it leads to.
#[test]
fn pre_releases_are_never_in_favour() {
    let fits =
        |web: &str, other: &str| compatible(&bundle(&[web]), &production(&[other]), &[]).is_empty();
    assert!(!fits("web 1.0.0; requires sso >=2", "sso 2.1.0-rc.1"));
    assert!(fits(
        "web 1.0.0; requires sso >=2.1.0-rc.0",
        "sso 2.1.0-rc.1"
    ));
    assert!(!fits("web 1.0.0; conflicts sso <3", "sso 2.1.0-rc.1"));
    assert!(!fits("web 1.0.0; conflicts sso *", "sso 2.1.0-rc.1"));
    assert!(fits("web 1.0.0; conflicts sso <2.1", "sso 2.1.0-rc.1"));
}

#[test]
fn nonsense_is_told() {
    let mut nonsense = bundle(&[
        "web nightly; requires sso banana; conflicts c >=; provides login one",
        "x 1.0.0; requires web ^1",
    ]);
    let files = ("sso".parse().unwrap(), ">=2 <3".to_owned());
    nonsense.requires.extend([files]);
    check(
        &nonsense,
        &production(&["sso 2.0.0", "c 1.0.0"]),
        &[],
        expect![[r#"
            The files of the bundle require sso ">=2 <3", which is no version range.
            help: write a range like "^2", ">=2, <3", "~1.4" or "*"

            web "nightly" (which is no version) requires sso "banana", which is no version range.
            help: write a range like "^2", ">=2, <3", "~1.4" or "*"

            web "nightly" (which is no version) conflicts with c ">=", which is no version range.
            help: write a range like "^2", ">=2, <3", "~1.4" or "*"

            web "nightly" (which is no version) provides login "one", which is no version.
            help: write a semantic version like "2.1.0"

            x 1.0.0 needs web 1 or newer but older than 2.
            With this change, web is "nightly" (which is no version).
            help: no known version helps: change the bundle, or add to the catalog a version that fits
        "#]],
    );
    check(
        &bundle(&["web 1.0.0; requires sso ^2; conflicts c <1"]),
        &production(&[
            "auth 1.0.0; provides sso two",
            "c latest",
            "d 1.0.0; conflicts web rubbish",
        ]),
        &["c also-nonsense", "auth 1.0.1; provides sso 2.0.0"],
        expect![[r#"
            web 1.0.0 needs sso 2 or newer but older than 3.
            On production (class web), sso comes from auth 1.0.0, which provides "two" (which is no version).
            help: auth 1.0.1 would mend this one, but not everything that is wrong there

            web 1.0.0 does not go with c older than 1.
            On production (class web), c is "latest" (which is no version).
            help: no known version helps: change the bundle, or add to the catalog a version that fits

            On production (class web), d 1.0.0 does not go with web "rubbish" (which is no version range).
            With this change, web is 1.0.0.
            help: no known version helps: change the bundle, or add to the catalog a version that fits
        "#]],
    );
}

#[test]
fn too_many_are_refused_and_a_large_catalog_is_not_searched() {
    let many: Vec<String> = (0..PACKAGES_MAX).map(|n| format!("p{n} 1.0.0")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(
        &bundle(&["web 1.0.0"]),
        &production(&many),
        &[],
        expect![[r#"
        On production (class web), there are 1001 packages with 0 requirements and conflicts; at most 1000 with 10000 are compared.
        help: declare only packages that others require or don't go with
    "#]],
    );
    let versions: Vec<String> = (0..=CATALOG_MAX).map(|n| format!("b {n}.0.0")).collect();
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    check(
        &bundle(&["web 1.0.0; requires b >=2"]),
        &production(&["b 1.0.0"]),
        &versions,
        expect![[r#"
            web 1.0.0 needs b 2 or newer.
            On production (class web), b is 1.0.0.
            help: change the bundle (the catalog is too large to be searched: at most 2000 versions)
        "#]],
    );
}

/// The worst that is taken: each bound reached, everything connected, nothing fits.
#[test]
fn the_largest_that_is_taken_ends() {
    let deployed: Vec<String> = (0..PACKAGES_MAX - 1)
        .map(|n| {
            let needs = (1..=9).map(|k| format!("; requires p{} ^1", (n + k) % (PACKAGES_MAX - 1)));
            format!("p{n} 1.0.0{}", needs.collect::<String>())
        })
        .collect();
    let deployed: Vec<&str> = deployed.iter().map(String::as_str).collect();
    let versions: Vec<String> = (0..PACKAGES_MAX - 1)
        .flat_map(|n| {
            let next = (n + 1) % (PACKAGES_MAX - 1);
            [
                format!("p{n} 1.1.0; requires p{next} >=1.1"),
                format!("p{n} 2.0.0; requires p{next} ^2"),
            ]
        })
        .collect();
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let needs = (0..30).map(|n| format!("; requires p{n} >=1.1"));
    let web = format!("web 1.0.0{}", needs.collect::<String>());
    let found = compatible(
        &bundle(&[&web]),
        &production(&deployed),
        &catalog(&versions),
    );
    assert_eq!(found.len(), 20);
}

/// Ten packages that each want a place of their own, and nine places: the riddle that solvers of this kind are worst at.
#[test]
fn what_can_not_be_found_out_is_given_up() {
    let places = 9;
    let mut versions = Vec::new();
    for guest in 0..=places {
        for place in 0..places {
            let others = (0..guest).map(|other| format!("; conflicts g{other}-{place} *"));
            let others = others.collect::<String>();
            versions.push(format!(
                "g{guest}-{place} 1.0.0; provides seat-{guest} 1.0.0{others}"
            ));
        }
    }
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let wants = (0..=places).map(|guest| format!("; requires seat-{guest} ^1"));
    let party = format!("party 1.0.0{}", wants.collect::<String>());
    let found = compatible(&bundle(&[&party]), &production(&[]), &catalog(&versions));
    assert_eq!(found.len(), 10);
    for finding in found {
        let help = finding.help.unwrap_or_default();
        assert!(help.starts_with("no way was found"), "{help}");
    }
}
