//! Incidents and on-call on the command line, against a real control plane.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::plane::Plane;

const PEOPLE: &str = r#"default_policy = "platform"

[contacts.ada]
name = "Ada"
channels = [{ kind = "webhook", address = "hook", wait = "1m" }]

[contacts.ben]
channels = [{ kind = "mail", address = "ben@example.com", wait = "5m" }]

[schedules.platform]
zone = "Europe/Berlin"

[[schedules.platform.layers]]
contacts = ["ada", "ben"]
starts_on = 2026-01-05
handoff = "09:00"
every = "7d"

[policies.platform]
steps = [{ schedules = ["platform"], wait = "5m" }]

[services.api]
policy = "platform"

[[objectives]]
name = "api_answers"
service = "api"
target = "99.9%"
window = "30d"
good = 'http_requests{code!~"5.."}'
total = "http_requests"
"#;

async fn json(plane: &Plane, args: &[&str]) -> Result<Value> {
    let args = [args, &["--json"]].concat();
    plane.plimsoll(&args).await?.exits(0)?.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_from_its_opening_to_its_end() -> Result<()> {
    let plane = Plane::start().await?;
    std::fs::write(plane.file("people.toml"), PEOPLE)?;
    plane
        .plimsoll(&["oncall", "apply", "people.toml"])
        .await?
        .exits(0)?
        .says(&["2 contacts, 1 schedule", "times of Europe/Berlin"])?;

    let title = "orders fail";
    let opened = [
        "incident",
        "open",
        title,
        "--service",
        "api",
        "--severity",
        "sev1",
    ];
    let opened = json(&plane, &opened).await?;
    let id = opened["id"].as_u64().context("id")?.to_string();
    plane
        .plimsoll(&["incident", "list"])
        .await?
        .exits(0)?
        .says(&[title, "SEV1", "api"])?;

    let held = json(&plane, &["ack", &id, "--for", "1h"]).await?;
    ensure!(held["held_by"].is_string(), "{held:#}");
    let until: jiff::Timestamp = held["held_until"].as_str().context("until")?.parse()?;
    let left = until.duration_since(jiff::Timestamp::now());
    ensure!(left.as_mins() > 50 && left.as_mins() <= 60, "{held:#}");

    for args in [
        &["incident", "confirm", &id, "seen by customers"][..],
        &["incident", "note", &id, "the pool is empty"],
        &["incident", "severity", &id, "sev2"],
        &["incident", "duty", &id, "commander", "ada"],
        &[
            "incident",
            "update",
            &id,
            "identified",
            "we know what it is",
        ],
    ] {
        plane.plimsoll(args).await?.exits(0)?;
    }
    // The zone has no change of clocks and 45 minutes in its offset: no machine of ours is there.
    plane
        .plimsoll(&["incident", "show", &id, "--zone", "Asia/Kathmandu"])
        .await?
        .exits(0)?
        .says(&["SEV2", "the pool is empty", "+0545", "confirmed"])?;

    let other = json(&plane, &["incident", "open", "the same again"]).await?;
    let other = other["id"].as_u64().context("id")?.to_string();
    let merged = json(&plane, &["incident", "merge", &other, &id]).await?;
    ensure!(
        merged["merged_into"].as_u64() == id.parse().ok(),
        "{merged:#}"
    );

    plane
        .plimsoll(&["incident", "resolve", &id, "pool made larger"])
        .await?
        .exits(0)?;
    plane
        .plimsoll(&["incident", "confirm", &id])
        .await?
        .exits(3)?
        .says(&["incident-over", "next:"])?;
    plane
        .plimsoll(&["incident", "list"])
        .await?
        .exits(0)?
        .says(&["no open incidents; 2 are over"])?;
    let again = json(&plane, &["incident", "reopen", &id, "it was not"]).await?;
    ensure!(again["over_at"].is_null(), "{again:#}");
    plane
        .plimsoll(&["ack", "999"])
        .await?
        .exits(3)?
        .says(&["not-found"])?;
    plane.plimsoll(&["ack", "x"]).await?.exits(2)?;
    plane.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_on_call_changes_hands() -> Result<()> {
    let plane = Plane::start().await?;
    std::fs::write(plane.file("people.toml"), PEOPLE)?;
    let apply = ["oncall", "apply", "people.toml"];
    plane.plimsoll(&apply).await?.exits(0)?;

    let now = json(&plane, &["oncall", "now"]).await?;
    let first = now[0]["now"].as_str().context("nobody")?.to_owned();
    let other = if first == "ada" { "ben" } else { "ada" };
    let take = ["oncall", "take", "platform", "--as", other, "--until", "2h"];
    plane
        .plimsoll(&take)
        .await?
        .exits(0)?
        .says(&[other, "override 1"])?;
    let now = json(&plane, &["oncall", "now"]).await?;
    ensure!(now[0]["now"] == other, "{now:#}");

    // It is there, and in the way.
    let over = [
        "oncall", "override", "platform", "--as", &first, "--until", "1h",
    ];
    plane
        .plimsoll(&over)
        .await?
        .exits(3)?
        .says(&["override 1"])?;
    let remove = ["oncall", "override", "platform", "--remove", "1"];
    plane.plimsoll(&remove).await?.exits(0)?;
    let now = json(&plane, &["oncall", "now"]).await?;
    ensure!(now[0]["now"] == first.as_str(), "{now:#}");

    // Two whole shifts ahead change hands.
    let ahead = json(&plane, &["oncall", "preview", "platform", "--days", "30"]).await?;
    let shifts = ahead[0]["ahead"].as_array().context("shifts")?;
    ensure!(shifts.len() >= 4, "{ahead:#}");
    let at = |index: usize| shifts[index]["from"].as_str().context("from");
    let swap = ["oncall", "swap", "platform", at(1)?, at(2)?];
    plane.plimsoll(&swap).await?.exits(0)?;
    let after = json(&plane, &["oncall", "preview", "platform", "--days", "30"]).await?;
    let held = |ahead: &Value, from: &str| {
        let all = ahead[0]["ahead"].as_array().cloned().unwrap_or_default();
        let shift = all.into_iter().find(|it| {
            it["from"].as_str().unwrap_or_default() <= from
                && from < it["until"].as_str().unwrap_or_default()
        });
        shift.map(|it| it["contact"].clone())
    };
    for (one, two) in [(at(1)?, at(2)?), (at(2)?, at(1)?)] {
        ensure!(held(&after, one) == held(&ahead, two), "{after:#}");
    }
    plane
        .plimsoll(&["oncall", "now"])
        .await?
        .exits(0)?
        .says(&["platform"])?;
    let said = plane.plimsoll(&["oncall", "show"]).await?.exits(0)?;
    let said = said.says(&["override", "whoever is on platform", "webhook"])?;
    ensure!(!said.out.contains("ben@example.com"), "{said:#?}");
    plane
        .plimsoll(&["page", "test", "ada"])
        .await?
        .exits(0)?
        .says(&["ada is tested"])?;
    plane.plimsoll(&["page", "test", "ada"]).await?.exits(3)?;
    plane.plimsoll(&["page", "test", "eve"]).await?.exits(3)?;
    plane.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silences_come_and_go() -> Result<()> {
    let plane = Plane::start().await?;
    let add = [
        "silence",
        "add",
        "service=api",
        "alertname=~\"Disk.*\"",
        "--comment",
        "disks",
    ];
    let added = json(&plane, &add).await?;
    let id = added["id"].as_str().context("id")?.to_owned();
    let fits = "service=\"api\" alertname=~\"Disk.*\"";
    plane
        .plimsoll(&["silence", "list"])
        .await?
        .exits(0)?
        .says(&[&id, fits, "disks"])?;
    plane
        .plimsoll(&["silence", "expire", &id])
        .await?
        .exits(0)?;
    plane
        .plimsoll(&["silence", "list"])
        .await?
        .exits(0)?
        .says(&["no silences"])?;
    let all = json(&plane, &["silence", "list", "--all"]).await?;
    ensure!(all[0]["status"]["state"] == "expired", "{all:#}");

    let unknown = ["silence", "expire", "00000000-0000-4000-8000-000000000000"];
    plane
        .plimsoll(&unknown)
        .await?
        .exits(3)?
        .says(&["not-found"])?;
    plane
        .plimsoll(&["silence", "expire", "../x"])
        .await?
        .exits(3)?;
    let all_fit = ["silence", "add", "a=~.*", "--comment", "x"];
    plane
        .plimsoll(&all_fit)
        .await?
        .exits(3)?
        .says(&["empty string"])?;
    let odd = ["silence", "add", "nonsense", "--comment", "x"];
    plane.plimsoll(&odd).await?.exits(2)?;
    plane.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_checked_without_a_control_plane() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = async |args: &[&str]| -> Result<crate::program::Said> {
        let mut command = crate::program::command(folder.path())?;
        crate::program::run(command.args(args)).await
    };
    std::fs::write(folder.path().join("good.toml"), PEOPLE)?;
    run(&["oncall", "apply", "good.toml", "--dry-run"])
        .await?
        .exits(0)?
        .says(&["is fine"])?;
    run(&["slo", "rules", "good.toml"])
        .await?
        .exits(0)?
        .says(&["plimsoll-slo-api_answers", "http_requests"])?;

    // One of form, one of names, one of what makes sense together: all at once.
    let bad = PEOPLE
        .replace("\"1m\"", "\"1 minute\"")
        .replace("[\"ada\", \"ben\"]", "[\"ada\", \"bne\"]")
        .replace(
            "wait = \"5m\" }]\n\n[services",
            "wait = \"5s\" }]\n\n[services",
        );
    std::fs::write(folder.path().join("bad.toml"), &bad)?;
    let said = run(&["oncall", "apply", "bad.toml"]).await?.exits(1)?;
    said.says(&[
        "bad.toml:5:58: \"1 minute\" is not a duration",
        "bad.toml:14:20: unknown contact \"bne\"",
        "policy platform, step 1: waits 5 s",
        "3 problems",
    ])?;
    let told = run(&["oncall", "apply", "bad.toml", "--json"]).await?;
    let told = told.exits(1)?.json()?;
    ensure!(
        told["problems"].as_array().map(Vec::len) == Some(3),
        "{told:#}"
    );

    std::fs::write(
        folder.path().join("notify.toml"),
        "public_url = \"x\"\n[ntfy]\nurl = \"y\"\n",
    )?;
    run(&["notify", "check"]).await?.exits(1)?.says(&[
        "notify.toml:1:14: public_url",
        "notify.toml:3:7: ntfy.url",
        "2 problems",
    ])?;
    let told = run(&["notify", "check", "--json"])
        .await?
        .exits(1)?
        .json()?;
    ensure!(told["problems"][1]["line"] == 3, "{told:#}");
    std::fs::write(
        folder.path().join("notify.toml"),
        "public_url = \"https://x.example\"\n",
    )?;
    run(&["notify", "check"])
        .await?
        .exits(0)?
        .says(&["is fine"])?;
    run(&["ack", "1", "--url", "http://127.0.0.1:1"])
        .await?
        .exits(6)?;
    Ok(())
}
