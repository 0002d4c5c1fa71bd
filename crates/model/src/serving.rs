//! How a service's requests are to be carried: what operators say once for all gateways.
//!
//! Invariant: what is absent is the gateway's own choice; what is said wins over it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Millis;

/// How gateways carry one service's requests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// How many requests each host works on at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,
    /// From a request's head to its answer's last byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<Millis>,
    /// The request header, in lower case, by which clients say a [`Priority`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_header: Option<String>,
    /// How hosts are spoken to.
    #[serde(default, skip_serializing_if = "UpstreamSpec::is_default")]
    pub upstream: UpstreamSpec,
}

impl Serving {
    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Serving::default()
    }
}

/// How gateways speak to a service's hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSpec {
    /// With TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// By which protocol.
    #[serde(default, skip_serializing_if = "Protocol::is_default")]
    pub protocol: Protocol,
    /// The name that their certificates must have; absent: the host of each address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl UpstreamSpec {
    /// Whether it is the one that need not be said.
    pub fn is_default(&self) -> bool {
        *self == UpstreamSpec::default()
    }
}

/// A protocol that hosts are spoken to by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2; without TLS from the first byte on (RFC 9113, section 3.3).
    #[serde(rename = "h2")]
    Http2,
}

impl Protocol {
    /// Whether it is the one that need not be said.
    pub fn is_default(&self) -> bool {
        *self == Protocol::default()
    }
}

/// Workers of one host at most: more is a slip of the finger.
pub const WORKERS_MAX: u32 = 10_000;

/// How many requests a host works on at once: a number from 1, `"auto"` or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// What the host itself says, else an estimate.
    Auto,
    /// It is given whatever comes.
    Off,
    /// So many, unless the host says another number.
    Number(u32),
}

/// As it stands in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u32),
    Word(String),
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Workers::Auto => Written::Word("auto".to_owned()),
            Workers::Off => Written::Word("off".to_owned()),
            Workers::Number(number) => Written::Number(*number),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Workers, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(number @ 1..=WORKERS_MAX) => Ok(Workers::Number(number)),
            Written::Word(word) if word == "auto" => Ok(Workers::Auto),
            Written::Word(word) if word == "off" => Ok(Workers::Off),
            Written::Number(_) | Written::Word(_) => Err(serde::de::Error::custom(format!(
                "workers are a number from 1 to {WORKERS_MAX}, \"auto\" or \"off\""
            ))),
        }
    }
}

/// Who goes first when hosts can't keep up. Three classes, as few as operators can tell apart;
/// Google's SRE book calls the like *criticality*.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before all others: somebody loses money or safety without it.
    Critical,
    /// What is not said to be anything else.
    #[default]
    Normal,
    /// What can be done later: prefetching, batches, crawlers.
    Background,
}

impl Priority {
    /// All, the first first.
    pub const ALL: [Priority; 3] = [Priority::Critical, Priority::Normal, Priority::Background];

    /// The word for it, in files and in headers.
    pub fn word(self) -> &'static str {
        match self {
            Priority::Critical => "critical",
            Priority::Normal => "normal",
            Priority::Background => "background",
        }
    }

    /// Whether it is the one that need not be said.
    pub fn is_default(&self) -> bool {
        *self == Priority::default()
    }
}

/// Which requests may go out a second time when a host ended its connection without an answer.
/// What never left the gateway goes to another host in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// None.
    Never,
    /// Those whose method means the same twice as once (RFC 9110, section 9.2.2).
    #[default]
    Idempotent,
    /// All: the service itself sees to it that a repeated one does nothing twice.
    Always,
}

impl Retry {
    /// Whether it is the one that need not be said.
    pub fn is_default(&self) -> bool {
        *self == Retry::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_a_number_or_a_word() {
        for (text, workers) in [
            ("8", Workers::Number(8)),
            ("\"auto\"", Workers::Auto),
            ("\"off\"", Workers::Off),
        ] {
            assert_eq!(serde_json::from_str::<Workers>(text).unwrap(), workers);
            assert_eq!(serde_json::to_string(&workers).unwrap(), text);
        }
        for text in ["0", "10001", "-1", "1.5", "\"8\"", "\"on\"", "null"] {
            assert!(serde_json::from_str::<Workers>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_said_is_not_written() {
        let nothing = serde_json::to_string(&Serving::default()).unwrap();
        assert_eq!(nothing, "{}");
        let some = Serving {
            workers: Some(Workers::Number(8)),
            deadline_ms: Some(Millis(500)),
            priority_header: Some("x-priority".to_owned()),
            upstream: UpstreamSpec {
                protocol: Protocol::Http2,
                ..UpstreamSpec::default()
            },
        };
        let written = serde_json::to_string(&some).unwrap();
        assert_eq!(
            written,
            r#"{"workers":8,"deadline_ms":500,"priority_header":"x-priority","upstream":{"protocol":"h2"}}"#
        );
        assert_eq!(serde_json::from_str::<Serving>(&written).unwrap(), some);
    }
}
