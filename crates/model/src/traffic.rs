//! Words about which hosts and whose requests are served: drains, restarts, ramps.

use serde::{Deserialize, Serialize};

use crate::{Actor, ReleaseId};

/// A restart of a service's hosts, numbered from 1 over all services.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RestartId(pub u64);

impl std::fmt::Display for RestartId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// For what a host is taken out of the routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum DrainCause {
    /// It is about to be changed; it comes back when that is done, or not to be.
    Release {
        /// By which release.
        release: ReleaseId,
    },
    /// It is about to be restarted; the same.
    Restart {
        /// By which restart.
        restart: RestartId,
    },
    /// A person wants it out, through releases and restarts, until a person says otherwise.
    Person {
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
}
