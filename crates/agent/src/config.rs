//! What an agent is told at its start; it never changes while it runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use model::{HostName, Millis, ServiceName};
use wire::PublicKey;

use crate::AgentError;

/// One agent's configuration, in code or from `agent.toml`.
///
/// ```toml
/// control = "https://plimsoll.example:7600"
/// host = "web-01"
/// state_dir = "/var/lib/plimsoll"
/// join_token_file = "/etc/plimsoll/join-token"
///
/// [services.api]
/// live = "/etc/api"
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The control plane's URL.
    pub control: String,
    /// Trust only certificates from this PEM file.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// This host's name in the topology.
    pub host: HostName,
    /// Where the agent keeps its state and trees. Programs read trees through
    /// it, so it must not lie where they can't look.
    pub state_dir: PathBuf,
    /// The one-time token to join with; needed once.
    #[serde(default)]
    pub join_token: Option<String>,
    /// A file that holds it.
    #[serde(default)]
    pub join_token_file: Option<PathBuf>,
    /// What runs here.
    pub services: BTreeMap<ServiceName, ServiceConfig>,
    /// Where other agents may ask whether the control plane is gone.
    #[serde(default = "default_peer_listen")]
    pub peer_listen: String,
    /// The address by which they know it, if it is another than the one listened on.
    #[serde(default)]
    pub peer_address: Option<String>,
    /// What an order forward must bring before this host takes it up.
    #[serde(default)]
    pub attestation: Attestation,
    /// Public keys, 64 hex digits each. With any of them here, a test result
    /// counts only if one of these has signed it as well as the control plane:
    /// pin keys that the control plane doesn't hold, and it can't test on paper.
    #[serde(default)]
    pub attesters: Vec<String>,
    /// What probes may do from this host.
    #[serde(default)]
    pub probes: ProbeSettings,
    /// Pauses.
    #[serde(default)]
    pub timings: Timings,
}

/// What an order forward must bring before this host takes it up.
///
/// ```toml
/// attestation = "required"
/// attesters = ["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"]
/// ```
///
/// Either way the host remembers in its own state that it demands test results,
/// over restarts and whatever this file says later, and nothing from the control
/// plane undoes it. A person on the host does: stop the agent, take the line out
/// of `agent.toml`, set `"gated":false` in `host.json` in the state folder, and
/// start the agent. The next order with a test result sets it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attestation {
    /// A test result, from the first order on that brings one, or if the control
    /// plane says at joining that this host is of the last environment.
    #[default]
    OnceMet,
    /// A test result, always.
    Required,
}

/// What probes of references may do from this host.
///
/// ```toml
/// [probes]
/// allow = ["10.0.0.0/8", "*.internal:443"]
/// roots = "/etc/plimsoll/private-ca.pem"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSettings {
    /// Where they may go at most: `host`, `*.domain`, `address/bits`, each with
    /// `:port` or without. Empty: nowhere, and no file is looked at either.
    /// Absent: wherever the service's own egress list lets them.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// PEM file with roots that are trusted beside the system's.
    #[serde(default)]
    pub roots: Option<PathBuf>,
}

/// One service on this host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// The folder that programs read; the agent makes it a link to the tree in use.
    pub live: PathBuf,
}

/// Pauses between the agent's doings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timings {
    /// Orders are fetched this often (jittered by half) though nothing hints at news.
    pub reconcile_ms: Millis,
    /// One question for orders waits this long for news when hints don't come.
    pub poll_ms: Millis,
    /// Heartbeats while something is under way.
    pub heartbeat_busy_ms: Millis,
    /// Heartbeats at rest.
    pub heartbeat_idle_ms: Millis,
    /// The longest pause between tries while the control plane gives no answer.
    pub retry_max_ms: Millis,
}

impl Default for Timings {
    fn default() -> Self {
        Timings {
            reconcile_ms: Millis::seconds(60),
            poll_ms: Millis::seconds(25),
            heartbeat_busy_ms: Millis::seconds(1),
            heartbeat_idle_ms: Millis::seconds(5),
            retry_max_ms: Millis::seconds(15),
        }
    }
}

fn default_peer_listen() -> String {
    "127.0.0.1:0".into()
}

impl AgentConfig {
    /// Reads `agent.toml`.
    ///
    /// # Errors
    /// When the file can't be read, or isn't one; the message says where in the file.
    pub fn read(path: &Path) -> Result<AgentConfig, AgentError> {
        let text = std::fs::read_to_string(path).map_err(|source| AgentError::File {
            path: path.into(),
            source,
        })?;
        AgentConfig::parse(&text).map_err(|reason| AgentError::Config {
            path: path.into(),
            reason,
        })
    }

    /// From the text of `agent.toml`.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<AgentConfig, String> {
        toml_edit::de::from_str(text).map_err(|error| error.to_string())
    }

    /// The token to join with, wherever it is.
    pub(crate) fn token(&self) -> Result<Option<String>, AgentError> {
        match (&self.join_token, &self.join_token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(path)) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(Some(text.trim().to_owned())),
                Err(source) => Err(AgentError::File {
                    path: path.clone(),
                    source,
                }),
            },
            (None, None) => Ok(None),
        }
    }

    /// Whose signature a test result needs beside the control plane's.
    pub(crate) fn attesters(&self) -> Result<Vec<PublicKey>, AgentError> {
        let parse = |key: &String| {
            PublicKey::parse(key).map_err(|source| AgentError::Attester {
                key: key.clone(),
                source,
            })
        };
        self.attesters.iter().map(parse).collect()
    }

    pub(crate) fn retry_max(&self) -> Duration {
        self.timings.retry_max_ms.duration()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_documented_form_and_refuses_typing_errors() {
        let text = "control = \"http://127.0.0.1:7600\"\nhost = \"web-01\"\nstate_dir = \"/s\"\n\
                    [services.api]\nlive = \"/etc/api\"\n[timings]\nreconcile_ms = 5000\n";
        let config = AgentConfig::parse(text).unwrap();
        assert_eq!(config.services.len(), 1);
        assert_eq!(config.timings.reconcile_ms, Millis::seconds(5));
        assert_eq!(config.timings.poll_ms, Timings::default().poll_ms);
        let error = AgentConfig::parse(&text.replace("live", "life")).unwrap_err();
        assert!(error.contains("life"), "{error}");
    }

    #[test]
    fn keys_of_attesters_are_read_or_named() {
        let text = |keys: &str| {
            format!(
                "control = \"http://127.0.0.1:7600\"\nhost = \"web-01\"\nstate_dir = \"/s\"\n\
                 attestation = \"required\"\nattesters = [{keys}]\n[services]\n"
            )
        };
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let config = AgentConfig::parse(&text(&format!("\"{key}\""))).unwrap();
        assert_eq!(config.attestation, Attestation::Required);
        assert_eq!(config.attesters().unwrap()[0].to_string(), key);
        let config = AgentConfig::parse(&text("\"d75a\"")).unwrap();
        let error = config.attesters().unwrap_err().to_string();
        assert!(error.contains("\"d75a\""), "{error}");
    }
}
