//! Ids and names, one newtype each, so that a host can't be passed for a zone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest accepted name, in bytes: a DNS label, because names become host
/// names, file names and metric labels.
pub const NAME_BYTES_MAX: usize = 63;

/// A name that is not lower-case letters, digits, `-`, `_` or `.`, or is empty or too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?} is not a {kind} name: use 1 to {NAME_BYTES_MAX} of a-z, 0-9, '-', '_', '.', beginning and ending with a letter or digit"
)]
pub struct InvalidName {
    /// What kind of name was wanted.
    pub kind: &'static str,
    /// What was given, cut to a length fit for a message.
    pub value: String,
}

fn validate(kind: &'static str, value: &str) -> Result<(), InvalidName> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let well_formed = value.len() <= NAME_BYTES_MAX
        && edge(value.chars().next())
        && edge(value.chars().next_back())
        && value.chars().all(inner)
        && !value.contains("..");
    if well_formed {
        Ok(())
    } else {
        Err(InvalidName {
            kind,
            value: value.chars().take(NAME_BYTES_MAX + 1).collect(),
        })
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(value: &str) -> Result<Self, InvalidName> {
                validate($kind, value)?;
                Ok(Self(value.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(value: String) -> Result<Self, InvalidName> {
                validate($kind, &value)?;
                Ok(Self(value))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )+};
}

names! {
    /// What is released and protected.
    ServiceName = "service";
    /// One step of the pipeline: `test`, `production`.
    EnvironmentName = "environment";
    /// One machine (or one process that stands for a machine).
    HostName = "host";
    /// A part of an environment that fails together.
    ZoneName = "zone";
    /// A package inside a bundle, or deployed beside it; or a feature that one provides.
    PackageName = "package";
    /// Hosts with the same things deployed on them.
    ClassName = "class";
    /// One gateway process.
    GatewayName = "gateway";
    /// Somebody who can be told: a person, or people who read together.
    ContactName = "contact";
    /// Who is on call when.
    ScheduleName = "schedule";
    /// Who is asked after whom.
    PolicyName = "policy";
    /// A part of what users see, as the status page names it.
    ComponentName = "component";
}

/// A customer, told from an API key or header. Not a [`HostName`]-like name:
/// its text comes from outside, so any text up to 128 bytes is accepted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantName(pub String);

/// A release's number, counted from 1 over the whole journal.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ReleaseId(pub u64);

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The public half of a token: the first 16 hex digits of its BLAKE3 hash. The secret itself is never stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub String);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the bearer of a token may do. Each role may do what the ones before it
/// may, but for `Agent`, which may only speak for hosts and gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Speaks for a gateway or a host; reads no releases.
    Agent,
    /// Reads everything but secrets.
    Viewer,
    /// Proposes changes.
    Author,
    /// Approves changes of others.
    Approver,
    /// Rolls back, freezes, issues tokens.
    Operator,
}

impl Role {
    /// Every role, for help texts and tests.
    pub const ALL: [Role; 5] = [
        Role::Agent,
        Role::Viewer,
        Role::Author,
        Role::Approver,
        Role::Operator,
    ];

    /// Whether this role covers what `needed` may do.
    pub fn covers(self, needed: Role) -> bool {
        match (self, needed) {
            (Role::Agent, Role::Agent) => true,
            (Role::Agent, _) | (_, Role::Agent) => false,
            (have, needed) => have >= needed,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Agent => "agent",
            Role::Viewer => "viewer",
            Role::Author => "author",
            Role::Approver => "approver",
            Role::Operator => "operator",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Role::ALL
            .into_iter()
            .find(|role| role.to_string() == text)
            .ok_or_else(|| {
                format!("{text:?} is not a role: agent, viewer, author, approver or operator")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_enter() {
        for good in [
            "api",
            "web-01",
            "eu-west-1a",
            "a",
            "host.example.org",
            "a_b",
        ] {
            assert!(HostName::from_str(good).is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a b",
            "a/b",
            "..",
            "a..b",
            "ä",
            long.as_str(),
        ] {
            assert!(HostName::from_str(bad).is_err(), "{bad}");
            let json = serde_json::to_string(bad).unwrap();
            assert!(serde_json::from_str::<HostName>(&json).is_err(), "{bad}");
        }
    }

    #[test]
    fn roles_grow_but_agents_stand_apart() {
        assert!(Role::Operator.covers(Role::Viewer));
        assert!(Role::Author.covers(Role::Author));
        assert!(!Role::Viewer.covers(Role::Author));
        assert!(!Role::Agent.covers(Role::Viewer));
        assert!(!Role::Operator.covers(Role::Agent));
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
    }
}
