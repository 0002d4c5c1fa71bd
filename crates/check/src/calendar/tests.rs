//! Windows over weeks that turn and clocks that jump.

use model::Scope;

use super::*;

const MON: u32 = 0;
const SAT: u32 = 5 * 24 * 60;
const SUN: u32 = 6 * 24 * 60;
const FRI: u32 = 4 * 24 * 60;

fn window(from_minute: u32, to_minute: u32, zone: &str) -> FreezeWindow {
    FreezeWindow {
        scope: Scope::Everything,
        from_minute,
        to_minute,
        zone: zone.to_owned(),
        reason: "weekend".to_owned(),
    }
}

/// Both moments as on the wall with their offset: "2026-03-29T01:59+01:00".
fn covered(window: &FreezeWindow, now: &str) -> Option<String> {
    let now: Timestamp = now.parse().unwrap_or_else(|error| panic!("{now}: {error}"));
    let until = window_at(window, now)?;
    let zone = zone(&window.zone).unwrap();
    Some(until.to_zoned(zone).strftime("%a %F %H:%M %:z").to_string())
}

#[test]
fn a_weekend_that_turns_the_week() {
    let weekend = window(FRI + 16 * 60, MON + 8 * 60, "Europe/Berlin");
    let monday = Some("Mon 2026-11-23 08:00 +01:00".to_owned());
    for (now, until) in [
        ("2026-11-20T15:59:59+01:00", None),
        ("2026-11-20T16:00:00+01:00", monday.clone()),
        ("2026-11-21T13:00:00+01:00", monday.clone()),
        ("2026-11-23T00:00:00+01:00", monday.clone()),
        ("2026-11-23T07:59:59.999+01:00", monday),
        ("2026-11-23T08:00:00+01:00", None),
        ("2026-11-25T12:00:00+01:00", None),
    ] {
        assert_eq!(covered(&weekend, now), until, "{now}");
    }
}

#[test]
fn within_the_week_and_over_the_year() {
    let fair = window(FRI, SAT, "UTC");
    assert_eq!(
        covered(&fair, "2027-01-01T12:00:00Z").as_deref(),
        Some("Sat 2027-01-02 00:00 +00:00")
    );
    assert_eq!(covered(&fair, "2027-01-02T00:00:00Z"), None);
    let over_new_year = window(SUN, MON + 60, "UTC");
    assert_eq!(
        covered(&over_new_year, "2023-01-01T12:00:00Z").as_deref(),
        Some("Mon 2023-01-02 01:00 +00:00")
    );
}

/// In the night to 2026-03-29 the clocks go from 02:00 to 03:00.
#[test]
fn the_hour_that_spring_skips() {
    let berlin = "Europe/Berlin";
    let into = window(SUN + 60, SUN + 150, berlin);
    // 02:30 is never shown: the window ends when the clock jumps.
    assert_eq!(
        covered(&into, "2026-03-29T01:59:59+01:00").as_deref(),
        Some("Sun 2026-03-29 03:00 +02:00")
    );
    assert_eq!(covered(&into, "2026-03-29T03:00:00+02:00"), None);
    let out = window(SUN + 150, SUN + 240, berlin);
    assert_eq!(covered(&out, "2026-03-29T01:59:59+01:00"), None);
    assert_eq!(
        covered(&out, "2026-03-29T03:00:00+02:00").as_deref(),
        Some("Sun 2026-03-29 04:00 +02:00")
    );
    // A window that was skipped as a whole.
    let skipped = window(SUN + 125, SUN + 155, berlin);
    assert_eq!(covered(&skipped, "2026-03-29T01:59:59+01:00"), None);
    assert_eq!(covered(&skipped, "2026-03-29T03:00:00+02:00"), None);
    // The weekend around it ends by the wall, an hour earlier by the clock.
    let weekend = window(FRI + 16 * 60, MON + 8 * 60, berlin);
    for now in ["2026-03-27T16:00:00+01:00", "2026-03-30T07:59:59+02:00"] {
        let until = covered(&weekend, now);
        assert_eq!(
            until.as_deref(),
            Some("Mon 2026-03-30 08:00 +02:00"),
            "{now}"
        );
    }
    assert_eq!(covered(&weekend, "2026-03-30T08:00:00+02:00"), None);
}

/// In the night to 2026-10-25 the clocks go from 03:00 back to 02:00.
#[test]
fn the_hour_that_autumn_repeats() {
    let berlin = "Europe/Berlin";
    let into = window(SUN + 60, SUN + 150, berlin);
    for now in [
        "2026-10-25T02:29:00+02:00",
        "2026-10-25T02:45:00+02:00",
        "2026-10-25T02:29:00+01:00",
    ] {
        let until = covered(&into, now);
        assert_eq!(
            until.as_deref(),
            Some("Sun 2026-10-25 02:30 +01:00"),
            "{now}"
        );
    }
    assert_eq!(covered(&into, "2026-10-25T02:30:00+01:00"), None);
    let out = window(SUN + 150, SUN + 240, berlin);
    assert_eq!(covered(&out, "2026-10-25T02:29:00+02:00"), None);
    for now in ["2026-10-25T02:30:00+02:00", "2026-10-25T02:10:00+01:00"] {
        let until = covered(&out, now);
        assert_eq!(
            until.as_deref(),
            Some("Sun 2026-10-25 04:00 +01:00"),
            "{now}"
        );
    }
    let weekend = window(FRI + 16 * 60, MON + 8 * 60, berlin);
    assert_eq!(
        covered(&weekend, "2026-10-23T16:00:00+02:00").as_deref(),
        Some("Mon 2026-10-26 08:00 +01:00")
    );
}

/// Windows that have no end or no zone cover nothing, at any time there is.
#[test]
fn it_answers_whatever_it_is_asked() {
    for strange in [
        window(0, 0, "UTC"),
        window(0, 10_080, "UTC"),
        window(u32::MAX, 1, "UTC"),
        window(0, 1, "Mars/Olympus"),
        window(0, 1, ""),
    ] {
        for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            assert_eq!(window_at(&strange, now), None, "{strange:?}");
        }
    }
    for zone in zone_names() {
        let all = window(1, 0, &zone);
        for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            if let Some(until) = window_at(&all, now) {
                assert!(until > now, "{zone}");
            }
        }
    }
}

/// Through a year in zones with odd jumps: what the wall shows decides.
#[test]
fn it_agrees_with_the_wall() {
    let odd = [
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "Asia/Kathmandu",
    ];
    for name in odd {
        let zone = zone(name).unwrap();
        let window = window(FRI + 16 * 60 + 7, MON + 8 * 60 + 3, name);
        let mut now: Timestamp = "2017-12-31T23:58:00Z".parse().unwrap();
        for _ in 0..(366 * 24 * 2) {
            let wall = zone.to_datetime(now);
            let day = i64::from(wall.weekday().since(Weekday::Monday));
            let minute = day * DAY_MINUTES + i64::from(wall.hour()) * 60 + i64::from(wall.minute());
            let inside =
                minute >= i64::from(window.from_minute) || minute < i64::from(window.to_minute);
            assert_eq!(window_at(&window, now).is_some(), inside, "{name} {wall}");
            now += Span::new().minutes(30);
        }
    }
}
