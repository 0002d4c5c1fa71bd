//! What moves around a release while it is on its way: hosts, environments, tasks.

use model::gate::{Probe, ProbeVerdict, RehearsalPlan};
use model::{
    Event, HostName, Millis, Order, OrderKind, Phase, Report, ReportKind, TaskOutcome, TaskResult,
    Timestamp, Topology,
};

use super::world::{World, api, bundle, person};
use crate::{Input, SlotStatus, due};

fn declare(world: &mut World, change: impl FnOnce(&mut Topology)) {
    let mut topology = world.state.topology.clone();
    change(&mut topology);
    world.ok(Input::SetTopology {
        by: person(),
        topology,
    });
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn run(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.pass(Millis::seconds(1));
        world.carry_out();
    }
}

fn said(world: &World, line: &str) -> bool {
    world.story.iter().any(|known| known == line)
}

fn newest(world: &World) -> &crate::Release {
    world.state.releases.values().next_back().unwrap()
}

fn waits(world: &World) -> Option<String> {
    crate::decide::waiting(&world.state, &world.watch, newest(world), world.now)
}

/// A host's no to an order.
fn declined(number: u64, order: &Order, at: Timestamp) -> Report {
    Report {
        number,
        service: api(),
        generation: order.generation,
        at,
        kind: ReportKind::Declined {
            phase: Phase::Accept,
            reason: "not attested: never good here".into(),
            running: bundle("one").digest(),
        },
    }
}

/// Until the test host rehearses, with its first step confirmed and nothing open.
fn between_steps(world: &mut World) -> HostName {
    world.propose("plain").unwrap();
    let test = host("test-0");
    for _ in 0..40 {
        world.pass(Millis::seconds(1));
        let slot = world.state.slot(&test, &api()).unwrap();
        let order = slot.order.clone();
        if order.is_some_and(|order| order.kind == OrderKind::Rollback) {
            world.confirm(&test).unwrap();
            return test;
        }
        world.carry_out();
    }
    panic!("no rehearsal: {:?}", world.story);
}

#[test]
fn a_test_host_never_meets_an_attestation() {
    let mut world = World::new(1, 1);
    world.until_good("one");
    world.until_good("two");
    // Forward to what was attested before: a test host that took it up with its
    // attestation would refuse everything new from then on.
    world.propose("one").unwrap();
    for _ in 1..100 {
        world.serve(2);
        let sent = due::dispatches(&world.state, &host("test-0"));
        for dispatch in &sent {
            let forward = dispatch.order.kind == OrderKind::Forward;
            assert!(!forward || dispatch.attestation.is_none(), "{dispatch:?}");
        }
        world.carry_out();
    }
    assert_eq!(world.state.good(&api()), Some(bundle("one").digest()));
    let sent = due::dispatches(&world.state, &host("web-00"));
    assert!(sent.iter().all(|dispatch| dispatch.attestation.is_some()));
}

#[test]
fn a_host_that_cant_be_brought_to_the_base_fails_the_release_once() {
    let mut world = World::new(1, 2);
    world.until_good("one");
    world.until_good("two");
    // As if the host had been away while "two" became good.
    let slot = world
        .state
        .hosts
        .get_mut(&host("web-00"))
        .and_then(|known| known.slots.get_mut(&api()))
        .unwrap();
    slot.running = bundle("one").digest();
    slot.homes = vec![bundle("one").digest()];
    world.propose("three").unwrap();
    let (mut ordered, mut report) = (0, 1000);
    for _ in 0..60 {
        world.pass(Millis::seconds(1));
        let slot = world.state.slot(&host("web-00"), &api()).unwrap();
        let order = slot.order.clone().unwrap();
        let open = matches!(slot.status, SlotStatus::Ordered { .. });
        let to_base = order.digest == bundle("two").digest();
        if open && to_base && order.kind == OrderKind::Rollback {
            ordered += 1;
            report += 1;
            world.ok(Input::Reports {
                host: host("web-00"),
                reports: vec![declined(report, &order, world.now)],
            });
        } else {
            world.carry_out();
        }
    }
    assert_eq!(ordered, 1, "{:?}", world.story);
    assert!(!newest(&world).is_active(), "{:?}", waits(&world));
}

#[test]
fn a_rehearsing_host_that_dies_between_steps_says_so_and_then_stops_the_release() {
    let mut world = World::new(1, 1);
    let test = between_steps(&mut world);
    let silence = |world: &mut World, seconds| {
        world.now = Millis::seconds(seconds).after(world.now);
        world.watch.heard(&host("web-00"), world.now);
        world.ok(Input::Tick);
    };
    // The step ends; then nobody is there to be told the next one.
    silence(&mut world, 20);
    silence(&mut world, 1);
    let reason = waits(&world).expect("it says why");
    assert!(
        reason.starts_with("rehearsal waits: host test-0"),
        "{reason}"
    );
    silence(&mut world, 60);
    assert!(
        said(&world, "rollback of 1 by plimsoll"),
        "{:?}",
        world.story
    );
    assert!(world.state.slot(&test, &api()).is_some());
}

#[test]
fn a_rehearsing_host_that_leaves_the_topology_is_told() {
    let mut world = World::new(1, 1);
    between_steps(&mut world);
    declare(&mut world, |topology| {
        let mut other = topology.environments[0].hosts[0].clone();
        other.name = host("test-9");
        topology.environments[0].hosts = vec![other];
    });
    world.pass(Millis::seconds(1));
    let reason = waits(&world).expect("it says why");
    assert_eq!(reason, "rehearsal: test-0 is not there any more");
}

#[test]
fn without_a_test_environment_nothing_opens_production() {
    let mut world = World::new(1, 1);
    between_steps(&mut world);
    declare(&mut world, |topology| {
        topology.environments.remove(0);
    });
    run(&mut world, 30);
    assert!(!said(&world, "test passed"), "{:?}", world.story);
    assert!(!said(&world, "production wave 0"), "{:?}", world.story);
    assert!(
        said(&world, "rollback of 1 by plimsoll"),
        "{:?}",
        world.story
    );
}

#[test]
fn an_answer_to_another_releases_question_is_none() {
    let mut world = World::new(1, 1);
    declare(&mut world, |topology| {
        let spec = topology.services.get_mut(&api()).unwrap();
        spec.checks.rehearsal = RehearsalPlan {
            off: true,
            ..RehearsalPlan::default()
        };
    });
    world.propose("reaching").unwrap();
    let asked = due::tasks(&world.state, &host("web-00"));
    let results = asked.into_iter().map(|task| TaskResult {
        id: task.id,
        release: model::ReleaseId(task.release.0 + 1),
        outcome: TaskOutcome::Broken { reason: "x".into() },
    });
    let results = results.collect();
    let events = world.ok(Input::Results {
        host: host("web-00"),
        results,
    });
    assert_eq!(events, []);
}

#[test]
fn the_record_of_a_test_fits_the_journal_however_many_probed() {
    let mut world = World::new(1, 1);
    world.propose("plain").unwrap();
    let probe = |number| Probe {
        reference: number,
        verdict: ProbeVerdict::Answers,
        latency_ms: Millis(3),
        detail: "\u{1}".repeat(512),
    };
    let release = world.state.releases.values_mut().next_back().unwrap();
    for n in 0..40 {
        let probes = (0..500).map(probe).collect();
        let told = (world.now, probes);
        release.seen.probes.insert(host(&format!("far-{n}")), told);
    }
    run(&mut world, 20);
    let sealed = world.journal.iter().find_map(|(_, event)| match event {
        Event::TestPassed { record, .. } => Some((event, record)),
        _ => None,
    });
    let (event, record) = sealed.expect("it was sealed");
    assert_eq!(record.probes.len(), 40, "every host is named");
    let bytes = serde_json::to_vec(event).unwrap().len();
    // The journal takes 8 MiB for one event.
    assert!(bytes < 8 << 20, "{bytes}");
}

#[test]
fn a_host_that_goes_on_refusing_its_way_back_is_asked_less_and_less_often() {
    let mut world = World::new(1, 1);
    world.until_good("one");
    world.roll_back(None).unwrap();
    let (mut ordered, mut report) = (0, 1000);
    for _ in 0..600 {
        world.pass(Millis::seconds(1));
        let slot = world.state.slot(&host("web-00"), &api()).unwrap();
        let order = slot.order.clone().unwrap();
        if !matches!(slot.status, SlotStatus::Ordered { .. }) {
            continue;
        }
        ordered += 1;
        report += 1;
        world.ok(Input::Reports {
            host: host("web-00"),
            reports: vec![declined(report, &order, world.now)],
        });
        world.confirm(&host("test-0")).unwrap();
    }
    assert!((8..20).contains(&ordered), "{ordered}");
    let again = world.roll_back(Some(bundle("as found").digest()));
    assert!(again.is_err(), "that was never good");
    let orders = world.roll_back(None).unwrap();
    let at_once = orders
        .iter()
        .any(|event| matches!(event, Event::HostOrdered { .. }));
    assert!(at_once, "a person need not wait: {orders:?}");
}

#[test]
fn what_a_service_says_of_its_requests_goes_to_its_gateways() {
    let mut world = World::new(1, 1);
    world.until_good("one");
    let serving = model::Serving {
        workers: Some(model::Workers::Number(8)),
        ..model::Serving::default()
    };
    declare(&mut world, |topology| {
        topology.services.get_mut(&api()).unwrap().serving = serving.clone();
    });
    let said: Vec<model::Serving> = crate::due(&world.state)
        .into_iter()
        .filter_map(|effect| match effect {
            crate::Effect::Routes { services, .. } => Some(services[&api()].serving.clone()),
            crate::Effect::Orders { .. } => None,
        })
        .collect();
    assert_eq!(said, [serving.clone(), serving]);
}
