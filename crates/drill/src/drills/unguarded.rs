//! The course without anything in the way: the outage as it was recorded.
//!
//! Invariant: what is checked was seen while it lasted, not concluded from the change.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;

use super::{AFTER, BEFORE, Drill, Mode, customers, seen};
use crate::outcome::{Check, Moment, Outcome, outage_s, seconds_between, tail};
use crate::world::{Place, World};

/// How long the outage is let be before people find it: ten seconds of it must
/// be whole, and it begins when the first requests give up.
const OUTAGE: Duration = Duration::from_secs(14);
/// Between two parts of a way back.
const STEP: Duration = Duration::from_secs(3);
/// Servers that were restarted answer the requests that came meanwhile.
const SETTLE: Duration = Duration::from_secs(4);

pub(super) async fn run(
    drill: &Drill,
    world: &World,
    tell: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let mut timeline = Vec::new();
    let mut note = |event: String| {
        tell(&event);
        timeline.push(Moment {
            at: Timestamp::now(),
            event,
        });
    };
    let load = customers(world)?;
    tokio::time::sleep(BEFORE).await;
    let hosts: Vec<Place> = world.production().cloned().collect();
    note(format!(
        "the change goes straight to all {} production hosts",
        hosts.len()
    ));
    drill.fault.write(world)?;
    world.push_directly(&hosts, drill.fault.packages()).await?;
    tokio::time::sleep(OUTAGE).await;
    let seen = seen::look(drill.fault, world, &hosts, &load.snapshot()).await?;
    seen.notes.into_iter().for_each(&mut note);
    let decided_at = Timestamp::now();
    note("people take the change back, host by host".into());
    drill.fault.unwrite(world)?;
    let mut back = 0;
    for percent in drill.way_back {
        if back > 0 {
            tokio::time::sleep(STEP).await;
        }
        let next = (hosts.len() * percent).div_ceil(100);
        world.push_directly(&hosts[back..next], &[]).await?;
        back = next;
        note(format!("{back} of {} servers run as before", hosts.len()));
    }
    let back_at = Timestamp::now();
    tokio::time::sleep(AFTER + SETTLE).await;
    let report = load.stop().await;
    let outage = outage_s(&report);
    let mut checks = vec![Check::new(
        "at least 95 % of requests fail for at least 10 s",
        format!("{outage:.1} s"),
        outage >= 10.0,
    )];
    checks.extend(seen.checks);
    checks.push(Check::new(
        "service restored",
        tail(&report).failed_permille().to_string(),
        tail(&report).failed == 0,
    ));
    let outcome = Outcome::of(drill.name, Mode::Unguarded, &report, timeline, checks);
    let first = report.first_failed_at;
    let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    Ok(Outcome {
        hosts_touched: count,
        hosts: count,
        detect_s: first.map(|first| seconds_between(first, decided_at)),
        rollback_s: Some(seconds_between(decided_at, back_at)),
        ..outcome
    })
}
