//! The drills, as CI would run them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::ends::with_fleet;

/// What programs may rely on.
const FIELDS: [&str; 17] = [
    "checks",
    "detect_s",
    "drill",
    "hosts",
    "hosts_touched",
    "judged",
    "mode",
    "outage_s",
    "passed",
    "refusal",
    "refused_s",
    "requests",
    "restored_s",
    "rollback_s",
    "stopped_by",
    "tenants",
    "timeline",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_address_is_found_before_production() -> Result<()> {
    let outcome = guarded("api-infrastructure", "references").await?;
    // A production host that was asked says where, and what it saw.
    let told = outcome["refusal"].as_str().context("refusal")?;
    ensure!(
        told.contains("/auth/production/address") && told.contains("seen from web-"),
        "{outcome:#}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_of_packages_is_refused_at_once() -> Result<()> {
    for name in ["hairlinegenius-api", "ninaz-hairline-api"] {
        let outcome = guarded(name, "compatibility").await?;
        at_once(&outcome)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feature_that_production_lacks_is_refused_at_once() -> Result<()> {
    at_once(&guarded("web-01", "compatibility").await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waves_alone_contain_what_only_customers_meet() -> Result<()> {
    for name in ["api-infrastructure", "web-01"] {
        let outcome = drill(name, "waves-only").await?;
        ensure!(outcome["hosts_touched"] == 1, "{outcome:#}");
        let judged = outcome["stopped_by"].as_str().context("stopped_by")?;
        ensure!(judged.contains("errors"), "{outcome:#}");
        ensure!(outcome["rollback_s"].is_number(), "{outcome:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_guard_each_is_an_outage() -> Result<()> {
    for name in ["api-infrastructure", "hairlinegenius-api", "web-01"] {
        let outcome = drill(name, "unguarded").await?;
        ensure!(outcome["stopped_by"].is_null(), "{outcome:#}");
        ensure!(outcome["hosts_touched"] == outcome["hosts"], "{outcome:#}");
        ensure!(outcome["outage_s"].as_f64() >= Some(10.0), "{outcome:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_gate_can_see_is_found_by_counting() -> Result<()> {
    // Past every gate, and yet one host is all that it meets.
    let outcome = drill("subtle", "guarded").await?;
    ensure!(outcome["hosts_touched"] == 1, "{outcome:#}");
    ensure!(outcome["refusal"].is_null(), "{outcome:#}");
    let judged = &outcome["judged"];
    ensure!(judged["delay_s"].as_f64() <= Some(3.0), "{outcome:#}");
    ensure!(
        judged["requests"]["failed"].as_u64() > Some(0),
        "{outcome:#}"
    );
    println!("subtle: {judged}");
    Ok(())
}

/// Runs a drill that passes, and checks the form of what it says.
async fn drill(name: &str, mode: &str) -> Result<serde_json::Value> {
    let flag = format!("--{mode}");
    let args = ["drill", name, "--json", &flag];
    let args = if mode == "guarded" { &args[..3] } else { &args };
    let outcome = with_fleet(args).await?.exits(0)?.json()?;
    shape(&outcome)?;
    ensure!(
        outcome["drill"] == name && outcome["mode"] == mode && outcome["passed"] == true,
        "{outcome:#}"
    );
    Ok(outcome)
}

/// The same, stopped by `gate` before any host of production.
async fn guarded(name: &str, gate: &str) -> Result<serde_json::Value> {
    let outcome = drill(name, "guarded").await?;
    ensure!(outcome["hosts_touched"] == 0, "{outcome:#}");
    ensure!(outcome["requests"]["failed"] == 0, "{outcome:#}");
    ensure!(outcome["stopped_by"] == gate, "{outcome:#}");
    ensure!(
        outcome["refusal"].is_string() && outcome["refused_s"].is_number(),
        "{outcome:#}"
    );
    Ok(outcome)
}

/// Not even the test environment was needed.
fn at_once(outcome: &serde_json::Value) -> Result<()> {
    ensure!(outcome["refused_s"].as_f64() <= Some(5.0), "{outcome:#}");
    ensure!(!events(outcome).contains("ordered"), "{outcome:#}");
    Ok(())
}

/// The timeline's words.
fn events(outcome: &serde_json::Value) -> String {
    let moments = outcome["timeline"].as_array().into_iter().flatten();
    let events = moments.filter_map(|moment| moment["event"].as_str());
    events.collect::<Vec<_>>().join("\n")
}

fn shape(outcome: &serde_json::Value) -> Result<()> {
    let fields = outcome.as_object().context("an object")?;
    let fields: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
    ensure!(fields == BTreeSet::from(FIELDS), "{fields:?}");
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
