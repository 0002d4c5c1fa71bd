//! A signed webhook, as Standard Webhooks describes it
//! (<https://github.com/standard-webhooks/standard-webhooks>).
//!
//! Invariant: what is signed is exactly the bytes that are sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Timestamp;
use ring::hmac;
use serde_json::json;

use super::JSON;
use crate::post::Post;
use crate::{Notice, Secret};

pub(super) fn post(url: &Secret, secret: &Secret, notice: &Notice, now: Timestamp) -> Post {
    let body = json!({
        "type": "plimsoll.notice",
        "timestamp": notice.at,
        "data": {
            "thread": notice.thread,
            "happening": notice.happening,
            "urgency": notice.urgency,
            "title": notice.headline(),
            "text": notice.text,
            "source": notice.source,
            "link": notice.link,
            "acknowledge": notice.acknowledge,
        },
    })
    .to_string();
    let seconds = now.as_second();
    Post {
        url: url.expose().to_owned(),
        headers: vec![
            ("webhook-id", notice.key.clone()),
            ("webhook-timestamp", seconds.to_string()),
            (
                "webhook-signature",
                signature(secret, &notice.key, seconds, &body),
            ),
        ],
        content_type: JSON,
        body,
    }
}

/// `v1,` and the base64 of HMAC-SHA256 over `id.seconds.body`. A secret that begins
/// with `whsec_` is base64 behind it; any other is taken as it is.
pub fn signature(secret: &Secret, id: &str, seconds: i64, body: &str) -> String {
    let text = secret.expose();
    let decoded = text
        .strip_prefix("whsec_")
        .and_then(|it| STANDARD.decode(it).ok());
    let key = decoded.unwrap_or_else(|| text.as_bytes().to_vec());
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}
