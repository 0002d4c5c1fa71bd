//! Asks targets whether they answer, on threads of its own.
//!
//! Invariant: nothing here waits for what it watches, for the journal, or for anybody who is told.

pub mod probe;
