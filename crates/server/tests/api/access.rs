//! Who may do what.

use std::collections::BTreeSet;

use http::Method;
use http::header::AUTHORIZATION;
use model::refusal::Code;
use model::{Digest, Role, Timestamp};
use serde_json::{Value, json};
use wire::api::WhoAmI;
use wire::{Identity, SecretKey};

use crate::support::{Server, bundle, code, problem, raw, status};

/// Who an endpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Everybody,
    /// Whoever bears a token that covers this role.
    Bearer(Role),
    /// The host in the path, by its own signature.
    Host,
    /// A host that has joined, or a bearer of this role.
    HostOr(Role),
}

/// A time that is past.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Every operation: method, template, a path that fits it, a body that can be read, and whom it is for.
fn operations() -> Vec<(Method, &'static str, String, Value, For)> {
    use For::{Bearer, Everybody, Host, HostOr};
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let digest = Digest::of(b"");
    let blob = format!("/v1/blobs/{digest}");
    let freeze = json!({ "service": "apu", "reason": "" });
    let proposal = json!({ "bundle": bundle("never uploaded"), "message": "" });
    let check = json!({ "bundle": bundle("never uploaded") });
    let approval = json!({ "release": 1, "binds": digest });
    let glass = json!({ "service": "apu", "gates": ["freeze"], "reason": "" });
    let drain = json!({ "service": "apu", "host": "web-1", "reason": "" });
    let lift = json!({ "service": "api", "digest": digest, "reason": "" });
    let enrol = json!({ "host": "web-1", "join_token": "", "public_key": "", "peer_address": "",
        "adopted": {}, "fence": 0 });
    let counts = json!({ "environment": "production", "epoch_ms": 1, "rows": [] });
    let row = |method: &Method, template, body: &Value, who| {
        let path = match template {
            "/v1/releases/{id}" => "/v1/releases/1".to_owned(),
            "/v1/incidents/{id}" => "/v1/incidents/1".to_owned(),
            "/v1/incidents/{id}/words" => "/v1/incidents/1/words".to_owned(),
            "/ack/{ticket}" => "/ack/1.ada.00".to_owned(),
            "/v1/releases/{id}/attestation" => "/v1/releases/1/attestation".to_owned(),
            "/v1/releases/{id}/countersignatures" => "/v1/releases/1/countersignatures".to_owned(),
            "/v1/releases/{id}/verdict" => "/v1/releases/1/verdict".to_owned(),
            "/v1/releases/{id}/continue" => "/v1/releases/1/continue".to_owned(),
            "/v1/sources/{source}/ticks" => "/v1/sources/shop/ticks".to_owned(),
            "/v1/restarts/{id}" => "/v1/restarts/1".to_owned(),
            "/v1/break-glass/{id}/confirm" => "/v1/break-glass/1/confirm".to_owned(),
            "/v1/break-glass/{id}/review" => "/v1/break-glass/1/review".to_owned(),
            "/v1/blobs/{digest}" => blob.clone(),
            "/v1/gateways/{gateway}/routes" => {
                "/v1/gateways/edge-1/routes?environment=production".to_owned()
            }
            "/v1/gateways/{gateway}/counts" => "/v1/gateways/edge-1/counts".to_owned(),
            other => other.replace("{host}", "web-1"),
        };
        (method.clone(), template, path, body.clone(), who)
    };
    let none = Value::Null;
    vec![
        row(&post, "/v1/releases", &proposal, Bearer(Role::Author)),
        row(&post, "/v1/checks", &check, Bearer(Role::Author)),
        row(&post, "/v1/approvals", &approval, Bearer(Role::Approver)),
        row(
            &get,
            "/v1/releases/{id}/attestation",
            &none,
            Bearer(Role::Viewer),
        ),
        row(
            &post,
            "/v1/releases/{id}/countersignatures",
            &json!({ "keyid": "", "sig": "" }),
            Bearer(Role::Approver),
        ),
        row(&get, "/v1/traffic", &none, Bearer(Role::Viewer)),
        row(&get, "/v1/restarts/{id}", &none, Bearer(Role::Viewer)),
        row(
            &post,
            "/v1/restarts",
            &json!({ "service": "apu", "reason": "" }),
            Bearer(Role::Operator),
        ),
        row(
            &post,
            "/v1/restarts/stop",
            &json!({ "service": "apu" }),
            Bearer(Role::Operator),
        ),
        row(&post, "/v1/traffic/drain", &drain, Bearer(Role::Operator)),
        row(&post, "/v1/traffic/undrain", &drain, Bearer(Role::Operator)),
        row(
            &post,
            "/v1/traffic/shift",
            &json!({ "service": "apu", "away_from": digest, "reason": "" }),
            Bearer(Role::Operator),
        ),
        row(
            &post,
            "/v1/traffic/ramp",
            &json!({ "service": "apu", "open_permille": 250, "reason": "" }),
            Bearer(Role::Operator),
        ),
        row(&post, "/v1/break-glass", &glass, Bearer(Role::Operator)),
        row(
            &post,
            "/v1/break-glass/{id}/confirm",
            &none,
            Bearer(Role::Operator),
        ),
        row(
            &post,
            "/v1/break-glass/{id}/review",
            &json!({ "words": "" }),
            Bearer(Role::Operator),
        ),
        row(&get, "/v1/releases", &none, Bearer(Role::Viewer)),
        row(&get, "/v1/releases/{id}", &none, Bearer(Role::Viewer)),
        row(
            &post,
            "/v1/rollbacks",
            &json!({ "service": "apu" }),
            Bearer(Role::Operator),
        ),
        row(&post, "/v1/freezes", &freeze, Bearer(Role::Operator)),
        row(&post, "/v1/thaws", &freeze, Bearer(Role::Operator)),
        row(&post, "/v1/quarantine/lift", &lift, Bearer(Role::Operator)),
        row(&get, "/v1/bundles/{digest}", &none, Bearer(Role::Viewer)),
        row(&get, "/v1/status", &none, Bearer(Role::Viewer)),
        row(&get, "/v1/hosts", &none, Bearer(Role::Viewer)),
        row(&get, "/v1/topology", &none, Bearer(Role::Viewer)),
        row(
            &put,
            "/v1/topology",
            &json!(crate::support::fleet()),
            Bearer(Role::Operator),
        ),
        row(
            &post,
            "/v1/tokens",
            &json!({ "name": "x", "role": "viewer" }),
            Bearer(Role::Operator),
        ),
        row(
            &post,
            "/v1/join-tokens",
            &json!({ "host": "web-2" }),
            Bearer(Role::Operator),
        ),
        row(&get, "/v1/journal", &none, Bearer(Role::Viewer)),
        row(&post, "/v1/agents/enrol", &enrol, Everybody),
        row(&get, "/v1/agents/{host}/whoami", &none, Host),
        row(&get, "/v1/agents/{host}/orders", &none, Host),
        row(&get, "/v1/agents/{host}/events", &none, Host),
        row(&post, "/v1/agents/{host}/confirm", &none, Host),
        row(&post, "/v1/agents/{host}/reports", &none, Host),
        row(&post, "/v1/agents/{host}/results", &none, Host),
        row(&post, "/v1/agents/{host}/heartbeat", &none, Host),
        row(
            &get,
            "/v1/gateways/{gateway}/routes",
            &none,
            Bearer(Role::Agent),
        ),
        row(
            &post,
            "/v1/gateways/{gateway}/counts",
            &counts,
            Bearer(Role::Agent),
        ),
        row(
            &post,
            "/v1/sources/{source}/ticks",
            &json!({ "environment": "production", "epoch_ms": 1, "ticks": [] }),
            Bearer(Role::Agent),
        ),
        row(
            &get,
            "/v1/releases/{id}/verdict",
            &none,
            Bearer(Role::Viewer),
        ),
        row(
            &post,
            "/v1/releases/{id}/continue",
            &json!({ "reason": "" }),
            Bearer(Role::Operator),
        ),
        row(
            &post,
            "/v1/plan",
            &json!({ "service": "api" }),
            Bearer(Role::Viewer),
        ),
        row(&get, "/v1/incidents", &none, Bearer(Role::Viewer)),
        row(
            &post,
            "/v1/incidents",
            &json!({ "title": "slow", "severity": "sev2" }),
            Bearer(Role::Author),
        ),
        row(&get, "/v1/incidents/{id}", &none, Bearer(Role::Viewer)),
        row(
            &post,
            "/v1/incidents/{id}/words",
            &json!({ "say": "note", "words": "" }),
            Bearer(Role::Author),
        ),
        row(&get, "/v1/oncall", &none, Bearer(Role::Author)),
        row(
            &put,
            "/v1/oncall",
            &json!({ "setup": {} }),
            Bearer(Role::Operator),
        ),
        row(
            &post,
            "/v1/oncall/take",
            &json!({ "schedule": "main", "contact": "ada" }),
            Bearer(Role::Author),
        ),
        row(
            &post,
            "/v1/oncall/swap",
            &json!({ "schedule": "main", "one": EPOCH, "other": EPOCH }),
            Bearer(Role::Author),
        ),
        row(
            &post,
            "/v1/oncall/override",
            &json!({ "schedule": "main", "contact": "ada", "from": EPOCH, "until": EPOCH }),
            Bearer(Role::Author),
        ),
        row(
            &post,
            "/v1/oncall/override/remove",
            &json!({ "schedule": "main", "id": 1 }),
            Bearer(Role::Author),
        ),
        row(
            &post,
            "/v1/oncall/test",
            &json!({ "contact": "ada" }),
            Bearer(Role::Author),
        ),
        row(
            &post,
            "/v1/alerts/webhook",
            &json!({ "alerts": [] }),
            Bearer(Role::Agent),
        ),
        // Its senders put their token into the body.
        row(&post, "/v2/enqueue", &none, Everybody),
        // The link itself is the proof.
        row(&get, "/ack/{ticket}", &none, Everybody),
        row(&post, "/ack/{ticket}", &none, Everybody),
        row(&put, "/v1/blobs/{digest}", &none, Bearer(Role::Author)),
        row(&get, "/v1/blobs/{digest}", &none, HostOr(Role::Viewer)),
        row(
            &post,
            "/v1/blobs/missing",
            &json!({ "digests": [] }),
            Bearer(Role::Author),
        ),
        row(&get, "/v1/openapi.json", &none, Everybody),
        row(&get, "/healthz", &none, Everybody),
        row(&get, "/readyz", &none, Everybody),
        row(&get, "/metrics", &none, Everybody),
    ]
}

fn body_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        other => other.to_string().into_bytes(),
    }
}

#[test]
fn every_operation_has_its_row() {
    let document = serde_json::to_value(server::openapi()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            documented.insert((method.to_uppercase(), path.clone()));
        }
    }
    let tested: BTreeSet<_> = operations()
        .into_iter()
        .map(|(method, template, ..)| (method.to_string(), template.to_owned()))
        .collect();
    assert_eq!(tested, documented);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_do_what_is_its_own_and_no_more() {
    let server = Server::start().await;
    server
        .operator
        .put_blob(Digest::of(b""), Default::default())
        .await
        .unwrap();
    let mut clients = Vec::new();
    for role in Role::ALL {
        clients.push((role, server.with_role(role).await));
    }
    for (role, client) in &clients {
        for (method, template, path, body, who) in operations() {
            let allowed = match who {
                For::Everybody => true,
                For::Bearer(needed) | For::HostOr(needed) => role.covers(needed),
                For::Host => false,
            };
            let request = client.request(
                method.clone(),
                &path,
                body_of(&body).into(),
                crate::support::PATIENCE,
            );
            let response = request.send().await.unwrap();
            let answer = response.status().as_u16();
            let place = format!("{role} {method} {template}: {answer}");
            match who {
                For::Everybody | For::Bearer(_) | For::HostOr(_) if allowed => {
                    assert!(
                        !matches!(answer, 401 | 403 | 405) || template.ends_with("enrol"),
                        "{place}"
                    );
                }
                For::Host => {
                    assert_eq!(answer, 401, "{place}");
                    assert_eq!(problem(response).await.code, "unauthenticated");
                }
                For::Everybody | For::Bearer(_) | For::HostOr(_) => {
                    assert_eq!(answer, 403, "{place}");
                    assert_eq!(problem(response).await.code, "wrong-role");
                }
            }
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_valid_token_there_is_nothing() {
    let server = Server::start().await;
    let strangers = [
        None,
        Some("Bearer pls_0000".to_owned()),
        Some("Bearer ".to_owned()),
        Some(format!("Basic {}", server.token)),
        Some(format!("Bearer {}x", server.token)),
        Some("Plimsoll-Agent web-1 nonsense".to_owned()),
    ];
    for (method, template, path, body, who) in operations() {
        if who == For::Everybody {
            continue;
        }
        for header in &strangers {
            let mut request = raw(method.clone(), server.url(&path)).body(body_of(&body));
            if let Some(header) = header {
                request = request.header(AUTHORIZATION, header);
            }
            let response = request.send().await.unwrap();
            let place = format!("{header:?} {method} {template}");
            assert_eq!(response.status(), 401, "{place}");
            assert_eq!(problem(response).await.code, "unauthenticated", "{place}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_speaks_for_itself_alone() {
    let server = Server::start().await;
    let agent = server.join("web-1").await;
    let me: WhoAmI = agent.client.get(&agent.path("whoami")).await.unwrap();
    assert_eq!(me.host, agent.name);

    for (method, template, ..) in operations() {
        let Some(rest) = template.strip_prefix("/v1/agents/{host}/") else {
            continue;
        };
        let path = format!("/v1/agents/web-2/{rest}");
        let request =
            agent
                .client
                .request(method, &path, Default::default(), crate::support::PATIENCE);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 403, "{template}");
        assert_eq!(problem(response).await.code, "wrong-role", "{template}");
    }
    // What is for people's tokens is not for hosts.
    let refused = agent.client.get::<Value>("/v1/status").await.unwrap_err();
    assert_eq!(code(&refused), Code::Unauthenticated);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_covers_host_key_clock_method_path_and_body() {
    let server = Server::start().await;
    let agent = server.join("web-1").await;
    let stranger = SecretKey::generate().unwrap();
    let (path, body) = (agent.path("heartbeat"), br#"{"services":[]}"#);
    let now = Timestamp::now().as_millisecond();
    let skew = wire::sign::REQUEST_SKEW_MS_MAX;
    let sign = |key: &SecretKey, host, method, path: &str, at_ms| {
        key.authorize(host, method, path, at_ms, body)
    };
    let cases = [
        (200, "", sign(&agent.key, "web-1", "POST", &path, now)),
        (
            200,
            "",
            sign(&agent.key, "web-1", "POST", &path, now - skew / 2),
        ),
        (
            401,
            "unauthenticated",
            sign(&agent.key, "web-1", "POST", &path, now - 2 * skew),
        ),
        (
            401,
            "unauthenticated",
            sign(&agent.key, "web-1", "POST", &path, now + 2 * skew),
        ),
        (
            401,
            "unauthenticated",
            sign(&agent.key, "web-1", "POST", &path, i64::MIN),
        ),
        (
            401,
            "bad-signature",
            sign(&stranger, "web-1", "POST", &path, now),
        ),
        (
            401,
            "bad-signature",
            sign(&agent.key, "web-1", "GET", &path, now),
        ),
        (
            401,
            "bad-signature",
            sign(&agent.key, "web-1", "POST", &format!("{path}?a=b"), now),
        ),
        // Declared, but not joined; and no name at all.
        (
            404,
            "unknown-host",
            sign(&agent.key, "web-2", "POST", &path, now),
        ),
        (
            404,
            "unknown-host",
            sign(&agent.key, "../web-1", "POST", &path, now),
        ),
    ];
    for (wanted, words, header) in cases {
        let request = raw(Method::POST, server.url(&path)).body(body.to_vec());
        let response = request.header(AUTHORIZATION, &header).send().await.unwrap();
        assert_eq!(response.status(), wanted, "{header}");
        if wanted != 200 {
            assert_eq!(problem(response).await.code, words, "{header}");
        }
    }
    // The body as it was signed, then with one byte more.
    let header = sign(&agent.key, "web-1", "POST", &path, now);
    let request = raw(Method::POST, server.url(&path)).body([&body[..], b" "].concat());
    let response = request.header(AUTHORIZATION, header).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(problem(response).await.code, "bad-signature");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_have_names_and_known_roles() {
    let server = Server::start().await;
    for (body, wanted) in [
        (json!({ "name": " ", "role": "viewer" }), 400),
        (json!({ "name": "x", "role": "root" }), 400),
        (json!({ "name": "x", "role": "viewer", "more": 1 }), 400),
        (json!({ "name": "x".repeat(5000), "role": "viewer" }), 413),
    ] {
        let refused = server.operator.post::<_, Value>("/v1/tokens", &body).await;
        assert_eq!(status(&refused.unwrap_err()), wanted, "{wanted}");
    }
    // A token's name is the author of what is done with it.
    let body = json!({ "name": "ada", "role": "operator" });
    let answer: Value = server.operator.post("/v1/tokens", &body).await.unwrap();
    let token = answer["token"].as_str().unwrap().to_owned();
    let ada = server.operator.as_identity(Identity::Bearer(token));
    let freeze = json!({ "reason": "fair day" });
    let _: Value = ada.post("/v1/freezes", &freeze).await.unwrap();
    assert_eq!(server.journaled("frozen").await[0]["by"]["name"], "ada");
    server.stop().await;
}
