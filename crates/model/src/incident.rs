//! Words of alerts, incidents, on-call and paging, and what can happen to them.
//!
//! All of it is one enum, [`IncidentEvent`], which the journal carries in one
//! kind of event. The rule of all events holds: variants and fields are added
//! with defaults, never renamed or removed.
//!
//! Invariant: nothing here holds a fraction or a map with keys that aren't
//! text, so each event has one canonical encoding.

pub mod alert;
pub mod page;
pub mod setup;
mod tell;

use serde::{Deserialize, Serialize};

pub use alert::{Alert, AlertEnd, Fingerprint, InvalidLabels, Labels, Matcher, Operator, Silence};
pub use page::{Notice, Outcome, Skipped, Urgency, Via};
pub use setup::{
    Channel, ChannelKind, Component, Contact, Day, Layer, Objective, Override, Policy, Restriction,
    Schedule, ServiceCare, Setup, Step, Target, TestPages,
};

use crate::{
    Actor, ComponentName, ContactName, EnvironmentName, HostName, Millis, PolicyName, ReleaseId,
    ScheduleName, ServiceName, Timestamp,
};

/// An incident's number, counted from 1 over the whole journal.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct IncidentId(pub u64);

impl std::fmt::Display for IncidentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How bad it is; the worst first, so that the least is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// critical: nobody is served.
    Sev1,
    /// error: many are hit.
    Sev2,
    /// warning: somebody should look, and nobody is woken.
    Sev3,
    /// info.
    Sev4,
}

impl Severity {
    /// Every severity, the worst first.
    pub const ALL: [Severity; 4] = [
        Severity::Sev1,
        Severity::Sev2,
        Severity::Sev3,
        Severity::Sev4,
    ];

    /// The word for it in alerts (PagerDuty's Events v2).
    pub const fn word(self) -> &'static str {
        match self {
            Severity::Sev1 => "critical",
            Severity::Sev2 => "error",
            Severity::Sev3 => "warning",
            Severity::Sev4 => "info",
        }
    }

    /// From either way to say it: `SEV1`, `critical`, and what Prometheus rules call `page` and `ticket`.
    pub fn from_words(text: &str) -> Option<Severity> {
        match text.to_ascii_lowercase().as_str() {
            "sev1" | "critical" | "p1" => Some(Severity::Sev1),
            "sev2" | "error" | "page" | "p2" | "high" => Some(Severity::Sev2),
            "sev3" | "warning" | "ticket" | "p3" => Some(Severity::Sev3),
            "sev4" | "info" | "none" | "p4" | "p5" | "low" => Some(Severity::Sev4),
            _ => None,
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Severity::Sev1 => "SEV1",
            Severity::Sev2 => "SEV2",
            Severity::Sev3 => "SEV3",
            Severity::Sev4 => "SEV4",
        })
    }
}

/// A change that touched a service shortly before, as a fact. Not a verdict: people decide what caused what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewestChange {
    /// Which service.
    pub service: ServiceName,
    /// By which release.
    pub release: ReleaseId,
    /// In which environment.
    pub environment: EnvironmentName,
    /// With which wave, counted from 0.
    pub wave: u32,
    /// How long before the incident was detected.
    pub before_ms: Millis,
}

/// Why an incident is there, seen from inside. Alerts come as alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// A wave failed its verdict.
    VerdictFailed {
        release: ReleaseId,
        wave: u32,
        reason: String,
    },
    /// The way back began by itself.
    RollbackStarted { release: ReleaseId, reason: String },
    /// Every reached host is back.
    RollbackCompleted { release: ReleaseId, took_ms: Millis },
    /// The way back does not end.
    RollbackFailing { release: ReleaseId, reason: String },
    /// A host can't find its way back.
    HostRevertFailing { host: HostName, reason: String },
    /// Agents of an environment fell silent together.
    AgentsSilent {
        environment: EnvironmentName,
        hosts: u32,
        of: u32,
    },
    /// A service's requests fail as a whole, whichever bundle answers.
    ServiceFailing {
        service: ServiceName,
        environment: EnvironmentName,
        since: Timestamp,
    },
    /// A person says so.
    Person { words: String },
}

impl Cause {
    /// What stays wrong until it is said to have ended; none for what is good news or over at once.
    pub fn key(&self) -> Option<String> {
        match self {
            Cause::VerdictFailed { release, .. }
            | Cause::RollbackStarted { release, .. }
            | Cause::RollbackFailing { release, .. } => Some(format!("release:{release}")),
            Cause::HostRevertFailing { host, .. } => Some(format!("host:{host}")),
            Cause::AgentsSilent { environment, .. } => Some(format!("agents:{environment}")),
            Cause::ServiceFailing {
                service,
                environment,
                ..
            } => Some(format!("service:{environment}/{service}")),
            Cause::RollbackCompleted { .. } | Cause::Person { .. } => None,
        }
    }
}

/// Who does what during an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// Decides.
    Commander,
    /// Tells users.
    Communications,
    /// Works on the systems.
    Operations,
}

/// How far an incident is, as users are told (Statuspage v2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateStatus {
    Investigating,
    Identified,
    Monitoring,
    Resolved,
    Postmortem,
}

impl UpdateStatus {
    /// As Statuspage v2 writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            UpdateStatus::Investigating => "investigating",
            UpdateStatus::Identified => "identified",
            UpdateStatus::Monitoring => "monitoring",
            UpdateStatus::Resolved => "resolved",
            UpdateStatus::Postmortem => "postmortem",
        }
    }
}

/// Work that was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Its number, counted from 1.
    pub id: u64,
    /// What is done, for users.
    pub title: String,
    /// What it means for them.
    #[serde(default)]
    pub words: String,
    /// What it touches.
    pub components: Vec<ComponentName>,
    /// From.
    pub starts_at: Timestamp,
    /// Until.
    pub ends_at: Timestamp,
}

/// A fact about alerts, incidents, on-call or pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum IncidentEvent {
    /// Contacts, schedules, policies, services, components and objectives were declared, all of them.
    SetupDeclared { by: Actor, setup: Box<Setup> },
    /// Somebody else is on call for a while.
    OverrideSet {
        by: Actor,
        schedule: ScheduleName,
        #[serde(rename = "override")]
        entry: Override,
    },
    /// Not any more.
    OverrideRemoved {
        by: Actor,
        schedule: ScheduleName,
        id: u64,
    },
    /// An alert began, or began again.
    AlertFired {
        alert: Alert,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceName>,
        group: String,
    },
    /// It ended.
    AlertResolved {
        fingerprint: Fingerprint,
        ended_at: Timestamp,
        why: AlertEnd,
    },
    /// More came than is kept one by one; `total` since the group overflowed. Told at each doubling.
    AlertsOverflowed {
        group: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceName>,
        total: u64,
    },
    /// These alerts page nobody for a time.
    SilenceSet { by: Actor, silence: Silence },
    /// A silence ended early. It is not deleted.
    SilenceExpired { by: Actor, silence: String },
    /// Something is wrong.
    Opened {
        incident: IncidentId,
        by: Actor,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceName>,
        group: String,
        title: String,
        severity: Severity,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        alerts: Vec<Fingerprint>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changes: Vec<NewestChange>,
    },
    /// More of the same.
    Joined {
        incident: IncidentId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceName>,
        severity: Severity,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        alerts: Vec<Fingerprint>,
    },
    /// One of its causes is over ([`Cause::key`]).
    CauseEnded { incident: IncidentId, key: String },
    /// A person says that it is one.
    Confirmed {
        incident: IncidentId,
        by: Actor,
        #[serde(default)]
        words: String,
    },
    /// A person says how bad it is.
    SeveritySet {
        incident: IncidentId,
        by: Actor,
        severity: Severity,
        #[serde(default)]
        words: String,
    },
    /// Who does what.
    DutyTaken {
        incident: IncidentId,
        by: Actor,
        duty: Duty,
        contact: ContactName,
    },
    /// Somebody wrote something down.
    Noted {
        incident: IncidentId,
        by: Actor,
        words: String,
    },
    /// Somebody told users.
    Updated {
        incident: IncidentId,
        by: Actor,
        status: UpdateStatus,
        words: String,
    },
    /// Two are one.
    Merged {
        incident: IncidentId,
        into: IncidentId,
        by: Actor,
    },
    /// It is over.
    Resolved {
        incident: IncidentId,
        by: Actor,
        #[serde(default)]
        words: String,
    },
    /// It was not.
    Reopened {
        incident: IncidentId,
        by: Actor,
        #[serde(default)]
        words: String,
    },
    /// People are to be told; a higher generation begins anew from the first step.
    PageBegan {
        incident: IncidentId,
        policy: PolicyName,
        generation: u32,
        urgency: Urgency,
    },
    /// A step of the policy was reached, and who it is.
    PageStepped {
        incident: IncidentId,
        policy: PolicyName,
        generation: u32,
        /// Counts on over repetitions: step + repetition × steps.
        level: u32,
        recipients: Vec<ContactName>,
        /// Steps before it that reached nobody.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        skipped: Vec<Skipped>,
    },
    /// Nobody is left to ask.
    PageExhausted {
        incident: IncidentId,
        policy: PolicyName,
        generation: u32,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        skipped: Vec<Skipped>,
    },
    /// Somebody has it, until a time.
    Acknowledged {
        incident: IncidentId,
        by: Actor,
        via: Via,
        until: Timestamp,
    },
    /// That time is over, and the incident is not.
    AcknowledgementEnded { incident: IncidentId },
    /// What became of a message.
    Notified {
        notice: Notice,
        contact: ContactName,
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// A contact's weekly test begins.
    TestPaged { contact: ContactName, number: u64 },
    /// Work was announced, or announced anew.
    MaintenanceSet { by: Actor, maintenance: Maintenance },
    /// It ended early, or will not be.
    MaintenanceEnded { by: Actor, id: u64 },
}

impl IncidentEvent {
    /// The incident that it is about.
    pub fn incident(&self) -> Option<IncidentId> {
        match self {
            IncidentEvent::Opened { incident, .. }
            | IncidentEvent::Joined { incident, .. }
            | IncidentEvent::CauseEnded { incident, .. }
            | IncidentEvent::Confirmed { incident, .. }
            | IncidentEvent::SeveritySet { incident, .. }
            | IncidentEvent::DutyTaken { incident, .. }
            | IncidentEvent::Noted { incident, .. }
            | IncidentEvent::Updated { incident, .. }
            | IncidentEvent::Merged { incident, .. }
            | IncidentEvent::Resolved { incident, .. }
            | IncidentEvent::Reopened { incident, .. }
            | IncidentEvent::PageBegan { incident, .. }
            | IncidentEvent::PageStepped { incident, .. }
            | IncidentEvent::PageExhausted { incident, .. }
            | IncidentEvent::Acknowledged { incident, .. }
            | IncidentEvent::AcknowledgementEnded { incident } => Some(*incident),
            IncidentEvent::Notified { notice, .. } => notice.incident(),
            IncidentEvent::SetupDeclared { .. }
            | IncidentEvent::OverrideSet { .. }
            | IncidentEvent::OverrideRemoved { .. }
            | IncidentEvent::AlertFired { .. }
            | IncidentEvent::AlertResolved { .. }
            | IncidentEvent::AlertsOverflowed { .. }
            | IncidentEvent::SilenceSet { .. }
            | IncidentEvent::SilenceExpired { .. }
            | IncidentEvent::TestPaged { .. }
            | IncidentEvent::MaintenanceSet { .. }
            | IncidentEvent::MaintenanceEnded { .. } => None,
        }
    }
}
