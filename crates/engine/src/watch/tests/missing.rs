//! Whatever is missing: no way from silence to a pass, nor back by silence that is none.
//!
//! Invariant: a wave passes on evidence about the new bundle alone.

use model::{Rule, Verdict};

use super::*;

fn needs(world: &World) -> String {
    match world.judged().verdict {
        Verdict::Insufficient { needs } => needs,
        other => panic!("{other:?}"),
    }
}

/// What is missing, how that is played, and what the judge says it needs.
#[test]
fn nothing_passes_on_what_is_not_there() {
    type Play = fn(&mut World);
    let cases: [(&str, Play, &str); 9] = [
        (
            "no source at all",
            |w| w.pass(Millis::seconds(600)),
            "no gateway",
        ),
        (
            "a source that tells of nothing",
            |w| w.seconds(600, load(0, 0.0), load(0, 0.0)),
            "none was counted",
        ),
        (
            "the old bundle alone",
            |w| w.seconds(600, load(0, 0.0), load(50, 0.001)),
            "none was counted",
        ),
        (
            "too few requests on the new one",
            |w| w.seconds(3, load(5, 0.0), load(5, 0.0)),
            "more requests on the new bundle",
        ),
        (
            "counts that stopped",
            |w| {
                w.seconds(300, load(50, 0.0), load(50, 0.0));
                w.pass(Millis::seconds(20));
            },
            "none has come for",
        ),
        (
            "a new wave of which nothing was counted",
            |w| {
                w.seconds(300, load(50, 0.0), load(50, 0.0));
                w.wave(1, &[]);
            },
            "none was counted",
        ),
        (
            "the new bundle fell silent",
            |w| {
                w.seconds(300, load(50, 0.0), load(50, 0.0));
                w.seconds(15, load(0, 0.0), load(50, 0.0));
            },
            "it has had none for",
        ),
        (
            "heartbeats alone",
            |w| {
                for _ in 0..60 {
                    w.pass(Millis::seconds(5));
                    for name in ["a-0", "a-1", "b-0", "b-1"] {
                        w.beat(name, Some(0));
                    }
                }
            },
            "no gateway",
        ),
        (
            "more seconds missing than known",
            |w| {
                for _ in 0..100 {
                    w.second(&[("a-0", load(20, 0.0)), ("a-1", load(20, 0.0))]);
                    w.seq += 1;
                    w.pass(Millis::seconds(2));
                }
            },
            "",
        ),
    ];
    for (what, play, wanted) in cases {
        let mut world = World::new();
        world.release(plan());
        play(&mut world);
        let needs = needs(&world);
        assert!(needs.contains(wanted), "{what}: {needs}");
    }
}

#[test]
fn where_traffic_is_no_part_of_the_verdict_health_alone_decides() {
    let mut world = World::new();
    world.release(StagePlan {
        requests_min: 0,
        ..plan()
    });
    let pass = |world: &World| matches!(world.judged().verdict, Verdict::Pass { .. });
    assert!(pass(&world));
    world.pass(Millis::seconds(60));
    assert!(pass(&world));
    assert_eq!(world.judged().explanation, None);
    // Harm is looked for all the same.
    world.seconds(30, load(50, 0.9), load(50, 0.0));
    assert!(matches!(world.judged().verdict, Verdict::Fail { .. }));
}

#[test]
fn a_bundle_that_ought_to_answer_and_does_not_goes_back_after_a_minute() {
    let mut world = World::new();
    world.release(plan());
    world.seconds(120, load(20, 0.0), load(20, 0.0));
    world.seconds(55, load(0, 0.0), load(20, 0.0));
    assert!(world.judged().doubts);
    assert!(needs(&world).contains("it has had none for"));
    world.seconds(10, load(0, 0.0), load(20, 0.0));
    match world.judged().verdict {
        Verdict::Fail { rule, reason, .. } => {
            assert_eq!(rule, Rule::Silence);
            assert!(
                reason.contains("nothing was counted on the new bundle"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bundle_that_is_meant_to_get_nothing_is_not_silent() {
    let mut world = World::new();
    world.release(plan());
    world.seconds(120, load(20, 0.0), load(20, 0.0));
    // Its only host is being changed: routes give the new bundle nothing.
    let slot = world.state.slot(&host("a-0"), &api());
    let mut order = slot.unwrap().order.clone().unwrap();
    order.generation = order.generation.next();
    world.event(Event::HostOrdered { order });
    for _ in 0..120 {
        world.second(&[("a-1", load(20, 0.0)), ("b-0", load(20, 0.0))]);
    }
    assert!(!world.judged().doubts);
    assert!(!matches!(world.judged().verdict, Verdict::Fail { .. }));
}

#[test]
fn a_bundle_with_little_traffic_is_not_silent_when_a_minute_brings_nothing() {
    let mut world = World::new();
    world.release(plan());
    for n in 0..600_u64 {
        let canary = load(u64::from(n % 40 == 0), 0.0);
        world.seconds(1, canary, load(2, 0.0));
    }
    world.seconds(70, load(0, 0.0), load(2, 0.0));
    assert!(!world.judged().doubts);
    assert!(!matches!(world.judged().verdict, Verdict::Fail { .. }));
}

#[test]
fn after_a_restart_of_the_control_plane_everything_is_unknown() {
    let mut world = World::new();
    world.release(plan());
    world.seconds(300, load(50, 0.0), load(50, 0.0));
    assert!(matches!(world.judged().verdict, Verdict::Pass { .. }));
    world.watch = Watch::new(world.now);
    assert!(needs(&world).contains("none was counted"));
    world.watch.close(&world.state, world.now);
    assert!(needs(&world).contains("no gateway"));
}
