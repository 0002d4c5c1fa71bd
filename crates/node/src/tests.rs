//! Given a host, when this happens, then that.

mod gates;
mod properties;
mod restarts;
mod stories;

use model::order::Dispatch;
use model::{
    Bundle, Command, Commands, Digest, Generation, HealthCheck, HealthProbe, Millis, Order,
    OrderKind, Plan, ReleaseId, ReportKind, ServiceName, Timestamp,
};

use crate::{
    Action, Effect, EffectId, Host, Input, NodeEvent, Outcome, Proof, Slot, decide, due, evolve,
};

pub(crate) fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub(crate) fn api() -> ServiceName {
    "api".parse().unwrap()
}

pub(crate) fn command(program: &str) -> Command {
    Command {
        run: vec![program.into()],
        deadline_ms: Millis::seconds(10),
    }
}

/// A bundle that differs from others by its file's content.
pub(crate) fn bundle(content: &str) -> Bundle {
    let file = model::FileEntry {
        digest: Digest::of(content.as_bytes()),
        size_bytes: content.len() as u64,
        executable: false,
    };
    Bundle {
        requires: Default::default(),
        service: api(),
        files: [("api.toml".parse().unwrap(), file)].into(),
        packages: Default::default(),
        commands: Commands {
            check: Some(command("check")),
            reload: Some(command("reload")),
            restart: Some(command("restart")),
            exits: None,
        },
        health: Some(HealthCheck {
            probe: HealthProbe::Tcp {
                address: "${address}".into(),
            },
            interval_ms: Millis::seconds(1),
            deadline_ms: Millis::seconds(1),
            grace_ms: Millis::seconds(5),
            threshold: 2,
        }),
        plan: Plan::default(),
    }
}

pub(crate) fn order(generation: u64, kind: OrderKind, bundle: &Bundle) -> Dispatch {
    Dispatch {
        attestation: None,
        order: Order {
            host: "web-01".parse().unwrap(),
            service: api(),
            generation: Generation(generation),
            kind,
            digest: bundle.digest(),
            release: ReleaseId(1),
            issued_at: start(),
            confirm_within_ms: Millis::seconds(30),
            environment: "production".parse().unwrap(),
            zone: "a".parse().unwrap(),
            address: "127.0.0.1:8080".into(),
        },
        bundle: Some(bundle.clone()),
        peers: [("web-02".parse().unwrap(), "127.0.0.1:1".into())].into(),
    }
}

/// An order that brings no test result.
pub(crate) fn ordered(dispatch: Dispatch) -> Input {
    Input::Ordered {
        dispatch,
        proof: Proof::Absent,
    }
}

pub(crate) fn origin() -> Digest {
    Digest::of(b"what was there")
}

/// A host in a world that answers as it is told.
pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) now: Timestamp,
    /// What was done and what came of it, in words.
    pub(crate) log: Vec<String>,
    /// What the control plane said yes to.
    pub(crate) confirmed: std::collections::BTreeSet<Digest>,
}

impl World {
    pub(crate) fn new() -> World {
        let mut world = World {
            host: Host::new("web-01".parse().unwrap()),
            now: start(),
            log: Vec::new(),
            confirmed: Default::default(),
        };
        world.input(Input::Adopted {
            service: api(),
            digest: origin(),
            empty: false,
        });
        world
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.host.slots[&api()]
    }

    pub(crate) fn input(&mut self, input: Input) {
        let events = decide(&self.host, input, self.now).unwrap();
        self.fold(&events);
    }

    fn fold(&mut self, events: &[NodeEvent]) {
        for event in events {
            if let NodeEvent::Reported { report } = event {
                self.log
                    .push(format!("report {}", crate::describe(&report.kind)));
            }
            evolve(&mut self.host, event);
        }
    }

    pub(crate) fn due(&self) -> Vec<Effect> {
        due(&self.host, self.now)
    }

    /// Does what is due and lets time pass, until nothing is left to do but look or `until` has passed.
    pub(crate) fn run(&mut self, seconds: i64, answer: impl Fn(&Action) -> Outcome) {
        let until = self.now + jiff::SignedDuration::from_secs(seconds);
        loop {
            while let Some(effect) = self.due().into_iter().next() {
                let outcome = answer(&effect.action);
                self.note(&effect, &outcome);
                self.outcome(effect.id, outcome);
            }
            let wake = crate::wake_at(&self.host, self.now);
            match wake {
                Some(at) if at <= until => self.now = at,
                Some(_) | None => break,
            }
            self.input(Input::Tick);
        }
        self.now = until;
        self.input(Input::Tick);
    }

    pub(crate) fn outcome(&mut self, id: EffectId, outcome: Outcome) {
        let effect = self.due().into_iter().find(|effect| effect.id == id);
        if let (Some(Action::Confirm { digest }), Outcome::Done) =
            (effect.map(|effect| effect.action), &outcome)
        {
            self.confirmed.insert(digest);
        }
        self.input(Input::Outcome { id, outcome });
    }

    fn note(&mut self, effect: &Effect, outcome: &Outcome) {
        let what = match &effect.action {
            Action::Stage { .. } => "stage".to_owned(),
            Action::Check { command, .. } | Action::Restart { command, .. } => {
                command.run.join(" ")
            }
            Action::WayHome => "way home".into(),
            Action::Swap { to } => format!("swap to {}", name(*to)),
            Action::Look { .. } => "look".into(),
            Action::Confirm { digest } => format!("confirm {}", name(*digest)),
            Action::AskPeers { .. } => "ask peers".into(),
            Action::Prune { .. } => "prune".into(),
        };
        let line = match outcome {
            Outcome::Done => what,
            Outcome::Failed { reason } => format!("{what}: failed, {reason}"),
            Outcome::Refused { reason } => format!("{what}: refused, {reason}"),
            Outcome::Astray { reason } => format!("{what}: astray, {reason}"),
            Outcome::Peers { reach, cut_off } => format!("{what}: {reach} reach, {cut_off} don't"),
        };
        // A row of equal lines, or of some that take turns, says no more than one.
        if !self.log.iter().rev().take(3).any(|before| *before == line) {
            self.log.push(line);
        }
    }

    pub(crate) fn story(&mut self) -> String {
        let mut text = self.log.join("\n");
        text.push('\n');
        for (digest, name) in [
            (origin(), "generation 0"),
            (bundle("new").digest(), "new"),
            (bundle("old").digest(), "old"),
        ] {
            text = text.replace(&digest.short(), name);
        }
        self.log.clear();
        text
    }

    /// The process dies and begins anew with what is on disk.
    pub(crate) fn restart(&mut self) {
        let disk = serde_json::to_string(&self.host).unwrap();
        self.host = serde_json::from_str(&disk).unwrap();
        self.input(Input::Started);
    }
}

fn name(digest: Digest) -> String {
    digest.short()
}

pub(crate) fn fails(reason: &str) -> Outcome {
    Outcome::Failed {
        reason: reason.into(),
    }
}

pub(crate) fn all_good(_: &Action) -> Outcome {
    Outcome::Done
}

pub(crate) fn reports(host: &Host) -> Vec<&ReportKind> {
    host.outbox.iter().map(|report| &report.kind).collect()
}
