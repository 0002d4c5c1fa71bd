//! What follows from harm, from not knowing, and from a person's word.

use expect_test::expect;
use model::refusal::Code;
use model::{Actor, Event, HostName, Millis, OrderKind, ReleaseId, RollbackCause, Rule, Verdict};

use super::world::{World, api, bundle};
use crate::watch::Beat;
use crate::{Input, SlotStatus};

fn carry_on(world: &mut World, name: &str) -> Result<Vec<Event>, Code> {
    let by = Actor {
        name: name.into(),
        role: None,
    };
    let release = ReleaseId(world.state.releases_given);
    let given = world.give(Input::Continue {
        by,
        release,
        reason: "seen it".into(),
    });
    given.map_err(|refusal| refusal.code)
}

fn said(world: &World, what: &str) -> bool {
    world.story.iter().any(|line| line.contains(what))
}

/// Until the story says so, with customers.
fn serve_until(world: &mut World, what: &str) {
    for _ in 0..400 {
        if said(world, what) {
            return;
        }
        world.serve(1);
        world.carry_out();
    }
    panic!("never {what}: {:#?}", world.story);
}

/// The same without any.
fn wait_until(world: &mut World, what: &str) {
    for _ in 0..400 {
        if said(world, what) {
            return;
        }
        world.pass(Millis::seconds(1));
        world.carry_out();
    }
    panic!("never {what}: {:#?}", world.story);
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn good(world: &World, content: &str) -> bool {
    world.state.good(&api()) == Some(bundle(content).digest())
}

#[test]
fn harm_of_what_cant_go_back_stops_it_and_a_person_may_go_on() {
    let mut world = World::new(1, 2);
    let bad = bundle("irreversible").digest();
    world.failing.insert(bad, 500);
    world.propose("irreversible").unwrap();
    serve_until(&mut world, "held: ");
    let from = world
        .story
        .iter()
        .position(|line| line == "production wave 0");
    expect![[r#"
        production wave 0
        web-00 ordered Forward generation 1
        web-00 confirmed
        wave failed, errors: 50 of 100 requests failed (50 %) on the new bundle, 39 of 39900 (0.1 %) on the old: at least 210 times as often
        held: a person's word, because its plan calls it irreversible (errors: 50 of 100 requests failed (50 %) on the new bundle, 39 of 39900 (0.1 %) on the old: at least 210 times as often): `plimsoll continue 1` or `plimsoll rollback`"#]].assert_eq(&world.story[from.unwrap()..].join("\n"));
    world.serve(5);
    let held = world.story.iter().filter(|line| line.starts_with("held: "));
    assert_eq!(held.count(), 1, "people are asked once");
    let release = world.state.releases.values().next().unwrap();
    let why = crate::decide::waiting(&world.state, &world.watch, release, world.now);
    let why = why.unwrap();
    assert!(
        why.starts_with("production wave 1 of 2 is held: it waits for a person's word"),
        "{why}"
    );
    assert!(
        why.ends_with("`plimsoll continue 1` or `plimsoll rollback`"),
        "{why}"
    );
    carry_on(&mut world, "bob").unwrap();
    // It fails as before: what the next wave adds to it they are asked once that has baked.
    let asked = |world: &World| {
        let held = world.story.iter().filter(|line| line.starts_with("held: "));
        held.count()
    };
    for _ in 0..60 {
        world.serve(1);
        if asked(&world) == 2 {
            break;
        }
    }
    assert_eq!(asked(&world), 2, "{:?}", world.story);
    carry_on(&mut world, "bob").unwrap();
    serve_until(&mut world, "release 1 good");
    assert!(!said(&world, "rollback of"), "{:?}", world.story);
    world.roll_back(None).unwrap();
    world.carry_out();
    world.ok(Input::Tick);
    assert!(said(&world, "release 1 back"), "a person may at any time");
}

#[test]
fn a_host_that_fails_with_what_cant_go_back_stops_it_each_time() {
    let mut world = World::new(1, 3);
    world.propose("irreversible").unwrap();
    serve_until(&mut world, "web-00 ordered");
    confirm_and_fail(&mut world, "web-00");
    world.serve(1);
    assert!(
        said(&world, "wave failed, health failing"),
        "{:?}",
        world.story
    );
    carry_on(&mut world, "bob").unwrap();
    world.serve(1);
    assert!(said(&world, "production wave 1"), "{:?}", world.story);
    assert!(!said(&world, "rollback of"), "{:?}", world.story);
}

/// It runs the bundle, and its health check fails.
fn confirm_and_fail(world: &mut World, name: &str) {
    let failing = host(name);
    let slot = world.state.slot(&failing, &api()).unwrap();
    let generation = slot.order.as_ref().unwrap().generation;
    world.confirm(&failing).unwrap();
    let digest = bundle("irreversible").digest();
    let beat = Beat::new(digest, generation, Some(false));
    world
        .watch
        .beat(&failing, [(api(), beat)].into(), world.now);
}

/// Each host refuses its order until `what` is said.
fn refuse_until(world: &mut World, what: &str) {
    for _ in 0..100 {
        if said(world, what) {
            return;
        }
        world.serve(1);
        for name in world.hosts() {
            let slot = world.state.slot(&name, &api()).unwrap();
            let (status, order) = (slot.status.clone(), slot.order.clone());
            match (status, order) {
                (SlotStatus::Ordered { .. }, Some(order)) => world.fail(&name, order.generation),
                _ => continue,
            }
        }
    }
    panic!("never {what}: {:#?}", world.story);
}

#[test]
fn a_word_about_the_test_is_none_about_production() {
    let mut world = World::new(1, 2);
    world.failing.insert(bundle("irreversible").digest(), 500);
    world.propose("irreversible").unwrap();
    serve_until(&mut world, "test-0 ordered");
    confirm_and_fail(&mut world, "test-0");
    world.serve(1);
    assert!(said(&world, "held: a person's word"), "{:?}", world.story);
    carry_on(&mut world, "bob").unwrap();
    serve_until(&mut world, "wave failed, errors");
    assert!(said(&world, "production wave 0"), "{:?}", world.story);
    assert!(!said(&world, "production wave 1"), "{:?}", world.story);
}

#[test]
fn what_most_hosts_did_not_take_is_not_good_whatever_a_person_says() {
    let mut world = World::new(1, 3);
    world.propose("irreversible").unwrap();
    serve_until(&mut world, "production wave 0");
    refuse_until(&mut world, "held: a person's word");
    carry_on(&mut world, "bob").unwrap();
    refuse_until(&mut world, "production wave 1");
    world.story.clear();
    refuse_until(&mut world, "held: a person's word");
    carry_on(&mut world, "bob").unwrap();
    refuse_until(&mut world, "held: a person who sends it back");
    assert_eq!(carry_on(&mut world, "bob"), Err(Code::NotHeld));
    assert!(!good(&world, "irreversible"), "{:?}", world.story);
    world.roll_back(None).unwrap();
    world.carry_out();
    world.ok(Input::Tick);
    assert!(said(&world, "release 1 back"), "{:?}", world.story);
}

#[test]
fn only_what_is_held_can_be_continued() {
    let mut world = World::new(1, 2);
    assert_eq!(carry_on(&mut world, "bob"), Err(Code::UnknownRelease));
    world.propose("risky").unwrap();
    assert_eq!(carry_on(&mut world, "bob"), Err(Code::NotHeld));
    for _ in 0..30 {
        world.pass(Millis::seconds(1));
        world.carry_out();
        drop(world.approve("cyd"));
    }
    wait_until(&mut world, "held: ");
    assert_eq!(carry_on(&mut world, "ada"), Err(Code::OwnApproval));
    carry_on(&mut world, "bob").unwrap();
    assert!(said(&world, "wave continued by bob"));
    assert_eq!(carry_on(&mut world, "bob"), Err(Code::NotHeld));
    world.pass(Millis(1));
    assert!(said(&world, "production wave 1"));
}

#[test]
fn an_undecided_wave_passes_when_the_plan_says_so_and_something_was_counted() {
    let mut world = World::new(1, 2);
    world.propose("advance").unwrap();
    serve_until(&mut world, "web-00 ordered");
    // Two seconds are too little to say anything, and then the counts stop.
    world.serve(2);
    wait_until(&mut world, "held: ");
    assert!(!said(&world, "production wave 1"), "silence passes nothing");

    let mut world = World::new(1, 2);
    world.propose("advance").unwrap();
    serve_until(&mut world, "web-00 ordered");
    // Two requests each second are too few for a word in a minute.
    world.rate = 200;
    serve_until(&mut world, "production wave 1");
    assert!(!said(&world, "held: "), "{:?}", world.story);
    let passed = world
        .journal
        .iter()
        .rev()
        .find_map(|(_, event)| match event {
            Event::WaveJudged { explanation, .. } => explanation.clone(),
            _ => None,
        });
    assert!(passed.unwrap().undecided);
}

fn turned_back_by(world: &World) -> Vec<Rule> {
    let rules = world.journal.iter().filter_map(|(_, event)| match event {
        Event::RollbackStarted {
            cause:
                RollbackCause::Verdict {
                    verdict: Verdict::Fail { rule, .. },
                },
            ..
        } => Some(*rule),
        _ => None,
    });
    rules.collect()
}

#[test]
fn what_went_on_just_before_everything_failed_is_undone_and_may_come_again() {
    let mut world = World::new(1, 2);
    world.until_good("one");
    world.serve(60);
    world.propose("two").unwrap();
    world.story.clear();
    serve_until(&mut world, "web-00 confirmed");
    for content in ["one", "two"] {
        world.failing.insert(bundle(content).digest(), 900);
    }
    serve_until(&mut world, "rollback of 2");
    assert_eq!(turned_back_by(&world), [Rule::Fleet]);
    let failed = world
        .story
        .iter()
        .find(|line| line.starts_with("wave failed"));
    expect!["wave failed, whole fleet: api fails as a whole in production since 00:01:47, on the old bundle as well; that began 1 s after the wave did"].assert_eq(failed.unwrap());
    assert!(!said(&world, "digest quarantined"), "{:?}", world.story);
    world.serve(2);
    world.carry_out();
    // It may come again, and waits at the door while everything fails.
    world.propose("two").unwrap();
    for _ in 0..30 {
        world.serve(1);
        world.carry_out();
    }
    let release = world.state.releases.values().last().unwrap();
    let why = crate::decide::waiting(&world.state, &world.watch, release, world.now);
    expect!["api fails as a whole in production since 00:01:47: nothing goes forward"]
        .assert_eq(&why.unwrap());
    let waves = |world: &World| {
        let begun = world
            .story
            .iter()
            .filter(|line| *line == "production wave 0");
        begun.count()
    };
    assert_eq!(waves(&world), 1);
    world.failing.clear();
    world.serve(30);
    assert_eq!(waves(&world), 2, "{:?}", world.story);
    assert_eq!(turned_back_by(&world), [Rule::Fleet], "once");
}

#[test]
fn what_went_on_long_before_is_not_blamed() {
    let mut world = World::new(1, 2);
    world.until_good("one");
    world.propose("two").unwrap();
    wait_until(&mut world, "held: ");
    for _ in 0..400 {
        world.pass(Millis::seconds(1));
    }
    for content in ["one", "two"] {
        world.failing.insert(bundle(content).digest(), 900);
    }
    world.serve(60);
    assert_eq!(turned_back_by(&world), [], "{:?}", world.story);
}

/// A release of eight hosts in one zone, up to its second wave.
fn second_wave(world: &mut World) {
    world.propose("new").unwrap();
    serve_until(world, "production wave 1");
    while !world.story.last().unwrap().contains("ordered") {
        world.serve(1);
    }
}

fn fail(world: &mut World, name: &str) {
    let host = host(name);
    let slot = world.state.slot(&host, &api()).unwrap();
    let generation = slot.order.as_ref().unwrap().generation;
    let home = slot.homes.last().copied().unwrap();
    world.fail_to(&host, generation, home);
}

#[test]
fn one_broken_host_of_many_is_left_behind_and_comes_with_the_next() {
    let mut world = World::new(1, 8);
    world.until_good("old");
    world.story.clear();
    second_wave(&mut world);
    fail(&mut world, "web-01");
    world.carry_out();
    world.serve(1);
    world.carry_out();
    let release = world.state.releases.values().last().unwrap();
    let why = crate::decide::waiting(&world.state, &world.watch, release, world.now);
    expect!["production wave 2 of 2 bakes for 4 s more; it goes on without web-01 (at health: went back by itself: no answer), of 8 hosts"].assert_eq(&why.unwrap_or_default());
    serve_until(&mut world, "release 2 good");
    let (old, new) = (bundle("old").digest(), bundle("new").digest());
    let slot = world.state.slot(&host("web-01"), &api()).unwrap();
    assert!(!slot.homes.contains(&new), "{:?}", slot.homes);
    let other = world.state.slot(&host("web-02"), &api()).unwrap();
    assert_eq!(other.homes.last(), Some(&new));
    // The next release takes it along, from what the others run.
    world.story.clear();
    world.until_good("next");
    let orders = world.journal.iter().filter_map(|(_, event)| match event {
        Event::HostOrdered { order } if order.host == host("web-01") => {
            Some((order.kind, order.digest))
        }
        _ => None,
    });
    let orders: Vec<_> = orders.collect();
    let last = &orders[orders.len() - 2..];
    let next = bundle("next").digest();
    assert_eq!(
        last,
        [(OrderKind::Rollback, new), (OrderKind::Forward, next)]
    );
    assert_ne!(old, new);
}

#[test]
fn a_broken_host_of_many_is_no_obstacle_to_the_way_back() {
    let mut world = World::new(1, 8);
    second_wave(&mut world);
    fail(&mut world, "web-01");
    world.carry_out();
    world.roll_back(None).unwrap();
    world.carry_out();
    world.ok(Input::Tick);
    assert!(said(&world, "release 1 back"), "{:?}", world.story);
}

#[test]
fn a_fifth_of_the_hosts_decides() {
    let mut world = World::new(1, 8);
    second_wave(&mut world);
    fail(&mut world, "web-01");
    world.serve(1);
    assert!(!said(&world, "rollback of"), "{:?}", world.story);
    fail(&mut world, "web-02");
    world.serve(1);
    let failed = world
        .story
        .iter()
        .find(|line| line.starts_with("wave failed"));
    expect!["wave failed, host not confirmed: web-01: at health: went back by itself: no answer; 1 more of 8 hosts failed"].assert_eq(failed.unwrap());
    assert_eq!(turned_back_by(&world), [Rule::NotConfirmed]);
}

#[test]
fn a_host_of_many_that_is_never_heard_of_is_for_people() {
    let mut world = World::new(1, 8);
    second_wave(&mut world);
    let lost = host("web-01");
    for _ in 0..200 {
        world.serve(1);
        let busy = world.hosts().into_iter().filter(|host| *host != lost);
        for host in busy.collect::<Vec<_>>() {
            let open =
                |slot: &crate::Slot| matches!(slot.status, crate::SlotStatus::Ordered { .. });
            if world.state.slot(&host, &api()).is_some_and(open) {
                world.confirm(&host).unwrap();
            }
        }
    }
    assert!(!said(&world, "rollback of"), "{:?}", world.story);
    let held = world.story.iter().find(|line| line.starts_with("held: "));
    expect!["held: web-01: not confirmed within 40 s (2 of 8 hosts would decide); so far it fails at most 2.8 times as often as the old bundle"].assert_eq(held.expect("people are asked"));
    carry_on(&mut world, "bob").unwrap();
    world.serve(2);
    assert!(good(&world, "new"), "{:?}", world.story);
    // It comes late, and then it can come back to it.
    world.confirm(&lost).unwrap();
    let slot = world.state.slot(&lost, &api()).unwrap();
    assert_eq!(slot.homes.last(), Some(&bundle("new").digest()));
}

fn beat(world: &mut World, name: &str, exits: u64) {
    let host = host(name);
    let slot = world.state.slot(&host, &api()).unwrap();
    let generation = slot
        .order
        .as_ref()
        .map_or_else(Default::default, |order| order.generation);
    let beat = Beat::new(slot.running, generation, Some(true)).with(String::new(), Some(exits));
    let now = world.now;
    world.watch.beat(&host, [(api(), beat)].into(), now);
}

#[test]
fn a_crash_loop_counts_when_the_old_bundle_does_not_loop_as_well() {
    for (old_loops, back) in [(false, true), (true, false)] {
        let mut world = World::new(1, 4);
        world.propose("new").unwrap();
        serve_until(&mut world, "web-00 confirmed");
        for exits in 0..=3 {
            beat(&mut world, "web-00", exits);
            for name in ["web-01", "web-02", "web-03"] {
                beat(&mut world, name, if old_loops { exits } else { 0 });
            }
            world.pass(Millis(250));
        }
        let loops = turned_back_by(&world).contains(&Rule::CrashLoop);
        assert_eq!(loops, back, "{:?}", world.story);
    }
}
