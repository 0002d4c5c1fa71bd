//! Plain proxying under saturation: one worker on one core, the client and the host on the other.
//!
//! Rounds are interleaved, so that what the machine does besides falls on all alike; ratios are of one run.
//!
//! Invariant: a run with answers that were none, or refused, says so beside its figures.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::peers::{Kit, Ours, Peer, Setting, TENANT_HEADER, needs, nginx};
use super::process::{BOTH, MEASURED, OTHERS, Process, finish, free, pinned};
use super::stats::Spread;
use super::wrk::{Saturated, h2load, wrk};

/// As many as browsers behind a load balancer would open at the least, and enough to saturate one core.
const CONNECTIONS: &str = "64";
/// Before the first round each has answered for so long.
const WARM_UP_S: u64 = 1;
/// What the host answers with.
const BODY_BYTES: usize = 86;

/// How a client talks to a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Http1,
    Tls,
    Http2,
}

/// One gateway that is measured.
struct Contender {
    name: String,
    client: Client,
    at: SocketAddr,
    process: Option<Process>,
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    said: Saturated,
    cpu_us: f64,
}

/// What one gateway reached.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// Requests a second.
    pub(super) per_s: Spread,
    pub(super) p50_ms: Spread,
    pub(super) p99_ms: Spread,
    /// Processor time of the gateway for each request, in microseconds.
    pub(super) cpu_us: Option<Spread>,
    pub(super) rss_kib: Option<u64>,
    /// Answers that were none or no success, over all rounds.
    pub(super) bad: u64,
    /// Of nginx in the same rounds.
    pub(super) per_s_ratio: Option<f64>,
    pub(super) cpu_ratio: Option<f64>,
}

/// What to measure.
pub(super) struct Plan<'a> {
    pub(super) peers: &'a [(String, Peer)],
    pub(super) rounds: usize,
    pub(super) seconds: u64,
    /// Also over TLS, HTTP/2 and with two threads.
    pub(super) kinds: Kinds,
}

/// Which clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kinds {
    Plain,
    /// TLS, HTTP/2, two threads.
    Others,
}

/// Measures in interleaved rounds.
pub(super) fn throughput(kit: &Kit, plan: &Plan<'_>) -> Result<Vec<Row>> {
    needs("wrk", "wrk")?;
    let (backend, host) = host(kit, "host", "")?;
    let (_declaring, declaring_host) = host_that_declares(kit)?;
    let _backend = backend;
    let mut contenders = match plan.kinds {
        Kinds::Plain => plain(kit, plan, host, declaring_host)?,
        Kinds::Others => others(kit, plan, host)?,
    };
    for contender in &contenders {
        contender.saturate(WARM_UP_S)?;
    }
    for round in 0..plan.rounds {
        // Another one begins each time: who comes first has a cooler machine.
        let count = contenders.len();
        for turn in 0..count {
            let contender = &mut contenders[(round + turn) % count];
            let before = contender.cpu()?;
            let said = contender.saturate(plan.seconds)?;
            let cpu = contender.cpu()?.saturating_sub(before);
            let cpu_us = cpu.as_secs_f64() * 1e6 / said.requests.max(1) as f64;
            contender.runs.push(Run { said, cpu_us });
        }
        eprintln!("round {} of {}", round + 1, plan.rounds);
    }
    rows(&contenders)
}

fn plain(
    kit: &Kit,
    plan: &Plan<'_>,
    host: SocketAddr,
    declaring: SocketAddr,
) -> Result<Vec<Contender>> {
    let mut contenders = vec![Contender::new("direct", Client::Http1, None, host)];
    for (name, peer) in plan.peers {
        let declared = matches!(peer, Peer::Ours(Ours::Declared));
        let backends = [if declared { declaring } else { host }];
        let setting = Setting {
            backends: &backends,
            cores: MEASURED,
            tls: None,
        };
        let peer = match peer {
            // As many as the client asks for at once: nobody waits, and all is counted and bounded.
            Peer::Ours(Ours::Configured(_)) => Peer::Ours(Ours::Configured(64)),
            other => *other,
        };
        let (process, at) = peer.start(name, kit, &setting)?;
        contenders.push(Contender::new(name, Client::Http1, Some(process), at));
    }
    Ok(contenders)
}

fn others(kit: &Kit, plan: &Plan<'_>, host: SocketAddr) -> Result<Vec<Contender>> {
    needs("h2load", "nghttp2-client")?;
    let (certificate, key) = certificate(&kit.folder)?;
    let backends = [host];
    let plain = Setting {
        backends: &backends,
        cores: MEASURED,
        tls: None,
    };
    let secured = Setting {
        tls: Some((&certificate, &key)),
        ..plain
    };
    let wide = Setting {
        cores: BOTH,
        ..plain
    };
    let mut contenders = Vec::new();
    for (name, peer) in plan.peers {
        let mut add = |what: &str, client, setting| {
            let name = format!("{name}, {what}");
            let (process, at) = peer.start(&name.replace(", ", "-"), kit, setting)?;
            contenders.push(Contender::new(&name, client, Some(process), at));
            Ok::<_, anyhow::Error>(())
        };
        match peer {
            Peer::Ours(_) => {
                add("TLS", Client::Tls, &secured)?;
                add("HTTP/2", Client::Http2, &secured)?;
                add("two threads", Client::Http1, &wide)?;
            }
            Peer::Nginx { .. } => {
                add("TLS", Client::Tls, &secured)?;
                add("HTTP/2", Client::Http2, &secured)?;
            }
            // Their TLS is configured otherwise; nginx stands for all.
            Peer::Haproxy { .. } | Peer::Envoy(_) => {}
        }
    }
    Ok(contenders)
}

impl Contender {
    fn new(name: &str, client: Client, process: Option<Process>, at: SocketAddr) -> Contender {
        Contender {
            name: name.to_owned(),
            client,
            at,
            process,
            runs: Vec::new(),
        }
    }

    fn cpu(&self) -> Result<Duration> {
        self.process
            .as_ref()
            .map_or(Ok(Duration::ZERO), Process::cpu)
    }

    fn saturate(&self, seconds: u64) -> Result<Saturated> {
        let tenant = format!("{TENANT_HEADER}: tenant-0001");
        let scheme = match self.client {
            Client::Http1 => "http",
            Client::Tls | Client::Http2 => "https",
        };
        let url = format!("{scheme}://{}/", self.at);
        match self.client {
            Client::Http1 | Client::Tls => {
                let mut command = pinned(OTHERS, "wrk");
                command.args([
                    "-t1",
                    "-c",
                    CONNECTIONS,
                    "--latency",
                    "-d",
                    &format!("{seconds}s"),
                ]);
                wrk(&finish(command.args(["-H", &tenant, &url]))?)
            }
            Client::Http2 => {
                let mut command = pinned(OTHERS, "h2load");
                // As many requests at once, over fewer connections, as clients do.
                command.args(["-t1", "-c8", "-m8", "-D", &seconds.to_string()]);
                h2load(&finish(command.args(["-H", &tenant, &url]))?)
            }
        }
        .with_context(|| self.name.clone())
    }
}

fn rows(contenders: &[Contender]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for contender in contenders {
        let spread = |of: fn(&Run) -> f64| Spread::of(contender.runs.iter().map(of).collect());
        let process = contender.process.as_ref();
        rows.push(Row {
            name: contender.name.clone(),
            per_s: spread(|run| run.said.per_s),
            p50_ms: spread(|run| run.said.p50_ms),
            p99_ms: spread(|run| run.said.p99_ms),
            cpu_us: process.map(|_| spread(|run| run.cpu_us)),
            rss_kib: process.map(Process::rss_kib).transpose()?,
            bad: contender.runs.iter().map(|run| run.said.bad).sum(),
            per_s_ratio: None,
            cpu_ratio: None,
        });
    }
    // By nginx in the same round, because the machine's pace wanders from one to the next.
    let by_name: BTreeMap<&str, &Contender> =
        contenders.iter().map(|it| (it.name.as_str(), it)).collect();
    for row in &mut rows {
        let kind = row
            .name
            .split_once(", ")
            .map_or(String::new(), |(_, kind)| format!(", {kind}"));
        let anchor = by_name.get(format!("nginx{kind}").as_str());
        let own = by_name.get(row.name.as_str());
        let Some((anchor, own)) = anchor.zip(own) else {
            continue;
        };
        let ratio = |of: fn(&Run) -> f64| {
            let pairs = own.runs.iter().zip(&anchor.runs);
            Spread::of(pairs.map(|(own, anchor)| of(own) / of(anchor)).collect()).median
        };
        row.per_s_ratio = Some(ratio(|run| run.said.per_s));
        row.cpu_ratio = own.process.is_some().then(|| ratio(|run| run.cpu_us));
    }
    Ok(rows)
}

fn host(kit: &Kit, name: &str, headers: &str) -> Result<(Process, SocketAddr)> {
    let listens = free()?;
    let body = "x".repeat(BODY_BYTES);
    let http = format!(
        "  server {{ listen {listens}; keepalive_requests 100000000; {headers} location / {{ return 200 \"{body}\"; }} }}\n"
    );
    let command = nginx(&kit.folder.join(name), OTHERS, &http)?;
    Ok((
        Process::start(name, command, listens, &kit.folder)?,
        listens,
    ))
}

/// One that says how many requests it works on at once: all that the client asks for.
fn host_that_declares(kit: &Kit) -> Result<(Process, SocketAddr)> {
    host(
        kit,
        "declaring-host",
        &format!("add_header x-plimsoll-workers {CONNECTIONS};"),
    )
}

/// A certificate for the loopback address, by `openssl`.
fn certificate(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    needs("openssl", "openssl")?;
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]);
    command.args([
        "-days",
        "30",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]);
    command
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key);
    finish(&mut command).context("openssl")?;
    Ok((certificate, key))
}
