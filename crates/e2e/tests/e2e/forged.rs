//! Somebody between control plane and agent who changes orders, makes them up,
//! or brings old ones again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::order::{Dispatch, OrderKind};
use model::{Digest, Event, Generation};
use tokio::sync::Notify;
use wire::Envelope;
use wire::api::OrdersAnswer;
use wire::sign::{ORDER_TYPE, SecretKey};

use crate::fleet::{self, Fleet, live, starts};
use crate::wait::{s, until_so};

/// Each lie is told so often, over polls of their own, before it is looked at what it did.
const TOLD_MIN: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_obeys_no_forged_changed_or_old_order() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2)])?;
    fleet::with(shape, |_| Ok(()), async |fleet| deceive(fleet).await).await
}

async fn deceive(fleet: &mut Fleet) -> Result<()> {
    let load = fleet.customers()?;
    let between = Between::start(fleet.world.control_url()).await?;
    let place = fleet.production().into_iter().next().context("no host")?;
    let config = place.folder.join("agent.toml");
    let text = std::fs::read_to_string(&config)?;
    let rewired = text.replace(&fleet.world.control_url(), &between.url);
    ensure!(rewired != text, "{text}");
    std::fs::write(&config, rewired)?;
    fleet.world.crash(&format!("agent-{}", place.name)).await?;
    fleet.world.start_agent(&place)?;

    let two = fleet.push_good("2").await?;
    let old = between.newest().context("no order came through")?;
    let three = fleet.push_good("3").await?;
    let newest = between.newest().context("no order came through")?;
    ensure!(old != newest);
    let started = starts(&place)?;

    let raised = |envelope: &Envelope| -> Result<Dispatch> {
        let mut dispatch: Dispatch = serde_json::from_slice(&STANDARD.decode(&envelope.payload)?)?;
        dispatch.order.generation = Generation(dispatch.order.generation.0 + 1_000);
        dispatch.order.digest = two.digest;
        dispatch.order.kind = OrderKind::Rollback;
        Ok(dispatch)
    };
    let mut changed = newest.clone();
    changed.payload = STANDARD.encode(serde_json::to_vec(&raised(&newest)?)?);
    let stranger = SecretKey::generate()?.seal(ORDER_TYPE, &raised(&old)?);
    for (what, lie) in [
        ("an old order", old),
        ("a changed order", changed),
        ("a stranger's order", stranger),
    ] {
        between.lie(Some(lie));
        until_so("the lie has been told", s(60), async || {
            Ok(between.told() >= TOLD_MIN)
        })
        .await?;
        ensure!(live(&place)? == fleet.configs["3"], "{what} was obeyed");
        ensure!(starts(&place)? == started, "{what} restarted the service");
    }
    between.lie(None);
    let log = fleet
        .world
        .folder()
        .join(format!("logs/agent-{}.log", place.name));
    let log = std::fs::read_to_string(log)?;
    ensure!(
        log.contains("did not sign"),
        "the agent's log tells of no forgery:\n{log}"
    );
    let moved = fleet.journal().await?.into_iter().any(|record| {
        matches!(&record.event, Event::HostConfirmed { host, digest, .. }
            if *host == place.name && *digest == two.digest && record.seq > three.version)
    });
    ensure!(!moved, "the journal believes that the host moved");

    // Lies raised no fence: the next true order is obeyed.
    fleet.push_good("4").await?;
    fleet.all_serve(&fleet.world.hosts, "4", s(20)).await?;
    load.stop().await;
    Ok(())
}

/// A proxy in front of the control plane.
pub(crate) struct Between {
    pub(crate) url: String,
    told: Arc<Told>,
}

struct Told {
    control: String,
    http: reqwest::Client,
    now: Mutex<Now>,
    /// A long poll that is under way ends, because a lie is to be told.
    hurry: Notify,
}

#[derive(Default)]
struct Now {
    newest: Option<Envelope>,
    lie: Option<Envelope>,
    told: u64,
}

impl Told {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By itself, so that the lock is free again when the answer is made.
    fn lie(&self) -> Option<Envelope> {
        self.now().lie.clone()
    }
}

impl Between {
    pub(crate) async fn start(control: String) -> Result<Between> {
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        let told = Arc::new(Told {
            control,
            http: builder.build()?,
            now: Mutex::default(),
            hurry: Notify::new(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(pass).with_state(Arc::clone(&told));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Between { url, told })
    }

    pub(crate) fn newest(&self) -> Option<Envelope> {
        self.told.now().newest.clone()
    }

    pub(crate) fn lie(&self, lie: Option<Envelope>) {
        let mut now = self.told.now();
        (now.lie, now.told) = (lie, 0);
        self.told.hurry.notify_waiters();
    }

    fn told(&self) -> u64 {
        self.told.now().told
    }
}

/// Passes everything on but hints, so that the agent asks again and again; and orders, when it lies.
async fn pass(
    State(told): State<Arc<Told>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if uri.path().ends_with("/events") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let orders = method == Method::GET && uri.path().ends_with("/orders");
    if orders && let Some(lie) = told.lie() {
        return lied(&told, lie);
    }
    let url = format!("{}{uri}", told.control);
    let mut request = told.http.request(method, url).body(body);
    for name in ["authorization", "content-type", "if-none-match", "range"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    let answer = tokio::select! {
        answer = request.send() => answer,
        () = told.hurry.notified(), if orders => return StatusCode::BAD_GATEWAY.into_response(),
    };
    let Ok(answer) = answer else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let Ok(bytes) = answer.bytes().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    // While it waited for news, a lie may have been asked for.
    if orders && let Some(lie) = told.lie() {
        return lied(&told, lie);
    }
    if orders
        && let Ok(answer) = serde_json::from_slice::<OrdersAnswer>(&bytes)
        && let Some(envelope) = answer.orders.into_iter().next()
    {
        told.now().newest = Some(envelope);
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    for name in ["content-type", "etag", "content-range"] {
        if let Some(value) = headers.get(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn lied(told: &Told, lie: Envelope) -> Response {
    let mut now = told.now();
    now.told += 1;
    let tag = format!("\"{}\"", Digest::of(&now.told.to_le_bytes()).short());
    let answer = OrdersAnswer {
        orders: vec![lie],
        reverts: Vec::new(),
        tasks: Vec::new(),
    };
    ([("etag", tag)], axum::Json(answer)).into_response()
}
