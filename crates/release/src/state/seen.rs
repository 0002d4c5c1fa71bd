//! What gates, people and the way back did to a release.

use model::{Event, Timestamp};

use super::{Approval, Rehearsal, Release, Rollback, Status, Tested};

impl Release {
    /// It goes back.
    pub(super) fn turned_back(&mut self, event: &Event, at: Timestamp) {
        let Event::RollbackStarted {
            by,
            cause,
            to,
            exposure,
            ..
        } = event
        else {
            return;
        };
        self.exposure = *exposure;
        self.ended_at = None;
        self.status = Status::RollingBack(Rollback {
            by: by.clone(),
            cause: cause.clone(),
            to: *to,
            started_at: at,
            took_ms: None,
        });
    }

    /// Takes in what a gate saw.
    pub(super) fn saw(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::ReferencesProbed {
                host,
                round,
                probes,
                ..
            } if *round == self.seen.round => {
                let probes = (at, probes.clone());
                self.seen.probes.insert(host.clone(), probes);
            }
            Event::RecheckStarted { .. } => {
                self.seen.round += 1;
                self.seen.probes.clear();
            }
            Event::HostileTried { host, trials, .. } => {
                let trials = (at, trials.clone());
                self.seen.trials.insert(host.clone(), trials);
            }
            Event::TaskBroken { task, reason, .. } => {
                self.seen.broken.insert(task.clone(), reason.clone());
            }
            Event::RehearsalStarted { host, .. } => {
                self.seen.rehearsal = Some(Rehearsal {
                    host: host.clone(),
                    began_at: at,
                    steps: Vec::new(),
                    stepped_at: at,
                    mixed: None,
                    load: None,
                });
            }
            Event::RehearsalStepped { result, .. } => {
                if let Some(rehearsal) = &mut self.seen.rehearsal {
                    rehearsal.steps.push(result.clone());
                    rehearsal.stepped_at = at;
                }
            }
            Event::MatrixStarted {
                old_files,
                old_packages,
                ..
            } => {
                if let Some(rehearsal) = &mut self.seen.rehearsal {
                    rehearsal.mixed = Some((old_files.digest(), old_packages.digest()));
                    rehearsal.stepped_at = at;
                }
            }
            Event::LoadMeasured {
                requests, failed, ..
            } => {
                if let Some(rehearsal) = &mut self.seen.rehearsal {
                    rehearsal.load = Some((*requests, *failed));
                }
            }
            _ => self.agreed(event, at),
        }
    }

    /// Takes in what was signed, agreed to, or wanted by people.
    fn agreed(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::TestPassed {
                record, expires_at, ..
            } => {
                self.tested = Some(Tested {
                    record: record.clone(),
                    at,
                    expires_at: *expires_at,
                });
            }
            Event::Approved {
                by, binds, note, ..
            } => {
                self.approvals.retain(|known| known.by.name != by.name);
                self.approvals.push(Approval {
                    by: by.clone(),
                    at,
                    binds: *binds,
                    note: note.clone(),
                });
            }
            Event::TrafficShifted { by, reason, .. } => {
                self.shifted = Some(format!("{by} took all requests from it: {reason}"));
            }
            Event::TrafficReturned { .. } => self.shifted = None,
            Event::Attested { envelope, .. } => self.attestation = Some(envelope.clone()),
            Event::Countersigned { signature, .. } => {
                if let Some(envelope) = &mut self.attestation {
                    envelope.signatures.push(signature.clone());
                }
            }
            // Everything else is the caller's.
            _ => {}
        }
    }
}
