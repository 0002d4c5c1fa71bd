//! Stories first, then laws that hold in every reachable state.

mod gates;
mod laws;
mod stories;
mod world;
