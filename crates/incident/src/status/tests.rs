//! What users see, and when.

use std::collections::BTreeMap;

use model::incident::{Maintenance, Severity, UpdateStatus};
use model::{Millis, ServiceName};

use super::json::Works;
use super::*;
use crate::commands::{self, Ask};
use crate::incidents::CALM_FOR;
use crate::tests::world::{World, minutes, name, person};

fn page() -> PageInfo {
    PageInfo {
        id: "acme".to_owned(),
        name: "Acme & Sons".to_owned(),
        url: "https://status.example.org".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
    }
}

fn seen(world: &World) -> View {
    view(&world.state, &BTreeMap::new(), world.now)
}

fn posts(world: &World) -> Vec<&'static str> {
    let view = seen(world);
    let updates = view.incidents.iter().flat_map(|it| &it.updates);
    updates.map(|it| it.status.as_str()).collect()
}

fn api(world: &World) -> Health {
    seen(world).components[0].health
}

#[test]
fn the_machine_says_when_it_begins_when_it_is_better_and_when_it_is_over() {
    let mut world = World::new();
    assert_eq!(api(&world), Health::Operational);
    world.fire("api", "release 7 broke the database", "critical");
    assert_eq!(posts(&world), ["investigating"]);
    assert_eq!(api(&world), Health::MajorOutage);
    world.pass(minutes(1));
    world.over("api", "release 7 broke the database", "critical");
    assert_eq!(posts(&world), ["investigating", "monitoring"]);
    assert_eq!(api(&world), Health::DegradedPerformance, "open still");
    world.pass(CALM_FOR);
    assert_eq!(posts(&world), ["investigating", "monitoring", "resolved"]);
    assert_eq!(api(&world), Health::Operational);
    let text =
        json::summary(&page(), &seen(&world)).to_string() + &feeds::atom(&page(), &seen(&world));
    assert!(
        !text.contains("database") && !text.contains("release"),
        "never a cause"
    );
}

#[test]
fn what_comes_back_is_told_again() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.over("api", "Errors", "error");
    world.pass(minutes(1));
    world.fire("api", "Errors", "error");
    assert_eq!(
        posts(&world),
        ["investigating", "monitoring", "investigating"]
    );
    assert_eq!(api(&world), Health::PartialOutage);
}

#[test]
fn once_a_person_confirmed_it_people_speak() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.pass(minutes(1));
    world
        .ask(
            1,
            Ask::Confirm {
                words: String::new(),
            },
        )
        .unwrap();
    world.pass(minutes(1));
    world.over("api", "Errors", "error");
    world.pass(minutes(60));
    assert_eq!(posts(&world), ["investigating"]);
    let update = |status, words: &str| Ask::Update {
        status,
        words: words.to_owned(),
    };
    world
        .ask(1, update(UpdateStatus::Identified, "A database is full."))
        .unwrap();
    world.pass(minutes(1));
    world
        .ask(
            1,
            Ask::Resolve {
                words: String::new(),
            },
        )
        .unwrap();
    assert_eq!(posts(&world), ["investigating", "identified", "resolved"]);
    world.pass(minutes(1));
    world
        .ask(1, update(UpdateStatus::Postmortem, "What we learned."))
        .unwrap();
    assert_eq!(posts(&world).last(), Some(&"postmortem"));
}

#[test]
fn a_warning_is_nobodys_business_until_a_person_says_so() {
    let mut world = World::new();
    world.fire("api", "Slow", "warning");
    assert!(posts(&world).is_empty());
    assert_eq!(api(&world), Health::Operational);
    world
        .ask(
            1,
            Ask::Confirm {
                words: String::new(),
            },
        )
        .unwrap();
    assert_eq!(api(&world), Health::DegradedPerformance);
    let by = person("ada");
    let opened = commands::open_incident(&world.state, &by, None, "secret plan", Severity::Sev1);
    world.append(opened.unwrap());
    world.settle();
    assert_eq!(
        api(&world),
        Health::DegradedPerformance,
        "until they tell users"
    );
}

#[test]
fn counts_speak_too() {
    let world = World::new();
    let health = |good, total| {
        let counts = BTreeMap::from([(name::<ServiceName>("api"), Count { good, total })]);
        view(&world.state, &counts, world.now).components[0].health
    };
    assert_eq!(health(995, 1000), Health::Operational);
    assert_eq!(health(990, 1000), Health::DegradedPerformance);
    assert_eq!(health(950, 1000), Health::PartialOutage);
    assert_eq!(health(500, 1000), Health::MajorOutage);
    assert_eq!(health(0, 99), Health::Operational, "too few to say");
    assert_eq!(health(0, 0), Health::Operational);
}

fn maintain(world: &mut World, from: u64, until: u64) {
    let work = Maintenance {
        id: 0,
        title: "New disks".to_owned(),
        words: "Short <breaks>.".to_owned(),
        components: vec![name("api")],
        starts_at: minutes(from).after(world.now),
        ends_at: minutes(until).after(world.now),
    };
    let events = commands::maintain(&world.state, &person("ada"), work, world.now);
    world.append(events.unwrap());
}

#[test]
fn announced_work_is_shown_while_it_lasts() {
    let mut world = World::new();
    maintain(&mut world, 10, 20);
    let count = |world: &World, works| {
        let value = json::maintenances(&page(), &seen(world), works);
        value["scheduled_maintenances"].as_array().unwrap().len()
    };
    assert_eq!(
        (count(&world, Works::Upcoming), count(&world, Works::Active)),
        (1, 0)
    );
    assert_eq!(api(&world), Health::Operational);
    world.pass(minutes(10));
    assert_eq!(
        (count(&world, Works::Upcoming), count(&world, Works::Active)),
        (0, 1)
    );
    assert_eq!(api(&world), Health::UnderMaintenance);
    world.fire("api", "Errors", "critical");
    assert_eq!(api(&world), Health::MajorOutage, "work excuses no outage");
    world.over("api", "Errors", "critical");
    world.pass(minutes(10));
    assert_eq!(
        (count(&world, Works::All), count(&world, Works::Active)),
        (1, 0)
    );
    let ended = commands::end_maintenance(&world.state, &person("ada"), 2);
    assert!(ended.is_err());
}

#[test]
fn ninety_days_count_each_bad_second_once() {
    let mut world = World::new();
    world.fire("api", "Errors", "critical");
    world.pass(minutes(60));
    world.over("api", "Errors", "critical");
    world.pass(minutes(30));
    world.fire("api", "Errors", "error");
    world.pass(minutes(30));
    world.over("api", "Errors", "error");
    world.pass(minutes(24 * 60));
    let days = &seen(&world).components[0].days;
    assert_eq!(days.len(), DAYS);
    let day = days[DAYS - 2];
    assert_eq!(day.date.to_string(), "2026-01-12");
    // The second time it is opened again, and with what a person was woken for at first.
    assert_eq!(day.major_s + day.partial_s, 90 * 60);
    assert_eq!(
        Day::up_ppm(days),
        1_000_000 - 10_000 * (100 * day.major_s + 30 * day.partial_s) / (86_400 * 90)
    );
    assert_eq!(Day::up_ppm(&days[..10]), 1_000_000);
}

fn told() -> World {
    let mut world = World::new();
    maintain(&mut world, 600, 660);
    world.fire("api", "Errors", "critical");
    world.pass(Millis::seconds(90));
    let words = "Some see <500> & we \"know\"\u{1}.".to_owned();
    let status = UpdateStatus::Identified;
    world.ask(1, Ask::Update { status, words }).unwrap();
    world
}

#[test]
fn the_summary_is_statuspages() {
    let summary = json::summary(&page(), &seen(&told()));
    let text = serde_json::to_string_pretty(&summary).unwrap() + "\n";
    expect_test::expect_file!["tests/summary.json"].assert_eq(&text);
    let status = json::status(&page(), &seen(&told()));
    assert_eq!(status["status"]["indicator"], "critical");
    let unresolved = json::incidents(&page(), &seen(&told()), true);
    assert_eq!(unresolved["incidents"], summary["incidents"]);
    assert_eq!(
        json::components(&page(), &seen(&told()))["components"],
        summary["components"]
    );
}

#[test]
fn the_feeds_are_kept() {
    let world = told();
    expect_test::expect_file!["tests/history.atom"].assert_eq(&feeds::atom(&page(), &seen(&world)));
    expect_test::expect_file!["tests/history.rss"].assert_eq(&feeds::rss(&page(), &seen(&world)));
}

#[test]
fn an_entry_keeps_its_name_and_moves_its_time() {
    let mut world = told();
    let before = seen(&world).incidents[0].clone();
    world.pass(minutes(1));
    world.over("api", "Errors", "critical");
    world.pass(CALM_FOR);
    let after = seen(&world).incidents[0].clone();
    assert_eq!(before.id, after.id);
    assert!(after.updated_at() > before.updated_at());
    assert!(
        after.updates.starts_with(&before.updates),
        "nothing that was told changes"
    );
}

#[test]
fn what_was_merged_is_told_once() {
    let mut world = World::new();
    world.fire("api", "Errors", "error");
    world.fire("other", "Errors", "error");
    world
        .ask(
            2,
            Ask::Merge {
                into: model::incident::IncidentId(1),
            },
        )
        .unwrap();
    assert_eq!(seen(&world).incidents.len(), 1);
}
