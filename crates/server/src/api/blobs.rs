//! Uploads and downloads by digest.

use std::io::SeekFrom;

use axum::Json;
use axum::body::Body as RawBody;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE,
};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use model::refusal::Code;
use model::{Digest, Refusal, Role, Timestamp};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use wire::api::{Done, MissingAnswer, MissingRequest, Problem};

use super::App;
use super::answer::{Bearer, Body, No, Path, bad_request};
use crate::blobs::BlobError;

fn digest(text: &str) -> Result<Digest, No> {
    text.parse::<Digest>().map_err(bad_request)
}

/// Uploads a blob. Uploading it again does nothing.
#[utoipa::path(put, path = "/v1/blobs/{digest}", tag = "blobs",
    params(("digest" = String, Path, description = "BLAKE3 of the bytes, 64 hex digits")),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 201, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn put_blob(
    State(app): State<App>,
    bearer: Bearer,
    Path(wanted): Path<String>,
    body: RawBody,
) -> Result<(StatusCode, Json<Done>), No> {
    bearer.may(&app, Role::Author)?;
    let wanted = digest(&wanted)?;
    app.blobs
        .put(wanted, body.into_data_stream())
        .await
        .map_err(|error| {
            let message = format!("blob {}: {error}", wanted.short());
            match error {
                BlobError::Digest { .. } | BlobError::BrokeOff => No(Refusal::new(
                    Code::BadBlob,
                    message,
                    "Upload it again, whole.",
                )),
                BlobError::TooLarge => No(Refusal::new(
                    Code::TooLarge,
                    message,
                    "Make the bundle smaller.",
                )),
                BlobError::Io(_) => {
                    tracing::error!(error = message, "a blob could not be stored");
                    No(Refusal::new(
                        Code::Overloaded,
                        message,
                        "Look at the control plane's disk, then push again.",
                    ))
                }
            }
        })?;
    Ok((
        StatusCode::CREATED,
        Json(Done {
            detail: format!("{} is stored", wanted.short()),
        }),
    ))
}

/// Which of these blobs have to be uploaded.
#[utoipa::path(post, path = "/v1/blobs/missing", tag = "blobs", request_body = MissingRequest,
    responses((status = 200, body = MissingAnswer), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn missing(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<MissingRequest>,
) -> Result<Json<MissingAnswer>, No> {
    bearer.may(&app, Role::Author)?;
    let mut missing = Vec::new();
    for digest in request.digests {
        if !app.blobs.has(digest).await {
            missing.push(digest);
        }
    }
    Ok(Json(MissingAnswer { missing }))
}

/// A blob, whole or from an offset (`Range: bytes=N-`). For hosts that have joined, and for viewers.
#[utoipa::path(get, path = "/v1/blobs/{digest}", tag = "blobs",
    params(("digest" = String, Path, description = "BLAKE3 of the bytes, 64 hex digits")),
    responses((status = 200, content_type = "application/octet-stream", body = String),
        (status = 206, content_type = "application/octet-stream", body = String),
        (status = 416), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn get_blob(
    State(app): State<App>,
    bearer: Bearer,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Path(wanted): Path<String>,
) -> Result<Response, No> {
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if header.is_some_and(|value| value.starts_with("Plimsoll-Agent ")) {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        app.boards
            .access()
            .host(header, method.as_str(), path, b"", Timestamp::now())?;
    } else {
        bearer.may(&app, Role::Viewer)?;
    }
    let wanted = digest(&wanted)?;
    let nothing = |error: std::io::Error| {
        No(Refusal::new(
            Code::NotFound,
            format!("blob {}: {error}", wanted.short()),
            "Push the bundle again; it uploads what is missing.",
        ))
    };
    let mut file = tokio::fs::File::open(app.blobs.path(wanted))
        .await
        .map_err(nothing)?;
    let size = file.metadata().await.map_err(nothing)?.len();
    let offset = match headers
        .get(RANGE)
        .map(|value| value.to_str().unwrap_or_default())
    {
        None => None,
        // Any other form of range may be ignored (RFC 9110, 14.2); agents only ever resume.
        Some(range) => range
            .strip_prefix("bytes=")
            .and_then(|range| range.strip_suffix('-'))
            .and_then(|offset| offset.parse::<u64>().ok()),
    };
    let start = offset.unwrap_or(0);
    if offset.is_some() && start >= size {
        let range = [(CONTENT_RANGE, format!("bytes */{size}"))];
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, range).into_response());
    }
    file.seek(SeekFrom::Start(start)).await.map_err(nothing)?;
    let body = RawBody::from_stream(ReaderStream::new(file.take(size - start)));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        "application/octet-stream".parse().map_err(bad_request)?,
    );
    headers.insert(CONTENT_LENGTH, (size - start).into());
    headers.insert(ACCEPT_RANGES, "bytes".parse().map_err(bad_request)?);
    // Content under its own digest never changes.
    let forever = "private, max-age=31536000, immutable";
    headers.insert(CACHE_CONTROL, forever.parse().map_err(bad_request)?);
    if offset.is_some() {
        let range = format!("bytes {start}-{}/{size}", size - 1);
        headers.insert(CONTENT_RANGE, range.parse().map_err(bad_request)?);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}
