//! What can stop an agent, or a command to it.

use std::path::PathBuf;

use model::{Refusal, ServiceName};

/// What can stop an agent, or a command to it.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file of the agent's own.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration can't be used.
    #[error("{path}: {reason}")]
    Config {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another agent has the state folder.
    #[error("{path} is in use by pid {pid}")]
    InUse {
        /// Which folder.
        path: PathBuf,
        /// By whom, as far as is known.
        pid: String,
    },
    /// The remembered state can't be read.
    #[error("{path} does not hold an agent's state: {reason}")]
    State {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What is on disk can't be taken as generation 0.
    #[error("{service}: {path} can't be taken over: {reason}")]
    Adopt {
        /// Of which service.
        service: ServiceName,
        /// Which folder.
        path: PathBuf,
        /// Why, each problem on a line.
        reason: String,
    },
    /// A key that can't be read or made.
    #[error("the agent's key")]
    Key(#[source] wire::sign::SignError),
    /// A key in `attesters` that is none.
    #[error("attesters: \"{key}\" is not 64 hex digits of an ed25519 public key")]
    Attester {
        /// As it stands there.
        key: String,
        /// Why.
        source: wire::sign::SignError,
    },
    /// The control plane's URL or certificates.
    #[error("the way to the control plane")]
    Client(#[source] wire::ClientError),
    /// The host never joined and has no token.
    #[error("this host has not joined: give it a join token (plimsoll hosts join-token HOST)")]
    NoJoinToken,
    /// The control plane doesn't want this host.
    #[error("joining was refused: {0}")]
    JoinRefused(Refusal),
    /// A local command was refused.
    #[error("{0}")]
    Refused(Refusal),
    /// A local command had no end in time.
    #[error("{0}")]
    Unfinished(String),
}

/// Turns an I/O error into one that names its file.
pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> AgentError {
    let path = path.into();
    move |source| AgentError::File { path, source }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
