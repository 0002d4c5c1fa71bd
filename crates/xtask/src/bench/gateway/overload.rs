//! More than hosts can answer, and hosts that hang: tables (a) to (e), and a host that is started anew.
//!
//! A host has eight workers that take 20 ms, a queue without an end, and works on for clients that have
//! left; clients wait 1 s. What lives is counted at the host itself, from how long its workers were busy.
//!
//! Invariant: a table's windows and rates are the same for all gateways.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use serde::Serialize;

use super::peers::{Kit, Ours, Peer, Setting};
use super::process::{MEASURED, OTHERS, Process, finish, free, pinned};
use super::records::{Records, Window};
use super::stats::Spread;

const WORKERS: u64 = 8;
const MEAN_MS: u64 = 20;
/// What workers could do if a timer were exact; rates are parts of it.
const NOMINAL_PER_S: f64 = 1000.0 * WORKERS as f64 / MEAN_MS as f64;
/// Light load at first: a gateway that finds out something has the time for it.
const CALM_MS: u64 = 5_000;
/// A step is looked at so much later: what waits at it is served or refused by then.
const SETTLE_MS: u64 = 1_000;
const HANG_MS: u64 = 10_000;
/// A host that ends is gone for so long.
const DOWN_MS: u64 = 2_000;
/// Fewer couldn't do without one of them.
const HOSTS_TO_RESTART: usize = 3;
/// After a hang losses are counted for so long.
const AFTER_MS: u64 = 5_000;

/// One table of the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Table {
    /// Steady overload
    A,
    /// All workers hang
    B,
    /// Half of the workers hang
    C,
    /// One customer asks for all
    D,
    /// Exponential times
    E,
    /// Mixed times
    Mixed,
    /// One of three hosts ends and is started anew
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// Calm, then so many times what lives.
    Step(f64),
    /// 0.7 times what lives, all the time.
    Calm,
    /// So many workers hang; with clients that try again.
    Hang {
        workers: u64,
        retries: bool,
    },
    Aggressor,
    /// The last host ends, and another one is started in its place.
    Restart,
}

struct Scenario {
    name: &'static str,
    times: &'static str,
    shape: Shape,
}

/// What came out, with what is promised of ours.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    pub(super) what: &'static str,
    pub(super) value: Spread,
    pub(super) bound: Option<Bound>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) enum Bound {
    Least(f64),
    Most(f64),
}

impl Bound {
    pub(super) fn holds(self, value: f64) -> bool {
        match self {
            Bound::Least(least) => value >= least,
            Bound::Most(most) => value <= most,
        }
    }
}

/// One gateway in one scenario.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    pub(super) scenario: String,
    pub(super) gateway: String,
    pub(super) figures: Vec<Figure>,
    /// Requests that the load tool sent late, of all runs.
    pub(super) late: u64,
}

/// What to measure.
pub(super) struct Plan<'a> {
    pub(super) peers: &'a [(String, Peer)],
    pub(super) tables: &'a [Table],
    pub(super) hosts: usize,
    pub(super) rounds: usize,
    pub(super) tools: PathBuf,
}

fn scenarios(table: Table) -> Vec<Scenario> {
    let of = |name, times, shape| Scenario { name, times, shape };
    match table {
        Table::A => vec![
            of("a: 2x", "fixed", Shape::Step(2.0)),
            of("a: 10x", "fixed", Shape::Step(10.0)),
        ],
        Table::B => vec![
            of(
                "b: all hang",
                "fixed",
                Shape::Hang {
                    workers: WORKERS,
                    retries: false,
                },
            ),
            of(
                "b: all hang, retries",
                "fixed",
                Shape::Hang {
                    workers: WORKERS,
                    retries: true,
                },
            ),
        ],
        Table::C => vec![of(
            "c: half hang",
            "fixed",
            Shape::Hang {
                workers: WORKERS / 2,
                retries: false,
            },
        )],
        Table::D => vec![of("d: aggressor", "fixed", Shape::Aggressor)],
        Table::E => vec![
            of("e: exponential, 0.7x", "exponential", Shape::Calm),
            of("e: exponential, 2x", "exponential", Shape::Step(2.0)),
            of("e: exponential, 10x", "exponential", Shape::Step(10.0)),
        ],
        Table::Mixed => vec![
            of("mixed, 0.7x", "mixed", Shape::Calm),
            of("mixed, 2x", "mixed", Shape::Step(2.0)),
        ],
        Table::Restart => vec![of("restart", "fixed", Shape::Restart)],
    }
}

/// Runs all tables for all gateways.
pub(super) fn overload(kit: &Kit, plan: &Plan<'_>) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for scenario in plan.tables.iter().flat_map(|table| scenarios(*table)) {
        for (name, peer) in plan.peers {
            let mut runs: Vec<Vec<(&'static str, f64, Option<Bound>)>> = Vec::new();
            let mut late = 0;
            for round in 0..plan.rounds {
                let records = scenario.run(kit, plan, name, *peer, round)?;
                late += records.late;
                runs.push(scenario.figures(&records, scenario.hosts(plan)));
            }
            let figures = runs.first().into_iter().flatten().map(|(what, _, bound)| {
                let same = runs.iter().flatten().filter(|it| it.0 == *what);
                let ours = matches!(peer, Peer::Ours(ours) if *ours != Ours::Off);
                Figure {
                    what,
                    value: Spread::of(same.map(|it| it.1).collect()),
                    bound: bound.filter(|_| ours),
                }
            });
            let outcome = Outcome {
                scenario: scenario.name.to_owned(),
                gateway: name.clone(),
                figures: figures.collect(),
                late,
            };
            super::report::outcome(&outcome)?;
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}

impl Scenario {
    fn hosts(&self, plan: &Plan<'_>) -> usize {
        match self.shape {
            Shape::Restart => plan.hosts.max(HOSTS_TO_RESTART),
            Shape::Step(_) | Shape::Calm | Shape::Hang { .. } | Shape::Aggressor => plan.hosts,
        }
    }

    /// Milliseconds with so many times what lives.
    fn phases(&self) -> Vec<(u64, f64)> {
        match self.shape {
            Shape::Step(factor) => vec![(CALM_MS, 0.5), (8_000, factor)],
            Shape::Calm => vec![(20_000, 0.7)],
            Shape::Hang { .. } => vec![(CALM_MS + HANG_MS + AFTER_MS, 0.7)],
            Shape::Aggressor => vec![(9_000, 0.3)],
            // Two hosts can do it.
            Shape::Restart => vec![(CALM_MS + DOWN_MS + AFTER_MS, 0.5)],
        }
    }

    /// What is looked at.
    fn window(&self) -> Window {
        let end = self.phases().iter().map(|it| it.0).sum();
        match self.shape {
            Shape::Step(_) => (CALM_MS + SETTLE_MS, end),
            Shape::Calm => (CALM_MS, end),
            Shape::Hang { .. } => (CALM_MS + SETTLE_MS, CALM_MS + HANG_MS),
            Shape::Aggressor => (2 * SETTLE_MS, end),
            Shape::Restart => (CALM_MS, end),
        }
    }

    fn run(
        &self,
        kit: &Kit,
        plan: &Plan<'_>,
        name: &str,
        peer: Peer,
        round: usize,
    ) -> Result<Records> {
        let count = self.hosts(plan);
        let mut hosts = Vec::new();
        for number in 0..count {
            let seed = round * count + number + 1;
            hosts.push(self.host(kit, plan, peer, seed, free()?)?);
        }
        let backends: Vec<SocketAddr> = hosts.iter().map(|it| it.1).collect();
        let setting = Setting {
            backends: &backends,
            cores: MEASURED.prompt(),
            tls: None,
        };
        let (_gateway, to) = peer.start(name, kit, &setting)?;
        let mut load = self.load(plan, &backends, to, round);
        let said = std::thread::scope(|scope| {
            let loading = scope.spawn(|| finish(&mut load));
            if self.shape == Shape::Restart {
                std::thread::sleep(Duration::from_millis(CALM_MS));
                if let Some((process, listens)) = hosts.pop() {
                    drop(process);
                    std::thread::sleep(Duration::from_millis(DOWN_MS));
                    hosts.push(self.host(kit, plan, peer, count, listens)?);
                }
            }
            loading
                .join()
                .map_err(|_| anyhow!("the load tool's thread panicked"))?
        })?;
        Records::parse(&said)
    }

    /// The clients of one run.
    fn load(&self, plan: &Plan<'_>, hosts: &[SocketAddr], to: SocketAddr, round: usize) -> Command {
        let mut load = pinned(OTHERS.prompt(), &plan.tools);
        load.args(["load", "--to", &to.to_string()]);
        load.args(["--seed", &(round + 1).to_string()]);
        for host in hosts {
            load.args(["--host", &host.to_string()]);
        }
        let rate = NOMINAL_PER_S * hosts.len() as f64;
        for (ms, factor) in self.phases() {
            load.args(["--phase", &format!("{ms}:{}", factor * rate)]);
        }
        let (from, to) = self.window();
        let mut orders = vec![(from, "counts".to_owned()), (to, "counts".to_owned())];
        match self.shape {
            Shape::Step(_) | Shape::Calm | Shape::Restart => {}
            Shape::Aggressor => {
                load.args(["--aggressor", &(10.0 * rate).to_string()]);
            }
            Shape::Hang { workers, retries } => {
                orders.push((CALM_MS, format!("hang?workers={workers}&ms={HANG_MS}")));
                orders.push((CALM_MS + HANG_MS + AFTER_MS, "counts".to_owned()));
                load.args(["--retries", if retries { "2" } else { "0" }]);
            }
        }
        for (ms, order) in orders {
            load.args(["--at", &format!("{ms}:/-/{order}")]);
        }
        load
    }

    fn host(
        &self,
        kit: &Kit,
        plan: &Plan<'_>,
        peer: Peer,
        seed: usize,
        listens: SocketAddr,
    ) -> Result<(Process, SocketAddr)> {
        let mut command = pinned(OTHERS.prompt(), &plan.tools);
        command.args([
            "slots",
            "--listen",
            &listens.to_string(),
            "--times",
            self.times,
        ]);
        command.args([
            "--workers",
            &WORKERS.to_string(),
            "--mean-ms",
            &MEAN_MS.to_string(),
        ]);
        command.args(["--seed", &seed.to_string()]);
        if peer == Peer::Ours(Ours::Declared) {
            command.arg("--declare");
        }
        let name = format!("slots-{seed}");
        Ok((
            Process::start(&name, command, listens, &kit.folder)?,
            listens,
        ))
    }

    fn figures(&self, run: &Records, hosts: usize) -> Vec<(&'static str, f64, Option<Bound>)> {
        let window = self.window();
        let service_ms = run.service_ms(window);
        let lives = |workers: u64| 1000.0 * (workers * hosts as u64) as f64 / service_ms;
        let goodput = run.goodput(window);
        let p99 = run.served_p99_ms(window).unwrap_or(f64::NAN);
        let refused = run.refused_p99_ms(window).unwrap_or(f64::NAN);
        let part = |workers| goodput / lives(workers);
        match self.shape {
            Shape::Step(_) => {
                // Of uneven times one request may take longer than three usual ones by itself.
                let slow = (self.times == "fixed").then_some(Bound::Most(3.0 * service_ms));
                vec![
                    (
                        "goodput of what lives",
                        part(WORKERS),
                        Some(Bound::Least(0.98)),
                    ),
                    ("p99 served, ms", p99, slow),
                    ("p99 refused, ms", refused, None),
                ]
            }
            Shape::Calm => {
                let bound = (self.times == "exponential").then_some(Bound::Most(0.001));
                vec![
                    ("not served", 1.0 - run.served(window, |_| true), bound),
                    ("p99 served, ms", p99, None),
                ]
            }
            Shape::Restart => restart(run, window),
            Shape::Aggressor => vec![
                (
                    "others served",
                    run.served(window, |it| it.tenant != 0),
                    Some(Bound::Least(0.99)),
                ),
                (
                    "goodput of what lives",
                    part(WORKERS),
                    Some(Bound::Least(0.98)),
                ),
            ],
            Shape::Hang { workers, .. } => {
                let heal = CALM_MS + HANG_MS;
                let (lost, last_ms) = run.lost((heal, heal + AFTER_MS));
                let begun = run.at(heal + AFTER_MS).dead - run.at(CALM_MS).dead;
                let mut figures = Vec::new();
                if workers < WORKERS {
                    let live = part(WORKERS - workers);
                    figures.push(("goodput of what lives", live, Some(Bound::Least(0.97))));
                    figures.push(("p99 served, ms", p99, None));
                } else {
                    let recovers = Some(Bound::Most(MEAN_MS as f64 + 50.0));
                    figures.push(("last lost after heal, ms", last_ms, recovers));
                    figures.push((
                        "p99 refused in the hang, ms",
                        refused,
                        Some(Bound::Most(5.0)),
                    ));
                    figures.push(("begun for nobody", begun as f64, Some(Bound::Most(0.0))));
                    figures.push(("waiting at heal", run.at(heal).waiting as f64, None));
                }
                figures.push(("lost in 5 s after heal", lost as f64, None));
                figures
            }
        }
    }
}

/// What a host's end and its start cost.
fn restart(run: &Records, window: Window) -> Vec<(&'static str, f64, Option<Bound>)> {
    let back = CALM_MS + DOWN_MS;
    let (all, _) = run.lost(window);
    let (_, down_ms) = run.lost((CALM_MS, back));
    let (_, again_ms) = run.lost((back, window.1));
    vec![
        ("lost", all as f64, None),
        ("last lost after its end, ms", down_ms, None),
        ("last lost after its start, ms", again_ms, None),
    ]
}
