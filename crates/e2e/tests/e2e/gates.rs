//! A fleet with every gate on: a good change passes them all.
//!
//! What must not pass is in `drills`.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use drill::world::Shape;
use model::{Gate, GateState};

use crate::fleet::{self, shape};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_change_passes_every_gate() -> Result<()> {
    let shape = Shape {
        gates: true,
        ..shape(&[("zone-a", 2)])?
    };
    fleet::with(
        shape,
        |_| Ok(()),
        async |fleet| {
            let load = fleet.customers()?;
            let release = fleet.push_good("2").await?;
            load.stop().await;
            let passed: BTreeSet<Gate> = release
                .gates
                .iter()
                .filter(|look| look.state == GateState::Passed)
                .map(|look| look.gate)
                .collect();
            let demanded = [
                Gate::Checks,
                Gate::Compatibility,
                Gate::Test,
                Gate::Rehearsal,
                Gate::Hostile,
                Gate::References,
                Gate::Attestation,
            ];
            ensure!(
                passed.is_superset(&BTreeSet::from(demanded)),
                "{:#?}",
                release.gates
            );
            ensure!(
                release
                    .gates
                    .iter()
                    .all(|look| matches!(look.state, GateState::Passed | GateState::Off)),
                "{:#?}",
                release.gates
            );
            Ok(())
        },
    )
    .await
}
