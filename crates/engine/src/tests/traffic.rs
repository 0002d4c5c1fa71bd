//! Who serves while others are changed or restarted: drains, floors, restarts, shifts, ramps.

use std::collections::BTreeMap;

use expect_test::expect;
use model::refusal::Code;
use model::{Applied, Digest, Event, GatewayName, HostName, InFlight, Millis, Permille};

use super::world::{World, api, bundle, person};
use crate::decide::Wanted;
use crate::{Effect, Input, SlotStatus, Status};

/// What is in force at the gateway, and what its hosts still work on.
struct Gateway {
    name: GatewayName,
    busy: BTreeMap<HostName, u64>,
}

impl Gateway {
    fn new(name: &str) -> Gateway {
        Gateway {
            name: name.parse().unwrap(),
            busy: BTreeMap::new(),
        }
    }

    /// It takes the newest routes and says so.
    fn posts(&self, world: &mut World) {
        let routes = routes(world);
        let drained = routes.drained.into_iter().map(|it| InFlight {
            service: api(),
            requests: self.busy.get(&it.host).copied().unwrap_or(0),
            host: it.host,
            since: it.since,
        });
        let applied = Applied {
            version: 1,
            drained: drained.collect(),
        };
        let production = "production".parse().unwrap();
        let now = world.now;
        world
            .watch
            .applied(&self.name, 1, &production, applied, now);
    }
}

/// What may happen to who serves, refused or not.
pub(super) fn steer(world: &mut World, what: u8, host: &HostName) {
    let (by, service, reason) = (person(), api(), String::from("r"));
    let service_of = |world: &World| world.state.services.get(&api()).and_then(|it| it.active);
    let host = host.clone();
    let input = match what {
        0 => Input::Restart {
            by,
            wanted: wanted(&[]),
        },
        1 => Input::StopRestart {
            by,
            service,
            reason,
        },
        2 | 3 => Input::Drain {
            by,
            service,
            host,
            reason,
            force: what == 3,
        },
        4 => Input::Undrain {
            by,
            service,
            host,
            reason,
        },
        5 | 6 => Input::Ramp {
            by,
            service,
            open: Permille::new(if what == 5 { 250 } else { 1000 }).unwrap(),
            hold: false,
            reason,
        },
        7 => {
            let active = service_of(world).and_then(|id| world.state.releases.get(&id));
            Input::Shift {
                by,
                service,
                digest: active.map_or(Digest::of(b""), |release| release.digest),
                reason,
            }
        }
        _ => return Gateway::new("east").posts(world),
    };
    drop(world.give(input));
}

fn routes(world: &World) -> model::ServiceRoutes {
    let mut effects = crate::due::routes_due(&world.state);
    let found = effects.find_map(|effect| match effect {
        Effect::Routes {
            environment,
            mut services,
        } if environment.as_str() == "production" => services.remove(&api()),
        Effect::Routes { .. } | Effect::Orders { .. } => None,
    });
    found.unwrap()
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn routed(world: &World) -> Vec<String> {
    let pools = routes(world).pools.into_iter();
    let mut hosts: Vec<String> = pools
        .flat_map(|pool| pool.backends)
        .map(|backend| backend.host.to_string())
        .collect();
    hosts.sort();
    hosts
}

fn status(world: &World, name: &str) -> SlotStatus {
    world
        .state
        .slot(&host(name), &api())
        .unwrap()
        .status
        .clone()
}

fn is_ordered(world: &World, name: &str) -> bool {
    matches!(status(world, name), SlotStatus::Ordered { .. })
}

fn is_drained(world: &World, name: &str) -> bool {
    let slot = world.state.slot(&host(name), &api()).unwrap();
    slot.drain.is_some()
}

/// A fleet that runs a bundle which knows how to be restarted.
fn settled(zones: usize, per_zone: usize) -> World {
    let mut world = World::new(zones, per_zone);
    world.propose("service").unwrap();
    for _ in 0..400 {
        if matches!(newest(&world), Status::Good) {
            world.story.clear();
            return world;
        }
        world.serve(1);
        confirm_all(&mut world);
    }
    panic!("{:?}", world.story);
}

fn newest(world: &World) -> Status {
    world.state.releases.values().last().unwrap().status.clone()
}

fn confirm_all(world: &mut World) {
    for host in world.hosts() {
        let slot = world.state.slot(&host, &api()).unwrap();
        if matches!(slot.status, SlotStatus::Ordered { .. }) {
            world.confirm(&host).unwrap();
        }
    }
}

fn wanted(hosts: &[&str]) -> Wanted {
    Wanted {
        service: api(),
        environment: None,
        hosts: hosts.iter().map(|name| host(name)).collect(),
        parallel: None,
        floor: None,
        reason: "it leaks".into(),
    }
}

fn restart(world: &mut World, wanted: Wanted) -> Result<Vec<Event>, model::Refusal> {
    let by = person();
    world.give(Input::Restart { by, wanted })
}

fn refused(result: Result<Vec<Event>, model::Refusal>) -> (Code, String) {
    let refusal = result.unwrap_err();
    (
        refusal.code,
        format!("{} {}", refusal.message, refusal.next),
    )
}

/// So many steps of a restart, in which gateways tell and hosts do what they are told.
fn go_on(world: &mut World, gateway: &Gateway, steps: usize) {
    for _ in 0..steps {
        gateway.posts(world);
        world.pass(Millis(300));
        gateway.posts(world);
        confirm_all(world);
    }
}

#[test]
fn a_host_is_told_once_every_gateway_has_let_go_of_it() {
    let mut world = settled(1, 4);
    let (mut east, west) = (Gateway::new("east"), Gateway::new("west"));
    let first = host("web-00");
    east.posts(&mut world);
    west.posts(&mut world);
    restart(&mut world, wanted(&[])).unwrap();
    world.pass(Millis(300));
    assert!(is_drained(&world, "web-00") && !is_ordered(&world, "web-00"));
    assert_eq!(routed(&world), ["web-01", "web-02", "web-03"]);

    // One has taken the routes and has two requests there, the other has not.
    east.busy.insert(first.clone(), 2);
    east.posts(&mut world);
    world.pass(Millis(300));
    assert!(!is_ordered(&world, "web-00"));
    let told = |world: &World| {
        let restart = world.state.restarts().next().unwrap();
        crate::decide::restart_waits(&world.state, &world.watch, restart, world.now).unwrap()
    };
    expect!["2 requests of east to end at web-00"].assert_eq(&told(&world));
    east.busy.clear();
    east.posts(&mut world);
    world.pass(Millis(300));
    expect!["west to take web-00 out of its routes"].assert_eq(&told(&world));
    west.posts(&mut world);
    world.pass(Millis(300));
    assert!(is_ordered(&world, "web-00"));
    assert_eq!(routed(&world), ["web-01", "web-02", "web-03"]);
    // Back at once with its word.
    world.confirm(&first).unwrap();
    assert_eq!(routed(&world), ["web-00", "web-01", "web-02", "web-03"]);
}

#[test]
fn a_gateway_that_is_gone_is_not_waited_for_and_nothing_is_for_ever() {
    let mut world = settled(1, 4);
    let mut east = Gateway::new("east");
    Gateway::new("west").posts(&mut world);
    east.busy.insert(host("web-00"), 1);
    east.posts(&mut world);
    restart(&mut world, wanted(&[])).unwrap();
    world.pass(Millis(300));
    let began = world.now;
    while !is_ordered(&world, "web-00") {
        east.posts(&mut world);
        world.pass(Millis(500));
        assert!(Millis::between(began, world.now) <= Millis::seconds(11));
    }
    // West was gone after five seconds; the tunnel at east kept it for the whole bound.
    assert!(Millis::between(began, world.now) >= Millis::seconds(9));
}

#[test]
fn a_release_drains_too_and_a_way_back_waits_for_nothing() {
    let mut world = settled(1, 4);
    let mut east = Gateway::new("east");
    world.propose("service two").unwrap();
    while !is_drained(&world, "web-00") {
        east.posts(&mut world);
        world.serve(1);
        confirm_all(&mut world);
        assert!(!is_ordered(&world, "web-00"), "{:?}", world.story);
    }
    east.posts(&mut world);
    world.pass(Millis(300));
    assert!(is_ordered(&world, "web-00"));
    world.confirm(&host("web-00")).unwrap();

    while !is_drained(&world, "web-01") {
        east.posts(&mut world);
        world.serve(1);
    }
    // One host runs it, another is about to: both are settled in the same append.
    east.busy.insert(host("web-00"), 7);
    world.roll_back(None).unwrap();
    assert!(is_ordered(&world, "web-00"));
    assert!(!is_drained(&world, "web-01"));
    assert_eq!(routed(&world), ["web-01", "web-02", "web-03"]);
}

#[test]
fn requests_move_with_the_hosts_of_a_wave() {
    let mut world = settled(1, 8);
    let east = Gateway::new("east");
    world.propose("service two").unwrap();
    let digest = bundle("service two").digest();
    let mut shares = Vec::new();
    while !matches!(newest(&world), Status::Good) {
        east.posts(&mut world);
        world.serve(1);
        confirm_all(&mut world);
        let routes = routes(&world);
        let all: usize = routes.pools.iter().map(|pool| pool.backends.len()).sum();
        assert!(all >= 6, "{:?}", routed(&world));
        let new = routes.pools.iter().find(|pool| pool.digest == digest);
        let Some(new) = new else { continue };
        let (share, hosts) = (new.share_permille, new.backends.len());
        // Nobody carries more than a bit above what is even.
        if hosts > 1 {
            let even = Permille::of(hosts as u64, all as u64).get();
            assert!(
                share.get() >= even.min(1000),
                "{share} for {hosts} of {all}"
            );
        }
        if shares.last() != Some(&share) {
            shares.push(share);
        }
    }
    assert!(shares.is_sorted(), "{shares:?}");
    assert_eq!(shares.last(), Some(&Permille::ALL));
}

#[test]
fn the_only_host_is_told_as_it_is() {
    let mut world = settled(1, 1);
    let east = Gateway::new("east");
    east.posts(&mut world);
    let (code, words) = refused(restart(&mut world, wanted(&[])));
    assert_eq!(code, Code::BelowFloor);
    expect![
        "web-00 is the only host: nobody serves while it restarts If that may be, say `--floor 0%`."
    ]
    .assert_eq(&words);
    let all_out = Wanted {
        floor: Some(Permille::NONE),
        ..wanted(&[])
    };
    restart(&mut world, all_out).unwrap();
    world.pass(Millis(300));
    assert!(is_ordered(&world, "web-00") && !is_drained(&world, "web-00"));
}

#[test]
fn a_restart_spreads_over_zones_and_holds_the_floor() {
    let mut world = settled(2, 4);
    let east = Gateway::new("east");
    east.posts(&mut world);
    restart(&mut world, wanted(&[])).unwrap();
    let restart = world.state.restarts().next().unwrap();
    let order: Vec<&str> = restart.hosts.iter().map(HostName::as_str).collect();
    assert_eq!(
        order,
        [
            "web-00", "web-10", "web-01", "web-11", "web-02", "web-12", "web-03", "web-13"
        ]
    );
    for _ in 0..200 {
        go_on(&mut world, &east, 1);
        assert!(routed(&world).len() >= 6, "{:?}", routed(&world));
        if world.state.restarts().next().is_none() {
            break;
        }
    }
    let ended = world.state.traffic.restarts.values().next().unwrap();
    let end = ended.end.as_ref().unwrap();
    assert_eq!((end.stopped.clone(), ended.done.len()), (None, 8));
    assert_eq!(routed(&world).len(), 8);
    assert_eq!(world.state.good(&api()), Some(bundle("service").digest()));
}

#[test]
fn a_restart_stops_when_a_host_does_not_come_back() {
    let mut world = settled(1, 8);
    let east = Gateway::new("east");
    east.posts(&mut world);
    restart(&mut world, wanted(&[])).unwrap();
    go_on(&mut world, &east, 1);
    for _ in 0..200 {
        east.posts(&mut world);
        world.pass(Millis(300));
    }
    assert!(world.state.restarts().next().is_none());
    let restart = world.state.traffic.restarts.values().next().unwrap();
    let (by, why) = restart.end.as_ref().unwrap().stopped.clone().unwrap();
    assert_eq!(by.name, "plimsoll");
    assert!(why.contains("is not back within 20 s"), "{why}");
    // Those that were drained and not told serve.
    assert!(routed(&world).len() >= 6, "{:?}", routed(&world));
    assert!(
        world
            .hosts()
            .iter()
            .all(|host| !is_drained(&world, host.as_str()))
    );
}

#[test]
fn a_way_back_ends_a_restart_and_takes_its_hosts_along() {
    let mut world = settled(1, 8);
    let east = Gateway::new("east");
    east.posts(&mut world);
    restart(&mut world, wanted(&[])).unwrap();
    east.posts(&mut world);
    world.pass(Millis(300));
    east.posts(&mut world);
    world.pass(Millis(300));
    assert!(is_ordered(&world, "web-00"));
    world.roll_back(None).unwrap();
    world.pass(Millis(300));
    assert!(world.state.restarts().next().is_none());
    confirm_all(&mut world);
    for host in world
        .hosts()
        .iter()
        .filter(|host| host.as_str() != "test-0")
    {
        let slot = world.state.slot(host, &api()).unwrap();
        assert_eq!(slot.running, Digest::of(b"as found"), "{host}");
    }
}

#[test]
fn restarts_are_refused_when_they_would_hurt() {
    let mut world = settled(1, 8);
    let east = Gateway::new("east");
    east.posts(&mut world);
    let many = Wanted {
        parallel: Some(3),
        ..wanted(&[])
    };
    let (code, words) = refused(restart(&mut world, many));
    assert_eq!(code, Code::BelowFloor);
    assert!(words.contains("`--parallel 2`"), "{words}");
    let all = Wanted {
        parallel: Some(8),
        floor: Some(Permille::NONE),
        ..wanted(&[])
    };
    assert_eq!(refused(restart(&mut world, all)).0, Code::BelowFloor);
    let stranger = refused(restart(&mut world, wanted(&["web-77"])));
    assert_eq!(stranger.0, Code::UnknownHost);

    restart(&mut world, wanted(&["web-00"])).unwrap();
    let again = refused(restart(&mut world, wanted(&[])));
    assert_eq!(again.0, Code::RestartUnderWay);
    let stop = |world: &mut World| {
        world.give(Input::StopRestart {
            by: person(),
            service: api(),
            reason: "enough".into(),
        })
    };
    stop(&mut world).unwrap();
    assert_eq!(refused(stop(&mut world)).0, Code::NothingToLift);

    // Two of eight are out: no third.
    for name in ["web-01", "web-02"] {
        drain(&mut world, name, false).unwrap();
    }
    let (code, words) = refused(restart(&mut world, wanted(&["web-03"])));
    assert_eq!(code, Code::BelowFloor);
    assert!(
        words.starts_with(
            "6 of 8 hosts have to serve (75 %), and 2 are out: web-01 is drained, web-02 is drained"
        ),
        "{words}"
    );
    // What is out already costs nothing.
    restart(&mut world, wanted(&["web-01"])).unwrap();
    stop(&mut world).unwrap();

    world.propose("service two").unwrap();
    let busy = refused(restart(&mut world, wanted(&[])));
    assert_eq!(busy.0, Code::ReleaseInProgress);
}

#[test]
fn a_fifth_restart_within_an_hour_is_a_storm() {
    let mut world = settled(1, 4);
    for _ in 0..4 {
        restart(&mut world, wanted(&["web-00"])).unwrap();
        world.pass(Millis::seconds(1));
        world.confirm(&host("web-00")).unwrap();
        world.pass(Millis::seconds(1));
        world.pass(Millis::seconds(60));
    }
    let (code, words) = refused(restart(&mut world, wanted(&["web-00"])));
    assert_eq!(code, Code::RestartStorm);
    assert!(words.contains("It may be restarted again at "), "{words}");
    world.pass(Millis::seconds(3600));
    restart(&mut world, wanted(&["web-00"])).unwrap();
}

#[test]
fn what_nobody_knows_how_to_restart_is_not() {
    let mut world = World::new(1, 4);
    let (code, words) = refused(restart(&mut world, wanted(&[])));
    assert_eq!(code, Code::NotRestartable);
    assert!(words.contains("no restart command"), "{words}");
}

fn drain(world: &mut World, name: &str, force: bool) -> Result<Vec<Event>, model::Refusal> {
    world.give(Input::Drain {
        by: person(),
        service: api(),
        host: host(name),
        reason: "bad memory".into(),
        force,
    })
}

#[test]
fn a_drained_host_stays_so_through_releases_until_a_person_lets_it_in() {
    let mut world = settled(1, 8);
    let east = Gateway::new("east");
    drain(&mut world, "web-01", false).unwrap();
    assert!(drain(&mut world, "web-01", false).unwrap().is_empty());
    world.propose("service two").unwrap();
    for _ in 0..400 {
        east.posts(&mut world);
        world.serve(1);
        confirm_all(&mut world);
        assert!(!routed(&world).contains(&"web-01".to_owned()));
    }
    assert!(matches!(newest(&world), Status::Good), "{:?}", world.story);
    let slot = world.state.slot(&host("web-01"), &api()).unwrap();
    assert_eq!(slot.running, bundle("service two").digest());
    let undrain = Input::Undrain {
        by: person(),
        service: api(),
        host: host("web-01"),
        reason: "mended".into(),
    };
    world.ok(undrain.clone());
    assert_eq!(routed(&world).len(), 8);
    assert_eq!(refused(world.give(undrain)).0, Code::NothingToLift);
    for name in ["web-00", "web-01"] {
        drain(&mut world, name, false).unwrap();
    }
    assert_eq!(
        refused(drain(&mut world, "web-02", false)).0,
        Code::BelowFloor
    );
    // With force all of them: then a bad answer is better than none.
    for host in world.hosts() {
        drain(&mut world, host.as_str(), true).unwrap();
    }
    assert_eq!(routed(&world).len(), 8);
}

#[test]
fn a_bundle_loses_its_requests_at_once_and_gets_them_back_on_a_persons_word() {
    let mut world = settled(1, 8);
    world.propose("service two").unwrap();
    let digest = bundle("service two").digest();
    let share = |world: &World| {
        let pools = routes(world).pools.into_iter();
        let mut pools = pools.filter(|pool| pool.digest == digest);
        pools.next().map(|pool| pool.share_permille)
    };
    while share(&world).is_none_or(|share| share == Permille::NONE) {
        world.serve(1);
        confirm_all(&mut world);
    }
    let shift = Input::Shift {
        by: person(),
        service: api(),
        digest,
        reason: "orders look odd".into(),
    };
    world.ok(shift.clone());
    assert_eq!(share(&world), Some(Permille::NONE));
    assert!(world.ok(shift).is_empty());
    let orders = |world: &World| {
        let ordered = |line: &&String| line.contains("ordered");
        world.story.iter().filter(ordered).count()
    };
    let before = orders(&world);
    world.serve(60);
    assert_eq!(orders(&world), before, "{:?}", world.story);
    let release = *world.state.releases.keys().last().unwrap();
    world.ok(Input::Continue {
        by: person(),
        release,
        reason: "it was the clock".into(),
    });
    assert!(share(&world).is_some_and(|share| share > Permille::NONE));
    let unknown = world.give(Input::Shift {
        by: person(),
        service: api(),
        digest: bundle("service").digest(),
        reason: String::new(),
    });
    assert_eq!(refused(unknown).0, Code::UnknownRelease);
}

fn ramp(world: &mut World, open: u16, hold: bool) -> Result<Vec<Event>, model::Refusal> {
    world.give(Input::Ramp {
        by: person(),
        service: api(),
        open: Permille::new(open).unwrap(),
        hold,
        reason: "the database is back".into(),
    })
}

#[test]
fn a_ramp_opens_by_quarters_on_good_answers_and_closes_on_bad_ones() {
    let mut world = settled(1, 8);
    assert_eq!(refused(ramp(&mut world, 300, false)).0, Code::BadRequest);
    ramp(&mut world, 250, false).unwrap();
    let open = |world: &World| routes(world).open_permille.get();
    assert_eq!(open(&world), 250);
    let mut steps = vec![250];
    let mut until = |world: &mut World, wanted: u16| {
        for _ in 0..200 {
            if open(world) != *steps.last().unwrap() {
                steps.push(open(world));
            }
            if open(world) == wanted {
                return steps.clone();
            }
            world.serve(1);
        }
        panic!("{steps:?}");
    };
    assert_eq!(until(&mut world, 750), [250, 500, 750]);
    let digest = bundle("service").digest();
    world.failing.insert(digest, 300);
    assert_eq!(until(&mut world, 250), [250, 500, 750, 250]);
    world.serve(10);
    assert_eq!(open(&world), 250, "it doesn't open while requests fail");
    world.failing.clear();
    assert_eq!(until(&mut world, 1000)[4..], [500, 750, 1000]);
    assert!(world.state.traffic.ramps.is_empty());

    ramp(&mut world, 500, true).unwrap();
    world.serve(60);
    assert_eq!(open(&world), 500, "held");
    ramp(&mut world, 1000, false).unwrap();
    assert_eq!(open(&world), 1000);
}
