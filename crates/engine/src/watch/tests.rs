//! A fleet whose seconds are played to the watch as the control loop does.
//!
//! Invariant: a test's traffic follows from its seed alone.

mod hosts;
mod intake;
mod judging;
mod lineup;
mod missing;
mod totals;

use std::collections::BTreeMap;

use model::gate::Checked;
use model::ticks::latency_bucket;
use model::{
    Actor, Bundle, CellCounts, Commands, Digest, EnvironmentName, Event, Generation, HostName,
    Millis, Order, OrderKind, Permille, Plan, ReleaseId, ServiceName, StagePlan, TickCounts,
    Timestamp, Wave,
};
use release::Release;

use super::{Beat, Judged, TicksTaken, Watch};
use crate::{State, evolve};

const RELEASE: ReleaseId = ReleaseId(1);

fn api() -> ServiceName {
    "api".parse().unwrap()
}

fn production() -> EnvironmentName {
    "production".parse().unwrap()
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn old() -> Digest {
    Digest::of(b"as found")
}

/// Numbers that look like chance (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How many of `n` fail.
    fn of(&mut self, n: u64, share: f64) -> u64 {
        (0..n).filter(|_| self.next() < share).count() as u64
    }
}

/// Two zones with two hosts each; a release whose first wave is `a-0`.
struct World {
    state: State,
    watch: Watch,
    now: Timestamp,
    seq: u64,
    generation: u64,
    chance: Chance,
}

/// What one host gets in a second, and how much of it fails.
#[derive(Clone, Copy)]
struct Load {
    requests: u64,
    failing: f64,
    micros: u64,
}

fn load(requests: u64, failing: f64) -> Load {
    Load {
        requests,
        failing,
        micros: 20_000,
    }
}

impl World {
    fn new() -> World {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut world = World {
            state: State::default(),
            watch: Watch::new(now),
            now,
            seq: 0,
            generation: 0,
            chance: Chance(7),
        };
        let hosts: Vec<_> = ["a-0", "a-1", "b-0", "b-1"]
            .into_iter()
            .map(|name| {
                serde_json::json!({"name": name, "zone": &name[..1], "services": {"api": "127.0.0.1:1"}})
            })
            .collect();
        let lab =
            serde_json::json!({"name": "lab", "zone": "lab", "services": {"api": "127.0.0.1:1"}});
        let topology = serde_json::from_value(serde_json::json!({
            "environments": [
                {"name": "test", "hosts": [lab]},
                {"name": "production", "hosts": hosts},
            ],
            "services": {"api": {}},
        }));
        world.event(Event::TopologySet {
            by: Actor::plimsoll(),
            topology: topology.unwrap(),
        });
        for name in ["a-0", "a-1", "b-0", "b-1"] {
            world.event(Event::HostEnrolled {
                host: host(name),
                token: model::TokenId(name.into()),
                public_key: String::new(),
                peer_address: String::new(),
                adopted: vec![(api(), old())],
                fence: Generation(0),
            });
        }
        world
    }

    fn event(&mut self, event: Event) {
        evolve(&mut self.state, &event, self.now);
    }

    /// A release comes to production; its first wave is one host with a part of the traffic.
    fn release(&mut self, plan: StagePlan) -> Digest {
        let bundle = Bundle {
            service: api(),
            files: BTreeMap::new(),
            packages: BTreeMap::new(),
            requires: BTreeMap::new(),
            commands: Commands::default(),
            health: None,
            plan: Plan {
                stages: [(production(), plan)].into(),
                irreversible: false,
            },
        };
        let digest = bundle.digest();
        self.event(Event::ReleaseProposed {
            release: RELEASE,
            service: api(),
            digest,
            bundle,
            base: None,
            author: Actor::plimsoll(),
            message: String::new(),
            checked: Checked::default(),
            break_glass: None,
        });
        let wave = |hosts: &[&str], share| Wave {
            hosts: hosts.iter().map(|name| host(name)).collect(),
            traffic_permille: Permille::new(share).unwrap(),
        };
        self.event(Event::StageStarted {
            release: RELEASE,
            environment: production(),
            waves: vec![wave(&["a-0"], 250), wave(&["a-1", "b-0", "b-1"], 1000)],
            attestation: None,
        });
        self.wave(0, &["a-0"]);
        digest
    }

    fn wave(&mut self, wave: u32, hosts: &[&str]) {
        self.event(Event::WaveStarted {
            release: RELEASE,
            environment: production(),
            wave,
        });
        for name in hosts {
            self.confirm(name);
        }
    }

    fn confirm(&mut self, name: &str) {
        self.generation += 1;
        let (generation, digest) = (Generation(self.generation), self.it().digest);
        self.event(Event::HostOrdered {
            order: Order {
                host: host(name),
                service: api(),
                generation,
                kind: OrderKind::Forward,
                digest,
                release: RELEASE,
                issued_at: self.now,
                confirm_within_ms: Millis::seconds(60),
                environment: production(),
                zone: name[..1].parse().unwrap(),
                address: String::new(),
            },
        });
        self.event(Event::HostConfirmed {
            host: host(name),
            service: api(),
            generation,
            digest,
        });
    }

    fn it(&self) -> &Release {
        &self.state.releases[&RELEASE]
    }

    fn judged(&self) -> Judged {
        self.watch.judged(&self.state, self.it(), self.now)
    }

    fn pass(&mut self, span: Millis) {
        self.now = span.after(self.now);
        self.watch.close(&self.state, self.now);
    }

    fn post(&mut self, source: &str, ticks: Vec<TickCounts>) -> TicksTaken {
        self.watch.ticks(source, &production(), 1, ticks, self.now)
    }

    fn cell(&mut self, name: &str, load: Load) -> CellCounts {
        let slot = self.state.slot(&host(name), &api());
        let digest = slot.map(|slot| slot.running);
        CellCounts {
            service: api(),
            digest,
            host: Some(host(name)),
            class: String::new(),
            requests: load.requests,
            failed: self.chance.of(load.requests, load.failing),
            latency: vec![(latency_bucket(load.micros), load.requests)],
        }
    }

    /// A second passes; a gateway tells of it right after.
    fn second(&mut self, loads: &[(&str, Load)]) {
        let cells = loads.iter().map(|(name, load)| self.cell(name, *load));
        let cells: Vec<CellCounts> = cells.collect();
        self.now = Millis::seconds(1).after(self.now);
        self.seq += 1;
        let tick = TickCounts {
            seq: self.seq,
            age_ms: 50,
            cells,
            ..TickCounts::default()
        };
        self.post("gate", vec![tick]);
        self.watch.close(&self.state, self.now);
    }

    /// So many seconds of which every host has its load: the new bundle's hosts and the old one's.
    fn seconds(&mut self, seconds: u64, canary: Load, control: Load) {
        for _ in 0..seconds {
            let new = self.state.releases.get(&RELEASE).map(|it| it.digest);
            let running = |name: &str| self.state.slot(&host(name), &api()).unwrap().running;
            let loads: Vec<_> = ["a-0", "a-1", "b-0", "b-1"]
                .map(|name| {
                    let on_new = Some(running(name)) == new;
                    (name, if on_new { canary } else { control })
                })
                .into();
            self.second(&loads);
        }
    }

    fn beat(&mut self, name: &str, exits: Option<u64>) {
        let running = self.state.slot(&host(name), &api()).unwrap().running;
        let beat = Beat::new(running, Generation(1), Some(true)).with(String::new(), exits);
        let beats = [(api(), beat)].into();
        self.watch.beat(&host(name), beats, self.now);
    }
}

/// A wave passes on its counts alone.
fn plan() -> StagePlan {
    StagePlan {
        requests_min: 50,
        ..StagePlan::default()
    }
}
