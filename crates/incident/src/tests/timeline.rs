//! The record that writes itself.

use model::incident::{IncidentId, Via};
use model::{EnvironmentName, Event, Exposure, Millis, ReleaseId, RollbackCause, Timestamp};

use super::world::{World, minutes, name, person};
use crate::commands::Ask;
use crate::oncall::zone;
use crate::timeline::{BEFORE, Kind, Timeline};

fn wave(release: u64) -> Event {
    Event::WaveStarted {
        release: ReleaseId(release),
        environment: name::<EnvironmentName>("production"),
        wave: 1,
    }
}

fn rollback(release: u64, service: &str) -> Event {
    Event::RollbackStarted {
        release: ReleaseId(release),
        service: name(service),
        by: person("bob"),
        cause: RollbackCause::Person {
            reason: "errors".into(),
        },
        to: None,
        exposure: Exposure::default(),
    }
}

/// A proposal as journals hold it, with its release.
fn proposed() -> (ReleaseId, Event) {
    let kept = include_str!("../../../journal/src/tests/events-v1.jsonl");
    let mut events = kept.lines().map(|line| serde_json::from_str(line).unwrap());
    let found = events.find_map(|event: Event| match event {
        Event::ReleaseProposed { release, .. } => Some((release, event)),
        _ => None,
    });
    found.unwrap()
}

/// Releases of two services around an incident of one of them.
fn journal() -> Vec<(Timestamp, Event)> {
    let mut world = World::new();
    let began = world.now;
    world.pass(BEFORE);
    world.fire("api", "Errors", "error");
    world.pass(Millis::seconds(20));
    world
        .ask(
            1,
            Ask::Acknowledge {
                via: Via::Cli,
                for_ms: None,
            },
        )
        .unwrap();
    world
        .ask(
            1,
            Ask::Note {
                words: "looks like the new wave".into(),
            },
        )
        .unwrap();
    world.pass(minutes(2));
    world.over("api", "Errors", "error");
    world.pass(minutes(5));
    let own = world
        .journal
        .into_iter()
        .map(|(at, event)| (at, Event::Incident(event)));
    let mut all: Vec<(Timestamp, Event)> = own.collect();
    let (release, proposed) = proposed();
    let late = |seconds: u64| Millis::seconds(seconds).after(began);
    all.extend([
        (late(0), rollback(1, "api")),
        (late(3500), rollback(2, "api")),
        (late(3550), rollback(3, "other")),
        (late(3560), proposed),
        (late(3570), wave(release.0)),
        (late(3575), wave(release.0 + 1)),
        (late(3640), rollback(4, "api")),
        (late(3641), rollback(5, "other")),
        (late(5000), rollback(6, "api")),
    ]);
    all.sort_by_key(|(at, _)| *at);
    all
}

#[test]
fn a_timeline_holds_what_concerns_it_and_nothing_else() {
    let mut timeline = Timeline::new(IncidentId(1));
    for (at, event) in &journal() {
        timeline.take(*at, event);
    }
    let entries = timeline.entries();
    let berlin = zone::find("Europe/Berlin").unwrap();
    let lines: Vec<String> = entries.iter().map(|it| it.line(&berlin)).collect();
    expect_test::expect![[r#"
        2026-01-12 13:58:20 CET  bob sends release 2 back
        2026-01-12 13:59:20 CET  ben proposed release 7 of api: aaaaaaaaaaaa Raise the limit
        2026-01-12 13:59:30 CET  release 7: production wave 2 begins
        2026-01-12 14:00:00 CET  alert Errors fires (4b69e113f917321b)
        2026-01-12 14:00:00 CET  plimsoll opened it as SEV2: api: Errors
        2026-01-12 14:00:00 CET  platform is told, urgency high
        2026-01-12 14:00:00 CET  platform level 0: bob
        2026-01-12 14:00:20 CET  ada acknowledged it by cli until 2026-01-12T13:30:20Z
        2026-01-12 14:00:20 CET  note: ada: looks like the new wave
        2026-01-12 14:00:40 CET  bob sends release 4 back
        2026-01-12 14:02:20 CET  alert 4b69e113f917321b is over
        2026-01-12 14:07:20 CET  plimsoll resolved it: nothing of it was seen for 5 min"#]]
    .assert_eq(&lines.join("\n"));
    let notes = entries.iter().filter(|it| it.kind == Kind::Note);
    assert_eq!(notes.count(), 1);
}

#[test]
fn another_incident_has_another_timeline() {
    let mut timeline = Timeline::new(IncidentId(2));
    for (at, event) in &journal() {
        timeline.take(*at, event);
    }
    assert!(timeline.entries().is_empty());
}
