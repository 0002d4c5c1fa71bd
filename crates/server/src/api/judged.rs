//! What the judge says, what people make of it, and what a plan will be able to see.

use axum::Json;
use axum::extract::State;
use engine::Input;
use model::refusal::Code;
use model::{Refusal, ReleaseId, Role};
use wire::api::{ContinueRequest, PlanRequest, PlanView, Problem, ReleaseView, VerdictView};

use super::App;
use super::answer::{Bearer, Body, No, Path, bad_request};
use super::people::{unknown_release, view};
use crate::control::ControlError;
use crate::{plan, verdicts};

fn number(text: &str) -> Result<ReleaseId, No> {
    let number = text.parse().map(ReleaseId);
    number.map_err(|_| bad_request(format!("{text:?} is no release number")))
}

/// What the judge says of a release: now while it is on its way, else its last word.
#[utoipa::path(get, path = "/v1/releases/{id}/verdict", tag = "releases",
    params(("id" = u64, Path, description = "The release's number")),
    responses((status = 200, body = VerdictView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn verdict(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<VerdictView>, No> {
    bearer.may(&app, Role::Viewer)?;
    let id = number(&id)?;
    let known = app.control.read(move |state, watch, now| {
        let release = state.releases.get(&id)?;
        Some(verdicts::known(state, watch, release, now))
    });
    let known = known.await.ok_or_else(|| No(unknown_release(id)))?;
    let view = verdicts::complete(known, &app.journal).await;
    let view = view.map_err(|error| ControlError::Failed(error.to_string()))?;
    Ok(Json(view))
}

/// Passes a wave that is held, on a person's word.
#[utoipa::path(post, path = "/v1/releases/{id}/continue", tag = "releases", request_body = ContinueRequest,
    params(("id" = u64, Path, description = "The release's number")),
    responses((status = 200, body = ReleaseView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn carry_on(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
    Body(ContinueRequest { reason }): Body<ContinueRequest>,
) -> Result<Json<ReleaseView>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let release = number(&id)?;
    app.control
        .decide(Input::Continue {
            by,
            release,
            reason,
        })
        .await?;
    view(&app, release).await.map(Json)
}

/// What each wave of a plan can see, from the service's own traffic. Nothing is proposed.
#[utoipa::path(post, path = "/v1/plan", tag = "releases", request_body = PlanRequest,
    responses((status = 200, body = PlanView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn advise(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<PlanRequest>,
) -> Result<Json<PlanView>, No> {
    bearer.may(&app, Role::Viewer)?;
    let PlanRequest { service, plan } = request;
    let name = service.clone();
    let ahead = app.control.read(move |state, watch, _| {
        if !state.topology.services.contains_key(&service) {
            return Err(Refusal::new(
                Code::UnknownService,
                format!("service {service} is not in the topology"),
                "`plimsoll status` lists the services.",
            ));
        }
        let plan = plan.unwrap_or_else(|| plan::usual(state, &service));
        Ok(plan::ahead(state, watch, &service, &plan))
    });
    Ok(Json(plan::view(name, &ahead.await?)))
}
