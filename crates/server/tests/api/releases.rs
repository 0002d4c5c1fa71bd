//! The way back, freezes, quarantine, and what is shown of them.

use model::refusal::Code;
use model::{Digest, Generation};
use serde_json::{Value, json};
use wire::ClientError;
use wire::api::{ReleaseState, RollbackAnswer, StatusView};

use crate::support::{Server, code, status};

async fn ask(server: &Server, path: &str, body: Value) -> Result<Value, ClientError> {
    server.operator.post(path, &body).await
}

async fn roll_back(server: &Server, body: Value) -> RollbackAnswer {
    server.operator.post("/v1/rollbacks", &body).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_stops_releases_and_never_a_rollback() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let good = server.good(&agents, "first").await;
    let second = server.propose("second").await.unwrap();
    agents[0].order_above(Generation(1)).await;

    ask(&server, "/v1/freezes", json!({ "reason": "fair day" }))
        .await
        .unwrap();
    let now: StatusView = server.operator.get("/v1/status").await.unwrap();
    assert_eq!(now.freezes.len(), 1);
    assert_eq!(now.freezes[0].scope, "everything");
    assert_eq!(now.freezes[0].by, "first operator");
    assert_eq!(now.freezes[0].reason, "fair day");

    let body = json!({ "service": "api", "reason": "orders fail" });
    let answer = roll_back(&server, body).await;
    assert_eq!((answer.release, answer.hosts), (Some(second.id), 1));
    server
        .carry(&agents, second.id, ReleaseState::RolledBack)
        .await;
    let view = server.view(second.id).await;
    assert_eq!(view.rollback.unwrap().reason, "orders fail");

    let refused = server.propose("third").await.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (409, Code::Frozen));
    assert!(
        refused.to_string().contains("first operator: fair day"),
        "{refused}"
    );
    // The good release too can be undone while everything is frozen.
    let body = json!({ "service": "api", "release": good.id });
    let answer = roll_back(&server, body).await;
    assert_eq!((answer.release, answer.hosts), (Some(good.id), 3));
    server
        .carry(&agents, good.id, ReleaseState::RolledBack)
        .await;

    ask(&server, "/v1/thaws", json!({ "reason": "over" }))
        .await
        .unwrap();
    server.propose("third").await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freezes_are_lifted_as_they_were_set() {
    let server = Server::start().await;
    let (api, all) = (
        json!({ "service": "api", "reason": "" }),
        json!({ "reason": "" }),
    );
    let nothing = ask(&server, "/v1/thaws", all.clone()).await.unwrap_err();
    assert_eq!(
        (status(&nothing), code(&nothing)),
        (404, Code::NothingToLift)
    );
    ask(&server, "/v1/freezes", api.clone()).await.unwrap();
    let other = ask(&server, "/v1/thaws", all.clone()).await.unwrap_err();
    assert_eq!(code(&other), Code::NothingToLift);
    ask(&server, "/v1/freezes", all.clone()).await.unwrap();
    ask(&server, "/v1/thaws", api.clone()).await.unwrap();
    let refused = server.propose("first").await.unwrap_err();
    assert_eq!(code(&refused), Code::Frozen);
    ask(&server, "/v1/thaws", all).await.unwrap();
    let again = ask(&server, "/v1/thaws", api).await.unwrap_err();
    assert_eq!(code(&again), Code::NothingToLift);
    server.propose("first").await.unwrap();

    let unknown = json!({ "service": "apu", "reason": "" });
    let refused = ask(&server, "/v1/freezes", unknown).await.unwrap_err();
    assert_eq!(code(&refused), Code::UnknownService);
    let long = json!({ "reason": "x".repeat(4097) });
    let refused = ask(&server, "/v1/freezes", long).await.unwrap_err();
    assert_eq!(code(&refused), Code::TooLarge);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_refused_for_a_wrong_name_or_target_only() {
    let server = Server::start().await;
    // Nothing was ever released: nothing to go back from, and that is no refusal.
    let answer = roll_back(&server, json!({ "service": "api" })).await;
    assert_eq!((answer.release, answer.hosts), (None, 0));
    assert!(
        answer.detail.contains("nothing to go back from"),
        "{}",
        answer.detail
    );

    let agents = server.join_all().await;
    let first = server.good(&agents, "first").await;
    let second = server.good(&agents, "second").await;
    for (body, wanted, answer) in [
        (json!({ "service": "apu" }), 404, Code::UnknownService),
        (
            json!({ "service": "api", "release": 9 }),
            404,
            Code::UnknownRelease,
        ),
        (
            json!({ "service": "api", "to": Digest::of(b"") }),
            422,
            Code::TargetNeverGood,
        ),
        (
            json!({ "service": "api", "reason": "x".repeat(4097) }),
            413,
            Code::TooLarge,
        ),
        (json!({ "service": "api", "too": 1 }), 400, Code::BadRequest),
    ] {
        let refused = ask(&server, "/v1/rollbacks", body).await.unwrap_err();
        assert_eq!((status(&refused), code(&refused)), (wanted, answer));
    }
    let body = json!({ "service": "api", "to": first.digest, "reason": "as it was" });
    let answer = roll_back(&server, body).await;
    assert_eq!((answer.release, answer.hosts), (Some(second.id), 3));
    server
        .carry(&agents, second.id, ReleaseState::RolledBack)
        .await;
    let now: StatusView = server.operator.get("/v1/status").await.unwrap();
    assert_eq!(now.services[0].active, None);
    for agent in &agents {
        assert_eq!(agent.orders().await.0[0].order.digest, first.digest);
    }
    // Asked again, nothing is left to do.
    let answer = roll_back(&server, json!({ "service": "api", "release": second.id })).await;
    assert_eq!(answer.hosts, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_met_no_host_is_withdrawn_at_once() {
    let server = Server::start().await;
    let view = server.propose("first").await.unwrap();
    let answer = roll_back(&server, json!({ "service": "api" })).await;
    assert_eq!((answer.release, answer.hosts), (Some(view.id), 0));
    assert!(answer.detail.contains("withdrawn"), "{}", answer.detail);
    assert_eq!(server.view(view.id).await.state, ReleaseState::RolledBack);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lifted_bundle_may_come_again() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let first = server.propose("first").await.unwrap();
    agents[0].order_above(Generation(0)).await;
    roll_back(&server, json!({ "service": "api" })).await;
    server
        .carry(&agents, first.id, ReleaseState::RolledBack)
        .await;
    let lift =
        json!({ "service": "api", "digest": first.digest, "reason": "the database was down" });
    ask(&server, "/v1/quarantine/lift", lift.clone())
        .await
        .unwrap();
    let again = ask(&server, "/v1/quarantine/lift", lift).await.unwrap_err();
    assert_eq!((status(&again), code(&again)), (404, Code::NothingToLift));
    let second = server.good(&agents, "first").await;
    assert_eq!(second.digest, first.digest);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_is_read_in_steps_and_waits_for_more() {
    let server = Server::start().await;
    let read = async |query: &str| -> Vec<Value> {
        let path = format!("/v1/journal?{query}");
        server.operator.get(&path).await.unwrap()
    };
    let all = read("").await;
    let kinds: Vec<_> = all
        .iter()
        .map(|record| record["event"]["type"].clone())
        .collect();
    assert_eq!(kinds, ["token_issued", "topology_set"]);
    assert_eq!(read("after=1").await, all[1..]);
    assert_eq!(read("limit=1").await, all[..1]);
    assert_eq!(read("limit=0").await, all[..1], "at least one");
    assert!(read("after=2").await.is_empty());
    assert!(read("after=18446744073709551615").await.is_empty());
    let (woken, ()) = tokio::join!(read("after=2&wait_ms=40000"), async {
        ask(&server, "/v1/freezes", json!({ "reason": "" }))
            .await
            .unwrap();
    });
    assert_eq!(woken[0]["event"]["type"], "frozen");
    assert_eq!(woken[0]["seq"], 3);
    server.stop().await;
}
