//! What came of a try.
//!
//! Invariant: `Refused` is said only when the same message would be refused again.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

/// Longest pause that a receiver may ask for: a page that waits longer is no page.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 300;

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver's system has it.
    Sent {
        /// The name that it gave it, if it did.
        receipt: Option<String>,
    },
    /// It may work later.
    Retry {
        /// In words, without secrets.
        reason: String,
        /// Not before this, if the receiver said so.
        after: Option<Duration>,
    },
    /// It will never work like this.
    Refused {
        /// In words, without secrets.
        reason: String,
    },
}

impl Outcome {
    pub(crate) fn refused(reason: impl Into<String>) -> Outcome {
        let reason = shown(&reason.into());
        Outcome::Refused { reason }
    }

    pub(crate) fn retry(reason: impl Into<String>) -> Outcome {
        let reason = shown(&reason.into());
        Outcome::Retry {
            reason,
            after: None,
        }
    }

    /// From an HTTP answer. 408, 425, 429 and all that is the server's fault may
    /// pass; every other 4xx is about the request, and redirects are not followed,
    /// because they would carry a secret to somewhere else.
    pub fn of_http(status: StatusCode, headers: &HeaderMap, body: &str) -> Outcome {
        if status.is_success() {
            return Outcome::Sent { receipt: None };
        }
        let reason = match shown(body) {
            words if words.is_empty() => format!("answered {status}"),
            words => format!("answered {status}: {words}"),
        };
        let passing = status.is_server_error()
            || [
                StatusCode::REQUEST_TIMEOUT,
                StatusCode::TOO_EARLY,
                StatusCode::TOO_MANY_REQUESTS,
            ]
            .contains(&status);
        match passing {
            true => Outcome::Retry {
                reason,
                after: retry_after(headers),
            },
            false => Outcome::Refused { reason },
        }
    }
}

/// `Retry-After` in seconds (RFC 9110, 10.2.3), bounded. The form with a date is
/// left to our own pauses: it needs both clocks to agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = value.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// Somebody else's words on one line, without control characters, cut.
fn shown(words: &str) -> String {
    let plain: String = words
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, retry_after: Option<&str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Outcome::of_http(status, &headers, "no\r\n\u{1b}[31mred")
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(
                matches!(of(status, None), Outcome::Retry { .. }),
                "{status}"
            );
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 410, 413, 422] {
            assert!(
                matches!(of(status, None), Outcome::Refused { .. }),
                "{status}"
            );
        }
        for status in [200, 201, 202, 204] {
            assert!(matches!(of(status, None), Outcome::Sent { .. }), "{status}");
        }
    }

    #[test]
    fn a_pause_is_obeyed_up_to_a_bound() {
        let after = |value| match of(429, Some(value)) {
            Outcome::Retry { after, .. } => after,
            outcome => panic!("{outcome:?}"),
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("86400"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn what_a_receiver_says_cannot_steer_a_terminal() {
        let Outcome::Refused { reason } = of(400, None) else {
            panic!("400 is final");
        };
        assert_eq!(reason, "answered 400 Bad Request: no [31mred");
    }
}
