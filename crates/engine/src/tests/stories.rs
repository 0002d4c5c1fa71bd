//! Given, when, then.

use expect_test::expect;
use model::refusal::Code;
use model::{Millis, Scope};

use super::world::{World, api, bundle, person};
use crate::{Effect, Input, due};

fn refused(result: Result<Vec<model::Event>, model::Refusal>) -> Code {
    result.unwrap_err().code
}

#[test]
fn a_good_change_goes_wave_by_wave() {
    let mut world = World::new(2, 2);
    world.until_good("good");
    expect![[r#"
        release 1 proposed
        stage test: waves of 1
        test wave 0
        test-0 ordered Forward generation 1
        test-0 confirmed
        wave passed
        test-0 rehearses
        test-0 ordered Rollback generation 2
        test-0 confirmed
        test-0 rehearsed: revert
        test-0 ordered Forward generation 3
        test-0 confirmed
        test-0 rehearsed: apply again
        test passed
        attested
        stage production: waves of 1, 1, 2
        production wave 0
        web-00 ordered Forward generation 1
        web-00 confirmed
        wave passed
        production wave 1
        web-01 ordered Forward generation 1
        web-01 confirmed
        wave passed
        production wave 2
        web-10 ordered Forward generation 1
        web-10 confirmed
        web-11 ordered Forward generation 1
        web-11 confirmed
        wave passed
        release 1 good"#]]
    .assert_eq(&world.story.join("\n"));
}

#[test]
fn a_bad_one_is_stopped_at_its_first_host() {
    let mut world = World::new(2, 2);
    world.until_good("good");
    world.story.clear();
    world.propose("bad").unwrap();
    let bad = bundle("bad").digest();
    world.failing.insert(bad, 1000);
    for _ in 0..15 {
        world.serve(2);
        world.carry_out();
    }
    expect![[r#"
        release 2 proposed
        stage test: waves of 1
        test wave 0
        test-0 ordered Forward generation 4
        test-0 confirmed
        wave passed
        test-0 rehearses
        test-0 ordered Rollback generation 5
        test-0 confirmed
        test-0 rehearsed: revert
        test-0 ordered Forward generation 6
        test-0 confirmed
        test-0 rehearsed: apply again
        test passed
        attested
        stage production: waves of 1, 1, 2
        production wave 0
        web-00 ordered Forward generation 2
        web-00 confirmed
        wave failed, errors: 100 of 100 requests failed (100 %) on the new bundle, 33 of 39900 (0.083 %) on the old: at least 280 times as often
        rollback of 2 by plimsoll
        digest quarantined
        test-0 ordered Rollback generation 7
        web-00 ordered Rollback generation 3
        test-0 confirmed
        web-00 confirmed
        release 2 back in 0 ms"#]]
    .assert_eq(&world.story.join("\n"));
    assert_eq!(refused(world.propose("bad")), Code::Quarantined);
    assert_eq!(refused(world.propose("good")), Code::AlreadyGood);
    let (service, digest, by) = (api(), bad, person());
    world.ok(Input::LiftQuarantine {
        by,
        service,
        digest,
        reason: "not its fault".into(),
    });
    world.propose("bad").unwrap();
}

#[test]
fn a_host_that_goes_back_by_itself_stops_the_wave() {
    let mut world = World::new(1, 2);
    world.propose("bad").unwrap();
    for _ in 0..3 {
        world.pass(Millis(1));
    }
    let test = "test-0".parse().unwrap();
    world.fail(&test, model::Generation(1));
    world.pass(Millis(1));
    world.story.drain(..4);
    expect![[r#"
        test-0 failed: went back by itself: no answer
        wave failed, host not confirmed: test-0: at health: went back by itself: no answer
        rollback of 1 by plimsoll
        digest quarantined
        test-0 ordered Rollback generation 2"#]]
    .assert_eq(&world.story.join("\n"));
}

#[test]
fn a_silent_host_is_waited_for_then_the_wave_fails() {
    let mut world = World::new(1, 2);
    world.propose("x").unwrap();
    for _ in 0..3 {
        world.pass(Millis(1));
    }
    world.pass(Millis::seconds(39));
    assert!(
        !world.story.iter().any(|line| line.contains("rollback")),
        "{:?}",
        world.story
    );
    world.pass(Millis::seconds(2));
    assert!(
        world
            .story
            .iter()
            .any(|line| line.contains("not confirmed within 40 s"))
    );
}

#[test]
fn a_control_plane_that_was_away_does_not_blame_the_hosts() {
    let mut world = World::new(1, 2);
    world.propose("x").unwrap();
    for _ in 0..3 {
        world.pass(Millis(1));
    }
    world.now = Millis::seconds(3600).after(world.now);
    world.watch = crate::Watch::new(world.now);
    world.ok(Input::Tick);
    assert!(
        !world.story.iter().any(|line| line.contains("rollback")),
        "{:?}",
        world.story
    );
    world.carry_out();
    for _ in 0..12 {
        world.pass(Millis::seconds(1));
        world.carry_out();
    }
    let reached = |line: &String| line == "production wave 0";
    assert!(world.story.iter().any(reached), "{:?}", world.story);
}

#[test]
fn a_wave_without_traffic_is_held_and_neither_passes_nor_fails() {
    let mut world = World::new(1, 2);
    let waits = |world: &World| {
        let release = world.state.releases.values().next().unwrap();
        crate::decide::waiting(&world.state, &world.watch, release, world.now)
    };
    world.rate = 0;
    world.propose("x").unwrap();
    for _ in 0..100 {
        world.serve(2);
        world.carry_out();
    }
    expect!["held: counts: no gateway and no other source has told of this service yet"]
        .assert_eq(world.story.last().unwrap());
    expect!["production wave 1 of 2 is held: it waits for counts: no gateway and no other source has told of this service yet"].assert_eq(&waits(&world).unwrap());
    world.rate = 10_000;
    world.serve(2);
    expect!["production wave 1 of 2 is held: it waits for about 280 more requests on the new bundle (up to 56 times as many failures as on the old bundle can't be excluded yet)"].assert_eq(&waits(&world).unwrap());
    // Of the newest minute nearly every second must be known.
    world.serve(70);
    let passed = world.story.iter().filter(|line| *line == "wave passed");
    assert_eq!(passed.count(), 2, "the test's and the first of production");
}

#[test]
fn a_freeze_stops_forward_and_never_back() {
    let mut world = World::new(2, 2);
    let freeze = |reason: &str| Input::Freeze {
        by: person(),
        scope: Scope::Everything,
        reason: reason.into(),
        until: None,
    };
    world.propose("x").unwrap();
    world.pass(Millis(1));
    world.pass(Millis(1));
    world.ok(freeze("fair day"));
    world.pass(Millis(1));
    assert_eq!(
        world.story.last().unwrap(),
        "frozen",
        "nobody is ordered in a freeze"
    );
    let thaw = Input::Thaw {
        by: person(),
        scope: Scope::Everything,
        reason: String::new(),
    };
    world.ok(thaw.clone());
    world.pass(Millis(1));
    world.ok(freeze("again"));
    world.carry_out();
    world.pass(Millis::seconds(6));
    assert_eq!(
        world.story.last().unwrap(),
        "wave passed",
        "what was begun is finished"
    );
    world.pass(Millis::seconds(6));
    assert_eq!(
        world.story.last().unwrap(),
        "wave passed",
        "and then it holds"
    );
    world.roll_back(None).unwrap();
    world.carry_out();
    world.ok(Input::Tick);
    assert!(world.story.last().unwrap().starts_with("release 1 back"));
    assert_eq!(refused(world.propose("y")), Code::Frozen);
}

#[test]
fn a_good_release_can_be_undone_and_so_can_the_one_before() {
    let mut world = World::new(1, 2);
    world.until_good("one");
    world.until_good("two");
    world.until_good("three");
    let (one, two) = (bundle("one").digest(), bundle("two").digest());
    world.roll_back(None).unwrap();
    assert_eq!(world.state.good(&api()), Some(two));
    world.carry_out();
    world.ok(Input::Tick);
    let runs = |world: &World| {
        let slots = world
            .state
            .hosts
            .values()
            .flat_map(|host| host.slots.values());
        slots
            .map(|slot| slot.running)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(runs(&world), [two].into());
    world.roll_back(Some(one)).unwrap();
    world.carry_out();
    world.ok(Input::Tick);
    assert_eq!(runs(&world), [one].into());
    assert_eq!(world.state.good(&api()), Some(one));
    let never = bundle("never").digest();
    assert_eq!(refused(world.roll_back(Some(never))), Code::TargetNeverGood);
    assert_eq!(world.state.services[&api()].active, None);
}

#[test]
fn a_change_that_met_no_host_may_come_again() {
    let mut world = World::new(1, 2);
    world.propose("x").unwrap();
    world.roll_back(None).unwrap();
    assert!(world.story.last().unwrap().starts_with("release 1 back"));
    world.propose("x").unwrap();
    assert_eq!(refused(world.propose("y")), Code::ReleaseInProgress);
    // Not even once its first wave has begun.
    world.pass(Millis(1));
    world.pass(Millis(1));
    assert_eq!(world.story.last().unwrap(), "test wave 0");
    world.roll_back(None).unwrap();
    world.propose("x").unwrap();
}

#[test]
fn a_late_confirmation_is_stale() {
    let mut world = World::new(1, 2);
    world.propose("x").unwrap();
    for _ in 0..3 {
        world.pass(Millis(1));
    }
    world.roll_back(None).unwrap();
    let confirm = Input::Confirm {
        host: "test-0".parse().unwrap(),
        service: api(),
        generation: model::Generation(1),
        digest: bundle("x").digest(),
    };
    assert_eq!(refused(world.give(confirm)), Code::StaleGeneration);
}

#[test]
fn traffic_follows_the_wave_and_leaves_at_once() {
    let mut world = World::new(1, 4);
    world.until_good("one");
    world.propose("two").unwrap();
    let two = bundle("two").digest();
    let shares = |world: &World| {
        let effects = due(&world.state);
        let routes = effects.into_iter().find_map(|effect| match effect {
            Effect::Routes {
                environment,
                services,
            } if environment.as_str() == "production" => services.get(&api()).cloned(),
            _ => None,
        });
        let pools = routes.unwrap().pools;
        let told = |pool: &model::Pool| {
            let name = if pool.digest == two { "two" } else { "one" };
            format!("{name} {} on {}", pool.share_permille, pool.backends.len())
        };
        pools.iter().map(told).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(shares(&world), "one 100 % on 4");
    while !world.story.last().unwrap().starts_with("web-00 ordered") {
        world.pass(Millis::seconds(3));
        if world.story.last().unwrap().starts_with("test-0 ordered") {
            world.carry_out();
        }
    }
    assert_eq!(
        shares(&world),
        "one 100 % on 3",
        "a host in change gets no requests"
    );
    world.carry_out();
    assert_eq!(shares(&world), "one 99 % on 3, two 1 % on 1");
    world.roll_back(None).unwrap();
    assert_eq!(
        shares(&world),
        "one 100 % on 3",
        "exposure ends before the host is back"
    );
    world.carry_out();
    assert_eq!(shares(&world), "one 100 % on 4");
}

#[test]
fn with_every_host_on_the_way_back_requests_still_go_somewhere() {
    let mut world = World::new(1, 2);
    world.until_good("one");
    world.until_good("two");
    world.roll_back(None).unwrap();
    let served: usize = due(&world.state)
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Routes {
                environment,
                services,
            } if environment.as_str() == "production" => Some(
                services[&api()]
                    .pools
                    .iter()
                    .map(|pool| pool.backends.len())
                    .sum::<usize>(),
            ),
            _ => None,
        })
        .sum();
    assert_eq!(served, 2);
}

#[test]
fn a_rollback_whose_append_was_cut_short_is_finished() {
    let mut world = World::new(2, 2);
    world.until_good("one");
    let before = world.journal.len();
    world.roll_back(None).unwrap();
    // The process ended after the first order was durable; the rest is lost.
    let first_order = world.journal[before..]
        .iter()
        .position(|(_, event)| matches!(event, model::Event::HostOrdered { .. }))
        .unwrap();
    world.journal.truncate(before + first_order + 1);
    world.state = world.replayed();
    world.ok(Input::Tick);
    world.carry_out();
    world.ok(Input::Tick);
    assert!(
        world.story.last().unwrap().starts_with("release 1 back"),
        "{:?}",
        world.story
    );
    let slots = world
        .state
        .hosts
        .values()
        .flat_map(|host| host.slots.values());
    assert!(
        slots
            .map(|slot| slot.running)
            .all(|d| d == model::Digest::of(b"as found"))
    );
}

#[test]
fn going_to_the_bundle_that_is_good_already_keeps_its_release_good() {
    let mut world = World::new(1, 2);
    world.until_good("one");
    world.until_good("two");
    let (one, two) = (bundle("one").digest(), bundle("two").digest());
    world.roll_back(Some(two)).unwrap();
    world.carry_out();
    world.ok(Input::Tick);
    assert_eq!(world.state.good(&api()), Some(two));
    world.roll_back(None).unwrap();
    world.carry_out();
    world.ok(Input::Tick);
    assert_eq!(
        world.state.good(&api()),
        Some(one),
        "it can still be undone"
    );
}

#[test]
fn a_host_that_was_taken_elsewhere_during_a_way_back_is_told_again() {
    let mut world = World::new(1, 2);
    world.until_good("one");
    world.propose("two").unwrap();
    while !world
        .story
        .last()
        .unwrap()
        .starts_with("test-0 ordered Forward")
    {
        world.pass(Millis(1));
    }
    world.carry_out();
    world.roll_back(None).unwrap();
    let test = "test-0".parse().unwrap();
    let generation = world
        .state
        .slot(&test, &api())
        .unwrap()
        .order
        .as_ref()
        .unwrap()
        .generation;
    world.fail(&test, generation);
    world.pass(Millis::seconds(1));
    assert!(
        world.story.last().unwrap().contains("failed"),
        "not at once"
    );
    world.pass(Millis::seconds(5));
    assert!(
        world
            .story
            .last()
            .unwrap()
            .starts_with("test-0 ordered Rollback")
    );
    world.carry_out();
    world.ok(Input::Tick);
    assert!(world.story.last().unwrap().starts_with("release 2 back"));
    // A local revert after the end keeps nobody from the next release.
    world.fail(&test, generation.next());
    world.until_good("three");
}
