//! What holds in every state that any mix of inputs can reach.

use std::collections::{BTreeMap, BTreeSet};

use model::gate::ProbeVerdict;
use model::{Actor, Event, Gate, Generation, HostName, Millis, OrderKind, Scope, Statement};
use proptest::prelude::*;

use super::world::{World, api, bundle, person};
use crate::{Input, State, evolve};

/// Something that can happen; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Move {
    Propose(u8),
    RollBack {
        to: Option<u8>,
    },
    Confirm(u8),
    Fail(u8),
    Freeze,
    Thaw,
    Lift(u8),
    Serve {
        seconds: u64,
        content: u8,
        failing: u64,
    },
    Continue(u8),
    Pass(u64),
    Silence(u64),
    Restart,
    ReEnrol(u8),
    Approve(u8),
    Probe {
        host: u8,
        answers: bool,
    },
    FreezeProduction(u64),
    Rules(u8),
    AskBreakGlass(u8),
    ConfirmBreakGlass(u8),
    /// Something about who serves: restarts, drains, ramps, shifts, and what gateways say.
    Steer(u8, u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0_u8..6).prop_map(Move::Propose),
        1 => proptest::option::of(0_u8..6).prop_map(|to| Move::RollBack { to }),
        8 => (0_u8..8).prop_map(Move::Confirm),
        1 => (0_u8..8).prop_map(Move::Fail),
        1 => Just(Move::Freeze),
        2 => Just(Move::Thaw),
        2 => (0_u8..6).prop_map(Move::Lift),
        8 => (1_u64..20, 0_u8..6, prop_oneof![3 => Just(0_u64), 1 => 1_u64..1000])
            .prop_map(|(seconds, content, failing)| Move::Serve { seconds, content, failing }),
        2 => (0_u8..3).prop_map(Move::Continue),
        12 => (0_u64..8000).prop_map(Move::Pass),
        1 => (0_u64..90_000).prop_map(Move::Silence),
        1 => Just(Move::Restart),
        1 => (0_u8..8).prop_map(Move::ReEnrol),
        2 => (0_u8..3).prop_map(Move::Approve),
        6 => (0_u8..8, proptest::bool::weighted(0.95))
            .prop_map(|(host, answers)| Move::Probe { host, answers }),
        1 => (1_u64..30_000).prop_map(Move::FreezeProduction),
        1 => (0_u8..2).prop_map(Move::Rules),
        1 => (0_u8..4).prop_map(Move::AskBreakGlass),
        1 => (0_u8..3).prop_map(Move::ConfirmBreakGlass),
        6 => (0_u8..9, 0_u8..8).prop_map(|(what, host)| Move::Steer(what, host)),
    ];
    proptest::collection::vec(one, 0..160)
}

fn host(world: &World, pick: u8) -> HostName {
    let hosts = world.hosts();
    hosts[usize::from(pick) % hosts.len()].clone()
}

fn content(pick: u8) -> String {
    let kinds = [
        "plain",
        "risky",
        "reaching",
        "risky and reaching",
        "irreversible",
        "advance",
    ];
    let kind = kinds[usize::from(pick) % kinds.len()];
    format!("{kind} service {pick}")
}

fn make(world: &mut World, step: &Move) {
    match step {
        Move::Propose(pick) => drop(world.propose(&content(*pick))),
        Move::RollBack { to } => {
            let to = to.map(|pick| bundle(&content(pick)).digest());
            drop(world.roll_back(to));
        }
        Move::Confirm(pick) => {
            let host = host(world, *pick);
            drop(world.confirm(&host));
        }
        Move::Fail(pick) => {
            let host = host(world, *pick);
            let slot = world.state.slot(&host, &api()).unwrap();
            let generation = slot.order.as_ref().map_or(Generation(0), |o| o.generation);
            world.fail(&host, generation);
        }
        Move::Freeze => {
            let scope = Scope::Service(api());
            world.ok(Input::Freeze {
                by: person(),
                scope,
                reason: "r".into(),
                until: None,
            });
        }
        Move::Thaw => {
            let scope = Scope::Service(api());
            drop(world.give(Input::Thaw {
                by: person(),
                scope,
                reason: "r".into(),
            }));
        }
        Move::Lift(pick) => {
            let digest = bundle(&content(*pick)).digest();
            let (by, service, reason) = (person(), api(), String::new());
            drop(world.give(Input::LiftQuarantine {
                by,
                service,
                digest,
                reason,
            }));
        }
        Move::Serve {
            seconds,
            content: pick,
            failing,
        } => {
            let digest = bundle(&content(*pick)).digest();
            world.failing.insert(digest, *failing);
            world.serve(*seconds);
        }
        Move::Continue(pick) => {
            let by = Actor {
                name: ["ada", "bob", "cyd"][usize::from(*pick) % 3].into(),
                role: None,
            };
            let release = model::ReleaseId(world.state.releases_given);
            drop(world.give(Input::Continue {
                by,
                release,
                reason: "r".into(),
            }));
        }
        Move::Pass(ms) => world.pass(Millis(*ms)),
        Move::Silence(ms) => {
            world.now = Millis(*ms).after(world.now);
            world.ok(Input::Tick);
        }
        Move::Approve(pick) => {
            let names = ["ada", "bob", "cyd"];
            drop(world.approve(names[usize::from(*pick) % names.len()]));
        }
        Move::Probe {
            host: pick,
            answers,
        } => {
            let verdict = if *answers {
                ProbeVerdict::Answers
            } else {
                ProbeVerdict::NoAnswer
            };
            world.probe(&host(world, *pick), verdict);
        }
        Move::FreezeProduction(ms) => {
            let until = Some(Millis(*ms).after(world.now));
            world.ok(Input::Freeze {
                by: person(),
                scope: Scope::Environment("production".parse().unwrap()),
                reason: "r".into(),
                until,
            });
        }
        Move::Rules(pick) => {
            let mut topology = world.state.topology.clone();
            let spec = topology.services.get_mut(&api()).unwrap();
            spec.checks.approvals = 1 + u32::from(*pick);
            spec.checks.rehearsal.off = *pick > 0;
            world.ok(Input::SetTopology {
                by: person(),
                topology,
            });
        }
        Move::AskBreakGlass(pick) => {
            let gates = [
                vec![Gate::Freeze],
                vec![Gate::Rehearsal, Gate::Freeze],
                vec![Gate::Rehearsal],
                vec![Gate::Matrix, Gate::Hostile],
            ];
            world.ok(Input::AskBreakGlass {
                by: person(),
                service: api(),
                gates: gates[usize::from(*pick) % gates.len()].clone(),
                reason: "r".into(),
                expires_at: Millis::seconds(30).after(world.now),
            });
        }
        Move::ConfirmBreakGlass(pick) => {
            let by = Actor {
                name: ["ada", "bob", "cyd"][usize::from(*pick) % 3].into(),
                role: None,
            };
            let id = world.state.break_glasses.keys().last().copied();
            let confirmed = world.give(Input::ConfirmBreakGlass {
                by,
                id: id.unwrap_or(1),
            });
            // Whoever pushes next uses it.
            world.break_glass = confirmed.ok().and(id);
        }
        Move::Steer(what, pick) => {
            let host = host(world, *pick);
            super::traffic::steer(world, *what, &host);
        }
        Move::Restart => {
            world.watch = crate::Watch::new(world.now);
        }
        Move::ReEnrol(pick) => {
            let host = host(world, *pick);
            let hash = model::Digest::of(b"again");
            let token = model::TokenId("again".into());
            let expires_at = Millis::seconds(1).after(world.now);
            let by = person();
            world.ok(Input::IssueJoin {
                by,
                token,
                host: host.clone(),
                hash,
                expires_at,
            });
            world.ok(Input::Enrol {
                host,
                join: hash,
                public_key: String::new(),
                peer_address: String::new(),
                adopted: [(api(), model::Digest::of(b"found again"))].into(),
                fence: Generation(3),
            });
        }
    }
}

/// Hosts of production on a forward order of the active release stay within the waves begun.
fn exposed_within_waves(state: &State) {
    for release in state.releases.values() {
        let allowed: BTreeSet<_> = release.reached().map(|(_, host)| host.clone()).collect();
        let exposed = state
            .slots(&release.service)
            .filter(|(_, slot)| slot.forward_of(release.id).is_some())
            .map(|(host, _)| host.clone())
            .collect::<BTreeSet<_>>();
        assert!(
            exposed.is_subset(&allowed),
            "release {} reached {exposed:?}",
            release.id
        );
        for stage in &release.stages {
            assert!(
                stage.begun <= stage.passed + 1,
                "a wave began before the one before it passed"
            );
            assert!(stage.passed <= stage.begun, "a wave passed before it began");
        }
    }
}

/// Whatever the state, a person may go back, and then every exposed host is told so.
fn rollback_is_never_refused(world: &World) {
    let mut copy = world.fork();
    let undone: Vec<_> = world
        .state
        .services
        .get(&api())
        .and_then(|s| s.active)
        .into_iter()
        .collect();
    copy.roll_back(None).expect("a rollback is never refused");
    for id in undone {
        for (host, slot) in copy.state.slots(&api()) {
            let still = slot.forward_of(id).is_some() && copy.state.topology.host(host).is_some();
            assert!(!still, "{host} was left on release {id}");
        }
    }
    for good in world
        .state
        .services
        .get(&api())
        .into_iter()
        .flat_map(|s| &s.goods)
    {
        let mut copy = world.fork();
        copy.roll_back(Some(good.digest))
            .expect("a good target is never refused");
        for (host, slot) in copy.state.slots(&api()) {
            let order = slot.order.as_ref().unwrap();
            assert_eq!(
                (order.kind, order.digest),
                (OrderKind::Rollback, good.digest),
                "{host}"
            );
        }
    }
}

/// Whatever is ordered forward in production was opened with an attestation of
/// exactly that bundle, was approved when that was needed, and saw its references answer.
fn production_is_gated(world: &World) {
    let (mut opened, mut approved) = (BTreeSet::new(), BTreeMap::<_, BTreeSet<String>>::new());
    let (mut probed, mut proposed) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeMap::new());
    for (_, event) in &world.journal {
        match event {
            Event::ReleaseProposed {
                release,
                digest,
                checked,
                author,
                ..
            } => drop(proposed.insert(*release, (*digest, checked.clone(), author.name.clone()))),
            Event::Approved { release, by, .. } => {
                approved
                    .entry(*release)
                    .or_default()
                    .insert(by.name.clone());
            }
            Event::ReferencesProbed {
                release,
                host,
                probes,
                ..
            } => {
                let good = probes.iter().all(|p| p.verdict == ProbeVerdict::Answers);
                if good {
                    probed.entry(*release).or_default().insert(host.clone());
                }
            }
            Event::StageStarted {
                release,
                environment,
                attestation,
                ..
            } if environment.as_str() == "production" => {
                let (digest, checked, author) = &proposed[release];
                let envelope = attestation.as_ref().expect("opened without an attestation");
                let statement: Statement = serde_json::from_str(&envelope.payload).unwrap();
                assert!(statement.is_about(&api(), *digest));
                assert_eq!(statement.predicate.release, *release);
                if !checked.risks.is_empty() {
                    let others = approved.get(release).into_iter().flatten();
                    assert!(others.filter(|name| *name != author).count() >= 1);
                }
                if !checked.references.is_empty() {
                    // Two hosts in each of two zones.
                    assert!(probed[release].len() >= 4, "{:?}", probed[release]);
                }
                opened.insert(*release);
            }
            Event::HostOrdered { order } => {
                let serves = order.environment.as_str() == "production";
                let forward = order.kind == OrderKind::Forward;
                assert!(!serves || !forward || opened.contains(&order.release));
            }
            _ => {}
        }
    }
}

/// Whatever an irreversible plan's judge finds, only a person's word turns it back.
fn irreversible_stays(world: &World) {
    let (mut irreversible, mut met) = (BTreeSet::new(), BTreeSet::new());
    for (_, event) in &world.journal {
        match event {
            Event::ReleaseProposed {
                release, bundle, ..
            } if bundle.plan.irreversible => drop(irreversible.insert(*release)),
            Event::WaveStarted { release, .. } => drop(met.insert(*release)),
            Event::RollbackStarted { release, cause, .. } => {
                let machine = matches!(cause, model::RollbackCause::Verdict { .. });
                assert!(!machine || !irreversible.contains(release) || !met.contains(release));
            }
            _ => {}
        }
    }
}

fn generations_grow(world: &World) {
    let mut newest = BTreeMap::<HostName, Generation>::new();
    for (_, event) in &world.journal {
        if let model::Event::HostOrdered { order } = event {
            let before = newest.insert(order.host.clone(), order.generation);
            assert!(
                before < Some(order.generation),
                "{:?} then {}",
                before,
                order.generation
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn laws_of_every_reachable_state(moves in moves(), cut in any::<prop::sample::Index>()) {
        let mut world = World::new(2, 3);
        for step in &moves {
            make(&mut world, step);
            exposed_within_waves(&world.state);
            rollback_is_never_refused(&world);
        }
        generations_grow(&world);
        production_is_gated(&world);
        irreversible_stays(&world);
        prop_assert_eq!(&world.replayed(), &world.state);
        let cut = cut.index(world.journal.len());
        prop_assert_eq!(&world.through_snapshot(cut), &world.state);
    }

    #[test]
    fn evolve_is_total_on_any_history(
        moves in moves(),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..200),
    ) {
        let mut world = World::new(2, 2);
        for step in &moves {
            make(&mut world, step);
        }
        // Any events in any order, with gaps and repeats.
        let mut state = State::default();
        for pick in picks {
            let (at, event) = &world.journal[pick.index(world.journal.len())];
            evolve(&mut state, event, *at);
            crate::due(&state);
        }
        let hosts: Vec<_> = state.hosts.values().flat_map(|host| host.slots.values()).collect();
        prop_assert!(hosts.iter().all(|slot| !slot.homes.is_empty()));
    }
}
