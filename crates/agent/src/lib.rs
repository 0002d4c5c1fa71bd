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
//! agent.sock      for commands on this host   lock         one agent at a time
//! ```
//!
//! Invariant: no wait without a deadline, no change of what is live without
//! the state that answers for it on disk, and no way back that needs anybody else.

mod agent;
mod blobs;
mod command;
mod config;
mod core;
mod disk;
mod error;
mod files;
mod hands;
mod health;
mod link;
mod live;
mod local;
mod peer;
mod reach;
mod store;
mod unpack;
mod words;

pub use agent::run;
pub use config::{AgentConfig, ServiceConfig, Timings};
pub use error::AgentError;
pub use local::{ServiceStatus, Status, revert_local, status};
