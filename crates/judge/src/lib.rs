//! Decides from counts whether a new bundle does harm: continuously, with a
//! guaranteed bound on how often a healthy one is sent back.
//!
//! [`Judge`] is told one [`Tick`] after the other and gives its [`Standing`] at
//! any time. Evidence is a product of bets against the claim "the new bundle is
//! not worse"; while the claim is true, it ever reaches `1/alpha` with a
//! probability of at most `alpha` (Ville's inequality), however often one looks.
//!
//! Invariants: silence neither passes nor fails; the same ticks give the same
//! [`Standing`] bit for bit on every machine ([`Record::replay`]); state is of
//! bounded size.

mod bernoulli;
#[cfg(test)]
mod chance;
mod dispersion;
mod errors;
pub mod events;
pub mod fleet;
pub mod gauges;
mod halves;
pub mod history;
mod interval;
pub mod judge;
pub mod latency;
mod mixture;
mod num;
pub mod plan;
pub mod record;
mod silence;
mod strata;
mod suspect;
pub mod tick;

pub use fleet::FleetWatch;
pub use history::{Baseline, History};
pub use judge::{GaugeWarning, Judge, MetricStanding, Ratio, Settings, Standing, Word};
pub use record::Record;
pub use tick::{Side, Sums, Tick};
