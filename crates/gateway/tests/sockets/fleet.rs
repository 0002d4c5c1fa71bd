//! What stands around a gateway in these tests.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use gateway::{GatewayConfig, GatewayError, Started};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use model::{
    Backend, BundleCounts, CellCounts, Digest, EndpointClass, Permille, Pool, RouteTable,
    ServiceName, ServiceRoutes, TickCounts,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use wire::api::{CountsAnswer, CountsRequest};

pub(crate) fn service() -> ServiceName {
    "api".parse().unwrap()
}

pub(crate) fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// Waits until `holds`, for five seconds at most.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 5 s: {what}");
}

/// A port where nobody listens.
pub(crate) async fn dead_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// One bundle's pool: name, share, addresses.
pub(crate) fn pool(name: &str, share: u16, addresses: &[SocketAddr]) -> Pool {
    let backend = |(n, address): (usize, &SocketAddr)| Backend {
        host: format!("{name}-{n}").parse().unwrap(),
        address: address.to_string(),
    };
    Pool {
        digest: digest(name),
        share_permille: Permille::new(share).unwrap(),
        backends: addresses.iter().enumerate().map(backend).collect(),
    }
}

pub(crate) fn table(version: u64, pools: Vec<Pool>) -> RouteTable {
    let routes = ServiceRoutes {
        tenant_header: Some("x-tenant".to_owned()),
        endpoints: vec![EndpointClass {
            name: "pay".to_owned(),
            methods: vec!["POST".to_owned()],
            paths: vec!["/pay/*".to_owned()],
            ..EndpointClass::default()
        }],
        pools,
        ..ServiceRoutes::default()
    };
    RouteTable {
        version,
        environment: "production".parse().unwrap(),
        services: BTreeMap::from([(service(), routes)]),
    }
}

/// A control plane that keeps what it is told.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) rows: BTreeMap<(Digest, String), BundleCounts>,
    pub(crate) posts: usize,
    pub(crate) rows_max: usize,
    /// Each second once, by its number.
    pub(crate) seconds: BTreeMap<u64, TickCounts>,
    /// Seconds that came again.
    pub(crate) repeats: usize,
    /// What was last said of the routes.
    pub(crate) applied: Option<model::Applied>,
    epoch: Option<u64>,
    /// Runs of the gateway that another has taken over from.
    ended: Vec<u64>,
}

pub(crate) struct Control {
    pub(crate) address: SocketAddr,
    pub(crate) known: Mutex<Known>,
    table: watch::Sender<RouteTable>,
    /// Answers 503 to counts while set.
    pub(crate) down: AtomicBool,
    /// Never answers counts while set.
    pub(crate) hangs: AtomicBool,
    /// Answers 400 to counts with seconds while set.
    pub(crate) refuses_seconds: AtomicBool,
    /// Acknowledges no second while set.
    pub(crate) acknowledges_none: AtomicBool,
}

impl Control {
    pub(crate) async fn start(table: RouteTable) -> Arc<Control> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control = Arc::new(Control {
            address: listener.local_addr().unwrap(),
            known: Mutex::default(),
            table: watch::Sender::new(table),
            down: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            refuses_seconds: AtomicBool::new(false),
            acknowledges_none: AtomicBool::new(false),
        });
        let app = axum::Router::new()
            .route("/v1/gateways/edge-1/routes", get(routes))
            .route("/v1/gateways/edge-1/counts", post(counts))
            .with_state(control.clone());
        tokio::spawn(async move {
            axum_serve(listener, app).await;
        });
        control
    }

    pub(crate) fn set(&self, table: RouteTable) {
        self.table.send_replace(table);
    }

    pub(crate) fn total(&self) -> BundleCounts {
        let known = self.known.lock().unwrap();
        known
            .rows
            .values()
            .fold(BundleCounts::default(), |sum, row| sum.plus(*row))
    }

    pub(crate) fn of(&self, bundle: &str, tenant: &str) -> BundleCounts {
        let known = self.known.lock().unwrap();
        let row = known.rows.get(&(digest(bundle), tenant.to_owned()));
        row.copied().unwrap_or_default()
    }

    /// All cells of all seconds, added up: by host and class.
    pub(crate) fn cells(&self) -> BTreeMap<(String, String), CellCounts> {
        let known = self.known.lock().unwrap();
        let mut sums: BTreeMap<(String, String), CellCounts> = BTreeMap::new();
        for cell in known.seconds.values().flat_map(|tick| &tick.cells) {
            let host = cell
                .host
                .as_ref()
                .map_or(String::new(), |it| it.to_string());
            match sums.entry((host, cell.class.clone())) {
                Entry::Vacant(vacant) => {
                    vacant.insert(cell.clone());
                }
                Entry::Occupied(mut sum) => {
                    let sum = sum.get_mut();
                    assert_eq!((&sum.service, sum.digest), (&cell.service, cell.digest));
                    sum.requests += cell.requests;
                    sum.failed += cell.failed;
                    sum.latency.extend(&cell.latency);
                }
            }
        }
        sums
    }

    /// The control plane restarts and knows nothing.
    pub(crate) fn forget(&self) {
        *self.known.lock().unwrap() = Known::default();
    }
}

/// axum's own `serve` needs a feature that the workspace leaves out.
async fn axum_serve(listener: TcpListener, app: axum::Router) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(app.clone());
        connections.spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn routes(
    State(control): State<Arc<Control>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    assert_eq!(query["environment"], "production");
    let wait = Duration::from_millis(query["wait_ms"].parse().unwrap());
    let mut watched = control.table.subscribe();
    let known = headers
        .get("if-none-match")
        .map(|tag| tag.to_str().unwrap().to_owned());
    let is_new = |table: &RouteTable| Some(table.version.to_string()) != known;
    let waited = tokio::time::timeout(wait, watched.wait_for(is_new)).await;
    match waited {
        Ok(table) => {
            let table = table.unwrap().clone();
            ([("etag", table.version.to_string())], Json(table)).into_response()
        }
        Err(_) => StatusCode::NOT_MODIFIED.into_response(),
    }
}

async fn counts(
    State(control): State<Arc<Control>>,
    Json(request): Json<CountsRequest>,
) -> Response {
    if control.down.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if control.hangs.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    if control.refuses_seconds.load(Ordering::Relaxed) && !request.ticks.is_empty() {
        let problem = serde_json::json!({
            "type": "about:blank", "code": "bad-request", "status": 400,
            "detail": "no such second", "next": "Send another.",
        });
        return (StatusCode::BAD_REQUEST, Json(problem)).into_response();
    }
    let mut known = control.known.lock().unwrap();
    let through = request.ticks.last().map_or(0, |tick| tick.seq);
    if known.ended.contains(&request.epoch_ms) {
        let answer = CountsAnswer {
            send_all: false,
            ticks_through: through,
        };
        return Json(answer).into_response();
    }
    let before = known.epoch.replace(request.epoch_ms);
    let send_all = before != Some(request.epoch_ms);
    if let (true, Some(before)) = (send_all, before) {
        known.ended.push(before);
        known.seconds.clear();
    }
    known.posts += 1;
    known.applied = request.applied;
    known.rows_max = known.rows_max.max(request.rows.len());
    for row in request.rows {
        let counts = BundleCounts {
            requests: row.requests,
            failed: row.failed,
        };
        known.rows.insert((row.digest, row.tenant.0), counts);
    }
    let ticks_through = match control.acknowledges_none.load(Ordering::Relaxed) {
        true => 0,
        false => through,
    };
    for tick in request.ticks {
        match known.seconds.entry(tick.seq) {
            Entry::Vacant(vacant) => {
                vacant.insert(tick);
            }
            Entry::Occupied(known_already) => {
                let first = known_already.get();
                assert_eq!((&first.cells, &first.clients), (&tick.cells, &tick.clients));
                assert!(first.age_ms <= tick.age_ms, "it only grows older");
                known.repeats += 1;
            }
        }
    }
    Json(CountsAnswer {
        send_all,
        ticks_through,
    })
    .into_response()
}

/// A backend that serves an axum app and counts connections.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Host {
    pub(crate) async fn serve(app: axum::Router) -> Host {
        Host::raw(move |stream| {
            let service = hyper_util::service::TowerToHyperService::new(app.clone());
            async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        })
        .await
    }

    /// A backend that treats each connection as `handle` says.
    pub(crate) async fn raw<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> Host
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        tokio::spawn(async move {
            let mut running = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                running.spawn(handle(stream));
            }
        });
        Host {
            address,
            connections,
        }
    }

    /// A backend that says its name.
    pub(crate) async fn named(name: &'static str) -> Host {
        Host::serve(axum::Router::new().fallback(move || async move { name })).await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Reads one request's head from a raw connection; `None` at its end.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A gateway under test.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where TLS is spoken, if it is.
    pub(crate) secured: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), GatewayError>>,
}

/// The usual configuration, quick enough for tests.
pub(crate) fn config(control: SocketAddr) -> GatewayConfig {
    let name = "edge-1".parse().unwrap();
    let environment = "production".parse().unwrap();
    let mut config = GatewayConfig::new(format!("http://{control}"), name, environment);
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    config.listeners.insert(service(), any);
    config.admin = Some(any);
    config.post_every = Duration::from_millis(50);
    config
}

impl Gateway {
    pub(crate) async fn start(config: GatewayConfig) -> Gateway {
        wire::install_crypto();
        let (stop, stopped) = watch::channel(false);
        let (tell, told) = tokio::sync::oneshot::channel();
        let running = tokio::spawn(gateway::run(config, stopped, move |started: Started| {
            tell.send(started).unwrap();
        }));
        let started = told.await.unwrap();
        Gateway {
            address: started.services[&service()],
            admin: started.admin.unwrap(),
            secured: started.tls.get(&service()).copied(),
            stop,
            running,
        }
    }

    /// Started, with routes in force.
    pub(crate) async fn ready(config: GatewayConfig) -> Gateway {
        let gateway = Gateway::start(config).await;
        for _ in 0..500 {
            if ask(gateway.admin, "GET", "/healthz", &[], "").await.status == 200 {
                return gateway;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no routes within time");
    }

    pub(crate) async fn metrics(&self) -> String {
        ask(self.admin, "GET", "/metrics", &[], "").await.text()
    }

    /// Waits until the metrics are as wanted, for five seconds at most.
    pub(crate) async fn until(&self, holds: impl Fn(&str) -> bool) {
        let mut text = String::new();
        for _ in 0..500 {
            text = self.metrics().await;
            if holds(&text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within 5 s:\n{text}");
    }

    pub(crate) fn tell_to_stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) async fn stop(self) {
        self.tell_to_stop();
        self.running.await.unwrap().unwrap();
    }
}

/// A gateway before one pool of one bundle called `old`, with its control plane.
pub(crate) async fn before(addresses: &[SocketAddr]) -> (Arc<Control>, Gateway) {
    before_with(addresses, |_| {}).await
}

pub(crate) async fn before_with(
    addresses: &[SocketAddr],
    change: impl FnOnce(&mut GatewayConfig),
) -> (Arc<Control>, Gateway) {
    let control = Control::start(table(1, vec![pool("old", 1000, addresses)])).await;
    let mut config = config(control.address);
    change(&mut config);
    let gateway = Gateway::ready(config).await;
    (control, gateway)
}

pub(crate) fn state_dir(config: &mut GatewayConfig, folder: &tempfile::TempDir) {
    config.state_dir = Some(PathBuf::from(folder.path()));
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    /// The reason of an answer that the gateway made.
    pub(crate) fn reason(&self) -> &str {
        assert_eq!(self.header("content-type"), "application/problem+json");
        self.header("x-plimsoll-reason")
    }
}

/// One kept-alive client connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn to(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Client { sender }
    }

    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.sender.ready().await.unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "api.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) async fn get(&mut self, tenant: &str) -> Answer {
        self.ask("GET", "/", &[("x-tenant", tenant)], "").await
    }
}

/// One request on a connection of its own.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    Client::to(address)
        .await
        .ask(method, path, headers, body)
        .await
}

/// Sends bytes as they are and reads until the other end closes.
pub(crate) async fn talk(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(5), reading)
        .await
        .expect("closed within time");
    String::from_utf8_lossy(&answer).into_owned()
}
