//! What people do about gates: approve, freeze, and break the glass.
//!
//! Invariant: who did it is the token's name and role, never a field of the request.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::Input;
use model::refusal::Code;
use model::{EnvelopeSignature, Event, Millis, Refusal, ReleaseId, Role, Scope, Timestamp};
use wire::api::{
    ApproveRequest, AttestationAnswer, BreakGlassRequest, BreakGlassView, CountersignRequest, Done,
    FreezeRequest, Problem, ReleaseView, ReviewRequest,
};

use wire::PublicKey;

use super::App;
use super::answer::{Bearer, Body, No, Path, bad_request};
use super::people::{unknown_release, view};
use crate::views;

/// A break-glass is for the emergency at hand: it is good for at most a day.
const BREAK_GLASS_VALID_S_MAX: u64 = 24 * 3600;

/// Agrees to somebody else's high-risk change, as it was looked at.
#[utoipa::path(post, path = "/v1/approvals", tag = "gates", request_body = ApproveRequest,
    responses((status = 201, body = ReleaseView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn approve(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<ApproveRequest>,
) -> Result<(StatusCode, Json<ReleaseView>), No> {
    let by = bearer.may(&app, Role::Approver)?;
    let ApproveRequest {
        release,
        binds,
        note,
    } = request;
    app.control
        .decide(Input::Approve {
            by,
            release,
            binds,
            note,
        })
        .await?;
    Ok((StatusCode::CREATED, Json(view(&app, release).await?)))
}

/// The signed fact that a release passed its test, with the evidence.
#[utoipa::path(get, path = "/v1/releases/{id}/attestation", tag = "gates",
    params(("id" = u64, Path, description = "The release's number")),
    responses((status = 200, body = AttestationAnswer), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn attestation(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<AttestationAnswer>, No> {
    bearer.may(&app, Role::Viewer)?;
    let id = number(&id, "release")?;
    let id = ReleaseId(id);
    let control_key = app.control_key.clone();
    let found = app.control.read(move |state, _, now| {
        let Some(release) = state.releases.get(&id) else {
            return Err(unknown_release(id));
        };
        let signed = release.attestation.clone().zip(release.tested.clone());
        let (envelope, tested) = signed.ok_or_else(|| {
            Refusal::new(
                Code::NotAttested,
                format!("release {id} has not passed its test (yet)"),
                "`plimsoll status` shows what it waits for.",
            )
        })?;
        Ok(AttestationAnswer {
            envelope,
            control_key,
            record: tested.record,
            void: engine::attestation_void(state, release, now),
        })
    });
    Ok(Json(found.await?))
}

/// Adds a signature by a key that the control plane doesn't hold, one that the service's rules name.
#[utoipa::path(post, path = "/v1/releases/{id}/countersignatures", tag = "gates", request_body = CountersignRequest,
    params(("id" = u64, Path, description = "The release's number")),
    responses((status = 201, body = ReleaseView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn countersign(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
    Body(request): Body<CountersignRequest>,
) -> Result<(StatusCode, Json<ReleaseView>), No> {
    let by = bearer.may(&app, Role::Approver)?;
    let id = ReleaseId(number(&id, "release")?);
    let CountersignRequest { keyid, sig } = request;
    let held = app.control.read(move |state, _, _| {
        let release = state.releases.get(&id);
        release.and_then(|release| release.attestation.clone())
    });
    // Without an attestation the engine says what is missing.
    if let Some(envelope) = held.await {
        let holds = PublicKey::parse(&keyid).and_then(|key| key.check(&envelope, &sig));
        holds.map_err(|error| {
            No(Refusal::new(
                Code::BadSignature,
                format!("release {id}: {error}"),
                "Sign what is there now: `plimsoll attest countersign`.",
            ))
        })?;
    }
    let signature = EnvelopeSignature { keyid, sig };
    app.control
        .decide(Input::Countersign {
            by,
            release: id,
            signature,
        })
        .await?;
    Ok((StatusCode::CREATED, Json(view(&app, id).await?)))
}

/// Asks to go past gates in an emergency. Nothing is open before a second person agrees.
#[utoipa::path(post, path = "/v1/break-glass", tag = "gates", request_body = BreakGlassRequest,
    responses((status = 201, body = BreakGlassView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn ask(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<BreakGlassRequest>,
) -> Result<(StatusCode, Json<BreakGlassView>), No> {
    let by = bearer.may(&app, Role::Operator)?;
    let BreakGlassRequest {
        service,
        gates,
        reason,
        valid_s,
    } = request;
    let valid = Millis::seconds(valid_s.min(BREAK_GLASS_VALID_S_MAX));
    let decided = app
        .control
        .decide(Input::AskBreakGlass {
            by,
            service,
            gates,
            reason,
            expires_at: valid.after(Timestamp::now()),
        })
        .await?;
    let id = decided.events.iter().find_map(|event| match event {
        Event::BreakGlassAsked { id, .. } => Some(*id),
        _ => None,
    });
    let view = break_glass(&app, id.unwrap_or_default()).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// Agrees to what another operator asked for: from now on a proposal may use it.
#[utoipa::path(post, path = "/v1/break-glass/{id}/confirm", tag = "gates",
    params(("id" = u64, Path, description = "The break-glass's number")),
    responses((status = 200, body = BreakGlassView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn confirm(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<BreakGlassView>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let id = number(&id, "break-glass")?;
    app.control
        .decide(Input::ConfirmBreakGlass { by, id })
        .await?;
    break_glass(&app, id).await.map(Json)
}

/// Notes that somebody looked at it afterwards.
#[utoipa::path(post, path = "/v1/break-glass/{id}/review", tag = "gates", request_body = ReviewRequest,
    params(("id" = u64, Path, description = "The break-glass's number")),
    responses((status = 200, body = BreakGlassView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn review(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
    Body(ReviewRequest { words }): Body<ReviewRequest>,
) -> Result<Json<BreakGlassView>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let id = number(&id, "break-glass")?;
    app.control
        .decide(Input::ReviewBreakGlass { by, id, words })
        .await?;
    break_glass(&app, id).await.map(Json)
}

async fn break_glass(app: &App, id: u64) -> Result<BreakGlassView, No> {
    let found = app
        .control
        .read(move |state, _, _| state.break_glasses.get(&id).map(views::break_glass));
    found.await.ok_or_else(|| {
        No(Refusal::new(
            Code::NoBreakGlass,
            format!("there is no break-glass {id}"),
            "`plimsoll status` lists those that are open or not yet reviewed.",
        ))
    })
}

fn number(text: &str, what: &str) -> Result<u64, No> {
    text.parse()
        .map_err(|_| bad_request(format!("{text:?} is no {what} number")))
}

/// Stops releases of a service, into an environment, or of everything. Rollbacks go on working.
#[utoipa::path(post, path = "/v1/freezes", tag = "releases", request_body = FreezeRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn freeze(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<FreezeRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let scope = scope(&request)?;
    let FreezeRequest { reason, until, .. } = request;
    let end = until.map_or_else(String::new, |until| format!(" until {until:.0}"));
    let detail = format!("releases {} are frozen{end}", words(&scope));
    app.control
        .decide(Input::Freeze {
            by,
            scope,
            reason,
            until,
        })
        .await?;
    Ok(Json(Done { detail }))
}

/// Ends a freeze.
#[utoipa::path(post, path = "/v1/thaws", tag = "releases", request_body = FreezeRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn thaw(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<FreezeRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let scope = scope(&request)?;
    if request.until.is_some() {
        return Err(bad_request(
            "a thaw has no end; freeze with `until` instead",
        ));
    }
    let detail = format!("releases {} go on", words(&scope));
    let reason = request.reason;
    app.control
        .decide(Input::Thaw { by, scope, reason })
        .await?;
    Ok(Json(Done { detail }))
}

fn scope(request: &FreezeRequest) -> Result<Scope, No> {
    match (&request.service, &request.environment) {
        (None, None) => Ok(Scope::Everything),
        (Some(service), None) => Ok(Scope::Service(service.clone())),
        (None, Some(environment)) => Ok(Scope::Environment(environment.clone())),
        (Some(_), Some(_)) => Err(bad_request(
            "a freeze is of one service or of one environment, not of both",
        )),
    }
}

fn words(scope: &Scope) -> String {
    match scope {
        Scope::Everything | Scope::Service(_) => format!("of {scope}"),
        Scope::Environment(_) => format!("into {scope}"),
    }
}
