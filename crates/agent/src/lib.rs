//! The host agent's shell: files, commands, health, the way home.
//!
//! The [`node`] machine decides; this crate keeps its state on disk and does
//! what is due. One task owns the state ([`run`]); everything else sends it
//! inputs. In the state folder:
//!
//! ```text
//! host.json       the machine's whole state, written before anything is done
//! key             the agent's own key         control.key  the control plane's
//! trees/DIGEST    complete trees; `live` is a link to one of them
//! packages/DIGEST unpacked packages           blobs/       downloads under way
//! staging/        what is being built         aside/       folders that made way
//! reverts/SERVICE.json  the way back from the newest order forward, signed in advance
//! agent.sock      for commands on this host   lock         one agent at a time
//! ```
//!
//! Invariant: no wait without a deadline, no change of what is live without
//! the state that answers for it on disk, and no way back that needs anybody else.

mod advance;
mod agent;
mod blobs;
mod command;
mod config;
mod core;
mod disk;
mod error;
mod files;
mod gauges;
mod hands;
mod health;
mod link;
mod live;
mod local;
mod peer;
mod reach;
mod store;
mod tasks;
mod trust;
mod unpack;
mod words;

pub use advance::envelope as signed_order;
pub use agent::run;
pub use config::{AgentConfig, Attestation, ProbeSettings, ServiceConfig, Timings};
pub use error::AgentError;
pub use local::{Reverted, ServiceStatus, Status, revert_local, status};
