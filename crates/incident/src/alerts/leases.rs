//! Until when alerts fire without being told again. Not journaled: a storm of
//! repetitions is no history.
//!
//! Invariant: an alert without a lease has a whole one, so that a restart
//! never ends an alert.

use std::collections::BTreeMap;

use model::incident::Fingerprint;
use model::{ServiceName, Timestamp};

use super::intake::Intake;
use crate::state::{AlertState, State};

/// Leases of alerts, and how many were left out. Starts empty with the program.
#[derive(Debug, Clone, Default)]
pub struct Leases {
    until: BTreeMap<Fingerprint, Timestamp>,
    calming: BTreeMap<Fingerprint, Timestamp>,
    spilled: BTreeMap<String, Spill>,
    started_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Spill {
    total: u64,
    service: Option<ServiceName>,
}

/// Groups whose left-out alerts are counted one by one; beyond it they are counted together.
const SPILLED_MAX: usize = 1000;
/// The group of all others.
const OTHERS: &str = "others";

impl Leases {
    /// After a start at `now`: each alert that fires has a whole lease again.
    pub fn resumed(now: Timestamp) -> Leases {
        Leases {
            started_at: Some(now),
            ..Leases::default()
        }
    }

    /// Until when an alert fires.
    pub fn until(&self, fingerprint: Fingerprint, alert: &AlertState) -> Timestamp {
        let fired = alert.fired_at;
        let began = self.started_at.map_or(fired, |start| start.max(fired));
        let whole = alert.alert.lease_ms.after(began);
        let calm = self.calming.get(&fingerprint);
        calm.or_else(|| self.until.get(&fingerprint))
            .copied()
            .unwrap_or(whole)
    }

    /// The earliest end.
    pub fn next_end(&self, state: &State) -> Option<Timestamp> {
        state
            .firing()
            .map(|(id, alert)| self.until(id, alert))
            .min()
    }

    /// Remembers what an intake told, once its events are in the journal.
    pub fn take(&mut self, intake: &Intake, state: &State) {
        for (fingerprint, until) in &intake.renewed {
            self.calming.remove(fingerprint);
            self.until.insert(*fingerprint, *until);
        }
        for (fingerprint, until) in &intake.calming {
            // That it is over is repeated too, and the first time counts.
            self.calming.entry(*fingerprint).or_insert(*until);
        }
        // Only what fires has a lease, so there are never more than of these.
        let fires = |id: &Fingerprint| state.alerts.get(id).is_some_and(|it| it.ended.is_none());
        self.until.retain(|id, _| fires(id));
        self.calming.retain(|id, _| fires(id));
        for (group, service) in &intake.spilled {
            let known = self.spilled.contains_key(group) || self.spilled.len() < SPILLED_MAX;
            let group = if known { group.as_str() } else { OTHERS };
            let spill = self.spilled.entry(group.to_owned()).or_insert(Spill {
                total: 0,
                service: service.clone(),
            });
            spill.total = spill.total.saturating_add(1);
        }
    }

    /// How many of a group were left out since the start.
    pub fn spilled(&self, group: &str) -> u64 {
        self.spilled.get(group).map_or(0, |spill| spill.total)
    }

    /// Groups with alerts that were left out, with how many.
    pub fn all_spilled(&self) -> impl Iterator<Item = (&str, Option<&ServiceName>, u64)> {
        let spilled = self.spilled.iter();
        spilled.map(|(group, spill)| (group.as_str(), spill.service.as_ref(), spill.total))
    }
}
