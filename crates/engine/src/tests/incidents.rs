//! What goes wrong with releases and hosts, as people are told of it.

use expect_test::expect;
use incident::alerts::Incoming;
use incident::commands::Ask;
use model::incident::{
    Channel, ChannelKind, Contact, IncidentEvent, Outcome, Policy, Setup, Step, Target,
};
use model::{Event, Millis};

use super::world::{World, api, bundle, person};
use crate::Input;
use crate::incidents::{IncidentInput, messages};

fn setup() -> Setup {
    let mail = Channel {
        kind: ChannelKind::Mail,
        address: "ada@example.com".into(),
        wait_ms: Millis::seconds(60),
        urgent_only: false,
    };
    let ada = Contact {
        name: "Ada".into(),
        channels: vec![mail],
        zone: String::new(),
    };
    let step = Step {
        targets: vec![Target::Contact("ada".parse().unwrap())],
        wait_ms: Millis::seconds(300),
    };
    let policy = Policy {
        steps: vec![step],
        ..Policy::default()
    };
    Setup {
        contacts: [("ada".parse().unwrap(), ada)].into(),
        policies: [("everybody".parse().unwrap(), policy)].into(),
        default_policy: Some("everybody".parse().unwrap()),
        ..Setup::default()
    }
}

fn ask(world: &mut World, input: IncidentInput) -> Vec<Event> {
    world.ok(Input::Incident(Box::new(input)))
}

fn staffed() -> World {
    let mut world = World::new(2, 2);
    world.until_good("good");
    let setup = Box::new(setup());
    ask(
        &mut world,
        IncidentInput::Declare {
            by: person(),
            setup,
        },
    );
    world
}

/// Subjects of what is on its way, after telling that all of it was sent.
fn sent(world: &mut World) -> Vec<String> {
    let due = messages(&world.state, world.now);
    for message in &due {
        let told = IncidentInput::Told {
            notice: message.notice.clone(),
            contact: message.contact.clone(),
            outcome: Outcome::Sent,
        };
        ask(world, told);
    }
    due.into_iter().map(|message| message.subject).collect()
}

/// The incidents' own story: kinds of events without what was sent.
fn story(world: &World) -> Vec<String> {
    let events = world.journal.iter().filter_map(|(_, event)| match event {
        Event::Incident(event) => Some(event),
        _ => None,
    });
    let told = events.filter(|event| {
        !matches!(
            event,
            IncidentEvent::Notified { .. } | IncidentEvent::SetupDeclared { .. }
        )
    });
    told.map(ToString::to_string).collect()
}

fn firing(name: &str, world: &World) -> Incoming {
    Incoming {
        labels: [
            ("alertname".to_owned(), name.to_owned()),
            ("service".to_owned(), api().to_string()),
            ("severity".to_owned(), "critical".to_owned()),
        ]
        .into(),
        starts_at: Some(world.now),
        source: "alertmanager".into(),
        ..Incoming::default()
    }
}

#[test]
fn a_bad_release_pages_somebody_who_reads_that_it_was_rolled_back() {
    let mut world = staffed();
    world.propose("bad").unwrap();
    world.failing.insert(bundle("bad").digest(), 1000);
    let mut subjects = Vec::new();
    for _ in 0..20 {
        world.serve(2);
        world.carry_out();
        subjects.extend(sent(&mut world));
    }
    expect![[r#"
        incident 1: plimsoll opened it as SEV2: api: wave 1 of release 2 failed
        incident 1: release 2 is rolled back: 100 of 100 requests failed (100 %) on the new bundle, 33 of 39900 (0.083 %) on the old: at least 280 times as often
        incident 1: everybody is told, urgency low
        incident 1: everybody level 0: ada
        incident 1: release 2 was rolled back in 0 ms"#]].assert_eq(&story(&world).join("\n"));
    expect!["[SEV2] api: wave 1 of release 2 failed: being rolled back"]
        .assert_eq(&subjects.join("\n"));
    let before = world.journal.len();
    // Replayed, nothing is due that was sent.
    assert_eq!(world.replayed().incidents, world.state.incidents);
    assert!(messages(&world.replayed(), world.now).is_empty());
    assert_eq!(world.journal.len(), before);
}

#[test]
fn a_rollback_in_test_wakes_nobody() {
    let mut world = staffed();
    world.propose("bad").unwrap();
    let bad = bundle("bad").digest();
    world.carry_out();
    world.roll_back(None).unwrap();
    for _ in 0..5 {
        world.serve(2);
        world.carry_out();
    }
    assert_ne!(world.state.good(&api()), Some(bad));
    assert!(story(&world).is_empty(), "{:?}", story(&world));
}

#[test]
fn an_alert_says_which_change_came_before_it() {
    let mut world = staffed();
    let batch = vec![firing("Slow", &world)];
    ask(&mut world, IncidentInput::Alerts(batch.clone()));
    world.watch.renew(&world.state, &batch, world.now);
    world.ok(Input::Tick);
    let incident = world.state.incidents.incidents.values().next().unwrap();
    assert_eq!(incident.changes[0].release.0, 1, "{:?}", incident.changes);
    assert_eq!(sent(&mut world).len(), 1);
    assert!(sent(&mut world).is_empty());
    // Told again it is no news, and silent for its lease it is over.
    let again = ask(&mut world, IncidentInput::Alerts(batch));
    assert!(again.is_empty());
    world.pass(Millis::seconds(301));
    assert_eq!(world.state.incidents.firing().count(), 0);
}

#[test]
fn agents_that_fall_silent_together_are_one_incident() {
    let mut world = staffed();
    for _ in 0..5 {
        world.now = Millis::seconds(10).after(world.now);
        world.ok(Input::Tick);
    }
    let story = story(&world);
    let opened = story.iter().filter(|it| it.contains("opened")).count();
    assert_eq!(opened, 1, "{story:#?}");
    world.pass(Millis::seconds(1));
    world.pass(Millis::seconds(301));
    let open = world.state.incidents.open().count();
    assert_eq!(open, 0, "heard of again, it is over by itself");
}

/// Nobody hears of hosts for a while.
fn hush(world: &mut World, seconds: u64) {
    world.now = Millis::seconds(seconds).after(world.now);
    world.ok(Input::Tick);
}

#[test]
fn what_a_person_ended_stays_ended_while_it_lasts_and_not_when_it_is_back() {
    let mut world = staffed();
    hush(&mut world, 20);
    let about = |ask| IncidentInput::About {
        by: person(),
        incident: model::incident::IncidentId(1),
        ask,
    };
    let words = String::new();
    ask(&mut world, about(Ask::Resolve { words }));
    hush(&mut world, 60);
    assert_eq!(world.state.incidents.open().count(), 0, "we know");
    world.pass(Millis::seconds(1));
    hush(&mut world, 20);
    assert_eq!(world.state.incidents.open().count(), 1, "it is back");
}

#[test]
fn what_is_back_before_the_incident_is_over_keeps_it_open() {
    let mut world = staffed();
    hush(&mut world, 20);
    world.pass(Millis::seconds(1));
    hush(&mut world, 20);
    hush(&mut world, 600);
    let open = world.state.incidents.open().next().map(|it| it.troubled());
    assert_eq!(open, Some(true));
}
