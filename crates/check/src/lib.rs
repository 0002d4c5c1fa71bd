//! Checks what people write before any host sees it.
//!
//! [`project`] reads `plimsoll.toml` and reports every problem at once with its
//! exact place; [`render()`] shows problems under the lines they are in;
//! [`diff()`] says what a new bundle changes. All of it is pure: text and values
//! in, values out, no files, no clock.
//!
//! Invariant: a [`Project`] that was parsed is complete. Its names, paths,
//! addresses, durations and references hold, so `push` checks only what needs
//! the disk.

pub mod assess;
pub mod calendar;
pub mod compat;
pub mod diff;
pub mod egress;
pub mod hostile;
pub mod problem;
pub mod project;
pub mod render;
pub mod rules;

mod documents;
mod pattern;
mod suggest;

pub use assess::{Assessment, Tree, assess};
pub use diff::{Change, diff};
pub use pattern::glob;
pub use problem::{Problem, Problems};
pub use project::{ChecksSource, PackageSource, Project, ServiceSource, parse, people};
pub use render::{render, render_finding};
pub use rules::problems;

/// The JSON Schema (draft 2020-12) of `plimsoll.toml`, for completion, hover
/// texts and checks while typing. It holds the form of the file; references
/// between its parts are checked by [`parse`] alone.
pub const SCHEMA: &str = include_str!("../schema/plimsoll.schema.json");
