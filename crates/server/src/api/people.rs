//! What people and their programs ask.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use engine::Input;
use model::refusal::Code;
use model::{
    Bundle, Digest, Event, Millis, Refusal, ReleaseId, Role, Seq, ServiceName, Timestamp, Topology,
};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::api::{
    Done, HostView, JoinTokenRequest, LiftRequest, Problem, ReleaseView, RollbackAnswer,
    RollbackRequest, StatusView, StoredRecord, TokenAnswer, TokenRequest,
};
use wire::sign::{new_token, token_hash};

use super::App;
use super::answer::{Bearer, Body, No, Path, Query, bad_request};
use super::poll::{self, Wait};
use crate::access::token_id;
use crate::{checks, views};

/// A join token is good for at most this long.
const JOIN_VALID_S_MAX: u64 = 7 * 24 * 3600;
/// Releases shown at most.
const RELEASES_SHOWN_MAX: usize = 200;
/// Journal records answered at a time.
const RECORDS_MAX: usize = 1000;
/// Bytes of records shown at a time, with at least one: clients read no larger answers.
const PAGE_BYTES_MAX: usize = 7 << 20;

/// Which releases to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Of this service alone.
    #[param(value_type = Option<String>)]
    service: Option<ServiceName>,
}

/// Releases, newest first.
#[utoipa::path(get, path = "/v1/releases", tag = "releases", params(Which),
    responses((status = 200, body = Vec<ReleaseView>), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn releases(
    State(app): State<App>,
    bearer: Bearer,
    Query(which): Query<Which>,
) -> Result<Json<Vec<ReleaseView>>, No> {
    bearer.may(&app, Role::Viewer)?;
    let position = *app.boards.position().borrow();
    let views = app.control.read(move |state, watch, now| {
        let newest = state.releases.values().rev();
        newest
            .filter(|release| {
                which
                    .service
                    .as_ref()
                    .is_none_or(|name| *name == release.service)
            })
            .take(RELEASES_SHOWN_MAX)
            .map(|release| views::release_in_list(state, watch, release, now, position))
            .collect::<Vec<_>>()
    });
    Ok(Json(views.await))
}

/// One release. With `If-None-Match` and `wait_ms` it answers as soon as anything changed.
#[utoipa::path(get, path = "/v1/releases/{id}", tag = "releases",
    params(("id" = u64, Path, description = "The release's number"), Wait),
    responses((status = 200, body = ReleaseView), (status = 304), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn release(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
    headers: HeaderMap,
    Query(wait): Query<Wait>,
) -> Result<Response, No> {
    bearer.may(&app, Role::Viewer)?;
    let id = id
        .parse::<u64>()
        .map_err(|_| bad_request(format!("{id:?} is no release number")))?;
    let mut position = app.boards.position();
    poll::for_news(&app, &mut position, &headers, &wait, |position| {
        position.to_string()
    })
    .await;
    let view = view(&app, ReleaseId(id)).await?;
    let tag = view.version.to_string();
    Ok(poll::answer(&headers, &tag, &view))
}

pub(super) async fn view(app: &App, id: ReleaseId) -> Result<ReleaseView, No> {
    let position = *app.boards.position().borrow();
    let found = app.control.read(move |state, watch, now| {
        let release = state.releases.get(&id)?;
        Some(views::release(state, watch, release, now, position))
    });
    found.await.ok_or_else(|| No(unknown_release(id)))
}

pub(super) fn unknown_release(id: ReleaseId) -> Refusal {
    Refusal::new(
        Code::UnknownRelease,
        format!("there is no release {id}"),
        "`plimsoll releases` lists them; old ones are in the journal.",
    )
}

/// Sends a release back. Refused only for an unknown service or release, or a target that was never good.
#[utoipa::path(post, path = "/v1/rollbacks", tag = "releases", request_body = RollbackRequest,
    responses((status = 200, body = RollbackAnswer), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn roll_back(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<RollbackRequest>,
) -> Result<Json<RollbackAnswer>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let RollbackRequest {
        service,
        release,
        to,
        reason,
    } = request;
    let input = Input::Rollback {
        by,
        service: service.clone(),
        release,
        to,
        reason,
    };
    let decided = app.control.decide(input).await?;
    let release = decided.events.iter().rev().find_map(|event| match event {
        Event::RollbackStarted { release, .. } => Some(*release),
        _ => None,
    });
    let hosts = decided
        .events
        .iter()
        .filter(|event| matches!(event, Event::HostOrdered { .. }));
    let hosts = u32::try_from(hosts.count()).unwrap_or(u32::MAX);
    let detail = match release {
        None => format!("{service} has nothing to go back from"),
        Some(id) if hosts == 0 => format!("release {id} is withdrawn; it had reached no host"),
        Some(id) => format!("release {id} goes back on {hosts} hosts"),
    };
    Ok(Json(RollbackAnswer {
        release,
        hosts,
        detail,
    }))
}

/// Lets a rolled-back bundle come again.
#[utoipa::path(post, path = "/v1/quarantine/lift", tag = "releases", request_body = LiftRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn lift(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<LiftRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let LiftRequest {
        service,
        digest,
        reason,
    } = request;
    let detail = format!(
        "bundle {} of {service} may be proposed again",
        digest.short()
    );
    app.control
        .decide(Input::LiftQuarantine {
            by,
            service,
            digest,
            reason,
        })
        .await?;
    Ok(Json(Done { detail }))
}

/// A bundle's manifest, as long as something may still need it.
#[utoipa::path(get, path = "/v1/bundles/{digest}", tag = "releases",
    params(("digest" = String, Path, description = "The bundle's digest, 64 hex digits")),
    responses((status = 200, body = Object), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn bundle(
    State(app): State<App>,
    bearer: Bearer,
    Path(digest): Path<String>,
) -> Result<Json<Bundle>, No> {
    bearer.may(&app, Role::Viewer)?;
    let digest = digest.parse::<Digest>().map_err(bad_request)?;
    let found = app
        .control
        .read(move |state, _, _| state.bundles.get(&digest).cloned());
    found.await.map(Json).ok_or_else(|| {
        No(Refusal::new(
            Code::NotFound,
            format!(
                "bundle {} is not known any more, or never was",
                digest.short()
            ),
            "The journal has every bundle that was ever proposed.",
        ))
    })
}

/// Everything at a glance.
#[utoipa::path(get, path = "/v1/status", tag = "fleet",
    responses((status = 200, body = StatusView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn status(State(app): State<App>, bearer: Bearer) -> Result<Json<StatusView>, No> {
    bearer.may(&app, Role::Viewer)?;
    let position = *app.boards.position().borrow();
    let view = app
        .control
        .read(move |state, watch, now| views::status(state, watch, now, position));
    Ok(Json(StatusView {
        sources: app.sources.views(),
        ..view.await
    }))
}

/// Every host of the topology, and what it runs.
#[utoipa::path(get, path = "/v1/hosts", tag = "fleet",
    responses((status = 200, body = Vec<HostView>), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn hosts(
    State(app): State<App>,
    bearer: Bearer,
) -> Result<Json<Vec<HostView>>, No> {
    bearer.may(&app, Role::Viewer)?;
    Ok(Json(
        app.control
            .read(|state, watch, _| views::hosts(state, watch))
            .await,
    ))
}

/// The fleet as declared.
#[utoipa::path(get, path = "/v1/topology", tag = "fleet",
    responses((status = 200, body = Object), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn topology(State(app): State<App>, bearer: Bearer) -> Result<Json<Topology>, No> {
    bearer.may(&app, Role::Viewer)?;
    Ok(Json(
        app.control.read(|state, _, _| state.topology.clone()).await,
    ))
}

/// Declares the fleet.
#[utoipa::path(put, path = "/v1/topology", tag = "fleet", request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn set_topology(
    State(app): State<App>,
    bearer: Bearer,
    Body(topology): Body<Topology>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    checks::usable(&topology).await?;
    let decided = app
        .control
        .decide(Input::SetTopology { by, topology })
        .await?;
    let detail = if decided.events.is_empty() {
        "nothing changed"
    } else {
        "the fleet is declared"
    };
    Ok(Json(Done {
        detail: detail.into(),
    }))
}

/// Makes a bearer token; it is shown this once.
#[utoipa::path(post, path = "/v1/tokens", tag = "fleet", request_body = TokenRequest,
    responses((status = 201, body = TokenAnswer), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn token(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<TokenRequest>,
) -> Result<(StatusCode, Json<TokenAnswer>), No> {
    let by = bearer.may(&app, Role::Operator)?;
    if request.name.trim().is_empty() {
        return Err(bad_request("the token needs a name: whose is it?"));
    }
    let secret = new_token().map_err(bad_request)?;
    let hash = token_hash(&secret);
    let id = token_id(hash);
    let TokenRequest { name, role } = request;
    app.control
        .decide(Input::IssueToken {
            by,
            token: id.clone(),
            name,
            role,
            hash,
        })
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(TokenAnswer {
            token: secret,
            id: id.0,
        }),
    ))
}

/// Makes a one-time token with which one host's agent may join.
#[utoipa::path(post, path = "/v1/join-tokens", tag = "fleet", request_body = JoinTokenRequest,
    responses((status = 201, body = TokenAnswer), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn join_token(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<JoinTokenRequest>,
) -> Result<(StatusCode, Json<TokenAnswer>), No> {
    let by = bearer.may(&app, Role::Operator)?;
    let secret = new_token().map_err(bad_request)?;
    let hash = token_hash(&secret);
    let token = token_id(hash);
    let valid = Millis::seconds(request.valid_s.min(JOIN_VALID_S_MAX));
    let expires_at = valid.after(Timestamp::now());
    let id = token.0.clone();
    let host = request.host;
    app.control
        .decide(Input::IssueJoin {
            by,
            token,
            host,
            hash,
            expires_at,
        })
        .await?;
    Ok((StatusCode::CREATED, Json(TokenAnswer { token: secret, id })))
}

/// Where to read from.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// Records after this position.
    #[serde(default)]
    after: u64,
    /// At most so many; at most 1,000.
    #[serde(default = "some_records")]
    limit: usize,
    /// With nothing there yet, wait up to so many milliseconds.
    #[serde(default)]
    wait_ms: u64,
}

fn some_records() -> usize {
    100
}

/// The journal, oldest first.
#[utoipa::path(get, path = "/v1/journal", tag = "journal", params(From),
    responses((status = 200, body = Vec<StoredRecord>), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn journal(
    State(app): State<App>,
    bearer: Bearer,
    Query(from): Query<From>,
) -> Result<Json<Vec<StoredRecord>>, No> {
    bearer.may(&app, Role::Viewer)?;
    let after = Seq(from.after);
    let wait = std::time::Duration::from_millis(from.wait_ms).min(crate::limits::POLL_MAX);
    let mut stop = app.stop.clone();
    tokio::select! {
        () = app.journal.wait_beyond(after) => {}
        _ = stop.wait_for(|stop| *stop) => {}
        () = tokio::time::sleep(wait) => {}
    }
    let limit = from.limit.clamp(1, RECORDS_MAX);
    let records = app
        .journal
        .read(after, limit)
        .await
        .map_err(|error| crate::control::ControlError::Failed(error.to_string()))?;
    let mut bytes = 0;
    let mut views = Vec::new();
    for record in records {
        bytes += record.stored.len();
        if bytes > PAGE_BYTES_MAX && !views.is_empty() {
            break;
        }
        // As it was stored: written anew, an older event would have other bytes than were hashed.
        let event = serde_json::from_str(&record.stored)
            .map_err(|error| crate::control::ControlError::Failed(error.to_string()))?;
        views.push(StoredRecord {
            seq: record.seq.0,
            at: record.at,
            hash: record.hash,
            event,
        });
    }
    Ok(Json(views))
}
