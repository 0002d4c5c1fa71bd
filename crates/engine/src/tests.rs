//! Stories first, then laws that hold in every reachable state.

mod entry;
mod gates;
mod healthy;
mod incidents;
mod laws;
mod moved;
mod policy;
mod stories;
mod traffic;
mod world;
