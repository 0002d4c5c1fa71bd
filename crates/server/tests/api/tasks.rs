//! What hosts are asked to probe, and what they answer.

use std::time::Duration;

use model::gate::{Probe, ProbeVerdict, ReferenceKind, ReferenceRule};
use model::refusal::Code;
use model::{Gate, GateState, Millis, ReleaseId, TaskKind, TaskOutcome, TaskResult, Topology};
use serde_json::Value;
use wire::api::{OrdersAnswer, ReleaseState};
use wire::client::Fetched;

use crate::support::{Server, code, fleet, probed, status, until};

const CONTENT: &str = "auth = \"10.1.2.3:9000\"\n";

/// `/auth` is where another service listens.
pub(crate) fn referring() -> Topology {
    let mut topology = fleet();
    let spec = topology.services.values_mut().next().unwrap();
    spec.checks.references.push(ReferenceRule {
        file: "api.toml".into(),
        at: "/auth".into(),
        kind: ReferenceKind::Tcp,
        from: Vec::new(),
        path: None,
        status: None,
        deadline_ms: Millis::seconds(3),
    });
    topology
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_of_every_zone_are_asked_and_woken_and_their_answers_count() {
    let server = Server::start_with(referring()).await;
    let agents = server.join_all().await;
    // Each waits for news, as agents do; the proposal is what wakes them.
    let mut waiting = Vec::new();
    for agent in &agents {
        let (client, path) = (agent.client.clone(), agent.path("orders"));
        let answer: Fetched<OrdersAnswer> =
            client.get_newer(&path, "", Duration::ZERO).await.unwrap();
        let Fetched::New(_, tag) = answer else {
            panic!("unchanged from nothing")
        };
        waiting.push(tokio::spawn(async move {
            let wait = Duration::from_secs(30);
            client.get_newer::<OrdersAnswer>(&path, &tag, wait).await
        }));
    }
    let view = server.propose(CONTENT).await.unwrap();
    for woken in waiting {
        assert!(matches!(woken.await.unwrap().unwrap(), Fetched::New(..)));
    }
    for agent in &agents {
        let task = agent.task().await;
        assert_eq!((&task.host, task.release), (&agent.name, view.id));
        let TaskKind::Probe { references, .. } = &task.kind else {
            panic!("{task:?}");
        };
        assert_eq!(references[&0].target, "10.1.2.3:9000");
    }
    let looking = server.view(view.id).await;
    let look = looking
        .gates
        .iter()
        .find(|look| look.gate == Gate::References);
    assert_ne!(look.unwrap().state, GateState::Passed);
    let words = "x".repeat(100_000);
    for agent in &agents {
        let mut result = probed(&agent.task().await, ProbeVerdict::Answers).unwrap();
        let TaskOutcome::Probed { probes } = &mut result.outcome else {
            panic!("{result:?}");
        };
        probes[0].detail.clone_from(&words);
        agent.tell(&[result]).await.unwrap();
        // It has left the list, so nobody does it twice.
        until("the task is gone", async || {
            agent.tasks().await.is_empty().then_some(())
        })
        .await;
    }
    let probed = server.journaled("references_probed").await;
    assert_eq!(probed.len(), 3);
    // A host's words are kept short.
    let detail = probed[0]["probes"][0]["detail"].as_str().unwrap();
    assert!(detail.len() < 1000, "{}", detail.len());
    server.carry(&agents, view.id, ReleaseState::Good).await;
    let record = server.operator.attestation(view.id).await.unwrap().record;
    assert_eq!(record.probes.len(), 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_that_production_does_not_reach_stops_before_production() {
    let server = Server::start_with(referring()).await;
    let agents = server.join_all().await;
    let view = server.propose(CONTENT).await.unwrap();
    // One that says no is enough.
    let refused = probed(&agents[1].task().await, ProbeVerdict::Refused).unwrap();
    agents[1].tell(&[refused]).await.unwrap();
    let ended = until("it goes back", async || {
        agents[0].obey().await;
        let view = server.view(view.id).await;
        (view.state == ReleaseState::RolledBack).then_some(view)
    })
    .await;
    let rollback = ended.rollback.unwrap();
    assert_eq!(rollback.rule.as_deref(), Some("references"));
    assert!(
        rollback.reason.contains("10.1.2.3:9000"),
        "{}",
        rollback.reason
    );
    for agent in &agents[1..] {
        assert!(agent.orders().await.0.is_empty());
    }
    let request = crate::support::raw(http::Method::GET, server.url("/metrics"));
    let text = request.send().await.unwrap().text().await.unwrap();
    assert!(
        text.contains("plimsoll_gates_failed{gate=\"references\"} 1"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_asked_changes_nothing() {
    let server = Server::start_with(referring()).await;
    let agents = server.join_all().await;
    let task = {
        server.propose(CONTENT).await.unwrap();
        agents[1].task().await
    };
    let right = probed(&task, ProbeVerdict::Answers).unwrap();
    let probe = |reference| Probe {
        reference,
        verdict: ProbeVerdict::Answers,
        latency_ms: Millis(1),
        detail: String::new(),
    };
    let outcomes = [
        TaskOutcome::Tried { trials: Vec::new() },
        TaskOutcome::Loaded {
            requests: 1_000_000,
            failed: 0,
        },
        TaskOutcome::Probed {
            probes: vec![probe(1)],
        },
        TaskOutcome::Probed {
            probes: vec![probe(u32::MAX)],
        },
        TaskOutcome::Probed { probes: Vec::new() },
    ];
    for outcome in outcomes {
        let wrong = TaskResult {
            outcome,
            ..right.clone()
        };
        agents[1].tell(std::slice::from_ref(&wrong)).await.unwrap();
        let kinds = ["references_probed", "hostile_tried", "load_measured"];
        for kind in kinds {
            let found = server.journaled(kind).await;
            assert!(found.is_empty(), "{wrong:?}: {found:?}");
        }
    }
    for (id, release) in [
        ("r1-probe-9", ReleaseId(1)),
        ("r1-hostile-0", ReleaseId(1)),
        ("r2-probe-0", ReleaseId(2)),
        ("", ReleaseId(1)),
    ] {
        let wrong = TaskResult {
            id: id.into(),
            release,
            outcome: right.outcome.clone(),
        };
        agents[1].tell(&[wrong]).await.unwrap();
    }
    assert!(server.journaled("references_probed").await.is_empty());
    let many = vec![right.clone(); 5_000];
    let refused = agents[1].tell(&many).await.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (413, Code::TooLarge));
    // Once is news; a repeat, in one post or the next, is none.
    agents[1]
        .tell(&[right.clone(), right.clone()])
        .await
        .unwrap();
    agents[1].tell(&[right]).await.unwrap();
    assert_eq!(server.journaled("references_probed").await.len(), 1);
    let broken: Result<Value, _> = agents[1]
        .client
        .post(
            &agents[1].path("results"),
            &serde_json::json!({ "results": [{}] }),
        )
        .await;
    let broken = broken.unwrap_err();
    assert_eq!((status(&broken), code(&broken)), (400, Code::BadRequest));
    server.stop().await;
}
