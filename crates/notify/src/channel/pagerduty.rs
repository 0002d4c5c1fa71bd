//! PagerDuty's Events API v2.
//!
//! Invariant: one matter is one `dedup_key`, so all its messages meet in one incident there.

use serde_json::json;

use super::JSON;
use crate::post::Post;
use crate::{Happening, Notice, Secret, Urgency};

/// Longest `dedup_key` there.
const DEDUP_CHARS_MAX: usize = 255;

pub(super) fn post(url: &Secret, routing_key: &Secret, notice: &Notice) -> Post {
    let action = match notice.happening {
        // News of a triggered incident is logged there under the same key.
        Happening::Triggered | Happening::Updated | Happening::Test => "trigger",
        Happening::Acknowledged => "acknowledge",
        Happening::Resolved => "resolve",
    };
    let severity = match (notice.happening, notice.urgency) {
        (Happening::Test, _) => "info",
        (_, Urgency::High) => "critical",
        (_, Urgency::Low) => "warning",
    };
    let dedup: String = notice.thread.chars().take(DEDUP_CHARS_MAX).collect();
    let links: Vec<_> = notice.link.iter().collect();
    let links: Vec<_> = links
        .iter()
        .map(|href| json!({"href": href, "text": "Plimsoll"}))
        .collect();
    let body = json!({
        "routing_key": routing_key.expose(),
        "event_action": action,
        "dedup_key": dedup,
        "payload": {
            "summary": notice.headline(),
            "source": notice.source,
            "severity": severity,
            "timestamp": notice.at,
            "custom_details": {"text": notice.text, "key": notice.key},
        },
        "links": links,
        "client": "Plimsoll",
        "client_url": notice.link,
    });
    Post {
        url: url.expose().to_owned(),
        headers: Vec::new(),
        content_type: JSON,
        body: body.to_string(),
    }
}
