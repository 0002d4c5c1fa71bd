//! Incidents from their beginning to their end.

use model::incident::{Cause, Duty, IncidentEvent, IncidentId, Severity, UpdateStatus};
use model::refusal::Code;
use model::{Millis, ReleaseId};

use super::world::{World, minutes, name, person};
use crate::commands::{self, Ask};
use crate::incidents::{CALM_FOR, REOPEN_WITHIN};

fn failed(release: u64) -> Cause {
    Cause::VerdictFailed {
        release: ReleaseId(release),
        wave: 1,
        reason: "8 % fail".into(),
    }
}

fn code(result: Result<(), model::Refusal>) -> Code {
    result.unwrap_err().code
}

#[test]
fn alerts_of_one_service_are_one_incident() {
    let mut world = World::new();
    world.fire("api", "Slow", "warning");
    world.fire("api", "Errors", "critical");
    world.fire("api", "Errors2", "error");
    assert_eq!(world.state.incidents.len(), 1);
    let incident = world.incident(1);
    assert_eq!(incident.severity, Severity::Sev1);
    assert_eq!(incident.alerts_total, 3);
    assert_eq!(incident.title, "api: Slow");
    assert!(incident.by_machine && incident.confirmed.is_none());
}

#[test]
fn services_that_depend_on_each_other_are_one_incident_and_both_teams_know() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    assert_eq!(world.told(), ["bob push"]);
    world.fire("store", "Down", "critical");
    assert_eq!(world.state.incidents.len(), 1);
    assert_eq!(
        world.told(),
        ["bob push", "dan push"],
        "the cause has other people"
    );
    world.fire("web", "Errors", "error");
    assert_eq!(world.state.incidents.len(), 1);
    assert_eq!(world.incident(1).services.len(), 3);
    assert_eq!(
        world.told().len(),
        2,
        "who only depends on it has nothing to do"
    );
}

#[test]
fn services_that_come_in_one_batch_are_one_incident_too() {
    let mut world = World::new();
    let alert = |service: &str| crate::alerts::Incoming {
        labels: super::world::labels(&[("service", service), ("alertname", "Down")]),
        source: "test".into(),
        ..Default::default()
    };
    world.take(&[alert("web"), alert("store"), alert("api"), alert("other")]);
    assert_eq!(world.state.incidents.len(), 2);
}

#[test]
fn the_machine_ends_what_it_opened_and_opens_it_again() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.pass(minutes(1));
    world.over("api", "Errors", "error");
    assert!(world.incident(1).calm_since().is_some());
    world.pass(Millis(CALM_FOR.0 - 1));
    assert!(world.incident(1).over.is_none());
    world.pass(Millis(1));
    assert!(world.incident(1).over.is_some());
    world.pass(Millis(REOPEN_WITHIN.0 - 1));
    world.fire("api", "Other", "error");
    assert_eq!(world.state.incidents.len(), 1);
    assert_eq!(world.incident(1).reopened, 1);
    assert_eq!(world.incident(1).pages[0].generation, 2);
    world.over("api", "Other", "error");
    world.pass(CALM_FOR);
    world.pass(REOPEN_WITHIN);
    world.fire("api", "Other", "error");
    assert_eq!(world.state.incidents.len(), 2, "later it is another one");
}

#[test]
fn what_a_person_confirmed_only_a_person_ends() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world
        .ask(
            1,
            Ask::Confirm {
                words: "yes".into(),
            },
        )
        .unwrap();
    world.over("api", "Errors", "error");
    world.pass(minutes(600));
    assert!(world.incident(1).over.is_none());
    world
        .ask(
            1,
            Ask::Resolve {
                words: "done".into(),
            },
        )
        .unwrap();
    assert!(world.incident(1).over.is_some());
    assert_eq!(
        code(world.ask(1, Ask::Resolve { words: "".into() })),
        Code::IncidentOver
    );
    world
        .ask(
            1,
            Ask::Note {
                words: "afterwards".into(),
            },
        )
        .unwrap();
    world.ask(1, Ask::Reopen { words: "no".into() }).unwrap();
    assert!(world.incident(1).over.is_none());
    assert_eq!(
        code(world.ask(1, Ask::Reopen { words: "".into() })),
        Code::IncidentOver
    );
}

#[test]
fn what_a_person_ended_while_it_fires_comes_back() {
    let mut world = World::new();
    let id = world.fire("api", "Errors", "error");
    world
        .ask(
            1,
            Ask::Resolve {
                words: "known".into(),
            },
        )
        .unwrap();
    let stands = crate::alerts::standing(&world.state, id, world.now).unwrap();
    assert!(
        stands.to_string().starts_with("incident 1 was resolved"),
        "{stands}"
    );
    world.pass(minutes(29));
    assert!(world.incident(1).over.is_some());
    world.pass(minutes(1));
    assert!(world.incident(1).over.is_none(), "it fires still");
    assert_eq!(world.state.incidents.len(), 1);
}

#[test]
fn a_person_opens_one_by_hand_and_ends_it() {
    let mut world = World::new();
    let opened = commands::open_incident(
        &world.state,
        &person("ada"),
        Some(name("api")),
        "customers call",
        Severity::Sev2,
    );
    world.append(opened.unwrap());
    world.settle();
    let incident = world.incident(1);
    assert!(!incident.by_machine && incident.confirmed.is_some());
    assert_eq!(
        incident.calm_since(),
        None,
        "what only people see is there until they say otherwise"
    );
    assert_eq!(world.told(), ["bob push"]);
    world.pass(minutes(600));
    assert!(world.incident(1).over.is_none());
    let empty = commands::open_incident(&world.state, &person("ada"), None, " ", Severity::Sev2);
    assert_eq!(empty.unwrap_err().code, Code::BadRequest);
}

#[test]
fn a_failing_wave_and_its_rollback_are_one_incident() {
    let mut world = World::new();
    world.see("api", failed(7));
    world.see("api", failed(7));
    world.see(
        "api",
        Cause::RollbackStarted {
            release: ReleaseId(7),
            reason: "8 % fail".into(),
        },
    );
    assert_eq!(world.state.incidents.len(), 1);
    assert_eq!(
        world.incident(1).causes.len(),
        2,
        "told twice, it is known once"
    );
    let completed = Cause::RollbackCompleted {
        release: ReleaseId(7),
        took_ms: Millis(4000),
    };
    world.see("api", completed.clone());
    assert!(world.incident(1).calm_since().is_some());
    world.pass(CALM_FOR);
    assert!(world.incident(1).over.is_some());
    let before = world.journal.len();
    world.see("web", completed);
    assert_eq!(world.journal.len(), before, "good news about nothing");
}

#[test]
fn hosts_and_agents_are_trouble_until_they_are_well() {
    let mut world = World::new();
    world.see(
        "api",
        Cause::HostRevertFailing {
            host: name("api-1"),
            reason: "disk".into(),
        },
    );
    assert_eq!(world.incident(1).severity, Severity::Sev1);
    world.see(
        "api",
        Cause::AgentsSilent {
            environment: name("production"),
            hosts: 3,
            of: 9,
        },
    );
    assert_eq!(world.state.incidents.len(), 1);
    world.well("host:api-1");
    assert!(world.incident(1).troubled());
    world.well("agents:production");
    world.pass(CALM_FOR);
    assert!(world.incident(1).over.is_some());
}

#[test]
fn two_become_one() {
    let mut world = World::new();
    let first = world.fire("api", "Errors", "error");
    let second = world.fire("other", "Errors", "critical");
    assert_eq!(world.state.incidents.len(), 2);
    assert_eq!(
        code(world.ask(
            2,
            Ask::Merge {
                into: IncidentId(2)
            }
        )),
        Code::IncidentOver
    );
    assert_eq!(
        code(world.ask(
            2,
            Ask::Merge {
                into: IncidentId(9)
            }
        )),
        Code::NotFound
    );
    world
        .ask(
            2,
            Ask::Merge {
                into: IncidentId(1),
            },
        )
        .unwrap();
    let merged = world.incident(1);
    assert_eq!(merged.alerts, [first, second].into());
    assert_eq!(merged.severity, Severity::Sev1);
    assert_eq!(
        code(world.ask(2, Ask::Reopen { words: "".into() })),
        Code::IncidentOver
    );
    world.fire("other", "More", "error");
    assert_eq!(
        world.state.incidents.len(),
        2,
        "it joins what it was merged into"
    );
}

#[test]
fn people_say_how_bad_it_is_and_who_does_what() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world
        .ask(
            1,
            Ask::Severity {
                severity: Severity::Sev3,
                words: "few".into(),
            },
        )
        .unwrap();
    world.fire("api", "More", "critical");
    assert_eq!(
        world.incident(1).severity,
        Severity::Sev3,
        "a person's word counts"
    );
    for duty in [Duty::Commander, Duty::Communications, Duty::Operations] {
        world
            .ask(
                1,
                Ask::Duty {
                    duty,
                    contact: name("cyd"),
                },
            )
            .unwrap();
    }
    assert_eq!(world.incident(1).duties.len(), 3);
    let unknown = Ask::Duty {
        duty: Duty::Commander,
        contact: name("eve"),
    };
    assert_eq!(code(world.ask(1, unknown)), Code::NotFound);
    let status = UpdateStatus::Identified;
    world
        .ask(
            1,
            Ask::Update {
                status,
                words: "we know".into(),
            },
        )
        .unwrap();
    assert_eq!(world.incident(1).updates.len(), 1);
    let long = "x".repeat(5000);
    assert_eq!(
        code(world.ask(1, Ask::Note { words: long })),
        Code::TooLarge
    );
    assert_eq!(
        code(world.ask(1, Ask::Note { words: " ".into() })),
        Code::BadRequest
    );
}

#[test]
fn severities_have_two_names() {
    for severity in Severity::ALL {
        assert_eq!(Severity::from_words(severity.word()), Some(severity));
        assert_eq!(Severity::from_words(&severity.to_string()), Some(severity));
    }
    assert_eq!(Severity::from_words("loud"), None);
}

#[test]
fn every_event_has_words() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.send();
    let lines: Vec<String> = world.journal.iter().map(|(_, it)| it.to_string()).collect();
    expect_test::expect![[r#"
        ops declared 4 contacts, 2 schedules, 2 policies
        alert Errors fires (4b69e113f917321b)
        incident 1: plimsoll opened it as SEV2: api: Errors
        incident 1: platform is told, urgency high
        incident 1: platform level 0: bob
        incident 1: bob by 0push: sent"#]]
    .assert_eq(&lines.join("\n"));
    let incidents = world
        .journal
        .iter()
        .filter_map(|(_, it)| IncidentEvent::incident(it));
    assert_eq!(incidents.count(), 4);
}

#[test]
fn a_page_names_the_change_that_came_before() {
    let mut world = World::new();
    let opened = commands::open_incident(
        &world.state,
        &model::Actor::plimsoll(),
        Some(name("api")),
        "5xx",
        Severity::Sev2,
    );
    let changes = |service: &model::ServiceName| {
        let wave = |wave| model::incident::NewestChange {
            service: service.clone(),
            release: ReleaseId(118),
            environment: name("production"),
            wave,
            before_ms: Millis::seconds(40),
        };
        (0..9).rev().map(wave).collect()
    };
    world.append(crate::incidents::with_changes(opened.unwrap(), changes));
    world.settle();
    assert_eq!(
        world.incident(1).changes.len(),
        crate::incidents::CHANGES_MAX
    );
    let page = world.due().remove(0);
    let line = "Began 40 s after wave 9 of release 118 of api in production.";
    assert!(page.body.contains(line), "{}", page.body);
}
