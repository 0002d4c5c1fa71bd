//! Stories and laws of the whole machine.
//!
//! Invariant: every step goes through [`world::World`], which checks the laws after it.

mod alerts;
mod laws;
mod oncall;
mod pages;
mod stories;
mod timeline;
pub(crate) mod world;
