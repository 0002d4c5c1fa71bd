//! Ticks that are late, repeated, out of order, or meant ill.
//!
//! Invariant: whatever is sent, a second is counted once, and memory is bounded.

use proptest::prelude::*;

use super::*;
use crate::watch::second::CELLS_KEPT_MAX;
use crate::watch::sources::SOURCES_MAX;
use crate::watch::ticks::BOOKS_MAX;

fn tick(seq: u64, age_ms: u64, requests: u64) -> TickCounts {
    let cell = CellCounts {
        service: api(),
        digest: Some(old()),
        host: Some(host("a-1")),
        class: String::new(),
        requests,
        failed: 0,
        latency: Vec::new(),
    };
    TickCounts {
        seq,
        age_ms,
        cells: vec![cell],
        ..TickCounts::default()
    }
}

/// Everything that the judge was told of the old bundle.
fn told(world: &World) -> u64 {
    let judged = world.judged();
    judged.explanation.map_or(0, |known| known.control.requests)
}

fn late(world: &World) -> u64 {
    let totals = world.watch.tick_totals();
    totals.map(|totals| totals.late).sum()
}

fn world() -> World {
    let mut world = World::new();
    world.release(plan());
    world.pass(Millis::seconds(10));
    world
}

#[test]
fn a_second_is_counted_once_however_often_it_is_sent() {
    let mut world = world();
    assert_eq!(world.post("gate", vec![tick(1, 100, 5)]).through, 1);
    let again = vec![tick(1, 150, 5), tick(2, 0, 7)];
    assert_eq!(world.post("gate", again).through, 2);
    world.post("gate", vec![tick(2, 20, 7), tick(1, 300, 5)]);
    world.pass(Millis::seconds(5));
    assert_eq!(told(&world), 12);
}

#[test]
fn a_second_waits_for_every_source_until_two_seconds_after_its_end() {
    let mut world = world();
    let near = |world: &mut World, span, seq| {
        world.now = Millis(span).after(world.now);
        world.post("near", vec![tick(seq, 0, 1)]);
        world.watch.close(&world.state, world.now);
    };
    near(&mut world, 1000, 1);
    near(&mut world, 1000, 2);
    assert_eq!(
        told(&world),
        1,
        "of the first second the only source has told all"
    );
    // Another one is heard of, and lags.
    world.post("far", vec![tick(1, 500, 10)]);
    near(&mut world, 1000, 3);
    world.pass(Millis(900));
    assert_eq!(told(&world), 1, "it is waited for");
    world.post("far", vec![tick(2, 1000, 10)]);
    world.watch.close(&world.state, world.now);
    assert_eq!(
        told(&world),
        1 + 11,
        "both have told all of the second second"
    );
    world.pass(Millis(1100));
    assert_eq!(told(&world), 1 + 11 + 11, "nobody is waited for for ever");
    assert_eq!(late(&world), 0);
}

#[test]
fn what_comes_too_late_is_dropped_and_counted() {
    let mut world = world();
    world.post("gate", vec![tick(1, 0, 5)]);
    world.pass(Millis::seconds(4));
    let taken = world.post("gate", vec![tick(2, 3000, 100), tick(3, 100, 7)]);
    assert_eq!((taken.through, taken.late), (3, 1));
    world.pass(Millis::seconds(3));
    assert_eq!((told(&world), late(&world)), (12, 1));
    let known = world.judged().explanation.unwrap();
    assert_eq!(known.ticks_late, 1);
}

#[test]
fn two_runs_of_a_source_are_both_counted_until_one_is_given_up() {
    let mut world = world();
    let post = |world: &mut World, epoch, seq, requests| {
        let ticks = vec![tick(seq, 0, requests)];
        world
            .watch
            .ticks("gate", &production(), epoch, ticks, world.now)
    };
    post(&mut world, 100, 40, 1);
    world.pass(Millis(1000));
    // Its clock was set back over the restart: runs are told apart, not ordered.
    assert_eq!(post(&mut world, 50, 1, 10).through, 1);
    // The one before ends its last requests meanwhile, and repeats what it was not told is known.
    for _ in 0..2 {
        let last = post(&mut world, 100, 41, 1000);
        assert_eq!((last.through, last.late), (41, 0));
    }
    world.pass(Millis(1000));
    post(&mut world, 50, 2, 10);
    world.pass(Millis::seconds(4));
    assert_eq!(told(&world), 1021);
    // More than can be at once: the one that was silent longest says nothing new any more.
    for epoch in [200, 300] {
        post(&mut world, epoch, 1, 1);
    }
    let stray = post(&mut world, 100, 42, 5000);
    assert_eq!((stray.through, stray.late), (42, 0));
    world.pass(Millis::seconds(4));
    assert_eq!(told(&world), 1023);
}

#[test]
fn small_delays_do_not_move_seconds_and_large_ones_do() {
    let mut world = world();
    for (n, jitter) in [0, 450, 30, 700, 90, 500, 0, 900].into_iter().enumerate() {
        world.pass(Millis(1000));
        let now = world.now;
        world.now = Millis(jitter).after(now);
        world.post("gate", vec![tick(n as u64 + 1, 0, 1)]);
        world.now = now;
        world.watch.close(&world.state, world.now);
    }
    world.pass(Millis::seconds(4));
    let known = world.judged().explanation.unwrap();
    assert_eq!((known.control.requests, known.ticks_missing), (8, 0));
    // The machine slept: its next second is now, not where its count would put it.
    world.pass(Millis::seconds(100));
    world.post("gate", vec![tick(9, 0, 1)]);
    world.pass(Millis::seconds(3));
    assert_eq!(told(&world), 9);
}

#[test]
fn a_source_that_asks_every_five_seconds_leaves_no_gaps() {
    let mut world = world();
    for seq in 1..=6 {
        world.pass(Millis::seconds(5));
        world.post("prometheus:api", vec![tick(seq, 0, 50)]);
    }
    world.pass(Millis::seconds(3));
    let known = world.judged().explanation.unwrap();
    assert_eq!((known.control.requests, known.ticks_missing), (300, 0));
    // It stays away for a while, and then begins to count anew.
    world.pass(Millis::seconds(20));
    world.post("prometheus:api", vec![tick(9, 0, 50)]);
    world.pass(Millis::seconds(3));
    let known = world.judged().explanation.unwrap();
    assert!(known.ticks_missing >= 10, "{known:?}");
}

#[test]
fn hostile_posts_are_bounded() {
    let mut world = world();
    for n in 0..SOURCES_MAX + 50 {
        world.post(
            &format!("source-{n}"),
            vec![tick(u64::MAX, u64::MAX, u64::MAX)],
        );
    }
    assert!(world.watch.sources.len() <= SOURCES_MAX);
    let cells = (0..CELLS_KEPT_MAX + 5000).map(|n| CellCounts {
        digest: Some(Digest::of(&n.to_le_bytes())),
        host: Some(host(&format!("h{n}"))),
        class: format!("class number {n} with a name that is too long"),
        requests: 1,
        failed: u64::MAX,
        latency: vec![(255, u64::MAX), (0, 1)],
        service: api(),
    });
    let flood = TickCounts {
        seq: 1,
        cells: cells.collect(),
        ..TickCounts::default()
    };
    world.post("flood", vec![flood]);
    let services = (0..BOOKS_MAX + 100).map(|n| CellCounts {
        service: format!("s{n}").parse().unwrap(),
        ..tick(1, 0, 1).cells.remove(0)
    });
    let many = TickCounts {
        seq: 1,
        cells: services.collect(),
        ..TickCounts::default()
    };
    world.post("many", vec![many]);
    assert!(world.watch.tick_totals().count() <= BOOKS_MAX);
    for book in world.watch.books.values().flat_map(BTreeMap::values) {
        assert!(book.cells_max() <= CELLS_KEPT_MAX + 65);
    }
    world.pass(Millis::seconds(5));
    assert!(
        world.watch.tick_totals().count() <= 2,
        "only what is declared is kept"
    );
    let known = world.judged().explanation.unwrap();
    assert_eq!(
        known.control.failed, known.control.requests,
        "no more than all failed"
    );
}

proptest! {
    #[test]
    fn the_order_of_posts_changes_nothing(
        delays in proptest::collection::vec(0_u64..900, 1..12),
        repeats in proptest::collection::vec(0_usize..12, 0..6),
    ) {
        let mut world = world();
        let start = world.now;
        // Two sources; each tells of each second with its own delay, some twice.
        for (n, delay) in delays.iter().enumerate() {
            let seq = n as u64 + 1;
            let end = Millis(1000 * seq).after(start);
            world.now = Millis(300).after(end);
            world.post("near", vec![tick(seq, 300, 1)]);
            world.now = Millis(*delay).after(end).max(world.now);
            let age = Millis::between(end, world.now).0;
            let mut ticks = vec![tick(seq, age, 100)];
            if repeats.contains(&n) && seq > 1 {
                ticks.push(tick(seq - 1, age + 1000, 100));
            }
            world.post("far", ticks);
            world.watch.close(&world.state, world.now);
        }
        world.pass(Millis::seconds(5));
        prop_assert_eq!(told(&world), 101 * delays.len() as u64);
        prop_assert_eq!(late(&world), 0);
    }
}
