//! The drills, as CI would run them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::ends::with_fleet;

/// What programs may rely on.
const FIELDS: [&str; 14] = [
    "checks",
    "detect_s",
    "drill",
    "hosts",
    "hosts_touched",
    "mode",
    "outage_s",
    "passed",
    "requests",
    "restored_s",
    "rollback_s",
    "stopped_by",
    "tenants",
    "timeline",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_infrastructure_is_contained_when_guarded() -> Result<()> {
    let said = with_fleet(&["drill", "api-infrastructure", "--json"])
        .await?
        .exits(0)?;
    let outcome = said.json()?;
    shape(&outcome)?;
    ensure!(
        outcome["passed"] == true && outcome["mode"] == "guarded",
        "{outcome:#}"
    );
    ensure!(outcome["hosts_touched"].as_u64() <= Some(1), "{outcome:#}");
    ensure!(
        outcome["stopped_by"].is_string() && outcome["rollback_s"].is_number(),
        "{outcome:#}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_infrastructure_is_an_outage_when_unguarded() -> Result<()> {
    let args = ["drill", "api-infrastructure", "--unguarded", "--json"];
    let outcome = with_fleet(&args).await?.exits(0)?.json()?;
    shape(&outcome)?;
    ensure!(
        outcome["passed"] == true && outcome["mode"] == "unguarded",
        "{outcome:#}"
    );
    ensure!(outcome["stopped_by"].is_null(), "{outcome:#}");
    ensure!(outcome["hosts_touched"] == outcome["hosts"], "{outcome:#}");
    ensure!(outcome["outage_s"].as_f64() >= Some(10.0), "{outcome:#}");
    Ok(())
}

fn shape(outcome: &serde_json::Value) -> Result<()> {
    let fields = outcome.as_object().context("an object")?;
    let fields: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
    ensure!(fields == BTreeSet::from(FIELDS), "{fields:?}");
    ensure!(outcome["drill"] == "api-infrastructure");
    for (group, names) in [
        ("requests", ["failed", "total"]),
        ("tenants", ["hit", "total"]),
    ] {
        for name in names {
            ensure!(outcome[group][name].is_u64(), "{group}.{name}: {outcome:#}");
        }
    }
    let moments = outcome["timeline"].as_array().context("timeline")?;
    ensure!(!moments.is_empty(), "an empty timeline");
    let at = |moment: &serde_json::Value| -> Result<jiff::Timestamp> {
        ensure!(moment["event"].is_string(), "{moment}");
        Ok(moment["at"].as_str().context("at")?.parse()?)
    };
    let times = moments.iter().map(at).collect::<Result<Vec<_>>>()?;
    ensure!(times.is_sorted(), "a timeline out of order: {outcome:#}");
    let checks = outcome["checks"].as_array().context("checks")?;
    ensure!(
        checks
            .iter()
            .all(|check| check["what"].is_string() && check["ok"].is_boolean())
    );
    Ok(())
}
