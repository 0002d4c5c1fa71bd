//! Answers from the newest [`Site`].
//!
//! Invariant: no answer is a redirect, and reading takes no lock that anything slow holds.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderName, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use incident::status::PageInfo;
use tokio::sync::watch;
use tower_http::timeout::TimeoutLayer;

use super::asks::{self, Desk};
use super::page;
use super::site::Site;

/// Documents are ready; only subscribing waits, for a disk.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// A form with an address and the names of a hundred components.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Short enough that an incident is seen, long enough that a crowd meets a cache.
const CACHED: &str = "public, max-age=15";
/// Nothing but what stands in the page itself. The same stands in the page, for web servers that don't say it.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What handlers have.
#[derive(Clone)]
pub(super) struct App {
    pub(super) site: watch::Receiver<Arc<Site>>,
    /// Absent: subscriptions are not taken.
    pub(super) desk: Option<Desk>,
    pub(super) info: Arc<PageInfo>,
}

pub(super) fn router(
    site: watch::Receiver<Arc<Site>>,
    desk: Option<Desk>,
    info: Arc<PageInfo>,
) -> Router {
    Router::new()
        .route("/subscribe", post(asks::subscribe))
        .route(
            "/confirm/{ticket}",
            get(asks::show_confirm).post(asks::confirm),
        )
        .route("/u/{ticket}", get(asks::show_leave).post(asks::leave))
        .fallback(document)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            REQUEST_WITHIN,
        ))
        .layer(middleware::map_response(around))
        .with_state(App { site, desk, info })
}

/// What is the same for every answer.
async fn around(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 3] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Tickets stand in paths; nobody else is to see them.
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn document(State(app): State<App>, request: Request) -> Response {
    let path = request.uri().path();
    let open = path.starts_with("/api/v2/");
    if request.method() == Method::OPTIONS && open {
        let headers = [
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
            (ACCESS_CONTROL_ALLOW_HEADERS, "*"),
            (ACCESS_CONTROL_MAX_AGE, "86400"),
        ];
        return (StatusCode::NO_CONTENT, headers).into_response();
    }
    let is_head = request.method() == Method::HEAD;
    if request.method() != Method::GET && !is_head {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    let site = app.site.borrow().clone();
    let Some(file) = site.files.get(path) else {
        let words = page::notice(
            &app.info,
            "Nothing is here",
            "The address is wrong, or what was here is older than what is kept.",
            None,
        );
        return asks::html(StatusCode::NOT_FOUND, words);
    };
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(CACHED));
    if let Ok(etag) = HeaderValue::from_str(&file.etag) {
        headers.insert(ETAG, etag);
    }
    if open || path.starts_with("/history.") || path == "/badge.svg" {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if known(request.headers(), &file.etag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.media_type));
    (headers, file.body.clone()).into_response()
}

/// RFC 9110, 13.1.2: weak comparison, any of a list.
fn known(headers: &HeaderMap, etag: &str) -> bool {
    let given = headers.get_all(IF_NONE_MATCH).iter();
    let given = given.filter_map(|value| value.to_str().ok());
    given
        .flat_map(|value| value.split(','))
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == etag || one == "*")
}
