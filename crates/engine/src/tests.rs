//! Stories first, then laws that hold in every reachable state.

mod gates;
mod laws;
mod moved;
mod stories;
mod world;
