//! What the control plane tells a host, and what the host tells back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::attest::Envelope;
use crate::{
    Bundle, Digest, EnvironmentName, Generation, HostName, Millis, ReleaseId, ServiceName,
    Timestamp, ZoneName,
};

/// An instruction to one host about one service, fenced by its generation.
///
/// Orders are signed by the control plane; a host obeys the newest generation
/// it has seen and no older one ever again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who must act.
    pub host: HostName,
    /// On what.
    pub service: ServiceName,
    /// Higher than that of every order before it to this host.
    pub generation: Generation,
    /// Forward, or back.
    pub kind: OrderKind,
    /// What the host must run.
    pub digest: Digest,
    /// The release on whose behalf this happens; for a restart, the one that put the bundle there.
    pub release: ReleaseId,
    /// When it was decided.
    pub issued_at: Timestamp,
    /// The host must have confirmed so long after it armed; else it goes back by itself.
    pub confirm_within_ms: Millis,
    /// Where the host stands, for commands and health texts.
    pub environment: EnvironmentName,
    /// Its zone.
    pub zone: ZoneName,
    /// Where the service listens on this host.
    pub address: String,
}

/// Which way an order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    /// To a new bundle, commit-confirmed.
    Forward,
    /// To one that was good. Signature and fence are checked, and on hosts of the
    /// last environment that the target was good there or is attested; nothing else.
    Rollback,
    /// To what it runs already, by the service's restart command. Nothing is staged and
    /// nothing is swapped; a host that runs anything else declines.
    Restart,
}

/// The way back from an order forward, signed in advance with it.
///
/// It counts only while the order that it undoes is the newest that the host
/// took: once a newer one came, it can't be replayed as a downgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revert {
    /// Kind rollback, of the same generation as the order that it undoes.
    pub order: Order,
    /// Whose approval of the release it was part of.
    #[serde(default)]
    pub approved_by: Vec<String>,
}

/// An order with everything the host needs to carry it out; this is what gets signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The order itself.
    pub order: Order,
    /// The manifest of `order.digest`; absent when the host adopted that tree from its own disk.
    #[serde(default)]
    pub bundle: Option<Bundle>,
    /// Other hosts' agents (`address:port`), to ask whether the control plane is gone for them too.
    #[serde(default)]
    pub peers: BTreeMap<HostName, String>,
    /// That `order.digest` passed its test; hosts of the last environment apply nothing without.
    #[serde(default)]
    pub attestation: Option<Envelope>,
}

/// What a host says happened. Reports are numbered per host, so a repeat is told from news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Grows by one with each report of this host, over restarts too.
    pub number: u64,
    /// Which service.
    pub service: ServiceName,
    /// Which order it is about.
    pub generation: Generation,
    /// When it happened, by the host's clock.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: ReportKind,
}

/// What can have happened on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum ReportKind {
    /// The order was refused or failed before anything changed; `running` still runs.
    Declined {
        /// How far it came.
        phase: Phase,
        /// Why, in words.
        reason: String,
        /// What runs.
        running: Digest,
    },
    /// The host went back by itself, or on order, and is healthy there.
    Reverted {
        /// What it left.
        from: Digest,
        /// What runs.
        to: Digest,
        /// How far it had come.
        phase: Phase,
        /// Why it went back.
        reason: String,
    },
    /// Going back did not work yet; the host keeps trying.
    RevertFailing {
        /// Where it wants to go.
        to: Digest,
        /// How far the way back came.
        phase: Phase,
        /// What is in the way.
        reason: String,
        /// How often it has tried.
        tries: u32,
    },
    /// The control plane is gone for peers too: the host keeps a healthy new bundle and waits.
    Holding {
        /// What runs.
        running: Digest,
    },
    /// A confirmed service stopped being healthy, or became so again.
    Health {
        /// What runs.
        running: Digest,
        /// Whether it works.
        healthy: bool,
        /// What the probe said.
        reason: String,
    },
}

/// The steps of an order on a host, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Signature, fence, form.
    Accept,
    /// Blobs fetched, tree written and synced.
    Stage,
    /// The bundle's own check.
    Check,
    /// The way home: name, connection, login.
    WayHome,
    /// The directory link.
    Swap,
    /// Reload or restart.
    Restart,
    /// Local health.
    Health,
    /// Answer over a fresh connection.
    Confirm,
    /// Confirmed and watched.
    Watch,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Phase::Accept => "accept",
            Phase::Stage => "stage",
            Phase::Check => "check",
            Phase::WayHome => "way home",
            Phase::Swap => "swap",
            Phase::Restart => "restart",
            Phase::Health => "health",
            Phase::Confirm => "confirm",
            Phase::Watch => "watch",
        })
    }
}
