//! Proposing a change, and every way in which that is refused.

use std::time::Duration;

use http::Method;
use model::refusal::Code;
use model::{Bundle, Digest, Role, Topology};
use serde_json::{Value, json};
use wire::api::{ProposeRequest, ReleaseState, ReleaseView};
use wire::{Client, ClientError};

use crate::support::{Server, bundle, code, config, problem, raw, status};

async fn propose(client: &Client, bundle: Bundle) -> Result<ReleaseView, ClientError> {
    let request = ProposeRequest {
        break_glass: None,
        bundle,
        message: "why".into(),
        base: None,
    };
    client.propose(&request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_begins_at_once_and_names_its_author() {
    let server = Server::start().await;
    let author = server.with_role(Role::Author).await;
    let bundle = server.upload("first").await;
    let digest = bundle.digest();
    let view = propose(&author, bundle).await.unwrap();
    assert_eq!(view.id.0, 1);
    assert_eq!(view.digest, digest);
    assert_eq!(view.author, "the author");
    assert_eq!(view.state, ReleaseState::Rolling);
    let listed = author.releases(None).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, view.id);
    let other = "web".parse().unwrap();
    assert!(author.releases(Some(&other)).await.unwrap().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_begin_is_refused_with_the_reason() {
    let server = Server::start().await;
    let operator = &server.operator;

    let refused = propose(operator, bundle("never uploaded"))
        .await
        .unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (422, Code::MissingBlob));
    let blob = Digest::of(b"never uploaded").short();
    assert!(refused.to_string().contains(&blob), "{refused}");

    let mut unknown = server.upload("first").await;
    unknown.service = "apu".parse().unwrap();
    let refused = propose(operator, unknown).await.unwrap_err();
    assert_eq!(
        (status(&refused), code(&refused)),
        (404, Code::UnknownService)
    );
    assert!(refused.to_string().contains("known: api"), "{refused}");

    let mut invalid = server.upload("first").await;
    let file = invalid.files.values().next().unwrap().clone();
    invalid
        .files
        .insert("api.toml/below".parse().unwrap(), file.clone());
    invalid.files.insert("packages/x".parse().unwrap(), file);
    let refused = propose(operator, invalid).await.unwrap_err();
    assert_eq!(
        (status(&refused), code(&refused)),
        (422, Code::InvalidBundle)
    );
    let words = refused.to_string();
    assert!(
        words.contains("api.toml is both") && words.contains("packages/x"),
        "{words}"
    );

    let request = ProposeRequest {
        break_glass: None,
        bundle: server.upload("first").await,
        message: "x".repeat(4097),
        base: None,
    };
    let refused = operator.propose(&request).await.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (413, Code::TooLarge));

    let request = ProposeRequest {
        break_glass: None,
        base: Some(Digest::of(b"what the author saw")),
        message: "x".repeat(4096),
        ..request
    };
    let refused = operator.propose(&request).await.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (409, Code::BaseMoved));

    assert!(server.journaled("release_proposed").await.is_empty());
    server.propose("first").await.unwrap();
    let refused = server.propose("second").await.unwrap_err();
    assert_eq!(
        (status(&refused), code(&refused)),
        (409, Code::ReleaseInProgress)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_good_is_no_change_and_what_went_back_stays_away() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let good = server.good(&agents, "first").await;
    let refused = server.propose("first").await.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (409, Code::AlreadyGood));

    let request = ProposeRequest {
        break_glass: None,
        bundle: server.upload("second").await,
        message: String::new(),
        base: Some(good.digest),
    };
    let second = server.operator.propose(&request).await.unwrap();
    assert_eq!(second.base, Some(good.digest));
    agents[0].order_above(model::Generation(1)).await;
    let body = json!({ "service": "api", "reason": "orders fail" });
    let _: Value = server.operator.post("/v1/rollbacks", &body).await.unwrap();
    server
        .carry(&agents, second.id, ReleaseState::RolledBack)
        .await;
    let refused = server.propose("second").await.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (409, Code::Quarantined));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_without_a_test_host_is_no_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    let topology: &mut Topology = config.topology.as_mut().unwrap();
    topology.environments[0].hosts.clear();
    let server = Server::with(config).await;
    let refused = server.propose("first").await.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (422, Code::NoHosts));
    assert!(
        refused.to_string().contains("environment test"),
        "{refused}"
    );

    let mut alone = crate::support::fleet();
    alone.environments.remove(0);
    server.operator.set_topology(&alone).await.unwrap();
    let refused = server.propose("first").await.unwrap_err();
    assert_eq!(code(&refused), Code::NoHosts);
    alone.environments.push(alone.environments[0].clone());
    let refused = server.operator.set_topology(&alone).await.unwrap_err();
    assert_eq!(
        (status(&refused), code(&refused)),
        (422, Code::InvalidTopology)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_read_is_refused_with_its_place() {
    let server = Server::start().await;
    let post = async |body: String| {
        let request = raw(Method::POST, server.url("/v1/releases")).bearer_auth(&server.token);
        request.body(body).send().await.unwrap()
    };
    let proposal = |path: &str| {
        let mut body = json!({ "bundle": bundle("first"), "message": "" });
        let files = body["bundle"]["files"].as_object_mut().unwrap();
        let file = files.remove("api.toml").unwrap();
        files.insert(path.to_owned(), file);
        body.to_string()
    };
    let mut unknown = json!({ "bundle": bundle("first"), "message": "" });
    unknown["bundle"]["comands"] = json!({});
    for (body, words) in [
        ("{\n  \"message\": }".to_owned(), "at line 2 column 14"),
        (String::new(), "EOF"),
        ("{}".to_owned(), "missing field `bundle`"),
        ("{\"mesage\": \"\"}".to_owned(), "unknown field `mesage`"),
        (unknown.to_string(), "unknown field `comands`"),
        (proposal("../api.toml"), "leaves the bundle"),
        (proposal("conf/../../api.toml"), "leaves the bundle"),
        (proposal("/etc/passwd"), "absolute"),
        (proposal("conf//api.toml"), "empty part"),
        (proposal("conf\u{0}"), "control character"),
        ("[".repeat(100_000), "invalid type"),
    ] {
        let response = post(body).await;
        assert_eq!(response.status(), 400, "{words}");
        let problem = problem(response).await;
        assert_eq!(problem.code, "bad-request", "{words}");
        assert!(
            problem.detail.contains(words),
            "{words}: {}",
            problem.detail
        );
    }
    assert!(server.journaled("release_proposed").await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_too_large() {
    let server = Server::start().await;
    let at_limit = (4 << 20) - r#"{"message":""}"#.len();
    for (bytes, wanted) in [(at_limit, 400), (at_limit + 1, 413), (32 << 20, 413)] {
        let body = json!({ "message": "x".repeat(bytes) }).to_string();
        let request = raw(Method::POST, server.url("/v1/releases")).bearer_auth(&server.token);
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.status(), wanted, "{bytes}");
        problem(response).await;
    }
    // Signed requests have the same bound.
    let agent = server.join("web-1").await;
    let body = vec![b' '; (4 << 20) + 1];
    let path = agent.path("heartbeat");
    let request = agent
        .client
        .request(Method::POST, &path, body.into(), crate::support::PATIENCE);
    let response = request.send().await.unwrap();
    assert_eq!(problem(response).await.code, "too-large");
    // Whoever sent too much is not shut out.
    let fetched = server
        .operator
        .release(model::ReleaseId(1), "", Duration::ZERO)
        .await;
    assert_eq!(code(&fetched.unwrap_err()), Code::UnknownRelease);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_questions_are_answered_as_problems_too() {
    let server = Server::start().await;
    for (path, wanted) in [
        ("/v1/releases/none", 400),
        ("/v1/releases/-1", 400),
        ("/v1/releases/18446744073709551615", 404),
        ("/v1/releases/1?wait_ms=soon", 400),
        ("/v1/releases/%ff", 400),
        ("/v1/releases?service=A%20B", 400),
        ("/v1/journal?after=x", 400),
        ("/v1/journal?limit=-1", 400),
        ("/v1/blobs/ABC", 400),
        ("/v1/blobs/..%2f..%2foperator.token", 400),
        ("/v1/nothing", 404),
        ("/", 404),
    ] {
        let request = raw(Method::GET, server.url(path)).bearer_auth(&server.token);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), wanted, "{path}");
        problem(response).await;
    }
    server.stop().await;
}
