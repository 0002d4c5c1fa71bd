//! What hosts themselves say: exits, beats that don't come, gauges.
//!
//! Invariant: each thing is told once, on the side of what ran when it happened.

use judge::tick::{EventTick, GaugeSample};
use judge::{Record, Side};
use model::{Metric, Rule, Verdict};

use super::*;

const HOSTS: [&str; 4] = ["a-0", "a-1", "b-0", "b-1"];

fn record(world: &World) -> Record {
    let sealed = world.watch.sealed(&world.state, world.it(), world.now);
    serde_json::from_slice(&sealed.unwrap().1).unwrap()
}

fn events(world: &World, metric: Metric) -> Vec<EventTick> {
    let ticks = record(world).ticks.into_iter();
    let events = ticks.flat_map(|tick| tick.events);
    events.filter(|event| event.metric == metric).collect()
}

fn sums(events: &[EventTick]) -> [(u64, u64); 2] {
    let sum = |side: fn(&EventTick) -> judge::tick::Exposed| {
        let all = events.iter().map(side);
        all.fold((0, 0), |(events, ms), it| {
            (events + it.events, ms + it.host_ms)
        })
    };
    [sum(|it| it.canary), sum(|it| it.control)]
}

/// A second of which every host but these is heard.
fn second(world: &mut World, silent: &[&str]) {
    world.seconds(1, load(5, 0.0), load(5, 0.0));
    for name in HOSTS.into_iter().filter(|name| !silent.contains(name)) {
        world.watch.heard(&host(name), world.now);
    }
}

#[test]
fn a_host_that_falls_silent_is_one_event_until_it_is_heard_again() {
    let mut world = World::new();
    world.release(plan());
    for _ in 0..20 {
        second(&mut world, &[]);
    }
    for _ in 0..100 {
        second(&mut world, &["b-1"]);
    }
    let [canary, control] = sums(&events(&world, Metric::Heartbeats));
    assert_eq!((canary.0, control.0), (0, 1));
    // A host that is lost is not waited for any more: it could not fall silent again.
    assert!((110_000..=120_000).contains(&canary.1), "{canary:?}");
    assert!(control.1 < 3 * canary.1, "{control:?}");
    for _ in 0..5 {
        second(&mut world, &[]);
    }
    for _ in 0..20 {
        second(&mut world, &["b-1", "a-0"]);
    }
    let [canary, control] = sums(&events(&world, Metric::Heartbeats));
    assert_eq!((canary.0, control.0), (1, 2));
}

#[test]
fn exits_are_those_between_beats_of_one_bundle() {
    let mut world = World::new();
    world.beat("a-0", Some(90));
    world.release(plan());
    world.now = Millis::seconds(5).after(world.now);
    // Another bundle runs now: nobody knows whose exits these were.
    world.beat("a-0", Some(93));
    for exits in [93, 94, 94, 96] {
        for _ in 0..5 {
            second(&mut world, &[]);
        }
        world.beat("a-0", Some(exits));
        world.beat("b-0", Some(7));
    }
    second(&mut world, &[]);
    second(&mut world, &[]);
    let [canary, control] = sums(&events(&world, Metric::Crashes));
    assert_eq!(canary, (3, 20_000));
    assert_eq!(control, (0, 15_000));
}

#[test]
fn crashes_send_a_release_back_and_are_said() {
    let mut world = World::new();
    world.seconds(5, load(0, 0.0), load(5, 0.0));
    for _ in 0..120 {
        second(&mut world, &[]);
        for name in HOSTS {
            world.beat(name, Some(0));
        }
    }
    world.release(plan());
    let mut exits = 0;
    for n in 0..120 {
        second(&mut world, &[]);
        exits += u64::from(n % 10 == 5);
        for name in HOSTS {
            world.beat(name, Some(if name == "a-0" { exits } else { 0 }));
        }
        if let Verdict::Fail { rule, reason, .. } = world.judged().verdict {
            assert_eq!(rule, Rule::Crashes, "{reason}");
            assert!(reason.contains("unplanned exits in"), "{reason}");
            assert!(exits <= 8, "{exits}");
            return;
        }
    }
    panic!("{:?}", world.judged());
}

#[test]
fn each_sample_of_a_gauge_is_told_once() {
    let mut world = World::new();
    world.release(plan());
    for n in 0..10_u16 {
        second(&mut world, &[]);
        if n % 5 == 0 {
            for name in ["a-0", "b-1"] {
                let gauges = [("cpu".to_owned(), 100 + n), ("moon".to_owned(), 1)];
                world
                    .watch
                    .gauges(&host(name), gauges.into(), None, world.now);
            }
        }
    }
    let gauges: Vec<GaugeSample> = record(&world)
        .ticks
        .into_iter()
        .flat_map(|tick| tick.gauges)
        .collect();
    let told: Vec<_> = gauges
        .iter()
        .map(|it| (it.group, it.side, it.permille))
        .collect();
    let (new, old) = (Side::Canary, Side::Control);
    assert_eq!(
        told,
        [(0, new, 100), (3, old, 100), (0, new, 105), (3, old, 105)]
    );
    assert!(gauges.iter().all(|it| it.gauge == 0));
}

/// The verdict after ten minutes in which the new bundle's host looked twice as busy.
fn verdict_on_busy(machine: impl Fn(&str) -> Digest) -> Verdict {
    let mut world = World::new();
    let minutes = |world: &mut World, new: u16| {
        for n in 0..600_u16 {
            second(world, &[]);
            for name in HOSTS.into_iter().filter(|_| n % 5 == 0) {
                let cpu = if name == "a-0" { new } else { 400 };
                let gauges = [("cpu".to_owned(), cpu)];
                let machine = Some(machine(name));
                let now = world.now;
                world.watch.gauges(&host(name), gauges.into(), machine, now);
            }
        }
    };
    minutes(&mut world, 400);
    world.release(plan());
    minutes(&mut world, 790);
    world.judged().verdict
}

#[test]
fn hosts_on_one_machine_are_not_compared_by_how_full_it_is() {
    let alone = verdict_on_busy(|name| Digest::of(name.as_bytes()));
    let Verdict::Fail { rule, reason, .. } = alone else {
        panic!("{alone:?}")
    };
    assert_eq!(rule, Rule::Saturation);
    assert!(reason.contains("cpu is 79 % full"), "{reason}");

    let together = verdict_on_busy(|_| Digest::of(b"one"));
    assert!(!matches!(together, Verdict::Fail { .. }), "{together:?}");
    // The others still speak where two share.
    let pair = |name: &str| Digest::of(&name.as_bytes()[..1]);
    let in_pairs = verdict_on_busy(pair);
    assert!(!matches!(in_pairs, Verdict::Fail { .. }), "{in_pairs:?}");
}

#[test]
fn everything_failing_is_seen_whichever_bundle_answers() {
    let mut world = World::new();
    world.seconds(600, load(0, 0.0), load(50, 0.001));
    let since = |world: &World| world.watch.fleet_fails_since(&production(), &api());
    assert_eq!(since(&world), None);
    let began = world.now;
    world.seconds(10, load(0, 0.0), load(50, 0.5));
    let at = since(&world).unwrap();
    assert!(Millis::between(began, at) <= Millis::seconds(3), "{at}");
    world.seconds(60, load(0, 0.0), load(50, 0.001));
    assert_eq!(since(&world), None, "it is over");
}
