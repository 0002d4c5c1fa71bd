//! When something is an incident, and of which one it is a part.
//!
//! What concerns the same service, the same group of alerts, or services that
//! depend on each other is one incident. The machine opens, joins and opens
//! again; it ends only what it opened and no person confirmed.
//!
//! Invariant: it says what it saw and which changes came shortly before, never
//! which of them was the cause.

use std::collections::{BTreeMap, BTreeSet};

use model::incident::{
    Cause, Fingerprint, IncidentEvent, IncidentId, NewestChange, Setup, Severity,
};
use model::{Actor, Millis, ServiceName, Timestamp};

use crate::alerts::{self, RESOLVED_HOLDS, Standing, severity_of};
use crate::state::State;

/// Calm for so long, an incident of the machine is over: longer than one evaluation of most rules, so that a gap in
/// the measurements is no recovery.
pub const CALM_FOR: Millis = Millis::seconds(300);
/// What comes back within this time is the same incident again.
pub const REOPEN_WITHIN: Millis = Millis::seconds(1800);
/// A declared chain of dependencies is followed so far; also what makes a ring end.
const DEPENDS_DEEP_MAX: usize = 16;
/// Changes that an incident names: more are no answer to "what was it?".
pub const CHANGES_MAX: usize = 5;
/// Incidents that are opened or joined in one tick; the rest follows in the next.
const ASSIGNED_MAX: usize = 500;

/// Something seen from inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Whom it concerns; none: everybody.
    pub service: Option<ServiceName>,
    /// What was seen.
    pub cause: Cause,
    /// Which changes touched the service shortly before.
    pub changes: Vec<NewestChange>,
}

/// How bad a cause is by itself; none: it changes nothing about that, and opens nothing.
pub fn severity(cause: &Cause) -> Option<Severity> {
    match cause {
        Cause::VerdictFailed { .. } | Cause::RollbackStarted { .. } => Some(Severity::Sev2),
        Cause::RollbackFailing { .. }
        | Cause::HostRevertFailing { .. }
        | Cause::ServiceFailing { .. } => Some(Severity::Sev1),
        Cause::AgentsSilent { hosts, of, .. } if hosts >= of => Some(Severity::Sev1),
        Cause::AgentsSilent { .. } | Cause::Person { .. } => Some(Severity::Sev2),
        Cause::RollbackCompleted { .. } => None,
    }
}

/// What follows from something seen from inside: it joins an incident or opens one. Told twice, it follows once.
pub fn observe(state: &State, seen: Observation, now: Timestamp) -> Vec<IncidentEvent> {
    let group = seen.cause.key().unwrap_or_else(|| "inside".to_owned());
    let index = Index::new(state, state.time(now));
    let place = index.place(seen.service.as_ref(), &group);
    let known = match place {
        Some(Place::Open(id)) => state.incidents.get(&id),
        Some(Place::Again(_)) | None => None,
    };
    // The words may change from second to second; what it is about does not.
    let kind = std::mem::discriminant(&seen.cause);
    let told = known.is_some_and(|incident| {
        let mut same = incident.causes.iter();
        let same = same.any(|(_, cause)| {
            std::mem::discriminant(cause) == kind && cause.key() == seen.cause.key()
        });
        let lasts = match seen.cause.key() {
            // What ended since is news when it is back.
            Some(key) => incident.troubles.contains(&key),
            None => matches!(incident.relief, Some(crate::Relief::Done { .. })),
        };
        same && lasts
    });
    if told || is_settled(state, place, &seen.cause, now) {
        return Vec::new();
    }
    let worse = severity(&seen.cause);
    let joined = |id: IncidentId| IncidentEvent::Joined {
        incident: id,
        service: seen.service.clone(),
        severity: worse.unwrap_or(Severity::Sev4),
        cause: Some(seen.cause.clone()),
        alerts: Vec::new(),
    };
    match (place, worse) {
        (Some(Place::Open(id)), _) => vec![joined(id)],
        (Some(Place::Again(id)), Some(_)) => vec![reopened(id, "it came back"), joined(id)],
        // Good news about nothing.
        (_, None) => Vec::new(),
        (None, Some(severity)) => vec![IncidentEvent::Opened {
            incident: IncidentId(state.incidents_given + 1),
            by: Actor::plimsoll(),
            title: titled(seen.service.as_ref(), &seen.cause.headline()),
            service: seen.service,
            group,
            severity,
            cause: Some(seen.cause),
            alerts: Vec::new(),
            changes: seen.changes,
        }],
    }
}

/// Writes into incidents that are about to be opened which changes touched their services shortly before: who knows the
/// releases gives them, the newest first.
pub fn with_changes(
    mut events: Vec<IncidentEvent>,
    newest: impl Fn(&ServiceName) -> Vec<NewestChange>,
) -> Vec<IncidentEvent> {
    for event in &mut events {
        if let IncidentEvent::Opened {
            service: Some(service),
            changes,
            ..
        } = event
            && changes.is_empty()
        {
            *changes = newest(service);
            changes.truncate(CHANGES_MAX);
        }
    }
    events
}

/// A person ended the incident while this lasted: as with alerts, it comes back only after a time.
fn is_settled(state: &State, place: Option<Place>, cause: &Cause, now: Timestamp) -> bool {
    let Some(Place::Again(id)) = place else {
        return false;
    };
    let incident = state.incidents.get(&id);
    let over = incident.and_then(|it| it.over.as_ref().map(|over| (it, over)));
    over.zip(cause.key())
        .is_some_and(|((incident, over), key)| {
            incident.troubles.contains(&key) && RESOLVED_HOLDS.after(over.at) > now
        })
}

/// What lasts, seen from inside: of open incidents, and of those that a person ended meanwhile.
pub fn troubles(state: &State) -> BTreeSet<&str> {
    let incidents = state.incidents.values();
    incidents
        .flat_map(|incident| incident.troubles.iter().map(String::as_str))
        .collect()
}

/// What follows from the end of something seen from inside ([`Cause::key`]).
pub fn ended(state: &State, key: &str) -> Vec<IncidentEvent> {
    let all = state.incidents.values();
    let concerned = all.filter(|it| it.troubles.contains(key));
    concerned
        .map(|incident| IncidentEvent::CauseEnded {
            incident: incident.id,
            key: key.to_owned(),
        })
        .collect()
}

/// Whether `service` can't work without `other`, directly or by what it needs.
pub fn depends(setup: &Setup, service: &ServiceName, other: &ServiceName) -> bool {
    reached(service, |it| needs(setup, it)).contains(other)
}

fn needs<'a>(setup: &'a Setup, service: &ServiceName) -> &'a [ServiceName] {
    let care = setup.services.get(service);
    care.map_or(&[], |care| &care.depends_on)
}

/// Everything that one step after the other leads to.
fn reached<'a, I: IntoIterator<Item = &'a ServiceName>>(
    from: &'a ServiceName,
    next: impl Fn(&'a ServiceName) -> I,
) -> BTreeSet<&'a ServiceName> {
    let mut reached = BTreeSet::new();
    let mut newest = vec![from];
    for _ in 0..DEPENDS_DEEP_MAX {
        let after = newest.into_iter().flat_map(&next);
        newest = after.filter(|it| reached.insert(*it)).collect();
    }
    reached
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Part of this one.
    Open(IncidentId),
    /// This one again.
    Again(IncidentId),
}

/// Incidents by what they are about, made once for all that is to be given a place.
struct Index<'a> {
    setup: &'a Setup,
    /// Who needs a service.
    needed_by: BTreeMap<&'a ServiceName, Vec<&'a ServiceName>>,
    groups: BTreeMap<String, IncidentId>,
    services: BTreeMap<ServiceName, IncidentId>,
    /// Those that may be opened again.
    groups_over: BTreeMap<&'a str, IncidentId>,
    services_over: BTreeMap<&'a ServiceName, IncidentId>,
}

impl<'a> Index<'a> {
    fn new(state: &'a State, now: Timestamp) -> Index<'a> {
        let mut index = Index {
            setup: &state.setup,
            needed_by: BTreeMap::new(),
            groups: BTreeMap::new(),
            services: BTreeMap::new(),
            groups_over: BTreeMap::new(),
            services_over: BTreeMap::new(),
        };
        for (service, care) in &state.setup.services {
            for needed in &care.depends_on {
                index.needed_by.entry(needed).or_default().push(service);
            }
        }
        for incident in state.open() {
            let groups = incident.groups.iter().map(String::as_str);
            index.add(incident.id, groups, &incident.services);
        }
        for incident in state.incidents.values() {
            let over = incident.over.as_ref();
            if over.is_some_and(|it| it.merged_into.is_none() && REOPEN_WITHIN.after(it.at) > now) {
                // The newest counts.
                let groups = incident.groups.iter().map(|it| (it.as_str(), incident.id));
                index.groups_over.extend(groups);
                let services = incident.services.iter().map(|it| (it, incident.id));
                index.services_over.extend(services);
            }
        }
        index
    }

    /// An open incident; among several the oldest counts.
    fn add<'b>(
        &mut self,
        id: IncidentId,
        groups: impl IntoIterator<Item = &'b str>,
        services: impl IntoIterator<Item = &'b ServiceName>,
    ) {
        for group in groups {
            self.groups.entry(group.to_owned()).or_insert(id);
        }
        for service in services {
            self.services.entry(service.clone()).or_insert(id);
        }
    }

    /// The incident that something belongs to: the same group or service first, then services that depend on each other.
    fn place(&self, service: Option<&ServiceName>, group: &str) -> Option<Place> {
        let same = service.and_then(|it| self.services.get(it));
        let same = [self.groups.get(group), same].into_iter().flatten().min();
        let related = || service.and_then(|it| self.related(it));
        if let Some(id) = same.copied().or_else(related) {
            return Some(Place::Open(id));
        }
        let again = service.and_then(|it| self.services_over.get(it));
        let again = [self.groups_over.get(group), again]
            .into_iter()
            .flatten()
            .max();
        again.copied().map(Place::Again)
    }

    fn related(&self, service: &ServiceName) -> Option<IncidentId> {
        let needed_by = |it: &ServiceName| self.needed_by.get(it).into_iter().flatten().copied();
        let down = reached(service, |it| needs(self.setup, it));
        let up = reached(service, needed_by);
        let kin = down.into_iter().chain(up);
        kin.filter_map(|it| self.services.get(it)).min().copied()
    }
}

/// Gives each firing alert without a place one, worst first, and opens what is not over after all.
pub(crate) fn assigned(state: &State, now: Timestamp) -> Vec<IncidentEvent> {
    let mut loose: BTreeMap<(Option<ServiceName>, String), Loose> = BTreeMap::new();
    for (fingerprint, alert) in state.firing() {
        if alerts::standing(state, fingerprint, now) != Some(Standing::Unassigned) {
            continue;
        }
        let key = (alert.service.clone(), alert.group.clone());
        let severity = severity_of(alert);
        let entry = loose.entry(key).or_insert_with(|| Loose {
            severity,
            title: title_of(alert),
            alerts: Vec::new(),
            before: None,
        });
        entry.before = entry.before.or(alert.incident);
        if severity < entry.severity {
            (entry.severity, entry.title) = (severity, title_of(alert));
        }
        entry.alerts.push(fingerprint);
    }
    // One at a time: what is opened first is what the next one joins.
    let mut order: Vec<_> = loose.into_iter().collect();
    order.sort_by_key(|(key, loose)| (loose.severity, key.clone()));
    let mut drawn = Drawn {
        state,
        index: Index::new(state, now),
        events: Vec::new(),
        opened: 0,
        again: BTreeSet::new(),
    };
    for ((service, group), loose) in order.into_iter().take(ASSIGNED_MAX) {
        drawn.add(service, group, loose);
    }
    drawn.events
}

struct Loose {
    severity: Severity,
    title: String,
    alerts: Vec<Fingerprint>,
    /// Where one of them belonged until it was said to be over.
    before: Option<IncidentId>,
}

/// What one tick opens and joins.
struct Drawn<'a> {
    state: &'a State,
    /// Also of what this tick opens.
    index: Index<'a>,
    events: Vec<IncidentEvent>,
    opened: u64,
    again: BTreeSet<IncidentId>,
}

impl Drawn<'_> {
    fn add(&mut self, service: Option<ServiceName>, group: String, loose: Loose) {
        let before = loose.before.filter(|id| {
            let over = self.state.incidents.get(id).and_then(|it| it.over.as_ref());
            over.is_some_and(|over| over.merged_into.is_none())
        });
        let place = self.index.place(service.as_ref(), &group);
        match place.or(before.map(Place::Again)) {
            Some(Place::Open(id)) => self.join(id, service, loose),
            Some(Place::Again(id)) => {
                if self.again.insert(id) {
                    self.events.push(reopened(id, "it came back"));
                }
                self.join(id, service, loose);
            }
            None => {
                self.opened += 1;
                let id = IncidentId(self.state.incidents_given + self.opened);
                self.index.add(id, [group.as_str()], service.as_ref());
                self.events.push(IncidentEvent::Opened {
                    incident: id,
                    by: Actor::plimsoll(),
                    title: titled(service.as_ref(), &loose.title),
                    service,
                    group,
                    severity: loose.severity,
                    cause: None,
                    alerts: loose.alerts,
                    changes: Vec::new(),
                });
            }
        }
    }

    fn join(&mut self, id: IncidentId, service: Option<ServiceName>, loose: Loose) {
        self.events.push(IncidentEvent::Joined {
            incident: id,
            service,
            severity: loose.severity,
            cause: None,
            alerts: loose.alerts,
        });
    }
}

/// What is over: calm for a while, and nobody's but the machine's.
pub(crate) fn calmed(state: &State, now: Timestamp) -> Vec<IncidentEvent> {
    let over = state.open().filter(|incident| {
        let calm = incident.calm_since();
        incident.machines_own() && calm.is_some_and(|since| CALM_FOR.after(since) <= now)
    });
    over.map(|incident| IncidentEvent::Resolved {
        incident: incident.id,
        by: Actor::plimsoll(),
        words: format!("nothing of it was seen for {CALM_FOR}"),
    })
    .collect()
}

pub(crate) fn reopened(incident: IncidentId, words: &str) -> IncidentEvent {
    IncidentEvent::Reopened {
        incident,
        by: Actor::plimsoll(),
        words: words.to_owned(),
    }
}

fn title_of(alert: &crate::AlertState) -> String {
    let labels = &alert.alert.labels;
    let summary = alert.alert.annotations.get("summary").map(String::as_str);
    let name = labels.get("alertname").unwrap_or(&alert.group);
    alerts::cut(summary.unwrap_or(name), TITLE_BYTES_MAX).to_owned()
}

/// Longest title, in bytes: a line of a message.
pub const TITLE_BYTES_MAX: usize = 200;

fn titled(service: Option<&ServiceName>, words: &str) -> String {
    let text = match service {
        Some(service) if !words.contains(service.as_str()) => format!("{service}: {words}"),
        Some(_) | None => words.to_owned(),
    };
    alerts::cut(&text, TITLE_BYTES_MAX).to_owned()
}
