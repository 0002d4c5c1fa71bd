//! What gateways ask and tell.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use engine::watch::Row;
use model::refusal::Code;
use model::{BundleCounts, EnvironmentName, GatewayName, Refusal, Role};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::api::{CountsAnswer, CountsRequest, Problem};

use super::App;
use super::answer::{Bearer, Body, No, Path, Query, bad_request};
use super::poll::{self, Wait};
use super::sources::{busy, refuse};
use crate::ticks;

/// Rows in one post at most.
const ROWS_PER_POST_MAX: usize = 10_000;
/// Drained hosts in one post at most: a quarter of the largest fleet's.
const DRAINED_PER_POST_MAX: usize = 25_000;

/// Whose routes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Of {
    /// The environment whose traffic the gateway carries.
    environment: String,
}

/// Where requests go. With `If-None-Match` and `wait_ms` it answers as soon as that changes.
#[utoipa::path(get, path = "/v1/gateways/{gateway}/routes", tag = "gateways",
    params(("gateway" = String, Path, description = "The gateway's name"), Of, Wait),
    responses((status = 200, body = Object), (status = 304), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn routes(
    State(app): State<App>,
    bearer: Bearer,
    Path(gateway): Path<String>,
    Query(of): Query<Of>,
    headers: HeaderMap,
    Query(wait): Query<Wait>,
) -> Result<Response, No> {
    bearer.may(&app, Role::Agent)?;
    gateway.parse::<GatewayName>().map_err(bad_request)?;
    let environment = of
        .environment
        .parse::<EnvironmentName>()
        .map_err(bad_request)?;
    let Some(mut board) = app.boards.routes(&environment) else {
        return Err(No(Refusal::new(
            Code::NotFound,
            format!("environment {environment} is not in the topology"),
            "Correct the gateway's --environment, or plimsoll.toml.",
        )));
    };
    poll::for_news(&app, &mut board, &headers, &wait, |table| {
        table.version.to_string()
    })
    .await;
    let table = board.borrow().clone();
    Ok(poll::answer(&headers, &table.version.to_string(), &*table))
}

/// Totals by bundle and tenant; a repeat or a loss changes nothing.
#[utoipa::path(post, path = "/v1/gateways/{gateway}/counts", tag = "gateways", request_body = CountsRequest,
    params(("gateway" = String, Path, description = "The gateway's name")),
    responses((status = 200, body = CountsAnswer), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn counts(
    State(app): State<App>,
    bearer: Bearer,
    Path(gateway): Path<String>,
    Body(request): Body<CountsRequest>,
) -> Result<Json<CountsAnswer>, No> {
    bearer.may(&app, Role::Agent)?;
    let gateway = gateway.parse::<GatewayName>().map_err(bad_request)?;
    if request.rows.len() > ROWS_PER_POST_MAX {
        let message = format!("{} rows; at most {ROWS_PER_POST_MAX}", request.rows.len());
        return Err(No(Refusal::new(
            Code::TooLarge,
            message,
            "Post them in parts.",
        )));
    }
    let drained = request.applied.as_ref().map_or(0, |it| it.drained.len());
    if drained > DRAINED_PER_POST_MAX {
        let message = format!("{drained} drained hosts; at most {DRAINED_PER_POST_MAX}");
        return Err(No(Refusal::new(
            Code::TooLarge,
            message,
            "Drain fewer hosts at once.",
        )));
    }
    refuse(&ticks::problems(&request.ticks))?;
    let CountsRequest {
        environment,
        epoch_ms,
        rows,
        ticks,
        applied,
    } = request;
    let rows = rows.into_iter().map(|row| Row {
        service: row.service,
        digest: row.digest,
        tenant: row.tenant,
        counts: BundleCounts {
            requests: row.requests,
            failed: row.failed.min(row.requests),
        },
    });
    let rows: Vec<Row> = rows.collect();
    let (reply, answer) = tokio::sync::oneshot::channel();
    let taken = app.control.observe(move |watch, now| {
        let taken = watch.ticks(gateway.as_str(), &environment, epoch_ms, ticks, now);
        if let Some(applied) = applied {
            watch.applied(&gateway, epoch_ms, &environment, applied, now);
        }
        let send_all = watch.count(&gateway, &environment, epoch_ms, rows, now);
        let _ = reply.send(CountsAnswer {
            send_all,
            ticks_through: taken.through,
        });
    });
    // Not taken, or lost: the gateway keeps its rows as news and sends them again.
    match (taken, answer.await) {
        (true, Ok(answer)) => Ok(Json(answer)),
        _ => Err(busy()),
    }
}
