//! The load generator against a server that counts for itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drill::load::{Load, LoadConfig, LoadError, Spread};
use model::Permille;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Program, configure, unused};

type Seen = Arc<Mutex<BTreeMap<String, u64>>>;

/// Answers by customer: `tenant-0000` gets 500, `tenant-0001` nothing, `tenant-0002` 404, others 200.
async fn server() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let counting = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&counting)));
        }
    });
    (address, seen)
}

async fn serve(stream: TcpStream, seen: Seen) {
    let mut stream = BufReader::new(stream);
    let mut key = String::new();
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|size| size > 0) {
        if let Some(value) = line.strip_prefix("x-customer: ") {
            value.trim().clone_into(&mut key);
        }
        if line == "\r\n" {
            *seen.lock().unwrap().entry(key.clone()).or_default() += 1;
            let status = match key.as_str() {
                "tenant-0000" => "500 No",
                "tenant-0001" => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    return;
                }
                "tenant-0002" => "404 No",
                _ => "200 OK",
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        line.clear();
    }
}

fn config(address: SocketAddr) -> LoadConfig {
    LoadConfig {
        rate_per_s: 400,
        tenants: 8,
        spread: Spread::Uniform,
        tenant_header: "x-customer".to_owned(),
        timeout: Duration::from_secs(2),
        ..LoadConfig::new(format!("http://{address}/v1/orders"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_agree_with_the_server_to_the_request() {
    let (address, seen) = server().await;
    let load = Load::start(config(address)).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let live = load.snapshot();
    assert!(live.total.sent >= live.total.ok + live.total.failed);
    let report = load.stop().await;

    let seen = seen.lock().unwrap().clone();
    let asked = |tenant: usize| {
        seen.get(&format!("tenant-{tenant:04}"))
            .copied()
            .unwrap_or(0)
    };
    for (tenant, tally) in report.tenants.iter().enumerate() {
        assert_eq!(tally.sent, asked(tenant), "tenant {tenant}");
        let failed = if tenant < 3 { tally.sent } else { 0 };
        assert_eq!(
            (tally.failed, tally.ok),
            (failed, tally.sent - failed),
            "tenant {tenant}"
        );
        assert!(tally.sent > 0, "tenant {tenant}");
    }
    let total = report.total;
    assert_eq!(total.sent, seen.values().sum::<u64>());
    assert_eq!(total.sent, total.ok + total.failed);
    let failures = report.failures;
    assert_eq!(failures.server_error, asked(0));
    assert_eq!(failures.timeout, asked(1));
    assert_eq!(failures.other, asked(2));
    assert_eq!((failures.connect, failures.generator_full), (0, 0));
    assert_eq!(report.tenants_hit(), 3);

    // The bins hold the same, and full bins what the rate says.
    let binned = report.between(report.started_at, jiff::Timestamp::MAX);
    assert_eq!(binned, total);
    let full = &report.bins[..report.bins.len() - 1];
    assert!(full.len() >= 14 && full.iter().all(|bin| bin.tally.sent == 40));
    assert!(report.first_failed_at.unwrap() >= report.started_at);
    assert!(report.last_failed_at.unwrap() <= report.taken_at);
    assert!(report.latency.p50_us > 0 && report.latency.p50_us <= report.latency.max_us);
}

#[tokio::test]
async fn an_absent_server_is_an_outage_until_it_comes() {
    let address = unused();
    let load = Load::start(LoadConfig {
        tenant_header: "x-api-key".to_owned(),
        ..config(address)
    })
    .unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let outage = load.snapshot();
    assert!(outage.failures.connect > 0);
    assert_eq!(outage.total.ok, 0);
    assert_eq!(outage.restored_at(Permille::ALL), None);
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Seen::default()));
        }
    });
    tokio::time::sleep(Duration::from_millis(600)).await;
    let report = load.stop().await;
    let half = Permille::new(500).unwrap();
    let (from, length) = report.longest_outage(half).unwrap();
    assert_eq!(from, report.started_at);
    assert!(length >= Duration::from_millis(500), "{length:?}");
    assert!(report.restored_at(half).unwrap() >= from + length);
    assert_eq!(report.failures.connect, report.total.failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_service_fails_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut auth = Program::start(["drill-auth", "--listen", "127.0.0.1:0"]);
    let config = configure(dir.path(), auth.address(), "work_ms = 5");
    let mut api = Program::start([
        "drill-service",
        "--config",
        &config,
        "--listen",
        "127.0.0.1:0",
        "--environment",
        "production",
        "--host",
        "prod-a-1",
    ]);
    let load = Load::start(LoadConfig {
        rate_per_s: 200,
        ..LoadConfig::new(format!("http://{}/v1/orders", api.address()))
    })
    .unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let report = load.stop().await;
    assert!(report.total.sent >= 200);
    assert_eq!(report.total.failed, 0, "{:?}", report.failures);
    assert_eq!(report.longest_outage(Permille::NONE), None);
}

#[tokio::test]
async fn a_full_generator_says_so() {
    let (address, _) = server().await;
    let load = Load::start(LoadConfig {
        tenants: 2,
        in_flight_max: 5,
        timeout: Duration::from_secs(20),
        ..config(address)
    })
    .unwrap();
    // Every second request hangs, so after some ten the generator is full.
    while load.snapshot().failures.generator_full < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let report = load.snapshot();
    let under_way = report.total.sent - report.total.ok - report.total.failed;
    assert_eq!(under_way, 5);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_at_start() {
    let refused = |config: LoadConfig| Load::start(config).unwrap_err();
    assert!(matches!(
        refused(LoadConfig::new("https://a/")),
        LoadError::Url(_)
    ));
    assert!(matches!(refused(LoadConfig::new("/v1")), LoadError::Url(_)));
    let good = LoadConfig::new("http://127.0.0.1:1/");
    let config = LoadConfig {
        rate_per_s: 0,
        ..good.clone()
    };
    assert!(matches!(refused(config), LoadError::Range { .. }));
    let config = LoadConfig {
        tenant_header: "a b".to_owned(),
        ..good
    };
    assert!(matches!(refused(config), LoadError::Header(_)));
}
