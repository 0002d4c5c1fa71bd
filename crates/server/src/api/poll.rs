//! Conditional and waiting reads: ETag, `If-None-Match`, `wait_ms`.

use std::time::Duration;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::IntoParams;

use super::App;
use crate::limits::POLL_MAX;

/// How long to wait for news.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Wait up to so many milliseconds for something other than `If-None-Match` names; at most 60,000.
    #[serde(default)]
    pub(crate) wait_ms: u64,
}

/// The tag that the client has, without quotes.
pub(crate) fn known(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(IF_NONE_MATCH)?.to_str().ok()?;
    Some(value.trim_start_matches("W/").trim_matches('"').to_owned())
}

/// Waits until `tag` of the watched value is another than the client's, the
/// time is over, or the control plane stops. Then the newest value is there to be read.
pub(crate) async fn for_news<T>(
    app: &App,
    receiver: &mut watch::Receiver<T>,
    headers: &HeaderMap,
    wait: &Wait,
    tag: impl Fn(&T) -> String,
) {
    let Some(known) = known(headers) else { return };
    let mut stop = app.stop.clone();
    let wait = Duration::from_millis(wait.wait_ms).min(POLL_MAX);
    tokio::select! {
        _ = receiver.wait_for(|value| tag(value) != known) => {}
        _ = stop.wait_for(|stop| *stop) => {}
        () = tokio::time::sleep(wait) => {}
    }
}

/// 304 if the client has `tag` already, the value otherwise.
pub(crate) fn answer<T: Serialize>(headers: &HeaderMap, tag: &str, value: &T) -> Response {
    let mut response = if known(headers).as_deref() == Some(tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(value).into_response()
    };
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
