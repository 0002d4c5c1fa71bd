//! `plimsoll quickstart`: ten minutes' worth in one.
//!
//! A small fleet of real processes under traffic. A good change passes every
//! gate and goes through production wave by wave; a bad one is stopped by a gate
//! before any customer meets it; and when two people break that gate's glass, the
//! same bad change is stopped by waves and judge at its first host.
//!
//! Invariant: nothing is told that a process did not do.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use model::{Gate, Role};
use serde::Serialize;
use wire::api::{BreakGlassRequest, ReleaseState, ReleaseView, TokenAnswer, TokenRequest};
use wire::{Client, Identity};

use crate::drills::{RATE_PER_S, TENANTS, customers};
use crate::load::{LoadHandle, LoadReport};
use crate::outcome::{seconds_between, trimmed};
use crate::world::{Shape, World};

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The good change, the bad one, and the bad one past its gate.
    pub changes: Vec<Row>,
    /// Requests of customers over the whole run.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// From the start to this summary, in seconds.
    pub took_s: f64,
    /// The good change became good; the bad one met no customer, and past its gate one host.
    pub passed: bool,
}

/// One change.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What it was.
    pub change: &'static str,
    /// How it ended.
    pub ended: String,
    /// Production hosts it reached.
    pub hosts: String,
    /// Requests it answered.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Customers it met.
    pub tenants: u64,
    /// Customers who had a request fail.
    pub tenants_hit: u64,
    /// From push to end, in seconds.
    pub took_s: f64,
    /// From the decision to go back until every host was back, in seconds.
    pub rollback_s: Option<f64>,
}

/// A quickstart that goes on after its summary.
pub struct Quickstart {
    /// The fleet.
    pub world: World,
    load: LoadHandle,
    /// What came out so far.
    pub summary: Summary,
}

/// Brings the fleet up, pushes the changes. `tell` hears each step; the
/// pushes print by themselves, to standard error when `quiet`.
///
/// # Errors
/// When the folder is in use for something else, or the fleet doesn't come up.
pub async fn run(folder: &Path, quiet: bool, tell: &mut dyn FnMut(&str)) -> Result<Quickstart> {
    let began = Timestamp::now();
    make_room(folder)?;
    let shape = Shape {
        gates: true,
        ..Shape::default()
    };
    let world = World::start(folder, shape, tell).await?;
    tell(&format!(
        "customers: {RATE_PER_S} requests/s of {TENANTS} tenants"
    ));
    let load = customers(&world)?;
    tell("\nA good change: a new version of the configuration");
    world.write_config("2", world.auth)?;
    let good = push(&world, &["-m", "version 2"], quiet).await?;
    tell("\nA bad one: production's authentication moves to an address where nobody answers");
    world.write_config("3", world.blackhole)?;
    let why = "new address for authentication";
    let bad = push(&world, &["-m", why], quiet).await?;
    tell("\nThe same, in a hurry: two people leave that gate out (break-glass)");
    let glass = break_glass(&world).await?.to_string();
    let hurried = push(&world, &["-m", why, "--break-glass", &glass], quiet).await?;
    let report = load.snapshot();
    let summary = summary(&report, [&good, &bad, &hurried], began);
    Ok(Quickstart {
        world,
        load,
        summary,
    })
}

impl Quickstart {
    /// Ends everything.
    pub async fn stop(self) {
        self.load.stop().await;
        self.world.stop().await;
    }
}

/// A former quickstart's folder is cleared; anybody else's is left alone.
fn make_room(folder: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    let names: Vec<String> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    const OURS: [&str; 5] = ["data", "gateway", "hosts", "logs", "project"];
    if let Some(other) = names.iter().find(|name| !OURS.contains(&name.as_str())) {
        bail!(
            "{} is not empty and not a quickstart's: it holds {other}; name another folder with --dir",
            folder.display()
        );
    }
    for name in &names {
        std::fs::remove_dir_all(folder.join(name))
            .with_context(|| format!("can't clear {}", folder.join(name).display()))?;
    }
    Ok(())
}

/// One operator asks, another agrees, each with a token of their own.
async fn break_glass(world: &World) -> Result<u64> {
    let asked = world
        .client
        .ask_break_glass(&BreakGlassRequest {
            service: "api".parse()?,
            gates: vec![Gate::References],
            reason: "the probes must be wrong".into(),
            valid_s: 600,
        })
        .await?;
    let request = TokenRequest {
        name: "second operator".into(),
        role: Role::Operator,
    };
    let answer: TokenAnswer = world.client.post("/v1/tokens", &request).await?;
    let second = Client::new(&world.control_url(), Identity::Bearer(answer.token), None)?;
    second.confirm_break_glass(asked.id).await?;
    Ok(asked.id)
}

/// Pushes as the user would, before the user's eyes, and asks how it ended.
async fn push(world: &World, args: &[&str], quiet: bool) -> Result<ReleaseView> {
    let mut command = world.command(&[&["push", "api"], args].concat());
    if quiet {
        command.stdout(Stdio::null());
    }
    let status = command
        .stdin(Stdio::null())
        .status()
        .await
        .context("plimsoll push")?;
    let releases = world.client.releases(None).await?;
    let newest = releases.into_iter().next();
    newest.with_context(|| format!("plimsoll push ended with {status} and proposed nothing"))
}

fn summary(
    report: &LoadReport,
    [good, bad, hurried]: [&ReleaseView; 3],
    began: Timestamp,
) -> Summary {
    let row = |change, release: &ReleaseView| Row {
        change,
        ended: release.state.to_string(),
        hosts: format!(
            "{} of {}",
            release.exposure.hosts, release.exposure.hosts_total
        ),
        requests: release.exposure.requests,
        failed: release.exposure.failed,
        tenants: release.exposure.tenants,
        tenants_hit: release.exposure.tenants_hit,
        took_s: release
            .ended_at
            .map_or(0.0, |at| seconds_between(release.proposed_at, at)),
        rollback_s: release
            .rollback
            .as_ref()
            .and_then(|rollback| rollback.took_ms.map(|took| took as f64 / 1000.0)),
    };
    let back = |release: &ReleaseView, hosts_max| {
        release.state == ReleaseState::RolledBack && release.exposure.hosts <= hosts_max
    };
    Summary {
        passed: good.state == ReleaseState::Good && back(bad, 0) && back(hurried, 1),
        changes: vec![
            row("good change", good),
            row("bad change", bad),
            row("in a hurry", hurried),
        ],
        requests: report.total.sent,
        failed: report.total.failed,
        took_s: seconds_between(began, Timestamp::now()),
    }
}

impl Summary {
    /// For people.
    pub fn table(&self) -> String {
        use comfy_table::{ContentArrangement, Table, presets};
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([
            "", "ended", "hosts", "requests", "failed", "tenants", "hit", "took", "way back",
        ]);
        for row in &self.changes {
            table.add_row([
                row.change.to_owned(),
                row.ended.clone(),
                row.hosts.clone(),
                row.requests.to_string(),
                row.failed.to_string(),
                row.tenants.to_string(),
                row.tenants_hit.to_string(),
                format!("{:.1} s", row.took_s),
                row.rollback_s
                    .map_or_else(|| "-".into(), |s| format!("{s:.1} s")),
            ]);
        }
        let percent = 100.0 * self.failed as f64 / self.requests.max(1) as f64;
        format!(
            "{}\n{} requests in all, {} failed ({percent:.2} %); {:.0} s from start to here\n",
            trimmed(&table),
            self.requests,
            self.failed,
            self.took_s
        )
    }
}
