//! The agent against a control plane over real sockets, with real files and commands.

mod fake;
mod stories;
