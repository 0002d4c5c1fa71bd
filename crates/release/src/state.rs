//! What is remembered of a release.

mod seen;

use std::collections::BTreeMap;

use model::gate::{Checked, Probe, StepResult, TestRecord, Trial};
use model::verdict::Evidence;
use model::{
    Actor, Digest, Envelope, EnvironmentName, Event, Exposure, HostName, Millis, ReleaseId,
    RollbackCause, Rule, ServiceName, Timestamp, Verdict, Wave,
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
    /// What the static checks found.
    #[serde(default)]
    pub checked: Checked,
    /// The break-glass that it uses.
    #[serde(default)]
    pub break_glass: Option<u64>,
    /// What gates saw so far.
    #[serde(default)]
    pub seen: Seen,
    /// The test's result, once everything before production was passed.
    #[serde(default)]
    pub tested: Option<Tested>,
    /// Who agreed.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// The signed test result.
    #[serde(default)]
    pub attestation: Option<Envelope>,
    /// Why it gets no requests, although it was not sent back; it waits for people.
    #[serde(default)]
    pub shifted: Option<String>,
}

/// What gates saw of a release so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// How often probes became too old and were asked for again.
    pub round: u32,
    /// Probes of the newest round, with when they came.
    pub probes: BTreeMap<HostName, (Timestamp, Vec<Probe>)>,
    /// Broken variants, by test host.
    pub trials: BTreeMap<HostName, (Timestamp, Vec<Trial>)>,
    /// Tasks that a host could not do, and why.
    pub broken: BTreeMap<String, String>,
    /// The way back and forth on a test host.
    pub rehearsal: Option<Rehearsal>,
}

/// A test host goes back and forth again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Which.
    pub host: HostName,
    /// When it began.
    pub began_at: Timestamp,
    /// Steps that ended.
    pub steps: Vec<StepResult>,
    /// When the newest step ended.
    pub stepped_at: Timestamp,
    /// Old files on new packages, and new files on old packages, once they are to be tried.
    pub mixed: Option<(Digest, Digest)>,
    /// Requests sent meanwhile, and of these failed.
    pub load: Option<(u64, u64)>,
}

/// A test's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    /// Everything it showed.
    pub record: TestRecord,
    /// When it ended, by the journal's clock.
    pub at: Timestamp,
    /// It counts until then.
    pub expires_at: Timestamp,
}

/// Somebody agreed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// To what.
    pub binds: Digest,
    /// In their words.
    pub note: String,
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

impl Rollback {
    /// Whether a verdict by this rule is its cause.
    pub fn blames(&self, wanted: Rule) -> bool {
        let RollbackCause::Verdict { verdict } = &self.cause else {
            return false;
        };
        matches!(verdict, Verdict::Fail { rule, .. } if *rule == wanted)
    }
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
    /// When the last wave passed.
    #[serde(default)]
    pub passed_at: Option<Timestamp>,
    /// A person passed one of its waves.
    #[serde(default)]
    pub continued: bool,
}

impl Stage {
    /// The wave that has begun and not passed.
    pub fn open_wave(&self) -> Option<&Wave> {
        let newest = self.begun.checked_sub(1)?;
        self.waves.get(newest).filter(|_| self.passed < self.begun)
    }

    /// How many hosts the waves that have begun hold.
    pub fn hosts_reached(&self) -> usize {
        let begun = self.waves.iter().take(self.begun);
        begun.map(|wave| wave.hosts.len()).sum()
    }
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
            checked,
            break_glass,
            bundle: _,
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
            checked: checked.clone(),
            break_glass: *break_glass,
            seen: Seen::default(),
            tested: None,
            approvals: Vec::new(),
            attestation: None,
            shifted: None,
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
                passed_at: None,
                continued: false,
            }),
            Event::WaveStarted { wave, .. } => {
                if let Some(stage) = self.stages.last_mut() {
                    stage.begun = (*wave as usize + 1).min(stage.waves.len());
                    stage.baking_since = None;
                    stage.wave_began_at = at;
                    stage.failed = false;
                }
                self.let_go();
            }
            Event::WaveJudged { wave, verdict, .. } => self.judged(*wave, verdict, at),
            Event::WaveHeld { needs, .. } => {
                if let Status::Rolling { held } = &mut self.status {
                    *held = Some(needs.clone());
                }
            }
            Event::WaveContinued { wave, .. } => self.continued(*wave, at),
            Event::ReleaseGood { exposure, .. } => {
                self.status = Status::Good;
                self.exposure = *exposure;
                self.ended_at = Some(at);
            }
            Event::RollbackStarted { .. } => self.turned_back(event, at),
            Event::RollbackCompleted { took_ms, .. } => self.came_back(*took_ms, at),
            Event::ReferencesProbed { .. }
            | Event::RecheckStarted { .. }
            | Event::HostileTried { .. }
            | Event::TaskBroken { .. }
            | Event::RehearsalStarted { .. }
            | Event::RehearsalStepped { .. }
            | Event::MatrixStarted { .. }
            | Event::LoadMeasured { .. }
            | Event::TestPassed { .. }
            | Event::Approved { .. }
            | Event::Attested { .. }
            | Event::TrafficShifted { .. }
            | Event::TrafficReturned { .. }
            | Event::Countersigned { .. } => self.saw(event, at),
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
            | Event::BreakGlassAsked { .. }
            | Event::BreakGlassConfirmed { .. }
            | Event::BreakGlassReviewed { .. }
            | Event::DigestQuarantined { .. }
            | Event::QuarantineLifted { .. }
            | Event::Frozen { .. }
            | Event::Thawed { .. }
            | Event::HostDrained { .. }
            | Event::HostUndrained { .. }
            | Event::RestartStarted { .. }
            | Event::RestartStopped { .. }
            | Event::RestartEnded { .. }
            | Event::RampSet { .. }
            | Event::Incident(_) => {}
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

    /// What was held is not any more.
    fn let_go(&mut self) {
        if let Status::Rolling { held } = &mut self.status {
            *held = None;
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

    fn continued(&mut self, wave: u32, at: Timestamp) {
        let verdict = Verdict::Pass {
            evidence: Evidence::default(),
        };
        self.judged(wave, &verdict, at);
        if let Some(stage) = self.stages.last_mut() {
            stage.continued = true;
        }
    }

    fn judged(&mut self, wave: u32, verdict: &Verdict, at: Timestamp) {
        let Some(stage) = self.stages.last_mut() else {
            return;
        };
        match verdict {
            Verdict::Pass { .. } => {
                // Never more than began, whatever a journal says.
                stage.passed = (wave as usize + 1).min(stage.begun);
                stage.failed = false;
                if stage.passed == stage.waves.len() {
                    stage.passed_at = Some(at);
                }
                self.let_go();
            }
            Verdict::Fail { .. } => stage.failed = true,
            Verdict::Insufficient { .. } => {}
        }
    }
}
