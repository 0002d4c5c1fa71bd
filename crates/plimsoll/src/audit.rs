//! The journal read as an auditor reads it.
//!
//! [`Ledger`] folds events into what became of each high-risk option and
//! break-glass; [`verify::Auditor`] looks for anything that went past a gate.
//! Both are pure: records in, findings out.
//!
//! Invariant: memory grows with releases and break-glasses, not with hosts,
//! requests or documents, so that years of a fleet fit.

pub(crate) mod verify;

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::gate::Risk;
use model::{Digest, Event, Gate, ReleaseId, RollbackCause, ServiceName};
use serde::Serialize;

/// Most releases and break-glasses that are kept: some hundred megabytes, and more than anybody reads.
pub(crate) const ENTRIES_MAX: usize = 100_000;

/// A release that touched a high-risk option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// When it was proposed.
    pub(crate) at: Timestamp,
    pub(crate) release: ReleaseId,
    pub(crate) service: ServiceName,
    pub(crate) digest: Digest,
    /// By whom.
    pub(crate) by: String,
    /// Why, in their words.
    pub(crate) message: String,
    /// What was changed, before and after.
    pub(crate) risks: Vec<Risk>,
    /// Who agreed, when, in which words.
    pub(crate) approvals: Vec<Approval>,
    /// Which break-glass it used.
    pub(crate) break_glass: Option<u64>,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// One approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Approval {
    pub(crate) by: String,
    pub(crate) at: Timestamp,
    pub(crate) note: String,
}

/// What became of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It is on its way.
    OnItsWay,
    /// It is good.
    Good { at: Timestamp },
    /// It was sent back, and is back everywhere once `back_at` is there.
    SentBack {
        at: Timestamp,
        by: String,
        why: String,
        back_at: Option<Timestamp>,
    },
}

/// One break-glass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Glass {
    pub(crate) at: Timestamp,
    pub(crate) break_glass: u64,
    pub(crate) service: ServiceName,
    pub(crate) gates: Vec<Gate>,
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) confirmed_by: Option<String>,
    pub(crate) used_by: Vec<ReleaseId>,
    pub(crate) reviewed_by: Option<String>,
    pub(crate) review: Option<String>,
}

/// One entry of the audit, in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(crate) enum Entry {
    Change(Change),
    BreakGlass(Glass),
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) service: Option<ServiceName>,
    pub(crate) since: Option<Timestamp>,
}

impl Wanted {
    fn wants(&self, service: &ServiceName, at: Timestamp) -> bool {
        self.service.as_ref().is_none_or(|wanted| wanted == service)
            && self.since.is_none_or(|since| since <= at)
    }
}

/// Folds the journal into an audit.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    wanted: Wanted,
    changes: BTreeMap<ReleaseId, Change>,
    glasses: BTreeMap<u64, Glass>,
    /// Entries that no longer fit.
    pub(crate) left_out: u64,
}

impl Ledger {
    pub(crate) fn new(wanted: Wanted) -> Ledger {
        Ledger {
            wanted,
            ..Ledger::default()
        }
    }

    /// Takes one event.
    pub(crate) fn take(&mut self, at: Timestamp, event: Event) {
        match event {
            Event::ReleaseProposed { .. } => self.proposed(at, event),
            Event::BreakGlassAsked { .. } => self.asked(at, event),
            Event::Approved {
                release, by, note, ..
            } => {
                if let Some(change) = self.changes.get_mut(&release) {
                    let by = by.name;
                    change.approvals.push(Approval { by, at, note });
                }
            }
            Event::ReleaseGood { release, .. } => self.end(release, Outcome::Good { at }),
            Event::RollbackStarted {
                release, by, cause, ..
            } => {
                let why = match cause {
                    RollbackCause::Person { reason } => reason,
                    RollbackCause::Verdict { verdict } => verdict_words(&verdict),
                };
                let (by, back_at) = (by.name, None);
                let outcome = Outcome::SentBack {
                    at,
                    by,
                    why,
                    back_at,
                };
                self.end(release, outcome);
            }
            Event::RollbackCompleted { release, .. } => self.back(release, at),
            Event::BreakGlassConfirmed { id, by } => {
                if let Some(glass) = self.glasses.get_mut(&id) {
                    glass.confirmed_by = Some(by.name);
                }
            }
            Event::BreakGlassReviewed { id, by, words } => {
                if let Some(glass) = self.glasses.get_mut(&id) {
                    glass.reviewed_by = Some(by.name);
                    glass.review = Some(words);
                }
            }
            // Everything else is no word about a high-risk option.
            _ => {}
        }
    }

    fn proposed(&mut self, at: Timestamp, event: Event) {
        let Event::ReleaseProposed {
            release,
            service,
            digest,
            author,
            message,
            checked,
            break_glass,
            ..
        } = event
        else {
            return;
        };
        if let Some(glass) = break_glass.and_then(|id| self.glasses.get_mut(&id)) {
            glass.used_by.push(release);
        }
        let risky = !checked.risks.is_empty() && self.wanted.wants(&service, at);
        if risky && self.room() {
            let change = Change {
                at,
                release,
                service,
                digest,
                by: author.name,
                message,
                risks: checked.risks,
                approvals: Vec::new(),
                break_glass,
                outcome: Outcome::OnItsWay,
            };
            self.changes.insert(release, change);
        }
    }

    fn asked(&mut self, at: Timestamp, event: Event) {
        let Event::BreakGlassAsked {
            id,
            by,
            service,
            gates,
            reason,
            ..
        } = event
        else {
            return;
        };
        if self.wanted.wants(&service, at) && self.room() {
            let glass = Glass {
                at,
                break_glass: id,
                service,
                gates,
                by: by.name,
                reason,
                confirmed_by: None,
                used_by: Vec::new(),
                reviewed_by: None,
                review: None,
            };
            self.glasses.insert(id, glass);
        }
    }

    /// All of it, oldest first.
    pub(crate) fn entries(self) -> Vec<Entry> {
        let changes = self.changes.into_values().map(Entry::Change);
        let glasses = self.glasses.into_values().map(Entry::BreakGlass);
        let mut entries: Vec<Entry> = changes.chain(glasses).collect();
        entries.sort_by_key(|entry| match entry {
            Entry::Change(change) => change.at,
            Entry::BreakGlass(glass) => glass.at,
        });
        entries
    }

    fn room(&mut self) -> bool {
        let room = self.changes.len() + self.glasses.len() < ENTRIES_MAX;
        self.left_out += u64::from(!room);
        room
    }

    fn end(&mut self, release: ReleaseId, outcome: Outcome) {
        if let Some(change) = self.changes.get_mut(&release) {
            change.outcome = outcome;
        }
    }

    fn back(&mut self, release: ReleaseId, now: Timestamp) {
        if let Some(Change {
            outcome: Outcome::SentBack { back_at, .. },
            ..
        }) = self.changes.get_mut(&release)
        {
            *back_at = Some(now);
        }
    }
}

fn verdict_words(verdict: &model::Verdict) -> String {
    match verdict {
        model::Verdict::Fail { rule, reason, .. } => format!("{rule}: {reason}"),
        model::Verdict::Pass { .. } => "passed".to_owned(),
        model::Verdict::Insufficient { needs } => needs.clone(),
    }
}

#[cfg(test)]
mod tests;
