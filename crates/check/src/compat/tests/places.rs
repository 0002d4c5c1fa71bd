//! From a topology to places.

use model::{Environment, Host, HostClass, Topology};

use super::*;

fn host(name: &str, services: &[&str], class: Option<&str>) -> Host {
    let address = |service: &&str| (service.parse().unwrap(), "10.0.0.1:80".to_owned());
    Host {
        name: name.parse().unwrap(),
        zone: "a".parse().unwrap(),
        services: services.iter().map(address).collect(),
        class: class.map(|class| class.parse().unwrap()),
    }
}

fn topology() -> Topology {
    let environment = |name: &str, hosts: Vec<Host>| Environment {
        name: name.parse().unwrap(),
        hosts,
    };
    let production = vec![
        host("p1", &["api"], Some("web")),
        host("p2", &["api", "shop"], Some("web")),
        host("p3", &["api"], None),
        host("p4", &["shop"], Some("edge")),
    ];
    let class = HostClass {
        packages: [facts("runtime 1.4.0; provides sso 1.0.0")].into(),
    };
    Topology {
        environments: vec![
            environment("test", vec![host("t1", &["api"], Some("web"))]),
            environment("production", production),
        ],
        classes: [
            ("web".parse().unwrap(), class),
            ("edge".parse().unwrap(), HostClass::default()),
        ]
        .into(),
        ..Topology::default()
    }
}

#[test]
fn hosts_of_one_class_are_one_place() {
    let api = bundle(&["web 1.0.0; provides login 1.0.0"]);
    let shop = bundle(&["cart 1.0.0; requires login ^1", "runtime 9.0.0"]);
    let bundle_of = |service: &model::ServiceName| match service.as_str() {
        "api" => Some(&api),
        "shop" => Some(&shop),
        _ => None,
    };
    let places = places(&topology(), &"api".parse().unwrap(), bundle_of);
    let shown: Vec<String> = places
        .iter()
        .map(|place| {
            let deployed = place.deployed.iter();
            let deployed = deployed
                .map(|it| format!("{} {} of {}", it.name, it.facts.version, it.origin))
                .collect::<Vec<_>>();
            format!("{}: {}", place.label, deployed.join(", "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "production: web 1.0.0 of service api",
            "production (class web): cart 1.0.0 of service shop, runtime 1.4.0 of class web, \
             runtime 9.0.0 of service shop, web 1.0.0 of service api",
            "test (class web): runtime 1.4.0 of class web, web 1.0.0 of service api",
        ]
    );
    // Known only because what the service itself runs is among what is there before.
    check(
        &bundle(&["web 2.0.0; provides login 2.0.0"]),
        &places,
        &[],
        expect![[r#"
            On production (class web), cart 1.0.0 (service shop) needs login 1 or newer but older than 2.
            With this change, login comes from web 2.0.0, which provides 2.0.0.
            help: no known version helps: change the bundle, or add to the catalog a version that fits
        "#]],
    );
}
