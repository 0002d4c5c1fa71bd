//! The agent against a control plane over real sockets, with real files and commands.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on fails where it stands"
)]

mod fake;
mod gates;
mod stories;
mod tasks;
