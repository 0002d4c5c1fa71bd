//! Counts by the second from programs, what the judge says of them, and what a plan can see.

use std::time::Duration;

use http::Method;
use model::refusal::Code;
use model::{CellCounts, Digest, Metric, Millis, ReleaseId, Role, Rule, TickCounts};
use serde_json::{Value, json};
use wire::ClientError;
use wire::api::{
    CheckAnswer, ContinueRequest, PlanRequest, ProposeRequest, ReleaseState, TicksAnswer,
    TicksRequest, WaveState,
};

use crate::support::{PATIENCE, Server, bundle, code, raw, status, until};

fn cell(digest: Digest, requests: u64, failed: u64) -> CellCounts {
    CellCounts {
        service: "api".parse().unwrap(),
        digest: Some(digest),
        host: None,
        class: String::new(),
        requests,
        failed,
        latency: Vec::new(),
    }
}

fn second(seq: u64, cells: Vec<CellCounts>) -> TickCounts {
    TickCounts {
        seq,
        age_ms: 0,
        cells,
        ..TickCounts::default()
    }
}

fn post(ticks: Vec<TickCounts>) -> TicksRequest {
    TicksRequest {
        environment: "production".parse().unwrap(),
        epoch_ms: 1,
        ticks,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushed_seconds_are_acknowledged_and_a_post_that_cannot_be_is_refused_whole() {
    let server = Server::start().await;
    let source = server.with_role(Role::Agent).await;
    let digest = Digest::of(b"x");
    let ticks = vec![
        second(7, vec![cell(digest, 10, 1)]),
        second(9, vec![cell(digest, 12, 0)]),
    ];
    for _ in 0..2 {
        let answer = source.ticks("shop", &post(ticks.clone())).await.unwrap();
        assert_eq!(answer.through, 9, "{answer:?}");
    }
    let words = |error: ClientError| {
        assert_eq!((code(&error), status(&error)), (Code::BadRequest, 400));
        error.to_string()
    };
    let mut odd = cell(digest, 1, 2);
    odd.class = "x".repeat(33);
    let mut unknown = cell(digest, 1, 0);
    unknown.service = "apu".parse().unwrap();
    let refused = source
        .ticks("shop", &post(vec![second(10, vec![odd, unknown])]))
        .await;
    let said = words(refused.unwrap_err());
    for problem in [
        "ticks[0].cells[0].failed: 2 of 1 requests",
        "ticks[0].cells[0].class: 33 bytes; at most 32",
        "not in the topology: apu",
    ] {
        assert!(said.contains(problem), "{said}");
    }
    let many = (0..121).map(|seq| second(seq, Vec::new())).collect();
    let said = words(source.ticks("shop", &post(many)).await.unwrap_err());
    assert!(said.contains("ticks: 121; at most 120"), "{said}");
    words(source.ticks("Shop!", &post(Vec::new())).await.unwrap_err());
    let elsewhere = TicksRequest {
        environment: "staging".parse().unwrap(),
        ..post(Vec::new())
    };
    let refused = source.ticks("shop", &elsewhere).await.unwrap_err();
    assert_eq!(code(&refused), Code::NotFound);

    // The same law holds for what gateways post.
    let body = json!({ "environment": "production", "epoch_ms": 1, "rows": [],
        "ticks": [second(1, vec![cell(digest, 1, 2)])] });
    let refused = source.post::<_, Value>("/v1/gateways/edge-1/counts", &body);
    let said = words(refused.await.unwrap_err());
    assert!(said.contains("failed: 2 of 1 requests"), "{said}");
    let answer: TicksAnswer = source.ticks("shop", &post(Vec::new())).await.unwrap();
    assert_eq!(answer.late, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_verdict_is_live_while_it_rolls_and_the_journals_last_word_after() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let release = server.propose("first").await.unwrap();
    agents[0].order_above(model::Generation(0)).await;
    let live = server.operator.verdict(release.id).await.unwrap();
    assert!(live.live, "{live:?}");
    assert_eq!((live.wave, live.waves), (1, 1));
    assert_eq!(live.environment.as_ref().unwrap().as_str(), "test");

    server.carry(&agents, release.id, ReleaseState::Good).await;
    let told = server.operator.verdict(release.id).await.unwrap();
    assert!(!told.live);
    assert_eq!(told.environment.as_ref().unwrap().as_str(), "production");
    assert_eq!((told.wave, told.waves), (2, 2));
    assert_eq!((told.verdict.as_str(), told.rule), ("pass", None));

    // A person's word is not the judge's.
    let second = server.propose("second").await.unwrap();
    let before = json!({ "service": "api", "reason": "not today" });
    let _: Value = server
        .operator
        .post("/v1/rollbacks", &before)
        .await
        .unwrap();
    server
        .carry(&agents, second.id, ReleaseState::RolledBack)
        .await;
    let back = server.operator.verdict(second.id).await.unwrap();
    assert!(!back.live);
    assert_eq!(back.verdict, "insufficient");
    assert!(back.reason.contains("not today"), "{}", back.reason);

    // What is over is told alike by whoever comes after.
    let mut config = crate::support::config(&server.data);
    let folder = server.stop().await;
    config.topology = None;
    let server = Server::with(config).await;
    let again = server.operator.verdict(release.id).await.unwrap();
    assert_eq!(again, told);
    assert_eq!(server.operator.verdict(second.id).await.unwrap(), back);
    let refused = server.operator.verdict(ReleaseId(99)).await.unwrap_err();
    assert_eq!(code(&refused), Code::UnknownRelease);
    server.stop().await;
    drop(folder);
}

/// A bundle whose waves in production pass on a hundred requests, or are held after `bake_max_ms`.
async fn judged(server: &Server, content: &str, bake_max_ms: u64) -> model::Bundle {
    let mut bundle = server.upload(content).await;
    let production = "production".parse().unwrap();
    let stage = bundle.plan.stages.get_mut(&production).unwrap();
    stage.requests_min = 100;
    stage.bake_max_ms = Millis(bake_max_ms);
    bundle
}

async fn propose(server: &Server, bundle: model::Bundle) -> ReleaseId {
    let request = ProposeRequest {
        break_glass: None,
        bundle,
        message: "judged".into(),
        base: None,
    };
    server.operator.propose(&request).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_held_wave_is_continued_and_the_journal_says_by_whom() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let request = ContinueRequest {
        reason: "I looked at the graphs".into(),
    };
    let refused = server.operator.carry_on(ReleaseId(7), &request).await;
    assert_eq!(code(&refused.unwrap_err()), Code::UnknownRelease);
    let id = propose(&server, judged(&server, "first", 50).await).await;
    let refused = server.operator.carry_on(id, &request).await;
    assert_eq!(code(&refused.unwrap_err()), Code::NotHeld);

    // Two waves of production, and nobody counts a request on either.
    for wave in 1..=2 {
        server.carry(&agents, id, ReleaseState::Held).await;
        let told = server.operator.verdict(id).await.unwrap();
        assert!(told.live && told.wave == wave, "{told:?}");
        assert_eq!(told.verdict, "insufficient", "{told:?}");
        let view = server.operator.carry_on(id, &request).await.unwrap();
        assert_ne!(view.state, ReleaseState::Held, "{view:?}");
    }
    server.carry(&agents, id, ReleaseState::Good).await;
    let told = server.operator.verdict(id).await.unwrap();
    assert_eq!((told.live, told.verdict.as_str()), (false, "pass"));
    let words = "first operator passed it: I looked at the graphs";
    assert_eq!(told.reason, words);
    assert_eq!(server.journaled("wave_continued").await.len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn harm_in_pushed_seconds_sends_a_release_back_and_its_record_says_so_again() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let good = server.good(&agents, "first").await;
    let bundle = judged(&server, "second", 600_000).await;
    let digest = bundle.digest();
    let id = propose(&server, bundle).await;
    let baking = async || {
        for agent in &agents {
            agent.obey().await;
        }
        let view = server.view(id).await;
        let wave = view.stages.get(1)?.waves.first()?.state;
        (wave == WaveState::Baking).then_some(())
    };
    until("the first wave of production bakes", baking).await;

    // A second each second, as a program tells them: every other request fails on the new bundle.
    let source = server.with_role(Role::Agent).await;
    let mut seq = 0;
    let turned = async || {
        seq += 1;
        let on = |host: &str, cell| CellCounts {
            host: Some(host.parse().unwrap()),
            ..cell
        };
        let cells = vec![
            on("web-1", cell(digest, 40, 20)),
            on("web-2", cell(good.digest, 400, 4)),
        ];
        let told = source.ticks("shop", &post(vec![second(seq, cells)])).await;
        assert_eq!(told.unwrap().through, seq);
        tokio::time::sleep(Duration::from_millis(1000)).await;
        let state = server.view(id).await.state;
        (state == ReleaseState::RollingBack).then_some(())
    };
    until("it goes back", turned).await;
    server.carry(&agents, id, ReleaseState::RolledBack).await;
    let told = server.operator.verdict(id).await.unwrap();
    assert!(!told.live);
    let verdict = (told.verdict.as_str(), told.rule, told.wave);
    assert_eq!(verdict, ("fail", Some(Rule::Errors), 1), "{told:?}");
    let explanation = told.explanation.unwrap();
    assert!(explanation.canary.failed >= 20, "{explanation:?}");

    // Everything that it rests on is in the store, and leads to the same verdict.
    let record = explanation.record.expect("a verdict has its record");
    let path = format!("/v1/blobs/{record}");
    let bytes = server
        .operator
        .request(Method::GET, &path, Default::default(), PATIENCE)
        .send()
        .await
        .unwrap();
    let bytes = bytes.bytes().await.unwrap();
    assert_eq!(Digest::of(&bytes), record);
    let record: judge::Record = serde_json::from_slice(&bytes).unwrap();
    let standing = record.replay();
    assert_eq!(standing.word, judge::Word::RollBack(Metric::Errors));
    assert_eq!(standing.canary.e, explanation.canary.failed);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_what_it_can_see_and_so_does_the_preview() {
    let server = Server::start().await;
    let viewer = server.with_role(Role::Viewer).await;
    let of = |service: &str, plan| PlanRequest {
        service: service.parse().unwrap(),
        plan,
    };
    let plan = bundle("first").plan;
    let view = viewer.plan(&of("api", Some(plan.clone()))).await.unwrap();
    let names: Vec<_> = view
        .environments
        .iter()
        .map(|it| it.environment.as_str())
        .collect();
    assert_eq!(names, ["test", "production"]);
    let production = &view.environments[1];
    let hosts: Vec<_> = production
        .waves
        .iter()
        .map(|wave| (wave.hosts, wave.share))
        .collect();
    assert_eq!(hosts, [(1, 0.5), (1, 1.0)]);
    assert_eq!(production.traffic, None);
    let silent = "no traffic was seen in production: health checks alone will decide";
    assert_eq!(production.warnings, [silent]);

    // Without a plan it is the usual one: nothing is good yet, so the default.
    let usual = viewer.plan(&of("api", None)).await.unwrap();
    let waits = "no traffic was seen in production: no wave passes before it had 100 requests";
    assert_eq!(usual.environments[1].warnings, [waits]);
    let refused = viewer.plan(&of("apu", None)).await.unwrap_err();
    assert_eq!(code(&refused), Code::UnknownService);

    let body = json!({ "bundle": server.upload("first").await });
    let answer: CheckAnswer = server.operator.post("/v1/checks", &body).await.unwrap();
    assert_eq!(answer.plan, Some(view));
    server.stop().await;
}

/// A Prometheus as far as it is asked: one totals' page, or an error.
mod prometheus {
    use std::sync::{Arc, Mutex};

    use axum::extract::{Query, State};
    use axum::http::StatusCode;
    use serde_json::{Value, json};

    #[derive(Clone, Default)]
    pub(super) struct Prometheus {
        pub(super) series: Arc<Mutex<Option<Vec<Value>>>>,
        pub(super) asked: Arc<Mutex<Vec<String>>>,
    }

    impl Prometheus {
        pub(super) async fn start(&self) -> String {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let routes = axum::Router::new()
                .route("/api/v1/query", axum::routing::get(answer))
                .with_state(self.clone());
            tokio::spawn(async move { axum::serve(listener, routes).await });
            format!("http://{address}")
        }

        pub(super) fn say(&self, totals: &[(&str, Value, u64)]) {
            let series = totals.iter().map(|(total, labels, value)| {
                let mut metric = labels.clone();
                metric["plimsoll_total"] = json!(total);
                json!({ "metric": metric, "value": [1.0, value.to_string()] })
            });
            *self.series.lock().unwrap() = Some(series.collect());
        }
    }

    async fn answer(
        State(prometheus): State<Prometheus>,
        Query(query): Query<std::collections::BTreeMap<String, String>>,
    ) -> (StatusCode, axum::Json<Value>) {
        prometheus
            .asked
            .lock()
            .unwrap()
            .push(query["query"].clone());
        match prometheus.series.lock().unwrap().clone() {
            Some(result) => {
                let data = json!({ "resultType": "vector", "result": result });
                (
                    StatusCode::OK,
                    axum::Json(json!({ "status": "success", "data": data })),
                )
            }
            None => {
                let error =
                    json!({ "status": "error", "errorType": "execution", "error": "out of order" });
                (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(error))
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_is_asked_and_what_is_wrong_with_it_is_shown() {
    let prometheus = prometheus::Prometheus::default();
    let url = prometheus.start().await;
    let mut topology = crate::support::fleet();
    let source = json!({ "url": url, "requests": "sum by (bundle) (requests)",
        "failed": "sum by (bundle) (failed)", "every_ms": 1000, "environment": "production" });
    let service = topology.services.values_mut().next().unwrap();
    service.prometheus = Some(serde_json::from_value(source).unwrap());
    let server = Server::start_with(topology.clone()).await;
    let detail = async || {
        let status: wire::api::StatusView = server.operator.get("/v1/status").await.unwrap();
        let source = status.sources.into_iter().next()?;
        Some((source.answers?, source.detail))
    };
    let wrong = "it refuses the queries: out of order".to_owned();
    let told = until("it says what is wrong", &detail).await;
    assert_eq!(told, (false, Some(wrong)));
    let asked = prometheus.asked.lock().unwrap()[0].clone();
    assert!(asked.contains("\nsum by (bundle) (requests)\n"), "{asked}");
    assert!(asked.contains("\nsum by (bundle) (failed)\n"), "{asked}");

    // It works again, but counts a bundle that nobody knows.
    let agents = server.join_all().await;
    let good = server.good(&agents, "first").await;
    let labels = json!({ "bundle": good.digest.short() });
    let stranger = json!({ "bundle": "0123456789ab" });
    prometheus.say(&[
        ("requests", labels.clone(), 1000),
        ("requests", stranger, 5),
    ]);
    let useless = "1 series can't be used: no bundle of the service is 0123456789ab";
    let good_now = async || detail().await.filter(|(answers, _)| *answers);
    let told = until("it answers", good_now).await;
    assert_eq!(told, (true, Some(useless.to_owned())));
    let text = raw(Method::GET, server.url("/metrics"))
        .send()
        .await
        .unwrap();
    let text = text.text().await.unwrap();
    for line in [
        "plimsoll_source_up{service=\"api\"} 1",
        "plimsoll_source_series_skipped{service=\"api\"} 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }

    // Its counts are the service's traffic.
    let mut total = 1000;
    let traffic = async || {
        total += 500;
        prometheus.say(&[
            ("requests", labels.clone(), total),
            ("failed", labels.clone(), total / 10),
        ]);
        let request = PlanRequest {
            service: "api".parse().unwrap(),
            plan: None,
        };
        let view = server.operator.plan(&request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        view.environments.into_iter().nth(1)?.traffic
    };
    let seen = until("its traffic is known", traffic).await;
    assert!(seen.requests_per_s > 0.0 && seen.failing > 0.0, "{seen:?}");

    // Who is not declared any more is not asked any more.
    topology.services.values_mut().next().unwrap().prometheus = None;
    server.operator.set_topology(&topology).await.unwrap();
    let gone = async || detail().await.is_none().then_some(());
    until("it is forgotten", gone).await;
    server.stop().await;
}
