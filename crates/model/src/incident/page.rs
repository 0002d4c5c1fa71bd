//! Messages to people: which, how urgent, and what became of them.
//!
//! Invariant: a [`Notice`] names a message by what it is about, so the same
//! state names the same messages after every replay.

use serde::{Deserialize, Serialize};

use super::IncidentId;
use crate::{PolicyName, ScheduleName};

/// Whether somebody is to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// Told once to those who are first; nobody is asked after them.
    Low,
    /// Asked one after the other until somebody answers.
    High,
}

impl Urgency {
    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Urgency::Low => "low",
            Urgency::High => "high",
        }
    }
}

/// A step that reached nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Counted as levels are.
    pub level: u32,
    /// Schedules of it on which nobody is on call; none when it names nobody that exists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncovered: Vec<ScheduleName>,
}

/// By which way somebody acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    Link,
    Cli,
    Api,
    Chat,
    Phone,
}

impl Via {
    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Via::Link => "link",
            Via::Cli => "cli",
            Via::Api => "api",
            Via::Chat => "chat",
            Via::Phone => "phone",
        }
    }
}

/// Which message. With the contact it is the message's id and idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// Somebody is asked to look.
    Page {
        incident: IncidentId,
        policy: PolicyName,
        generation: u32,
        level: u32,
        /// The contact's how-many-th channel and its kind, as `0sms`.
        channel: String,
    },
    /// It is over.
    Over {
        incident: IncidentId,
        /// How often it was opened again before.
        reopened: u32,
        channel: String,
    },
    /// More waits than this contact should be sent one by one.
    Digest { number: u64, channel: String },
    /// The weekly test.
    Test { number: u64, channel: String },
}

impl Notice {
    /// The incident that it is about.
    pub fn incident(&self) -> Option<IncidentId> {
        match self {
            Notice::Page { incident, .. } | Notice::Over { incident, .. } => Some(*incident),
            Notice::Digest { .. } | Notice::Test { .. } => None,
        }
    }

    /// The contact's channel.
    pub fn channel(&self) -> &str {
        match self {
            Notice::Page { channel, .. }
            | Notice::Over { channel, .. }
            | Notice::Digest { channel, .. }
            | Notice::Test { channel, .. } => channel,
        }
    }
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Notice::Page {
                incident,
                policy,
                generation,
                level,
                channel,
            } => write!(f, "page:{incident}:{policy}:{generation}:{level}:{channel}"),
            Notice::Over {
                incident,
                reopened,
                channel,
            } => write!(f, "over:{incident}:{reopened}:{channel}"),
            Notice::Digest { number, channel } => write!(f, "digest:{number}:{channel}"),
            Notice::Test { number, channel } => write!(f, "test:{number}:{channel}"),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The provider took it.
    Sent,
    /// The provider showed that it arrived.
    Delivered,
    /// It will never arrive.
    Failed { reason: String },
    /// It was tried for as long as it made sense.
    DeadLetter { reason: String },
}
