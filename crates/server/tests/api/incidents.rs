//! From an alert to a message, an answer and a timeline, through a real control plane.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use http::Method;
use http::header::CONTENT_TYPE;
use model::Role;
use serde_json::{Value, json};
use wire::api::IncidentView;

use crate::support::{PATIENCE, Server, config, raw};

/// What the hook got: the message's key and its body.
type Got = Arc<Mutex<Vec<(String, Value)>>>;

/// A program that is told by webhook; it says no to the first `refusals` tries.
async fn hook(refusals: usize) -> (String, Got) {
    let got: Got = Arc::default();
    let (seen, left) = (got.clone(), Arc::new(Mutex::new(refusals)));
    let take = async move |headers: HeaderMap, body: String| {
        let key = headers["webhook-id"].to_str().unwrap().to_owned();
        let mut left = left.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let body = serde_json::from_str(&body).unwrap();
        seen.lock().unwrap().push((key, body));
        StatusCode::OK
    };
    let router = Router::new().route("/", post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, got)
}

/// A control plane that tells the hook.
async fn telling(url: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "geheim").unwrap();
    let text = format!(
        "public_url = \"https://plimsoll.example.com\"\nallow = [\"127.0.0.1\"]\n[webhook.hook]\nurl = \"{url}\"\nsecret_file = \"secret\"\n"
    );
    let mut config = config(&folder.path().join("data"));
    config.notify = Some((text, folder.path().to_owned()));
    let mut server = Server::with(config).await;
    let setup = json!({
        "contacts": {"ada": {"name": "Ada", "channels": [
            {"kind": "webhook", "address": "hook", "wait_ms": 60_000}]}},
        "policies": {"all": {"steps": [{"targets": [{"contact": "ada"}], "wait_ms": 300_000}]}},
        "default_policy": "all",
    });
    let (status, body) = send(
        &server,
        Method::PUT,
        "/v1/oncall",
        &json!({ "setup": setup }),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    server.keep(folder);
    server
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("never: {what}"))
}

fn alert(name: &str) -> Value {
    json!([{"labels": {"alertname": name, "service": "api", "severity": "critical"},
        "annotations": {"summary": "all requests fail"},
        "startsAt": "2026-11-21T07:24:19.632Z", "endsAt": "2126-11-21T07:24:33.632Z",
        "generatorURL": "http://prometheus/graph"}])
}

async fn send(server: &Server, method: Method, path: &str, body: &Value) -> (u16, String) {
    let request = raw(method, server.url(path))
        .header("authorization", format!("Bearer {}", server.token))
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.text().await.unwrap())
}

async fn post_alerts(server: &Server, body: &Value) -> (u16, String) {
    send(server, Method::POST, "/am/api/v2/alerts", body).await
}

async fn incident(server: &Server) -> IncidentView {
    server.operator.get("/v1/incidents/1").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_pages_once_is_acknowledged_by_its_link_and_has_a_timeline() {
    let (url, got) = hook(2).await;
    let server = telling(&url).await;
    assert_eq!(
        post_alerts(&server, &alert("Errors")).await,
        (200, String::new())
    );
    let (key, body) = until("the page arrives", async || {
        got.lock().unwrap().first().cloned()
    })
    .await;
    assert_eq!(key, "page.1.all.1.0.0webhook.ada");
    assert_eq!(body["data"]["title"], "[SEV1] api: all requests fail");
    let link = body["data"]["acknowledge"].as_str().unwrap().to_owned();
    let path = link.strip_prefix("https://plimsoll.example.com").unwrap();

    // Opening the link changes nothing; mail scanners do that.
    let page = raw(Method::GET, server.url(path)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(
        page.text()
            .await
            .unwrap()
            .contains("<form method=\"post\">")
    );
    assert_eq!(incident(&server).await.held_by, None);
    let done = raw(Method::POST, server.url(path)).send().await.unwrap();
    assert_eq!(done.status(), 200);
    assert_eq!(incident(&server).await.held_by.as_deref(), Some("ada"));
    let forged = path.replace("ada", "bob");
    let no = raw(Method::POST, server.url(&forged)).send().await.unwrap();
    assert_eq!(no.status(), 404);

    // Told again it is the same alert, and nobody is told twice.
    assert_eq!(post_alerts(&server, &alert("Errors")).await.0, 200);
    let ended = json!([{"labels": alert("Errors")[0]["labels"], "endsAt": "2026-11-21T08:00:00Z"}]);
    assert_eq!(post_alerts(&server, &ended).await.0, 200);
    let say = json!({"say": "resolve", "words": "a bad deploy"});
    let view: IncidentView = server
        .operator
        .post("/v1/incidents/1/words", &say)
        .await
        .unwrap();
    assert!(view.over_at.is_some());
    until("the end is told", async || {
        (got.lock().unwrap().len() >= 2).then_some(())
    })
    .await;
    let told = got.lock().unwrap().clone();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[1].1["data"]["happening"], "resolved");

    let timeline = incident(&server).await.timeline;
    let words: Vec<&str> = timeline.iter().map(|it| it.words.as_str()).collect();
    for part in ["opened it as SEV1", "ada acknowledged it", "resolved it"] {
        let found = words.iter().any(|line| line.contains(part));
        assert!(found, "{part} is missing in {words:#?}");
    }
    assert!(timeline.windows(2).all(|pair| pair[0].at <= pair[1].at));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_was_not_sent_is_sent_after_a_restart_under_the_same_key() {
    let (url, got) = hook(usize::MAX).await;
    let server = telling(&url).await;
    post_alerts(&server, &alert("Errors")).await;
    until("the incident", async || {
        let list: Vec<IncidentView> = server.operator.get("/v1/incidents").await.unwrap();
        list.first().map(|_| ())
    })
    .await;
    let data = server.data.clone();
    let folder = server.stop().await.unwrap();
    assert!(got.lock().unwrap().is_empty());
    let (url, got) = hook(0).await;
    let text = format!(
        "allow = [\"127.0.0.1\"]\n[webhook.hook]\nurl = \"{url}\"\nsecret_file = \"secret\"\n"
    );
    let mut config = config(&data);
    config.notify = Some((text, folder.path().to_owned()));
    let server = Server::with(config).await;
    let (key, _) = until("the page arrives", async || {
        got.lock().unwrap().first().cloned()
    })
    .await;
    assert_eq!(key, "page.1.all.1.0.0webhook.ada");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setup_that_makes_no_sense_is_refused_with_all_its_problems() {
    let server = Server::start().await;
    let setup = json!({
        "schedules": {"primary": {"zone": "Mars/Olympus", "layers": []}},
        "policies": {"all": {"steps": [{"targets": [{"contact": "nobody"}], "wait_ms": 1}]}},
    });
    let (status, body) = send(&server, Method::PUT, "/v1/oncall", &json!({"setup": setup})).await;
    assert_eq!(status, 422, "{body}");
    for part in ["Mars/Olympus", "nobody", "primary"] {
        assert!(body.contains(part), "{part} is missing in {body}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alertmanagers_clients_get_alertmanagers_answers() {
    let server = Server::start().await;
    assert_eq!(post_alerts(&server, &json!([])).await, (200, String::new()));
    let cases = [
        (
            json!([{"annotations": {}}]),
            422,
            "0.labels in body is required",
        ),
        (json!({}), 400, "parsing alerts body failed"),
        (
            json!([{"labels": {}}]),
            400,
            "at least one label pair required",
        ),
        (
            json!([{"labels": {"a": "b"}, "startsAt": "2026-01-02T00:00:00Z", "endsAt": "2026-01-01T00:00:00Z"}]),
            400,
            "start time must be before end time",
        ),
    ];
    for (body, status, words) in cases {
        let answer = post_alerts(&server, &body).await;
        assert_eq!(answer.0, status, "{answer:?}");
        assert!(answer.1.contains(words), "{answer:?}");
    }
    let plain = raw(Method::POST, server.url("/am/api/v2/alerts"))
        .header("authorization", format!("Bearer {}", server.token))
        .header(CONTENT_TYPE, "text/plain")
        .body("[]");
    assert_eq!(plain.send().await.unwrap().status(), 415);

    // A batch of which one can't be read: the other is stored all the same.
    let mixed = json!([{"labels": {}}, alert("Errors")[0]]);
    let answer = post_alerts(&server, &mixed).await;
    assert_eq!(
        answer,
        (400, "\"at least one label pair required\"".to_owned())
    );
    let get = async |path: &str| {
        let (status, body) = send(&server, Method::GET, path, &Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let alerts = get("/am/api/v2/alerts").await;
    assert_eq!(alerts[0]["labels"]["alertname"], "Errors");
    for field in [
        "annotations",
        "receivers",
        "fingerprint",
        "startsAt",
        "updatedAt",
        "endsAt",
    ] {
        assert!(!alerts[0][field].is_null(), "{field}: {alerts}");
    }
    assert_eq!(alerts[0]["status"]["mutedBy"], json!([]));
    let groups = get("/am/api/v2/alerts/groups").await;
    assert_eq!(
        groups[0]["labels"],
        json!({"alertname": "Errors", "service": "api"})
    );
    let none = get("/am/api/v2/alerts?filter=alertname%3D%22Other%22").await;
    assert_eq!(none, json!([]));

    let silence = json!({"matchers": [{"name": "alertname", "value": "Err.*", "isRegex": true}],
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2126-01-01T00:00:00Z",
        "createdBy": "ada", "comment": "we know"});
    let (status, body) = send(&server, Method::POST, "/am/api/v2/silences", &silence).await;
    assert_eq!(status, 200, "{body}");
    let id = serde_json::from_str::<Value>(&body).unwrap()["silenceID"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        get(&format!("/am/api/v2/silence/{id}")).await["status"]["state"],
        "active"
    );
    assert_eq!(
        send(
            &server,
            Method::DELETE,
            &format!("/am/api/v2/silence/{id}"),
            &Value::Null
        )
        .await
        .0,
        200
    );
    assert_eq!(
        get("/am/api/v2/silences").await[0]["status"]["state"],
        "expired"
    );
    let path = "/am/api/v2/silence/nonsense";
    assert_eq!(send(&server, Method::GET, path, &Value::Null).await.0, 422);
    let path = "/am/api/v2/silence/00000000-0000-4000-8000-000000000000";
    assert_eq!(send(&server, Method::GET, path, &Value::Null).await.0, 404);
    let empty = json!({"matchers": [], "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2126-01-01T00:00:00Z", "createdBy": "a", "comment": ""});
    assert_eq!(
        send(&server, Method::POST, "/am/api/v2/silences", &empty)
            .await
            .0,
        422
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pages_pagerduty_pages_us() {
    let server = Server::start().await;
    let agent = json!({"name": "monitoring", "role": Role::Agent});
    let token: Value = server.operator.post("/v1/tokens", &agent).await.unwrap();
    let key = token["token"].as_str().unwrap().to_owned();
    let enqueue = async |body: Value| {
        let request = raw(Method::POST, server.url("/v2/enqueue")).body(body.to_string());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let event = |action: &str| {
        json!({"routing_key": key, "event_action": action, "dedup_key": "disk-7",
            "payload": {"summary": "disk full", "source": "db-1", "severity": "critical", "component": "api"}})
    };
    let (status, body) = enqueue(event("trigger")).await;
    assert_eq!(status, 202, "{body}");
    assert!(body.contains("\"dedup_key\":\"disk-7\""), "{body}");
    let open = until("the incident", async || {
        let list: Vec<IncidentView> = server.operator.get("/v1/incidents").await.unwrap();
        list.first().cloned()
    })
    .await;
    assert_eq!((open.title.as_str(), open.firing), ("api: disk full", 1));
    assert_eq!(enqueue(event("acknowledge")).await.0, 202);
    assert_eq!(
        incident(&server).await.held_by.as_deref(),
        Some("monitoring")
    );
    assert_eq!(enqueue(event("resolve")).await.0, 202);
    assert_eq!(incident(&server).await.firing, 0);
    let stranger = json!({"routing_key": "nobody's", "event_action": "trigger", "payload": event("")["payload"]});
    assert_eq!(enqueue(stranger).await.0, 400);
    let mut odd = event("trigger");
    odd["payload"]["severity"] = "terrible".into();
    odd["payload"]["source"] = "".into();
    let (status, body) = enqueue(odd).await;
    assert_eq!(status, 400);
    assert!(
        body.contains("severity") && body.contains("source"),
        "all at once: {body}"
    );
    server.stop().await;
}
