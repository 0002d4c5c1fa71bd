//! What agents and gateways wait for.

use std::time::{Duration, Instant};

use http::Method;
use http::header::{ETAG, IF_NONE_MATCH};
use model::{Generation, OrderKind, Role};
use serde_json::{Value, json};
use wire::Open;
use wire::api::{OrdersAnswer, ReleaseState};
use wire::client::Fetched;

use crate::support::{Agent, PATIENCE, Server, code};

/// Waits for other orders than `tag`; gives them and how long that took.
async fn newer(agent: &Agent, tag: &str) -> (Fetched<OrdersAnswer>, Duration) {
    let began = Instant::now();
    let path = agent.path("orders");
    let fetched = agent
        .client
        .get_newer(&path, tag, Duration::from_secs(40))
        .await;
    (fetched.unwrap(), began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_ends_unchanged_after_its_wait() {
    let server = Server::start().await;
    let agent = server.join("test-1").await;
    let (orders, tag) = agent.orders().await;
    assert!(orders.is_empty());
    let (began, wait) = (Instant::now(), Duration::from_millis(700));
    let fetched = agent
        .client
        .get_newer::<Value>(&agent.path("orders"), &tag, wait)
        .await;
    assert!(matches!(fetched.unwrap(), Fetched::Unchanged));
    assert!(began.elapsed() >= wait, "{:?}", began.elapsed());
    // Without a wait it is answered at once.
    let (began, none) = (Instant::now(), Duration::ZERO);
    let fetched = agent
        .client
        .get_newer::<Value>(&agent.path("orders"), &tag, none)
        .await;
    assert!(matches!(fetched.unwrap(), Fetched::Unchanged));
    assert!(began.elapsed() < Duration::from_secs(30));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_wakes_on_an_order_and_the_order_is_signed() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let agent = &agents[0];
    let (_, tag) = agent.orders().await;
    let (woken, began) = tokio::join!(newer(agent, &tag), async {
        // Give the poll time to be in its wait; if it is not, it is answered at once, which is as good.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let bundle = server.upload("first").await;
        let began = Instant::now();
        let request = wire::api::ProposeRequest {
            break_glass: None,
            bundle,
            message: String::new(),
            base: None,
        };
        server.operator.propose(&request).await.unwrap();
        began
    });
    let (fetched, _) = woken;
    // Proposed, staged, ordered: some ticks of a quarter second each.
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let Fetched::New(answer, newer_tag) = fetched else {
        panic!("no order came");
    };
    assert_ne!(newer_tag, tag);
    let dispatches = agent.open(&answer);
    let [dispatch] = &dispatches[..] else {
        panic!("one order was expected: {dispatches:?}");
    };
    let order = &dispatch.order;
    assert_eq!(order.host, agent.name);
    assert_eq!(order.kind, OrderKind::Forward);
    assert_eq!(order.generation, Generation(1));
    assert_eq!(order.environment.as_str(), "test");
    assert_eq!(order.address, "127.0.0.1:9001");
    assert_eq!(dispatch.bundle.as_ref().unwrap().digest(), order.digest);
    // Another key than the control plane's opens nothing.
    let other = wire::SecretKey::generate().unwrap().public();
    let opened = answer.orders[0].open::<model::order::Dispatch>(wire::sign::ORDER_TYPE, &other);
    assert!(opened.is_err());
    // Others have no orders yet: production waits for the test.
    assert!(agents[1].orders().await.0.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_reaches_a_waiting_agent_within_a_second() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let id = server.propose("first").await.unwrap().id;
    agents[0].order_above(Generation(0)).await;
    // A rollback is ordered in the turn that decides it, so nothing but the way to the agent is measured.
    // The quickest of some counts: the others tell how busy this machine is.
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let (before, tag) = agents[0].orders().await;
        let ((fetched, woken), answered) = tokio::join!(
            async { (newer(&agents[0], &tag).await.0, Instant::now()) },
            async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let home = model::Digest::of(b"found on disk");
                let body = json!({ "service": "api", "release": id, "to": home });
                let _: Value = server.operator.post("/v1/rollbacks", &body).await.unwrap();
                Instant::now()
            }
        );
        let Fetched::New(answer, newer_tag) = fetched else {
            panic!("no order came");
        };
        assert_ne!(newer_tag, tag, "the tag changes with the generation");
        let back = &agents[0].open(&answer)[0].order;
        assert_eq!(back.kind, OrderKind::Rollback);
        assert!(back.generation > before[0].order.generation);
        quickest = quickest.min(woken.saturating_duration_since(answered));
    }
    assert!(quickest < Duration::from_secs(1), "{quickest:?}");
    server.carry(&agents, id, ReleaseState::RolledBack).await;
    server.stop().await;
}

/// Reads a stream until it has said `orders` once more; gives the tag.
async fn hint(stream: &mut reqwest::Response, seen: &mut String) -> String {
    let reading = async {
        loop {
            if let Some((event, rest)) = seen.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                *seen = rest;
                if event.contains("event: orders") {
                    let data = event.lines().find_map(|line| line.strip_prefix("data:"));
                    return data.unwrap_or_default().trim().to_owned();
                }
                continue;
            }
            let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
            seen.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("a hint comes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_hints_at_once_and_on_news() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let mut stream = agents[0].client.hints(&agents[0].name).await.unwrap();
    let kind = stream.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let mut seen = String::new();
    assert_eq!(hint(&mut stream, &mut seen).await, "");
    server.propose("first").await.unwrap();
    let tag = hint(&mut stream, &mut seen).await;
    let (orders, newest) = agents[0].orders().await;
    assert_eq!(format!("\"{tag}\""), newest);
    assert_eq!(orders.len(), 1);
    // Whoever comes later is hinted at what is there.
    let mut second = agents[0].client.hints(&agents[0].name).await.unwrap();
    assert_eq!(hint(&mut second, &mut String::new()).await, tag);
    server.stop().await;
    // A stop ends streams, cleanly.
    let rest = tokio::time::timeout(PATIENCE, stream.text()).await;
    assert!(rest.expect("it ends").is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_wait_for_routes() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let gateway = server.with_role(Role::Agent).await;
    let (name, production) = ("edge-1".parse().unwrap(), "production".parse().unwrap());
    let routes = async |etag: &str, wait| gateway.routes(&name, &production, etag, wait).await;
    let Fetched::New(table, tag) = routes("", Duration::ZERO).await.unwrap() else {
        panic!("unchanged from nothing");
    };
    let pools = &table.services[&"api".parse().unwrap()].pools;
    assert_eq!(pools.len(), 1);
    assert_eq!(pools[0].backends.len(), 2);
    let again = routes(&tag, Duration::from_millis(50)).await.unwrap();
    assert!(matches!(again, Fetched::Unchanged));

    let (woken, ()) = tokio::join!(routes(&tag, Duration::from_secs(40)), async {
        server.good(&agents, "first").await;
    });
    let Fetched::New(newer, _) = woken.unwrap() else {
        panic!("no news came");
    };
    assert!(newer.version > table.version);

    let nowhere = gateway
        .routes(&name, &"staging".parse().unwrap(), "", Duration::ZERO)
        .await;
    assert_eq!(code(&nowhere.unwrap_err()), model::refusal::Code::NotFound);
    for path in [
        "/v1/gateways/edge-1/routes",
        "/v1/gateways/EDGE/routes?environment=production",
    ] {
        let request = gateway.request(Method::GET, path, Default::default(), PATIENCE);
        let response = request.send().await.unwrap();
        assert_eq!(
            crate::support::problem(response).await.code,
            "bad-request",
            "{path}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_watched_with_its_tag() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let id = server.propose("first").await.unwrap().id;
    let first = agents[0].order_above(Generation(0)).await;
    let Fetched::New(_, tag) = server
        .operator
        .release(id, "", Duration::ZERO)
        .await
        .unwrap()
    else {
        panic!("unchanged from nothing");
    };
    let (woken, ()) = tokio::join!(
        server.operator.release(id, &tag, Duration::from_secs(40)),
        async {
            agents[0].confirm(&first).await.unwrap();
        }
    );
    let Fetched::New(view, newer) = woken.unwrap() else {
        panic!("no news came");
    };
    assert_ne!(newer, tag);
    assert_eq!(view.stages[0].waves[0].hosts[0].state, "confirmed");

    server.carry(&agents, id, ReleaseState::Good).await;
    // Any client may hold the tag as caches do.
    let path = format!("/v1/releases/{id}");
    let request = || {
        server
            .operator
            .request(Method::GET, &path, Default::default(), PATIENCE)
    };
    let whole = request().send().await.unwrap();
    let tag = whole.headers()[ETAG].to_str().unwrap().to_owned();
    for (known, wanted) in [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        ("\"0\"".into(), 200),
    ] {
        let response = request()
            .header(IF_NONE_MATCH, &known)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), wanted, "{known}");
        assert_eq!(response.headers()[ETAG], tag);
    }
    server.stop().await;
}
