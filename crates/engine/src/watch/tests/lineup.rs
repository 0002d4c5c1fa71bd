//! Who is compared with whom.
//!
//! Invariant: like with like, and nobody with himself.

use judge::Sums;
use model::EventCounts;

use super::*;
use crate::watch::lineup::{Lineup, Strata, tick};
use crate::watch::roster::{Groups, Roster};
use crate::watch::second::Second;

struct Scene {
    world: World,
    strata: Strata,
    second: Second,
    canary: Option<Digest>,
    start: Timestamp,
}

impl Scene {
    fn new() -> Scene {
        let mut world = World::new();
        let canary = Some(world.release(plan()));
        world.now = Millis::seconds(100).after(world.now);
        Scene {
            start: world.now,
            world,
            strata: Strata::default(),
            second: Second::default(),
            canary,
        }
    }

    fn cell(&mut self, digest: Option<Digest>, name: Option<&str>, class: &str, requests: u64) {
        self.second.add_cell(CellCounts {
            service: api(),
            digest,
            host: name.map(host),
            class: class.into(),
            requests,
            failed: 1,
            latency: vec![(8, requests)],
        });
    }

    fn tick(&mut self, warmup: Millis) -> judge::Tick {
        let roster = Roster::of(
            &self.world.state,
            &production(),
            &api(),
            &mut Groups::default(),
        );
        let lineup = Lineup {
            roster: &roster,
            canary: self.canary,
            start: self.start,
            warmup,
            events: true,
        };
        tick(&self.second, &lineup, &mut self.strata)
    }

    /// Names of strata with requests on both sides.
    fn strata(&mut self) -> Vec<(String, u64, u64)> {
        let tick = self.tick(Millis(0));
        let named = tick.strata.iter().map(|it| {
            let name = self.strata.name(it.stratum);
            (name, it.canary.n, it.control.n)
        });
        named.collect()
    }
}

#[test]
fn zones_are_compared_each_with_itself_while_each_has_both_sides() {
    let mut scene = Scene::new();
    let new = scene.canary;
    scene.cell(new, Some("a-0"), "write", 3);
    scene.cell(Some(old()), Some("a-1"), "write", 20);
    scene.cell(Some(old()), Some("b-0"), "write", 30);
    scene.cell(new, Some("a-0"), "read", 2);
    scene.cell(Some(old()), Some("b-1"), "read", 9);
    assert_eq!(
        scene.strata(),
        [
            // In zone a nobody else reads: over all zones.
            ("read".to_owned(), 2, 9),
            ("write in zone a".to_owned(), 3, 20),
            ("write in zone b".to_owned(), 0, 30),
        ]
    );
}

#[test]
fn a_source_that_knows_no_hosts_is_compared_over_all_zones() {
    let mut scene = Scene::new();
    let new = scene.canary;
    scene.cell(new, None, "", 3);
    scene.cell(Some(old()), Some("a-1"), "", 20);
    assert_eq!(scene.strata(), [("all requests".to_owned(), 3, 20)]);
}

#[test]
fn a_source_that_knows_hosts_alone_is_told_what_they_run() {
    let mut scene = Scene::new();
    scene.cell(None, Some("a-0"), "", 3);
    scene.cell(None, Some("a-1"), "", 20);
    scene.cell(None, Some("unknown"), "", 500);
    scene.cell(None, None, "", 500);
    assert_eq!(scene.strata(), [("zone a".to_owned(), 3, 20)]);
    // In the second in which it confirmed, nobody can say which bundle answered.
    scene.start = "2026-01-01T00:00:00Z".parse().unwrap();
    scene.world.now = Millis(500).after(scene.start);
    scene.world.confirm("a-0");
    assert_eq!(scene.strata(), [("zone a".to_owned(), 0, 20)]);
}

#[test]
fn latency_is_not_compared_while_a_host_warms_up() {
    let mut scene = Scene::new();
    let new = scene.canary;
    scene.cell(new, Some("a-0"), "", 3);
    scene.cell(Some(old()), Some("a-1"), "", 20);
    let cold = scene.tick(Millis::seconds(101));
    assert!(cold.strata[0].canary_latency.is_empty());
    assert_eq!(cold.strata[0].canary, Sums { n: 3, e: 1 });
    assert_eq!(cold.strata[0].control_latency, [(8, 20)]);
    let warm = scene.tick(Millis::seconds(100));
    assert_eq!(warm.strata[0].canary_latency, [(8, 3)]);
}

#[test]
fn more_strata_than_there_is_room_for_share_the_last_one() {
    let mut scene = Scene::new();
    for n in 0..40_u64 {
        scene.cell(Some(old()), Some("a-1"), &format!("class-{n:02}"), 1 + n);
    }
    let tick = scene.tick(Millis(0));
    assert_eq!(tick.strata.len(), 16);
    let all: u64 = tick.strata.iter().map(|it| it.control.n).sum();
    assert_eq!(all, (1..=40).sum::<u64>());
    assert_eq!(scene.strata.name(15), "other requests");
    assert_eq!(scene.strata.name(0), "class-00 in zone a");
}

#[test]
fn events_are_exposed_on_every_host_that_could_have_had_some() {
    let mut scene = Scene::new();
    scene.second.add_events(EventCounts {
        service: api(),
        host: host("a-0"),
        kind: "panic".into(),
        count: 4,
    });
    let tick = scene.tick(Millis(0));
    let custom = &tick.events[0];
    assert_eq!((custom.canary.events, custom.canary.host_ms), (4, 1000));
    assert_eq!((custom.control.events, custom.control.host_ms), (0, 3000));
}

#[test]
fn hosts_keep_their_numbers_and_share_them_when_there_are_many() {
    let mut groups = Groups::default();
    let mut world = World::new();
    let place = (production(), api());
    let first = Roster::of(&world.state, &place.0, &place.1, &mut groups);
    let hosts = (0..300).map(|n| {
        let services = [(api(), "127.0.0.1:1".to_owned())].into();
        (format!("c-{n:03}"), services)
    });
    let hosts: Vec<model::Host> = hosts
        .map(|(name, services)| model::Host {
            name: host(&name),
            zone: "c".parse().unwrap(),
            services,
            class: None,
        })
        .collect();
    world.state.topology.environments[1].hosts.extend(hosts);
    for n in 0..300 {
        world.event(Event::HostEnrolled {
            host: host(&format!("c-{n:03}")),
            token: model::TokenId(String::new()),
            public_key: String::new(),
            peer_address: String::new(),
            adopted: vec![(api(), old())],
            fence: Generation(0),
        });
    }
    let many = Roster::of(&world.state, &place.0, &place.1, &mut groups);
    for (name, member) in &first.0 {
        assert_eq!(many.get(name).unwrap().group, member.group);
    }
    assert!(many.0.values().all(|member| member.group < 64));
    assert_eq!(groups.names().len(), 64);
    world.state.topology.environments[1].hosts.truncate(4);
    Roster::of(&world.state, &place.0, &place.1, &mut groups);
    assert_eq!(
        groups
            .names()
            .iter()
            .filter(|name| !name.is_empty())
            .count(),
        4
    );
    assert_eq!(groups.only_host(0), Some(&host("a-0")));
}
