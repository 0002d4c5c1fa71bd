//! Alerts, incidents, on-call, escalation, objectives and the status page, as one pure machine.
//!
//! [`State`] is a fold of [`model::incident::IncidentEvent`]s ([`State::evolve`], total).
//! [`alerts::intake`] and [`commands`] turn what comes in into events, [`tick`]
//! says what follows by itself as time passes (asked again until nothing does),
//! [`due`] which messages should be on their way, [`wake_at`] when to ask again.
//! [`status`] and [`timeline`] are views; [`slo`] counts and foresees.
//!
//! Invariant: what is sent follows from state alone. The same state at the same
//! time names the same messages, each by an id that no replay changes.

pub mod alerts;
pub mod commands;
pub mod escalation;
mod evolve;
pub mod incidents;
pub mod oncall;
pub mod slo;
mod state;
pub mod status;
mod tick;
pub mod timeline;
mod wake;

pub use escalation::{Message, due};
pub use state::{
    AlertState, ContactState, Held, Incident, Level, Over, Overflow, Page, Relief, ScheduleState,
    State, Test, Told, Turn, TurnKind,
};
pub use tick::tick;
pub use wake::wake_at;

#[cfg(test)]
mod tests;
