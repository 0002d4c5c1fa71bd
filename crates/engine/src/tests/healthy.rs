//! Releases that do no harm, as many as show that the judge leaves them alone.
//!
//! Invariant: a run follows from its seed; what fails is chance, with the same share on both bundles.

use model::{Digest, Event};

use super::world::{Chance, World, api, bundle};

/// Requests in a thousand that fail, whichever bundle answers.
const FAILING_PERMILLE: u64 = 10;
/// Half of them, 200, come to the first wave's host each second.
const RATE_PER_S: u64 = 400;
/// More than a whole release takes; beyond it a wave would be held.
const SECONDS_MAX: u64 = 120;

fn released(seed: u64) -> World {
    let mut world = World::new(1, 3);
    world.rate = RATE_PER_S;
    world.chance = Some(Chance(seed));
    let healthy = bundle("half healthy").digest();
    for digest in [Digest::of(b"as found"), healthy] {
        world.failing.insert(digest, FAILING_PERMILLE);
    }
    world.serve(10);
    world.propose("half healthy").unwrap();
    for _ in 0..SECONDS_MAX {
        world.serve(1);
        world.carry_out();
        if world.state.good(&api()) == Some(healthy) {
            break;
        }
    }
    world
}

#[test]
fn of_forty_five_healthy_releases_none_is_sent_back() {
    for seed in 0..45 {
        let world = released(seed);
        let back = world.journal.iter().any(|(_, event)| {
            matches!(
                event,
                Event::RollbackStarted { .. } | Event::WaveHeld { .. }
            )
        });
        assert!(!back, "seed {seed}: {:#?}", world.story);
        let good = world.story.iter().any(|line| line == "release 1 good");
        assert!(good, "seed {seed}: {:#?}", world.story);
    }
}

#[test]
fn with_four_points_more_failures_each_is() {
    for seed in 0..10 {
        let mut world = released(seed);
        let harmful = bundle("half harmful").digest();
        world.failing.insert(harmful, 5 * FAILING_PERMILLE);
        world.propose("half harmful").unwrap();
        for _ in 0..SECONDS_MAX {
            world.serve(1);
            world.carry_out();
        }
        let back = |line: &String| line.starts_with("release 2 back");
        assert!(
            world.story.iter().any(back),
            "seed {seed}: {:#?}",
            world.story
        );
    }
}
