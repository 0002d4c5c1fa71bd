//! The main stories, as a host lives them.

use expect_test::{Expect, expect};

use model::OrderKind::{Forward, Rollback};
use model::refusal::Code;
use model::{Generation, Millis, ReportKind};

use super::*;
use crate::Work;

fn check(world: &mut World, expected: Expect) {
    expected.assert_eq(&world.story());
}

fn confirmed(content: &str) -> World {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle(content))));
    world.run(5, all_good);
    assert!(world.slot().settled);
    world.log.clear();
    world
}

#[test]
fn a_good_order_is_confirmed() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("new"))));
    world.run(5, all_good);
    check(
        &mut world,
        expect![[r#"
            stage
            check
            way home
            swap to new
            reload
            look
            confirm new
            prune
        "#]],
    );
    assert_eq!(world.slot().running, bundle("new").digest());
    assert_eq!(
        world.slot().good,
        origin(),
        "home stays until the next order"
    );
    assert!(world.slot().is_at_rest());
}

#[test]
fn a_failing_check_changes_nothing() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("new"))));
    world.run(5, |action| match action {
        Action::Check { .. } => fails("api.toml: unknown key"),
        _ => Outcome::Done,
    });
    check(
        &mut world,
        expect![[r#"
            stage
            check: failed, api.toml: unknown key
            report declined at check: api.toml: unknown key
            prune
        "#]],
    );
    assert_eq!(world.slot().running, origin());
    let again = ordered(order(1, Forward, &bundle("new")));
    assert_eq!(decide(&world.host, again, world.now), Ok(vec![]));
}

#[test]
fn failing_health_takes_the_host_home() {
    let mut world = World::new();
    let new = bundle("new");
    world.input(ordered(order(1, Forward, &new)));
    world.run(20, |action| match action {
        Action::Look { context, .. } if context.tree == new.digest() => fails("status 500"),
        _ => Outcome::Done,
    });
    check(
        &mut world,
        expect![[r#"
            stage
            check
            way home
            swap to new
            reload
            look: failed, status 500
            stage
            swap to generation 0
            restart
            look
            report went back from new to generation 0 at health: not healthy within 5 s: status 500
            prune
        "#]],
    );
    assert_eq!(world.slot().running, origin());
    assert!(world.slot().is_at_rest());
}

#[test]
fn without_confirmation_the_deadline_takes_the_host_home() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("new"))));
    world.run(40, |action| match action {
        Action::Confirm { .. } => fails("connection refused"),
        Action::AskPeers { .. } => Outcome::Peers {
            reach: 1,
            cut_off: 0,
        },
        _ => Outcome::Done,
    });
    check(
        &mut world,
        expect![[r#"
            stage
            check
            way home
            swap to new
            reload
            look
            confirm new: failed, connection refused
            ask peers: 1 reach, 0 don't
            stage
            swap to generation 0
            reload
            look
            report went back from new to generation 0 at confirm: not confirmed within 30 s, while a peer reaches the control plane
            prune
        "#]],
    );
}

#[test]
fn with_the_control_plane_gone_for_peers_too_the_host_holds() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("new"))));
    let cut_off = |action: &Action| match action {
        Action::Confirm { .. } => fails("connection refused"),
        Action::AskPeers { .. } => Outcome::Peers {
            reach: 0,
            cut_off: 1,
        },
        _ => Outcome::Done,
    };
    world.run(600, cut_off);
    assert_eq!(world.slot().running, bundle("new").digest());
    assert!(matches!(world.slot().work, Work::Armed(_)));
    world.run(10, all_good);
    check(
        &mut world,
        expect![[r#"
            stage
            check
            way home
            swap to new
            reload
            look
            confirm new: failed, connection refused
            ask peers: 0 reach, 1 don't
            report holds new: the control plane is gone
            look
            confirm new: failed, connection refused
            ask peers: 0 reach, 1 don't
            confirm new
            prune
            look
        "#]],
    );
    assert!(world.slot().settled);
}

#[test]
fn a_holding_host_still_watches_its_health() {
    let mut world = World::new();
    let new = bundle("new").digest();
    world.input(ordered(order(1, Forward, &bundle("new"))));
    let cut_off = |broken: bool| {
        move |action: &Action| match action {
            Action::Confirm { .. } => fails("connection refused"),
            Action::AskPeers { .. } => Outcome::Peers {
                reach: 0,
                cut_off: 2,
            },
            Action::Look { context, .. } if broken && context.tree == new => fails("hangs"),
            _ => Outcome::Done,
        }
    };
    world.run(60, cut_off(false));
    world.log.clear();
    world.run(20, cut_off(true));
    check(
        &mut world,
        expect![[r#"
            confirm new: failed, connection refused
            look: failed, hangs
            stage
            swap to generation 0
            restart
            look
            report went back from new to generation 0 at health: healthy at first, then not: hangs
            prune
        "#]],
    );
}

#[test]
fn a_crash_while_armed_takes_the_host_home() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("new"))));
    while !world
        .due()
        .iter()
        .any(|e| matches!(e.action, Action::Restart { .. }))
    {
        let effect = world.due().remove(0);
        world.outcome(effect.id, Outcome::Done);
    }
    let before = world.due().remove(0).id;
    world.restart();
    world.outcome(before, Outcome::Done);
    world.run(20, all_good);
    check(
        &mut world,
        expect![[r#"
            stage
            swap to generation 0
            restart
            look
            report went back from new to generation 0 at restart: the agent began anew (crash, kill or reboot) before the control plane had confirmed
            prune
        "#]],
    );
    assert_eq!(world.slot().running, origin());
}

#[test]
fn a_crash_before_the_change_starts_the_order_again() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("new"))));
    let stage = world.due().remove(0);
    world.outcome(stage.id, Outcome::Done);
    world.restart();
    world.run(20, all_good);
    check(
        &mut world,
        expect![[r#"
            stage
            check
            way home
            swap to new
            reload
            look
            confirm new
            prune
        "#]],
    );
    assert_eq!(world.slot().running, bundle("new").digest());
}

#[test]
fn a_failing_way_back_is_reported_and_never_given_up() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("new"))));
    world.run(300, |action| match action {
        Action::Look { .. } => fails("status 500"),
        _ => Outcome::Done,
    });
    let Work::Back(back) = &world.slot().work else {
        panic!("{:?}", world.slot().work);
    };
    assert!(back.tries > 5, "{}", back.tries);
    let reports = reports(&world.host);
    assert!(matches!(reports[..], [ReportKind::RevertFailing { .. }]));
    world.run(60, all_good);
    assert!(world.slot().is_at_rest());
}

#[test]
fn a_rollback_supersedes_whatever_is_under_way() {
    let mut world = confirmed("old");
    world.input(ordered(order(2, Forward, &bundle("new"))));
    for _ in 0..4 {
        let effect = world.due().remove(0);
        world.outcome(effect.id, Outcome::Done);
    }
    let in_flight = world.due();
    world.input(ordered(order(3, Rollback, &bundle("old"))));
    assert!(
        in_flight
            .iter()
            .all(|e| !crate::is_pending(&world.host, &e.id))
    );
    world.run(20, |action| match action {
        Action::Check { .. } | Action::WayHome | Action::AskPeers { .. } => {
            panic!("a rollback asks nobody: {action:?}")
        }
        _ => Outcome::Done,
    });
    check(
        &mut world,
        expect![[r#"
            stage
            swap to old
            restart
            look
            confirm old
            prune
        "#]],
    );
    assert_eq!(world.slot().good, bundle("old").digest());
}

#[test]
fn a_rollback_to_what_runs_is_only_confirmed_and_for_ever_if_need_be() {
    let mut world = confirmed("old");
    world.input(ordered(order(2, Rollback, &bundle("old"))));
    world.run(3600, |action| match action {
        Action::Confirm { .. } => fails("connection refused"),
        _ => Outcome::Done,
    });
    world.run(60, all_good);
    check(
        &mut world,
        expect![[r#"
            confirm old: failed, connection refused
            prune
            look
            confirm old
        "#]],
    );
}

#[test]
fn a_confirmed_bundle_becomes_home_when_the_next_one_comes() {
    let mut world = confirmed("old");
    world.input(ordered(order(2, Forward, &bundle("new"))));
    world.run(10, all_good);
    assert_eq!(world.slot().good, bundle("old").digest());
    assert_eq!(world.slot().kept, [bundle("old").digest(), origin()]);
}

#[test]
fn a_person_takes_the_host_home_and_it_stays_there() {
    let mut world = confirmed("new");
    world.input(Input::RevertLocal {
        service: api(),
        to: None,
    });
    world.run(10, |action| match action {
        Action::Confirm { .. } => panic!("nobody is asked"),
        _ => Outcome::Done,
    });
    world.input(ordered(order(1, Forward, &bundle("new"))));
    world.run(10, all_good);
    check(
        &mut world,
        expect![[r#"
            stage
            swap to generation 0
            reload
            look
            report went back from new to generation 0 at watch: local revert by a person
            prune
        "#]],
    );
    assert!(world.slot().held_local);
    let never = Input::RevertLocal {
        service: api(),
        to: Some(Digest::of(b"never seen")),
    };
    let refusal = decide(&world.host, never, world.now).unwrap_err();
    assert_eq!(refusal.code, Code::TargetNeverGood);
    world.input(ordered(order(2, Forward, &bundle("new"))));
    world.run(10, all_good);
    assert!(!world.slot().held_local);
    assert_eq!(world.slot().running, bundle("new").digest());
}

#[test]
fn an_order_back_mends_what_was_changed_by_hand() {
    let mut world = confirmed("new");
    world.input(ordered(order(2, Rollback, &bundle("new"))));
    let found = std::cell::Cell::new(false);
    world.run(10, |action| match action {
        Action::Confirm { .. } if !found.replace(true) => Outcome::Astray {
            reason: "api.toml has other bytes".into(),
        },
        _ => Outcome::Done,
    });
    check(
        &mut world,
        expect![[r#"
            confirm new: astray, api.toml has other bytes
            stage
            swap to new
            reload
            look
            confirm new
            prune
        "#]],
    );
    assert!(world.slot().is_at_rest());
}

#[test]
fn stale_and_foreign_orders_are_refused() {
    let mut world = confirmed("old");
    world.input(ordered(order(5, Forward, &bundle("new"))));
    let refused = |dispatch| {
        decide(&world.host, ordered(dispatch), world.now)
            .unwrap_err()
            .code
    };
    let stale = order(4, Forward, &bundle("new"));
    assert_eq!(refused(stale), Code::StaleGeneration);
    let twin = order(5, Forward, &bundle("old"));
    assert_eq!(refused(twin), Code::StaleGeneration);
    let mut foreign = order(6, Forward, &bundle("old"));
    foreign.order.host = "web-02".parse().unwrap();
    assert_eq!(refused(foreign), Code::UnknownHost);
    let mut stranger = order(6, Forward, &bundle("old"));
    stranger.order.service = "mail".parse().unwrap();
    world.input(ordered(stranger.clone()));
    let again = decide(&world.host, ordered(stranger), world.now);
    assert_eq!(again.unwrap_err().code, Code::UnknownService);
    assert_eq!(world.host.outbox.len(), 1);
}

#[test]
fn a_manifest_of_another_digest_is_declined() {
    let mut world = World::new();
    let mut dispatch = order(1, Forward, &bundle("new"));
    dispatch.bundle = Some(bundle("old"));
    world.input(ordered(dispatch));
    check(
        &mut world,
        expect![[r#"
            report declined at accept: the manifest is not that of the ordered digest
        "#]],
    );
    assert_eq!(world.slot().fence, Generation(1));
}

#[test]
fn a_forward_order_over_an_unconfirmed_one_goes_by_way_of_home() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("old"))));
    world.run(5, |action| match action {
        Action::Confirm { .. } => fails("no answer"),
        _ => Outcome::Done,
    });
    world.log.clear();
    world.input(ordered(order(2, Forward, &bundle("new"))));
    world.run(10, all_good);
    check(
        &mut world,
        expect![[r#"
            stage
            swap to generation 0
            reload
            look
            report went back from old to generation 0 at confirm: a newer order came before this one was confirmed
            stage
            check
            way home
            swap to new
            reload
            look
            confirm new
            prune
        "#]],
    );
}

#[test]
fn health_changes_are_news_and_news_is_kept_short() {
    let mut world = confirmed("new");
    for _ in 0..10 {
        world.run(5, |action| match action {
            Action::Look { .. } => fails("status 503"),
            _ => Outcome::Done,
        });
        world.run(5, all_good);
    }
    assert_eq!(world.host.outbox.len(), 1);
    let through = world.host.outbox[0].number;
    assert!(through >= 20);
    world.input(Input::Acknowledged { through });
    assert!(world.host.outbox.is_empty());
    assert_eq!(world.host.next_report, through + 1);
}

#[test]
fn nothing_is_asked_of_a_host_that_had_nothing() {
    let mut world = World::new();
    world.host.slots.clear();
    world.input(Input::Adopted {
        service: api(),
        digest: origin(),
        empty: true,
    });
    world.input(ordered(order(1, Forward, &bundle("new"))));
    world.run(20, |action| match action {
        Action::Look { .. } => fails("connection refused"),
        Action::Restart { context, .. } if context.tree == origin() => fails("no such file"),
        _ => Outcome::Done,
    });
    check(
        &mut world,
        expect![[r#"
            stage
            check
            way home
            swap to new
            restart
            look: failed, connection refused
            stage
            swap to generation 0
            restart: failed, no such file
            report went back from new to generation 0 at health: not healthy within 5 s: connection refused
            prune
        "#]],
    );
    assert!(world.slot().is_at_rest());
}

#[test]
fn a_change_of_packages_restarts_and_any_other_reloads() {
    let mut world = confirmed("old");
    let mut packed = bundle("new");
    packed.packages.insert(
        "server".parse().unwrap(),
        model::PackageEntry {
            conflicts: Default::default(),
            provides: Default::default(),
            requires: Default::default(),
            version: "2".into(),
            digest: Digest::of(b"server 2"),
            size_bytes: 8,
        },
    );
    world.input(ordered(order(2, Forward, &packed)));
    world.run(10, all_good);
    assert!(world.log.contains(&"restart".to_owned()), "{:?}", world.log);
    assert!(!world.log.contains(&"reload".to_owned()), "{:?}", world.log);
}

#[test]
fn the_clock_that_is_set_back_holds_nothing_up() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("new"))));
    world.run(5, |action| match action {
        Action::Confirm { .. } => fails("no answer"),
        _ => Outcome::Done,
    });
    world.now -= jiff::SignedDuration::from_hours(24);
    world.input(Input::Tick);
    world.run(31, |action| match action {
        Action::Confirm { .. } => fails("no answer"),
        Action::AskPeers { .. } => fails("no answer"),
        _ => Outcome::Done,
    });
    assert_eq!(world.slot().running, origin());
    assert!(Millis::between(start(), world.now) == Millis(0));
}
