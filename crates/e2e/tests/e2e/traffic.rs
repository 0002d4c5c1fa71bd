//! Restarts and releases under load: no request is lost that another host could have answered.
//!
//! Invariant: what saves requests is that hosts are drained, not that gateways try again; both
//! are counted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drill::load::{Load, LoadConfig, LoadHandle, LoadReport, Spread};
use drill::world::Shape;
use model::Event;
use wire::api::{HostTrafficState, ReleaseState, RoutingView};

use crate::fleet::{self, Fleet};
use crate::wait::{s, until_so};

/// Each host has four threads, and a request takes 100 ms: 40 a second. Six tenths of what
/// eight of them can do.
const RATE_PER_S: u32 = 192;

fn eight() -> Result<Shape> {
    Ok(Shape {
        waves: vec!["1 host", "all"],
        ..fleet::shape(&[("zone-a", 4), ("zone-b", 4)])?
    })
}

/// A release of what takes a while, so that requests are in flight at any moment.
async fn slow_and_good(fleet: &mut Fleet, version: &str) -> Result<()> {
    let auth = fleet.world.auth;
    fleet.write(version, auth, "\n[limits]\nthreads = 4\n")?;
    let path = fleet.world.folder().join("project/config/service.toml");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, text.replace("work_ms = 5", "work_ms = 100"))?;
    let release = fleet.push(version).await?;
    let release = fleet.over(release.id).await?;
    ensure!(release.state == ReleaseState::Good, "{release:#?}");
    Ok(())
}

fn failed(report: &LoadReport) -> u64 {
    let it = &report.failures;
    it.timeout + it.connect + it.server_error + it.other + it.generator_full
}

fn load(fleet: &Fleet, rate_per_s: u32) -> Result<LoadHandle> {
    let config = LoadConfig {
        rate_per_s,
        tenants: 400,
        spread: Spread::Uniform,
        timeout: Duration::from_secs(4),
        ..LoadConfig::new(fleet.world.url())
    };
    Ok(Load::start(config)?)
}

/// Second tries of the gateway so far, by its own count.
async fn retried(fleet: &Fleet) -> Result<u64> {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    let url = format!("{}/admission", fleet.world.admin_url());
    let answer = client.build()?.get(url).send().await?;
    let all: serde_json::Value = serde_json::from_str(&answer.text().await?)?;
    let count = &all["services"]["api"]["retried"];
    count.as_u64().with_context(|| format!("no count in {all}"))
}

async fn traffic(fleet: &Fleet) -> Result<RoutingView> {
    Ok(fleet.world.client.get("/v1/traffic").await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_a_release_under_load_lose_no_request() -> Result<()> {
    fleet::with(
        eight()?,
        |_| Ok(()),
        async |fleet| {
            let warm = load(fleet, 100)?;
            slow_and_good(fleet, "2").await?;
            warm.stop().await;

            let before = retried(fleet).await?;
            let under_load = load(fleet, RATE_PER_S)?;
            let said = fleet
                .plimsoll(&["restart", "api", "--reason", "a test", "--wait"])
                .await?
                .exits(0)?;
            let report = under_load.stop().await;
            let tries = retried(fleet).await? - before;
            println!("{}", said.out);
            println!("restart: {:?}, {tries} second tries", report.total);
            ensure!(said.out.contains("8 of 8 back"), "{}", said.out);
            ensure!(failed(&report) == 0, "{:?}", report.failures);
            // A connection that a host closes while idle may cost one; drained hosts cost none.
            ensure!(tries == 0, "{tries} second tries");

            let before = retried(fleet).await?;
            let under_load = load(fleet, RATE_PER_S)?;
            slow_and_good(fleet, "3").await?;
            let report = under_load.stop().await;
            let tries = retried(fleet).await? - before;
            println!("release: {:?}, {tries} second tries", report.total);
            ensure!(failed(&report) == 0, "{:?}", report.failures);
            ensure!(tries == 0, "{tries} second tries");

            let journal = fleet.journal().await?;
            let drained = journal
                .iter()
                .filter(|record| matches!(record.event, Event::HostDrained { .. }));
            // Each of the eight was drained for both; the first release's were too.
            ensure!(drained.count() >= 16, "hosts were not drained");
            Ok(())
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn people_take_hosts_out_and_let_tenants_in_by_quarters() -> Result<()> {
    fleet::with(
        fleet::shape(&[("zone-a", 4)])?,
        |_| Ok(()),
        async |fleet| {
            let customers = load(fleet, 200)?;
            let host = fleet.production().first().context("no host")?.name.clone();
            let name = host.as_str();
            let drain = ["traffic", "drain", "api", name, "--reason", "bad memory"];
            fleet.plimsoll(&drain).await?.exits(0)?;
            until_so("the host is drained", s(20), async || {
                let view = traffic(fleet).await?;
                let mut hosts = view.services.iter().flat_map(|it| &it.hosts);
                Ok(hosts.any(|it| it.host == host && it.state == HostTrafficState::Drained))
            })
            .await?;
            let other = fleet.production().get(1).context("no host")?.name.clone();
            let second = ["traffic", "drain", "api", other.as_str(), "--reason", "too"];
            let said = fleet.plimsoll(&second).await?.exits(3)?;
            ensure!(said.err.contains("have to serve"), "{}", said.err);
            fleet
                .plimsoll(&["traffic", "undrain", "api", name])
                .await?
                .exits(0)?;
            let report = customers.snapshot();
            ensure!(failed(&report) == 0, "{:?}", report.failures);

            let ramp = [
                "traffic",
                "ramp",
                "api",
                "--to",
                "25",
                "--reason",
                "cold caches",
            ];
            fleet.plimsoll(&ramp).await?.exits(0)?;
            until_so("most tenants are told to come back", s(20), async || {
                Ok(customers.snapshot().failures.server_error > 100)
            })
            .await?;
            until_so("all tenants are let in", s(60), async || {
                let view = traffic(fleet).await?;
                Ok(view.services.iter().all(|it| it.open_permille.is_all()))
            })
            .await?;
            customers.stop().await;
            let journal = fleet.journal().await?;
            let steps = journal.iter().filter_map(|record| match &record.event {
                Event::RampSet { open, .. } => Some(open.get()),
                _ => None,
            });
            ensure!(steps.collect::<Vec<_>>() == [250, 500, 750, 1000]);
            Ok(())
        },
    )
    .await
}
