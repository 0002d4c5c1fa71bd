//! Stories first, then laws that hold in every reachable state.

mod laws;
mod stories;
mod world;
