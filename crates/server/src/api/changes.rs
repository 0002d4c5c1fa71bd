//! Changes on their way in: proposing one, and looking at one without.
//!
//! Invariant: a proposal carries what this process found under the rules and
//! the good bundle that still hold when the engine decides.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::{Beside, Input};
use model::refusal::Code;
use model::{Actor, Bundle, Event, Finding, Refusal, ReleaseId, Role};
use wire::api::{CheckAnswer, CheckRequest, Problem, ProposeRequest, ReleaseView};

use super::App;
use super::answer::{Bearer, Body, No};
use super::people::view;
use crate::checks::{self, Against, Looked};
use crate::control::ControlError;
use crate::{foreseen, plan};

/// Rules or the good bundle may change while a change is being checked; it is then checked
/// again, so often at most. They change by the minute at the most, and checks take seconds.
const CHECK_TRIES: usize = 3;

/// Proposes a change: it begins its way through the pipeline at once, if nothing stands against it.
#[utoipa::path(post, path = "/v1/releases", tag = "releases", request_body = ProposeRequest,
    responses((status = 201, body = ReleaseView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn propose(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<ProposeRequest>,
) -> Result<Response, No> {
    let by = bearer.may(&app, Role::Author)?;
    let outcome = try_propose(&app, by, request).await;
    if let Err(No(refusal)) = &outcome {
        app.requests.refused(refusal.code);
    }
    let view = view(&app, outcome?).await?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

async fn try_propose(app: &App, by: Actor, request: ProposeRequest) -> Result<ReleaseId, No> {
    let ProposeRequest {
        bundle,
        message,
        base,
        break_glass,
    } = request;
    all_there(app, &bundle).await?;
    for _ in 0..CHECK_TRIES {
        let Found {
            looked,
            against,
            findings,
        } = find(app, &bundle).await?;
        if let Some(refusal) = checks::refusal(findings) {
            return Err(No(refusal));
        }
        let input = Input::Propose {
            by: by.clone(),
            bundle: Box::new(bundle.clone()),
            base,
            message: message.clone(),
            checked: Box::new(looked.checked),
            break_glass,
        };
        let service = bundle.service.clone();
        let holds = move |state: &engine::State| against.holds(state, &service);
        match app.control.decide_if(input, Some(Box::new(holds))).await {
            Err(ControlError::Moved) => {}
            outcome => {
                let decided = outcome?;
                let id = decided.events.iter().find_map(|event| match event {
                    Event::ReleaseProposed { release, .. } => Some(*release),
                    _ => None,
                });
                return Ok(id.unwrap_or_default());
            }
        }
    }
    Err(ControlError::Moved.into())
}

/// Everything that can be said of a change before any host. Nothing is proposed, and findings are no refusal.
#[utoipa::path(post, path = "/v1/checks", tag = "releases", request_body = CheckRequest,
    responses((status = 200, body = CheckAnswer), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn check(
    State(app): State<App>,
    bearer: Bearer,
    Body(CheckRequest { bundle }): Body<CheckRequest>,
) -> Result<Json<CheckAnswer>, No> {
    bearer.may(&app, Role::Author)?;
    all_there(&app, &bundle).await?;
    let Found {
        looked,
        against,
        findings,
    } = find(&app, &bundle).await?;
    let digest = bundle.digest();
    let foreseen = app.control.read({
        let bundle = bundle.clone();
        move |state, watch, now| {
            let freezes = foreseen::freezes(state, watch, &bundle, now);
            let ahead = plan::ahead(state, watch, &bundle.service, &bundle.plan);
            (freezes, ahead)
        }
    });
    let (freezes, ahead) = foreseen.await;
    let gates = foreseen::gates(&bundle, &against, &looked.checked, &findings, &freezes);
    let approvals_needed = foreseen::approvals(&against.rules, &looked.checked);
    let checked = looked.checked;
    Ok(Json(CheckAnswer {
        digest,
        base: against.good.as_ref().map(|(digest, _)| *digest),
        check_set: against.rules.digest(),
        findings,
        references: checked.references,
        risks: checked.risks,
        gates,
        approvals_needed,
        plan: Some(plan::view(bundle.service, &ahead)),
    }))
}

/// Every blob of the bundle was uploaded.
async fn all_there(app: &App, bundle: &Bundle) -> Result<(), No> {
    let mut missing = Vec::new();
    for (digest, _) in bundle.blobs() {
        if !app.blobs.has(digest).await {
            missing.push(digest.short());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(No(Refusal::new(
        Code::MissingBlob,
        format!(
            "{} blobs were not uploaded: {}",
            missing.len(),
            missing.join(", ")
        ),
        "Upload them first (PUT /v1/blobs/DIGEST); `plimsoll push` does.",
    )))
}

struct Found {
    looked: Looked,
    against: Against,
    /// Of all kinds: documents, packages, compatibility.
    findings: Vec<Finding>,
}

async fn find(app: &App, bundle: &Bundle) -> Result<Found, No> {
    let read = app.control.read({
        let bundle = bundle.clone();
        move |state, _, _| {
            // What has no form at all is not worth a look at its documents.
            engine::decide::well_formed(state, &bundle)?;
            let beside = Beside::of(state, &bundle.service);
            Ok::<_, Refusal>((Against::of(state, &bundle.service), beside))
        }
    });
    let (against, beside) = read.await?;
    let looking = app.checks.look(bundle.clone(), against.clone(), beside);
    let mut looked = looking.await?;
    let findings = std::mem::take(&mut looked.findings);
    Ok(Found {
        looked,
        against,
        findings,
    })
}
