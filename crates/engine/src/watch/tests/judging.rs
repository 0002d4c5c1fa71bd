//! What the judge says of whole releases.
//!
//! Invariant: the same seconds give the same word, here and from their record.

use model::{Rule, Verdict};

use super::*;

/// Ten minutes of ordinary traffic, then a release.
fn begun(old_fails: f64) -> (World, Digest) {
    let mut world = World::new();
    world.seconds(600, load(0, 0.0), load(65, old_fails));
    let digest = world.release(plan());
    (world, digest)
}

#[test]
fn a_regression_from_one_to_five_in_a_hundred_is_found_and_explained() {
    let (mut world, _) = begun(0.01);
    let mut seconds = 0;
    let reason = loop {
        world.seconds(1, load(200, 0.05), load(65, 0.01));
        seconds += 1;
        assert!(seconds < 30, "{:?}", world.judged());
        if let Verdict::Fail { rule, reason, .. } = world.judged().verdict {
            assert_eq!(rule, Rule::Errors);
            break reason;
        }
    };
    assert!(reason.contains("requests failed"), "{reason}");
    assert!(reason.contains("on the new bundle"), "{reason}");
    let known = world.judged().explanation.unwrap();
    assert!(known.harm_millinats >= known.harm_needed_millinats);
    assert_eq!(known.metric, Some(model::Metric::Errors));
    assert_eq!(known.needs, "");
    assert!(
        known.ratio.is_some_and(|ratio| ratio.low > 1000),
        "{known:?}"
    );
    let requests: u64 = known.course.iter().map(|point| point.requests).sum();
    assert_eq!(requests, known.canary.requests);
}

#[test]
fn a_healthy_release_passes_wave_by_wave_and_is_never_sent_back() {
    for seed in 0..25 {
        let (mut world, _) = begun(0.002);
        world.chance = Chance(seed);
        let passed = |world: &mut World, what: &str| {
            for _ in 0..900 {
                world.seconds(1, load(65, 0.002), load(65, 0.002));
                match world.judged().verdict {
                    Verdict::Pass { evidence } => return evidence,
                    Verdict::Insufficient { needs } => assert!(!needs.is_empty()),
                    fail @ Verdict::Fail { .. } => panic!("{seed}, {what}: {fail:?}"),
                }
            }
            panic!("{seed}: {what} never passed: {:?}", world.judged());
        };
        let first = passed(&mut world, "first wave");
        assert!(first.canary.requests >= 50 && first.control.requests > 0);
        // Everybody changes: nothing is left to compare with, and it passes all the same.
        world.wave(1, &["a-1", "b-0", "b-1"]);
        let last = passed(&mut world, "last wave");
        assert!(last.canary.requests >= 50, "{last:?}");
        assert_eq!(
            last.control.requests, 0,
            "counts are those since the wave began"
        );
        world.seconds(600, load(65, 0.002), load(65, 0.002));
        assert!(!matches!(world.judged().verdict, Verdict::Fail { .. }));
    }
}

#[test]
fn a_record_gives_the_same_standing_to_the_last_bit() {
    let (mut world, _) = begun(0.01);
    world.seconds(60, load(30, 0.012), load(65, 0.01));
    world.wave(1, &["a-1"]);
    world.beat("a-0", Some(0));
    world.seconds(20, load(30, 0.012), load(65, 0.01));
    world.beat("a-0", Some(1));
    world.watch.gauges(
        &host("a-0"),
        [("memory".to_owned(), 2000), ("moon".to_owned(), 3)].into(),
        None,
        world.now,
    );
    world.seconds(40, load(30, 0.012), load(65, 0.01));
    let (known, bytes) = world
        .watch
        .sealed(&world.state, world.it(), world.now)
        .unwrap();
    assert_eq!(known.record, Some(Digest::of(&bytes)));
    let plain = world.judged().explanation.unwrap();
    assert_eq!(plain.record, None);
    assert_eq!(
        plain,
        model::Explanation {
            record: None,
            ..known.clone()
        }
    );
    assert_eq!(world.watch.record(&Digest::of(&bytes)).unwrap(), bytes);
    assert_eq!(world.watch.record(&old()), None);
    let record: judge::Record = serde_json::from_slice(&bytes).unwrap();
    let book = world.watch.book(&production(), &api()).unwrap();
    let standing = &book.comparison.as_ref().unwrap().standing;
    let again = record.replay();
    assert_eq!(again, *standing);
    assert_eq!(again.harm.to_bits(), standing.harm.to_bits());
    assert_eq!(again.pass.to_bits(), standing.pass.to_bits());
    assert_eq!(record.hosts, ["a-0", "a-1", "b-0", "b-1"]);
    assert!(record.ticks.iter().any(|tick| !tick.gauges.is_empty()));
    let crashed = |tick: &judge::Tick| tick.events.iter().any(|event| event.canary.events > 0);
    assert!(record.ticks.iter().any(crashed));
}

#[test]
fn the_course_is_short_and_whole_however_long_it_takes() {
    let (mut world, _) = begun(0.0);
    for _ in 0..100 {
        world.seconds(10, load(3, 0.0), load(3, 0.0));
        let known = world.judged().explanation.unwrap();
        assert!(known.course.len() <= model::judged::POINTS_MAX);
        let requests: u64 = known.course.iter().map(|point| point.requests).sum();
        assert_eq!(requests, known.canary.requests);
        let rising = known.course.is_sorted_by(|a, b| a.second < b.second);
        assert!(rising, "{known:?}");
    }
}

#[test]
fn a_comparison_ends_with_its_release_and_its_record_is_kept_until_then() {
    let (mut world, _) = begun(0.0);
    world.seconds(60, load(20, 0.9), load(20, 0.0));
    let sealed = world.watch.sealed(&world.state, world.it(), world.now);
    let (known, bytes) = sealed.unwrap();
    world.event(Event::RollbackStarted {
        release: RELEASE,
        service: api(),
        by: Actor::plimsoll(),
        cause: model::RollbackCause::Person {
            reason: String::new(),
        },
        to: None,
        exposure: model::Exposure::default(),
    });
    assert_eq!(world.watch.record(&known.record.unwrap()), Some(bytes));
    world.watch.close(&world.state, world.now);
    assert_eq!(world.watch.record(&known.record.unwrap()), None);
}

#[test]
fn usual_traffic_is_known_from_seconds_without_a_release() {
    let (mut world, _) = begun(0.01);
    let (baseline, seconds) = world.watch.baseline(&production(), &api()).unwrap();
    assert!((590..=600).contains(&seconds), "{seconds}");
    assert!(
        (baseline.requests_per_s / 260.0 - 1.0).abs() < 0.05,
        "{baseline:?}"
    );
    assert!((baseline.failing / 0.01 - 1.0).abs() < 0.3, "{baseline:?}");
    world.seconds(60, load(900, 0.5), load(900, 0.5));
    let (during, _) = world.watch.baseline(&production(), &api()).unwrap();
    assert_eq!(during, baseline, "a release under way is no history");
}

#[test]
fn a_fleet_that_fails_while_it_starts_is_not_what_is_usual() {
    let mut world = World::new();
    world.seconds(5, load(0, 0.0), load(65, 1.0));
    world.seconds(60, load(0, 0.0), load(65, 0.001));
    let (baseline, seconds) = world.watch.baseline(&production(), &api()).unwrap();
    assert!((40..=60).contains(&seconds), "{seconds}");
    assert!(baseline.failing < 0.002, "{baseline:?}");
    assert!(baseline.dispersion < 1.5, "{baseline:?}");
    // Nor is an outage later on.
    world.seconds(120, load(0, 0.0), load(65, 0.4));
    world.seconds(60, load(0, 0.0), load(65, 0.001));
    let (baseline, _) = world.watch.baseline(&production(), &api()).unwrap();
    assert!(baseline.failing < 0.002, "{baseline:?}");
    world.release(plan());
    let seen = (1..30).find(|_| {
        world.seconds(1, load(200, 0.05), load(65, 0.001));
        matches!(world.judged().verdict, Verdict::Fail { .. })
    });
    assert!(seen.is_some_and(|seconds| seconds <= 6), "{seen:?}");
}

#[test]
fn a_gateway_tells_of_a_bundle_when_it_knows_it() {
    // The release's host answers for the old bundle as well, as far as the gateway knows.
    let (mut world, new) = begun(0.0);
    for _ in 0..30 {
        let mut cell = world.cell("a-0", load(10, 0.0));
        cell.digest = Some(old());
        world.now = Millis::seconds(1).after(world.now);
        world.seq += 1;
        let tick = TickCounts {
            seq: world.seq,
            age_ms: 0,
            cells: vec![cell],
            ..TickCounts::default()
        };
        world.post("gate", vec![tick]);
        world.watch.close(&world.state, world.now);
    }
    let known = world.judged().explanation.unwrap();
    assert_eq!(known.canary.requests, 0, "{new:?}");
    assert!(known.control.requests >= 280);
}
