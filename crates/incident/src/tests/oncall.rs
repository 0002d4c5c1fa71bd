//! Schedules: handoffs, zones, who takes over, and calendars.

use jiff::civil::{date, time};
use model::Timestamp;
use model::incident::{Day, IncidentEvent, Layer, Override, Restriction, Schedule};
use model::refusal::Code;

use super::world::{World, layer, minutes, name, person, setup};
use crate::oncall::calendar::{Feed, feed};
use crate::oncall::commands::{self, Range};
use crate::oncall::{Plan, Shift, check, gaps, shifts};

fn schedule(zone: &str, layers: Vec<Layer>) -> Schedule {
    Schedule {
        zone: zone.to_owned(),
        layers,
    }
}

fn daily(zone: &str, from: jiff::civil::Date, handoff: jiff::civil::Time) -> Schedule {
    let layer = Layer {
        starts_on: from,
        handoff,
        ..layer(&["ada", "bob"], 1)
    };
    schedule(zone, vec![layer])
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// `who from` of each shift, in UTC.
fn told(schedule: &Schedule, from: &str, until: &str) -> Vec<String> {
    let plan = Plan::new(schedule, &[]).unwrap();
    shifts(&plan, at(from), at(until))
        .iter()
        .map(line)
        .collect()
}

fn line(shift: &Shift) -> String {
    let who = shift.who.as_ref().map_or("nobody", |(who, _)| who.as_str());
    format!("{who} {}", shift.from)
}

#[test]
fn berlin_hands_over_at_nine_summer_and_winter() {
    let nine = daily("Europe/Berlin", date(2026, 3, 28), time(9, 0, 0, 0));
    assert_eq!(
        told(&nine, "2026-03-28T08:00:00Z", "2026-03-31T00:00:00Z"),
        [
            "ada 2026-03-28T08:00:00Z",
            "bob 2026-03-29T07:00:00Z",
            "ada 2026-03-30T07:00:00Z",
        ]
    );
    assert_eq!(
        told(&nine, "2026-10-24T07:00:00Z", "2026-10-26T08:00:00Z"),
        ["ada 2026-10-24T07:00:00Z", "bob 2026-10-25T08:00:00Z",]
    );
}

#[test]
fn berlin_a_time_that_does_not_exist_is_after_the_jump() {
    let night = daily("Europe/Berlin", date(2026, 3, 28), time(2, 30, 0, 0));
    // 02:30 on the 29th does not exist: it is 03:30, which is 01:30 UTC.
    assert_eq!(
        told(&night, "2026-03-28T01:30:00Z", "2026-03-31T00:00:00Z"),
        [
            "ada 2026-03-28T01:30:00Z",
            "bob 2026-03-29T01:30:00Z",
            "ada 2026-03-30T00:30:00Z",
        ]
    );
}

#[test]
fn new_york_a_time_that_exists_twice_is_the_first() {
    let night = daily("America/New_York", date(2026, 10, 31), time(1, 30, 0, 0));
    // 01:30 on November 1st is at 05:30 and at 06:30 UTC.
    assert_eq!(
        told(&night, "2026-10-31T05:30:00Z", "2026-11-03T00:00:00Z"),
        [
            "ada 2026-10-31T05:30:00Z",
            "bob 2026-11-01T05:30:00Z",
            "ada 2026-11-02T06:30:00Z",
        ]
    );
    let spring = daily("America/New_York", date(2026, 3, 7), time(2, 30, 0, 0));
    assert_eq!(
        told(&spring, "2026-03-07T07:30:00Z", "2026-03-09T06:30:00Z"),
        ["ada 2026-03-07T07:30:00Z", "bob 2026-03-08T07:30:00Z",]
    );
}

#[test]
fn lord_howe_moves_by_half_an_hour() {
    // +10:30 in winter, +11 in summer. On 2026-10-04 the clocks go from 02:00 to 02:30.
    let spring = daily("Australia/Lord_Howe", date(2026, 10, 3), time(2, 15, 0, 0));
    assert_eq!(
        told(&spring, "2026-10-02T15:45:00Z", "2026-10-04T16:00:00Z"),
        [
            "ada 2026-10-02T15:45:00Z",
            "bob 2026-10-03T15:45:00Z",
            "ada 2026-10-04T15:15:00Z",
        ]
    );
    // On 2026-04-05 they go from 02:00 back to 01:30: 01:45 exists twice.
    let autumn = daily("Australia/Lord_Howe", date(2026, 4, 4), time(1, 45, 0, 0));
    assert_eq!(
        told(&autumn, "2026-04-03T14:45:00Z", "2026-04-06T00:00:00Z"),
        [
            "ada 2026-04-03T14:45:00Z",
            "bob 2026-04-04T14:45:00Z",
            "ada 2026-04-05T15:15:00Z",
        ]
    );
}

#[test]
fn sao_paulo_had_days_that_began_at_one() {
    // On 2018-11-04 the clocks went from 00:00 to 01:00; since 2019 they stay.
    let midnight = daily("America/Sao_Paulo", date(2018, 11, 3), time(0, 0, 0, 0));
    assert_eq!(
        told(&midnight, "2018-11-03T03:00:00Z", "2018-11-06T00:00:00Z"),
        [
            "ada 2018-11-03T03:00:00Z",
            "bob 2018-11-04T03:00:00Z",
            "ada 2018-11-05T02:00:00Z",
        ]
    );
    let days = told(&midnight, "2026-11-03T03:00:00Z", "2026-11-05T03:00:00Z");
    assert!(
        days.iter().all(|day| day.ends_with("T03:00:00Z")),
        "{days:?}"
    );
}

#[test]
fn lagos_and_kolkata_stay_where_they_are() {
    for (zone, hour) in [
        ("Africa/Lagos", "T08:00:00Z"),
        ("Asia/Kolkata", "T03:30:00Z"),
    ] {
        let nine = daily(zone, date(2026, 1, 1), time(9, 0, 0, 0));
        let from = format!("2026-01-01{hour}");
        let year = told(&nine, &from, "2026-12-31T00:00:00Z");
        assert_eq!(year.len(), 364, "{zone}");
        assert!(year.iter().all(|day| day.ends_with(hour)), "{zone}");
    }
}

#[test]
fn apia_left_out_a_friday() {
    // After Thursday, 2011-12-29, came Saturday, the 31st.
    let nine = daily("Pacific/Apia", date(2011, 12, 28), time(9, 0, 0, 0));
    // Ada's turn would have been the Friday that never was: it has no length, and Saturday is bob's again.
    assert_eq!(
        told(&nine, "2011-12-28T19:00:00Z", "2012-01-01T00:00:00Z"),
        [
            "ada 2011-12-28T19:00:00Z",
            "bob 2011-12-29T19:00:00Z",
            "bob 2011-12-30T19:00:00Z",
            "ada 2011-12-31T19:00:00Z",
        ]
    );
    let fridays = Schedule {
        layers: vec![Layer {
            only: vec![Restriction {
                days: vec![Day::Fri],
                from: time(9, 0, 0, 0),
                until: time(17, 0, 0, 0),
            }],
            ..nine.layers[0].clone()
        }],
        ..nine
    };
    let plan = Plan::new(&fridays, &[]).unwrap();
    let week = shifts(
        &plan,
        at("2011-12-28T00:00:00Z"),
        at("2012-01-03T00:00:00Z"),
    );
    assert!(
        week.iter().all(|shift| shift.who.is_none()),
        "that week had no Friday"
    );
}

#[test]
fn the_topmost_layer_that_covers_counts() {
    let office = Layer {
        only: vec![Restriction {
            days: vec![Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri],
            from: time(9, 0, 0, 0),
            until: time(17, 0, 0, 0),
        }],
        ..layer(&["cyd", "dan"], 7)
    };
    let both = schedule("Europe/Berlin", vec![layer(&["ada", "bob"], 7), office]);
    // Friday, Saturday, Monday.
    assert_eq!(
        told(&both, "2026-01-09T07:00:00Z", "2026-01-12T17:00:00Z"),
        [
            "ada 2026-01-09T07:00:00Z",
            "cyd 2026-01-09T08:00:00Z",
            "ada 2026-01-09T16:00:00Z",
            "dan 2026-01-12T08:00:00Z",
            "bob 2026-01-12T16:00:00Z",
        ]
    );
}

#[test]
fn a_night_belongs_to_the_day_on_which_it_begins() {
    let night = Layer {
        only: vec![Restriction {
            days: vec![Day::Sat],
            from: time(22, 0, 0, 0),
            until: time(6, 0, 0, 0),
        }],
        ..layer(&["ada"], 1)
    };
    let nights = schedule("Europe/Berlin", vec![night]);
    let plan = Plan::new(&nights, &[]).unwrap();
    let on = |text: &str| plan.on_call(at(text)).is_some();
    assert!(on("2026-01-10T21:00:00Z") && on("2026-01-11T04:59:59Z"));
    assert!(!on("2026-01-10T20:59:59Z") && !on("2026-01-11T05:00:00Z"));
    assert!(
        !on("2026-01-10T03:00:00Z"),
        "Friday's night is not Saturday's"
    );
    let found = gaps(
        &plan,
        at("2026-01-05T08:00:00Z"),
        at("2026-01-19T00:00:00Z"),
    );
    assert_eq!(found.len(), 3);
}

#[test]
fn every_few_days_counts_from_the_first_day() {
    let three = schedule("Asia/Kolkata", vec![layer(&["ada", "bob", "cyd"], 3)]);
    assert_eq!(
        told(&three, "2026-01-05T03:30:00Z", "2026-01-14T03:30:00Z"),
        [
            "ada 2026-01-05T03:30:00Z",
            "bob 2026-01-08T03:30:00Z",
            "cyd 2026-01-11T03:30:00Z",
        ]
    );
    assert_eq!(
        told(&three, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ["nobody 2026-01-01T00:00:00Z"]
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let world = World::new();
    let mut broken = setup();
    let platform = broken
        .schedules
        .get_mut(&name::<model::ScheduleName>("platform"))
        .unwrap();
    platform.zone = "Europe/Atlantis".to_owned();
    platform.layers[0].contacts = vec![name("eve")];
    platform.layers[0].every_days = 0;
    broken
        .schedules
        .insert(name("empty"), schedule("UTC", Vec::new()));
    broken.default_policy = Some(name("nothing"));
    let mut state = world.state.clone();
    for (id, from, until) in [(1, 0, 60), (2, 30, 90)] {
        state.evolve(
            &IncidentEvent::OverrideSet {
                by: person("ada"),
                schedule: name("later"),
                entry: Override {
                    id,
                    contact: name("ada"),
                    from: minutes(from).after(world.now),
                    until: minutes(until).after(world.now),
                },
            },
            world.now,
        );
    }
    let refused = commands::declare(&state, &person("ops"), broken, world.now).unwrap_err();
    assert_eq!(refused.code, Code::InvalidSetup);
    expect_test::expect![[r#"
        schedule empty: is empty: it has no layer
        schedule later: override 1 of ada overlaps with override 2 of ada
        schedule platform: there is no time zone "Europe/Atlantis"; write its IANA name, as Europe/Berlin
        schedule platform, layer 1: there is no contact eve
        schedule platform, layer 1: hands over every 0 days; 1 to 366
        setup: there is no policy nothing"#]]
    .assert_eq(&refused.message);
}

#[test]
fn gaps_of_the_next_ninety_days_are_found() {
    let world = World::new();
    let found = check::gaps_ahead(&world.state, &world.state.setup, world.now);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["later"], "it begins in 2030");
}

fn on_call(world: &World, after_minutes: u64) -> String {
    let plan = Plan::of(&world.state, &name("platform")).unwrap();
    let who = plan.on_call(minutes(after_minutes).after(world.now));
    who.map_or_else(|| "nobody".into(), |(who, _)| who.to_string())
}

#[test]
fn somebody_takes_over_until_the_shift_ends() {
    let mut world = World::new();
    let by = person("cyd");
    let taken = commands::take(
        &world.state,
        &by,
        &name("platform"),
        name("cyd"),
        None,
        world.now,
    );
    world.append(taken.unwrap());
    assert_eq!(on_call(&world, 0), "cyd");
    assert_eq!(
        on_call(&world, 7 * 24 * 60),
        "ada",
        "the next shift is its own"
    );
    world.fire("api", "Errors", "error");
    assert_eq!(world.told(), ["cyd push"]);
}

#[test]
fn taking_cuts_what_others_took_and_overlaps_never() {
    let mut world = World::new();
    let now = world.now;
    let range = |from, until| Range {
        from: minutes(from).after(now),
        until: minutes(until).after(now),
    };
    let platform = name("platform");
    let set = |world: &World, who: &str, range: &Range| {
        let by = person("ops");
        commands::set_override(&world.state, &by, &platform, name(who), range, world.now)
    };
    let (first, second, third) = (range(10, 100), range(50, 120), range(50, 50));
    let events = set(&world, "cyd", &first).unwrap();
    world.append(events);
    assert_eq!(
        set(&world, "dan", &second).unwrap_err().code,
        Code::BadRequest
    );
    assert_eq!(
        set(&world, "dan", &third).unwrap_err().code,
        Code::BadRequest
    );
    assert_eq!(
        set(&world, "eve", &range(200, 300)).unwrap_err().code,
        Code::NotFound
    );
    world.now = minutes(20).after(world.now);
    let until = Some(minutes(20).after(world.now));
    let by = person("dan");
    let events = commands::take(&world.state, &by, &platform, name("dan"), until, world.now);
    world.append(events.unwrap());
    assert_eq!(on_call(&world, 0), "dan");
    assert_eq!(on_call(&world, 20), "cyd");
    assert_eq!(on_call(&world, 80), "bob");
    let entries = &world.state.schedules[&platform].overrides;
    assert_eq!(entries.len(), 3);
    assert!(check::overlaps("", &entries.iter().collect::<Vec<_>>()).is_empty());
    let id = entries[1].id;
    let gone = commands::remove_override(&world.state, &person("ops"), &platform, id).unwrap();
    world.append(gone);
    assert_eq!(on_call(&world, 0), "bob");
    let again = commands::remove_override(&world.state, &person("ops"), &platform, id);
    assert_eq!(again.unwrap_err().code, Code::NotFound);
}

#[test]
fn two_shifts_change_hands() {
    let mut world = World::new();
    let week = 7 * 24 * 60;
    assert_eq!(
        (on_call(&world, 0), on_call(&world, week)),
        ("bob".into(), "ada".into())
    );
    let (now, later) = (world.now, minutes(week).after(world.now));
    let platform = name("platform");
    let events = commands::swap(&world.state, &person("ops"), &platform, now, later, now);
    world.append(events.unwrap());
    assert_eq!(
        (on_call(&world, 0), on_call(&world, week)),
        ("ada".into(), "bob".into())
    );
    let both = minutes(1).after(now);
    let same = commands::swap(&world.state, &person("ops"), &platform, now, both, now);
    assert_eq!(same.unwrap_err().code, Code::BadRequest);
}

fn calendar(world: &World, contact: Option<&str>) -> String {
    let wanted = Feed {
        schedule: name("platform"),
        contact: contact.map(name),
        from: world.now,
        until: minutes(14 * 24 * 60).after(world.now),
        domain: "plimsoll.example.org".to_owned(),
    };
    feed(&world.state, &wanted).unwrap()
}

#[test]
fn a_calendar_is_told_in_full() {
    let world = World::new();
    let text = calendar(&world, Some("ada"));
    assert!(text.ends_with("END:VCALENDAR\r\n"));
    assert!(
        text.split("\r\n")
            .all(|line| line.len() <= 75 && !line.contains('\n'))
    );
    expect_test::expect![[r#"
        BEGIN:VCALENDAR
        VERSION:2.0
        PRODID:-//Plimsoll//on call//EN
        CALSCALE:GREGORIAN
        METHOD:PUBLISH
        X-WR-CALNAME:On call: platform
        BEGIN:VEVENT
        UID:platform-layer0-turn2-day0-0@plimsoll.example.org
        SEQUENCE:1
        DTSTAMP:20260112T120000Z
        DTSTART:20260119T080000Z
        DTEND:20260126T080000Z
        SUMMARY:ada on call (platform)
        STATUS:CONFIRMED
        TRANSP:TRANSPARENT
        END:VEVENT
        END:VCALENDAR
    "#]]
    .assert_eq(&text.replace("\r\n", "\n"));
}

#[test]
fn a_shift_that_somebody_took_is_cancelled_under_its_own_name() {
    let mut world = World::new();
    let uid = "UID:platform-layer0-turn2-day0-0@plimsoll.example.org\r\nSEQUENCE:";
    assert!(calendar(&world, Some("ada")).contains(&format!("{uid}1")));
    let range = Range {
        from: at("2026-01-19T00:00:00Z"),
        until: at("2026-01-27T00:00:00Z"),
    };
    let by = person("ops");
    let platform = name("platform");
    let set = commands::set_override(&world.state, &by, &platform, name("cyd"), &range, world.now);
    world.append(set.unwrap());
    let text = calendar(&world, Some("ada"));
    assert!(text.contains(&format!("{uid}2")), "{text}");
    assert!(text.contains("STATUS:CANCELLED"), "{text}");
    assert!(calendar(&world, Some("cyd")).contains("UID:platform-override1-0@"));
}

#[test]
fn a_moved_handoff_is_the_same_entry() {
    let mut world = World::new();
    let mut moved = setup();
    let platform = moved
        .schedules
        .get_mut(&name::<model::ScheduleName>("platform"))
        .unwrap();
    platform.layers[0].handoff = time(10, 0, 0, 0);
    let declared = commands::declare(&world.state, &person("ops"), moved, world.now);
    world.append(declared.unwrap());
    let text = calendar(&world, Some("ada"));
    assert!(
        text.contains("turn2-day0-0@plimsoll.example.org\r\nSEQUENCE:2"),
        "{text}"
    );
    assert!(text.contains("DTSTART:20260119T090000Z"), "{text}");
}

#[test]
fn long_names_are_folded_between_characters_and_escaped() {
    let mut world = World::new();
    let mut long = setup();
    let ada = long
        .contacts
        .get_mut(&name::<model::ContactName>("ada"))
        .unwrap();
    ada.name = format!("a;b,c\\d\n{}", "ä€😀".repeat(20));
    let declared = commands::declare(&world.state, &person("ops"), long, world.now);
    world.append(declared.unwrap());
    let text = calendar(&world, Some("ada"));
    assert!(text.split("\r\n").all(|line| line.len() <= 75), "{text}");
    let unfolded = text.replace("\r\n ", "");
    let expected = format!("SUMMARY:a\\;b\\,c\\\\d\\n{} on call", "ä€😀".repeat(20));
    assert!(unfolded.contains(&expected), "{unfolded}");
}

proptest::proptest! {
    #[test]
    fn shifts_follow_one_another_and_agree_with_who_is_on_call(
        zone in 0_usize..6,
        every in 1_u16..10,
        people in 1_usize..4,
        start in 0_i64..800,
        hour in 0_i8..24,
        probe in 0_u64..40 * 24 * 60,
    ) {
        let zones = [
            "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo",
            "Asia/Kolkata", "Pacific/Apia",
        ];
        let starts_on = date(2010, 1, 1).saturating_add(jiff::Span::new().days(start));
        let rotating = Layer {
            starts_on,
            handoff: time(hour, 30, 0, 0),
            ..layer(&["ada", "bob", "cyd"][..people], every)
        };
        let only = vec![Restriction {
            days: vec![Day::Mon, Day::Sun],
            from: time(20, 0, 0, 0),
            until: time(4, 0, 0, 0),
        }];
        let top = Layer { only, ..layer(&["dan"], 1) };
        let top = Layer { starts_on, ..top };
        let both = schedule(zones[zone], vec![rotating, top]);
        let plan = Plan::new(&both, &[]).unwrap();
        let from = starts_on.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
        let row = shifts(&plan, from, minutes(40 * 24 * 60).after(from));
        for pair in row.windows(2) {
            proptest::prop_assert_eq!(pair[0].until, pair[1].from);
            proptest::prop_assert!(pair[0].who != pair[1].who);
        }
        proptest::prop_assert_eq!(row[0].from, from);
        let at = minutes(probe).after(from);
        let shift = row.iter().find(|it| it.from <= at && at < it.until).unwrap();
        let who = plan.on_call(at).map(|(who, source)| (who.clone(), source));
        proptest::prop_assert_eq!(&shift.who, &who);
    }
}
