//! Answers that the gateway makes itself.
//!
//! Invariant: each is `application/problem+json` and names its reason in the
//! header `x-plimsoll-reason`, so that nobody takes it for the service's own.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use wire::api::Problem;

use crate::body::ReplyBody;
use crate::framing::Flaw;

/// Names the reason of an answer that the gateway made.
pub(crate) const REASON: HeaderName = HeaderName::from_static("x-plimsoll-reason");

/// Why the gateway answers instead of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No routes for this service have come yet.
    NoRoutes,
    /// The service has no host.
    NoHost,
    /// More come than can be answered in time.
    Overloaded,
    /// The hosts that should answer don't answer anybody.
    Stalled,
    /// The tenant is not let in yet.
    Ramping,
    /// This process is out of file descriptors or ports.
    OwnResources,
    /// The request's body broke off or was malformed.
    BadRequest,
    /// The request can't be read in one way only, or not in time.
    Malformed(Flaw),
    /// CONNECT.
    NotSupported,
    /// The body is over the limit.
    BodyTooLarge,
    /// The client didn't send its body in time.
    ClientSlow,
    /// The backend could not be connected to.
    ConnectFailed,
    /// The backend's answer was cut or not HTTP.
    BrokenAnswer,
    /// The backend didn't answer in time.
    Deadline,
}

impl Reason {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Reason::NoRoutes => "no_routes",
            Reason::NoHost => "no_host",
            Reason::Overloaded => "overloaded",
            Reason::Stalled => "stalled",
            Reason::Ramping => "ramping",
            Reason::OwnResources => "gateway_resources",
            Reason::Malformed(Flaw::HeadBytes | Flaw::HeadLines) => "head_too_large",
            Reason::NotSupported => "not_supported",
            Reason::BodyTooLarge => "body_too_large",
            Reason::ClientSlow | Reason::Malformed(Flaw::HeadSlow) => "client_slow",
            Reason::ConnectFailed => "connect_failed",
            Reason::BrokenAnswer => "broken_answer",
            Reason::Deadline => "deadline",
            Reason::BadRequest | Reason::Malformed(_) => "bad_request",
        }
    }

    /// Whether the connection can't be used after it, because nobody knows where the next request begins.
    pub(crate) fn ends_connection(self) -> bool {
        matches!(
            self,
            Reason::BadRequest | Reason::Malformed(_) | Reason::ClientSlow | Reason::NotSupported
        )
    }

    fn status(self) -> StatusCode {
        match self {
            Reason::NoRoutes
            | Reason::NoHost
            | Reason::Overloaded
            | Reason::Stalled
            | Reason::Ramping
            | Reason::OwnResources => StatusCode::SERVICE_UNAVAILABLE,
            Reason::Malformed(Flaw::HeadBytes | Flaw::HeadLines) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Reason::NotSupported => StatusCode::NOT_IMPLEMENTED,
            Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::ClientSlow | Reason::Malformed(Flaw::HeadSlow) => StatusCode::REQUEST_TIMEOUT,
            Reason::BadRequest | Reason::Malformed(_) => StatusCode::BAD_REQUEST,
            Reason::ConnectFailed | Reason::BrokenAnswer => StatusCode::BAD_GATEWAY,
            Reason::Deadline => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Reason::NoRoutes => (
                "the gateway does not know yet where this service runs",
                "Try again in a moment.",
            ),
            Reason::NoHost => ("no host serves this now", "Try again in a moment."),
            Reason::Overloaded => (
                "more requests come than the hosts can answer in time",
                "Try again after the time that Retry-After says.",
            ),
            Reason::Stalled => (
                "the hosts that should answer have stopped answering",
                "Try again after the time that Retry-After says.",
            ),
            Reason::Ramping => (
                "the service comes back by a part of its customers at a time",
                "Try again after the time that Retry-After says.",
            ),
            Reason::OwnResources => (
                "the gateway can't open another connection",
                "Try again in a moment.",
            ),
            Reason::BadRequest => ("the request is not well-formed", "Correct the request."),
            Reason::Malformed(flaw @ (Flaw::HeadBytes | Flaw::HeadLines)) => {
                (flaw.words(), "Send fewer or shorter headers.")
            }
            Reason::Malformed(flaw) => (flaw.words(), "Correct the request."),
            Reason::NotSupported => (
                "the gateway does not pass on this kind of request",
                "Send it to the host itself, if you may.",
            ),
            Reason::BodyTooLarge => ("the request's body is too large", "Send less at a time."),
            Reason::ClientSlow => (
                "the request's body did not arrive in time",
                "Send it faster or in smaller parts.",
            ),
            Reason::ConnectFailed => (
                "the host that should answer can't be reached",
                "Try again in a moment.",
            ),
            Reason::BrokenAnswer => (
                "the host that should answer broke off",
                "Look whether the request took effect before trying again.",
            ),
            Reason::Deadline => (
                "the host that should answer did not do so in time",
                "Look whether the request took effect before trying again.",
            ),
        }
    }
}

/// When to come back, if nothing better is known.
pub(crate) const LATER: Duration = Duration::from_secs(1);

/// The whole answer for `reason`; what is refused for now may be tried again `later`.
pub(crate) fn problem(reason: Reason, later: Duration) -> Response<ReplyBody> {
    let status = reason.status();
    let (detail, next) = reason.words();
    let problem = Problem {
        findings: Vec::new(),
        type_: "about:blank".to_owned(),
        code: reason.code().to_owned(),
        status: status.as_u16(),
        detail: detail.to_owned(),
        next: next.to_owned(),
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(ReplyBody::own(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REASON, HeaderValue::from_static(reason.code()));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // Whole seconds, and never none.
        let seconds = later.as_secs() + u64::from(later.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

/// What a connection beyond the limit is told, before any of it is read.
pub(crate) const TOO_MANY_CONNECTIONS: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\n",
    "content-type: application/problem+json\r\n",
    "x-plimsoll-reason: too_many_connections\r\n",
    "retry-after: 1\r\n",
    "cache-control: no-store\r\n",
    "connection: close\r\n",
    "content-length: 149\r\n",
    "\r\n",
    r#"{"type":"about:blank","code":"too_many_connections","status":503,"detail":"the gateway has no room for another connection","next":"Try again later."}"#,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_made_answer_is_well_formed() {
        let (head, body) = TOO_MANY_CONNECTIONS.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        let problem: Problem = serde_json::from_str(body).unwrap();
        assert_eq!(problem.status, 503);
    }

    #[test]
    fn an_own_answer_names_its_reason() {
        let answer = problem(Reason::NoHost, LATER);
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()[&REASON], "no_host");
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        assert!(
            !problem(Reason::Deadline, LATER)
                .headers()
                .contains_key(RETRY_AFTER)
        );
    }
}
