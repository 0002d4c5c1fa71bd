//! ntfy's publishing as JSON (<https://docs.ntfy.sh/publish/>).
//!
//! Invariant: the key travels as `sequence_id`, so that a repeat replaces instead
//! of ringing again where the server knows that (2.16 and newer; older ones ignore it).

use serde_json::json;

use super::JSON;
use crate::post::Post;
use crate::{Happening, Notice, Secret, Urgency};

pub(super) fn post(url: &Secret, topic: &str, token: Option<&Secret>, notice: &Notice) -> Post {
    let tag = match notice.happening {
        Happening::Triggered => "rotating_light",
        Happening::Acknowledged => "raised_hand",
        Happening::Updated => "information_source",
        Happening::Resolved => "white_check_mark",
        Happening::Test => "test_tube",
    };
    // 5 rings through "do not disturb", 3 is usual.
    let priority = match (notice.urgency, notice.happening) {
        (Urgency::High, Happening::Triggered) => 5,
        (Urgency::High, _) => 4,
        (Urgency::Low, _) => 3,
    };
    let mut message = json!({
        "topic": topic,
        "title": notice.headline(),
        "message": notice.text,
        "priority": priority,
        "tags": [tag],
        "sequence_id": notice.key,
    });
    if let Some(link) = &notice.link {
        message["click"] = json!(link);
    }
    if let Some(url) = &notice.acknowledge {
        message["actions"] = json!([{
            "action": "http", "label": "Acknowledge", "url": url, "method": "POST", "clear": true,
        }]);
    }
    let bearer = token.map(|token| ("authorization", format!("Bearer {}", token.expose())));
    Post {
        url: url.expose().to_owned(),
        headers: bearer.into_iter().collect(),
        content_type: JSON,
        body: message.to_string(),
    }
}
