//! A key that the control plane doesn't hold: without its signature production
//! takes nothing, even if the control plane itself was talked into signing.

use anyhow::{Context, Result, ensure};
use drill::world::Place;
use jiff::{Timestamp, ToSpan};
use model::Event;
use serde_json::json;
use wire::api::{ReleaseState, ReleaseView};

use crate::doctor::Doctored;
use crate::fleet::{self, Fleet, live};
use crate::no_way::{refused_in_journal, stay_in_test};
use crate::wait::{s, until, until_so};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_want_a_second_key_that_the_control_plane_doesnt_have() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2)])?;
    fleet::with(shape, |_| Ok(()), async |fleet| both(fleet).await).await
}

async fn both(fleet: &mut Fleet) -> Result<()> {
    let load = fleet.customers()?;
    let public = key(fleet, "release.key").await?;
    key(fleet, "another.key").await?;
    let path = fleet.world.folder().join("project/plimsoll.toml");
    let project = std::fs::read_to_string(&path)?;
    let rules = "[service.api.checks]\n";
    let demanded = project.replace(rules, &format!("{rules}countersigners = [\"{public}\"]\n"));
    ensure!(demanded != project, "{project}");
    std::fs::write(&path, demanded)?;
    fleet.plimsoll(&["hosts", "apply"]).await?.exits(0)?;
    for place in fleet.production() {
        pin(fleet, &place, &public).await?;
    }

    fleet.write_good("2")?;
    let release = fleet.push("countersigned").await?;
    let id = release.id.to_string();
    waits_for_a_signature(fleet, &release).await?;
    let sign = ["attest", "countersign", &id, "--yes", "--key"];
    let other = [&sign[..], &["another.key"]].concat();
    fleet.plimsoll(&other).await?.exits(3)?;
    ensure!(
        live(&first(fleet)?)? == fleet.configs["1"],
        "production moved"
    );
    let right = [&sign[..], &["release.key"]].concat();
    fleet.plimsoll(&right).await?.exits(0)?;
    let over = fleet.over(release.id).await?;
    ensure!(over.state == ReleaseState::Good, "{over:#?}");
    load.stop().await;
    talked_into(fleet).await
}

/// Makes a key beside the project, as a person would; its public half.
async fn key(fleet: &Fleet, file: &str) -> Result<String> {
    let said = fleet.plimsoll(&["attest", "key", file]).await?.exits(0)?;
    let mut words = said.out.split_whitespace();
    let public = words.find(|word| word.len() == 64);
    Ok(public.with_context(|| format!("{said:?}"))?.to_owned())
}

/// On the host, out of the control plane's reach.
async fn pin(fleet: &mut Fleet, place: &Place, public: &str) -> Result<()> {
    let config = place.folder.join("agent.toml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("attesters = [\"{public}\"]\n{text}"))?;
    fleet.world.crash(&format!("agent-{}", place.name)).await?;
    fleet.world.start_agent(place)
}

fn first(fleet: &Fleet) -> Result<Place> {
    fleet.production().into_iter().next().context("no host")
}

async fn waits_for_a_signature(fleet: &Fleet, release: &ReleaseView) -> Result<()> {
    until_so("it waits for the second signature", s(60), async || {
        let now = fleet.release(release.id).await?;
        let waiting = now.and_then(|now| now.waiting);
        Ok(waiting.is_some_and(|words| words.contains("plimsoll attest countersign")))
    })
    .await
}

/// Somebody writes a test into the journal that never was, and every hash anew.
/// The control plane signs what its journal says; the hosts want more.
async fn talked_into(fleet: &mut Fleet) -> Result<()> {
    let release = stay_in_test(fleet, "untested").await?;
    let folder = fleet.world.folder().to_path_buf();
    fleet.world.crash("control").await?;
    let journal = Doctored::open(&folder)?;
    let (_, mut passed) = journal.last(|event| event["type"] == "test_passed")?;
    passed["release"] = json!(release.id);
    passed["record"]["digest"] = json!(release.digest);
    passed["record"]["base"] = json!(release.base);
    passed["expires_at"] = json!(Timestamp::now().checked_add(24.hours())?);
    journal.append(&passed)?;
    journal.rechain()?;
    journal.close()?;
    fleet.start_control().await?;
    let envelope = until("the control plane signs it", s(30), async || {
        let records = fleet.journal().await?.into_iter();
        let mut signed = records.filter_map(|record| match record.event {
            Event::Attested {
                release: id,
                envelope,
            } if id == release.id => Some(envelope),
            _ => None,
        });
        Ok(signed.next())
    })
    .await?;

    // Further: production is opened in the journal, with what was signed.
    fleet.world.crash("control").await?;
    let journal = Doctored::open(&folder)?;
    let (_, mut opened) = journal
        .last(|event| event["type"] == "stage_started" && event["environment"] == "production")?;
    opened["release"] = json!(release.id);
    opened["attestation"] = json!(envelope);
    journal.append(&opened)?;
    journal.rechain()?;
    journal.close()?;
    fleet.start_control().await?;
    let over = fleet.over(release.id).await?;
    ensure!(over.state == ReleaseState::RolledBack, "{over:#?}");
    refused_in_journal(fleet, release.digest, "none of the attesters").await?;
    for place in fleet.production() {
        ensure!(live(&place)? == fleet.configs["2"], "{} moved", place.name);
    }
    Ok(())
}
