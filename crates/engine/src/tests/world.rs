//! A small fleet whose hosts do as the test says.

use std::collections::BTreeMap;

use model::bundle::Undecided;
use model::gate::{Checked, Probe, ProbeVerdict, Reference, ReferenceKind, Risk};
use model::{
    Actor, Bundle, Commands, Digest, Event, FileEntry, Generation, HostName, JudgePlan, Millis,
    Permille, Phase, Plan, Refusal, ReleaseId, Report, ReportKind, ServiceName, StagePlan,
    TickCounts, Timestamp, Topology, WavePlan, WaveSelector,
};

use model::ticks::CellCounts;

use crate::state::STATE_FORMAT;
use crate::watch::{Beat, Row};
use crate::{Input, SlotStatus, State, Watch, decide, evolve};

pub(super) struct World {
    pub(super) state: State,
    pub(super) watch: Watch,
    pub(super) now: Timestamp,
    pub(super) journal: Vec<(Timestamp, Event)>,
    pub(super) story: Vec<String>,
    report: u64,
    pub(super) break_glass: Option<u64>,
    /// Requests in a thousand that fail, by bundle; of others one does.
    pub(super) failing: BTreeMap<Digest, u64>,
    /// Requests in production in each second.
    pub(super) rate: u64,
    /// Seconds that the gateway told.
    seconds: u64,
    /// Which requests fail is chance then, and else as even as can be.
    pub(super) chance: Option<Chance>,
}

/// Numbers that look like chance (splitmix64).
#[derive(Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// How many of `requests` fail.
    fn of(&mut self, requests: u64, permille: u64) -> u64 {
        let failed = (0..requests).filter(|_| self.next() % 1000 < permille);
        failed.count() as u64
    }
}

pub(super) fn api() -> ServiceName {
    "api".parse().unwrap()
}

pub(super) fn person() -> Actor {
    Actor {
        name: "ada".into(),
        role: None,
    }
}

pub(super) fn topology(zones: usize, per_zone: usize) -> Topology {
    let host = |name: String, zone: String| serde_json::json!({"name": name, "zone": zone, "services": {"api": "127.0.0.1:1"}});
    let production: Vec<_> = (0..zones)
        .flat_map(|z| (0..per_zone).map(move |n| (z, n)))
        .map(|(z, n)| host(format!("web-{z}{n}"), format!("zone-{z}")))
        .collect();
    serde_json::from_value(serde_json::json!({
        "environments": [
            {"name": "test", "hosts": [host("test-0".into(), "lab".into())]},
            {"name": "production", "hosts": production},
        ],
        "services": {"api": {}},
    }))
    .unwrap()
}

const TWO_PERCENT: Permille = Permille::new(20).unwrap();

/// "half" is released as the real processes of the end-to-end tests are: half of the
/// traffic at once, for ten seconds each wave.
pub(super) fn bundle(content: &str) -> Bundle {
    let file = FileEntry {
        digest: Digest::of(content.as_bytes()),
        size_bytes: content.len() as u64,
        executable: false,
    };
    let stage = StagePlan {
        waves: vec![
            WavePlan {
                hosts: WaveSelector::Hosts { count: 1 },
                traffic_permille: Permille::new(match content.contains("half") {
                    true => 500,
                    false => 10,
                }),
            },
            WavePlan::of(WaveSelector::Zone),
            WavePlan::of(WaveSelector::EachZone),
        ],
        bake_ms: Millis::seconds(match content.contains("half") {
            true => 10,
            false => 5,
        }),
        bake_max_ms: Millis::seconds(60),
        requests_min: 10,
        failure_budget_permille: match content.contains("half") {
            true => TWO_PERCENT,
            false => StagePlan::default().failure_budget_permille,
        },
        parallel: 2,
        confirm_within_ms: Millis::seconds(10),
        floor_permille: None,
        judge: JudgePlan {
            undecided: match content.contains("advance") {
                true => Undecided::Advance,
                false => Undecided::Hold,
            },
            ..JudgePlan::default()
        },
    };
    let lab = StagePlan {
        requests_min: 0,
        ..stage.clone()
    };
    Bundle {
        requires: Default::default(),
        service: api(),
        files: [("config.toml".parse().unwrap(), file)].into(),
        packages: BTreeMap::new(),
        commands: Commands {
            // Those with "service" in their name know how to be restarted.
            restart: content.contains("service").then(|| model::Command {
                run: vec!["restart".into()],
                deadline_ms: Millis::seconds(5),
            }),
            ..Commands::default()
        },
        health: None,
        plan: Plan {
            stages: [
                ("test".parse().unwrap(), lab),
                ("production".parse().unwrap(), stage),
            ]
            .into(),
            irreversible: content.contains("irreversible"),
        },
    }
}

/// What static checks would have found: "risky" needs approval, "reaching" names something.
fn checked(content: &str) -> Checked {
    let file: model::BundlePath = "config.toml".parse().unwrap();
    let mut checked = Checked::default();
    if content.contains("risky") {
        checked.risks.push(Risk {
            file: Some(file.clone()),
            at: "/auth".into(),
            why: "a wrong address stops every request".into(),
            before: None,
            after: Some("x".into()),
        });
    }
    if content.contains("reaching") {
        checked.references.push(Reference {
            file,
            at: "/auth/address".into(),
            line: 3,
            kind: ReferenceKind::Http,
            target: "http://auth:1/authenticate".into(),
            from: vec!["production".parse().unwrap()],
            status: None,
            deadline_ms: Millis::seconds(3),
        });
    }
    checked
}

impl World {
    pub(super) fn new(zones: usize, per_zone: usize) -> World {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut world = World {
            state: State::default(),
            watch: Watch::new(now),
            now,
            journal: Vec::new(),
            story: Vec::new(),
            report: 0,
            break_glass: None,
            failing: BTreeMap::new(),
            rate: 10_000,
            seconds: 0,
            chance: None,
        };
        world.ok(Input::SetTopology {
            by: person(),
            topology: topology(zones, per_zone),
        });
        for host in world.hosts() {
            let hash = Digest::of(host.as_str().as_bytes());
            world.ok(Input::IssueJoin {
                by: person(),
                token: model::TokenId(host.to_string()),
                host: host.clone(),
                hash,
                expires_at: Millis::seconds(60).after(now),
            });
            let adopted = [(api(), Digest::of(b"as found"))].into();
            world.ok(Input::Enrol {
                host: host.clone(),
                join: hash,
                public_key: String::new(),
                peer_address: String::new(),
                adopted,
                fence: Generation(0),
            });
            world.watch.heard(&host, now);
        }
        world.story.clear();
        world
    }

    pub(super) fn hosts(&self) -> Vec<HostName> {
        let environments = self.state.topology.environments.iter();
        environments
            .flat_map(|e| e.hosts.iter().map(|host| host.name.clone()))
            .collect()
    }

    pub(super) fn give(&mut self, input: Input) -> Result<Vec<Event>, Refusal> {
        self.watch.close(&self.state, self.now);
        let events = decide(&self.state, &self.watch, input, self.now)?;
        for event in &events {
            evolve(&mut self.state, event, self.now);
            self.journal.push((self.now, event.clone()));
            // Who is told of it is a story of its own (`tests::incidents`).
            if !matches!(event, Event::Incident(_)) {
                self.story.push(tell(event));
            }
        }
        Ok(events)
    }

    pub(super) fn ok(&mut self, input: Input) -> Vec<Event> {
        self.give(input).unwrap()
    }

    pub(super) fn propose(&mut self, content: &str) -> Result<Vec<Event>, Refusal> {
        self.give(Input::Propose {
            by: person(),
            bundle: Box::new(bundle(content)),
            base: None,
            message: content.into(),
            checked: Box::new(checked(content)),
            break_glass: self.break_glass,
        })
    }

    /// What every host says of the references that it is asked about.
    pub(super) fn probe(&mut self, host: &HostName, verdict: ProbeVerdict) {
        let tasks = crate::due::tasks(&self.state, host);
        let results = tasks.into_iter().filter_map(|task| {
            let model::TaskKind::Probe { references, .. } = &task.kind else {
                return None;
            };
            let probes = references.keys().map(|number| Probe {
                reference: *number,
                verdict,
                latency_ms: Millis(3),
                detail: "auth:1: connected, but no answer within 3 s".into(),
            });
            Some(model::TaskResult {
                id: task.id,
                release: task.release,
                outcome: model::TaskOutcome::Probed {
                    probes: probes.collect(),
                },
            })
        });
        let results = results.collect();
        let host = host.clone();
        self.ok(Input::Results { host, results });
    }

    pub(super) fn approve(&mut self, name: &str) -> Result<Vec<Event>, Refusal> {
        let release = ReleaseId(self.state.releases_given);
        let known = self.state.releases.get(&release);
        let binds = known.and_then(crate::binds);
        self.give(Input::Approve {
            by: Actor {
                name: name.into(),
                role: None,
            },
            release,
            binds: binds.unwrap_or(Digest::of(b"")),
            note: String::new(),
        })
    }

    pub(super) fn roll_back(&mut self, to: Option<Digest>) -> Result<Vec<Event>, Refusal> {
        let reason = "asked".to_owned();
        self.give(Input::Rollback {
            by: person(),
            service: api(),
            release: None,
            to,
            reason,
        })
    }

    /// Time passes; every host is heard of.
    pub(super) fn pass(&mut self, span: Millis) {
        self.now = span.after(self.now);
        for host in self.hosts() {
            self.watch.heard(&host, self.now);
        }
        self.ok(Input::Tick);
        self.sign();
    }

    /// The shell signs what is to be signed; whose key it is doesn't matter here.
    pub(super) fn sign(&mut self) {
        for (release, statement) in crate::due::attestations(&self.state) {
            let envelope = model::Envelope {
                payload_type: model::attest::STATEMENT_PAYLOAD_TYPE.into(),
                payload: serde_json::to_string(&statement).unwrap(),
                signatures: Vec::new(),
            };
            let statement = Box::new(statement);
            self.ok(Input::Attest {
                release,
                envelope,
                statement,
            });
        }
    }

    /// So many seconds of customers, spread as gateways spread them; every host is heard of.
    pub(super) fn serve(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let cells = self.cells();
            self.seconds += 1;
            self.now = Millis::seconds(1).after(self.now);
            let tick = TickCounts {
                seq: self.seconds,
                cells,
                ..TickCounts::default()
            };
            let production = "production".parse().unwrap();
            self.watch
                .ticks("gate", &production, 1, vec![tick], self.now);
            self.pass(Millis(0));
        }
    }

    fn cells(&mut self) -> Vec<CellCounts> {
        let routes = crate::due::routes_due(&self.state).find_map(|effect| match effect {
            crate::Effect::Routes {
                environment,
                mut services,
            } if environment.as_str() == "production" => services.remove(&api()),
            crate::Effect::Routes { .. } | crate::Effect::Orders { .. } => None,
        });
        let mut cells = Vec::new();
        for pool in routes.into_iter().flat_map(|routes| routes.pools) {
            let hosts = pool.backends.len() as u64;
            for backend in pool.backends {
                let requests = pool.share_permille.share_of(self.rate) / hosts;
                let failing = self.failing.get(&pool.digest).copied().unwrap_or(1);
                let even = requests * failing / 1000;
                let chance = self.chance.as_mut();
                cells.push(CellCounts {
                    service: api(),
                    digest: Some(pool.digest),
                    host: Some(backend.host),
                    class: String::new(),
                    requests,
                    failed: chance.map_or(even, |chance| chance.of(requests, failing)),
                    latency: Vec::new(),
                });
            }
        }
        cells.retain(|cell| cell.requests > 0);
        cells
    }

    /// A host carries out its newest order.
    pub(super) fn confirm(&mut self, host: &HostName) -> Result<Vec<Event>, Refusal> {
        let order = self
            .state
            .slot(host, &api())
            .and_then(|slot| slot.order.clone());
        let Some(order) = order else {
            return Ok(Vec::new());
        };
        let (generation, digest) = (order.generation, order.digest);
        let beat = Beat::new(digest, generation, Some(true));
        self.watch.beat(host, [(api(), beat)].into(), self.now);
        self.give(Input::Confirm {
            host: host.clone(),
            service: api(),
            generation,
            digest,
        })
    }

    /// A host goes back by itself, to what it was born with.
    pub(super) fn fail(&mut self, host: &HostName, generation: Generation) {
        self.fail_to(host, generation, Digest::of(b"as found"));
    }

    pub(super) fn fail_to(&mut self, host: &HostName, generation: Generation, home: Digest) {
        self.report += 1;
        let report = Report {
            number: self.report,
            service: api(),
            generation,
            at: self.now,
            kind: ReportKind::Reverted {
                from: home,
                to: home,
                phase: Phase::Health,
                reason: "no answer".into(),
            },
        };
        self.ok(Input::Reports {
            host: host.clone(),
            reports: vec![report],
        });
    }

    /// Every host that has something to do does it, until nobody has.
    pub(super) fn carry_out(&mut self) {
        for _ in 0..20 {
            let busy: Vec<HostName> = self
                .state
                .hosts
                .iter()
                .filter(|(_, host)| {
                    host.slots
                        .values()
                        .any(|s| matches!(s.status, SlotStatus::Ordered { .. }))
                })
                .map(|(name, _)| name.clone())
                .collect();
            if busy.is_empty() {
                return;
            }
            for host in busy {
                self.confirm(&host).unwrap();
            }
            self.ok(Input::Tick);
        }
        panic!("hosts never had enough");
    }

    /// A gateway's totals for one bundle: exposure and error budgets.
    pub(super) fn count(&mut self, digest: Digest, requests: u64, failed: u64) {
        let row = Row {
            service: api(),
            digest,
            tenant: model::TenantName("t".into()),
            counts: model::BundleCounts { requests, failed },
        };
        let production = "production".parse().unwrap();
        self.watch.count(
            &"gate".parse().unwrap(),
            &production,
            u64::MAX,
            vec![row],
            self.now,
        );
    }

    /// Goes all the way with enough traffic.
    pub(super) fn until_good(&mut self, content: &str) -> ReleaseId {
        self.propose(content).unwrap();
        let id = ReleaseId(self.state.releases_given);
        let digest = bundle(content).digest();
        for _ in 1..200 {
            self.serve(2);
            self.carry_out();
            if self.state.good(&api()) == Some(digest) {
                return id;
            }
        }
        panic!("never good: {:#?}", self.story);
    }

    /// The same moment in a world of its own.
    pub(super) fn fork(&self) -> World {
        World {
            state: self.state.clone(),
            watch: self.watch.clone(),
            now: self.now,
            journal: Vec::new(),
            story: Vec::new(),
            report: self.report,
            break_glass: None,
            failing: self.failing.clone(),
            rate: self.rate,
            seconds: self.seconds,
            chance: self.chance.clone(),
        }
    }

    pub(super) fn replayed(&self) -> State {
        let mut state = State::default();
        for (at, event) in &self.journal {
            evolve(&mut state, event, *at);
        }
        state
    }

    pub(super) fn through_snapshot(&self, cut: usize) -> State {
        let mut state = State::default();
        let cut = cut.min(self.journal.len());
        for (at, event) in &self.journal[..cut] {
            evolve(&mut state, event, *at);
        }
        assert_eq!(
            STATE_FORMAT, 4,
            "old snapshots must not be read by a new meaning"
        );
        let bytes = serde_json::to_vec(&state).unwrap();
        let mut state: State = serde_json::from_slice(&bytes).unwrap();
        for (at, event) in &self.journal[cut..] {
            evolve(&mut state, event, *at);
        }
        state
    }
}

/// An event in a few words.
fn tell(event: &Event) -> String {
    match event {
        Event::ReleaseProposed { release, .. } => format!("release {release} proposed"),
        Event::StageStarted {
            environment, waves, ..
        } => {
            let sizes: Vec<String> = waves.iter().map(|w| w.hosts.len().to_string()).collect();
            format!("stage {environment}: waves of {}", sizes.join(", "))
        }
        Event::WaveStarted {
            environment, wave, ..
        } => format!("{environment} wave {wave}"),
        Event::HostOrdered { order } => {
            format!(
                "{} ordered {:?} generation {}",
                order.host, order.kind, order.generation
            )
        }
        Event::HostConfirmed { host, .. } => format!("{host} confirmed"),
        Event::HostFailed { host, reason, .. } => format!("{host} failed: {reason}"),
        Event::RehearsalStarted { host, .. } => format!("{host} rehearses"),
        Event::RehearsalStepped { host, result, .. } => match &result.failure {
            None => format!("{host} rehearsed: {}", result.step),
            Some(failure) => format!("{host} failed to {}: {failure}", result.step),
        },
        Event::ReferencesProbed { host, round, .. } => format!("{host} probed, round {round}"),
        Event::Approved { by, .. } => format!("{by} approved"),
        Event::WaveJudged { verdict, .. } => match verdict {
            model::Verdict::Pass { .. } => "wave passed".into(),
            model::Verdict::Fail { rule, reason, .. } => format!("wave failed, {rule}: {reason}"),
            model::Verdict::Insufficient { needs } => format!("not judged: {needs}"),
        },
        Event::WaveHeld { needs, .. } => format!("held: {needs}"),
        Event::WaveContinued { by, .. } => format!("wave continued by {by}"),
        Event::ReleaseGood { release, .. } => format!("release {release} good"),
        Event::RollbackStarted { release, by, .. } => format!("rollback of {release} by {by}"),
        Event::RollbackCompleted { release, took_ms } => {
            format!("release {release} back in {took_ms}")
        }
        other => other.kind().replace('_', " "),
    }
}
