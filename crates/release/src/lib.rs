//! One release on its way through environments and waves.
//!
//! [`waves::draw`] fixes who joins when; [`Release`] remembers how far it came
//! ([`Release::evolve`], total); [`next`] says what the release may do now,
//! given what its hosts look like ([`Outlook`]). Nothing here knows of other
//! releases, of tokens or of the network.
//!
//! Invariant: a wave's hosts are ordered only after every wave before it
//! passed, so the exposed hosts are never more than the current wave's share.

pub mod gates;
mod harm;
pub mod next;
pub mod state;
pub mod waves;

pub use gates::{Demands, Gating, RehearsalHost};
pub use harm::hosts_that_decide;
pub use next::{GatesAhead, HostLooks, Outlook, Step, next};
pub use state::{Release, Rollback, Stage, Status};
