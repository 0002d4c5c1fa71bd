//! Whether anything went past a gate: the chain, the signatures, the people.
//!
//! Invariant: everything is held against the journal's own words and one key.
//! What the control plane says of itself elsewhere counts for nothing here.

mod signed;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::attest::{Predicate, STATEMENT_PAYLOAD_TYPE};
use model::{
    Actor, Digest, Envelope, EnvironmentName, Event, Gate, ReleaseId, ServiceName, Statement,
    Topology,
};
use serde::Serialize;
use wire::api::StoredRecord;
use wire::{Open, PublicKey};

/// Findings that are kept; the rest is counted. A journal with so many has one cause.
const FAULTS_MAX: usize = 1_000;

/// Something that should not be in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// At which position.
    pub(crate) seq: u64,
    /// Which law is broken.
    pub(crate) law: Law,
    /// In words.
    pub(crate) detail: String,
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Law {
    /// Each record follows the one before.
    Chain,
    /// Each attestation is the control key's, about its release.
    Signature,
    /// Production opens with an attestation that holds for exactly what goes there.
    Opening,
    /// Enough other people approved, and exactly what went.
    Approval,
    /// Two people for each break-glass.
    BreakGlass,
}

impl std::fmt::Display for Law {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Law::Chain => "chain",
            Law::Signature => "signature",
            Law::Opening => "opening",
            Law::Approval => "approval",
            Law::BreakGlass => "break-glass",
        })
    }
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counted {
    pub(crate) events: u64,
    pub(crate) attestations: u64,
    /// Openings of the last environment.
    pub(crate) openings: u64,
    pub(crate) approvals: u64,
    pub(crate) break_glasses: u64,
    /// Openings from before services had rules: nothing was demanded of them then.
    pub(crate) before_gates: u64,
    /// Events of kinds that only a later program knows; their place in the chain was checked.
    pub(crate) unknown: u64,
    /// Faults beyond those that are kept.
    pub(crate) more_faults: u64,
}

/// What has to be remembered of a release until it has opened.
#[derive(Debug)]
struct Proposed {
    service: ServiceName,
    digest: Digest,
    base: Option<Digest>,
    author: String,
    /// Under which rules it was checked; absent before there were any.
    check_set: Option<Digest>,
    /// It touches a high-risk option.
    risky: bool,
    break_glass: Option<u64>,
    /// What the test showed: the evidence's digest, and what approvals bind to.
    tested: Option<(Digest, Digest)>,
    /// By whom, and what they bound to.
    approvals: Vec<(String, Digest)>,
}

#[derive(Debug)]
struct Glass {
    service: ServiceName,
    gates: Vec<Gate>,
    by: String,
    expires_at: Timestamp,
    confirmed_by: Option<String>,
}

/// Walks a journal, record by record.
#[derive(Debug)]
pub(crate) struct Auditor {
    key: PublicKey,
    seq: u64,
    hash: Digest,
    at: Option<Timestamp>,
    /// A head that was noted before: the chain must go through it.
    noted: Option<(u64, Digest)>,
    topology: Topology,
    releases: BTreeMap<ReleaseId, Proposed>,
    glasses: BTreeMap<u64, Glass>,
    pub(crate) counted: Counted,
    pub(crate) faults: Vec<Fault>,
}

impl Auditor {
    pub(crate) fn new(key: PublicKey, noted: Option<(u64, Digest)>) -> Auditor {
        Auditor {
            key,
            seq: 0,
            hash: journal::genesis(),
            at: None,
            noted,
            topology: Topology::default(),
            releases: BTreeMap::new(),
            glasses: BTreeMap::new(),
            counted: Counted::default(),
            faults: Vec::new(),
        }
    }

    /// The end of the chain so far.
    pub(crate) fn head(&self) -> (u64, Digest) {
        (self.seq, self.hash)
    }

    /// Takes the next record.
    pub(crate) fn take(&mut self, record: StoredRecord) {
        self.counted.events += 1;
        self.link(&record);
        let at = record.at;
        match serde_json::from_value::<Event>(record.event) {
            Ok(event) => self.event(at, event),
            Err(_) => self.counted.unknown += 1,
        }
    }

    /// Once no record is left: a head that was noted beyond the end was cut off.
    pub(crate) fn end(&mut self) {
        if let Some((seq, _)) = self.noted.filter(|(seq, _)| *seq > self.seq) {
            let detail = format!(
                "the journal ends at {}, before the noted head at {seq}: its end was cut off",
                self.seq
            );
            self.fault(Law::Chain, detail);
        }
    }

    fn fault(&mut self, law: Law, detail: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault {
                seq: self.seq,
                law,
                detail,
            });
        } else {
            self.counted.more_faults += 1;
        }
    }

    /// One link further; after a fault the walk goes on from what was found.
    fn link(&mut self, record: &StoredRecord) {
        let expected = self.seq + 1;
        self.seq = record.seq;
        if record.seq != expected {
            let detail = format!(
                "event {expected} is missing: {} is in its place",
                record.seq
            );
            self.fault(Law::Chain, detail);
        }
        let event = model::canonical::encode(&record.event).unwrap_or_default();
        let at = record.at.to_string();
        let hash = journal::hash(&self.hash, record.seq, at.as_bytes(), &event);
        if hash != record.hash {
            self.fault(
                Law::Chain,
                "it is not what was appended: its hash is another".to_owned(),
            );
        }
        if self.at.is_some_and(|before| record.at < before) {
            self.fault(Law::Chain, "its time goes back".to_owned());
        }
        if self
            .noted
            .is_some_and(|noted| noted.0 == record.seq && noted.1 != hash)
        {
            let detail = "it is not the head that was noted: history was written anew";
            self.fault(Law::Chain, detail.to_owned());
        }
        self.hash = record.hash;
        self.at = Some(record.at);
    }

    fn event(&mut self, at: Timestamp, event: Event) {
        match event {
            Event::TopologySet { topology, .. } => self.topology = topology,
            Event::ReleaseProposed { .. } => self.proposed(at, event),
            Event::TestPassed {
                release, record, ..
            } => {
                if let Some(proposed) = self.releases.get_mut(&release) {
                    proposed.tested = Some((record.digest(), record.binds()));
                }
            }
            Event::Approved {
                release, by, binds, ..
            } => self.approved(release, by, binds),
            Event::Attested { release, envelope } => self.attested(release, &envelope),
            Event::StageStarted {
                release,
                environment,
                attestation,
                ..
            } if self.is_last(&environment) => {
                self.opened(at, release, &environment, attestation.as_ref());
            }
            // It can open nothing more: what is known of it is not needed again.
            Event::ReleaseGood { release, .. } | Event::RollbackCompleted { release, .. } => {
                self.releases.remove(&release);
            }
            Event::BreakGlassAsked {
                id,
                by,
                service,
                gates,
                expires_at,
                ..
            } => {
                self.counted.break_glasses += 1;
                let glass = Glass {
                    service,
                    gates,
                    by: by.name,
                    expires_at,
                    confirmed_by: None,
                };
                self.glasses.insert(id, glass);
            }
            Event::BreakGlassConfirmed { id, by } => self.confirmed(id, by),
            // No other event lets anything past a gate.
            _ => {}
        }
    }

    fn proposed(&mut self, at: Timestamp, event: Event) {
        let Event::ReleaseProposed {
            release,
            service,
            digest,
            base,
            author,
            checked,
            break_glass,
            ..
        } = event
        else {
            return;
        };
        if let Some(id) = break_glass {
            self.glass_used(at, id, &service);
        }
        let proposed = Proposed {
            service,
            digest,
            base,
            author: author.name,
            check_set: checked.check_set,
            risky: !checked.risks.is_empty(),
            break_glass,
            tested: None,
            approvals: Vec::new(),
        };
        self.releases.insert(release, proposed);
    }

    fn is_last(&self, environment: &EnvironmentName) -> bool {
        let environments = &self.topology.environments;
        // With one environment there is no test before it, and nothing to attest.
        environments.len() > 1
            && environments
                .last()
                .is_some_and(|last| last.name == *environment)
    }

    fn approved(&mut self, release: ReleaseId, by: Actor, binds: Digest) {
        self.counted.approvals += 1;
        let Some(proposed) = self.releases.get_mut(&release) else {
            let detail = format!("{by} approved release {release}, which is not on its way");
            return self.fault(Law::Approval, detail);
        };
        let own = proposed.author == by.name;
        let moved = proposed.tested.is_none_or(|(_, bound)| bound != binds);
        let name = by.name;
        proposed.approvals.push((name.clone(), binds));
        if own {
            let detail = format!("{name} approved the own release {release}");
            self.fault(Law::Approval, detail);
        }
        if moved {
            let detail = format!("{name} approved release {release}, but not what its test showed");
            self.fault(Law::Approval, detail);
        }
    }

    fn attested(&mut self, release: ReleaseId, envelope: &Envelope) {
        self.counted.attestations += 1;
        match self.statement(release, envelope) {
            Ok(predicate) => {
                let evidence = self.releases.get(&release).and_then(|it| it.tested);
                if evidence.is_none_or(|(evidence, _)| evidence != predicate.evidence) {
                    let detail = format!(
                        "release {release} was attested on evidence that is not its test's"
                    );
                    self.fault(Law::Signature, detail);
                }
            }
            Err(why) => self.fault(Law::Signature, why),
        }
    }

    /// What was signed of a release, if the key signed it and it is about that release's bundle.
    fn statement(&self, release: ReleaseId, envelope: &Envelope) -> Result<Predicate, String> {
        let statement: Statement = envelope
            .open(STATEMENT_PAYLOAD_TYPE, &self.key)
            .map_err(|error| format!("the attestation of release {release}: {error}"))?;
        let proposed = self
            .releases
            .get(&release)
            .ok_or_else(|| format!("release {release} is attested and not on its way"))?;
        if statement.predicate.release != release
            || !statement.is_about(&proposed.service, proposed.digest)
        {
            return Err(format!(
                "the attestation of release {release} is about something else"
            ));
        }
        Ok(statement.predicate)
    }

    /// The last environment opens for a release.
    fn opened(
        &mut self,
        at: Timestamp,
        release: ReleaseId,
        environment: &EnvironmentName,
        attestation: Option<&Envelope>,
    ) {
        self.counted.openings += 1;
        let Some(proposed) = self.releases.get(&release) else {
            let detail =
                format!("{environment} opened for release {release}, which nobody proposed");
            return self.fault(Law::Opening, detail);
        };
        let Some(rules) = proposed.check_set else {
            self.counted.before_gates += 1;
            return;
        };
        let mut faults = Vec::new();
        match attestation {
            None => faults.push((
                Law::Opening,
                format!("{environment} opened for release {release} without an attestation"),
            )),
            Some(envelope) => match self.statement(release, envelope) {
                Err(why) => faults.push((Law::Opening, why)),
                Ok(predicate) => {
                    let wrong = signed::wrong_in(&predicate, proposed, rules, at);
                    faults.extend(wrong.into_iter().map(|what| {
                        let detail =
                            format!("{environment} opened for release {release}, but {what}");
                        (Law::Opening, detail)
                    }));
                }
            },
        }
        if let Some(detail) = self.too_few(release, proposed) {
            faults.push((Law::Approval, detail));
        }
        for (law, detail) in faults {
            self.fault(law, detail);
        }
    }

    /// Whether a high-risk release had too few other people behind it.
    fn too_few(&self, release: ReleaseId, proposed: &Proposed) -> Option<String> {
        let waived = proposed
            .break_glass
            .and_then(|id| self.glasses.get(&id))
            .is_some_and(|glass| glass.gates.contains(&Gate::Approval));
        let spec = self.topology.services.get(&proposed.service);
        let needed = spec.map_or(0, |spec| spec.checks.approvals) as usize;
        if !proposed.risky || waived {
            return None;
        }
        let bound = proposed.tested.map(|(_, bound)| bound);
        let people: BTreeSet<&str> = proposed
            .approvals
            .iter()
            .filter(|(by, binds)| *by != proposed.author && Some(*binds) == bound)
            .map(|(by, _)| by.as_str())
            .collect();
        (people.len() < needed).then(|| {
            format!(
                "release {release} of {} touches a high-risk option and went to production with {} of {needed} approvals",
                proposed.service,
                people.len()
            )
        })
    }

    fn confirmed(&mut self, id: u64, by: Actor) {
        let detail = match self.glasses.get_mut(&id) {
            None => Some(format!(
                "{by} agreed to break-glass {id}, which nobody asked for"
            )),
            Some(glass) if glass.by == by.name => {
                Some(format!("{by} agreed to the own break-glass {id}"))
            }
            Some(glass) => {
                glass.confirmed_by = Some(by.name);
                None
            }
        };
        if let Some(detail) = detail {
            self.fault(Law::BreakGlass, detail);
        }
    }

    fn glass_used(&mut self, at: Timestamp, id: u64, service: &ServiceName) {
        let detail = match self.glasses.get(&id) {
            None => Some("nobody asked for it".to_owned()),
            Some(glass) if glass.service != *service => {
                Some(format!("it is for {}", glass.service))
            }
            Some(glass) if glass.confirmed_by.is_none() => {
                Some("no second person agreed to it".to_owned())
            }
            Some(glass) if glass.expires_at <= at => Some("it was over by then".to_owned()),
            Some(_) => None,
        };
        if let Some(why) = detail {
            let detail = format!("a release of {service} used break-glass {id}, but {why}");
            self.fault(Law::BreakGlass, detail);
        }
    }
}

#[cfg(test)]
mod tests;
