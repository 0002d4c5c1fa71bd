//! What is remembered, as events tell it.
//!
//! Invariant: every collection is bounded by a constant of `evolve` or of the
//! intake, so a storm of alerts costs a known amount of memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::incident::{
    Alert, AlertEnd, Cause, Duty, Fingerprint, IncidentId, Maintenance, NewestChange, Outcome,
    Override, Setup, Severity, Silence, Skipped, UpdateStatus, Urgency,
};
use model::{
    Actor, ContactName, Millis, PolicyName, ReleaseId, ScheduleName, ServiceName, Timestamp,
};
use serde::{Deserialize, Serialize};

/// Everything about alerts, incidents and people that is known for certain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// As declared.
    pub setup: Setup,
    /// What changed on schedules since.
    pub schedules: BTreeMap<ScheduleName, ScheduleState>,
    /// The highest number given to an override.
    pub overrides_given: u64,
    /// Alerts that fire, and the newest that did.
    pub alerts: BTreeMap<Fingerprint, AlertState>,
    /// Alerts in the order in which they ended, so that the oldest are forgotten first.
    pub ended: VecDeque<Fingerprint>,
    /// Groups with more alerts than are kept.
    pub overflows: BTreeMap<String, Overflow>,
    /// By id; those that ended stay for a while.
    pub silences: BTreeMap<String, Silence>,
    /// Open ones, and the newest that are over.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// The highest number given to an incident.
    pub incidents_given: u64,
    /// What is remembered of messages to contacts.
    pub contacts: BTreeMap<ContactName, ContactState>,
    /// Announced work, by number.
    pub maintenances: BTreeMap<u64, Maintenance>,
    /// The highest number given to one.
    pub maintenances_given: u64,
    /// The newest time of an event: time never goes back behind it.
    pub clock: Option<Timestamp>,
}

/// What changed on a schedule since it was declared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScheduleState {
    /// Counts changes; the `SEQUENCE` of its calendar.
    pub revision: u64,
    /// When it was changed.
    pub changed_at: Option<Timestamp>,
    /// Who is on call instead; none overlap.
    pub overrides: Vec<Override>,
}

/// An alert that fires, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertState {
    /// As it came.
    pub alert: Alert,
    /// Whose it is.
    pub service: Option<ServiceName>,
    /// Its group.
    pub group: String,
    /// Since when, by the journal's clock.
    pub fired_at: Timestamp,
    /// When it ended, and why.
    pub ended: Option<(Timestamp, AlertEnd)>,
    /// When it fired, the newest last.
    pub fires: Vec<Timestamp>,
    /// Where it belongs.
    pub incident: Option<IncidentId>,
    /// Silences whose matchers hold, whether they are active or not.
    pub silences: BTreeSet<String>,
}

/// A group with more alerts than are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overflow {
    /// Whose they are.
    pub service: Option<ServiceName>,
    /// How many, when it was last told.
    pub total: u64,
    /// Since when.
    pub since: Timestamp,
}

/// Something is, or was, wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// The service that it began with.
    pub service: Option<ServiceName>,
    /// All services that it touches.
    pub services: BTreeSet<ServiceName>,
    /// Groups of its alerts.
    pub groups: BTreeSet<String>,
    /// In one line.
    pub title: String,
    /// The worst of what it consists of, or what a person said.
    pub severity: Severity,
    /// A person said how bad it is.
    pub severity_said: bool,
    /// Detected by the machine; else a person opened it.
    pub by_machine: bool,
    /// When.
    pub detected_at: Timestamp,
    /// A person says that it is one.
    pub confirmed: Option<(Actor, Timestamp)>,
    /// Who does what.
    pub duties: BTreeMap<Duty, ContactName>,
    /// Its alerts that fire.
    pub alerts: BTreeSet<Fingerprint>,
    /// How many alerts joined it in all.
    pub alerts_total: u64,
    /// What else is wrong still, by [`Cause::key`].
    pub troubles: BTreeSet<String>,
    /// What was seen from inside, the newest last.
    pub causes: Vec<(Timestamp, Cause)>,
    /// Which changes touched its services shortly before.
    pub changes: Vec<NewestChange>,
    /// An automatic rollback, as far as it is.
    pub relief: Option<Relief>,
    /// What users were told by people.
    pub updates: Vec<(Timestamp, Actor, UpdateStatus, String)>,
    /// What people wrote down.
    pub notes: Vec<(Timestamp, Actor, String)>,
    /// How bad it was when.
    pub turns: Vec<Turn>,
    /// It is over.
    pub over: Option<Over>,
    /// How often it was opened again.
    pub reopened: u32,
    /// Who has it, and until when.
    pub held: Option<Held>,
    /// Who is being told, a page for each policy.
    pub pages: Vec<Page>,
    /// Whoever was sent a page.
    pub paged: BTreeSet<ContactName>,
    /// What became of messages of the newest generations, by their ids.
    pub told: BTreeMap<String, Told>,
}

/// An automatic rollback during an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "relief", rename_all = "snake_case")]
pub enum Relief {
    /// On its way back.
    Running {
        release: ReleaseId,
        since: Timestamp,
    },
    /// Back.
    Done {
        release: ReleaseId,
        at: Timestamp,
        took_ms: Millis,
    },
    /// It does not end.
    Failing {
        release: ReleaseId,
        since: Timestamp,
    },
}

/// A point at which an incident changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// When.
    pub at: Timestamp,
    /// How.
    pub kind: TurnKind,
}

/// How an incident changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "turn", content = "severity", rename_all = "snake_case")]
pub enum TurnKind {
    /// It is this bad (from the beginning, from now on, or again).
    Troubled(Severity),
    /// Nothing of it is seen any more.
    Calm,
    /// It is over.
    Resolved,
}

/// How an incident ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// When.
    pub at: Timestamp,
    /// Who said so.
    pub by: Actor,
    /// It is part of another.
    pub merged_into: Option<IncidentId>,
}

/// An acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Who has it.
    pub by: Actor,
    /// Since.
    pub at: Timestamp,
    /// Until.
    pub until: Timestamp,
}

/// People of one policy are being told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// By which policy.
    pub policy: PolicyName,
    /// Grows when everybody is asked anew.
    pub generation: u32,
    /// Whether somebody is to be woken.
    pub urgency: Urgency,
    /// Since.
    pub began_at: Timestamp,
    /// Levels reached in this generation.
    pub levels: Vec<Level>,
    /// Nobody is left to ask.
    pub exhausted: bool,
    /// Everybody is to be asked anew.
    pub stale: bool,
}

/// A level that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Step + repetition × steps.
    pub level: u32,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub recipients: Vec<ContactName>,
    /// Steps before that reached nobody.
    pub skipped: Vec<Skipped>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When that was known.
    pub at: Timestamp,
    /// To whom.
    pub contact: ContactName,
    /// What.
    pub outcome: Outcome,
}

/// What is remembered of messages to a contact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContactState {
    /// When pages were sent, the newest last.
    pub sent: Vec<Timestamp>,
    /// How many digests were sent.
    pub digests: u64,
    /// When the last one was.
    pub digest_at: Option<Timestamp>,
    /// Weekly tests, the newest last.
    pub tests: Vec<Test>,
}

/// A weekly test of a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// Which, counted from 1.
    pub number: u64,
    /// When it began.
    pub at: Timestamp,
    /// What became of its messages, by their ids.
    pub told: BTreeMap<String, Told>,
}

impl State {
    /// The time it is, never before what the journal says.
    pub fn time(&self, now: Timestamp) -> Timestamp {
        self.clock.map_or(now, |clock| clock.max(now))
    }

    /// Alerts that fire.
    pub fn firing(&self) -> impl Iterator<Item = (Fingerprint, &AlertState)> {
        let alerts = self.alerts.iter().map(|(id, alert)| (*id, alert));
        alerts.filter(|(_, alert)| alert.ended.is_none())
    }

    /// Incidents that are not over.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        let incidents = self.incidents.values();
        incidents.filter(|incident| incident.over.is_none())
    }

    /// Silences that keep an alert quiet now.
    pub fn silencing(&self, alert: &AlertState, now: Timestamp) -> Vec<&Silence> {
        let ids = alert.silences.iter();
        let known = ids.filter_map(|id| self.silences.get(id));
        known
            .filter(|silence| silence.starts_at <= now && now < silence.ends_at)
            .collect()
    }
}

impl Incident {
    /// Whether something of it is seen still.
    pub fn troubled(&self) -> bool {
        !self.alerts.is_empty() || !self.troubles.is_empty()
    }

    /// Since when nothing of it is seen.
    pub fn calm_since(&self) -> Option<Timestamp> {
        let last = self.turns.last()?;
        (last.kind == TurnKind::Calm).then_some(last.at)
    }

    /// Whether the machine may end it: nobody but the machine said that it is one.
    pub fn machines_own(&self) -> bool {
        self.by_machine && self.confirmed.is_none()
    }

    /// Whether somebody has it now.
    pub fn held_at(&self, now: Timestamp) -> bool {
        self.held.as_ref().is_some_and(|held| now < held.until)
    }

    /// How bad it was at worst.
    pub fn worst(&self) -> Severity {
        let turns = self.turns.iter().filter_map(|turn| match turn.kind {
            TurnKind::Troubled(severity) => Some(severity),
            TurnKind::Calm | TurnKind::Resolved => None,
        });
        turns.min().unwrap_or(self.severity)
    }
}
