//! High-risk changes and emergencies: who must agree, what is remembered, and
//! what an audit finds when somebody changes the record.

use anyhow::{Context, Result, ensure};
use model::{Event, Gate, GateState, Role};
use serde_json::json;
use wire::api::{ReleaseState, ReleaseView};

use crate::doctor::Doctored;
use crate::fleet::{self, Fleet, live};
use crate::program::Said;
use crate::wait::{s, until, until_so};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_person_agrees_and_the_record_shows_it() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2)])?;
    fleet::with(shape, |_| Ok(()), async |fleet| people(fleet).await).await
}

async fn people(fleet: &mut Fleet) -> Result<()> {
    let load = fleet.customers()?;
    fleet.push_good("good").await?;
    fleet.demand_approval().await?;
    let ada = fleet.person("ada", Role::Approver).await?;
    let bob = fleet.person("bob", Role::Approver).await?;
    let eve = fleet.person("eve", Role::Author).await?;

    // Where production authenticates is high risk; both addresses answer.
    fleet.write("2", fleet.world.auth_test, "")?;
    let risky = waits_for_approval(fleet, &ada, &[]).await?;
    let id = risky.id.to_string();
    let approve = ["approve", &id, "--yes", "--note", "asked the auth team"];
    let said = fleet.plimsoll_as(&ada, &approve).await?;
    said.exits(3)?
        .says(&["own-approval", "ada is the author"])?;
    let said = fleet.plimsoll_as(&eve, &approve).await?;
    said.exits(3)?.says(&["wrong-role"])?;
    untouched(fleet, "good")?;
    let said = fleet.plimsoll_as(&bob, &approve).await?.exits(0)?;
    said.says(&["/auth/production/address", "1 of 1 approvals"])?;
    let over = fleet.over(risky.id).await?;
    ensure!(over.state == ReleaseState::Good, "{over:#?}");

    let (before, after) = (fleet.world.auth, fleet.world.auth_test);
    let told = fleet.plimsoll(&["audit"]).await?.exits(0)?;
    told.says(&[
        "/auth/production/address",
        &format!("\"{before}\" -> \"{after}\""),
        "a wrong address stops every request",
        "ada: risky",
        "bob, ",
        "asked the auth team",
        "good, ",
    ])?;
    attested(fleet, &id).await?;
    frozen_environment(fleet).await?;
    emergency(fleet).await?;
    load.stop().await;
    doctored(fleet).await
}

/// Pushes what was written, as `author`, and follows it to the gate of approval.
async fn waits_for_approval(fleet: &Fleet, author: &str, more: &[&str]) -> Result<ReleaseView> {
    let push = ["push", "api", "--no-follow", "--json", "-m", "risky"];
    let said = fleet.plimsoll_as(author, &[&push, more].concat()).await?;
    let release: ReleaseView = serde_json::from_value(said.exits(0)?.json()?)?;
    until("the release waits for people", s(60), async || {
        let now = fleet.release(release.id).await?;
        Ok(
            now.filter(|now| {
                now.binds.is_some() && stands(now, Gate::Approval, GateState::Waiting)
            }),
        )
    })
    .await
}

fn stands(release: &ReleaseView, gate: Gate, state: GateState) -> bool {
    let mut looks = release.gates.iter();
    looks.any(|look| look.gate == gate && look.state == state)
}

/// Every production host still has this version's bytes.
fn untouched(fleet: &Fleet, version: &str) -> Result<()> {
    for place in fleet.production() {
        ensure!(
            live(&place)? == fleet.configs[version],
            "{} moved",
            place.name
        );
    }
    Ok(())
}

/// The key that hosts pinned is the one to check with.
fn pinned(fleet: &Fleet) -> Result<String> {
    let place = fleet.production().into_iter().next().context("no host")?;
    let key = std::fs::read_to_string(place.folder.join("agent/control.key"))?;
    Ok(key.trim().to_owned())
}

async fn attested(fleet: &Fleet, id: &str) -> Result<()> {
    let key = pinned(fleet)?;
    let shown = fleet.plimsoll(&["attest", "show", id]).await?.exits(0)?;
    shown.says(&["approved by", "bob", "counts"])?;
    let verify = ["attest", "verify", id, "--key", &key, "--json"];
    let said = fleet.plimsoll(&verify).await?;
    let looks = said.json()?;
    let checks = looks["checks"].as_array().context("checks")?;
    let bad: Vec<_> = checks.iter().filter(|look| look["ok"] != true).collect();
    // It was spent: what it was tested against is not what is good any more.
    ensure!(
        bad.iter().all(|look| look["what"] == "standing"),
        "{said:#?}"
    );
    let strange = "0".repeat(63) + "1";
    let verify = ["attest", "verify", id, "--key", &strange];
    let said = fleet.plimsoll(&verify).await?;
    ensure!(said.code != 0, "{said:#?}");
    let other = "1".repeat(64);
    let verify = ["attest", "verify", id, "--key", &key, "--bundle", &other];
    fleet
        .plimsoll(&verify)
        .await?
        .exits(3)?
        .says(&["not about"])?;
    Ok(())
}

async fn frozen_environment(fleet: &mut Fleet) -> Result<()> {
    let freeze = [
        "freeze",
        "--environment",
        "production",
        "--reason",
        "fair day",
        "--until",
    ];
    let hour: Vec<&str> = [&freeze[..], &["1h"]].concat();
    fleet.plimsoll(&hour).await?.exits(0)?;
    fleet.write("3", fleet.world.auth_test, "")?;
    let release = fleet.push("harmless").await?;
    let waits = until("its test is over, and it waits", s(60), async || {
        let now = fleet.release(release.id).await?;
        Ok(now.filter(|now| {
            now.waiting
                .as_deref()
                .is_some_and(|it| it.contains("fair day"))
        }))
    })
    .await?;
    ensure!(
        stands(&waits, Gate::Freeze, GateState::Waiting),
        "{waits:#?}"
    );
    until_so("the test host runs it meanwhile", s(30), async || {
        let test = fleet.world.hosts.first().context("no test host")?;
        Ok(live(test)? == fleet.configs["3"])
    })
    .await?;
    untouched(fleet, "2")?;
    // The same freeze with an end that comes soon: nobody has to thaw it.
    let soon: Vec<&str> = [&freeze[..], &["2s"]].concat();
    fleet.plimsoll(&soon).await?.exits(0)?;
    let over = fleet.over(release.id).await?;
    ensure!(over.state == ReleaseState::Good, "{over:#?}");
    let ended = over.ended_at.context("good, and not ended")?;
    let frozen = fleet
        .journal()
        .await?
        .into_iter()
        .rev()
        .find_map(|record| match record.event {
            Event::Frozen { until, .. } => until,
            _ => None,
        });
    ensure!(
        frozen.is_some_and(|until| until < ended),
        "{frozen:?} {ended}"
    );
    Ok(())
}

async fn emergency(fleet: &mut Fleet) -> Result<()> {
    let olga = fleet.person("olga", Role::Operator).await?;
    let otto = fleet.person("otto", Role::Operator).await?;
    let freeze = ["freeze", "api", "--reason", "database move"];
    fleet.plimsoll_as(&olga, &freeze).await?.exits(0)?;
    fleet.write("4", fleet.world.auth, "")?;
    let push = ["push", "api", "--no-follow", "--json", "-m", "emergency"];
    let said = fleet.plimsoll_as(&olga, &push).await?;
    said.exits(3)?.says(&["database move"])?;

    let ask = |gates: &'static str| {
        [
            "break-glass",
            "ask",
            "api",
            "--reason",
            "outage",
            "--gates",
            gates,
        ]
    };
    for never in ["test", "checks", "attestation", "compatibility"] {
        let said: Said = fleet.plimsoll_as(&olga, &ask(never)).await?;
        ensure!(said.code == 2 || said.code == 3, "{never}: {said:#?}");
    }
    fleet
        .plimsoll_as(&olga, &ask("freeze,approval"))
        .await?
        .exits(0)?;
    let with: Vec<&str> = [&push[..], &["--break-glass", "1"]].concat();
    let said = fleet.plimsoll_as(&olga, &with).await?;
    said.exits(3)?.says(&["no-break-glass"])?;
    let confirm = ["break-glass", "confirm", "1"];
    let said = fleet.plimsoll_as(&olga, &confirm).await?;
    said.exits(3)?.says(&["second-person"])?;
    fleet.plimsoll_as(&otto, &confirm).await?.exits(0)?;
    let said = fleet.plimsoll_as(&olga, &with).await?.exits(0)?;
    let release: ReleaseView = serde_json::from_value(said.json()?)?;
    let over = fleet.over(release.id).await?;
    ensure!(over.state == ReleaseState::Good, "{over:#?}");
    for gate in [Gate::Approval, Gate::Freeze] {
        ensure!(stands(&over, gate, GateState::Waived), "{over:#?}");
    }
    ensure!(stands(&over, Gate::Test, GateState::Passed), "{over:#?}");

    let status = fleet.plimsoll(&["status"]).await?.exits(0)?;
    status.says(&["break-glass 1", "agreed by otto"])?;
    let review = ["break-glass", "review", "1", "--words", "right call"];
    fleet.plimsoll_as(&otto, &review).await?.exits(0)?;
    let told = fleet.plimsoll(&["audit"]).await?.exits(0)?;
    told.says(&[
        "without freeze, approval",
        "olga: outage",
        "otto",
        "right call",
    ])?;
    let thaw = ["thaw", "api", "--reason", "moved"];
    fleet.plimsoll_as(&olga, &thaw).await?.exits(0)?;
    Ok(())
}

/// Rewrites who approved: first clumsily, then with the whole chain made to fit.
async fn doctored(fleet: &mut Fleet) -> Result<()> {
    let key = pinned(fleet)?;
    let verify = ["audit", "verify", "--key", &key, "--json"];
    let whole = fleet.plimsoll(&verify).await?.exits(0)?.json()?;
    let head = whole["head"].as_str().context("head")?.to_owned();
    let looked = &whole["looked_at"];
    ensure!(
        looked["openings"] == 4 && looked["approvals"] == 1,
        "{whole}"
    );
    ensure!(looked["break_glasses"] == 1, "{whole}");

    fleet.world.crash("control").await?;
    let folder = fleet.world.folder().to_path_buf();
    let journal = Doctored::open(&folder)?;
    let (seq, approved) = journal.last(|event| event["type"] == "approved")?;
    let mut forged = approved.clone();
    forged["by"]["name"] = json!("ada");
    journal.replace(seq, &forged)?;
    journal.close()?;
    let words = fleet.control_refuses_to_start().await?;
    ensure!(words.contains(&format!("event {seq}")), "{words}");
    let data = folder.join("data").display().to_string();
    let said = fleet
        .plimsoll(&["journal", "verify", "--data", &data])
        .await?;
    ensure!(said.code != 0, "{said:#?}");

    let journal = Doctored::open(&folder)?;
    journal.rechain()?;
    journal.close()?;
    fleet.start_control().await?;
    let said = fleet.plimsoll(&verify).await?.exits(3)?;
    said.says(&["approval"])?;
    let noted = [&verify[..], &["--head", &head]].concat();
    let said = fleet.plimsoll(&noted).await?.exits(3)?;
    said.says(&["history was written anew"])?;
    Ok(())
}
