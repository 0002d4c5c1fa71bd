//! The drill's parts as real processes over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod load;
mod packages;
mod service;
mod supervise;
mod world;
