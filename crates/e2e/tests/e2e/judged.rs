//! The judge on real processes: four points more failures are found, none are not.
//!
//! One fleet under one load: what a plan can see, a change that does a little
//! harm, and one that does none and is watched for as long.

use anyhow::{Context, Result, ensure};
use model::Event;
use serde_json::Value;
use wire::api::ReleaseState;

use crate::fleet::{self, Fleet, HEALTHY_SESSION, TIGHT_SESSION};
use crate::random::Random;
use crate::wait::{s, until};

/// Half of them come to the first wave's host.
const RATE_PER_S: u32 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_little_harm_is_found_and_health_is_left_alone() -> Result<()> {
    let shape = fleet::counted(3, &["1 host at 50%", "all"])?;
    let seed = Random::seeded("judged").between(0, u64::MAX);
    let test = async |fleet: &mut Fleet| {
        let load = fleet.customers_with_sessions(RATE_PER_S, seed)?;
        advice(fleet).await?;
        regression(fleet).await?;
        healthy(fleet).await?;
        load.stop().await;
        Ok(())
    };
    fleet::with(shape, |_| Ok(()), test).await
}

/// What a plan can see is said from the service's own traffic.
async fn advice(fleet: &mut Fleet) -> Result<()> {
    let production = until("traffic of some seconds is known", s(60), async || {
        let plan = fleet.plimsoll(&["plan", "--json"]).await?.exits(0)?;
        let plan = plan.json()?;
        let stages = plan["environments"].as_array().context("environments")?;
        let mut stages = stages.iter();
        let found = stages.find(|stage| stage["environment"] == "production");
        let stage = found.context("no production")?;
        let seen = stage["traffic"]["seen_s"].as_u64() >= Some(5);
        Ok(seen.then(|| stage.clone()))
    })
    .await?;
    let rate = production["traffic"]["requests_per_s"].as_f64();
    ensure!(
        rate.is_some_and(|rate| (rate / f64::from(RATE_PER_S) - 1.0).abs() < 0.2),
        "{production:#}"
    );
    let failing = production["traffic"]["failing"].as_f64();
    ensure!(
        failing.is_some_and(|share| share > 0.0 && share < 0.05),
        "{production:#}"
    );
    let wave = &production["waves"][0];
    ensure!(wave["share"].as_f64() == Some(0.5), "{production:#}");
    // The first wave shows a point more within its bake, an outage sooner, and passes.
    let (point, outage) = (wave["point_s"].as_f64(), wave["outage_s"].as_f64());
    ensure!(
        point.is_some() && outage.is_some() && outage <= point,
        "{production:#}"
    );
    ensure!(wave["pass_s"].is_number(), "{production:#}");
    let said = fleet.plimsoll(&["plan"]).await?.exits(0)?;
    println!("{}", said.out);
    said.says(&["requests/s", "% fail", "DOUBLING", "PASSES", "50 %"])?;

    fleet.write_limit("2", TIGHT_SESSION)?;
    let dry = ["push", "api", "--dry-run", "-m", "smaller buffers"];
    let said = fleet.plimsoll(&dry).await?.exits(0)?;
    println!("{}", said.out);
    said.says(&["production 1/2", "a doubling shows in", "an outage in"])?;
    Ok(())
}

async fn regression(fleet: &mut Fleet) -> Result<()> {
    let release = fleet.push("smaller buffers").await?;
    let ended = fleet.over(release.id).await?;
    ensure!(ended.state == ReleaseState::RolledBack, "{ended:#?}");
    ensure!(ended.exposure.hosts == 1, "{ended:#?}");
    fleet.all_serve(&fleet.world.hosts, "1", s(20)).await?;

    let id = release.id.to_string();
    let said = fleet.plimsoll(&["verdict", &id]).await?.exits(4)?;
    println!("{}", said.out);
    let said = fleet.plimsoll(&["verdict", &id, "--json"]).await?;
    let verdict = said.exits(4)?.json()?;
    ensure!(
        verdict["verdict"] == "fail" && verdict["rule"] == "errors",
        "{verdict:#}"
    );
    let known = &verdict["explanation"];
    ensure!(known["metric"] == "errors", "{verdict:#}");
    ensure!(known["ratio"]["low"].as_u64() > Some(1000), "{verdict:#}");
    ensure!(
        known["harm_millinats"].as_i64() >= known["harm_needed_millinats"].as_i64(),
        "{verdict:#}"
    );
    let said = fleet.plimsoll(&["verdict", &id, "--replay"]).await?;
    let said = said.exits(0)?;
    println!("{}", said.out);
    said.says(&["the same, bit for bit", "harm was shown with second"])?;
    Ok(())
}

async fn healthy(fleet: &mut Fleet) -> Result<()> {
    fleet.write_limit("3", HEALTHY_SESSION)?;
    let release = fleet.push("nothing new").await?;
    let ended = fleet.over(release.id).await?;
    let id = release.id.to_string();
    let verdict = fleet.plimsoll(&["verdict", &id, "--json"]).await?;
    let said = fleet.plimsoll(&["verdict", &id]).await?;
    println!("{}", said.out);
    ensure!(ended.state == ReleaseState::Good, "{ended:#?} {}", said.out);
    let verdict: Value = verdict.exits(0)?.json()?;
    ensure!(verdict["verdict"] == "pass", "{verdict:#}");
    let passed = fleet.journal().await?.into_iter().filter(|record| {
        matches!(&record.event, Event::WaveJudged { release: id, environment, .. }
            if *id == release.id && environment.as_str() == "production")
    });
    ensure!(passed.count() == 2, "each wave passes once");
    fleet.all_serve(&fleet.world.hosts, "3", s(20)).await
}
