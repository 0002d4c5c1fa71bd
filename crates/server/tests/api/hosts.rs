//! What hosts tell: confirmations, reports, heartbeats.

use http::Method;
use model::refusal::Code;
use model::{Digest, Generation, Phase, Report, ReportKind, Timestamp};
use serde_json::{Value, json};
use wire::api::{Heartbeat, HostView, ReleaseState, ReportsAnswer, ReportsRequest, ServiceBeat};

use crate::support::{Agent, Server, code, status, until};

fn report(number: u64, generation: u64, kind: ReportKind) -> Report {
    Report {
        number,
        service: "api".parse().unwrap(),
        generation: Generation(generation),
        at: Timestamp::now(),
        kind,
    }
}

fn health(healthy: bool) -> ReportKind {
    ReportKind::Health {
        running: Digest::of(b"found on disk"),
        healthy,
        reason: "503".into(),
    }
}

async fn send(agent: &Agent, reports: Vec<Report>) -> Result<u64, wire::ClientError> {
    let request = ReportsRequest { reports };
    let answer = agent.client.post(&agent.path("reports"), &request).await;
    answer.map(|answer: ReportsAnswer| answer.through)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_newest_order_is_confirmed_and_repeats_change_nothing() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let agent = &agents[0];
    server.propose("first").await.unwrap();
    let order = agent.order_above(Generation(0)).await;

    // Another generation, another digest, a host that was ordered nothing.
    let mut other = order.clone();
    other.order.generation = Generation(7);
    let refused = agent.confirm(&other).await.unwrap_err();
    assert_eq!(
        (status(&refused), code(&refused)),
        (409, Code::StaleGeneration)
    );
    let mut other = order.clone();
    other.order.digest = Digest::of(b"else");
    let refused = agent.confirm(&other).await.unwrap_err();
    assert_eq!(code(&refused), Code::StaleGeneration);
    let refused = agents[1].confirm(&order).await.unwrap_err();
    assert_eq!(code(&refused), Code::StaleGeneration);
    assert!(server.journaled("host_confirmed").await.is_empty());

    for _ in 0..3 {
        agent.confirm(&order).await.unwrap();
    }
    let confirmed = server.journaled("host_confirmed").await;
    let of_agent = confirmed.iter().filter(|event| event["host"] == "test-1");
    assert_eq!(of_agent.count(), 1);

    let body = json!({ "service": "api", "reason": "orders fail" });
    let _: Value = server.operator.post("/v1/rollbacks", &body).await.unwrap();
    let back = agent.order_above(order.order.generation).await;
    let refused = agent.confirm(&order).await.unwrap_err();
    assert_eq!(code(&refused), Code::StaleGeneration);
    agent.confirm(&back).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_journaled_once_however_often_it_is_sent() {
    let server = Server::start().await;
    let agent = server.join("web-1").await;
    let reports = vec![report(1, 0, health(false)), report(2, 0, health(true))];
    for _ in 0..3 {
        assert_eq!(send(&agent, reports.clone()).await.unwrap(), 2);
    }
    assert_eq!(server.journaled("host_health_changed").await.len(), 2);
    // Old and new together: only the new is news.
    let mut more = reports;
    more.push(report(3, 0, health(false)));
    assert_eq!(send(&agent, more).await.unwrap(), 3);
    assert_eq!(server.journaled("host_health_changed").await.len(), 3);
    // Of an order that is not the newest: acknowledged, so that it stops coming, and skipped.
    assert_eq!(
        send(&agent, vec![report(4, 9, health(true))])
            .await
            .unwrap(),
        4
    );
    assert_eq!(server.journaled("host_health_changed").await.len(), 3);
    assert_eq!(send(&agent, Vec::new()).await.unwrap(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_bounded_in_number_and_length() {
    let server = Server::start().await;
    let agent = server.join("web-1").await;
    let many = (1..=1001).map(|number| report(number, 0, health(true)));
    let refused = send(&agent, many.collect()).await.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (413, Code::TooLarge));
    let long = ReportKind::Health {
        running: Digest::of(b""),
        healthy: false,
        reason: "ä".repeat(10_000),
    };
    send(&agent, vec![report(1, 0, long)]).await.unwrap();
    let journaled = server.journaled("host_health_changed").await;
    assert_eq!(journaled[0]["reason"].as_str().unwrap().len(), 6 * 1024);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_says_it_failed_turns_the_release_back() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let id = server.propose("first").await.unwrap().id;
    let order = agents[0].order_above(Generation(0)).await.order;
    let home = Digest::of(b"found on disk");
    let reverted = ReportKind::Reverted {
        from: order.digest,
        to: home,
        phase: Phase::Health,
        reason: "no answer on 9001".into(),
    };
    send(&agents[0], vec![report(1, order.generation.0, reverted)])
        .await
        .unwrap();
    server.carry(&agents, id, ReleaseState::RolledBack).await;
    let view = server.view(id).await;
    let rollback = view.rollback.unwrap();
    assert_eq!(rollback.by, "plimsoll");
    assert!(
        rollback.reason.contains("no answer on 9001"),
        "{}",
        rollback.reason
    );
    assert!(rollback.took_ms.is_some() && rollback.outstanding.is_empty());
    assert_eq!(view.exposure.hosts, 0, "production never met it");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_is_seen_and_not_journaled() {
    let server = Server::start().await;
    let agent = server.join("web-1").await;
    let events =
        async || server.operator.get::<Value>("/v1/status").await.unwrap()["position"].clone();
    let before = events().await;
    let beat = Heartbeat {
        services: vec![ServiceBeat {
            service: "api".parse().unwrap(),
            running: Digest::of(b"something else"),
            generation: Generation(0),
            healthy: Some(false),
            reason: "503".into(),
            exits: Some(2),
        }],
        gauges: Default::default(),
        machine: None,
    };
    let _: Value = agent
        .client
        .post(&agent.path("heartbeat"), &beat)
        .await
        .unwrap();
    let seen = until("the beat is seen", async || {
        let hosts: Vec<HostView> = server.operator.get("/v1/hosts").await.unwrap();
        let host = hosts.into_iter().find(|host| host.name == agent.name)?;
        (host.services[0].healthy == Some(false)).then_some(host)
    });
    let seen = seen.await;
    assert_eq!(
        seen.services[0].running,
        Some(Digest::of(b"something else"))
    );
    assert_eq!(seen.services[0].detail.as_deref(), Some("503"));
    assert!(seen.seen_at.is_some());
    assert_eq!(events().await, before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_host_sends_must_be_readable() {
    let server = Server::start().await;
    let agent = server.join("web-1").await;
    for (what, body) in [
        ("confirm", "{}"),
        ("confirm", ""),
        ("reports", r#"{"reports":[{"number":1}]}"#),
        ("heartbeat", r#"{"services":[],"more":1}"#),
        ("heartbeat", "[]"),
    ] {
        let (path, body) = (agent.path(what), body.to_owned().into());
        let request = agent
            .client
            .request(Method::POST, &path, body, crate::support::PATIENCE);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400, "{what}");
        assert_eq!(crate::support::problem(response).await.code, "bad-request");
    }
    server.stop().await;
}
