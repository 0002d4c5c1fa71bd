//! Asks targets whether they answer, on threads of its own.
//!
//! Invariant: nothing here waits for what it watches, for the journal, or for anybody who is told.

pub mod opinion;
pub mod probe;
pub mod schedule;
pub mod watch;

pub use opinion::{Change, Opinions, State};
pub use probe::{Prober, Question};
pub use schedule::{Finding, Look, Spec};
pub use watch::{Monitor, Told, Vitals};
