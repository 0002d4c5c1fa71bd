//! Requests as gateways count them, and what operators look at.

use http::Method;
use model::{Digest, EnvironmentName, Generation, Role, TenantName};
use serde_json::Value;
use wire::Client;
use wire::api::{CountRow, CountsAnswer, CountsRequest};

use crate::support::{PATIENCE, Server, problem, raw, status};

struct Gateway {
    client: Client,
    epoch_ms: u64,
}

impl Gateway {
    async fn post(&self, rows: Vec<CountRow>) -> bool {
        let request = CountsRequest {
            applied: None,
            environment: "production".parse::<EnvironmentName>().unwrap(),
            epoch_ms: self.epoch_ms,
            rows,
            ticks: Vec::new(),
        };
        let path = "/v1/gateways/edge-1/counts";
        let answer: CountsAnswer = self.client.post(path, &request).await.unwrap();
        answer.send_all
    }
}

fn row(digest: Digest, tenant: &str, requests: u64, failed: u64) -> CountRow {
    CountRow {
        service: "api".parse().unwrap(),
        digest,
        tenant: TenantName(tenant.into()),
        requests,
        failed,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_stay_exact_over_repeats_and_restarts_of_a_gateway() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let release = server.propose("first").await.unwrap();
    let client = server.with_role(Role::Agent).await;
    let mut gateway = Gateway {
        client,
        epoch_ms: 1_000,
    };
    let seen = async || {
        let exposure = server.view(release.id).await.exposure;
        let tenants = (exposure.tenants, exposure.tenants_hit);
        (exposure.requests, exposure.failed, tenants)
    };
    let digest = release.digest;
    assert!(
        gateway.post(vec![row(digest, "ada", 10, 0)]).await,
        "not met before"
    );
    assert_eq!(seen().await, (10, 0, (1, 0)));
    for _ in 0..3 {
        let rows = vec![row(digest, "ada", 12, 1), row(digest, "bob", 5, 0)];
        assert!(!gateway.post(rows).await);
        assert_eq!(seen().await, (17, 1, (2, 1)));
    }
    // Other bundles and other services are others' affair.
    let other = vec![row(Digest::of(b"other"), "ada", 99, 9)];
    assert!(!gateway.post(other).await);
    assert_eq!(seen().await, (17, 1, (2, 1)));
    let exposure = server.view(release.id).await.exposure;
    assert!(exposure.tenants_exact && exposure.requests_exact);
    // More failed than asked can't be.
    gateway.post(vec![row(digest, "bob", 6, 60)]).await;
    assert_eq!(seen().await, (18, 7, (2, 2)));
    // Began anew: its totals start at zero and add.
    gateway.epoch_ms = 2_000;
    assert!(
        gateway.post(vec![row(digest, "ada", 3, 0)]).await,
        "a new run"
    );
    assert_eq!(seen().await, (21, 7, (2, 2)));
    assert!(!gateway.post(vec![row(digest, "ada", 4, 0)]).await);
    assert_eq!(seen().await, (22, 7, (2, 2)));

    let request = CountsRequest {
        applied: None,
        environment: "production".parse().unwrap(),
        epoch_ms: 2_000,
        rows: (0..10_001)
            .map(|tenant| row(digest, &tenant.to_string(), 1, 0))
            .collect(),
        ticks: Vec::new(),
    };
    let path = "/v1/gateways/edge-1/counts";
    let refused = gateway
        .client
        .post::<_, Value>(path, &request)
        .await
        .unwrap_err();
    assert_eq!(status(&refused), 413);
    assert_eq!(seen().await, (22, 7, (2, 2)));
    agents[0].order_above(Generation(0)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_openmetrics() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let release = server.good(&agents, "first").await;
    let gateway = Gateway {
        client: server.with_role(Role::Agent).await,
        epoch_ms: 1,
    };
    gateway.post(vec![row(release.digest, "ada", 40, 3)]).await;
    let response = raw(Method::GET, server.url("/metrics"))
        .send()
        .await
        .unwrap();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        kind,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut declared = std::collections::BTreeMap::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(declared.insert(name, kind).is_none(), "{name} twice");
        } else if !line.starts_with("# ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            value.parse::<f64>().unwrap();
            let known = match declared.get(name.trim_end_matches("_total")) {
                Some(&"counter") => name.ends_with("_total"),
                kind => kind == Some(&"gauge"),
            };
            assert!(known && name.starts_with("plimsoll_"), "{line}");
        }
    }
    let bundle = release.digest.short();
    let labels = format!("environment=\"production\",service=\"api\",bundle=\"{bundle}\"");
    for line in [
        "plimsoll_hosts_enrolled 3".to_owned(),
        "plimsoll_releases_active 0".to_owned(),
        "plimsoll_freezes 0".to_owned(),
        format!("plimsoll_requests_total{{{labels}}} 40"),
        format!("plimsoll_requests_failed_total{{{labels}}} 3"),
        "plimsoll_api_requests_total{route=\"/v1/releases\",status=\"201\"} 1".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    // Routes are templates: whatever strangers ask for makes no new series.
    for path in ["/x", "/y"] {
        raw(Method::GET, server.url(path)).send().await.unwrap();
    }
    let text = raw(Method::GET, server.url("/metrics"))
        .send()
        .await
        .unwrap();
    let text = text.text().await.unwrap();
    assert!(text.contains("route=\"none\",status=\"404\"} 2"), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_alive_and_ready() {
    let server = Server::start().await;
    for (path, words) in [("/healthz", "alive"), ("/readyz", "ready")] {
        let response = raw(Method::GET, server.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["detail"], words);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_a_problem() {
    let server = Server::start().await;
    let nowhere = raw(Method::GET, server.url("/v1/releases/1/more"))
        .send()
        .await
        .unwrap();
    assert_eq!(nowhere.status(), 404);
    assert_eq!(problem(nowhere).await.code, "not-found");
    for (method, path) in [
        (Method::DELETE, "/v1/releases"),
        (Method::GET, "/v1/rollbacks"),
        (Method::POST, "/healthz"),
        (Method::PATCH, "/v1/topology"),
    ] {
        let request = raw(method.clone(), server.url(path)).timeout(PATIENCE);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 405, "{method} {path}");
        assert!(response.headers().contains_key("allow"), "{method} {path}");
        problem(response).await;
    }
    server.stop().await;
}

/// A gateway that can't tell all tenants apart counts the rest as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_tenants_than_can_be_told_apart_are_said_to_be_so() {
    let server = Server::start().await;
    server.join_all().await;
    let release = server.propose("first").await.unwrap();
    let client = server.with_role(Role::Agent).await;
    let gateway = Gateway {
        client,
        epoch_ms: 1_000,
    };
    let rows = vec![
        row(release.digest, "ada", 3, 0),
        row(release.digest, "~other", 9, 1),
    ];
    gateway.post(rows).await;
    let exposure = server.view(release.id).await.exposure;
    assert_eq!((exposure.requests, exposure.tenants), (12, 2));
    assert!(!exposure.tenants_exact && exposure.requests_exact);
}
