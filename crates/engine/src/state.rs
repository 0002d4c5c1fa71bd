//! The fold of the journal.
//!
//! [`evolve`] is total: any event on any state gives a state, also events
//! that no decision would have made (a journal written by another version).

mod fold;
mod gates;
mod traffic;

use std::collections::BTreeMap;

use model::{
    Actor, Bundle, Digest, Envelope, EnvironmentName, Gate, Generation, HostName, Order, OrderKind,
    Phase, ReleaseId, Role, Scope, ServiceName, Timestamp, TokenId, Topology,
};
use release::Release;
use serde::{Deserialize, Serialize};

pub use fold::evolve;
pub use traffic::{Drain, Ramp, Restart, RestartEnd, Traffic};

/// Ended releases that are remembered; the journal has them all.
const RELEASES_KEPT_MAX: usize = 200;
/// Homes that are remembered for each slot, and good bundles for each service.
const HOMES_KEPT_MAX: usize = 10;
/// Break-glasses that are remembered, beside those that wait for a review.
const GLASSES_KEPT_MAX: usize = 100;
/// The format of [`State`] in snapshots; grows when its meaning changes.
pub const STATE_FORMAT: u32 = 4;

/// Everything that the control plane knows for certain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// The fleet as declared.
    pub topology: Topology,
    /// Bearer tokens by their hash.
    pub tokens: BTreeMap<Digest, Token>,
    /// Join tokens that are not used up, by their hash.
    pub joins: BTreeMap<Digest, Join>,
    /// Hosts whose agents joined.
    pub hosts: BTreeMap<HostName, HostState>,
    /// Services that were released at least once, or run somewhere.
    pub services: BTreeMap<ServiceName, ServiceState>,
    /// Active releases and the newest ended ones.
    pub releases: BTreeMap<ReleaseId, Release>,
    /// Manifests of bundles that may still be needed.
    pub bundles: BTreeMap<Digest, Bundle>,
    /// What is frozen.
    pub freezes: BTreeMap<ScopeKey, Freeze>,
    /// The highest release number given.
    pub releases_given: u64,
    /// Signed test results of bundles that may still be needed.
    pub attestations: BTreeMap<Digest, Envelope>,
    /// By number.
    pub break_glasses: BTreeMap<u64, BreakGlass>,
    /// Restarts and ramps.
    #[serde(default)]
    pub traffic: Traffic,
    /// Alerts, incidents, on-call and paging.
    #[serde(default)]
    pub incidents: incident::State,
}

/// A way past gates in an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlass {
    /// Its number.
    pub id: u64,
    /// For this service alone.
    pub service: ServiceName,
    /// What is left out.
    pub gates: Vec<Gate>,
    /// Why.
    pub reason: String,
    /// Who asked.
    pub asked_by: Actor,
    /// Who agreed.
    pub confirmed_by: Option<Actor>,
    /// Void from then on.
    pub expires_at: Timestamp,
    /// Releases that used it.
    pub used_by: Vec<ReleaseId>,
    /// Who looked at it afterwards.
    pub reviewed_by: Option<Actor>,
}

/// A [`Scope`] as a map's key: empty text stands for everything.
pub type ScopeKey = String;

/// The key of a scope in [`State::freezes`].
pub fn scope_key(scope: &Scope) -> ScopeKey {
    match scope {
        Scope::Everything => String::new(),
        Scope::Service(service) => service.to_string(),
        Scope::Environment(environment) => format!("/{environment}"),
    }
}

/// A bearer token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its public half.
    pub id: TokenId,
    /// Whose.
    pub name: String,
    /// May do what.
    pub role: Role,
}

/// A join token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Its public half.
    pub id: TokenId,
    /// For this host alone.
    pub host: HostName,
    /// Void from then on.
    pub expires_at: Timestamp,
}

/// A freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// What.
    pub scope: Scope,
    /// Who.
    pub by: Actor,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// It ends by itself then.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

impl Freeze {
    /// Whether it has not ended by itself.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// A host whose agent joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// ed25519, 64 hex digits.
    pub public_key: String,
    /// Where its agent answers other agents.
    pub peer_address: String,
    /// The highest generation given to it (or remembered by it).
    pub generation: Generation,
    /// Reports up to this number are in the journal.
    pub reports_through: u64,
    /// By service.
    pub slots: BTreeMap<ServiceName, Slot>,
}

/// One service on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Bundles it can go back to, best last; never empty.
    pub homes: Vec<Digest>,
    /// The newest order.
    pub order: Option<Order>,
    /// What became of it.
    pub status: SlotStatus,
    /// What it runs, as far as the journal knows.
    pub running: Digest,
    /// Why its health fails, by its own report.
    pub unhealthy: Option<String>,
    /// It gets no new requests.
    #[serde(default)]
    pub drain: Option<Drain>,
}

/// What became of a slot's newest order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum SlotStatus {
    /// There is none.
    Idle,
    /// Not heard of yet.
    Ordered {
        /// When it was ordered, by the journal's clock.
        since: Timestamp,
    },
    /// The host keeps it, unconfirmed, because the control plane was gone.
    Holding {
        /// When it was ordered.
        since: Timestamp,
    },
    /// Done, healthy, and said so.
    Confirmed {
        /// When.
        since: Timestamp,
    },
    /// Not done; `running` says what runs.
    Failed {
        /// How far it came.
        phase: Phase,
        /// Why.
        reason: String,
    },
    /// The host can't get back yet.
    RevertFailing {
        /// How far it comes.
        phase: Phase,
        /// What is in the way.
        reason: String,
    },
}

impl Slot {
    fn adopted(digest: Digest) -> Slot {
        Slot {
            homes: vec![digest],
            order: None,
            status: SlotStatus::Idle,
            running: digest,
            unhealthy: None,
            drain: None,
        }
    }

    /// Where it goes back to, leaving the bundles in `left`.
    pub fn home_from(&self, left: &[Digest]) -> Digest {
        let other = self.homes.iter().rev().find(|home| !left.contains(home));
        // A lone home may be the very bundle to be left (it was adopted); then staying is going home.
        other.or(self.homes.last()).copied().unwrap_or(self.running)
    }

    /// Its newest order, if it is `release`'s and forward.
    pub fn forward_of(&self, release: ReleaseId) -> Option<&Order> {
        self.order
            .as_ref()
            .filter(|order| order.release == release && order.kind == OrderKind::Forward)
    }

    /// Whether it did what `release` told it, forward, and is there still.
    pub fn confirmed(&self, release: ReleaseId) -> bool {
        self.forward_of(release).is_some() && matches!(self.status, SlotStatus::Confirmed { .. })
    }

    /// Whether it did not take what `release` told it, and runs what it ran before.
    pub fn went_back(&self, release: ReleaseId) -> bool {
        let order = self.order.as_ref();
        let ours = order.is_some_and(|order| order.release == release);
        ours && matches!(self.status, SlotStatus::Failed { .. })
    }

    /// Its newest order, if it is `release`'s way back and isn't done. A host
    /// that failed it (a person took it elsewhere, say) is not done.
    pub fn way_back_of(&self, release: ReleaseId) -> Option<&Order> {
        let done = matches!(self.status, SlotStatus::Confirmed { .. });
        let order = self.order.as_ref()?;
        (order.kind == OrderKind::Rollback && order.release == release && !done).then_some(order)
    }

    /// Whether the host is still about its newest order, as far as is known.
    pub fn in_change(&self) -> bool {
        match self.status {
            SlotStatus::Ordered { .. }
            | SlotStatus::Holding { .. }
            | SlotStatus::RevertFailing { .. } => true,
            SlotStatus::Idle | SlotStatus::Confirmed { .. } | SlotStatus::Failed { .. } => false,
        }
    }

    fn add_home(&mut self, digest: Digest) {
        self.homes.retain(|home| *home != digest);
        self.homes.push(digest);
        let surplus = self.homes.len().saturating_sub(HOMES_KEPT_MAX);
        self.homes.drain(..surplus);
    }

    fn drop_home(&mut self, digest: Digest) {
        if self.homes.iter().any(|home| *home != digest) {
            self.homes.retain(|home| *home != digest);
        }
    }
}

/// One service over all hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServiceState {
    /// Bundles that became good, best last.
    pub goods: Vec<Good>,
    /// The release that is neither good nor back.
    pub active: Option<ReleaseId>,
    /// Bundles that may not come again, and which release showed it.
    pub quarantined: BTreeMap<Digest, ReleaseId>,
}

/// A bundle that became good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// Which.
    pub digest: Digest,
    /// By which release.
    pub release: ReleaseId,
}

impl State {
    /// The bundle that is good now.
    pub fn good(&self, service: &ServiceName) -> Option<Digest> {
        self.services
            .get(service)?
            .goods
            .last()
            .map(|good| good.digest)
    }

    /// The slot of a service on a host.
    pub fn slot(&self, host: &HostName, service: &ServiceName) -> Option<&Slot> {
        self.hosts.get(host)?.slots.get(service)
    }

    /// Every slot of a service.
    pub fn slots<'a>(
        &'a self,
        service: &'a ServiceName,
    ) -> impl Iterator<Item = (&'a HostName, &'a Slot)> {
        self.hosts
            .iter()
            .filter_map(move |(host, state)| Some((host, state.slots.get(service)?)))
    }

    /// Where a host stands.
    pub fn environment_of(&self, host: &HostName) -> Option<&EnvironmentName> {
        self.topology
            .host(host)
            .map(|(environment, _)| &environment.name)
    }
}
