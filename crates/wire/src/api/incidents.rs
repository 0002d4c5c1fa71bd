//! Incidents, on-call and silences.

use model::incident::{
    Cause, Duty, IncidentId, NewestChange, Override, Setup, Severity, UpdateStatus, Via,
};
use model::{ContactName, Millis, ScheduleName, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One incident, as people and programs see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IncidentView {
    /// Its number.
    #[schema(value_type = u64)]
    pub id: IncidentId,
    /// In one line.
    pub title: String,
    /// How bad it is.
    #[schema(value_type = String)]
    pub severity: Severity,
    /// All services that it touches.
    #[schema(value_type = Vec<String>)]
    pub services: Vec<ServiceName>,
    /// Opened by the machine; else by a person.
    pub by_machine: bool,
    /// When it was detected.
    #[schema(value_type = String)]
    pub detected_at: Timestamp,
    /// Who said that it is one.
    pub confirmed_by: Option<String>,
    /// Who has it now, and until when.
    pub held_by: Option<String>,
    /// See `held_by`.
    #[schema(value_type = Option<String>)]
    pub held_until: Option<Timestamp>,
    /// When it was over.
    #[schema(value_type = Option<String>)]
    pub over_at: Option<Timestamp>,
    /// Who said so.
    pub over_by: Option<String>,
    /// It is part of this one.
    #[schema(value_type = Option<u64>)]
    pub merged_into: Option<IncidentId>,
    /// Alerts of it that fire.
    pub firing: u64,
    /// Alerts that joined it in all.
    pub alerts: u64,
    /// What was seen from inside, the oldest first.
    #[schema(value_type = Vec<Object>)]
    pub causes: Vec<Seen>,
    /// Which changes touched its services shortly before. Facts, not verdicts.
    #[schema(value_type = Vec<Object>)]
    pub changes: Vec<NewestChange>,
    /// Who was told.
    #[schema(value_type = Vec<String>)]
    pub paged: Vec<ContactName>,
    /// Why nobody is told at the moment, or what is waited for.
    pub waiting: Option<String>,
    /// The machine-made timeline; only of one incident, not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineEntry>,
}

/// Something seen from inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Seen {
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// In words.
    pub words: String,
    /// What.
    #[schema(value_type = Object)]
    pub cause: Cause,
}

/// A line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEntry {
    /// When, by the journal's clock.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Written by a person; else it is a fact of the journal.
    pub note: bool,
    /// What.
    pub words: String,
}

/// A person opens an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenIncident {
    /// In one line.
    pub title: String,
    /// Whom it concerns.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub service: Option<ServiceName>,
    /// How bad it is: `sev1` to `sev4`.
    #[schema(value_type = String)]
    pub severity: Severity,
}

/// What a person says about an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "say", rename_all = "snake_case", deny_unknown_fields)]
pub enum IncidentWord {
    /// I have it; for so long, or as its policy says.
    Acknowledge {
        #[serde(default)]
        #[schema(value_type = Option<u64>)]
        for_ms: Option<Millis>,
        /// By which way: `cli`, `api`, `chat`.
        #[serde(default = "api")]
        #[schema(value_type = String)]
        via: Via,
    },
    /// It is one.
    Confirm {
        #[serde(default)]
        words: String,
    },
    /// It is this bad.
    Severity {
        #[schema(value_type = String)]
        severity: Severity,
        #[serde(default)]
        words: String,
    },
    /// Somebody does this.
    Duty {
        #[schema(value_type = String)]
        duty: Duty,
        #[schema(value_type = String)]
        contact: ContactName,
    },
    /// For the record.
    Note { words: String },
    /// For users, on the status page.
    Update {
        #[schema(value_type = String)]
        status: UpdateStatus,
        words: String,
    },
    /// It is part of another.
    Merge {
        #[schema(value_type = u64)]
        into: IncidentId,
    },
    /// It is over.
    Resolve {
        #[serde(default)]
        words: String,
    },
    /// It is not.
    Reopen {
        #[serde(default)]
        words: String,
    },
}

fn api() -> Via {
    Via::Api
}

/// Who is on call, and what was declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OnCallView {
    /// As declared.
    #[schema(value_type = Object)]
    pub setup: Setup,
    /// Each schedule now and in the days ahead.
    pub schedules: Vec<ScheduleView>,
    /// How well each contact's weekly tests arrive.
    pub contacts: Vec<ContactView>,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ScheduleName,
    /// Who is on call now.
    #[schema(value_type = Option<String>)]
    pub now: Option<ContactName>,
    /// Shifts of the days asked for; nobody: a gap.
    pub ahead: Vec<ShiftView>,
    /// Who took over, and is not over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub overrides: Vec<Override>,
}

/// A shift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShiftView {
    /// Who; nobody is a gap.
    #[schema(value_type = Option<String>)]
    pub contact: Option<ContactName>,
    /// From.
    #[schema(value_type = String)]
    pub from: Timestamp,
    /// Until.
    #[schema(value_type = String)]
    pub until: Timestamp,
}

/// A contact, without addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContactView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ContactName,
    /// Kinds of its channels, in their order.
    pub channels: Vec<String>,
    /// Pages sent in the last ten minutes.
    pub recent: u64,
}

/// Contacts, schedules, policies, components and objectives, all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SetupRequest {
    /// As it shall be.
    #[schema(value_type = Object)]
    pub setup: Setup,
}

/// Somebody takes over now, whoever is on call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeRequest {
    /// Which schedule.
    #[schema(value_type = String)]
    pub schedule: ScheduleName,
    /// Who takes over.
    #[schema(value_type = String)]
    pub contact: ContactName,
    /// Until when; without it until the shift ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub until: Option<Timestamp>,
}

/// Two shifts change hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwapRequest {
    /// Which schedule.
    #[schema(value_type = String)]
    pub schedule: ScheduleName,
    /// An instant in one of them.
    #[schema(value_type = String)]
    pub one: Timestamp,
    /// An instant in the other.
    #[schema(value_type = String)]
    pub other: Timestamp,
}

/// Somebody is on call for a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    /// Which schedule.
    #[schema(value_type = String)]
    pub schedule: ScheduleName,
    /// Who.
    #[schema(value_type = String)]
    pub contact: ContactName,
    /// From.
    #[schema(value_type = String)]
    pub from: Timestamp,
    /// Until.
    #[schema(value_type = String)]
    pub until: Timestamp,
}

/// An override is taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveOverrideRequest {
    /// Of which schedule.
    #[schema(value_type = String)]
    pub schedule: ScheduleName,
    /// Its number.
    pub id: u64,
}

/// A contact is tested now, on all its channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestPageRequest {
    /// Who.
    #[schema(value_type = String)]
    pub contact: ContactName,
}

/// A silence, in Alertmanager's form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SilenceView {
    /// Its id; none of a new one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// `pending`, `active` or `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<SilenceStatus>,
    /// All must fit.
    pub matchers: Vec<MatcherView>,
    /// From.
    pub starts_at: Timestamp,
    /// Until.
    pub ends_at: Timestamp,
    /// In its maker's words.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// Where a silence stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceStatus {
    /// `pending`, `active` or `expired`.
    pub state: String,
}

/// A matcher, in Alertmanager's form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MatcherView {
    /// Of which label.
    pub name: String,
    /// What its value is held against.
    pub value: String,
    /// As a regular expression.
    pub is_regex: bool,
    /// Fits; else it must not.
    pub is_equal: bool,
}
