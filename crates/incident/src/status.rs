//! What users are told: components, incidents, announced work, 90 days.
//!
//! A view of [`State`] and of fresh counts; [`json`] and [`feeds`] write it down.
//! The machine posts by itself that something is looked into, that it is better
//! and that it is over, but only about what it opened and while no person
//! confirmed it. From then on people speak.
//!
//! Invariant: never greener than the journal, and never a cause: why something
//! fails is said by people alone.

pub mod feeds;
pub mod json;
mod uptime;

use std::collections::BTreeMap;

use model::incident::{Component, IncidentId, Maintenance, Severity, UpdateStatus};
use model::{ComponentName, ServiceName, Timestamp};

pub use uptime::{DAYS, Day, uptime};

use crate::slo::{Count, EVENTS_MIN};
use crate::state::{Incident, State, TurnKind};

/// Incidents that are shown, the newest; the open ones in any case.
pub const SHOWN_MAX: usize = 50;
/// Of a thousand requests so many fail: degraded, a partial outage, a major one.
const FAILING: [(u64, Health); 3] = [
    (500, Health::MajorOutage),
    (50, Health::PartialOutage),
    (10, Health::DegradedPerformance),
];

/// How well a component is (Statuspage v2), the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Operational,
    UnderMaintenance,
    DegradedPerformance,
    PartialOutage,
    MajorOutage,
}

impl Health {
    /// As Statuspage v2 writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Health::Operational => "operational",
            Health::UnderMaintenance => "under_maintenance",
            Health::DegradedPerformance => "degraded_performance",
            Health::PartialOutage => "partial_outage",
            Health::MajorOutage => "major_outage",
        }
    }

    /// The indicator of a page whose worst component is like this, and its words.
    pub const fn indicator(self) -> (&'static str, &'static str) {
        match self {
            Health::Operational => ("none", "All Systems Operational"),
            Health::UnderMaintenance => ("maintenance", "Service Under Maintenance"),
            Health::DegradedPerformance => ("minor", "Minor Service Outage"),
            Health::PartialOutage => ("major", "Partial System Outage"),
            Health::MajorOutage => ("critical", "Major System Outage"),
        }
    }
}

/// Whose page it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageInfo {
    /// For programs.
    pub id: String,
    /// For users.
    pub name: String,
    /// Where it is, without a slash at the end.
    pub url: String,
    /// IANA name.
    pub time_zone: String,
}

/// Everything on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// In the declared order.
    pub components: Vec<ComponentView>,
    /// The newest first.
    pub incidents: Vec<Post>,
    /// By their beginning.
    pub maintenances: Vec<(Maintenance, &'static str)>,
    /// When anything of it changed.
    pub updated_at: Timestamp,
    /// When it was looked at.
    pub now: Timestamp,
}

impl View {
    /// How well all of it is: the worst component. Without components, what the open incidents say.
    pub fn worst(&self) -> Health {
        let components = self.components.iter().map(|it| it.health);
        let open = self.incidents.iter().filter(|it| it.resolved_at.is_none());
        let open = open.map(|post| match post.impact {
            "critical" => Health::MajorOutage,
            "major" => Health::PartialOutage,
            _ => Health::DegradedPerformance,
        });
        let worst = match self.components.is_empty() {
            true => open.max(),
            false => components.max(),
        };
        worst.unwrap_or(Health::Operational)
    }
}

/// A component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentView {
    /// As declared.
    pub component: Component,
    /// How it is.
    pub health: Health,
    /// When that last changed, as far as incidents say.
    pub updated_at: Timestamp,
    /// The newest day last.
    pub days: Vec<Day>,
}

/// An incident as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Its number.
    pub id: IncidentId,
    /// In one line, without a cause.
    pub name: String,
    /// How bad it was at worst.
    pub impact: &'static str,
    /// Since when.
    pub started_at: Timestamp,
    /// Until when.
    pub resolved_at: Option<Timestamp>,
    /// What it touches.
    pub components: Vec<ComponentName>,
    /// The oldest first; never empty.
    pub updates: Vec<Update>,
}

/// One thing that users were told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Stable.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// How far the incident is.
    pub status: UpdateStatus,
    /// In words.
    pub body: String,
}

impl Post {
    /// How far it is.
    pub fn status(&self) -> UpdateStatus {
        let last = self.updates.last();
        last.map_or(UpdateStatus::Investigating, |update| update.status)
    }

    /// When it last changed.
    pub fn updated_at(&self) -> Timestamp {
        self.updates
            .last()
            .map_or(self.started_at, |update| update.at)
    }
}

/// The page at `now`. `counts`: good and all requests of each service in the newest minutes.
pub fn view(state: &State, counts: &BTreeMap<ServiceName, Count>, now: Timestamp) -> View {
    let now = state.time(now);
    let posts = state
        .incidents
        .values()
        .rev()
        .filter_map(|it| post(state, it));
    let (open, over): (Vec<Post>, Vec<Post>) = posts.partition(|it| it.resolved_at.is_none());
    let room = SHOWN_MAX.saturating_sub(open.len());
    let mut incidents: Vec<Post> = open
        .into_iter()
        .chain(over.into_iter().take(room))
        .collect();
    incidents.sort_by_key(|post| std::cmp::Reverse(post.id));
    let maintenances = maintenances(state, now);
    let components = state.setup.components.iter();
    let components: Vec<ComponentView> = components
        .map(|component| ComponentView {
            health: health(state, component, counts, now),
            updated_at: touched(&incidents, component),
            days: uptime(state, component, now),
            component: component.clone(),
        })
        .collect();
    let changes = incidents.iter().map(Post::updated_at);
    let begun = maintenances
        .iter()
        .flat_map(|(it, _)| [it.starts_at, it.ends_at]);
    let newest = changes.chain(begun.filter(|at| *at <= now)).max();
    View {
        components,
        incidents,
        maintenances,
        updated_at: newest.unwrap_or(Timestamp::UNIX_EPOCH),
        now,
    }
}

fn touched(posts: &[Post], component: &Component) -> Timestamp {
    let ours = posts
        .iter()
        .filter(|it| it.components.contains(&component.id));
    ours.map(Post::updated_at)
        .max()
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Whether users see it: what somebody is woken for, and whatever people say something about.
fn shown(incident: &Incident) -> bool {
    let bad = incident.by_machine && incident.worst() <= Severity::Sev2;
    let confirmed = incident.by_machine && incident.confirmed.is_some();
    bad || confirmed || !incident.updates.is_empty()
}

/// Components that an incident touches; one that names no service touches all.
fn touches(incident: &Incident, component: &Component) -> bool {
    let mut services = component.services.iter();
    incident.services.is_empty() || services.any(|it| incident.services.contains(it))
}

fn health(
    state: &State,
    component: &Component,
    counts: &BTreeMap<ServiceName, Count>,
    now: Timestamp,
) -> Health {
    let open = state
        .open()
        .filter(|it| shown(it) && touches(it, component));
    let told = open.map(
        |incident| match (incident.calm_since(), incident.severity) {
            // It is looked at still, and said to be.
            (Some(_), _) | (None, Severity::Sev3) => Health::DegradedPerformance,
            (None, Severity::Sev1) => Health::MajorOutage,
            (None, Severity::Sev2) => Health::PartialOutage,
            (None, Severity::Sev4) => Health::Operational,
        },
    );
    let counted = component.services.iter().filter_map(|it| counts.get(it));
    let counted = counted.filter_map(|count| {
        let share = count.bad().saturating_mul(1000) / count.total.max(1);
        let mut limits = FAILING.iter();
        let reached = limits.find(|(limit, _)| share >= *limit);
        reached.filter(|_| count.total >= EVENTS_MIN).map(|it| it.1)
    });
    let mut works = state.maintenances.values();
    let work = works
        .any(|it| it.components.contains(&component.id) && it.starts_at <= now && now < it.ends_at);
    let work = work.then_some(Health::UnderMaintenance);
    told.chain(counted)
        .chain(work)
        .max()
        .unwrap_or(Health::Operational)
}

fn maintenances(state: &State, now: Timestamp) -> Vec<(Maintenance, &'static str)> {
    let works = state.maintenances.values().cloned();
    let mut works: Vec<_> = works
        .map(|it| (stage(&it, now), it))
        .map(|(s, it)| (it, s))
        .collect();
    works.sort_by_key(|(it, _)| (it.starts_at, it.id));
    works
}

fn stage(work: &Maintenance, now: Timestamp) -> &'static str {
    if work.ends_at <= now {
        "completed"
    } else if work.starts_at <= now {
        "in_progress"
    } else {
        "scheduled"
    }
}

fn post(state: &State, incident: &Incident) -> Option<Post> {
    let merged = incident
        .over
        .as_ref()
        .is_some_and(|it| it.merged_into.is_some());
    if merged || !shown(incident) {
        return None;
    }
    let touched = state
        .setup
        .components
        .iter()
        .filter(|it| touches(incident, it));
    let touched: Vec<&Component> = touched.collect();
    let names: Vec<&str> = touched.iter().map(|it| it.name.as_str()).collect();
    let what = match names.is_empty() {
        true => "Our service".to_owned(),
        false => names.join(", "),
    };
    let updates = updates(incident, &what);
    (!updates.is_empty()).then(|| Post {
        id: incident.id,
        name: match incident.worst() {
            Severity::Sev1 => format!("{what}: major outage"),
            Severity::Sev2 => format!("{what}: partial outage"),
            Severity::Sev3 | Severity::Sev4 => format!("{what}: degraded"),
        },
        impact: match incident.worst() {
            Severity::Sev1 => "critical",
            Severity::Sev2 => "major",
            Severity::Sev3 => "minor",
            Severity::Sev4 => "none",
        },
        started_at: incident.detected_at,
        resolved_at: incident.over.as_ref().map(|over| over.at),
        components: touched.iter().map(|it| it.id.clone()).collect(),
        updates,
    })
}

/// What users were told, by the machine and by people.
fn updates(incident: &Incident, what: &str) -> Vec<Update> {
    let confirmed = incident.confirmed.as_ref().map(|(_, at)| *at);
    let mut all: Vec<Update> = Vec::new();
    for turn in incident.turns.iter().filter(|_| incident.by_machine) {
        // From the moment a person confirms it, people speak.
        let spoken_for = confirmed.is_some_and(|at| at < turn.at);
        let (status, body) = match turn.kind {
            TurnKind::Troubled(_) => (
                UpdateStatus::Investigating,
                format!("{what}: requests fail or are slow. We are looking into it."),
            ),
            TurnKind::Calm => (
                UpdateStatus::Monitoring,
                format!("{what}: no more errors are seen. We keep watching."),
            ),
            TurnKind::Resolved => (UpdateStatus::Resolved, format!("{what}: this is over.")),
        };
        if !spoken_for && all.last().is_none_or(|last| last.status != status) {
            all.push(update(incident, turn.at, status, body));
        }
    }
    let people = incident.updates.iter();
    all.extend(people.map(|(at, _, status, words)| update(incident, *at, *status, words.clone())));
    all.sort_by_key(|update| update.at);
    let last = all.last().map(|update| update.status);
    let ended = matches!(
        last,
        Some(UpdateStatus::Resolved | UpdateStatus::Postmortem) | None
    );
    if let Some(over) = incident.over.as_ref().filter(|_| !ended) {
        let body = format!("{what}: this is over.");
        all.push(update(incident, over.at, UpdateStatus::Resolved, body));
    }
    all
}

fn update(incident: &Incident, at: Timestamp, status: UpdateStatus, body: String) -> Update {
    Update {
        id: format!(
            "{}-{}-{}",
            incident.id,
            at.as_millisecond(),
            status.as_str()
        ),
        at,
        status,
        body,
    }
}

#[cfg(test)]
mod tests;
