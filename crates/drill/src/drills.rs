//! The drills: what incident reports tell of, run again on a small fleet.
//!
//! A drill is data: a [`Fault`], what people did, and what was recorded. Its
//! three courses are the same for all that are outages; what only statistics
//! can see has its own. Invariant: a course differs from
//! another in what stands in the change's way, never in the change.

mod fault;
mod guarded;
mod reports;
mod seen;
mod subtle;
mod unguarded;
mod waves;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::load::{Load, LoadConfig, LoadHandle, Spread};
use crate::outcome::Outcome;
use crate::world::{Shape, World};

pub use fault::Fault;
pub use reports::ALL;

/// Requests each second.
pub const RATE_PER_S: u32 = 300;
/// Customers.
pub const TENANTS: u32 = 1000;
/// Traffic before the change, to have something to compare with.
const BEFORE: Duration = Duration::from_secs(3);
/// Traffic after the end, to see that service really is restored.
const AFTER: Duration = Duration::from_secs(4);

/// One report's outage.
#[derive(Debug)]
pub struct Drill {
    /// As people call it on the command line.
    pub name: &'static str,
    /// In one line.
    pub summary: &'static str,
    /// What the report recorded, beside our own rows of the same name.
    pub recorded: &'static [(&'static str, &'static str)],
    /// What the change does.
    fault: Fault,
    /// How its author called it.
    message: &'static str,
    /// How people took it back: so many percent of the servers at a time.
    way_back: &'static [usize],
}

/// What stands in the change's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: the outage must happen as it was recorded.
    Unguarded,
    /// No gate, only waves and judge: the outage must stay small.
    WavesOnly,
    /// Everything: the change must not reach production.
    Guarded,
}

impl Mode {
    /// As outcomes name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Unguarded => "unguarded",
            Mode::WavesOnly => "waves-only",
            Mode::Guarded => "guarded",
        }
    }
}

/// The drill of that name.
pub fn find(name: &str) -> Option<&'static Drill> {
    ALL.iter().find(|drill| drill.name == name)
}

impl Drill {
    /// Runs it in `folder`, with the gateway's overload control unless `unprotected`
    /// (unguarded it is always off). `tell` hears what happens.
    ///
    /// # Errors
    /// When the fleet can't be started, or a part of it can't be asked.
    pub async fn run(
        &self,
        folder: &Path,
        mode: Mode,
        unprotected: bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Outcome> {
        let shape = Shape {
            watchdog: mode == Mode::Unguarded,
            protected: mode != Mode::Unguarded && !unprotected,
            gates: mode == Mode::Guarded,
            ..self.fault.shape()
        };
        let world = World::start(folder, shape, tell).await?;
        let outcome = match (self.fault, mode) {
            (Fault::TightLimit, Mode::Unguarded) => subtle::unguarded(self, &world, tell).await,
            // No gate can see it: the same must be shown of both.
            (Fault::TightLimit, Mode::WavesOnly | Mode::Guarded) => {
                subtle::judged(self, &world, mode, tell).await
            }
            (_, Mode::Unguarded) => unguarded::run(self, &world, tell).await,
            (_, Mode::WavesOnly) => waves::run(self, &world, tell).await,
            (_, Mode::Guarded) => guarded::run(self, &world, tell).await,
        };
        world.stop().await;
        outcome
    }
}

/// Customers' traffic through the gateway.
///
/// # Errors
/// When the load can't be set up.
pub fn customers(world: &World) -> Result<LoadHandle> {
    let config = LoadConfig {
        rate_per_s: RATE_PER_S,
        tenants: TENANTS,
        spread: Spread::Uniform,
        timeout: Duration::from_secs(4),
        ..LoadConfig::new(world.url())
    };
    Load::start(config).context("customers' traffic")
}

/// The last line that a `plimsoll push --json` printed.
fn last_line(pushed: &std::process::Output) -> Result<&[u8]> {
    let mut lines = pushed.stdout.split(|byte| *byte == b'\n');
    lines.rfind(|line| !line.is_empty()).with_context(|| {
        format!(
            "plimsoll push said nothing; {}",
            String::from_utf8_lossy(&pushed.stderr)
        )
    })
}
