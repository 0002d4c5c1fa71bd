//! What comes in, what is recorded, and what is to be done.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use model::order::{Dispatch, Revert};
use model::{
    Bundle, Command, Digest, Generation, HealthCheck, HostName, Phase, Report, ReportKind,
    ServiceName, Timestamp,
};

use crate::gate::Proof;
use crate::host::{BackStep, Cause, Place, PrepareStep};

/// What happens to a host.
#[expect(
    clippy::large_enum_variant,
    reason = "inputs are handled one by one, never in bulk"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The agent's process begins: at boot, after a crash, after an upgrade.
    Started,
    /// A service that the host looks after, with what is on its disk: generation 0. A repeat does nothing.
    Adopted {
        /// Which.
        service: ServiceName,
        /// What runs.
        digest: Digest,
        /// There was nothing at all.
        empty: bool,
    },
    /// An order whose signature was found to hold. Repeats do nothing.
    Ordered {
        /// The order.
        dispatch: Dispatch,
        /// What was found of its test result.
        proof: Proof,
    },
    /// This host takes nothing without a test result from now on, for good. A repeat does nothing.
    Gated,
    /// An order whose signature does not hold.
    Forged {
        /// The service that it claims to be about.
        service: ServiceName,
        /// The generation that it claims.
        generation: Generation,
        /// What is wrong with it.
        reason: String,
    },
    /// What came of an effect. One that is no longer pending is dropped.
    Outcome {
        /// Which effect.
        id: EffectId,
        /// What came of it.
        outcome: Outcome,
    },
    /// Time has passed.
    Tick,
    /// A person on the host wants it back.
    RevertLocal {
        /// Which service.
        service: ServiceName,
        /// Where to, one of the kept good digests; absent: home.
        to: Option<Digest>,
    },
    /// A person on the host wants it back, with a way back that the control plane
    /// signed in advance and whose signature was found to hold.
    RevertInAdvance {
        /// The way back.
        revert: Revert,
    },
    /// Reports up to this number are safe.
    Acknowledged {
        /// The number.
        through: u64,
    },
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It worked (a look: healthy; a confirmation: accepted).
    Done,
    /// It did not, or not in time.
    Failed {
        /// Why, in words.
        reason: String,
    },
    /// The control plane answered, and does not want this confirmation.
    Refused {
        /// Its words.
        reason: String,
    },
    /// Nothing was asked: what programs find here is not what would be confirmed.
    Astray {
        /// What was found instead.
        reason: String,
    },
    /// What peers said; those that gave no answer are not counted.
    Peers {
        /// So many reach the control plane.
        reach: u32,
        /// So many don't.
        cut_off: u32,
    },
}

/// Names one try of one thing, for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EffectId {
    /// Which service.
    pub service: ServiceName,
    /// Under which order.
    pub generation: Generation,
    /// In which phase.
    pub phase: Phase,
    /// Unique within the service, over restarts too.
    pub attempt: u64,
}

/// Something to be done in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Its id, to come back with the outcome.
    pub id: EffectId,
    /// What.
    pub action: Action,
}

/// Where a command or a look happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The tree that it is about.
    pub tree: Digest,
    /// Where the host stands; absent before the first order.
    pub place: Option<Place>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make sure that the tree is on disk, complete, synced and right to the byte.
    Stage {
        /// Which tree.
        digest: Digest,
        /// Its manifest; absent: the one kept beside the tree.
        bundle: Option<Box<Bundle>>,
    },
    /// Run the bundle's own check on the staged tree.
    Check {
        /// What to run.
        command: Command,
        /// Where.
        context: Context,
    },
    /// Prove that the control plane can be reached anew and knows this host.
    WayHome,
    /// Make programs read this tree.
    Swap {
        /// Which.
        to: Digest,
    },
    /// Make the service take the tree.
    Restart {
        /// What to run.
        command: Command,
        /// Where.
        context: Context,
    },
    /// Look once whether the service works.
    Look {
        /// How.
        check: HealthCheck,
        /// Where.
        context: Context,
    },
    /// Tell the control plane over a fresh connection.
    Confirm {
        /// What runs.
        digest: Digest,
    },
    /// Ask other agents whether they reach the control plane.
    AskPeers {
        /// Whom.
        peers: BTreeMap<HostName, String>,
    },
    /// Remove all trees but these.
    Prune {
        /// What stays.
        keep: BTreeSet<Digest>,
    },
}

/// What happened on a host: what [`crate::evolve`] folds.
#[expect(
    clippy::large_enum_variant,
    reason = "events are handled one by one, never in bulk"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeEvent {
    /// Something about one service.
    Slot {
        /// Which.
        service: ServiceName,
        /// When.
        at: Timestamp,
        /// What.
        event: SlotEvent,
    },
    /// There is news for the control plane.
    Reported {
        /// The news, numbered.
        report: Report,
    },
    /// Reports up to this number are safe.
    Acknowledged {
        /// The number.
        through: u64,
    },
    /// From now on nothing runs here that was neither good here nor attested.
    Gated,
    /// An order for a service that the host doesn't run was declined.
    StrangerDeclined {
        /// Which.
        service: ServiceName,
        /// Of this generation.
        generation: Generation,
    },
}

/// What happened to one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotEvent {
    /// It was met for the first time.
    Adopted {
        /// What runs.
        digest: Digest,
        /// Nothing was there.
        empty: bool,
    },
    /// An order was taken up; it is prepared at once.
    Accepted {
        /// The order.
        dispatch: Dispatch,
    },
    /// A forward order waits until the host is home.
    Queued {
        /// The order.
        dispatch: Dispatch,
    },
    /// A generation was seen, though nothing is done about it.
    Fenced {
        /// Which.
        generation: Generation,
    },
    /// Preparing goes on.
    Preparing {
        /// With this step.
        step: PrepareStep,
    },
    /// The order was given up before anything changed.
    Declined,
    /// The way home is proven; from here the host goes back unless it confirms.
    Armed,
    /// The tree that programs read changed.
    Swapped {
        /// To this one.
        to: Digest,
    },
    /// The service was told.
    Applied,
    /// The service works on the new tree.
    Healthy,
    /// Confirming did not work.
    ConfirmFailed,
    /// The control plane knows.
    Confirmed,
    /// The deadline passed; peers are asked.
    PeersAsked,
    /// The control plane is gone for peers too (or, later, `reached`: some peer got through again).
    Held {
        /// Some peer reaches it.
        reached: bool,
    },
    /// The host turns back.
    TurnedBack {
        /// Where to.
        target: Digest,
        /// On whose word.
        cause: Cause,
        /// How far the order had come.
        phase: Phase,
        /// Why.
        reason: String,
    },
    /// A rollback order names what runs and works already.
    AlreadyThere,
    /// The way back goes on.
    Returning {
        /// With this step.
        step: BackStep,
    },
    /// The way back failed, and is tried again.
    BackFailed,
    /// The host is back.
    Returned,
    /// One look at the service.
    Looked {
        /// Whether it worked.
        healthy: bool,
        /// What it said.
        reason: String,
    },
    /// Enough looks in a row say so.
    HealthChanged {
        /// Whether it works.
        healthy: bool,
    },
    /// The process began anew; what was under way is done again.
    Restarted,
    /// Old trees are gone, or can't be removed now.
    Pruned {
        /// They are gone.
        done: bool,
    },
}

/// The news in short, for logs.
pub fn describe(kind: &ReportKind) -> String {
    match kind {
        ReportKind::Declined { phase, reason, .. } => format!("declined at {phase}: {reason}"),
        ReportKind::Reverted {
            from,
            to,
            phase,
            reason,
        } => format!(
            "went back from {} to {} at {phase}: {reason}",
            from.short(),
            to.short()
        ),
        ReportKind::RevertFailing {
            to,
            phase,
            reason,
            tries,
        } => format!(
            "going back to {} fails at {phase} (try {tries}): {reason}",
            to.short()
        ),
        ReportKind::Holding { running } => {
            format!("holds {}: the control plane is gone", running.short())
        }
        ReportKind::Health {
            healthy, reason, ..
        } if *healthy => format!("healthy again {reason}"),
        ReportKind::Health { reason, .. } => format!("unhealthy: {reason}"),
    }
}
