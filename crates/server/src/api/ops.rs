//! For those who run the control plane.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use wire::api::Done;

use super::App;
use super::answer::No;
use crate::metrics::{self, Fleet};

/// Alive: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, body = Done)))]
pub(crate) async fn healthz() -> Json<Done> {
    Json(Done {
        detail: "alive".into(),
    })
}

/// Ready: the control loop answers, and it isn't stopping.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses((status = 200, body = Done), (status = 503, content_type = "application/problem+json", body = wire::api::Problem)))]
pub(crate) async fn readyz(State(app): State<App>) -> Result<Json<Done>, No> {
    if *app.stop.borrow() {
        return Err(No(model::Refusal::new(
            model::refusal::Code::Overloaded,
            "the control plane is stopping",
            "Ask another one, or wait for it to come back.",
        )));
    }
    app.control.read(|_, _, _| ()).await;
    Ok(Json(Done {
        detail: "ready".into(),
    }))
}

/// OpenMetrics.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, content_type = "application/openmetrics-text", body = String)))]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let position = *app.boards.position().borrow();
    let fleet = app
        .control
        .read(move |state, watch, now| Fleet::of(state, watch, now, position))
        .await;
    (
        [(CONTENT_TYPE, metrics::CONTENT_TYPE)],
        metrics::page(&fleet, &app.requests, &app.sources, app.boards.distrusted()),
    )
        .into_response()
}

/// This API, as an OpenAPI 3.1 document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "operations",
    responses((status = 200, body = Object)))]
pub(crate) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(super::openapi())
}
