//! What stands between a release and production, gate by gate.

use expect_test::expect;
use model::gate::{CheckSet, ProbeVerdict, RehearsalPlan};
use model::refusal::Code;
use model::{
    Actor, Event, Gate, GateState, HostName, Millis, OrderKind, ReleaseId, Scope, ServiceSpec,
    Topology,
};

use super::world::{World, api, bundle, person};
use crate::{Input, due};

fn actor(name: &str) -> Actor {
    Actor {
        name: name.into(),
        role: None,
    }
}

/// The fleet with other rules, or other things deployed.
fn declare(world: &mut World, change: impl FnOnce(&mut Topology)) {
    let mut topology = world.state.topology.clone();
    change(&mut topology);
    world.ok(Input::SetTopology {
        by: person(),
        topology,
    });
}

fn rules(world: &mut World, change: impl FnOnce(&mut CheckSet)) {
    declare(world, |topology| {
        let spec: &mut ServiceSpec = topology.services.get_mut(&api()).unwrap();
        change(&mut spec.checks);
    });
}

fn no_rehearsal(world: &mut World) {
    rules(world, |rules| {
        rules.rehearsal = RehearsalPlan {
            off: true,
            ..RehearsalPlan::default()
        };
    });
}

/// Time passes, hosts do what they are told.
fn run(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.pass(Millis::seconds(1));
        world.carry_out();
    }
}

fn probe_all(world: &mut World, verdict: ProbeVerdict) {
    for host in world.hosts() {
        world.probe(&host, verdict);
    }
}

fn said(world: &World, line: &str) -> bool {
    world.story.iter().any(|known| known == line)
}

fn newest(world: &World) -> &crate::Release {
    world.state.releases.values().next_back().unwrap()
}

fn look(world: &World, gate: Gate) -> (GateState, String) {
    let looks = crate::gates(&world.state, &world.watch, newest(world), world.now);
    let look = looks.into_iter().find(|look| look.gate == gate).unwrap();
    (look.state, look.detail)
}

fn refused(result: Result<Vec<Event>, model::Refusal>) -> Code {
    result.unwrap_err().code
}

#[test]
fn a_reference_that_nobody_answers_stops_the_release_before_production() {
    let mut world = World::new(2, 2);
    no_rehearsal(&mut world);
    world.story.clear();
    world.propose("reaching").unwrap();
    world.pass(Millis(1));
    let asked = |world: &World, host: &str| {
        let host: HostName = host.parse().unwrap();
        due::tasks(&world.state, &host).len()
    };
    assert_eq!(
        (asked(&world, "test-0"), asked(&world, "web-10")),
        (0, 1),
        "where it is used"
    );
    world.probe(&"web-00".parse().unwrap(), ProbeVerdict::Answers);
    world.probe(&"web-10".parse().unwrap(), ProbeVerdict::NoAnswer);
    run(&mut world, 1);
    expect![[r#"
        release 1 proposed
        stage test: waves of 1
        web-00 probed, round 0
        web-10 probed, round 0
        rollback of 1 by plimsoll
        release 1 back in 0 ms"#]]
    .assert_eq(&world.story.join("\n"));
    let (state, detail) = look(&world, Gate::References);
    assert_eq!(state, GateState::Failed);
    expect!["config.toml:3, /auth/address: auth:1: connected, but no answer within 3 s; seen from web-10 (1 of 2 hosts asked so far)"]
        .assert_eq(&detail);
    world
        .propose("reaching")
        .expect("the other side may have been mended: it may come again");
}

#[test]
fn enough_hosts_of_each_zone_must_have_probed() {
    let mut world = World::new(2, 3);
    no_rehearsal(&mut world);
    world.propose("reaching").unwrap();
    for host in ["web-00", "web-01", "web-10"] {
        world.probe(&host.parse().unwrap(), ProbeVerdict::Answers);
    }
    run(&mut world, 12);
    assert!(!said(&world, "test passed"), "{:?}", world.story);
    let (state, detail) = look(&world, Gate::References);
    assert_eq!(state, GateState::Running);
    expect!["1 of 2 hosts of production, zone-1 have probed"].assert_eq(&detail);
    world.probe(&"web-12".parse().unwrap(), ProbeVerdict::Answers);
    run(&mut world, 2);
    assert!(said(&world, "test passed"), "{:?}", world.story);
}

#[test]
fn a_high_risk_change_waits_for_somebody_else() {
    let mut world = World::new(1, 2);
    no_rehearsal(&mut world);
    world.propose("risky").unwrap();
    assert_eq!(
        refused(world.approve("bob")),
        Code::NoApprovalNeeded,
        "there is no evidence yet"
    );
    run(&mut world, 12);
    assert!(said(&world, "test passed"));
    assert_eq!(look(&world, Gate::Approval).0, GateState::Waiting);
    assert_eq!(refused(world.approve("ada")), Code::OwnApproval);
    let stale = Input::Approve {
        by: actor("bob"),
        release: ReleaseId(1),
        binds: model::Digest::of(b"something else"),
        note: String::new(),
    };
    assert_eq!(refused(world.give(stale)), Code::ApprovalMoved);
    run(&mut world, 5);
    assert!(!said(&world, "production wave 0"), "{:?}", world.story);
    world.approve("bob").unwrap();
    assert_eq!(world.approve("bob").unwrap(), [], "once is enough");
    run(&mut world, 4);
    assert!(said(&world, "production wave 0"), "{:?}", world.story);
    let reverts = due::reverts(&world.state, &"web-00".parse().unwrap());
    let [revert] = reverts.as_slice() else {
        panic!("{reverts:?}")
    };
    assert_eq!(revert.approved_by, ["bob"]);
    assert_eq!(revert.order.kind, OrderKind::Rollback);
    let slot = world
        .state
        .slot(&"web-00".parse().unwrap(), &api())
        .unwrap();
    let forward = slot.order.as_ref().unwrap();
    assert_eq!(
        revert.order.generation, forward.generation,
        "it undoes that order and no other"
    );
}

#[test]
fn two_approvals_are_two_people() {
    let mut world = World::new(1, 1);
    no_rehearsal(&mut world);
    rules(&mut world, |rules| rules.approvals = 2);
    world.propose("risky").unwrap();
    run(&mut world, 12);
    world.approve("bob").unwrap();
    world.approve("bob").unwrap();
    run(&mut world, 2);
    assert!(!said(&world, "attested"));
    world.approve("cyd").unwrap();
    run(&mut world, 4);
    assert!(said(&world, "production wave 0"), "{:?}", world.story);
}

#[test]
fn other_rules_void_what_was_tested_and_approved() {
    let mut world = World::new(1, 1);
    no_rehearsal(&mut world);
    world.propose("risky").unwrap();
    run(&mut world, 12);
    rules(&mut world, |rules| rules.approvals = 2);
    run(&mut world, 1);
    assert!(
        said(&world, "rollback of 1 by plimsoll"),
        "{:?}",
        world.story
    );
    let (state, detail) = look(&world, Gate::Attestation);
    assert_eq!(state, GateState::Failed);
    assert!(
        detail.starts_with("the rules changed since the test"),
        "{detail}"
    );
}

#[test]
fn other_rules_void_what_was_checked_before_its_test_is_over() {
    let mut world = World::new(1, 1);
    no_rehearsal(&mut world);
    let rules_then = world.state.topology.services[&api()].checks.digest();
    world.ok(Input::Propose {
        by: person(),
        bundle: Box::new(bundle("plain")),
        base: None,
        message: String::new(),
        checked: Box::new(model::Checked {
            check_set: Some(rules_then),
            ..model::Checked::default()
        }),
        break_glass: None,
    });
    run(&mut world, 3);
    rules(&mut world, |rules| rules.approvals = 2);
    run(&mut world, 12);
    assert!(!said(&world, "test passed"), "{:?}", world.story);
    let (_, detail) = look(&world, Gate::Attestation);
    assert!(
        detail.starts_with("the rules changed since its files were checked"),
        "{detail}"
    );
}

#[test]
fn a_test_counts_for_a_while_only() {
    let mut world = World::new(1, 1);
    no_rehearsal(&mut world);
    rules(&mut world, |rules| {
        rules.attestation_valid_ms = Millis::seconds(30)
    });
    world.propose("risky").unwrap();
    run(&mut world, 12);
    run(&mut world, 40);
    let (_, detail) = look(&world, Gate::Attestation);
    assert!(detail.starts_with("its test counted until"), "{detail}");
    assert!(
        said(&world, "rollback of 1 by plimsoll"),
        "{:?}",
        world.story
    );
}

#[test]
fn an_expired_test_sends_no_further_host_forward() {
    let mut world = World::new(1, 2);
    no_rehearsal(&mut world);
    rules(&mut world, |rules| {
        rules.attestation_valid_ms = Millis::seconds(30)
    });
    world.propose("plain").unwrap();
    run(&mut world, 12);
    assert!(said(&world, "production wave 0"), "{:?}", world.story);
    // Too little traffic for the first wave to pass before the test's result expires.
    world.rate = 20;
    world.serve(30);
    world.rate = 10_000;
    world.serve(20);
    assert!(said(&world, "production wave 1"), "{:?}", world.story);
    let last = world
        .state
        .slot(&"web-01".parse().unwrap(), &api())
        .unwrap();
    assert!(last.order.is_none(), "{last:?}");
    let waits = crate::decide::waiting(&world.state, &world.watch, newest(&world), world.now);
    let waits = waits.expect("it says why");
    assert!(
        waits.contains("turn it back (`plimsoll rollback api`), then push again"),
        "{waits}"
    );
}

#[test]
fn probes_are_made_again_when_approval_took_long() {
    let mut world = World::new(1, 2);
    no_rehearsal(&mut world);
    world.propose("risky and reaching").unwrap();
    probe_all(&mut world, ProbeVerdict::Answers);
    run(&mut world, 12);
    world.pass(Millis::seconds(3600));
    world.approve("bob").unwrap();
    run(&mut world, 2);
    assert!(said(&world, "recheck started"), "{:?}", world.story);
    assert!(!said(&world, "production wave 0"));
    probe_all(&mut world, ProbeVerdict::NoAnswer);
    run(&mut world, 2);
    assert!(
        said(&world, "rollback of 1 by plimsoll"),
        "it was fine an hour ago: {:?}",
        world.story
    );
}

#[test]
fn a_rehearsal_that_fails_stops_the_release() {
    let mut world = World::new(1, 1);
    world.propose("plain").unwrap();
    for _ in 0..30 {
        world.pass(Millis::seconds(1));
        let test: HostName = "test-0".parse().unwrap();
        if said(&world, "test-0 rehearses") {
            let order = world
                .state
                .slot(&test, &api())
                .unwrap()
                .order
                .clone()
                .unwrap();
            if order.kind == OrderKind::Rollback && newest(&world).is_active() {
                world.fail(&test, order.generation);
                run(&mut world, 2);
                break;
            }
        } else {
            world.carry_out();
        }
    }
    let lines = world.story.iter().map(String::as_str);
    let lines: Vec<&str> = lines
        .skip_while(|line| *line != "test-0 rehearses")
        .take(6)
        .collect();
    expect![[r#"
        test-0 rehearses
        test-0 ordered Rollback generation 2
        test-0 failed: went back by itself: no answer
        test-0 failed to revert: health: went back by itself: no answer
        wave failed, rehearsal: test-0, revert: health: went back by itself: no answer
        rollback of 1 by plimsoll"#]]
    .assert_eq(&lines.join("\n"));
    assert_eq!(look(&world, Gate::Rehearsal).0, GateState::Failed);
}

#[test]
fn the_rehearsed_time_is_kept() {
    let mut world = World::new(1, 1);
    world.propose("plain").unwrap();
    run(&mut world, 20);
    let tested = newest(&world).tested.as_ref().unwrap();
    assert!(tested.record.revert_ms().is_some());
    let (state, detail) = look(&world, Gate::Rehearsal);
    assert_eq!(state, GateState::Passed);
    assert!(detail.starts_with("back in "), "{detail}");
}

#[test]
fn a_break_glass_takes_two_people_and_leaves_out_only_what_it_names() {
    let mut world = World::new(2, 2);
    no_rehearsal(&mut world);
    let ask = |gates: Vec<Gate>, world: &World| Input::AskBreakGlass {
        by: actor("ada"),
        service: api(),
        gates,
        reason: "payments are down".into(),
        expires_at: Millis::seconds(600).after(world.now),
    };
    let never = world.give(ask(vec![Gate::Attestation], &world.fork()));
    assert_eq!(refused(never), Code::BadRequest);
    world.ok(ask(vec![Gate::References, Gate::Freeze], &world.fork()));
    world.break_glass = Some(1);
    assert_eq!(
        refused(world.propose("reaching")),
        Code::NoBreakGlass,
        "nobody agreed yet"
    );
    let confirm = |name| Input::ConfirmBreakGlass {
        by: actor(name),
        id: 1,
    };
    assert_eq!(refused(world.give(confirm("ada"))), Code::SecondPerson);
    world.ok(confirm("bob"));
    world.ok(Input::Freeze {
        by: person(),
        scope: Scope::Everything,
        reason: "fair day".into(),
        until: None,
    });
    world.propose("reaching").unwrap();
    probe_all(&mut world, ProbeVerdict::NoAnswer);
    run(&mut world, 12);
    assert!(
        said(&world, "stage production: waves of 1, 1, 2"),
        "{:?}",
        world.story
    );
    assert_eq!(look(&world, Gate::References).0, GateState::Waived);
    let glass = &world.state.break_glasses[&1];
    assert_eq!(glass.used_by, [ReleaseId(1)]);
    assert!(glass.reviewed_by.is_none(), "somebody must look at it");
    let review = |words: &str| Input::ReviewBreakGlass {
        by: actor("cyd"),
        id: 1,
        words: words.into(),
    };
    assert_eq!(refused(world.give(review(" "))), Code::BadRequest);
    world.ok(review("the address was right; the probe's network was not"));
    assert!(world.state.break_glasses[&1].reviewed_by.is_some());
}

#[test]
fn a_break_glass_that_ends_before_production_opens_leaves_nothing_out() {
    let mut world = World::new(1, 1);
    no_rehearsal(&mut world);
    world.ok(Input::AskBreakGlass {
        by: actor("ada"),
        service: api(),
        gates: vec![Gate::Approval],
        reason: "r".into(),
        expires_at: Millis::seconds(60).after(world.now),
    });
    world.ok(Input::ConfirmBreakGlass {
        by: actor("bob"),
        id: 1,
    });
    world.break_glass = Some(1);
    world.ok(Input::Freeze {
        by: person(),
        scope: Scope::Environment("production".parse().unwrap()),
        reason: "weekend".into(),
        until: Some(Millis::seconds(90).after(world.now)),
    });
    world.propose("risky").unwrap();
    run(&mut world, 100);
    assert!(said(&world, "test passed"), "{:?}", world.story);
    assert!(!said(&world, "production wave 0"), "{:?}", world.story);
    assert_eq!(look(&world, Gate::Approval).0, GateState::Waiting);
    world.approve("bob").unwrap();
    run(&mut world, 4);
    assert!(said(&world, "production wave 0"), "{:?}", world.story);
}

#[test]
fn an_old_break_glass_is_void() {
    let mut world = World::new(1, 1);
    world.ok(Input::AskBreakGlass {
        by: actor("ada"),
        service: api(),
        gates: vec![Gate::Freeze],
        reason: "r".into(),
        expires_at: Millis::seconds(60).after(world.now),
    });
    world.pass(Millis::seconds(61));
    let confirm = Input::ConfirmBreakGlass {
        by: actor("bob"),
        id: 1,
    };
    assert_eq!(refused(world.give(confirm)), Code::NoBreakGlass);
}

#[test]
fn freezes_cover_environments_and_end_by_themselves() {
    let mut world = World::new(1, 1);
    no_rehearsal(&mut world);
    world.ok(Input::Freeze {
        by: person(),
        scope: Scope::Environment("production".parse().unwrap()),
        reason: "weekend".into(),
        until: Some(Millis::seconds(60).after(world.now)),
    });
    world.propose("plain").unwrap();
    run(&mut world, 20);
    assert!(
        said(&world, "test passed"),
        "test is not frozen: {:?}",
        world.story
    );
    assert!(!said(&world, "production wave 0"));
    let (state, detail) = look(&world, Gate::Freeze);
    assert_eq!(state, GateState::Waiting);
    assert!(detail.contains("weekend"), "{detail}");
    run(&mut world, 45);
    assert!(said(&world, "production wave 0"), "{:?}", world.story);
}

#[test]
fn the_calendar_freezes() {
    let mut world = World::new(1, 1);
    no_rehearsal(&mut world);
    // It is Thursday, 1 January 2026, 01:00 in Berlin.
    declare(&mut world, |topology| {
        topology.freezes.push(model::FreezeWindow {
            scope: Scope::Service(api()),
            from_minute: 3 * 24 * 60,
            to_minute: 3 * 24 * 60 + 120,
            zone: "Europe/Berlin".into(),
            reason: "new year".into(),
        });
    });
    let refusal = world.propose("plain").unwrap_err();
    assert_eq!(refusal.code, Code::Frozen);
    expect!["releases of api are frozen by the calendar until 2026-01-01T01:00:00Z: new year"]
        .assert_eq(&refusal.message);
    world.roll_back(None).unwrap();
    world.pass(Millis::seconds(3601));
    world.propose("plain").unwrap();
}

#[test]
fn a_spent_error_budget_freezes() {
    let mut world = World::new(1, 1);
    declare(&mut world, |topology| {
        let spec = topology.services.get_mut(&api()).unwrap();
        spec.error_budget = Some(model::ErrorBudget {
            failed_permille_max: model::Permille::new(10).unwrap(),
            window_ms: Millis::seconds(600),
            requests_min: 100,
        });
    });
    world.count(bundle("whatever").digest(), 1000, 100);
    let refusal = world.propose("plain").unwrap_err();
    assert_eq!(refusal.code, Code::Frozen);
    expect!["releases of api are frozen by plimsoll: its error budget is spent: 100 of 1000 requests failed in 10 min (10 %; the budget is 1 %)"]
        .assert_eq(&refusal.message);
    world.pass(Millis::seconds(3600));
    world.propose("plain").unwrap();
}

#[test]
fn a_host_that_fell_behind_is_brought_to_the_base_first() {
    let mut world = World::new(1, 2);
    no_rehearsal(&mut world);
    world.until_good("first");
    world.until_good("second");
    // A person on the host took it back by hand.
    let host: HostName = "web-01".parse().unwrap();
    let slot = world.state.slot(&host, &api()).unwrap();
    let generation = slot.order.as_ref().unwrap().generation;
    let event = Event::HostFailed {
        host: host.clone(),
        service: api(),
        generation,
        phase: model::Phase::Watch,
        reason: "a person took it back".into(),
        running: bundle("first").digest(),
        report: 99,
    };
    crate::evolve(&mut world.state, &event, world.now);
    world.journal.push((world.now, event));
    world.story.clear();
    world.until_good("third");
    let orders: Vec<_> = world
        .journal
        .iter()
        .filter_map(|(_, event)| match event {
            Event::HostOrdered { order } if order.host == host => Some((order.kind, order.digest)),
            _ => None,
        })
        .collect();
    let last_two = &orders[orders.len() - 2..];
    assert_eq!(
        last_two,
        [
            (OrderKind::Rollback, bundle("second").digest()),
            (OrderKind::Forward, bundle("third").digest())
        ]
    );
}

#[test]
fn what_only_a_test_host_was_born_with_is_no_way_back() {
    let mut world = World::new(1, 1);
    let host: HostName = "test-0".parse().unwrap();
    let (hash, strange) = (
        model::Digest::of(b"again"),
        model::Digest::of(b"its own word"),
    );
    world.ok(Input::IssueJoin {
        by: person(),
        token: model::TokenId("again".into()),
        host: host.clone(),
        hash,
        expires_at: Millis::seconds(60).after(world.now),
    });
    let slot = world.state.hosts.get_mut(&host).unwrap();
    slot.slots.clear();
    world.ok(Input::Enrol {
        host,
        join: hash,
        public_key: String::new(),
        peer_address: String::new(),
        adopted: [(api(), strange)].into(),
        fence: model::Generation(0),
    });
    no_rehearsal(&mut world);
    world.until_good("plain");
    assert_eq!(
        refused(world.roll_back(Some(strange))),
        Code::TargetNeverGood
    );
    world
        .roll_back(Some(model::Digest::of(b"as found")))
        .unwrap();
}

#[test]
fn what_is_deployed_must_go_with_it() {
    let mut world = World::new(1, 1);
    declare(&mut world, |topology| {
        let class = serde_json::from_value(serde_json::json!({
            "packages": {"auth-runtime": {"version": "1.4.0", "provides": {"sso": "1.0.0"}}}
        }));
        topology
            .classes
            .insert("web".parse().unwrap(), class.unwrap());
        for environment in &mut topology.environments {
            for host in &mut environment.hosts {
                host.class = Some("web".parse().unwrap());
            }
        }
    });
    let mut needy = bundle("needy");
    needy.requires = [("sso".parse().unwrap(), "^2".into())].into();
    let refusal = world
        .give(Input::Propose {
            by: person(),
            bundle: Box::new(needy),
            base: None,
            message: String::new(),
            checked: Box::default(),
            break_glass: None,
        })
        .unwrap_err();
    assert_eq!(refusal.code, Code::Incompatible);
    assert!(
        refusal.message.contains("auth-runtime 1.4.0"),
        "{}",
        refusal.message
    );
    assert!(!refusal.findings.is_empty());
}
