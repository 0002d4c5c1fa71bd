//! Who serves whom: looked at, and changed by operators.

use axum::Json;
use axum::extract::State;
use engine::Input;
use engine::decide::Wanted;
use model::refusal::Code;
use model::{Event, Refusal, RestartId, Role};
use wire::api::{
    Done, DrainRequest, Problem, RampRequest, RestartRequest, RestartView, RoutingView,
    ShiftRequest, StopRequest,
};

use super::App;
use super::answer::{Bearer, Body, No, Path, bad_request};
use crate::views::traffic as views;

/// Which bundles, hosts and gateways serve, and what is under way with them.
#[utoipa::path(get, path = "/v1/traffic", tag = "traffic",
    responses((status = 200, body = RoutingView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn show(State(app): State<App>, bearer: Bearer) -> Result<Json<RoutingView>, No> {
    bearer.may(&app, Role::Viewer)?;
    let boards = app.boards.clone();
    let view = app.control.read(move |state, watch, now| {
        let version = |environment: &_| {
            let routes = boards.routes(environment);
            routes.map_or(0, |routes| routes.borrow().version)
        };
        views::traffic(state, watch, version, now)
    });
    Ok(Json(view.await))
}

/// Restarts the hosts of a service, drained first, as many at a time as capacity allows.
#[utoipa::path(post, path = "/v1/restarts", tag = "traffic", request_body = RestartRequest,
    responses((status = 200, body = RestartView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn restart(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<RestartRequest>,
) -> Result<Json<RestartView>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let wanted = Wanted {
        service: request.service,
        environment: request.environment,
        hosts: request.hosts,
        parallel: request.parallel,
        floor: request.floor_permille,
        reason: request.reason,
    };
    let decided = app.control.decide(Input::Restart { by, wanted }).await?;
    let id = decided.events.iter().find_map(|event| match event {
        Event::RestartStarted { restart, .. } => Some(*restart),
        _ => None,
    });
    restart_view(&app, id.unwrap_or_default()).await
}

async fn restart_view(app: &App, id: RestartId) -> Result<Json<RestartView>, No> {
    let view = app.control.read(move |state, watch, now| {
        let restart = state.traffic.restarts.get(&id)?;
        Some(views::restart(state, watch, restart, now))
    });
    view.await.map(Json).ok_or_else(|| {
        No(Refusal::new(
            Code::NotFound,
            format!("there is no restart {id}"),
            "`plimsoll traffic show` lists those that go on.",
        ))
    })
}

/// How far a restart is.
#[utoipa::path(get, path = "/v1/restarts/{id}", tag = "traffic",
    params(("id" = u64, Path, description = "The restart's number")),
    responses((status = 200, body = RestartView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn restarting(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<RestartView>, No> {
    bearer.may(&app, Role::Viewer)?;
    let id = id.parse().map(RestartId);
    let id = id.map_err(|_| bad_request("that is no restart's number".to_owned()))?;
    restart_view(&app, id).await
}

/// Restarts no more hosts of a service; those that were told go on.
#[utoipa::path(post, path = "/v1/restarts/stop", tag = "traffic", request_body = StopRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn stop(
    State(app): State<App>,
    bearer: Bearer,
    Body(StopRequest { service, reason }): Body<StopRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let input = Input::StopRestart {
        by,
        service,
        reason,
    };
    told(&app, input).await
}

/// Takes a host out of the routes until somebody lets it in again.
#[utoipa::path(post, path = "/v1/traffic/drain", tag = "traffic", request_body = DrainRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn drain(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<DrainRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let input = Input::Drain {
        by,
        service: request.service,
        host: request.host,
        reason: request.reason,
        force: request.force,
    };
    told(&app, input).await
}

/// Lets a drained host in again.
#[utoipa::path(post, path = "/v1/traffic/undrain", tag = "traffic", request_body = DrainRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn undrain(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<DrainRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let input = Input::Undrain {
        by,
        service: request.service,
        host: request.host,
        reason: request.reason,
    };
    told(&app, input).await
}

/// Takes all requests from a bundle that is on its way, without sending it back.
#[utoipa::path(post, path = "/v1/traffic/shift", tag = "traffic", request_body = ShiftRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn shift(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<ShiftRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let input = Input::Shift {
        by,
        service: request.service,
        digest: request.away_from,
        reason: request.reason,
    };
    told(&app, input).await
}

/// Lets in a part of a service's tenants; it opens further by itself while answers are good.
#[utoipa::path(post, path = "/v1/traffic/ramp", tag = "traffic", request_body = RampRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn ramp(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<RampRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let input = Input::Ramp {
        by,
        service: request.service,
        open: request.open_permille,
        hold: request.hold,
        reason: request.reason,
    };
    told(&app, input).await
}

/// What followed, as the journal says it.
async fn told(app: &App, input: Input) -> Result<Json<Done>, No> {
    let decided = app.control.decide(input).await?;
    let words: Vec<String> = decided.events.iter().map(ToString::to_string).collect();
    let detail = match words.is_empty() {
        true => "it was so already".to_owned(),
        false => words.join("; "),
    };
    Ok(Json(Done { detail }))
}
