//! What is remembered of a release.

use model::{
    Actor, Digest, EnvironmentName, Event, Exposure, HostName, Millis, ReleaseId, RollbackCause,
    ServiceName, Timestamp, Verdict, Wave,
};
use serde::{Deserialize, Serialize};

/// A release, as its events tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its number.
    pub id: ReleaseId,
    /// Of which service.
    pub service: ServiceName,
    /// Of which bundle.
    pub digest: Digest,
    /// What was good before.
    pub base: Option<Digest>,
    /// Who proposed it.
    pub author: Actor,
    /// Why.
    pub message: String,
    /// When.
    pub proposed_at: Timestamp,
    /// Environments entered so far; the last one is where it is.
    pub stages: Vec<Stage>,
    /// Where it stands.
    pub status: Status,
    /// Whom it had met when it ended or turned back.
    pub exposure: Exposure,
    /// When it became good or was back.
    pub ended_at: Option<Timestamp>,
}

/// Where a release stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// On its way; `held` says what is missing once people have been asked.
    Rolling {
        /// What could not be judged in time.
        held: Option<String>,
    },
    /// Through.
    Good,
    /// On its way back.
    RollingBack(Rollback),
    /// Back.
    RolledBack(Rollback),
}

/// A rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// Who.
    pub by: Actor,
    /// Why.
    pub cause: RollbackCause,
    /// Where every host goes, if a person named it.
    #[serde(default)]
    pub to: Option<Digest>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took_ms: Option<Millis>,
}

/// One environment on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Which.
    pub environment: EnvironmentName,
    /// Fixed when the stage began.
    pub waves: Vec<Wave>,
    /// How many waves have begun.
    pub begun: usize,
    /// How many passed.
    pub passed: usize,
    /// Since when the newest wave's hosts have all been confirmed.
    pub baking_since: Option<Timestamp>,
    /// When the newest wave began.
    pub wave_began_at: Timestamp,
    /// Whether the newest wave failed.
    pub failed: bool,
}

impl Release {
    /// The release that a [`Event::ReleaseProposed`] begins; `None` for other events.
    pub fn from_event(event: &Event, at: Timestamp) -> Option<Release> {
        let Event::ReleaseProposed {
            release,
            service,
            digest,
            base,
            author,
            message,
            ..
        } = event
        else {
            return None;
        };
        Some(Release {
            id: *release,
            service: service.clone(),
            digest: *digest,
            base: *base,
            author: author.clone(),
            message: message.clone(),
            proposed_at: at,
            stages: Vec::new(),
            status: Status::Rolling { held: None },
            exposure: Exposure::default(),
            ended_at: None,
        })
    }

    /// The environment it is in.
    pub fn stage(&self) -> Option<&Stage> {
        self.stages.last()
    }

    /// Hosts of all waves that have begun, with their environment.
    pub fn reached(&self) -> impl Iterator<Item = (&EnvironmentName, &HostName)> {
        self.stages.iter().flat_map(|stage| {
            let waves = stage.waves.iter().take(stage.begun);
            waves
                .flat_map(|wave| &wave.hosts)
                .map(|host| (&stage.environment, host))
        })
    }

    /// Whether it is neither good nor back.
    pub fn is_active(&self) -> bool {
        match self.status {
            Status::Rolling { .. } | Status::RollingBack(_) => true,
            Status::Good | Status::RolledBack(_) => false,
        }
    }

    /// Takes in an event about this release; total: what doesn't fit changes nothing.
    pub fn evolve(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::StageStarted {
                environment, waves, ..
            } => self.stages.push(Stage {
                environment: environment.clone(),
                waves: waves.clone(),
                begun: 0,
                passed: 0,
                baking_since: None,
                wave_began_at: at,
                failed: false,
            }),
            Event::WaveStarted { wave, .. } => {
                if let Some(stage) = self.stages.last_mut() {
                    stage.begun = (*wave as usize + 1).min(stage.waves.len());
                    stage.baking_since = None;
                    stage.wave_began_at = at;
                }
            }
            Event::WaveJudged { wave, verdict, .. } => self.judged(*wave, verdict),
            Event::WaveHeld { needs, .. } => {
                if let Status::Rolling { held } = &mut self.status {
                    *held = Some(needs.clone());
                }
            }
            Event::ReleaseGood { exposure, .. } => {
                self.status = Status::Good;
                self.exposure = *exposure;
                self.ended_at = Some(at);
            }
            Event::RollbackStarted {
                by,
                cause,
                to,
                exposure,
                ..
            } => {
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
            Event::RollbackCompleted { took_ms, .. } => self.came_back(*took_ms, at),
            // Facts about other things; named so that a new kind of event is thought about here.
            Event::TopologySet { .. }
            | Event::TokenIssued { .. }
            | Event::TokenRevoked { .. }
            | Event::JoinTokenIssued { .. }
            | Event::HostEnrolled { .. }
            | Event::ReleaseProposed { .. }
            | Event::HostOrdered { .. }
            | Event::HostConfirmed { .. }
            | Event::HostFailed { .. }
            | Event::HostRevertFailing { .. }
            | Event::HostHeld { .. }
            | Event::HostHealthChanged { .. }
            | Event::ReferencesProbed { .. }
            | Event::HostileTried { .. }
            | Event::RehearsalStarted { .. }
            | Event::RehearsalStepped { .. }
            | Event::MatrixStarted { .. }
            | Event::LoadMeasured { .. }
            | Event::TaskBroken { .. }
            | Event::TestPassed { .. }
            | Event::Approved { .. }
            | Event::Attested { .. }
            | Event::RecheckStarted { .. }
            | Event::BreakGlassAsked { .. }
            | Event::BreakGlassConfirmed { .. }
            | Event::BreakGlassReviewed { .. }
            | Event::DigestQuarantined { .. }
            | Event::QuarantineLifted { .. }
            | Event::Frozen { .. }
            | Event::Thawed { .. } => {}
        }
    }

    /// The newest wave's hosts are (or no longer are) all confirmed.
    pub fn set_baking(&mut self, all_confirmed: bool, at: Timestamp) {
        if let Some(stage) = self.stages.last_mut() {
            stage.baking_since = match (all_confirmed, stage.baking_since) {
                (true, since) => since.or(Some(at)),
                (false, _) => None,
            };
        }
    }

    fn came_back(&mut self, took_ms: Millis, at: Timestamp) {
        let Status::RollingBack(rollback) = &self.status else {
            return;
        };
        // A person sent every host to this very bundle: that is no way back from it.
        let stayed = rollback.to == Some(self.digest);
        let rollback = Rollback {
            took_ms: Some(took_ms),
            ..rollback.clone()
        };
        self.status = if stayed {
            Status::Good
        } else {
            Status::RolledBack(rollback)
        };
        self.ended_at = Some(at);
    }

    fn judged(&mut self, wave: u32, verdict: &Verdict) {
        let Some(stage) = self.stages.last_mut() else {
            return;
        };
        match verdict {
            Verdict::Pass { .. } => {
                stage.passed = (wave as usize + 1).min(stage.waves.len());
                if let Status::Rolling { held } = &mut self.status {
                    *held = None;
                }
            }
            Verdict::Fail { .. } => stage.failed = true,
            Verdict::Insufficient { .. } => {}
        }
    }
}
