//! From senders to the journal.

use model::incident::{AlertEnd, IncidentEvent, Silence};
use model::refusal::Code;
use model::{Millis, Timestamp};

use super::world::{World, labels, minutes, name, person};
use crate::alerts::{
    self, FIRING_MAX, FLAPPING_CALM, Incoming, Invalid, Leases, Standing, intake, matchers,
    standing,
};
use crate::commands;

fn incoming(pairs: &[(&str, &str)]) -> Incoming {
    Incoming {
        labels: labels(pairs),
        source: "test".into(),
        ..Incoming::default()
    }
}

fn silence(world: &mut World, matcher: &str, from: Millis, until: Millis) -> Result<(), Code> {
    let silence = Silence {
        id: "s1".into(),
        matchers: vec![matchers::parse(matcher).unwrap()],
        starts_at: from.after(world.now),
        ends_at: until.after(world.now),
        created_by: "ada".into(),
        comment: "work".into(),
    };
    let events = commands::silence(&world.state, &person("ada"), silence, world.now);
    world.append(events.map_err(|refusal| refusal.code)?);
    world.settle();
    Ok(())
}

#[test]
fn a_repetition_is_not_journaled_and_holds_the_alert() {
    let mut world = World::new();
    let pairs = [("service", "api"), ("alertname", "Down")];
    let id = world.alert(&pairs, 60_000);
    let events = world.journal.len();
    for _ in 0..10 {
        world.pass(Millis::seconds(50));
        let before = world.journal.len();
        let told = incoming(&pairs);
        let taken = intake(&world.state, &world.leases, &[told], world.now);
        assert!(taken.events.is_empty());
        world.leases.take(&taken, &world.state);
        assert_eq!(world.journal.len(), before);
    }
    assert!(world.journal.len() > events, "it is escalated meanwhile");
    world.pass(minutes(6));
    let ended = world.state.alerts[&id].ended;
    assert_eq!(ended.map(|(_, why)| why), Some(AlertEnd::LeaseEnded));
}

#[test]
fn after_a_restart_each_alert_has_a_whole_lease() {
    let mut world = World::new();
    let id = world.alert(&[("service", "api"), ("alertname", "Down")], 60_000);
    world.now = Millis::seconds(3600).after(world.now);
    world.leases = Leases::resumed(world.now);
    world.pass(Millis::seconds(59));
    assert_eq!(world.state.alerts[&id].ended, None);
    world.pass(Millis::seconds(1));
    assert!(world.state.alerts[&id].ended.is_some());
}

#[test]
fn times_that_are_left_out_are_alertmanagers() {
    let world = World::new();
    let now = world.now;
    let only_end = Incoming {
        ends_at: Some(Millis::seconds(10).after(now)),
        ..incoming(&[("a", "b")])
    };
    let backwards = Incoming {
        starts_at: Some(Millis::seconds(20).after(now)),
        ..only_end.clone()
    };
    let nothing = Incoming::default();
    let batch = [only_end, backwards, nothing, incoming(&[("a", "c")])];
    let taken = intake(&world.state, &world.leases, &batch, now);
    let wrong: Vec<usize> = taken.invalid.iter().map(|(at, _)| *at).collect();
    assert_eq!(wrong, [1, 2]);
    assert_eq!(taken.invalid[0].1, Invalid::Times);
    assert_eq!(
        taken.invalid[1].1.to_string(),
        "at least one label pair required"
    );
    let untils: Vec<Timestamp> = taken.renewed.iter().map(|it| it.1).collect();
    assert_eq!(
        untils,
        [Millis::seconds(10).after(now), minutes(5).after(now)]
    );
}

#[test]
fn an_alert_that_flaps_is_over_once_it_was_quiet() {
    let mut world = World::new();
    for _ in 0..4 {
        world.fire("api", "Flap", "error");
        world.pass(minutes(1));
        world.over("api", "Flap", "error");
        world.pass(minutes(1));
    }
    let fires = |world: &World| world.state.firing().count();
    assert_eq!(fires(&world), 1, "the fourth end is not believed");
    let opened = world.state.incidents.len();
    assert_eq!(opened, 1, "one incident for all of it");
    for _ in 0..8 {
        // Prometheus repeats the end for a quarter of an hour.
        world.over("api", "Flap", "error");
        world.pass(minutes(1));
    }
    assert_eq!(fires(&world), 1);
    world.pass(FLAPPING_CALM);
    assert_eq!(fires(&world), 0);
}

#[test]
fn a_silence_keeps_quiet_and_ends() {
    let mut world = World::new();
    silence(&mut world, "service=~\"api|web\"", Millis(0), minutes(60)).unwrap();
    let id = world.fire("api", "Down", "critical");
    let stands = standing(&world.state, id, world.now);
    assert_eq!(stands, Some(Standing::Silenced(vec!["s1".into()])));
    assert!(world.state.incidents.is_empty() && world.due().is_empty());
    world.pass(minutes(60));
    assert_eq!(world.state.incidents.len(), 1);
    assert_eq!(world.told(), ["bob push"]);
}

#[test]
fn a_silence_set_later_stops_the_paging_and_is_not_deleted_when_it_ends() {
    let mut world = World::new();
    world.fire("api", "Down", "critical");
    assert_eq!(world.due().len(), 1);
    silence(&mut world, "service=api", Millis(0), minutes(60)).unwrap();
    assert!(world.due().is_empty());
    let expired = commands::expire(&world.state, &person("ada"), "s1", world.now).unwrap();
    world.append(expired);
    world.settle();
    assert_eq!(world.due().len(), 1);
    assert_eq!(world.state.silences["s1"].ends_at, world.now);
    assert!(
        commands::expire(&world.state, &person("ada"), "s1", world.now)
            .unwrap()
            .is_empty()
    );
    let unknown = commands::expire(&world.state, &person("ada"), "s2", world.now);
    assert_eq!(unknown.unwrap_err().code, Code::NotFound);
}

#[test]
fn a_silence_without_sense_is_refused() {
    let mut world = World::new();
    for (matcher, from, until) in [
        ("service=~\".*\"", 0, 60),
        ("service=~\"(\"", 0, 60),
        ("service=api", 60, 60),
        ("service=api", 0, 0),
    ] {
        let code = silence(&mut world, matcher, Millis(from), Millis(until)).unwrap_err();
        assert_eq!(code, Code::BadRequest, "{matcher}");
    }
}

#[test]
fn what_depends_on_a_broken_service_warns_nobody() {
    let mut world = World::new();
    world.fire("store", "Down", "critical");
    let id = world.fire("web", "Slow", "warning");
    let stands = standing(&world.state, id, world.now).unwrap();
    assert_eq!(
        stands.to_string(),
        "follows from incident 1, which it depends on"
    );
    world.over("store", "Down", "critical");
    world.pass(crate::incidents::CALM_FOR);
    let stands = standing(&world.state, id, world.now).unwrap();
    assert!(matches!(stands, Standing::In(_)), "{stands}");
}

#[test]
fn a_flood_is_counted_and_never_refused() {
    let mut world = World::new();
    let batch: Vec<Incoming> = (0..FIRING_MAX + 5000)
        .map(|n| {
            incoming(&[
                ("alertname", "Flood"),
                ("service", "api"),
                ("n", &n.to_string()),
            ])
        })
        .collect();
    let taken = intake(&world.state, &world.leases, &batch, world.now);
    for event in &taken.events {
        world.state.evolve(event, world.now);
    }
    world.leases.take(&taken, &world.state);
    assert!(taken.invalid.is_empty());
    assert_eq!(world.state.firing().count(), FIRING_MAX + 1);
    let group = "service=api,alertname=Flood";
    assert_eq!(world.state.overflows[group].total, 5000);
    // The same once more is told no more: the count has not doubled.
    let more = intake(&world.state, &world.leases, &batch[FIRING_MAX..], world.now);
    let told = |event: &&IncidentEvent| matches!(event, IncidentEvent::AlertsOverflowed { .. });
    assert_eq!(
        more.events.iter().filter(told).count(),
        1,
        "10000 is twice 5000"
    );
    for event in &more.events {
        world.state.evolve(event, world.now);
    }
    world.leases.take(&more, &world.state);
    let more = intake(&world.state, &world.leases, &batch[FIRING_MAX..], world.now);
    assert!(more.events.is_empty());
    world.settle();
    assert_eq!(world.state.incidents.len(), 1);
    assert_eq!(
        world.told(),
        ["bob push"],
        "one page for ten thousand alerts"
    );
}

#[test]
fn what_is_too_big_to_keep_is_told_all_the_same() {
    let mut world = World::new();
    let long = "x".repeat(5000);
    let told = incoming(&[("alertname", "Big"), ("service", "api"), ("text", &long)]);
    world.take(&[told]);
    let summary = world.state.firing().next().unwrap().1;
    assert_eq!(summary.alert.labels.get("alertname"), Some(alerts::SUMMARY));
    assert_eq!(summary.service, Some(name("api")));
    assert_eq!(world.due().len(), 1);
}

#[test]
fn annotations_are_cut_where_a_character_begins() {
    let world = World::new();
    let told = Incoming {
        annotations: [("summary".to_owned(), "ä".repeat(4000))].into(),
        ..incoming(&[("alertname", "Long")])
    };
    let taken = intake(&world.state, &world.leases, &[told], world.now);
    let IncidentEvent::AlertFired { alert, .. } = &taken.events[0] else {
        panic!("{taken:?}");
    };
    assert_eq!(
        alert.annotations["summary"].len(),
        alerts::ANNOTATION_BYTES_MAX
    );
}
