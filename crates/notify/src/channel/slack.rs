//! Slack's incoming webhooks.
//!
//! Invariant: nothing in a message is read as Slack's markup.

use serde_json::json;

use super::JSON;
use crate::post::Post;
use crate::{Happening, Notice, Secret};

/// Slack refuses a section's text beyond 3000 characters.
const SECTION_CHARS_MAX: usize = 2900;

pub(super) fn post(url: &Secret, notice: &Notice) -> Post {
    let sign = match notice.happening {
        Happening::Triggered => ":rotating_light:",
        Happening::Acknowledged => ":raised_hand:",
        Happening::Updated => ":information_source:",
        Happening::Resolved => ":white_check_mark:",
        Happening::Test => ":test_tube:",
    };
    let title = format!("{sign} *{}*", escaped(&notice.headline()));
    let cut: String = notice.text.chars().take(SECTION_CHARS_MAX).collect();
    let mut blocks = vec![section(&title)];
    if !cut.trim().is_empty() {
        blocks.push(section(&escaped(&cut)));
    }
    // A button that opens a page: an incoming webhook can't take a click itself.
    let buttons: Vec<_> = [
        ("Acknowledge", &notice.acknowledge),
        ("Open", &notice.link),
    ]
    .into_iter()
    .filter_map(|(label, url)| Some((label, url.as_ref()?)))
    .map(|(label, url)| {
        json!({"type": "button", "url": url, "text": {"type": "plain_text", "text": label}})
    })
    .collect();
    if !buttons.is_empty() {
        blocks.push(json!({"type": "actions", "elements": buttons}));
    }
    let footer = format!("{} · {}", escaped(&notice.source), notice.key);
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": footer}]}));
    Post {
        url: url.expose().to_owned(),
        headers: Vec::new(),
        content_type: JSON,
        body: json!({"text": escaped(&notice.headline()), "blocks": blocks}).to_string(),
    }
}

fn section(text: &str) -> serde_json::Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

/// The three characters that Slack reads: else a title could mention a whole channel.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
