//! Which hosts there are, which bundles are pushed, and what is wrong with them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use model::bundle::Undecided;
use model::{
    Bundle, Command, Commands, Digest, Environment, EnvironmentName, FileEntry, HealthCheck,
    HealthProbe, Host, HostName, JudgePlan, Millis, PackageEntry, Permille, Plan, ServiceName,
    ServiceSpec, StagePlan, Topology, WavePlan, WaveSelector, ZoneName,
};

use crate::random::{Draw, Purpose};

/// A well-formed name.
pub(crate) fn name<T: FromStr>(text: &str) -> T
where
    T::Err: Display,
{
    text.parse()
        .unwrap_or_else(|error| unreachable!("{text} is a name that this program made: {error}"))
}

/// Where one host stands.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) host: HostName,
    pub(crate) zone: ZoneName,
    /// Whether customers are there.
    pub(crate) serving: bool,
    pub(crate) services: Vec<ServiceName>,
}

/// The fleet of one run.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) topology: Topology,
    pub(crate) services: Vec<ServiceName>,
    pub(crate) places: Vec<Place>,
    /// Nothing was on the hosts before.
    pub(crate) empty: bool,
    /// Each host ran something else before.
    pub(crate) mixed: bool,
}

impl Fleet {
    pub(crate) fn new(seed: u64) -> Fleet {
        let mut draw = Draw::new(seed, Purpose::Fleet);
        let services: Vec<ServiceName> = match draw.chance(300) {
            true => vec![name("api"), name("web")],
            false => vec![name("api")],
        };
        let zones = draw.between(1, 3);
        let mut places = Vec::new();
        for at in 1..=2 {
            places.push(Place {
                host: name(&format!("test-{at}")),
                zone: name("lab"),
                serving: false,
                services: services.clone(),
            });
        }
        for at in 1..=draw.between(3, 12) {
            let both = at <= 2 || draw.chance(600);
            places.push(Place {
                host: name(&format!("prod-{at:02}")),
                zone: name(&format!("zone-{}", draw.below(zones))),
                serving: true,
                services: services
                    .iter()
                    .take(if both { 2 } else { 1 })
                    .cloned()
                    .collect(),
            });
        }
        let empty = draw.chance(150);
        Fleet {
            topology: topology(&services, &places),
            services,
            places,
            empty,
            mixed: !empty && draw.chance(200),
        }
    }

    /// What a host runs before anything was released.
    pub(crate) fn found(&self, host: &HostName, service: &ServiceName) -> Digest {
        let whose = if self.mixed {
            host.as_str()
        } else {
            "every host"
        };
        Digest::of(format!("{service} as found on {whose}").as_bytes())
    }
}

pub(crate) fn testing() -> EnvironmentName {
    name("test")
}

pub(crate) fn serving() -> EnvironmentName {
    name("production")
}

fn topology(services: &[ServiceName], places: &[Place]) -> Topology {
    let environment = |name, serving| Environment {
        name,
        hosts: places
            .iter()
            .filter(|place| place.serving == serving)
            .map(|place| Host {
                class: None,
                name: place.host.clone(),
                zone: place.zone.clone(),
                services: place
                    .services
                    .iter()
                    .map(|service| (service.clone(), format!("{}:80", place.host)))
                    .collect(),
            })
            .collect(),
    };
    Topology {
        catalog: Vec::new(),
        classes: Default::default(),
        freezes: Vec::new(),
        environments: vec![environment(testing(), false), environment(serving(), true)],
        services: services
            .iter()
            .map(|service| (service.clone(), ServiceSpec::default()))
            .collect(),
    }
}

/// What is wrong with a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temper {
    Good,
    CheckFails,
    CheckHangs,
    RestartFails,
    RestartHangs,
    HealthFails,
    /// Answers health checks and fails customers.
    Errors,
    /// Exits every few seconds.
    CrashLoops,
    /// Hangs for ever, so long after it started.
    HangsLater(u64),
}

/// A bundle and what is wrong with it.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) bundle: Bundle,
    pub(crate) digest: Digest,
    temper: Temper,
    /// The test environment doesn't show it.
    hidden: bool,
}

impl Made {
    /// What it is like on a host.
    pub(crate) fn temper(&self, serving: bool) -> Temper {
        if self.hidden && !serving {
            Temper::Good
        } else {
            self.temper
        }
    }

    /// In words, for the trace.
    pub(crate) fn describe(&self) -> String {
        let hidden = if self.hidden {
            " (hidden from the test)"
        } else {
            ""
        };
        format!("{} {:?}{hidden}", self.digest.short(), self.temper)
    }

    pub(crate) fn new(draw: &mut Draw, service: &ServiceName, number: u64) -> Made {
        let temper = match draw.below(100) {
            0..58 => Temper::Good,
            58..62 => Temper::CheckFails,
            62..64 => Temper::CheckHangs,
            64..70 => Temper::RestartFails,
            70..75 => Temper::RestartHangs,
            75..82 => Temper::HealthFails,
            82..89 => Temper::Errors,
            89..94 => Temper::CrashLoops,
            _ => Temper::HangsLater(draw.between(2_000, 120_000)),
        };
        let hidden = draw.chance(650);
        let bundle = bundle(draw, service, number);
        Made {
            digest: bundle.digest(),
            bundle,
            temper,
            hidden,
        }
    }
}

fn bundle(draw: &mut Draw, service: &ServiceName, number: u64) -> Bundle {
    let blob = |text: String| (Digest::of(text.as_bytes()), text.len() as u64);
    let (digest, size_bytes) = blob(format!("configuration {number}"));
    let file = FileEntry {
        digest,
        size_bytes,
        executable: false,
    };
    let mut packages = BTreeMap::new();
    if draw.chance(500) {
        let (digest, size_bytes) = blob(format!("package {}", number / 2));
        let version = format!("1.{}", number / 2);
        packages.insert(
            name("server"),
            PackageEntry {
                conflicts: Default::default(),
                provides: Default::default(),
                requires: Default::default(),
                version,
                digest,
                size_bytes,
            },
        );
    }
    let command = |program: &str, deadline_ms| Command {
        run: vec![program.into()],
        deadline_ms,
    };
    let health = HealthCheck {
        probe: HealthProbe::Tcp {
            address: "${address}".into(),
        },
        interval_ms: Millis(draw.between(1000, 3000)),
        deadline_ms: Millis(draw.between(200, 1000)),
        grace_ms: Millis(draw.between(2000, 8000)),
        threshold: u32::try_from(draw.between(1, 3)).unwrap_or(1),
    };
    let deadline = Millis(draw.between(2000, 15_000));
    Bundle {
        requires: Default::default(),
        service: service.clone(),
        files: [(name("service.toml"), file)].into(),
        packages,
        commands: Commands {
            check: draw.chance(850).then(|| command("check", deadline)),
            reload: draw.chance(400).then(|| command("reload", deadline)),
            restart: Some(command("restart", deadline)),
            exits: Some(command("exits", Millis(1000))),
        },
        health: draw.chance(900).then_some(health),
        plan: plan(draw),
    }
}

fn plan(draw: &mut Draw) -> Plan {
    let mut stage = StagePlan {
        waves: waves(draw),
        bake_ms: Millis(draw.between(2_000, 15_000)),
        bake_max_ms: Millis(draw.between(20_000, 60_000)),
        requests_min: draw.between(20, 150),
        failure_budget_permille: Permille::of(draw.between(10, 50), 1000),
        parallel: u32::try_from(draw.between(1, 5)).unwrap_or(1),
        confirm_within_ms: Millis(draw.between(5_000, 25_000)),
        floor_permille: None,
        judge: JudgePlan {
            undecided: match draw.chance(200) {
                true => Undecided::Advance,
                false => Undecided::Hold,
            },
            ..JudgePlan::default()
        },
    };
    let production = stage.clone();
    // Nobody calls the test environment here.
    stage.requests_min = 0;
    stage.waves = vec![WavePlan::of(WaveSelector::All)];
    stage.bake_ms = Millis(draw.between(1_000, 5_000));
    Plan {
        stages: [(testing(), stage), (serving(), production)].into(),
        irreversible: draw.chance(120),
    }
}

fn waves(draw: &mut Draw) -> Vec<WavePlan> {
    let share = |draw: &mut Draw| {
        Permille::new(u16::try_from(draw.between(1, 1000)).unwrap_or(1)).unwrap_or(Permille::ALL)
    };
    (0..draw.below(5))
        .map(|_| {
            let hosts = match draw.below(6) {
                0 => WaveSelector::Hosts {
                    count: u32::try_from(draw.between(1, 3)).unwrap_or(1),
                },
                1 => WaveSelector::ShareOfZone {
                    permille: share(draw),
                },
                2 => WaveSelector::Share {
                    permille: share(draw),
                },
                3 => WaveSelector::Zone,
                4 => WaveSelector::EachZone,
                _ => WaveSelector::All,
            };
            // Less than a tenth of the traffic would make runs long and show nothing else.
            let traffic = draw
                .chance(300)
                .then(|| share(draw).max(Permille::of(1, 10)));
            WavePlan {
                hosts,
                traffic_permille: traffic,
            }
        })
        .collect()
}
