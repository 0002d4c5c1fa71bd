//! What the judge promises, through its public interface.
//!
//! Invariant: every promise is looked at in every second of a comparison, not only at its end.

#[path = "promises/chance.rs"]
mod chance;
#[path = "promises/guarantee.rs"]
mod guarantee;
#[path = "promises/metrics.rs"]
mod metrics;
#[path = "promises/properties.rs"]
mod properties;
#[path = "promises/replay.rs"]
mod replay;
#[path = "promises/silence.rs"]
mod silence;
#[path = "promises/world.rs"]
mod world;
