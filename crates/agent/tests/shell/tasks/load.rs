//! Load on a host's own service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::StatusCode;
use model::gate::LoadPlan;
use model::{Millis, Task, TaskKind, TaskOutcome};

use super::servers::{Manner, Server};
use super::{outcome, task};
use crate::fake::{Fake, Ship, eventually};

fn load(id: &str, address: &str, url: &str, rate_per_s: u32) -> Task {
    let plan = LoadPlan {
        url: url.into(),
        rate_per_s,
    };
    let mut task = task(id, TaskKind::Load { plan });
    task.address = address.into();
    task
}

/// A service that counts, and fails each fourth request.
async fn service() -> (String, Arc<AtomicU64>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let answer = move || {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match number % 4 {
                0 => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::OK,
            }
        }
    };
    let router = Router::new().route("/v1/orders/{host}", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, count)
}

#[tokio::test]
async fn load_runs_while_it_is_listed_and_tells_what_came_of_it() {
    let (address, count) = service().await;
    let fake = Fake::start().await;
    let mut ship = Ship::new(&fake);
    let began = std::time::Instant::now();
    fake.list(&[load(
        "load",
        &address,
        "http://${address}/v1/orders/${host}",
        50,
    )]);
    ship.start();
    eventually("some requests", || count.load(Ordering::SeqCst) >= 60).await;
    assert!(fake.inner().results.is_empty(), "it is not over yet");
    fake.list(&[]);
    let told = outcome(&fake, "load").await;
    let TaskOutcome::Loaded { requests, failed } = told else {
        panic!("{told:?}");
    };
    assert_eq!(requests, count.load(Ordering::SeqCst), "every one arrived");
    assert_eq!(failed, requests.div_ceil(4));
    let most = began.elapsed().as_secs() * 50 + 51;
    assert!(requests <= most, "{requests} in {:?}", began.elapsed());
    ship.kill().await;
}

#[tokio::test]
async fn load_ends_by_its_deadline_and_failures_count() {
    let silent = Server::start(Manner::Closes).await;
    let fake = Fake::start().await;
    let mut ship = Ship::new(&fake);
    let mut short = load("short", &silent.address(), "http://${address}/", 20);
    short.within_ms = Millis(600);
    fake.list(&[
        short,
        load("elsewhere", &silent.address(), "http://127.0.0.1:9/", 20),
        load("too much", &silent.address(), "http://${address}/", 100_000),
    ]);
    ship.start();
    let told = outcome(&fake, "short").await;
    let TaskOutcome::Loaded { requests, failed } = told else {
        panic!("{told:?}");
    };
    assert!(requests > 0 && requests == failed, "{failed} of {requests}");
    for (id, words) in [
        ("elsewhere", "is not this host's own address"),
        (
            "too much",
            "100000 requests each second are not between 1 and 2000",
        ),
    ] {
        let told = outcome(&fake, id).await;
        let TaskOutcome::Broken { reason } = told else {
            panic!("{told:?}");
        };
        assert!(reason.contains(words), "{reason}");
    }
    // Told, and not begun again though it stays on the list: its first request would be out at once.
    let sent = silent.connections();
    for id in ["news", "more news"] {
        let nothing = TaskKind::Probe {
            references: Default::default(),
            egress: None,
        };
        let listed = load("short", &silent.address(), "http://${address}/", 20);
        fake.list(&[listed, task(id, nothing)]);
        outcome(&fake, id).await;
    }
    assert_eq!(silent.connections(), sent);
    ship.kill().await;
}
