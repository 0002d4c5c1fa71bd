//! Start without a control plane, and an orderly end.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use gateway::GatewayError;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::fleet::{
    Client, Control, Gateway, Host, ask, before, before_with, config, dead_address, pool, service,
    state_dir, table, until,
};

#[tokio::test]
async fn the_last_routes_are_kept_and_served_from() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::named("old").await;
    let (_control, gateway) = before_with(&[host.address], |it| state_dir(it, &folder)).await;
    let file = folder.path().join("routes.json");
    until("saved", || file.exists()).await;
    gateway.stop().await;

    let mut alone = config(dead_address().await);
    state_dir(&mut alone, &folder);
    let gateway = Gateway::start(alone).await;
    // At once: nothing waits for the control plane.
    let answer = ask(gateway.address, "GET", "/", &[], "").await;
    assert_eq!(answer.text(), "old");
    let routes = ask(gateway.admin, "GET", "/routes", &[], "").await.text();
    assert!(routes.contains("\"saved\":true"), "{routes}");
    let start = Instant::now();
    gateway.stop().await;
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn saved_routes_that_cant_be_used_are_no_reason_not_to_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("routes.json"), "{\"version\":").unwrap();
    let host = Host::named("old").await;
    let (_control, gateway) = before_with(&[host.address], |it| state_dir(it, &folder)).await;
    assert_eq!(
        ask(gateway.address, "GET", "/", &[], "").await.text(),
        "old"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn without_routes_it_starts_and_says_so() {
    let gateway = Gateway::start(config(dead_address().await)).await;
    let answer = ask(gateway.address, "GET", "/", &[], "").await;
    assert_eq!((answer.status, answer.reason()), (503, "no_routes"));
    assert_eq!(
        ask(gateway.admin, "GET", "/healthz", &[], "").await.status,
        503
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_in_flight_is_finished_and_idle_connections_end() {
    let app = Router::new().fallback(|| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        "finished"
    });
    let host = Host::serve(app).await;
    let (control, gateway) = before(&[host.address]).await;
    let address = gateway.address;
    // One connection has had no request, one has one in flight.
    let idle = TcpStream::connect(address).await.unwrap();
    let mut client = Client::to(address).await;
    let asking = tokio::spawn(async move { client.get("acme").await });
    until("in flight", || host.connections() == 1).await;
    let start = Instant::now();
    gateway.stop().await;
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(asking.await.unwrap().text(), "finished");
    assert_eq!(control.of("old", "acme").requests, 1);
    assert!(TcpStream::connect(address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn what_does_not_finish_is_cut_after_the_drain() {
    let host = Host::raw(|mut stream: TcpStream| async move {
        let _ = stream.flush().await;
        std::future::pending::<()>().await;
    })
    .await;
    let (_control, gateway) = before_with(&[host.address], |it| {
        it.limits.drain = Duration::from_millis(200)
    })
    .await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    until("in flight", || host.connections() == 1).await;
    let start = Instant::now();
    gateway.stop().await;
    assert!(start.elapsed() < Duration::from_secs(3));
}

async fn start_error(config: gateway::GatewayConfig) -> GatewayError {
    wire::install_crypto();
    let (_stop, stopped) = watch::channel(false);
    gateway::run(config, stopped, |_| {}).await.unwrap_err()
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = config(dead_address().await);
    config.listeners.insert(service(), address);
    let error = start_error(config).await.to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("service api"),
        "{error}"
    );
}

#[tokio::test]
async fn admin_pages_are_for_this_machine_only() {
    let mut config = config(dead_address().await);
    let open: SocketAddr = "0.0.0.0:0".parse().unwrap();
    config.admin = Some(open);
    let error = start_error(config).await;
    assert!(matches!(error, GatewayError::AdminNotLoopback(at) if at == open));
}

#[tokio::test]
async fn the_metrics_are_open_metrics() {
    let host = Host::named("old").await;
    let control = Control::start(table(7, vec![pool("old", 1000, &[host.address])])).await;
    let gateway = Gateway::ready(config(control.address)).await;
    ask(gateway.address, "GET", "/", &[], "").await;
    let answer = ask(gateway.admin, "GET", "/metrics", &[], "").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"));
    let bundle = crate::fleet::digest("old").short();
    for line in [
        format!(
            "plimsoll_gateway_requests_total{{service=\"api\",bundle=\"{bundle}\",outcome=\"served\"}} 1\n"
        ),
        "plimsoll_gateway_offered_total 1\n".to_owned(),
        "plimsoll_gateway_routes_version 7\n".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
    gateway.stop().await;
}
