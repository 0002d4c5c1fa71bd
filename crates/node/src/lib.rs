//! One host as a pure machine: the commit-confirmed protocol.
//!
//! ```text
//! forward:  Stage → Check → WayHome ┃ arm ┃ Swap → Restart → Health → Confirm → Watch
//!                │ failure: declined      │ failure, deadline, crash: back
//! back:     Stage (verify) → Swap → Restart → Health → Watch, tried for ever
//! ```
//!
//! Four verbs, none of which touches the world: [`decide`] says what an input
//! means, [`evolve`] folds that into the [`Host`], [`due`] derives from the
//! state what is to be done, [`wake_at`] when to look again. The shell keeps
//! the whole [`Host`] on disk and writes it *after* `evolve` and *before* it
//! does what is due; so "armed" is on disk before anything changes, and what is
//! due after a crash is what was due before it.
//!
//! Invariants, each with a property test: the fence never goes down; a rollback
//! order above the fence to what was good here or is attested is never refused
//! (on a host that is not gated: to anything); programs are only ever pointed at
//! an ordered digest or a kept good one, on a gated host only at one that was
//! good here or is attested; once faults stop, the host runs what was ordered
//! and confirmed, or is home.

mod decide;
mod due;
mod evolve;
mod gate;
mod host;
mod message;
mod orders;
mod outcomes;
mod timer;

#[cfg(test)]
mod tests;

pub use decide::{authority, decide};
pub use due::{due, is_pending, wake_at};
pub use evolve::{OUTBOX_MAX, evolve};
pub use gate::{PROVEN_MAX, Proof};
pub use host::{
    Armed, ArmedStep, Asking, Back, BackStep, Cause, Confirm, Host, KEPT_MAX, Looks, Pending,
    Place, Prepare, PrepareStep, Recipe, Slot, Watch, Work,
};
pub use message::{
    Action, Context, Effect, EffectId, Input, NodeEvent, Outcome, SlotEvent, describe,
};
pub use timer::Timer;
