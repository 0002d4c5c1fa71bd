//! What the judge is told, second by second.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri};
use model::ticks::{CLIENT_GROUPS, CellCounts, LATENCY_BUCKETS, latency_bucket};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::fleet::{
    Client, Control, Gateway, Host, before, before_with, dead_address, read_head, talk, until,
};

/// Slower than every answer.
const NEVER: u8 = LATENCY_BUCKETS as u8 - 1;
const NONE_WAIT: &str = "plimsoll_gateway_seconds_waiting 0\n";
const NONE_DROPPED: &str = "plimsoll_gateway_seconds_dropped_total 0\n";
/// What `/slow` takes.
const SLOW: Duration = Duration::from_millis(100);

/// A backend that does as the path says.
async fn obedient() -> Host {
    let app = Router::new().fallback(|uri: Uri| async move {
        if uri.path() == "/slow" {
            tokio::time::sleep(SLOW).await;
        }
        match uri.path().ends_with("/500") {
            true => StatusCode::INTERNAL_SERVER_ERROR,
            false => StatusCode::OK,
        }
    });
    Host::serve(app).await
}

/// A backend whose answers stop half-way.
async fn half() -> Host {
    Host::raw(|mut stream: TcpStream| async move {
        read_head(&mut stream).await;
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        stream.write_all(half).await.unwrap();
    })
    .await
}

/// What a gateway tells of three requests to one host, by class.
async fn told_of(address: SocketAddr) -> (Arc<Control>, Gateway, BTreeMap<String, CellCounts>) {
    let (control, gateway) = before(&[address]).await;
    for request in ["GET /a?x=/pay/", "POST /pay/500", "GET /slow"] {
        let head = format!(
            "{request} HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        talk(gateway.address, &head).await;
    }
    let total = || {
        let cells = control.cells();
        cells.values().map(|cell| cell.requests).sum::<u64>()
    };
    until("all told", || total() == 3).await;
    let cells = control.cells();
    assert!(cells.keys().all(|(host, _)| host == "old-0"), "{cells:?}");
    let by_class = cells.into_iter().map(|((_, class), cell)| (class, cell));
    (control, gateway, by_class.collect())
}

fn counts(cells: &BTreeMap<String, CellCounts>) -> [(u64, u64); 2] {
    ["read", "pay"].map(|class| (cells[class].requests, cells[class].failed))
}

#[tokio::test]
async fn no_whole_answer_is_slower_than_any() {
    for address in [half().await.address, dead_address().await] {
        let (_, gateway, cells) = told_of(address).await;
        assert_eq!(counts(&cells), [(2, 2), (1, 1)]);
        for cell in cells.values() {
            // However soon it was known.
            let buckets: Vec<u8> = cell.latency.iter().map(|(bucket, _)| *bucket).collect();
            assert!(buckets.iter().all(|it| *it == NEVER), "{buckets:?}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_request_is_in_the_cell_of_its_host_and_class_with_how_it_went() {
    let (control, gateway, cells) = told_of(obedient().await.address).await;
    assert_eq!(counts(&cells), [(2, 0), (1, 1)]);
    // A failure with an answer took as long as the answer.
    let [(failed, 1)] = &cells["pay"].latency[..] else {
        panic!("one request");
    };
    assert!(*failed < NEVER);
    let read = &cells["read"].latency;
    let slow = read.iter().map(|(bucket, _)| *bucket).max().unwrap();
    let least = latency_bucket(u64::try_from(SLOW.as_micros()).unwrap());
    assert!((least..NEVER).contains(&slow), "{read:?}");

    gateway.stop().await;
    let known = control.known.lock().unwrap();
    let clients = known.seconds.values().flat_map(|tick| &tick.clients);
    let groups: Vec<_> = clients.collect();
    assert!(
        groups
            .iter()
            .all(|it| it.group == groups[0].group && it.group < CLIENT_GROUPS)
    );
    let sum = |of: fn(&model::ClientCounts) -> u64| groups.iter().map(|it| of(it)).sum::<u64>();
    assert_eq!((sum(|it| it.requests), sum(|it| it.failed)), (3, 1));
}

#[tokio::test]
async fn each_second_is_told_at_its_end_even_without_a_request() {
    let host = obedient().await;
    let (control, gateway) = before_with(&[host.address], |config| {
        config.post_every = Duration::from_secs(3600);
    })
    .await;
    until("three seconds", || {
        control.known.lock().unwrap().seconds.len() >= 3
    })
    .await;
    gateway.stop().await;
    let known = control.known.lock().unwrap();
    let seqs: Vec<u64> = known.seconds.keys().copied().collect();
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "{seqs:?}");
    assert!(known.seconds.values().all(|tick| tick.cells.is_empty()));
}

#[tokio::test]
async fn a_second_is_told_again_until_it_is_acknowledged() {
    let host = obedient().await;
    let (control, gateway) = before(&[host.address]).await;
    control.acknowledges_none.store(true, Ordering::Relaxed);
    let mut client = Client::to(gateway.address).await;
    client.get("acme").await;
    until("told twice", || control.known.lock().unwrap().repeats >= 2).await;
    control.acknowledges_none.store(false, Ordering::Relaxed);
    gateway.until(|text| text.contains(NONE_WAIT)).await;
    gateway.until(|text| text.contains(NONE_DROPPED)).await;
    gateway.stop().await;
    let requests: u64 = control.cells().values().map(|cell| cell.requests).sum();
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn a_control_plane_that_hangs_costs_requests_nothing_and_hears_all_later() {
    let host = obedient().await;
    let (control, gateway) = before(&[host.address]).await;
    control.hangs.store(true, Ordering::Relaxed);
    let mut client = Client::to(gateway.address).await;
    // Until a post is on its way that gets no answer, and beyond.
    let mut served = 0;
    for _ in 0..500 {
        assert_eq!(client.get("acme").await.status, 200);
        served += 1;
        if served > 50 && !gateway.metrics().await.contains(NONE_WAIT) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    control.hangs.store(false, Ordering::Relaxed);
    gateway.stop().await;
    let requests: u64 = control.cells().values().map(|cell| cell.requests).sum();
    assert_eq!(requests, served);
    assert_eq!(control.total().requests, served);
}

#[tokio::test]
async fn seconds_that_are_refused_are_dropped_counted_and_hold_nothing_up() {
    let host = obedient().await;
    let (control, gateway) = before(&[host.address]).await;
    control.refuses_seconds.store(true, Ordering::Relaxed);
    let mut client = Client::to(gateway.address).await;
    client.get("acme").await;
    until("the total comes", || {
        control.of("old", "acme").requests == 1
    })
    .await;
    gateway.until(|text| !text.contains(NONE_DROPPED)).await;
    assert!(control.known.lock().unwrap().seconds.is_empty());
    control.refuses_seconds.store(false, Ordering::Relaxed);
    until("the next is taken", || {
        !control.known.lock().unwrap().seconds.is_empty()
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_slow_upload_is_no_latency_and_a_client_that_leaves_is_nothing() {
    let app = Router::new().fallback(|body: axum::body::Bytes| async move { body });
    let host = Host::serve(app).await;
    let (control, gateway) = before(&[host.address]).await;
    let pause = Duration::from_millis(1_500);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head =
        b"POST /pay/7 HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 8\r\n\r\nhalf";
    stream.write_all(head).await.unwrap();
    tokio::time::sleep(pause).await;
    stream.write_all(b"half").await.unwrap();
    let answer = read_head(&mut stream).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(stream);
    // Leaves before it has sent everything.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(head).await.unwrap();
    let offered = "plimsoll_gateway_offered_total 2\n";
    gateway.until(|text| text.contains(offered)).await;
    drop(stream);
    gateway
        .until(|text| text.contains("outcome=\"gone\"} 1\n"))
        .await;
    gateway.stop().await;
    let cells = control.cells();
    let [(_, cell)] = &cells.iter().collect::<Vec<_>>()[..] else {
        panic!("one cell: {cells:?}");
    };
    assert_eq!((cell.requests, cell.failed), (1, 0));
    let limit = latency_bucket(u64::try_from(pause.as_micros()).unwrap());
    assert!(cell.latency[0].0 < limit, "{:?}", cell.latency);
}
