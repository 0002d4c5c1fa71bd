//! How a host's agent joins.

use model::refusal::Code;
use model::{Generation, Role};
use serde_json::{Value, json};
use wire::api::{EnrolAnswer, EnrolRequest, HostView, WhoAmI};
use wire::{Client, ClientError, Identity, SecretKey};

use crate::support::{Server, code, enrolment, status};

async fn enrol(server: &Server, request: &EnrolRequest) -> Result<EnrolAnswer, ClientError> {
    let nobody = server.operator.as_identity(Identity::Nobody);
    nobody.post("/v1/agents/enrol", request).await
}

fn as_host(server: &Server, host: &str, key: &SecretKey) -> Client {
    let identity = Identity::Host(host.parse().unwrap(), Box::new(key.clone()));
    server.operator.as_identity(identity)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_works_once() {
    let server = Server::start().await;
    let key = SecretKey::generate().unwrap();
    let token = server.join_token("web-1", 60).await;
    let request = enrolment("web-1", &token, &key);
    let answer = enrol(&server, &request).await.unwrap();
    assert_eq!(answer.control_key, server.started.control_key);
    let host = as_host(&server, "web-1", &key);
    let me: WhoAmI = host.get("/v1/agents/web-1/whoami").await.unwrap();
    assert_eq!(me.host.as_str(), "web-1");

    let again = enrol(&server, &request).await.unwrap_err();
    assert_eq!((status(&again), code(&again)), (401, Code::BadJoinToken));
    assert_eq!(server.journaled("host_enrolled").await.len(), 1);

    let hosts: Vec<HostView> = server.operator.get("/v1/hosts").await.unwrap();
    let joined: Vec<_> = hosts
        .iter()
        .map(|host| (host.name.as_str(), host.enrolled))
        .collect();
    assert_eq!(
        joined,
        [("test-1", false), ("web-1", true), ("web-2", false)]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_again_replaces_the_key() {
    let server = Server::start().await;
    let first = server.join("web-1").await;
    let second = server.join("web-1").await;
    let _: WhoAmI = second.client.get("/v1/agents/web-1/whoami").await.unwrap();
    let refused = first.client.get::<WhoAmI>("/v1/agents/web-1/whoami").await;
    assert_eq!(code(&refused.unwrap_err()), Code::BadSignature);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_is_for_one_host_and_for_a_while() {
    let server = Server::start().await;
    let key = SecretKey::generate().unwrap();
    let token = server.join_token("web-1", 60).await;
    let elsewhere = enrol(&server, &enrolment("web-2", &token, &key)).await;
    assert_eq!(code(&elsewhere.unwrap_err()), Code::BadJoinToken);
    let invented = enrol(&server, &enrolment("web-1", "pls_00", &key)).await;
    assert_eq!(code(&invented.unwrap_err()), Code::BadJoinToken);
    // A person's token is none.
    let person = enrol(&server, &enrolment("web-1", &server.token, &key)).await;
    assert_eq!(code(&person.unwrap_err()), Code::BadJoinToken);
    // None of these tries used it up; a newer token for the host makes it void.
    let newer = server.join_token("web-1", 60).await;
    let older = enrol(&server, &enrolment("web-1", &token, &key)).await;
    assert_eq!(code(&older.unwrap_err()), Code::BadJoinToken);
    enrol(&server, &enrolment("web-1", &newer, &key))
        .await
        .unwrap();
    let void = server.join_token("web-1", 0).await;
    let expired = enrol(&server, &enrolment("web-1", &void, &key)).await;
    assert_eq!(code(&expired.unwrap_err()), Code::BadJoinToken);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_do_not_join() {
    let server = Server::start().await;
    let key = SecretKey::generate().unwrap();
    let body = json!({ "host": "web-9" });
    let refused = server
        .operator
        .post::<_, Value>("/v1/join-tokens", &body)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (404, Code::UnknownHost));
    let token = server.join_token("web-1", 60).await;
    let refused = enrol(&server, &enrolment("web-9", &token, &key)).await;
    assert_eq!(code(&refused.unwrap_err()), Code::UnknownHost);

    let mut request = enrolment("web-1", &token, &key);
    request.adopted = [("apu".parse().unwrap(), model::Digest::of(b""))].into();
    let refused = enrol(&server, &request).await;
    assert_eq!(code(&refused.unwrap_err()), Code::UnknownService);
    let mut request = enrolment("web-1", &token, &key);
    request.public_key = "no key".into();
    let refused = enrol(&server, &request).await;
    assert_eq!(code(&refused.unwrap_err()), Code::BadRequest);
    assert!(server.journaled("host_enrolled").await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_remembers_is_not_ordered_below_its_fence() {
    let server = Server::start().await;
    let key = SecretKey::generate().unwrap();
    let token = server.join_token("test-1", 60).await;
    let mut request = enrolment("test-1", &token, &key);
    request.fence = Generation(41);
    enrol(&server, &request).await.unwrap();
    let web = [server.join("web-1").await, server.join("web-2").await];
    server.propose("first").await.unwrap();
    let order = crate::support::until("an order for test-1", async || {
        let hosts: Vec<HostView> = server.operator.get("/v1/hosts").await.unwrap();
        let generation = hosts[0].services[0].generation;
        (generation > Generation(0)).then_some(generation)
    });
    assert!(order.await > Generation(41));
    drop(web);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_opens_no_door_for_people() {
    let server = Server::start().await;
    let token = server.join_token("web-1", 60).await;
    let bearer = server.operator.as_identity(Identity::Bearer(token));
    let refused = bearer.get::<Value>("/v1/status").await.unwrap_err();
    assert_eq!(code(&refused), Code::Unauthenticated);
    assert!(!Role::Agent.covers(Role::Viewer));
    server.stop().await;
}
