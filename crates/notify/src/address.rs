//! Where a message goes.
//!
//! Invariant: no secret of an address is ever printed.

use serde::{Deserialize, Serialize};

/// A value that is used and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps it from being shown.
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// For the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One way to one receiver. URLs of chat and push services are secrets: who knows them may send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "channel", rename_all = "snake_case")]
pub enum Address {
    /// A mailbox.
    Mail {
        /// `name@domain`.
        to: String,
    },
    /// A program, told by JSON signed as Standard Webhooks says.
    Webhook {
        /// `https://…`
        url: Secret,
        /// `whsec_` and base64, or any text.
        secret: Secret,
    },
    /// A Slack channel, or anything that takes Slack's incoming webhooks.
    Slack {
        /// `https://hooks.slack.com/services/…`
        url: Secret,
    },
    /// A topic of an ntfy server.
    Ntfy {
        /// The server, `https://ntfy.example.com`.
        url: Secret,
        /// Its topic.
        topic: String,
        /// An access token, for topics that need one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Secret>,
    },
    /// A PagerDuty service, or anything that takes its Events API v2.
    PagerDuty {
        /// Its endpoint, `https://events.pagerduty.com/v2/enqueue`.
        url: Secret,
        /// The integration's key.
        routing_key: Secret,
    },
    /// A text message by Twilio.
    Sms(Telephone),
    /// A call by Twilio, acknowledged by a key.
    Call(Telephone),
}

/// A telephone and the account that reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telephone {
    /// The API, `https://api.twilio.com`.
    pub url: String,
    /// `AC…`
    pub account: String,
    /// The account's token.
    pub token: Secret,
    /// Caller, in E.164 form (`+4930…`).
    pub from: String,
    /// Called, in E.164 form.
    pub to: String,
    /// Where Twilio tells what came of it: the receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipts: Option<String>,
}

impl Address {
    /// The channel's name, for people, logs and metrics.
    pub fn channel(&self) -> &'static str {
        match self {
            Address::Mail { .. } => "mail",
            Address::Webhook { .. } => "webhook",
            Address::Slack { .. } => "slack",
            Address::Ntfy { .. } => "ntfy",
            Address::PagerDuty { .. } => "pagerduty",
            Address::Sms(_) => "sms",
            Address::Call(_) => "call",
        }
    }
}
