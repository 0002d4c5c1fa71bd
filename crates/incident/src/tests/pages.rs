//! Who is asked, when, and how often.

use model::incident::{
    Cause, Channel, ChannelKind, IncidentEvent, Notice, Outcome, Skipped, Urgency, Via,
};
use model::{Millis, ReleaseId};

use super::world::{World, minutes, name, person, setup};
use crate::commands::Ask;
use crate::escalation::{
    ACKNOWLEDGED_FOR, RATE_MAX, ROLLBACK_WITHIN, VERIFY_WITHIN, test_rate, waiting,
};
use crate::incidents::CALM_FOR;
use crate::oncall;

fn ack(via: Via) -> Ask {
    Ask::Acknowledge { via, for_ms: None }
}

fn delivered(world: &mut World) {
    for message in world.due() {
        world.outcome(&message, Outcome::Delivered);
    }
}

fn asked(world: &World, id: u64) -> Vec<String> {
    let levels = world
        .incident(id)
        .pages
        .iter()
        .flat_map(|page| &page.levels);
    levels
        .map(|it| format!("{}: {}", it.level, it.recipients[0]))
        .collect()
}

#[test]
fn one_after_the_other_until_nobody_is_left() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    delivered(&mut world);
    world.pass(Millis(minutes(5).0 - 1));
    assert_eq!(asked(&world, 1), ["0: bob"]);
    world.pass(Millis(1));
    assert_eq!(
        asked(&world, 1),
        ["0: bob", "2: cyd"],
        "nobody is on call for `later`"
    );
    let skipped = &world.incident(1).pages[0].levels[1].skipped;
    let nobody = Skipped {
        level: 1,
        uncovered: vec![name("later")],
    };
    assert_eq!(*skipped, [nobody]);
    for _ in 0..4 {
        world.pass(minutes(5));
    }
    assert_eq!(asked(&world, 1), ["0: bob", "2: cyd", "3: bob", "5: cyd"]);
    assert!(world.incident(1).pages[0].exhausted);
    let why = waiting(&world.state, world.incident(1), world.now).unwrap();
    assert_eq!(why, "platform has nobody left to ask");
}

#[test]
fn channels_follow_until_one_shows_a_receipt() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    assert_eq!(world.told(), ["bob push"]);
    world.send();
    assert!(world.told().is_empty());
    world.pass(minutes(1));
    assert_eq!(world.told(), ["bob sms"], "no receipt for a minute");
    let sms = world.due().remove(0);
    world.outcome(
        &sms,
        Outcome::Failed {
            reason: "no such number".into(),
        },
    );
    assert_eq!(world.told(), ["bob voice"], "a failure needs no waiting");
    delivered(&mut world);
    world.pass(minutes(2));
    assert!(world.told().is_empty());
}

#[test]
fn a_provider_that_hangs_is_passed_by() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.pass(minutes(1));
    assert_eq!(world.told(), ["bob push", "bob sms"]);
    let push = world.due().remove(0);
    world.pass(minutes(1));
    let reason = "timeout".to_owned();
    world.outcome(&push, Outcome::DeadLetter { reason });
    assert_eq!(
        world.told(),
        ["bob sms", "bob voice"],
        "what was begun stays begun"
    );
}

#[test]
fn a_hundred_alerts_are_one_page() {
    let mut world = World::new();
    for n in 0..100 {
        world.fire("api", &format!("Errors{n}"), "error");
    }
    assert_eq!(world.told(), ["bob push"]);
    let page = world.due().remove(0);
    assert!(page.body.contains("100 alerts"), "{}", page.body);
    assert_eq!(page.id, "page:1:platform:1:0:0push@bob");
}

#[test]
fn an_acknowledgement_stops_it_and_runs_out() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.send();
    world.ask(1, ack(Via::Link)).unwrap();
    assert!(world.told().is_empty());
    world.pass(Millis(ACKNOWLEDGED_FOR.0 - 1));
    assert!(world.told().is_empty());
    assert_eq!(asked(&world, 1), ["0: bob"]);
    world.pass(Millis(1));
    assert_eq!(world.told(), ["bob push"]);
    assert_eq!(world.due()[0].id, "page:1:platform:2:0:0push@bob");
}

#[test]
fn an_acknowledgement_is_renewed() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    for via in [Via::Cli, Via::Api, Via::Chat, Via::Phone] {
        world.ask(1, ack(via)).unwrap();
        world.pass(minutes(29));
        assert!(world.told().is_empty());
    }
    world.pass(minutes(1));
    assert_eq!(world.told(), ["bob push"]);
}

#[test]
fn who_was_asked_is_told_that_it_is_over() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.send();
    world.ask(1, ack(Via::Link)).unwrap();
    world.over("api", "Errors", "error");
    world.pass(CALM_FOR);
    assert_eq!(world.told(), ["bob push"]);
    let notice = world.due().remove(0);
    assert_eq!(notice.subject, "[resolved] api: Errors");
    world.outcome(&notice, Outcome::Sent);
    assert!(world.told().is_empty());
    world.pass(minutes(61));
    assert!(world.told().is_empty());
}

#[test]
fn who_was_not_asked_is_not_told_that_it_is_over() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.over("api", "Errors", "error");
    world.pass(CALM_FOR);
    assert!(world.told().is_empty());
}

#[test]
fn a_warning_wakes_nobody_until_it_is_worse() {
    let mut world = World::new();
    world.fire("api", "Slow", "warning");
    let low = world.due().remove(0);
    assert_eq!(
        (low.urgency, low.channel.kind),
        (Urgency::Low, ChannelKind::Push)
    );
    world.pass(minutes(60));
    assert_eq!(
        asked(&world, 1),
        ["0: bob"],
        "and nobody is asked after him"
    );
    assert_eq!(world.told(), ["bob push"], "nor by what would wake him");
    world.fire("api", "Errors", "error");
    let high = world.due().remove(0);
    assert_eq!(high.urgency, Urgency::High);
    assert_eq!(high.id, "page:1:platform:2:0:0push@bob");
}

fn rolled_back(world: &mut World) {
    let release = ReleaseId(118);
    world.see(
        "api",
        Cause::RollbackStarted {
            release,
            reason: "8 % fail".into(),
        },
    );
    world.pass(Millis::seconds(4));
    world.see(
        "api",
        Cause::RollbackCompleted {
            release,
            took_ms: Millis(4000),
        },
    );
}

#[test]
fn a_rollback_that_works_wakes_nobody_and_says_so() {
    let mut world = World::new();
    rolled_back(&mut world);
    let page = world.due().remove(0);
    assert_eq!(page.urgency, Urgency::Low);
    let subject = "[SEV2] api: release 118 is rolled back: rolled back, please verify";
    assert_eq!(page.subject, subject);
    expect_test::expect![[r#"
        Incident 1, SEV2, detected 13:00:00 CET.
        13:00:00 CET: release 118 is rolled back: 8 % fail.
        13:00:04 CET: release 118 was rolled back in 4 s.
        Rolled back 13:00:04 CET: release 118, in 4 s. Please verify.
        Nothing of it is seen since 13:00:04 CET."#]]
    .assert_eq(&page.body);
    world.pass(CALM_FOR);
    assert!(world.incident(1).over.is_some());
}

#[test]
fn a_rollback_that_does_not_help_wakes_somebody() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    assert_eq!(
        world.due()[0].urgency,
        Urgency::High,
        "the alert came first"
    );

    let mut world = World::new();
    rolled_back(&mut world);
    world.fire("api", "Errors", "error");
    assert_eq!(world.due()[0].urgency, Urgency::Low);
    world.pass(VERIFY_WITHIN);
    assert_eq!(world.due()[0].urgency, Urgency::High);
}

#[test]
fn a_rollback_that_hangs_or_fails_wakes_somebody() {
    let release = ReleaseId(7);
    let mut world = World::new();
    world.see(
        "api",
        Cause::RollbackStarted {
            release,
            reason: "8 % fail".into(),
        },
    );
    assert_eq!(world.due()[0].urgency, Urgency::Low);
    world.pass(ROLLBACK_WITHIN);
    assert_eq!(world.due()[0].urgency, Urgency::High);

    let mut world = World::new();
    world.see(
        "api",
        Cause::RollbackStarted {
            release,
            reason: "8 % fail".into(),
        },
    );
    world.see(
        "api",
        Cause::RollbackFailing {
            release,
            reason: "web-1 is silent".into(),
        },
    );
    assert_eq!(world.due()[0].urgency, Urgency::High);
}

#[test]
fn a_storm_of_incidents_is_told_in_one_message() {
    let mut world = World::new();
    for n in 0..RATE_MAX + 7 {
        world.fire(&format!("service-{n}"), "Errors", "error");
    }
    assert_eq!(world.state.incidents.len(), RATE_MAX + 7);
    let due = world.due();
    assert_eq!(due.len(), RATE_MAX + 1);
    let digest = due.last().unwrap();
    assert_eq!(digest.subject, "7 more incidents wait for you");
    assert!(matches!(digest.notice, Notice::Digest { number: 1, .. }));
    world.send();
    assert!(world.due().is_empty());
    assert_eq!(world.state.contacts[&name("bob")].digests, 1);
    world.pass(minutes(10));
    assert!(!world.due().is_empty(), "and later one by one");
}

#[test]
fn the_same_journal_pages_nobody_twice() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.send();
    let mut state = crate::State::default();
    for (at, event) in &world.journal {
        state.evolve(event, *at);
    }
    assert_eq!(state, world.state);
    assert!(crate::due(&state, world.now).is_empty());
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<crate::State>(&text).unwrap(), state);
}

#[test]
fn a_clock_that_goes_back_an_hour_changes_nothing() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.send();
    world.pass(minutes(1));
    world.send();
    let (due, pages) = (world.due(), world.incident(1).pages.clone());
    let there = world.now;
    world.now = there.checked_sub(minutes(60).duration()).unwrap();
    world.settle();
    assert_eq!(world.due(), due);
    assert_eq!(world.incident(1).pages, pages);
    world.ask(1, ack(Via::Cli)).unwrap();
    let until = world.incident(1).held.as_ref().unwrap().until;
    assert_eq!(until, ACKNOWLEDGED_FOR.after(there));
}

#[test]
fn an_outcome_of_an_older_generation_says_nothing_of_this_one() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    let old = world.due().remove(0);
    world.ask(1, ack(Via::Link)).unwrap();
    world.pass(ACKNOWLEDGED_FOR);
    world.outcome(&old, Outcome::Delivered);
    assert_eq!(world.told(), ["bob push"]);
}

#[test]
fn a_policy_that_was_removed_leaves_nobody_waiting_in_silence() {
    let mut world = World::new();
    world.fire("store", "Down", "critical");
    assert_eq!(world.told(), ["dan push"]);
    let mut changed = setup();
    changed.policies.remove(&name::<model::PolicyName>("data"));
    changed
        .services
        .get_mut(&name::<model::ServiceName>("store"))
        .unwrap()
        .policy = None;
    let declared = oncall::commands::declare(&world.state, &person("ops"), changed, world.now);
    world.append(declared.unwrap());
    world.settle();
    assert_eq!(world.told(), ["bob push", "dan push"]);
}

#[test]
fn each_contact_is_tested_weekly_in_their_own_morning() {
    let mut world = World::new();
    // Tuesday, 11:00 in Berlin.
    world.now = name("2026-01-13T09:59:59Z");
    world.settle();
    assert!(world.due().is_empty());
    world.pass(Millis::seconds(1));
    assert_eq!(world.due().len(), 4 * 3, "each channel of each of the four");
    assert!(world.due().iter().all(|it| it.urgency == Urgency::Low));
    let ada = world.due().remove(0);
    world.outcome(&ada, Outcome::Delivered);
    world.pass(minutes(60));
    assert!(world.due().is_empty());
    let rate = |world: &World, who: &str| test_rate(&world.state.contacts[&name(who)], world.now);
    assert_eq!(
        (rate(&world, "ada").tests, rate(&world, "ada").reached),
        (1, 1)
    );
    assert_eq!(
        (rate(&world, "bob").tests, rate(&world, "bob").reached),
        (1, 0)
    );
    assert_eq!(rate(&world, "ada").channels["0push"], (1, 1));
    // A control plane that was down at the time tests nobody in the night.
    world.now = name("2026-01-20T23:00:00Z");
    world.settle();
    assert!(world.due().is_empty());
    world.now = name("2026-01-27T10:00:00Z");
    world.settle();
    assert_eq!(world.due().len(), 12);
    assert!(world.due()[0].id.starts_with("test:2:"));
}

#[test]
fn a_channel_that_changes_is_a_new_message() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.send();
    let mut changed = setup();
    let bob = changed
        .contacts
        .get_mut(&name::<model::ContactName>("bob"))
        .unwrap();
    bob.channels = vec![Channel {
        kind: ChannelKind::Mail,
        ..bob.channels[0].clone()
    }];
    world.append(vec![IncidentEvent::SetupDeclared {
        by: person("ops"),
        setup: Box::new(changed),
    }]);
    world.settle();
    assert_eq!(world.told(), ["bob mail"]);
}
