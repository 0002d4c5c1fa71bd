//! A small company with a machine to page it, and a clock.
//!
//! Invariant: after each step nothing is left to follow.

use std::collections::{BTreeMap, BTreeSet};

use model::incident::{
    Cause, Channel, ChannelKind, Component, Contact, Fingerprint, IncidentEvent, IncidentId, Layer,
    Outcome, Policy, Schedule, ServiceCare, Setup, Step, Target,
};
use model::{Actor, Millis, Refusal, Role, ServiceName, Timestamp};

use crate::alerts::{Incoming, Leases, intake};
use crate::incidents::{Observation, ended, observe};
use crate::{Incident, Message, State, commands, due, oncall, tick};

/// Rounds after which a tick that still says something will never end.
const ROUNDS_MAX: usize = 100;

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) leases: Leases,
    pub(crate) now: Timestamp,
    pub(crate) journal: Vec<(Timestamp, IncidentEvent)>,
}

pub(crate) fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

pub(crate) fn person(text: &str) -> Actor {
    Actor {
        name: text.to_owned(),
        role: Some(Role::Operator),
    }
}

pub(crate) fn minutes(count: u64) -> Millis {
    Millis::seconds(60 * count)
}

fn contact(text: &str) -> Contact {
    let channel = |kind, urgent_only| Channel {
        kind,
        address: format!("{text}@example.org"),
        wait_ms: minutes(1),
        urgent_only,
    };
    Contact {
        name: text.to_owned(),
        channels: vec![
            channel(ChannelKind::Push, false),
            channel(ChannelKind::Sms, true),
            channel(ChannelKind::Voice, true),
        ],
        zone: "Europe/Berlin".to_owned(),
    }
}

pub(crate) fn layer(contacts: &[&str], every_days: u16) -> Layer {
    Layer {
        contacts: contacts.iter().map(|it| name(it)).collect(),
        starts_on: jiff::civil::date(2026, 1, 5),
        handoff: jiff::civil::time(9, 0, 0, 0),
        every_days,
        only: Vec::new(),
    }
}

pub(crate) fn setup() -> Setup {
    let people = ["ada", "bob", "cyd", "dan"];
    let step = |target| Step {
        targets: vec![target],
        wait_ms: minutes(5),
    };
    let care = |policy: &str, needs: &[&str]| ServiceCare {
        policy: Some(name(policy)),
        depends_on: needs.iter().map(|it| name(it)).collect(),
    };
    let schedule = |contacts: &[&str]| Schedule {
        zone: "Europe/Berlin".to_owned(),
        layers: vec![layer(contacts, 7)],
    };
    Setup {
        contacts: people.iter().map(|it| (name(it), contact(it))).collect(),
        schedules: [
            (name("platform"), schedule(&["ada", "bob"])),
            (
                name("later"),
                Schedule {
                    zone: "Europe/Berlin".to_owned(),
                    layers: vec![Layer {
                        starts_on: jiff::civil::date(2030, 1, 1),
                        ..layer(&["cyd"], 1)
                    }],
                },
            ),
        ]
        .into(),
        policies: [
            (
                name("platform"),
                Policy {
                    steps: vec![
                        step(Target::Schedule(name("platform"))),
                        step(Target::Schedule(name("later"))),
                        step(Target::Contact(name("cyd"))),
                    ],
                    repeat: 1,
                    acknowledged_for_ms: None,
                },
            ),
            (
                name("data"),
                Policy {
                    steps: vec![step(Target::Contact(name("dan")))],
                    repeat: 0,
                    acknowledged_for_ms: None,
                },
            ),
        ]
        .into(),
        default_policy: Some(name("platform")),
        services: [
            (name("web"), care("platform", &["api"])),
            (name("api"), care("platform", &["store"])),
            (name("store"), care("data", &[])),
        ]
        .into(),
        components: vec![Component {
            id: name("api"),
            name: "API".to_owned(),
            description: String::new(),
            services: vec![name("api")],
        }],
        ..Setup::default()
    }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs.map(|(n, v)| ((*n).into(), (*v).into())).collect()
}

impl World {
    pub(crate) fn new() -> World {
        let mut world = World {
            state: State::default(),
            leases: Leases::default(),
            // A Monday in the second week of the rotation: bob's.
            now: name("2026-01-12T12:00:00Z"),
            journal: Vec::new(),
        };
        let declared = oncall::commands::declare(&world.state, &person("ops"), setup(), world.now);
        world.append(declared.unwrap());
        world
    }

    pub(crate) fn append(&mut self, events: Vec<IncidentEvent>) {
        for event in events {
            // What can't be journaled is no event.
            let body = model::canonical::encode(&model::Event::Incident(event.clone())).unwrap();
            let read: model::Event = serde_json::from_slice(&body).unwrap();
            assert_eq!(read, model::Event::Incident(event.clone()));
            assert!(!read.to_string().is_empty());
            self.state.evolve(&event, self.now);
            self.journal.push((self.now, event));
        }
    }

    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let events = tick(&self.state, &self.leases, self.now);
            if events.is_empty() {
                self.check();
                return;
            }
            self.append(events);
        }
        panic!(
            "it never ends: {:?}",
            tick(&self.state, &self.leases, self.now)
        );
    }

    pub(crate) fn take(&mut self, batch: &[Incoming]) {
        let taken = intake(&self.state, &self.leases, batch, self.now);
        assert!(taken.invalid.is_empty(), "{:?}", taken.invalid);
        self.append(taken.events.clone());
        self.leases.take(&taken, &self.state);
        self.settle();
    }

    pub(crate) fn alert(&mut self, pairs: &[(&str, &str)], for_ms: i64) -> Fingerprint {
        let labels = labels(pairs);
        let lease = jiff::SignedDuration::from_millis(for_ms);
        self.take(&[Incoming {
            labels: labels.clone(),
            starts_at: Some(self.now.checked_sub(minutes(1).duration()).unwrap()),
            ends_at: Some(self.now.checked_add(lease).unwrap()),
            source: "test".into(),
            ..Incoming::default()
        }]);
        model::incident::Labels::new(labels).unwrap().fingerprint()
    }

    /// An alert of a service that lasts a day unless it is told to be over.
    pub(crate) fn fire(&mut self, service: &str, alert: &str, severity: &str) -> Fingerprint {
        let pairs = [
            ("service", service),
            ("alertname", alert),
            ("severity", severity),
        ];
        self.alert(&pairs, 86_400_000)
    }

    pub(crate) fn over(&mut self, service: &str, alert: &str, severity: &str) {
        let pairs = [
            ("service", service),
            ("alertname", alert),
            ("severity", severity),
        ];
        self.alert(&pairs, -1);
    }

    pub(crate) fn see(&mut self, service: &str, cause: Cause) {
        let seen = Observation {
            service: Some(name::<ServiceName>(service)),
            cause,
            changes: Vec::new(),
        };
        self.append(observe(&self.state, seen, self.now));
        self.settle();
    }

    pub(crate) fn well(&mut self, key: &str) {
        self.append(ended(&self.state, key));
        self.settle();
    }

    pub(crate) fn ask(&mut self, id: u64, ask: commands::Ask) -> Result<(), Refusal> {
        let events = commands::ask(&self.state, IncidentId(id), &person("ada"), ask, self.now)?;
        self.append(events);
        self.settle();
        Ok(())
    }

    pub(crate) fn pass(&mut self, span: Millis) {
        self.now = span.after(self.now);
        self.settle();
    }

    pub(crate) fn incident(&self, id: u64) -> &Incident {
        &self.state.incidents[&IncidentId(id)]
    }

    pub(crate) fn due(&self) -> Vec<Message> {
        due(&self.state, self.now)
    }

    /// `contact channel` of each message that is due.
    pub(crate) fn told(&self) -> Vec<String> {
        let due = self.due();
        due.iter()
            .map(|it| format!("{} {}", it.contact, it.channel.kind.as_str()))
            .collect()
    }

    pub(crate) fn outcome(&mut self, message: &Message, outcome: Outcome) {
        self.append(vec![IncidentEvent::Notified {
            notice: message.notice.clone(),
            contact: message.contact.clone(),
            outcome,
        }]);
        self.settle();
    }

    /// Sends everything that is due.
    pub(crate) fn send(&mut self) -> usize {
        let due = self.due();
        for message in &due {
            self.outcome(message, Outcome::Sent);
        }
        due.len()
    }

    /// What holds in every state.
    fn check(&self) {
        let now = self.state.time(self.now);
        let due = due(&self.state, now);
        let ids: BTreeSet<&String> = due.iter().map(|it| &it.id).collect();
        assert_eq!(ids.len(), due.len(), "an id names one message");
        for message in &due {
            assert!(!message.subject.is_empty() && !message.body.is_empty());
        }
        for (id, alert) in self.state.firing() {
            let standing = crate::alerts::standing(&self.state, id, now).unwrap();
            let stands = standing != crate::alerts::Standing::Unassigned;
            assert!(stands, "{alert:?} has no place");
            let owners = self
                .state
                .open()
                .filter(|it| it.alerts.contains(&id))
                .count();
            let own = matches!(standing, crate::alerts::Standing::In(_));
            assert_eq!(owners, usize::from(own), "{standing}");
        }
        for incident in self.state.open() {
            let rows = due
                .iter()
                .filter(|it| it.notice.incident() == Some(incident.id));
            let quiet =
                incident.held_at(now) || crate::escalation::hushed(&self.state, incident, now);
            assert!(!quiet || rows.count() == 0, "nobody is to be asked");
        }
    }
}
