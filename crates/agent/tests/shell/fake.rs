//! A control plane that does what a test wants, over real sockets.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use agent::{AgentConfig, ServiceConfig, Timings};
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::order::Dispatch;
use model::{
    Bundle, Command, Commands, Digest, FileEntry, Generation, HealthCheck, HealthProbe, HostName,
    Millis, Order, OrderKind, PackageEntry, Plan, ReleaseId, Report, ReportKind, ServiceName, Task,
    TaskResult,
};
use tokio_util::sync::CancellationToken;
use wire::api::{
    ConfirmRequest, EnrolAnswer, EnrolRequest, Heartbeat, OrdersAnswer, ReportsAnswer,
    ReportsRequest, ResultsRequest, WhoAmI,
};
use wire::sign::{ORDER_TYPE, TASK_TYPE};
use wire::{Envelope, SecretKey};

pub(crate) fn api() -> ServiceName {
    "api".parse().unwrap()
}

pub(crate) fn host() -> HostName {
    "web-01".parse().unwrap()
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) orders: Vec<Envelope>,
    pub(crate) tasks: Vec<Envelope>,
    /// Results of tasks, in the order in which they came, repeats too.
    pub(crate) results: Vec<TaskResult>,
    /// Results are not taken; those that weren't.
    pub(crate) results_lost: bool,
    pub(crate) results_refused: Vec<TaskResult>,
    pub(crate) reverts: Vec<Envelope>,
    /// Joining hosts are told that they are of the last environment.
    pub(crate) gated: bool,
    pub(crate) version: u64,
    pub(crate) blobs: HashMap<Digest, Vec<u8>>,
    /// The next answers for blobs break off after so many bytes.
    pub(crate) break_after: Vec<usize>,
    /// Ranges that were asked for.
    pub(crate) ranges: Vec<String>,
    pub(crate) confirmed: Vec<ConfirmRequest>,
    pub(crate) reports: Vec<Report>,
    pub(crate) beats: Vec<Heartbeat>,
    pub(crate) enrolled: Vec<EnrolRequest>,
    /// Confirmations get no answer at all.
    pub(crate) confirm_hangs: bool,
    /// Everything fails.
    pub(crate) dead: bool,
}

#[derive(Clone)]
pub(crate) struct Fake {
    inner: Arc<Mutex<Inner>>,
    pub(crate) key: SecretKey,
    pub(crate) url: String,
}

impl Fake {
    pub(crate) async fn start() -> Fake {
        wire::install_crypto();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Fake {
            inner: Arc::default(),
            key: SecretKey::generate().unwrap(),
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let router = Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route("/v1/agents/enrol", post(enrol))
            .route("/v1/agents/{host}/orders", get(orders))
            .route("/v1/agents/{host}/events", get(events))
            .route("/v1/agents/{host}/whoami", get(whoami))
            .route("/v1/agents/{host}/confirm", post(confirm))
            .route("/v1/agents/{host}/reports", post(reports))
            .route("/v1/agents/{host}/results", post(results))
            .route("/v1/agents/{host}/heartbeat", post(heartbeat))
            .route("/v1/blobs/{digest}", get(blob))
            .layer(axum::middleware::from_fn_with_state(fake.clone(), alive))
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn now(&self) -> (u64, bool) {
        let inner = self.inner();
        (inner.version, inner.dead)
    }

    /// Uploads contents and orders the bundle.
    pub(crate) fn order(&self, dispatch: &Dispatch, contents: &[&[u8]]) {
        let mut inner = self.inner();
        for content in contents {
            inner.blobs.insert(Digest::of(content), content.to_vec());
        }
        let envelope = self.key.seal(ORDER_TYPE, dispatch);
        inner.orders = vec![envelope];
        inner.version += 1;
    }

    /// Puts these on the host's list, and nothing else.
    pub(crate) fn list(&self, tasks: &[Task]) {
        let mut inner = self.inner();
        let sealed = tasks.iter().map(|task| self.key.seal(TASK_TYPE, task));
        inner.tasks = sealed.collect();
        inner.version += 1;
    }

    pub(crate) fn reported(&self) -> Vec<ReportKind> {
        let inner = self.inner();
        inner
            .reports
            .iter()
            .map(|report| report.kind.clone())
            .collect()
    }
}

async fn alive(
    State(fake): State<Fake>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    if fake.inner().dead {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    next.run(request).await
}

async fn enrol(State(fake): State<Fake>, Json(request): Json<EnrolRequest>) -> Json<EnrolAnswer> {
    let mut inner = fake.inner();
    inner.enrolled.push(request);
    Json(EnrolAnswer {
        control_key: fake.key.public().to_string(),
        gated: inner.gated,
    })
}

async fn orders(State(fake): State<Fake>, headers: HeaderMap) -> Response {
    for _ in 0..40 {
        {
            let inner = fake.inner();
            let tag = format!("\"{}\"", inner.version);
            let known = headers.get(header::IF_NONE_MATCH);
            if known.is_none_or(|known| known.as_bytes() != tag.as_bytes()) {
                let (orders, reverts) = (inner.orders.clone(), inner.reverts.clone());
                let tasks = inner.tasks.clone();
                return (
                    [(header::ETAG, tag)],
                    Json(OrdersAnswer {
                        reverts,
                        tasks,
                        orders,
                    }),
                )
                    .into_response();
            }
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    StatusCode::NOT_MODIFIED.into_response()
}

async fn events(State(fake): State<Fake>) -> Response {
    let stream = futures_util::stream::unfold(0, move |seen| {
        let fake = fake.clone();
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let (version, dead) = fake.now();
                if dead {
                    return None;
                }
                if version > seen {
                    let text = format!("event: orders\ndata: {version}\n\n");
                    return Some((Ok::<_, std::convert::Infallible>(text), version));
                }
            }
        }
    });
    Response::new(Body::from_stream(stream))
}

async fn whoami(UrlPath(host): UrlPath<HostName>) -> Json<WhoAmI> {
    Json(WhoAmI {
        host,
        at: jiff::Timestamp::now(),
    })
}

async fn confirm(
    State(fake): State<Fake>,
    Json(request): Json<ConfirmRequest>,
) -> Json<serde_json::Value> {
    if fake.inner().confirm_hangs {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    fake.inner().confirmed.push(request);
    Json(serde_json::json!({"detail": "confirmed"}))
}

async fn reports(
    State(fake): State<Fake>,
    Json(request): Json<ReportsRequest>,
) -> Json<ReportsAnswer> {
    let mut inner = fake.inner();
    let mut through = inner.reports.last().map_or(0, |report| report.number);
    for report in request.reports {
        if report.number > through {
            through = report.number;
            inner.reports.push(report);
        }
    }
    Json(ReportsAnswer { through })
}

async fn results(State(fake): State<Fake>, Json(request): Json<ResultsRequest>) -> Response {
    let mut inner = fake.inner();
    if inner.results_lost {
        inner.results_refused.extend(request.results);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    inner.results.extend(request.results);
    Json(serde_json::json!({"detail": "taken"})).into_response()
}

async fn heartbeat(
    State(fake): State<Fake>,
    Json(beat): Json<Heartbeat>,
) -> Json<serde_json::Value> {
    fake.inner().beats.push(beat);
    Json(serde_json::json!({"detail": "seen"}))
}

async fn blob(
    State(fake): State<Fake>,
    UrlPath(digest): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    let mut inner = fake.inner();
    let Some(bytes) = inner.blobs.get(&digest.parse::<Digest>().unwrap()).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let range = headers
        .get(header::RANGE)
        .map(|v| v.to_str().unwrap().to_owned());
    let offset = range.as_ref().map_or(0, |range| {
        let from = range.strip_prefix("bytes=").unwrap().trim_end_matches('-');
        from.parse::<usize>().unwrap()
    });
    inner.ranges.extend(range);
    let status = if offset > 0 {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    let rest = bytes[offset..].to_vec();
    if let Some(after) = inner.break_after.pop() {
        // Announces all of it, and breaks off.
        let first = rest[..after.min(rest.len())].to_vec();
        let broken = std::io::Error::other("broken off");
        // The pause lets the first part out before the connection is cut.
        let parts = futures_util::stream::unfold(Some((first, broken)), |state| async move {
            match state {
                Some((first, broken)) if !first.is_empty() => {
                    Some((Ok(first), Some((Vec::new(), broken))))
                }
                Some((_, broken)) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Some((Err(broken), None))
                }
                None => None,
            }
        });
        return (status, Body::from_stream(parts)).into_response();
    }
    (status, rest).into_response()
}

/// One host under test: its folders, its agent.
pub(crate) struct Ship {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: AgentConfig,
    pub(crate) running: Option<(CancellationToken, std::thread::JoinHandle<()>)>,
}

impl Ship {
    pub(crate) fn new(fake: &Fake) -> Ship {
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("live");
        std::fs::create_dir(&live).unwrap();
        std::fs::write(live.join("api.toml"), "generation = 0\n").unwrap();
        std::fs::write(live.join("ok"), "").unwrap();
        let config = AgentConfig {
            control: fake.url.clone(),
            ca: None,
            host: host(),
            state_dir: folder.path().join("state"),
            join_token: Some("pls_test".into()),
            join_token_file: None,
            services: [(api(), ServiceConfig { live })].into(),
            attestation: Default::default(),
            attesters: Vec::new(),
            peer_listen: "127.0.0.1:0".into(),
            peer_address: None,
            probes: Default::default(),
            timings: Timings {
                reconcile_ms: Millis(2000),
                poll_ms: Millis(500),
                heartbeat_busy_ms: Millis(100),
                heartbeat_idle_ms: Millis(200),
                retry_max_ms: Millis(300),
            },
        };
        Ship {
            folder,
            config,
            running: None,
        }
    }

    /// Starts the agent in a runtime of its own, so that it can be dropped like a killed process.
    pub(crate) fn start(&mut self) {
        let (token, config) = (CancellationToken::new(), self.config.clone());
        let dies = token.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    ended = agent::run(config, CancellationToken::new()) => ended.unwrap(),
                    () = dies.cancelled() => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(2));
        });
        self.running = Some((token, thread));
    }

    /// Ends the agent without a word to it.
    pub(crate) async fn kill(&mut self) {
        if let Some((token, thread)) = self.running.take() {
            token.cancel();
            tokio::task::spawn_blocking(move || thread.join().unwrap())
                .await
                .unwrap();
        }
    }

    pub(crate) fn live(&self) -> PathBuf {
        self.folder.path().join("live")
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.live().join(name)).unwrap_or_default()
    }

    pub(crate) fn state(&self) -> &Path {
        &self.config.state_dir
    }
}

impl Drop for Ship {
    fn drop(&mut self) {
        if let Some((token, _)) = &self.running {
            token.cancel();
        }
    }
}

/// A bundle whose health is a file `ok` in its tree.
pub(crate) fn bundle(files: &[(&str, &[u8])]) -> Bundle {
    let shell = |script: &str| Command {
        run: vec!["sh".into(), "-c".into(), script.into()],
        deadline_ms: Millis::seconds(10),
    };
    let files = files.iter().map(|(path, content)| {
        let entry = FileEntry {
            digest: Digest::of(content),
            size_bytes: content.len() as u64,
            executable: false,
        };
        (path.parse().unwrap(), entry)
    });
    Bundle {
        requires: Default::default(),
        service: api(),
        files: files.collect(),
        packages: Default::default(),
        commands: Commands {
            check: Some(shell("! grep broken api.toml")),
            reload: None,
            restart: Some(shell("test \"$PLIMSOLL_ADDRESS\" = 127.0.0.1:8080")),
            exits: Some(shell("echo 7")),
        },
        health: Some(HealthCheck {
            probe: HealthProbe::Command {
                run: vec!["test".into(), "-f".into(), "${tree}/ok".into()],
            },
            interval_ms: Millis(50),
            deadline_ms: Millis(2000),
            grace_ms: Millis(300),
            threshold: 2,
        }),
        plan: Plan::default(),
    }
}

pub(crate) fn package(content: &[u8]) -> PackageEntry {
    PackageEntry {
        conflicts: Default::default(),
        provides: Default::default(),
        requires: Default::default(),
        version: "1".into(),
        digest: Digest::of(content),
        size_bytes: content.len() as u64,
    }
}

pub(crate) fn dispatch(generation: u64, kind: OrderKind, bundle: &Bundle) -> Dispatch {
    Dispatch {
        attestation: None,
        order: Order {
            host: host(),
            service: api(),
            generation: Generation(generation),
            kind,
            digest: bundle.digest(),
            release: ReleaseId(1),
            issued_at: jiff::Timestamp::now(),
            confirm_within_ms: Millis(20_000),
            environment: "production".parse().unwrap(),
            zone: "a".parse().unwrap(),
            address: "127.0.0.1:8080".into(),
        },
        bundle: Some(bundle.clone()),
        peers: Default::default(),
    }
}

/// An agent elsewhere that says this when asked.
pub(crate) async fn peer(control_reachable: bool) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = serde_json::json!({"host": "web-02", "control_reachable": control_reachable});
    let router = Router::new().route("/v1/peer", get(move || async move { Json(answer) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Waits until something holds; generous, because tests share two cores with everything else.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1200 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never: {what}");
}
