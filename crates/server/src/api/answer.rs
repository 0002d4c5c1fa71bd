//! Refusals and errors as `application/problem+json`, and who is asking.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use model::refusal::Code;
use model::{Actor, HostName, Refusal, Role, Timestamp};
use serde::de::DeserializeOwned;
use wire::api::Problem;

use super::App;
use crate::control::ControlError;

/// An expected no, on its way to a client.
#[derive(Debug)]
pub(crate) struct No(pub(crate) Refusal);

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> No {
        No(refusal)
    }
}

impl From<ControlError> for No {
    fn from(error: ControlError) -> No {
        match error {
            ControlError::Refused(refusal) => No(refusal),
            ControlError::Moved => No(Refusal::new(
                Code::BaseMoved,
                error.to_string(),
                "Look at what is good now, and try again in a minute.",
            )),
            ControlError::Busy => No(Refusal::new(
                Code::Overloaded,
                error.to_string(),
                "Try again in a few seconds.",
            )),
            ControlError::Failed(_) => No(Refusal::new(
                Code::Overloaded,
                error.to_string(),
                "Look at the control plane's disk and log, then try again. Hosts can go back by themselves: `plimsoll agent revert --local`.",
            )),
        }
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let status = status(self.0.code);
        self.with_status(status)
    }
}

impl No {
    /// With another status than the code's own: body and head say the same.
    fn with_status(self, status: StatusCode) -> Response {
        let Refusal {
            code,
            message,
            next,
            findings,
        } = self.0;
        let problem = Problem {
            type_: format!("docs/errors/{code}.md"),
            code: code.to_string(),
            status: status.as_u16(),
            detail: message,
            next,
            findings,
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if code == Code::Overloaded {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated | Code::BadJoinToken | Code::BadSignature => StatusCode::UNAUTHORIZED,
        Code::WrongRole => StatusCode::FORBIDDEN,
        Code::UnknownService
        | Code::UnknownHost
        | Code::UnknownRelease
        | Code::NotFound
        | Code::NoBreakGlass
        | Code::NothingToLift => StatusCode::NOT_FOUND,
        Code::ReleaseInProgress
        | Code::AlreadyGood
        | Code::Quarantined
        | Code::BaseMoved
        | Code::Frozen
        | Code::NoApprovalNeeded
        | Code::NotHeld
        | Code::OwnApproval
        | Code::ApprovalMoved
        | Code::NotAttested
        | Code::RevertMoved
        | Code::SecondPerson
        | Code::IncidentOver
        | Code::BelowFloor
        | Code::RestartUnderWay
        | Code::RestartStorm
        | Code::StaleGeneration => StatusCode::CONFLICT,
        Code::InvalidBundle
        | Code::InvalidTopology
        | Code::MissingBlob
        | Code::NoHosts
        | Code::NotRestartable
        | Code::ChecksFailed
        | Code::Incompatible
        | Code::InvalidChecks
        | Code::InvalidSetup
        | Code::TargetNeverGood
        | Code::BadBlob => StatusCode::UNPROCESSABLE_ENTITY,
        Code::BadRequest => StatusCode::BAD_REQUEST,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Code::NotOffered => StatusCode::NOT_IMPLEMENTED,
    }
}

pub(crate) fn bad_request(what: impl std::fmt::Display) -> No {
    No(Refusal::new(
        Code::BadRequest,
        what.to_string(),
        "The form of every request is in /v1/openapi.json.",
    ))
}

pub(crate) async fn nothing_there() -> No {
    No(Refusal::new(
        Code::NotFound,
        "there is nothing at this path",
        "Every path is in /v1/openapi.json.",
    ))
}

pub(crate) async fn wrong_method() -> Response {
    bad_request("this path does not take that method").with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// For requests that were given up; whether they were done nobody knows.
pub(crate) fn too_late() -> Response {
    No(Refusal::new(
        Code::Overloaded,
        "the answer took too long; it may have been done or not",
        "Look at `plimsoll status`, then try again.",
    ))
    .with_status(StatusCode::GATEWAY_TIMEOUT)
}

pub(crate) fn broken(what: &str) -> Response {
    tracing::error!(what, "a request failed by our own fault");
    bad_request("the control plane failed; its log says why")
        .with_status(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A request's bearer token, not yet looked up.
#[derive(Debug)]
pub(crate) struct Bearer(Option<String>);

impl Bearer {
    /// Who it is, if the token covers `needed`.
    pub(crate) fn may(&self, app: &App, needed: Role) -> Result<Actor, No> {
        Ok(app.boards.access().bearer(self.0.as_deref(), needed)?)
    }
}

impl FromRequestParts<App> for Bearer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        let value = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        Ok(Bearer(token.map(|token| token.trim().to_owned())))
    }
}

/// The part of a path that its template leaves open.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = No;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, No> {
        let path = axum::extract::Path::from_request_parts(parts, app).await;
        let axum::extract::Path(value) = path.map_err(bad_request)?;
        Ok(Path(value))
    }
}

/// What stands behind the question mark.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = No;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, No> {
        let query = axum::extract::Query::from_request_parts(parts, app).await;
        let axum::extract::Query(value) = query.map_err(bad_request)?;
        Ok(Query(value))
    }
}

/// A JSON body; what is wrong with it is said with line and column.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = No;

    async fn from_request(request: Request, app: &App) -> Result<Self, No> {
        let bytes = read(request, app).await?;
        parse(&bytes).map(Body)
    }
}

/// A request that a host signed: who, and its body's bytes.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) host: HostName,
    pub(crate) body: Bytes,
}

impl Signed {
    /// The host may speak for itself alone.
    pub(crate) fn only(&self, host: &str) -> Result<(), No> {
        if self.host.as_str() == host {
            return Ok(());
        }
        Err(No(Refusal::new(
            Code::WrongRole,
            format!("host {} asked in the name of {host}", self.host),
            "An agent speaks for its own host; look at its --host.",
        )))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, No> {
        parse(&self.body)
    }
}

impl FromRequest<App> for Signed {
    type Rejection = No;

    async fn from_request(request: Request, app: &App) -> Result<Self, No> {
        let method = request.method().as_str().to_owned();
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        let header = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let header = header.map(str::to_owned);
        let body = read(request, app).await?;
        let access = app.boards.access();
        let host = access.host(header.as_deref(), &method, &path, &body, Timestamp::now())?;
        app.control.observe({
            let host = host.clone();
            move |watch, now| watch.heard(&host, now)
        });
        Ok(Signed { host, body })
    }
}

async fn read(request: Request, app: &App) -> Result<Bytes, No> {
    Bytes::from_request(request, app)
        .await
        .map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let limit = crate::limits::BODY_BYTES_MAX;
                let message = format!("the body has more than {limit} bytes");
                return No(Refusal::new(
                    Code::TooLarge,
                    message,
                    "Send less at a time.",
                ));
            }
            bad_request(rejection)
        })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, No> {
    serde_json::from_slice(bytes).map_err(|error| bad_request(format!("the body: {error}")))
}
