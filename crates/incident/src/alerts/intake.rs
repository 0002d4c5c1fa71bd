//! One batch of alerts, as a sender tells it.
//!
//! Invariant: each alert of a batch is journaled, renewed, counted or named as
//! unreadable; none is lost unseen.

use std::collections::{BTreeMap, BTreeSet};

use model::incident::{Alert, AlertEnd, Fingerprint, IncidentEvent, InvalidLabels, Labels};
use model::{Millis, ServiceName, Timestamp};

use super::{
    ANNOTATION_BYTES_MAX, ANNOTATIONS_MAX, FIRING_MAX, FLAPPING_CALM, LEASE_MAX, Leases,
    RESOLVE_AFTER, SUMMARIES_MAX, SUMMARY, URL_BYTES_MAX, cut, group_of, resolved, service_of,
};
use crate::state::State;

/// An alert as its sender tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Incoming {
    /// As sent, unchecked.
    pub labels: BTreeMap<String, String>,
    /// As sent.
    pub annotations: BTreeMap<String, String>,
    /// Since when.
    pub starts_at: Option<Timestamp>,
    /// Until when, if it isn't told again; in the past: it is over.
    pub ends_at: Option<Timestamp>,
    /// Where to look at it.
    pub generator_url: String,
    /// Who tells it.
    pub source: String,
}

/// What follows from a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intake {
    /// To be journaled.
    pub events: Vec<IncidentEvent>,
    /// For [`Leases::take`].
    pub renewed: Vec<(Fingerprint, Timestamp)>,
    /// For [`Leases::take`]: alerts that flap, said to be over, and believed then.
    pub calming: Vec<(Fingerprint, Timestamp)>,
    /// Groups of alerts that were counted and not kept.
    pub spilled: Vec<(String, Option<ServiceName>)>,
    /// By position in the batch: what can't be an alert.
    pub invalid: Vec<(usize, Invalid)>,
}

/// Why something is no alert.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It has no labels.
    #[error(transparent)]
    Labels(#[from] InvalidLabels),
    /// It ends before it starts.
    #[error("start time must be before end time")]
    Times,
}

struct Batch<'a> {
    state: &'a State,
    leases: &'a Leases,
    now: Timestamp,
    /// Alerts that fire after what was taken so far.
    firing: BTreeSet<Fingerprint>,
    out: Intake,
}

/// What follows from a batch of alerts.
pub fn intake(state: &State, leases: &Leases, batch: &[Incoming], now: Timestamp) -> Intake {
    let mut taking = Batch {
        state,
        leases,
        now: state.time(now),
        firing: state.firing().map(|(fingerprint, _)| fingerprint).collect(),
        out: Intake::default(),
    };
    for (at, incoming) in batch.iter().enumerate() {
        if let Err(invalid) = taking.take(incoming) {
            taking.out.invalid.push((at, invalid));
        }
    }
    taking.count();
    taking.out
}

impl Batch<'_> {
    fn take(&mut self, incoming: &Incoming) -> Result<(), Invalid> {
        let starts_at = incoming.starts_at.or(incoming.ends_at).unwrap_or(self.now);
        let ends_at = incoming.ends_at;
        let ends_at = ends_at.unwrap_or_else(|| RESOLVE_AFTER.after(self.now));
        if starts_at > ends_at {
            return Err(Invalid::Times);
        }
        let group = group_of(self.state, &incoming.labels);
        let service = service_of(&incoming.labels);
        let labels = match Labels::new(incoming.labels.clone()) {
            Ok(labels) => labels,
            Err(InvalidLabels::Empty) => return Err(InvalidLabels::Empty.into()),
            // An alert all the same, though not one that can be kept.
            Err(InvalidLabels::TooMany { .. } | InvalidLabels::TooLong { .. }) => {
                self.spill(group, service);
                return Ok(());
            }
        };
        let fingerprint = labels.fingerprint();
        if ends_at <= self.now {
            self.over(fingerprint, ends_at);
            return Ok(());
        }
        let lease_ms = Millis::between(self.now, ends_at).min(LEASE_MAX);
        let until = lease_ms.after(self.now);
        if self.firing.contains(&fingerprint) {
            self.out.renewed.push((fingerprint, until));
            return Ok(());
        }
        if self.firing.len() >= FIRING_MAX {
            self.spill(group, service);
            return Ok(());
        }
        let alert = Alert {
            labels,
            annotations: annotations(&incoming.annotations),
            starts_at,
            lease_ms,
            generator_url: cut(&incoming.generator_url, URL_BYTES_MAX).to_owned(),
            source: incoming.source.clone(),
        };
        self.fire(alert, service, group);
        Ok(())
    }

    fn fire(&mut self, alert: Alert, service: Option<ServiceName>, group: String) {
        let fingerprint = alert.labels.fingerprint();
        self.firing.insert(fingerprint);
        let until = alert.lease_ms.after(self.now);
        self.out.renewed.push((fingerprint, until));
        self.out.events.push(IncidentEvent::AlertFired {
            alert,
            service,
            group,
        });
    }

    fn over(&mut self, fingerprint: Fingerprint, ended_at: Timestamp) {
        if !self.firing.contains(&fingerprint) {
            return;
        }
        let flaps = self.state.alerts.get(&fingerprint);
        if flaps.is_some_and(|alert| alert.flaps(self.now)) {
            let until = FLAPPING_CALM.after(self.now);
            self.out.calming.push((fingerprint, until));
            return;
        }
        self.firing.remove(&fingerprint);
        let ended = resolved(fingerprint, ended_at, AlertEnd::Told);
        self.out.events.push(ended);
    }

    fn spill(&mut self, group: String, service: Option<ServiceName>) {
        self.out.spilled.push((group, service));
    }

    /// Tells what was left out: a summary alert of each group, and the count at each doubling.
    fn count(&mut self) {
        let mut groups: BTreeMap<String, (Option<ServiceName>, u64)> = BTreeMap::new();
        for (group, service) in &self.out.spilled {
            let entry = groups.entry(group.clone());
            entry.or_insert_with(|| (service.clone(), 0)).1 += 1;
        }
        for (group, (service, more)) in groups {
            self.summarise(&group, service.as_ref());
            let told = self.state.overflows.get(&group).map_or(0, |it| it.total);
            let total = self.leases.spilled(&group).max(told).saturating_add(more);
            if told == 0 || total >= told.saturating_mul(2) {
                self.out.events.push(IncidentEvent::AlertsOverflowed {
                    group,
                    service,
                    total,
                });
            }
        }
    }

    fn summarise(&mut self, group: &str, service: Option<&ServiceName>) {
        let room = self.firing.len() < FIRING_MAX + SUMMARIES_MAX;
        let mut pairs = vec![("alertname".to_owned(), SUMMARY.to_owned())];
        pairs.push(("severity".to_owned(), "error".to_owned()));
        let group = if room { cut(group, 512) } else { "others" };
        pairs.push(("group".to_owned(), group.to_owned()));
        let service = service.filter(|_| room);
        pairs.extend(service.map(|it| ("service".to_owned(), it.to_string())));
        let Ok(labels) = Labels::new(pairs) else {
            return;
        };
        let fingerprint = labels.fingerprint();
        if self.firing.contains(&fingerprint) {
            let until = RESOLVE_AFTER.after(self.now);
            self.out.renewed.push((fingerprint, until));
            return;
        }
        let words = format!("more alerts of {group} than are kept one by one");
        let alert = Alert {
            labels,
            annotations: [("summary".to_owned(), words)].into(),
            starts_at: self.now,
            lease_ms: RESOLVE_AFTER,
            generator_url: String::new(),
            source: "plimsoll".to_owned(),
        };
        self.fire(alert, service.cloned(), group.to_owned());
    }
}

fn annotations(sent: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let kept = sent.iter().take(ANNOTATIONS_MAX);
    kept.map(|(name, value)| {
        let name = cut(name, ANNOTATION_BYTES_MAX).to_owned();
        (name, cut(value, ANNOTATION_BYTES_MAX).to_owned())
    })
    .collect()
}
