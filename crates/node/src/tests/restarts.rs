//! Restarts: the same bundle anew, for as long as it takes.

use expect_test::expect;

use model::OrderKind::{Forward, Restart, Rollback};

use super::*;

fn settled() -> World {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("new"))));
    world.run(5, all_good);
    world.log.clear();
    world
}

#[test]
fn a_restart_moves_no_bytes_and_is_confirmed() {
    let mut world = settled();
    let home = world.slot().good;
    world.input(ordered(order(2, Restart, &bundle("new"))));
    world.run(5, all_good);
    expect![[r#"
        restart
        look
        confirm new
        prune
    "#]]
    .assert_eq(&world.story());
    let slot = world.slot();
    assert!(slot.is_at_rest() && slot.settled);
    assert_eq!(slot.running, bundle("new").digest());
    assert_eq!(slot.good, home, "where it goes back to is what it was");
    assert_eq!(slot.generation(), model::Generation(2));
    // The same order once more is no news.
    let again = ordered(order(2, Restart, &bundle("new")));
    assert_eq!(decide(&world.host, again, world.now), Ok(vec![]));
}

#[test]
fn one_that_fails_is_reported_and_tried_again_until_it_works() {
    let mut world = settled();
    world.input(ordered(order(2, Restart, &bundle("new"))));
    world.run(3, |action| match action {
        Action::Restart { .. } => fails("exit 1"),
        _ => Outcome::Done,
    });
    let told = world.story();
    assert!(told.contains("restart: failed, exit 1"), "{told}");
    assert!(matches!(
        reports(&world.host)[0],
        ReportKind::RevertFailing { .. }
    ));
    // A second try has the bytes verified first.
    assert!(told.contains("stage"), "{told}");
    world.run(60, all_good);
    assert!(world.slot().is_at_rest());
    assert_eq!(world.slot().running, bundle("new").digest());
    assert!(world.confirmed.contains(&bundle("new").digest()));
}

#[test]
fn what_does_not_run_there_is_not_restarted() {
    let mut world = settled();
    world.input(ordered(order(2, Restart, &bundle("old"))));
    world.run(5, all_good);
    let told = world.story();
    assert!(
        told.contains("report declined at accept: it runs"),
        "{told}"
    );
    assert!(!told.contains("restart\n"), "{told}");
    assert_eq!(world.slot().running, bundle("new").digest());
}

#[test]
fn a_gated_host_restarts_what_it_runs_without_a_test_result() {
    let mut world = settled();
    world.input(Input::Gated);
    world.input(ordered(order(2, Restart, &bundle("new"))));
    world.run(5, all_good);
    assert!(world.story().starts_with("restart\nlook\nconfirm new\n"));
}

#[test]
fn a_way_back_wins_over_a_restart_and_a_step_forward_waits_for_it() {
    let mut world = settled();
    world.input(ordered(order(2, Restart, &bundle("new"))));
    world.run(2, |action| match action {
        Action::Restart { .. } => fails("exit 1"),
        _ => Outcome::Done,
    });
    let mut back = order(3, Rollback, &bundle("old"));
    (back.order.digest, back.bundle) = (origin(), None);
    world.input(ordered(back));
    world.run(10, all_good);
    assert_eq!(world.slot().running, origin());
    assert!(world.slot().is_at_rest());

    let mut world = settled();
    world.input(ordered(order(2, Restart, &bundle("new"))));
    world.input(ordered(order(3, Forward, &bundle("old"))));
    world.run(10, all_good);
    assert_eq!(world.slot().running, bundle("old").digest());
    // And no restart cuts into a change.
    world.input(ordered(order(4, Forward, &bundle("new"))));
    world.input(ordered(order(5, Restart, &bundle("old"))));
    let told = world.story();
    assert!(
        told.contains("still carrying out an earlier order"),
        "{told}"
    );
}

#[test]
fn an_agent_that_dies_in_the_middle_goes_on() {
    let mut world = settled();
    world.input(ordered(order(2, Restart, &bundle("new"))));
    world.restart();
    world.run(10, all_good);
    assert!(world.slot().is_at_rest() && world.slot().settled);
    assert!(world.confirmed.contains(&bundle("new").digest()));
}
