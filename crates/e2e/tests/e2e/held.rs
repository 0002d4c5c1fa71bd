//! A release that must not go back: held where it does harm, and people decide.

use anyhow::{Result, ensure};
use model::{Event, ReleaseId};
use wire::api::{ReleaseState, ReleaseView};

use crate::fleet::{self, Fleet, TINY_SESSION, live};
use crate::random::Random;
use crate::wait::{s, until, until_so};

const RATE_PER_S: u32 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_go_back_is_held_until_people_say_how() -> Result<()> {
    let shape = fleet::counted(3, &["1 host at 50%", "1 host at 70%", "all"])?;
    let seed = Random::seeded("held").between(0, u64::MAX);
    let test = async |fleet: &mut Fleet| {
        let load = fleet.customers_with_sessions(RATE_PER_S, seed)?;
        irreversible(fleet).await?;
        load.stop().await;
        Ok(())
    };
    fleet::with(shape, |_| Ok(()), test).await
}

async fn irreversible(fleet: &mut Fleet) -> Result<()> {
    let key = "[service.api]\n";
    let change = |project: &str| project.replacen(key, &format!("{key}reversible = false\n"), 1);
    fleet.declare(change).await?;
    fleet.write_limit("2", TINY_SESSION)?;
    let release = fleet.push("sessions move to new tables").await?;
    let id = release.id.to_string();
    let held = asked(fleet, release.id, 1).await?;
    println!("{}", held.waiting.as_deref().unwrap_or_default());
    ensure!(held.exposure.hosts == 1, "{held:#?}");
    let words = held.waiting.as_deref().unwrap_or_default();
    ensure!(
        words.contains("irreversible") && words.contains(&format!("plimsoll continue {id}")),
        "{held:#?}"
    );
    let said = fleet.plimsoll(&["verdict", &id]).await?;
    println!("{}", said.out);
    said.says(&["requests failed", "on the new bundle"])?;
    ensure!(with(fleet, "2") == 1, "it was reverted, or went on");

    let go_on = ["continue", &id, "--reason", "the old tables are gone"];
    fleet.plimsoll(&go_on).await?.exits(0)?;
    until_so("the next wave has it", s(30), async || {
        Ok(with(fleet, "2") == 2)
    })
    .await?;
    // They said it of one wave: of the next they are asked again.
    let held = asked(fleet, release.id, 2).await?;
    ensure!(held.exposure.hosts == 2, "{held:#?}");
    ensure!(with(fleet, "2") == 2, "it went on without being told");
    let records = fleet.journal().await?;
    let reverted = |event: &Event| matches!(event, Event::RollbackStarted { .. });
    ensure!(
        !records.iter().any(|record| reverted(&record.event)),
        "a machine sent it back"
    );

    let back = ["rollback", "api", "--release", &id, "--reason", "25 % fail"];
    fleet.plimsoll(&back).await?.exits(0)?;
    let ended = fleet.over(release.id).await?;
    ensure!(ended.state == ReleaseState::RolledBack, "{ended:#?}");
    fleet.all_serve(&fleet.world.hosts, "1", s(20)).await
}

/// Waits until people are asked for the `times`-th time in production.
async fn asked(fleet: &Fleet, id: ReleaseId, times: usize) -> Result<ReleaseView> {
    let what = format!("people are asked for the {times}. time");
    until(&what, s(90), async || {
        let held = fleet.journal().await?.into_iter().filter(|record| {
            matches!(&record.event, Event::WaveHeld { release, environment, .. }
                if *release == id && environment.as_str() == "production")
        });
        if held.count() < times {
            return Ok(None);
        }
        let release = fleet.release(id).await?;
        Ok(release.filter(|now| now.state == ReleaseState::Held))
    })
    .await
}

/// How many production hosts have this version live.
fn with(fleet: &Fleet, version: &str) -> usize {
    let hosts = fleet.world.production();
    hosts
        .filter(|place| live(place).is_ok_and(|text| text == fleet.configs[version]))
        .count()
}
