//! The end of a control plane, and what the next one finds.

use std::time::{Duration, Instant};

use engine::state::STATE_FORMAT;
use model::{Digest, Report, ReportKind, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::api::{HostView, ReleaseState, ReportsRequest, StatusView};
use wire::client::Fetched;

use crate::support::{Agent, PATIENCE, Server, config, until};

/// When the control plane last heard of a host.
async fn heard(server: &Server, agent: &Agent) -> Option<Timestamp> {
    let hosts: Vec<HostView> = server.operator.get("/v1/hosts").await.unwrap();
    let host = hosts.into_iter().find(|host| host.name == agent.name);
    host.and_then(|host| host.seen_at)
}

/// Stops `server` while a long poll and a stream of `agent` are open: both end well, and so does `run`.
pub(crate) async fn ends_a_waiting_poll_and_a_stream(server: Server, agent: &Agent) {
    let (_, tag) = agent.orders().await;
    let mut stream = agent.client.hints(&agent.name).await.unwrap();
    stream.chunk().await.unwrap().expect("the first hint");
    let before = heard(&server, agent).await;
    let (client, path) = (agent.client.clone(), agent.path("orders"));
    let poll = tokio::spawn(async move {
        let wait = Duration::from_secs(50);
        client
            .get_newer::<serde_json::Value>(&path, &tag, wait)
            .await
    });
    until("the poll has arrived", async || {
        (heard(&server, agent).await > before).then_some(())
    })
    .await;
    let began = Instant::now();
    server.tell_to_stop();
    let polled = tokio::time::timeout(PATIENCE, poll).await.unwrap().unwrap();
    assert!(matches!(polled.unwrap(), Fetched::Unchanged));
    let rest = tokio::time::timeout(PATIENCE, async {
        while let Some(chunk) = stream.chunk().await.unwrap() {
            drop(chunk);
        }
    });
    rest.await.expect("the stream ends");
    server.stopped().await;
    let took = began.elapsed();
    assert!(
        took < config("".as_ref()).drain,
        "nothing had to be cut off: {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_requests_and_streams_end_with_the_stop() {
    let server = Server::start().await;
    let agent = server.join("web-1").await;
    // Connections that say nothing, or nothing more, are in nobody's way.
    let _silent = TcpStream::connect(server.address()).await.unwrap();
    let _used = server
        .operator
        .get::<StatusView>("/v1/status")
        .await
        .unwrap();
    ends_a_waiting_poll_and_a_stream(server, &agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_does_not_end_is_cut_off_after_the_drain() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.drain = Duration::from_millis(300);
    let server = Server::with(config).await;
    let aside = server.data.join("blobs/aside");
    let mut upload = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "PUT /v1/blobs/{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1000\r\n\r\nten bytes.",
        Digest::of(b"x"),
        server.token
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    let mut half = TcpStream::connect(server.address()).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost:")
        .await
        .unwrap();
    let count = || std::fs::read_dir(&aside).unwrap().count();
    until("the upload begins", async || (count() == 1).then_some(())).await;
    let began = Instant::now();
    server.stop().await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, upload.read_to_end(&mut rest)).await;
    assert!(
        read.is_ok() && rest.is_empty(),
        "{}",
        String::from_utf8_lossy(&rest)
    );
    until("nothing is left aside", async || {
        (count() == 0).then_some(())
    })
    .await;
    let verified = journal::verify_file(&folder.path().join("journal.db")).unwrap();
    assert_eq!(verified.events, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_after_the_stop() {
    let server = Server::start().await;
    let (address, operator) = (server.address(), server.operator.clone());
    let folder = server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    let outcome = operator.get::<StatusView>("/v1/status").await;
    assert!(
        matches!(outcome, Err(wire::ClientError::Unreachable { .. })),
        "{outcome:?}"
    );
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_start_goes_on_where_this_one_ended() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let first = server.good(&agents, "first").await;
    let second = server.propose("second").await.unwrap();
    let ordered = agents[0].order_above(model::Generation(1)).await;
    let body = serde_json::json!({ "reason": "fair day" });
    let _: serde_json::Value = server.operator.post("/v1/freezes", &body).await.unwrap();
    let data = server.data.clone();
    let folder = server.stop().await;
    let verified = journal::verify_file(&data.join("journal.db")).unwrap();

    let again = Server::with(config(&data)).await;
    let now: StatusView = again.operator.get("/v1/status").await.unwrap();
    assert_eq!(
        now.position, verified.events,
        "a start alone journals nothing"
    );
    assert_eq!(now.services[0].good, Some(first.digest));
    assert_eq!(now.freezes[0].reason, "fair day");
    let active = now.services[0].active.as_ref().unwrap();
    assert_eq!(
        (active.id, active.state),
        (second.id, ReleaseState::Rolling)
    );
    assert_eq!(again.view(first.id).await.state, ReleaseState::Good);

    // Hosts keep their keys, and find the same orders under the same signature.
    let agents: Vec<Agent> = agents
        .into_iter()
        .map(|agent| Agent {
            client: again.operator.as_identity(wire::Identity::Host(
                agent.name.clone(),
                Box::new(agent.key.clone()),
            )),
            ..agent
        })
        .collect();
    assert_eq!(agents[0].orders().await.0, [ordered]);
    let body = serde_json::json!({ "reason": "over" });
    let _: serde_json::Value = again.operator.post("/v1/thaws", &body).await.unwrap();
    again.carry(&agents, second.id, ReleaseState::Good).await;
    again.stop().await;
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_saved_on_the_way_and_a_start_from_it_is_the_same() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    server.good(&agents, "first").await;
    let agent = server.join("web-1").await;
    // Reports come a thousand to a request, each an event: the cheapest way to a long journal.
    let generation = agent.orders().await.0[0].order.generation;
    for batch in 0..6 {
        let reports = (1..=1000).map(|number| Report {
            number: batch * 1000 + number,
            service: "api".parse().unwrap(),
            generation,
            at: Timestamp::now(),
            kind: ReportKind::Health {
                running: Digest::of(b"first"),
                healthy: number % 2 == 0,
                reason: String::new(),
            },
        });
        let request = ReportsRequest {
            reports: reports.collect(),
        };
        let path = agent.path("reports");
        let _: serde_json::Value = agent.client.post(&path, &request).await.unwrap();
    }
    let before: StatusView = server.operator.get("/v1/status").await.unwrap();
    assert!(before.position > 6000);
    let data = server.data.clone();
    // As a crash would leave it: the files as they are at this moment.
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("blobs")).unwrap();
    for name in [
        "journal.db",
        "journal.db-wal",
        "control.key",
        "operator.token",
    ] {
        if data.join(name).exists() {
            std::fs::copy(data.join(name), copy.path().join(name)).unwrap();
        }
    }
    let folder = server.stop().await;

    let on_the_way = snapshot_at(copy.path()).await;
    assert!(
        (5_000..before.position).contains(&on_the_way),
        "{on_the_way}"
    );
    assert_eq!(
        snapshot_at(&data).await,
        before.position,
        "and one at the end"
    );
    for folder in [copy.path(), &data] {
        let again = Server::with(config(folder)).await;
        let now: StatusView = again.operator.get("/v1/status").await.unwrap();
        assert_eq!(now.position, before.position);
        assert_eq!(now.services, before.services);
        assert_eq!(now.hosts_enrolled, before.hosts_enrolled);
        assert_eq!(again.operator.releases(None).await.unwrap().len(), 1);
        again.stop().await;
        journal::verify_file(&folder.join("journal.db")).unwrap();
    }
    drop(folder);
}

/// The position of the newest snapshot.
async fn snapshot_at(data: &std::path::Path) -> u64 {
    let journal = journal::Journal::open(&data.join("journal.db")).unwrap();
    let snapshot = journal.load_snapshot(STATE_FORMAT).await.unwrap();
    journal.close().await;
    snapshot.map_or(0, |snapshot| snapshot.seq.0)
}
