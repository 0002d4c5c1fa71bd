//! The fold: any event on any state gives a state.
//!
//! Invariant: nothing here decides, refuses or reads a clock. What an event
//! names and the state does not know is passed over, so that a journal written
//! by another version can be read.

mod incident;
mod paging;

use std::collections::BTreeSet;

use model::incident::{Alert, AlertEnd, Fingerprint, IncidentEvent, Maintenance, Setup, Silence};
use model::{ServiceName, Timestamp};

use crate::alerts::matchers::Matchers;
use crate::state::{AlertState, Overflow, State};

/// Alerts that ended and are remembered: enough to see one flap.
const ENDED_KEPT_MAX: usize = 2000;
/// Times of firing that are remembered for each alert; more than a flapping alert needs.
const FIRES_KEPT_MAX: usize = 8;
/// Silences that ended and are remembered.
const SILENCES_KEPT_MAX: usize = 1000;
/// Announced works that are remembered.
const MAINTENANCES_KEPT_MAX: usize = 500;
/// Groups that overflowed and are remembered.
const OVERFLOWS_KEPT_MAX: usize = 1000;

impl State {
    /// Takes in what happened at `at`, by the journal's clock.
    pub fn evolve(&mut self, event: &IncidentEvent, at: Timestamp) {
        let at = self.time(at);
        self.clock = Some(at);
        match event {
            IncidentEvent::SetupDeclared { setup, .. } => self.declared(setup, at),
            IncidentEvent::OverrideSet {
                schedule, entry, ..
            } => {
                self.overrides_given = self.overrides_given.max(entry.id);
                let known = self.schedules.entry(schedule.clone()).or_default();
                known.overrides.retain(|other| other.id != entry.id);
                known.overrides.push(entry.clone());
                known.overrides.sort_by_key(|entry| (entry.from, entry.id));
                known.changed(at);
            }
            IncidentEvent::OverrideRemoved { schedule, id, .. } => {
                let known = self.schedules.entry(schedule.clone()).or_default();
                known.overrides.retain(|entry| entry.id != *id);
                known.changed(at);
            }
            IncidentEvent::AlertFired {
                alert,
                service,
                group,
            } => self.fired(alert, service.as_ref(), group, at),
            IncidentEvent::AlertResolved {
                fingerprint, why, ..
            } => self.alert_over(*fingerprint, *why, at),
            IncidentEvent::AlertsOverflowed {
                group,
                service,
                total,
            } => self.overflowed(group, service.as_ref(), *total, at),
            IncidentEvent::SilenceSet { silence, .. } => self.silenced(silence, at),
            IncidentEvent::SilenceExpired { silence, .. } => {
                if let Some(silence) = self.silences.get_mut(silence) {
                    silence.ends_at = silence.ends_at.min(at);
                    silence.starts_at = silence.starts_at.min(at);
                }
            }
            IncidentEvent::MaintenanceSet { maintenance, .. } => self.announced(maintenance),
            IncidentEvent::MaintenanceEnded { id, .. } => {
                if let Some(work) = self.maintenances.get_mut(id) {
                    work.ends_at = work.ends_at.min(at);
                    work.starts_at = work.starts_at.min(at);
                }
            }
            IncidentEvent::PageBegan { .. }
            | IncidentEvent::PageStepped { .. }
            | IncidentEvent::PageExhausted { .. }
            | IncidentEvent::Acknowledged { .. }
            | IncidentEvent::AcknowledgementEnded { .. }
            | IncidentEvent::Notified { .. }
            | IncidentEvent::TestPaged { .. } => paging::evolve(self, event, at),
            IncidentEvent::Opened { .. }
            | IncidentEvent::Joined { .. }
            | IncidentEvent::CauseEnded { .. }
            | IncidentEvent::Confirmed { .. }
            | IncidentEvent::SeveritySet { .. }
            | IncidentEvent::DutyTaken { .. }
            | IncidentEvent::Noted { .. }
            | IncidentEvent::Updated { .. }
            | IncidentEvent::Merged { .. }
            | IncidentEvent::Resolved { .. }
            | IncidentEvent::Reopened { .. } => incident::evolve(self, event, at),
        }
    }

    fn announced(&mut self, work: &Maintenance) {
        self.maintenances_given = self.maintenances_given.max(work.id);
        self.maintenances.insert(work.id, work.clone());
        while self.maintenances.len() > MAINTENANCES_KEPT_MAX {
            self.maintenances.pop_first();
        }
    }

    fn declared(&mut self, setup: &Setup, at: Timestamp) {
        for (name, schedule) in &setup.schedules {
            if self.setup.schedules.get(name) != Some(schedule) {
                self.schedules.entry(name.clone()).or_default().changed(at);
            }
        }
        // Whoever was removed and comes back is counted on, so that calendars see a newer revision.
        self.contacts
            .retain(|name, _| setup.contacts.contains_key(name));
        self.setup = setup.clone();
    }

    fn fired(&mut self, alert: &Alert, service: Option<&ServiceName>, group: &str, at: Timestamp) {
        let fingerprint = alert.labels.fingerprint();
        let before = self.alerts.remove(&fingerprint);
        let still = before.as_ref().filter(|known| known.ended.is_none());
        let incident = still.and_then(|known| known.incident);
        let mut fires = before.map(|known| known.fires).unwrap_or_default();
        fires.push(at);
        let surplus = fires.len().saturating_sub(FIRES_KEPT_MAX);
        fires.drain(..surplus);
        let silences = self.silences.values();
        let matching = silences.filter(|silence| {
            silence.ends_at > at && Matchers::of(&silence.matchers).hold(&alert.labels)
        });
        let state = AlertState {
            silences: matching.map(|silence| silence.id.clone()).collect(),
            alert: alert.clone(),
            service: service.cloned(),
            group: group.to_owned(),
            fired_at: at,
            ended: None,
            fires,
            incident,
        };
        self.alerts.insert(fingerprint, state);
    }

    fn alert_over(&mut self, fingerprint: Fingerprint, why: AlertEnd, at: Timestamp) {
        let Some(alert) = self.alerts.get_mut(&fingerprint) else {
            return;
        };
        if alert.ended.is_some() {
            return;
        }
        alert.ended = Some((at, why));
        let incident = alert.incident;
        if let Some(incident) = incident.and_then(|id| self.incidents.get_mut(&id)) {
            incident.alerts.remove(&fingerprint);
            incident::turn(incident, at);
        }
        self.ended.push_back(fingerprint);
        while self.ended.len() > ENDED_KEPT_MAX {
            let Some(oldest) = self.ended.pop_front() else {
                break;
            };
            let over = self.alerts.get(&oldest);
            if over.is_some_and(|alert| alert.ended.is_some()) {
                self.alerts.remove(&oldest);
            }
        }
    }

    fn overflowed(
        &mut self,
        group: &str,
        service: Option<&ServiceName>,
        total: u64,
        at: Timestamp,
    ) {
        let entry = self.overflows.entry(group.to_owned());
        let overflow = entry.or_insert_with(|| Overflow {
            service: service.cloned(),
            total: 0,
            since: at,
        });
        overflow.total = total;
        if self.overflows.len() > OVERFLOWS_KEPT_MAX {
            let oldest = self.overflows.iter().min_by_key(|(_, it)| it.since);
            let oldest = oldest.map(|(group, _)| group.clone());
            oldest.map(|group| self.overflows.remove(&group));
        }
    }

    fn silenced(&mut self, silence: &Silence, at: Timestamp) {
        let matchers = Matchers::of(&silence.matchers);
        for alert in self.alerts.values_mut().filter(|it| it.ended.is_none()) {
            if matchers.hold(&alert.alert.labels) {
                alert.silences.insert(silence.id.clone());
            } else {
                alert.silences.remove(&silence.id);
            }
        }
        self.silences.insert(silence.id.clone(), silence.clone());
        let over = self.silences.values().filter(|it| it.ends_at <= at);
        let mut over: Vec<_> = over.map(|it| (it.ends_at, it.id.clone())).collect();
        over.sort();
        let surplus = over.len().saturating_sub(SILENCES_KEPT_MAX);
        let forgotten: BTreeSet<String> = over.drain(..surplus).map(|(_, id)| id).collect();
        self.silences.retain(|id, _| !forgotten.contains(id));
    }
}

impl crate::state::ScheduleState {
    fn changed(&mut self, at: Timestamp) {
        self.revision += 1;
        self.changed_at = Some(at);
        // What ended long ago is in nobody's calendar any more.
        self.overrides
            .retain(|entry| entry.until > OVERRIDE_KEPT.before(at));
    }
}

/// Overrides that ended are remembered for so long, so that the past of a schedule is told right.
const OVERRIDE_KEPT: Before = Before(jiff::SignedDuration::from_hours(24 * 90));

struct Before(jiff::SignedDuration);

impl Before {
    fn before(&self, at: Timestamp) -> Timestamp {
        at.checked_sub(self.0).unwrap_or(Timestamp::MIN)
    }
}
