//! What hosts and gateways do while the control plane is dead.

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;
use wire::api::ReleaseState;

use crate::fleet::{self, live, served, starts};
use crate::wait::{s, until_so};

/// `confirm_within` of the fleet's plan.
const CONFIRM_WITHIN_S: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_goes_back_by_itself_from_a_bad_wave() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2), ("zone-b", 1)])?;
    fleet::with(
        shape,
        |_| Ok(()),
        async |fleet| {
            let load = fleet.customers()?;
            let before: Vec<u64> = fleet
                .production()
                .iter()
                .map(starts)
                .collect::<Result<_>>()?;
            fleet.write_ill("2")?;
            let release = fleet.push("bad").await?;
            let canary = fleet.first_with("2").await?;
            let armed = Instant::now();
            fleet.world.crash("control").await?;
            until_so("the server runs the bad change", s(15), async || {
                Ok(served(&canary).await.as_deref() == Some("2"))
            })
            .await?;
            // Its deadline, ten seconds, and what a slow machine adds to a restart.
            let within = s(CONFIRM_WITHIN_S + 10);
            fleet
                .all_serve(std::slice::from_ref(&canary), "1", within)
                .await?;
            let took = armed.elapsed();
            ensure!(took <= within, "took {took:?}");
            println!(
                "back by itself {:.1} s after the change",
                took.as_secs_f64()
            );
            for (place, before) in fleet.production().iter().zip(before) {
                if place.name != canary.name {
                    ensure!(
                        live(place)? == fleet.configs["1"],
                        "{} was changed",
                        place.name
                    );
                    ensure!(starts(place)? == before, "{} was restarted", place.name);
                }
            }
            fleet.start_control().await?;
            let ended = fleet.over(release.id).await?;
            ensure!(ended.state == ReleaseState::RolledBack, "{ended:#?}");
            fleet.all_serve(&fleet.world.hosts, "1", s(30)).await?;
            load.stop().await;
            Ok(())
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_wave_goes_on_when_the_control_plane_is_back() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2), ("zone-b", 1)])?;
    fleet::with(
        shape,
        |_| Ok(()),
        async |fleet| {
            let load = fleet.customers()?;
            fleet.write_good("2")?;
            let release = fleet.push("good").await?;
            let canary = fleet.first_with("2").await?;
            fleet.world.crash("control").await?;
            until_so("the server runs the change", s(15), async || {
                Ok(served(&canary).await.as_deref() == Some("2"))
            })
            .await?;
            fleet.start_control().await?;
            let ended = fleet.over(release.id).await?;
            ensure!(ended.state == ReleaseState::Good, "{ended:#?}");
            fleet.all_serve(&fleet.world.hosts, "2", s(30)).await?;
            let report = load.stop().await;
            println!(
                "{} of {} requests failed meanwhile",
                report.total.failed, report.total.sent
            );
            Ok(())
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_takes_a_host_back_without_the_control_plane() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2)])?;
    fleet::with(
        shape,
        |_| Ok(()),
        async |fleet| {
            let load = fleet.customers()?;
            fleet.push_good("2").await?;
            load.stop().await;
            let hosts = fleet.production();
            fleet.world.crash("control").await?;
            let (with_agent, without_agent) = (&hosts[0], &hosts[1]);
            fleet
                .world
                .crash(&format!("agent-{}", without_agent.name))
                .await?;
            for place in [with_agent, without_agent] {
                ensure!(live(place)? == fleet.configs["2"]);
                let config = place.folder.join("agent.toml").display().to_string();
                let args = ["agent", "revert", "--local", "--json", "--config", &config];
                let said = fleet.plimsoll(&args).await?.exits(0)?;
                let status = said.json()?;
                ensure!(status["running"] == status["good"], "{said:#?}");
                ensure!(
                    live(place)? == fleet.configs["1"],
                    "{} is not back",
                    place.name
                );
                fleet
                    .all_serve(std::slice::from_ref(place), "1", s(15))
                    .await
                    .context("right after the answer")?;
            }
            // Nobody else was touched, and the agent that lives stays where the person put it.
            let args = with_agent.folder.join("agent.toml").display().to_string();
            let said = fleet
                .plimsoll(&["agent", "status", "--config", &args])
                .await?
                .exits(0)?;
            said.says(&["control plane"])?;
            fleet.start_control().await?;
            fleet.world.start_agent(&without_agent.clone())?;
            fleet.all_serve(&hosts, "1", s(15)).await
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_serves_without_the_control_plane_also_after_its_own_death() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2)])?;
    fleet::with(
        shape,
        |_| Ok(()),
        async |fleet| {
            let load = fleet.customers()?;
            until_so("customers are served", s(20), async || {
                Ok(load.snapshot().total.ok > 20)
            })
            .await?;
            fleet.world.crash("control").await?;
            let before = load.snapshot().total;
            until_so("customers go on being served", s(20), async || {
                Ok(load.snapshot().total.ok > before.ok + 300)
            })
            .await?;
            let report = load.stop().await;
            ensure!(
                report.total.failed == 0,
                "{} requests failed",
                report.total.failed
            );
            fleet.world.crash("gateway").await?;
            ensure!(
                fleet.ask().await.is_none(),
                "somebody answers for a dead gateway"
            );
            let began = Instant::now();
            fleet.world.start_gateway()?;
            until_so("the gateway serves by what it saved", s(20), async || {
                Ok(fleet.ask().await == Some(200))
            })
            .await?;
            let took = began.elapsed().as_secs_f64();
            println!("killed, started, and served again {took:.2} s after its start");
            for _ in 0..50 {
                ensure!(fleet.ask().await == Some(200));
            }
            fleet.start_control().await?;
            ensure!(fleet.ask().await == Some(200));
            Ok(())
        },
    )
    .await
}
