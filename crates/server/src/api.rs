//! The HTTP API under `/v1`. Everything in it can be read with `curl`.

mod agents;
mod alerts;
mod am;
mod answer;
mod blobs;
mod changes;
mod gates;
mod gateways;
mod incidents;
mod judged;
mod oncall;
mod ops;
mod people;
mod poll;
mod rest;
mod sources;
mod traffic;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;

use self::answer::No;
use crate::blobs::Blobs;
use crate::boards::Boards;
use crate::checks::Checks;
use crate::control::Control;
use crate::limits::{BLOB_WITHIN, BODY_BYTES_MAX, CHECK_WITHIN, POLL_MAX, REQUEST_WITHIN};
use crate::metrics::Requests;
use crate::pages::Tickets;
use crate::sources::Sources;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) control: Control,
    pub(crate) boards: Arc<Boards>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) checks: Checks,
    pub(crate) journal: journal::Journal,
    pub(crate) control_key: String,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) requests: Requests,
    pub(crate) sources: Sources,
    pub(crate) tickets: Tickets,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Plimsoll",
        description = "Staged, tested, judged release of configuration and packages. Send a token as `Authorization: Bearer …`; agents sign each request with their own key instead.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        changes::propose,
        changes::check,
        people::releases,
        people::release,
        judged::verdict,
        judged::carry_on,
        judged::advise,
        people::roll_back,
        gates::freeze,
        gates::thaw,
        people::lift,
        gates::approve,
        gates::attestation,
        gates::countersign,
        gates::ask,
        gates::confirm,
        gates::review,
        people::bundle,
        people::status,
        people::hosts,
        people::topology,
        people::set_topology,
        people::token,
        people::join_token,
        people::journal,
        agents::enrol,
        agents::whoami,
        agents::orders,
        agents::events,
        agents::confirm,
        agents::reports,
        agents::results,
        agents::heartbeat,
        gateways::routes,
        gateways::counts,
        sources::push,
        traffic::show,
        traffic::restart,
        traffic::restarting,
        traffic::stop,
        traffic::drain,
        traffic::undrain,
        traffic::shift,
        traffic::ramp,
        incidents::list,
        incidents::show,
        incidents::open,
        incidents::say,
        oncall::on_call,
        oncall::declare,
        oncall::take,
        oncall::swap,
        oncall::set_override,
        oncall::remove_override,
        oncall::test_page,
        incidents::ask_back,
        incidents::acknowledge,
        alerts::webhook,
        alerts::enqueue,
        blobs::put_blob,
        blobs::get_blob,
        blobs::missing,
        ops::healthz,
        ops::readyz,
        ops::metrics,
        ops::document,
    )
)]
struct Document;

/// The OpenAPI document, as it is served at `/v1/openapi.json`.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

pub(crate) fn router(app: App) -> Router {
    let quick = Router::new()
        .route("/v1/releases", get(people::releases))
        .merge(about_gates())
        .merge(about_verdicts())
        .merge(about_traffic())
        .merge(about_incidents())
        .route("/v1/rollbacks", post(people::roll_back))
        .route("/v1/quarantine/lift", post(people::lift))
        .route("/v1/bundles/{digest}", get(people::bundle))
        .route("/v1/status", get(people::status))
        .route("/v1/hosts", get(people::hosts))
        .route(
            "/v1/topology",
            put(people::set_topology).get(people::topology),
        )
        .route("/v1/tokens", post(people::token))
        .route("/v1/join-tokens", post(people::join_token))
        .route("/v1/agents/enrol", post(agents::enrol))
        .route("/v1/agents/{host}/whoami", get(agents::whoami))
        .route("/v1/agents/{host}/confirm", post(agents::confirm))
        .route("/v1/agents/{host}/reports", post(agents::reports))
        .route("/v1/agents/{host}/results", post(agents::results))
        .route("/v1/agents/{host}/heartbeat", post(agents::heartbeat))
        .route("/v1/gateways/{gateway}/counts", post(gateways::counts))
        .route("/v1/sources/{source}/ticks", post(sources::push))
        .route("/v1/blobs/missing", post(blobs::missing))
        .route("/v1/openapi.json", get(ops::document))
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
        .layer(within(REQUEST_WITHIN))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let patient = Router::new()
        .route("/v1/releases/{id}", get(people::release))
        .route("/v1/journal", get(people::journal))
        .route("/v1/agents/{host}/orders", get(agents::orders))
        .route("/v1/gateways/{gateway}/routes", get(gateways::routes))
        .layer(within(POLL_MAX + REQUEST_WITHIN));
    let checked = Router::new()
        .route("/v1/releases", post(changes::propose))
        .route("/v1/checks", post(changes::check))
        .layer(within(CHECK_WITHIN + REQUEST_WITHIN))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    // A stream ends when its client goes; its own beat finds dead ones.
    let streams = Router::new().route("/v1/agents/{host}/events", get(agents::events));
    let large = Router::new()
        .route(
            "/v1/blobs/{digest}",
            put(blobs::put_blob).get(blobs::get_blob),
        )
        .layer(within(BLOB_WITHIN))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .merge(quick)
        .merge(patient)
        .merge(checked)
        .merge(streams)
        .merge(large)
        .fallback(answer::nothing_there)
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(CatchPanicLayer::custom(|_| {
            answer::broken("a handler panicked")
        }))
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .with_state(app)
}

/// What people do about gates.
fn about_gates() -> Router<App> {
    Router::new()
        .route("/v1/releases/{id}/attestation", get(gates::attestation))
        .route(
            "/v1/releases/{id}/countersignatures",
            post(gates::countersign),
        )
        .route("/v1/approvals", post(gates::approve))
        .route("/v1/break-glass", post(gates::ask))
        .route("/v1/break-glass/{id}/confirm", post(gates::confirm))
        .route("/v1/break-glass/{id}/review", post(gates::review))
        .route("/v1/freezes", post(gates::freeze))
        .route("/v1/thaws", post(gates::thaw))
}

/// Alerts, incidents and on-call.
fn about_incidents() -> Router<App> {
    Router::new()
        .route("/v1/incidents", get(incidents::list).post(incidents::open))
        .route("/v1/incidents/{id}", get(incidents::show))
        .route("/v1/incidents/{id}/words", post(incidents::say))
        .route("/v1/oncall", get(oncall::on_call).put(oncall::declare))
        .route("/v1/oncall/take", post(oncall::take))
        .route("/v1/oncall/swap", post(oncall::swap))
        .route("/v1/oncall/override", post(oncall::set_override))
        .route("/v1/oncall/override/remove", post(oncall::remove_override))
        .route("/v1/oncall/test", post(oncall::test_page))
        .route(
            "/ack/{ticket}",
            get(incidents::ask_back).post(incidents::acknowledge),
        )
        .route("/v1/alerts/webhook", post(alerts::webhook))
        .route("/v2/enqueue", post(alerts::enqueue))
        .merge(am::router())
}

/// Where requests go, and restarts.
fn about_traffic() -> Router<App> {
    Router::new()
        .route("/v1/traffic", get(traffic::show))
        .route("/v1/traffic/drain", post(traffic::drain))
        .route("/v1/traffic/undrain", post(traffic::undrain))
        .route("/v1/traffic/shift", post(traffic::shift))
        .route("/v1/traffic/ramp", post(traffic::ramp))
        .route("/v1/restarts", post(traffic::restart))
        .route("/v1/restarts/stop", post(traffic::stop))
        .route("/v1/restarts/{id}", get(traffic::restarting))
}

/// What the judge says, and what people make of it.
fn about_verdicts() -> Router<App> {
    Router::new()
        .route("/v1/releases/{id}/verdict", get(judged::verdict))
        .route("/v1/releases/{id}/continue", post(judged::carry_on))
        .route("/v1/plan", post(judged::advise))
}

fn within(span: std::time::Duration) -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, span)
}

/// What is the same for every request: it is counted, read to its end, and a no has words.
async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let (request, rest) = rest::lend(request);
    let mut response = next.run(request).await;
    app.requests.count(&route, response.status().as_u16());
    if response.status() == StatusCode::GATEWAY_TIMEOUT {
        response = answer::too_late();
    } else {
        rest.discard().await;
    }
    response
}
