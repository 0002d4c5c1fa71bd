//! The control plane as a pure machine.
//!
//! ```text
//! decide(&State, &Watch, Input, now) -> Result<Vec<Event>, Refusal>
//! evolve(&mut State, &Event, at)           total, cannot fail
//! due(&State) -> Vec<Effect>               what the world should be told, from state alone
//! wake_at(&State, &Watch) -> Timestamp     when to tick next without news
//! ```
//!
//! [`State`] is the fold of the journal; [`Watch`] is what is not journaled:
//! heartbeats and request counts as this process has seen them. A control
//! plane that starts anew has an empty watch and decides nothing harmful from
//! that emptiness.
//!
//! Invariant: no reachable state refuses a rollback of a known service to a
//! target that was good; and a host is ordered forward only to the bundle of a
//! release whose earlier waves and environments passed.

pub mod decide;
pub mod due;
mod freezes;
mod gates;
pub mod incidents;
pub mod state;
pub mod watch;

pub use decide::{Input, decide};
pub use due::{Effect, due, wake_at};
pub use freezes::{FreezeNow, freezes};
pub use gates::{Beside, approvals_needed, attestation_void, binds, gates};
pub use incidents::IncidentInput;
pub use release::{Release, Rollback, Stage, Status, waves};
pub use state::{HostState, ServiceState, Slot, SlotStatus, State, evolve};
pub use watch::Watch;

#[cfg(test)]
mod tests;
