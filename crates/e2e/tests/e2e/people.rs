//! Freeze and rollback, by people.

use anyhow::{Context, Result, ensure};
use model::Event;
use wire::api::ReleaseState;

use crate::fleet::{self, Fleet, served};
use crate::wait::{s, until, until_so};

async fn orders(fleet: &Fleet) -> Result<usize> {
    let records = fleet.journal().await?;
    let orders = records
        .iter()
        .filter(|record| matches!(record.event, Event::HostOrdered { .. }));
    Ok(orders.count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_holds_a_release_and_not_its_rollback() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2), ("zone-b", 1)])?;
    fleet::with(
        shape,
        |_| Ok(()),
        async |fleet| {
            let load = fleet.customers()?;
            fleet.write_good("2")?;
            let release = fleet.push("good").await?;
            fleet.first_with("2").await?;
            fleet
                .plimsoll(&["freeze", "--reason", "fair day"])
                .await?
                .exits(0)?;
            let waiting = until("the release says that it is frozen", s(30), async || {
                let status = fleet
                    .plimsoll(&["status", "--json"])
                    .await?
                    .exits(0)?
                    .json()?;
                let waiting = status["services"][0]["active"]["waiting"]
                    .as_str()
                    .unwrap_or_default();
                Ok(waiting.contains("frozen").then(|| waiting.to_owned()))
            })
            .await?;
            ensure!(
                waiting.contains("fair day") && waiting.contains("first operator"),
                "{waiting}"
            );
            let held = orders(fleet).await?;
            // Longer than the bake: an unfrozen release would have gone on by now.
            tokio::time::sleep(s(4)).await;
            ensure!(orders(fleet).await? == held, "a frozen release went on");
            let said = fleet
                .plimsoll(&["push", "api", "--no-follow", "-m", "another"])
                .await?;
            said.exits(3)?;
            let back = ["rollback", "api", "--reason", "not today"];
            fleet.plimsoll(&back).await?.exits(0)?;
            let ended = fleet.over(release.id).await?;
            ensure!(ended.state == ReleaseState::RolledBack, "{ended:#?}");
            fleet.all_serve(&fleet.world.hosts, "1", s(20)).await?;
            fleet.write_good("3")?;
            let said = fleet
                .plimsoll(&["push", "api", "--no-follow", "-m", "frozen"])
                .await?;
            said.exits(3)?.says(&["fair day", "(frozen)"])?;
            fleet
                .plimsoll(&["thaw", "--reason", "fair is over"])
                .await?
                .exits(0)?;
            let release = fleet.push("after the fair").await?;
            let ended = fleet.over(release.id).await?;
            ensure!(ended.state == ReleaseState::Good, "{ended:#?}");
            load.stop().await;
            Ok(())
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_rolls_back_what_was_good() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2)])?;
    fleet::with(
        shape,
        |_| Ok(()),
        async |fleet| {
            let load = fleet.customers()?;
            let two = fleet.push_good("2").await?;
            let three = fleet.push_good("3").await?;
            fleet
                .plimsoll(&["rollback", "api", "--reason", "slow"])
                .await?
                .exits(0)?;
            fleet
                .all_serve(&fleet.world.hosts, "2", s(20))
                .await
                .context("to the good before")?;
            let ended = fleet.over(three.id).await?;
            ensure!(ended.state == ReleaseState::RolledBack, "{ended:#?}");

            fleet.push_good("4").await?;
            fleet.push_good("5").await?;
            let to = two.digest.to_string();
            fleet
                .plimsoll(&["rollback", "api", "--to", &to])
                .await?
                .exits(0)?;
            fleet
                .all_serve(&fleet.world.hosts, "2", s(20))
                .await
                .context("to an older good")?;

            let before = orders(fleet).await?;
            let never = "0".repeat(64);
            let said = fleet
                .plimsoll(&["rollback", "api", "--to", &never, "--json"])
                .await?
                .exits(3)?;
            let said = said.says(&["target-never-good", "next:"])?;
            ensure!(said.json()?["exit_code"] == 3, "{said:#?}");
            ensure!(
                orders(fleet).await? == before,
                "a refused rollback ordered something"
            );
            load.stop().await;
            until_so("customers are served", s(10), async || {
                Ok(fleet.ask().await == Some(200))
            })
            .await
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_mends_what_was_changed_by_hand() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2)])?;
    fleet::with(
        shape,
        |_| Ok(()),
        async |fleet| {
            let load = fleet.customers()?;
            let two = fleet.push_good("2").await?;
            let place = fleet.production().into_iter().next().context("no host")?;
            // Somebody goes past every gate, straight onto one host.
            fleet.write_good("by-hand")?;
            fleet
                .world
                .push_directly(std::slice::from_ref(&place), &[])
                .await?;
            until_so("the host runs what nobody released", s(15), async || {
                Ok(served(&place).await.as_deref() == Some("by-hand"))
            })
            .await?;
            let to = two.digest.to_string();
            fleet
                .plimsoll(&["rollback", "api", "--no-follow", "--to", &to])
                .await?
                .exits(0)?;
            fleet.all_serve(&fleet.world.hosts, "2", s(30)).await?;
            until_so("the rollback is over", s(30), async || {
                let status = fleet
                    .plimsoll(&["status", "--json"])
                    .await?
                    .exits(0)?
                    .json()?;
                Ok(status["services"][0]["active"].is_null())
            })
            .await?;
            load.stop().await;
            Ok(())
        },
    )
    .await
}
