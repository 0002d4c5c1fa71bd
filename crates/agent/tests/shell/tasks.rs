//! Tasks: what a host does without changing what runs.

mod list;
mod load;
mod probes;
mod servers;
mod trials;

use std::path::PathBuf;

use agent::ProbeSettings;
use model::gate::{Probe, ProbeVerdict, Reference, ReferenceKind};
use model::{Millis, ReleaseId, Task, TaskKind, TaskOutcome};

use crate::fake::{Fake, Ship, api, eventually, host};

fn task(id: &str, kind: TaskKind) -> Task {
    Task {
        id: id.into(),
        host: host(),
        release: ReleaseId(7),
        service: api(),
        environment: "test".parse().unwrap(),
        zone: "a".parse().unwrap(),
        address: "127.0.0.1:8080".into(),
        within_ms: Millis::seconds(60),
        kind,
    }
}

/// What came of a task, once it was told.
async fn outcome(fake: &Fake, id: &str) -> TaskOutcome {
    let told = || {
        let inner = fake.inner();
        let mut results = inner.results.iter();
        let result = results.find(|result| result.id == id)?;
        assert_eq!(result.release, ReleaseId(7));
        Some(result.outcome.clone())
    };
    eventually(&format!("{id} is told"), || told().is_some()).await;
    told().unwrap()
}

fn reference(kind: ReferenceKind, target: impl Into<String>) -> Reference {
    Reference {
        file: "api.toml".parse().unwrap(),
        at: "/auth".into(),
        line: 1,
        kind,
        target: target.into(),
        from: Vec::new(),
        status: None,
        // Long enough for two busy cores.
        deadline_ms: Millis::seconds(20),
    }
}

/// A reference that is given up soon, because nothing will come.
fn hopeless(kind: ReferenceKind, target: impl Into<String>) -> Reference {
    Reference {
        deadline_ms: Millis(400),
        ..reference(kind, target)
    }
}

/// What an agent with these settings says to these references.
#[derive(Default)]
struct Asking {
    settings: ProbeSettings,
    egress: Option<Vec<String>>,
}

impl Asking {
    fn trusting(roots: PathBuf) -> Asking {
        Asking {
            settings: ProbeSettings {
                roots: Some(roots),
                ..ProbeSettings::default()
            },
            egress: None,
        }
    }

    fn within(list: &[&str]) -> Asking {
        Asking {
            egress: Some(list.iter().map(|it| (*it).to_owned()).collect()),
            ..Asking::default()
        }
    }

    fn narrowed(mut self, list: &[&str]) -> Asking {
        self.settings.allow = Some(list.iter().map(|it| (*it).to_owned()).collect());
        self
    }

    async fn outcome(self, references: Vec<Reference>) -> TaskOutcome {
        let fake = Fake::start().await;
        let mut ship = Ship::new(&fake);
        ship.config.probes = self.settings;
        let kind = TaskKind::Probe {
            references: (10..).zip(references).collect(),
            egress: self.egress,
        };
        fake.list(&[task("r7/probe/1", kind)]);
        ship.start();
        let outcome = outcome(&fake, "r7/probe/1").await;
        ship.kill().await;
        outcome
    }

    async fn ask(self, references: Vec<Reference>) -> Vec<Probe> {
        let count = references.len();
        let outcome = self.outcome(references).await;
        let TaskOutcome::Probed { probes } = outcome else {
            panic!("{outcome:?}");
        };
        let numbers: Vec<u32> = probes.iter().map(|probe| probe.reference).collect();
        let expected: Vec<u32> = (10..).take(count).collect();
        assert_eq!(numbers, expected, "one answer for each, with its number");
        probes
    }

    /// The same, as verdicts and texts.
    async fn say(self, references: Vec<Reference>) -> Vec<(ProbeVerdict, String)> {
        let probes = self.ask(references).await.into_iter();
        probes.map(|probe| (probe.verdict, probe.detail)).collect()
    }
}
