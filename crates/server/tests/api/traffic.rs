//! Restarts and drains over the API.

use model::refusal::Code;
use serde_json::{Value, json};
use wire::api::{
    DrainRequest, HostTrafficState, RampRequest, ReleaseState, RestartRequest, RestartState,
    RestartView, RoutingView,
};

use crate::support::{Server, code, until};

fn restart(parallel: Option<u32>) -> RestartRequest {
    RestartRequest {
        service: "api".parse().unwrap(),
        environment: None,
        hosts: Vec::new(),
        parallel,
        floor_permille: None,
        reason: "it leaks".into(),
    }
}

async fn refused(server: &Server, request: RestartRequest) -> Code {
    let answer = server.operator.post::<_, Value>("/v1/restarts", &request);
    code(&answer.await.unwrap_err())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_told_followed_and_ended() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    assert_eq!(refused(&server, restart(None)).await, Code::NotRestartable);
    let release = server.propose("first service").await.unwrap();
    server.carry(&agents, release.id, ReleaseState::Good).await;

    let all: u32 = u32::try_from(agents.len()).unwrap();
    assert_eq!(refused(&server, restart(Some(all))).await, Code::BelowFloor);
    let begun: Result<RestartView, _> = server.operator.post("/v1/restarts", &restart(None)).await;
    let begun = begun.unwrap();
    assert!(begun.ended_at.is_none() && !begun.hosts.is_empty());
    assert_eq!(refused(&server, restart(None)).await, Code::RestartUnderWay);
    let path = format!("/v1/restarts/{}", begun.id);
    until("the first host is told", async || {
        let view: RestartView = server.operator.get(&path).await.unwrap();
        let mut hosts = view.hosts.iter();
        hosts
            .any(|it| it.state == RestartState::Restarting)
            .then_some(())
    })
    .await;
    let stop = json!({ "service": "api", "reason": "enough" });
    let _: Value = server
        .operator
        .post("/v1/restarts/stop", &stop)
        .await
        .unwrap();
    let view: RestartView = server.operator.get(&path).await.unwrap();
    assert!(
        view.ended_at.is_some() && view.stopped.is_some(),
        "{view:?}"
    );
    let missing = server.operator.get::<Value>("/v1/restarts/99").await;
    assert_eq!(code(&missing.unwrap_err()), Code::NotFound);
    let told = server.journaled("host_ordered").await;
    let again = told.iter().filter(|it| it["order"]["kind"] == "restart");
    assert_eq!(again.count(), 1, "{told:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drains_and_ramps_are_shown_until_they_are_over() {
    let server = Server::start().await;
    let _agents = server.join_all().await;
    let view: RoutingView = server.operator.get("/v1/traffic").await.unwrap();
    let production = |view: &RoutingView| {
        let mut services = view.services.clone().into_iter();
        services
            .find(|it| it.environment.as_str() == "production")
            .unwrap()
    };
    let host = production(&view).hosts[0].host.clone();
    let request = DrainRequest {
        service: "api".parse().unwrap(),
        host: host.clone(),
        reason: "bad memory".into(),
        force: true,
    };
    let _: Value = server
        .operator
        .post("/v1/traffic/drain", &request)
        .await
        .unwrap();
    let ramp = RampRequest {
        service: "api".parse().unwrap(),
        open_permille: model::Permille::of(1, 4),
        hold: true,
        reason: "cold".into(),
    };
    let _: Value = server
        .operator
        .post("/v1/traffic/ramp", &ramp)
        .await
        .unwrap();
    let shown = production(&server.operator.get("/v1/traffic").await.unwrap());
    if shown.hosts.len() > 1 {
        assert_ne!(shown.hosts[0].state, HostTrafficState::Serving);
        assert_eq!(
            shown.hosts[0].detail.as_deref(),
            Some("first operator: bad memory")
        );
    }
    assert_eq!(shown.open_permille.get(), 250);
    assert!(
        shown
            .ramp
            .is_some_and(|ramp| ramp.contains("waits for a person"))
    );
    let _: Value = server
        .operator
        .post("/v1/traffic/undrain", &request)
        .await
        .unwrap();
    let twice = server
        .operator
        .post::<_, Value>("/v1/traffic/undrain", &request)
        .await;
    assert_eq!(code(&twice.unwrap_err()), Code::NothingToLift);
    let shown = production(&server.operator.get("/v1/traffic").await.unwrap());
    assert_eq!(shown.hosts[0].state, HostTrafficState::Serving);
    server.stop().await;
}
