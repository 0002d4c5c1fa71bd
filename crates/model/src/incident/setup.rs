//! What people declare: who is there, when, in which order they are asked, and what is promised.
//!
//! Invariant: times of day are wall-clock times of a named zone; nothing here
//! is an offset, so that a handoff at 09:00 stays at 09:00.

use std::collections::BTreeMap;

use jiff::civil;
use serde::{Deserialize, Serialize};

use crate::{ComponentName, ContactName, Millis, PolicyName, ScheduleName, ServiceName, Timestamp};

/// Everything that is declared, at once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Setup {
    /// People, and groups that read together.
    pub contacts: BTreeMap<ContactName, Contact>,
    /// Who is on call when.
    pub schedules: BTreeMap<ScheduleName, Schedule>,
    /// Who is asked after whom.
    pub policies: BTreeMap<PolicyName, Policy>,
    /// For services that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_policy: Option<PolicyName>,
    /// What is known of services.
    pub services: BTreeMap<ServiceName, ServiceCare>,
    /// What the status page shows, in its order.
    pub components: Vec<Component>,
    /// What is promised.
    pub objectives: Vec<Objective>,
    /// Labels that alerts are grouped by; service and alertname when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
    /// When contacts are tested.
    pub tests: TestPages,
}

/// Somebody who can be told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Contact {
    /// For people.
    pub name: String,
    /// In this order.
    pub channels: Vec<Channel>,
    /// IANA name of the zone where they live; UTC when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
}

/// A way to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Which.
    pub kind: ChannelKind,
    /// Where: an address, a number, a topic.
    pub address: String,
    /// Without a receipt for so long, the next channel is tried.
    pub wait_ms: Millis,
    /// Not used for what wakes nobody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent_only: bool,
}

/// Kinds of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    Mail,
    Sms,
    Voice,
    Push,
    Chat,
    Webhook,
}

impl ChannelKind {
    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChannelKind::Mail => "mail",
            ChannelKind::Sms => "sms",
            ChannelKind::Voice => "voice",
            ChannelKind::Push => "push",
            ChannelKind::Chat => "chat",
            ChannelKind::Webhook => "webhook",
        }
    }
}

/// Who is on call when: the topmost layer that covers an instant says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// IANA name of the zone of all its times.
    pub zone: String,
    /// The last one is the topmost.
    pub layers: Vec<Layer>,
}

/// People who hand over to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// In this order, again and again.
    pub contacts: Vec<ContactName>,
    /// The first one begins on this day.
    pub starts_on: civil::Date,
    /// At this time.
    pub handoff: civil::Time,
    /// And hands over after so many days: 1 is daily, 7 weekly.
    pub every_days: u16,
    /// Only then, when there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Restriction>,
}

/// Hours of some days. With `until` not after `from` they end on the next day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restriction {
    /// Days on which they begin; all of them when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    /// From.
    pub from: civil::Time,
    /// Until.
    pub until: civil::Time,
}

/// A day of the week.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Mon,
    #[default]
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl From<civil::Weekday> for Day {
    fn from(day: civil::Weekday) -> Day {
        match day {
            civil::Weekday::Monday => Day::Mon,
            civil::Weekday::Tuesday => Day::Tue,
            civil::Weekday::Wednesday => Day::Wed,
            civil::Weekday::Thursday => Day::Thu,
            civil::Weekday::Friday => Day::Fri,
            civil::Weekday::Saturday => Day::Sat,
            civil::Weekday::Sunday => Day::Sun,
        }
    }
}

/// Somebody is on call instead, whoever the layers say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Its number, counted from 1 over all schedules.
    pub id: u64,
    /// Who.
    pub contact: ContactName,
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
}

/// Who is asked after whom.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// In this order.
    pub steps: Vec<Step>,
    /// And so many times again.
    pub repeat: u32,
    /// An acknowledgement holds for so long; 30 minutes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_for_ms: Option<Millis>,
}

/// People who are asked together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Who.
    pub targets: Vec<Target>,
    /// Without an answer for so long, the next step is taken.
    pub wait_ms: Millis,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// This one.
    Contact(ContactName),
    /// Whoever is on call.
    Schedule(ScheduleName),
}

/// What is known of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceCare {
    /// Who is asked when it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyName>,
    /// It can't work without these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<ServiceName>,
}

/// What the status page shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Stable, for programs.
    pub id: ComponentName,
    /// For users.
    pub name: String,
    /// For users.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// It is as well as the worst of these.
    pub services: Vec<ServiceName>,
}

/// What is promised: this share of requests is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// Lower-case letters, digits and `_`.
    pub name: String,
    /// Of which service.
    pub service: ServiceName,
    /// Good requests of a million.
    pub target_ppm: u32,
    /// Over so many days.
    pub window_days: u16,
    /// PromQL selector of the counter of good requests; none when Plimsoll counts alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub good: String,
    /// PromQL selector of the counter of all requests.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub total: String,
}

/// When each contact is tested, in the zone where they live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TestPages {
    /// On this day of each week.
    pub day: Day,
    /// At this time.
    pub time: civil::Time,
    /// Not at all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
}

impl Default for TestPages {
    fn default() -> TestPages {
        TestPages {
            day: Day::Tue,
            time: civil::time(11, 0, 0, 0),
            off: false,
        }
    }
}
