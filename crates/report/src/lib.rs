//! Incident reports as people write them, and where they contradict themselves.
//!
//! [`read`] takes down what a report says, in Markdown, HTML or nothing at all,
//! with the line and column of everything. [`check`] holds it against itself.
//! [`Report`] is the same as values, and writes itself in five parts: summary,
//! timeline, root cause, resolution and recovery, corrective and preventative
//! measures.
//!
//! ```text
//! characters -> source (lines without markup) -> layout (blocks in sections)
//!            -> rows, prose, actions (what each tells) -> findings
//! ```
//!
//! Invariant: any text can be read, in time that grows with its length, and a
//! report that [`Report`] wrote has no findings.

mod actions;
mod calendar;
mod clock;
mod findings;
mod layout;
mod outage;
mod place;
mod prose;
mod reading;
mod role;
mod rows;
mod source;
mod span;
mod written;
mod zone;

pub use actions::{Action, Field};
pub use clock::{Half, Time};
pub use findings::{Code, Finding};
pub use outage::{Moment, Outage};
pub use place::Place;
pub use reading::{Reading, read};
pub use role::Role;
pub use rows::Row;
pub use written::{Entry, Measure, Report};
pub use zone::Zone;

/// What was found in a report.
#[derive(Debug, Clone)]
pub struct Checked {
    pub reading: Reading,
    pub outage: Outage,
    /// In the order of their places.
    pub findings: Vec<Finding>,
}

/// Reads a report and holds it against itself. `zone` is the one of its times if
/// it names none.
pub fn check(text: &str, zone: Option<&Zone>) -> Checked {
    let mut reading = read(text);
    if reading.zone.is_none() {
        reading.zone = zone.cloned();
    }
    Checked {
        outage: outage::of(&reading),
        findings: findings::all(&reading),
        reading,
    }
}
