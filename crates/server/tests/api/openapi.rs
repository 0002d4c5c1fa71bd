//! The API's own description, held against the API.

use std::collections::BTreeSet;

use http::Method;
use model::{Generation, Role};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Server, enrolment, raw};

fn document() -> Value {
    serde_json::to_value(server::openapi()).unwrap()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get("$ref") {
                found.insert(target.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn it_is_of_version_3_1_and_every_reference_leads_somewhere() {
    let document = document();
    let version = document["openapi"].as_str().unwrap();
    assert!(version.starts_with("3.1."), "{version}");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in &found {
        let pointer = reference.strip_prefix('#').expect("nothing is elsewhere");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in schemas.keys() {
        let reference = format!("#/components/schemas/{name}");
        assert!(found.contains(&reference), "{name} is used nowhere");
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let place = format!("{method} {path}");
            let words = operation["summary"]
                .as_str()
                .or(operation["description"].as_str());
            assert!(
                words.is_some_and(|words| !words.is_empty()),
                "{place} says what it does"
            );
            let parameters = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let declared: BTreeSet<_> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect();
            let named = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            assert_eq!(declared, named.map(str::to_owned).collect(), "{place}");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                if status.starts_with('4') && status != "416" || status.starts_with('5') {
                    let problem = &answer["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(problem, "#/components/schemas/Problem", "{place} {status}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_documented_is_served_and_what_is_served_is_documented() {
    let server = Server::start().await;
    let live = raw(Method::GET, server.url("/v1/openapi.json"))
        .send()
        .await
        .unwrap();
    let live: Value = live.json().await.unwrap();
    assert_eq!(live, document());
    let methods = [
        Method::GET,
        Method::PUT,
        Method::POST,
        Method::DELETE,
        Method::PATCH,
    ];
    for (path, documented) in live["paths"].as_object().unwrap() {
        let real = path
            .replace("{host}", "web-1")
            .replace("{gateway}", "edge-1")
            .replace("{source}", "shop")
            .replace("{id}", "1")
            .replace("{digest}", &"0".repeat(64));
        for method in &methods {
            let known = documented.get(method.as_str().to_lowercase()).is_some();
            let request = raw(method.clone(), server.url(&real)).send().await.unwrap();
            let status = request.status().as_u16();
            let words = request.text().await.unwrap();
            let place = format!("{method} {path}: {status} {words}");
            assert!(!words.contains("there is nothing at this path"), "{place}");
            assert_eq!(status != 405, known, "{place}");
        }
    }
    // The other way round: the routes as they stand in the source.
    // (Alertmanager's, in a file of their own, are documented with Alertmanager.)
    let source = include_str!("../../src/api.rs");
    let parts = source.split(".route(").skip(1);
    let routed: BTreeSet<_> = parts.map(|part| part.split('"').nth(1).unwrap()).collect();
    let documented = live["paths"].as_object().unwrap();
    assert_eq!(routed, documented.keys().map(String::as_str).collect());
    server.stop().await;
}

/// What the document says an answer looks like.
fn validator(document: &Value, method: &Method, path: &str, status: u16) -> jsonschema::Validator {
    let responses = &document["paths"][path][method.as_str().to_lowercase()]["responses"];
    let exact = responses.get(status.to_string());
    let answer = exact.or_else(|| responses.get(format!("{}XX", status / 100)));
    let answer = answer.unwrap_or_else(|| panic!("{method} {path} does not say {status}"));
    let content = answer["content"].as_object().unwrap();
    let (_, content) = content.iter().next().unwrap();
    let schema = json!({
        "allOf": [content["schema"]],
        "components": document["components"],
    });
    jsonschema::draft202012::new(&schema).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_answers_are_as_documented() {
    let server = Server::start().await;
    let document = document();
    let agents = server.join_all().await;
    let good = server.good(&agents, "first").await;
    let second = server.propose("second").await.unwrap();
    agents[0].order_above(Generation(1)).await;
    let gateway = server.with_role(Role::Agent).await;
    let (operator, host) = (&server.operator, &agents[0].client);
    let join = server.join_token("web-1", 60).await;
    let key = wire::SecretKey::generate().unwrap();
    let proposal = json!({ "bundle": server.upload("third").await, "message": "" });
    let counts = json!({ "environment": "production", "epoch_ms": 1, "rows": [] });
    let counts_by_second = json!({ "environment": "production", "epoch_ms": 1,
        "ticks": [{ "seq": 1, "age_ms": 0, "cells": [] }] });
    let lift = json!({ "service": "api", "digest": second.digest, "reason": "" });
    let frozen = json!({ "reason": "fair day" });
    let release = "/v1/releases/{id}";
    let beat = json!({ "services": [] });
    let (none, get, post, put) = (Value::Null, Method::GET, Method::POST, Method::PUT);
    let asked = [
        (
            operator,
            &get,
            "/v1/releases",
            "/v1/releases",
            none.clone(),
            200,
        ),
        (operator, &get, release, "/v1/releases/1", none.clone(), 200),
        (operator, &get, release, "/v1/releases/9", none.clone(), 404),
        (
            operator,
            &post,
            "/v1/releases",
            "/v1/releases",
            proposal.clone(),
            409,
        ),
        (
            operator,
            &post,
            "/v1/checks",
            "/v1/checks",
            json!({ "bundle": proposal["bundle"] }),
            200,
        ),
        (
            operator,
            &get,
            "/v1/releases/{id}/attestation",
            "/v1/releases/1/attestation",
            none.clone(),
            200,
        ),
        (
            operator,
            &get,
            "/v1/releases/{id}/attestation",
            "/v1/releases/2/attestation",
            none.clone(),
            409,
        ),
        (
            operator,
            &get,
            "/v1/releases/{id}/verdict",
            "/v1/releases/1/verdict",
            none.clone(),
            200,
        ),
        (
            operator,
            &get,
            "/v1/releases/{id}/verdict",
            "/v1/releases/2/verdict",
            none.clone(),
            200,
        ),
        (
            operator,
            &get,
            "/v1/releases/{id}/verdict",
            "/v1/releases/9/verdict",
            none.clone(),
            404,
        ),
        (
            operator,
            &post,
            "/v1/releases/{id}/continue",
            "/v1/releases/9/continue",
            json!({ "reason": "I looked" }),
            404,
        ),
        (
            operator,
            &post,
            "/v1/plan",
            "/v1/plan",
            json!({ "service": "api" }),
            200,
        ),
        (
            &gateway,
            &post,
            "/v1/sources/{source}/ticks",
            "/v1/sources/shop/ticks",
            counts_by_second,
            200,
        ),
        (
            operator,
            &post,
            "/v1/approvals",
            "/v1/approvals",
            json!({ "release": 2, "binds": good.digest }),
            409,
        ),
        (
            operator,
            &post,
            "/v1/break-glass",
            "/v1/break-glass",
            json!({ "service": "api", "gates": ["freeze"], "reason": "the fair burns" }),
            201,
        ),
        (
            operator,
            &post,
            "/v1/break-glass/{id}/confirm",
            "/v1/break-glass/1/confirm",
            none.clone(),
            409,
        ),
        (
            operator,
            &post,
            "/v1/break-glass/{id}/review",
            "/v1/break-glass/1/review",
            json!({ "words": "not needed" }),
            200,
        ),
        (
            operator,
            &post,
            "/v1/rollbacks",
            "/v1/rollbacks",
            json!({ "service": "api" }),
            200,
        ),
        (operator, &get, release, "/v1/releases/2", none.clone(), 200),
        (
            operator,
            &get,
            "/v1/status",
            "/v1/status",
            none.clone(),
            200,
        ),
        (
            operator,
            &post,
            "/v1/quarantine/lift",
            "/v1/quarantine/lift",
            lift.clone(),
            200,
        ),
        (
            operator,
            &post,
            "/v1/quarantine/lift",
            "/v1/quarantine/lift",
            lift,
            404,
        ),
        (
            operator,
            &post,
            "/v1/freezes",
            "/v1/freezes",
            frozen.clone(),
            200,
        ),
        (
            operator,
            &get,
            "/v1/status",
            "/v1/status",
            none.clone(),
            200,
        ),
        (operator, &post, "/v1/thaws", "/v1/thaws", frozen, 200),
        (operator, &get, "/v1/hosts", "/v1/hosts", none.clone(), 200),
        (
            operator,
            &get,
            "/v1/topology",
            "/v1/topology",
            none.clone(),
            200,
        ),
        (
            operator,
            &put,
            "/v1/topology",
            "/v1/topology",
            json!(crate::support::fleet()),
            200,
        ),
        (
            operator,
            &get,
            "/v1/journal",
            "/v1/journal?limit=1000",
            none.clone(),
            200,
        ),
        (
            operator,
            &post,
            "/v1/tokens",
            "/v1/tokens",
            json!({ "name": "x", "role": "viewer" }),
            201,
        ),
        (
            operator,
            &post,
            "/v1/join-tokens",
            "/v1/join-tokens",
            json!({ "host": "web-2" }),
            201,
        ),
        (
            operator,
            &post,
            "/v1/blobs/missing",
            "/v1/blobs/missing",
            json!({ "digests": [good.digest] }),
            200,
        ),
        (
            operator,
            &post,
            "/v1/agents/enrol",
            "/v1/agents/enrol",
            json!(enrolment("web-1", &join, &key)),
            201,
        ),
        (
            host,
            &get,
            "/v1/agents/{host}/whoami",
            "/v1/agents/test-1/whoami",
            none.clone(),
            200,
        ),
        (
            host,
            &get,
            "/v1/agents/{host}/orders",
            "/v1/agents/test-1/orders",
            none.clone(),
            200,
        ),
        (
            host,
            &post,
            "/v1/agents/{host}/heartbeat",
            "/v1/agents/test-1/heartbeat",
            beat,
            200,
        ),
        (
            host,
            &post,
            "/v1/agents/{host}/reports",
            "/v1/agents/test-1/reports",
            json!({ "reports": [] }),
            200,
        ),
        (
            host,
            &post,
            "/v1/agents/{host}/results",
            "/v1/agents/test-1/results",
            json!({ "results": [] }),
            200,
        ),
        (
            host,
            &post,
            "/v1/agents/{host}/confirm",
            "/v1/agents/test-1/confirm",
            json!({}),
            400,
        ),
        (
            &gateway,
            &get,
            "/v1/gateways/{gateway}/routes",
            "/v1/gateways/edge-1/routes?environment=production",
            none.clone(),
            200,
        ),
        (
            &gateway,
            &post,
            "/v1/gateways/{gateway}/counts",
            "/v1/gateways/edge-1/counts",
            counts,
            200,
        ),
        (&gateway, &get, "/healthz", "/healthz", none.clone(), 200),
        (&gateway, &get, "/readyz", "/readyz", none.clone(), 200),
        (&gateway, &get, "/v1/status", "/v1/status", none, 403),
    ];
    for (client, method, template, path, body, wanted) in asked {
        let bytes = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = client.request(method.clone(), path, bytes.into(), PATIENCE);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let answer: Value = response.json().await.unwrap();
        let place = format!("{method} {path}: {status} {answer}");
        assert_eq!(status, wanted, "{place}");
        let wanted = if status < 400 {
            "application/json"
        } else {
            "application/problem+json"
        };
        assert_eq!(kind, wanted, "{place}");
        let validator = validator(&document, method, template, status);
        let errors: Vec<_> = validator
            .iter_errors(&answer)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{place}: {errors:?}");
    }
    server.stop().await;
}

#[test]
fn the_schemas_can_say_no() {
    let document = document();
    let validator = validator(&document, &Method::GET, "/v1/releases/{id}", 200);
    assert!(!validator.is_valid(&json!({ "id": "one" })));
    assert!(!validator.is_valid(&json!([])));
}
