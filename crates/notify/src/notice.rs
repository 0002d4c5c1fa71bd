//! A message, before it has a form.
//!
//! Invariant: it says all that any channel needs, so that no channel asks anybody else.

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest title; receivers cut what is longer, each at another place.
pub const TITLE_CHARS_MAX: usize = 200;

/// One message to one person or program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The same at each try, and for nothing else (letters, digits, `-`, `.`).
    pub key: String,
    /// The same for all messages about one matter: receivers put them together.
    pub thread: String,
    /// What happened to the matter.
    pub happening: Happening,
    /// Whether it may wake somebody.
    pub urgency: Urgency,
    /// One line.
    pub title: String,
    /// Plain text, in lines.
    pub text: String,
    /// The same as HTML, for mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// Which service it is about, or `plimsoll`.
    pub source: String,
    /// When the matter changed.
    pub at: Timestamp,
    /// Where to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// `POST` there acknowledges; a `GET` shows a page and changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledge: Option<String>,
    /// `POST` there ends the receiver's subscription (RFC 8058). Only mail to subscribers has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<String>,
}

/// What happened to the matter that a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// It began, or somebody else is asked now.
    Triggered,
    /// Somebody has it in hand.
    Acknowledged,
    /// There is news of it.
    Updated,
    /// It is over.
    Resolved,
    /// Nothing: the way to the receiver is tried.
    Test,
}

/// Whether a message may wake somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// It may.
    High,
    /// It waits until the receiver looks.
    Low,
}

impl Notice {
    /// The title on one line, as long as any receiver shows it.
    pub fn headline(&self) -> String {
        let one_line = self.title.split_whitespace().collect::<Vec<_>>().join(" ");
        match one_line.char_indices().nth(TITLE_CHARS_MAX) {
            Some((cut, _)) => format!("{}…", &one_line[..cut]),
            None => one_line,
        }
    }
}
