//! What the control plane knows is what happened, exactly.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;

use crate::fleet::{Client, Host, before, until};

/// A backend that fails each tenth request.
async fn tenth_fails() -> Host {
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let app = Router::new().fallback(move || {
        let n = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match n % 10 {
                9 => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::OK,
            }
        }
    });
    Host::serve(app).await
}

/// Sends `each` requests over each of eight connections at once.
async fn load(gateway: std::net::SocketAddr, each: usize) {
    let mut clients = tokio::task::JoinSet::new();
    for c in 0..8 {
        clients.spawn(async move {
            let mut client = Client::to(gateway).await;
            for n in 0..each {
                client.get(&format!("t{}", (c * each + n) % 37)).await;
            }
        });
    }
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_is_the_requests_sent() {
    let host = tenth_fails().await;
    let (control, gateway) = before(&[host.address]).await;
    load(gateway.address, 500).await;
    until("all arrived", || control.total().requests == 4_000).await;
    assert_eq!(control.total().failed, 400);
    let known = control.known.lock().unwrap().rows.len();
    assert_eq!(known, 37);
    gateway.stop().await;
    assert_eq!(
        (control.total().requests, control.total().failed),
        (4_000, 400)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_survive_an_outage_and_a_restart_of_the_control_plane() {
    let host = tenth_fails().await;
    let (control, gateway) = before(&[host.address]).await;
    load(gateway.address, 50).await;
    until("arrived", || control.total().requests == 400).await;
    control.down.store(true, Ordering::Relaxed);
    load(gateway.address, 50).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(control.total().requests, 400);
    control.down.store(false, Ordering::Relaxed);
    until("caught up", || control.total().requests == 800).await;
    // It comes back without memory, asks for everything, and gets it.
    control.forget();
    load(gateway.address, 1).await;
    until("told again", || control.total().requests == 808).await;
    assert_eq!(control.total().failed, 80);
    gateway.stop().await;
}

#[tokio::test]
async fn the_last_counts_are_posted_at_the_end() {
    let host = Host::named("old").await;
    let (control, gateway) = crate::fleet::before_with(&[host.address], |config| {
        config.post_every = Duration::from_secs(3600);
    })
    .await;
    let mut client = Client::to(gateway.address).await;
    for _ in 0..7 {
        client.get("acme").await;
    }
    gateway.stop().await;
    assert_eq!(control.of("old", "acme").requests, 7);
}

#[tokio::test]
async fn requests_without_a_tenant_are_counted_together() {
    let host = Host::named("old").await;
    let (control, gateway) = before(&[host.address]).await;
    let mut client = Client::to(gateway.address).await;
    client.ask("GET", "/", &[], "").await;
    let long = "x".repeat(500);
    client.get(&long).await;
    gateway.stop().await;
    assert_eq!(control.of("old", "-").requests, 1);
    assert_eq!(control.of("old", &long[..128]).requests, 1);
}
