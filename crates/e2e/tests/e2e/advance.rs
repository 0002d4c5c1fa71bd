//! The way back that was signed in advance, on the day when the control plane is gone.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use drill::world::Place;
use model::{Event, Role};
use wire::api::{ReleaseState, ReleaseView};

use crate::fleet::{self, Fleet, live};
use crate::program::Said;
use crate::wait::{s, until, until_so};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_goes_back_on_the_order_that_came_with_the_way_forward() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2)])?;
    fleet::with(shape, |_| Ok(()), async |fleet| alone(fleet).await).await
}

async fn alone(fleet: &mut Fleet) -> Result<()> {
    let load = fleet.customers()?;
    fleet.push_good("good").await?;
    load.stop().await;
    fleet.demand_approval().await?;
    let (release, host) = in_the_middle_of_a_wave(fleet).await?;
    let word = format!(
        "authorised in advance with release {}, approved by bob",
        release.id
    );
    fleet.world.crash("control").await?;

    let said = revert(fleet, &host, &[]).await?.exits(0)?;
    said.says(&["this host is back", &word])?;
    ensure!(
        live(&host)? == fleet.configs["good"],
        "{} is not back",
        host.name
    );
    fleet
        .all_serve(std::slice::from_ref(&host), "good", s(15))
        .await?;
    let signed = kept(&host);
    let copy = fleet.world.folder().join("signed-way-back.json");
    std::fs::copy(&signed, &copy).with_context(|| signed.display().to_string())?;
    for other in fleet.production() {
        ensure!(
            live(&other)? == fleet.configs["good"],
            "{} moved",
            other.name
        );
    }

    fleet.start_control().await?;
    let over = fleet.over(release.id).await?;
    ensure!(over.state == ReleaseState::RolledBack, "{over:#?}");
    let told = fleet
        .journal()
        .await?
        .into_iter()
        .find_map(|record| match record.event {
            Event::HostFailed {
                host: name, reason, ..
            } if name == host.name => Some(reason),
            _ => None,
        });
    let told = told.context("the journal doesn't tell that the host went back")?;
    ensure!(told.contains(&word), "{told}");

    // Once a newer order came, the old way back is a downgrade that nobody approved.
    let load = fleet.customers()?;
    fleet.push_good("3").await?;
    load.stop().await;
    let order = copy.display().to_string();
    let said = revert(fleet, &host, &["--order", &order]).await?;
    said.exits(3)?.says(&["revert-moved", "next:"])?;
    ensure!(
        live(&host)? == fleet.configs["3"],
        "an old order was replayed"
    );
    fleet
        .all_serve(std::slice::from_ref(&host), "3", s(15))
        .await?;
    forged(fleet, &host, &copy).await
}

/// A high-risk change, approved, whose first production host has just confirmed
/// it. Without customers the wave can neither pass nor fail.
async fn in_the_middle_of_a_wave(fleet: &mut Fleet) -> Result<(ReleaseView, Place)> {
    let ada = fleet.person("ada", Role::Author).await?;
    let bob = fleet.person("bob", Role::Approver).await?;
    fleet.write("2", fleet.world.auth_test, "")?;
    let push = ["push", "api", "--no-follow", "--json", "-m", "moved"];
    let said = fleet.plimsoll_as(&ada, &push).await?.exits(0)?;
    let release: ReleaseView = serde_json::from_value(said.json()?)?;
    until_so("the release waits for people", s(60), async || {
        let now = fleet.release(release.id).await?;
        Ok(now.is_some_and(|now| now.binds.is_some()))
    })
    .await?;
    let approve = ["approve", &release.id.to_string(), "--yes"];
    fleet.plimsoll_as(&bob, &approve).await?.exits(0)?;
    let hosts = fleet.production();
    let host = until("a production host has confirmed", s(60), async || {
        let records = fleet.journal().await?;
        let confirmed = records.into_iter().find_map(|record| match record.event {
            Event::HostConfirmed { host, digest, .. } if digest == release.digest => {
                hosts.iter().find(|place| place.name == host).cloned()
            }
            _ => None,
        });
        Ok(confirmed)
    })
    .await?;
    ensure!(live(&host)? == fleet.configs["2"]);
    until_so("the way back is kept", s(15), async || {
        Ok(kept(&host).is_file())
    })
    .await?;
    Ok((release, host))
}

/// Where an agent keeps what was signed in advance.
fn kept(host: &Place) -> PathBuf {
    host.folder.join("agent/reverts/api.json")
}

async fn revert(fleet: &Fleet, host: &Place, more: &[&str]) -> Result<Said> {
    let config = host.folder.join("agent.toml").display().to_string();
    let args = ["agent", "revert", "--local", "--config", &config];
    fleet.plimsoll(&[&args, more].concat()).await
}

/// Nobody can make one up, nor use another host's.
async fn forged(fleet: &Fleet, host: &Place, copy: &std::path::Path) -> Result<()> {
    let text = std::fs::read_to_string(copy)?;
    let mut envelope: serde_json::Value = serde_json::from_str(&text)?;
    let sig = envelope["signatures"][0]["sig"].as_str().context("sig")?;
    let turned: String = sig.chars().rev().collect();
    envelope["signatures"][0]["sig"] = turned.into();
    let path = fleet.world.folder().join("forged-way-back.json");
    std::fs::write(&path, envelope.to_string())?;
    let order = path.display().to_string();
    let said = revert(fleet, host, &["--order", &order]).await?;
    said.exits(3)?.says(&["bad-signature"])?;
    let hosts = fleet.production();
    let other = hosts.iter().find(|place| place.name != host.name);
    let other = other.context("no other host")?;
    let order = copy.display().to_string();
    let said = revert(fleet, other, &["--order", &order]).await?;
    ensure!(said.code == 3, "{said:#?}");
    for place in [host, other] {
        ensure!(live(place)? == fleet.configs["3"], "{} moved", place.name);
    }
    Ok(())
}
