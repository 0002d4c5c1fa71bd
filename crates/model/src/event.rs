//! What the journal holds: facts, in the past tense.
//!
//! An event that was once written must be readable for ever: variants and
//! fields are added with defaults, never renamed or removed (see
//! `docs/journal-format.md`).

use serde::{Deserialize, Serialize};

use crate::attest::{Envelope, EnvelopeSignature};
use crate::gate::{Checked, Gate, Probe, StepResult, TestRecord, Trial};
use crate::incident::IncidentEvent;
use crate::judged::Explanation;
use crate::traffic::{DrainCause, RestartId};
use crate::{
    Bundle, Digest, EnvironmentName, Exposure, Generation, HostName, Millis, Order, Permille,
    Phase, ReleaseId, Role, ServiceName, Timestamp, TokenId, Topology, Verdict,
};

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The token's name, or the machine's.
    pub name: String,
    /// What that token may do; absent for the control plane itself.
    #[serde(default)]
    pub role: Option<Role>,
}

impl Actor {
    /// The control plane, acting on its own verdict.
    pub fn plimsoll() -> Actor {
        Actor {
            name: "plimsoll".into(),
            role: None,
        }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.name)
    }
}

/// What a freeze covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "scope", content = "service", rename_all = "lowercase")]
pub enum Scope {
    /// Every service.
    Everything,
    /// One service.
    Service(ServiceName),
    /// One environment: nothing new enters it.
    Environment(EnvironmentName),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Everything => f.pad("everything"),
            Scope::Service(service) => service.fmt(f),
            Scope::Environment(environment) => environment.fmt(f),
        }
    }
}

/// One wave of a release, fixed when its stage starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Hosts that join in this wave.
    pub hosts: Vec<HostName>,
    /// The new bundle's share of the environment's traffic once they have.
    pub traffic_permille: Permille,
}

/// Why a rollback began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum RollbackCause {
    /// A wave failed its verdict.
    Verdict {
        /// What was said of it.
        verdict: Verdict,
    },
    /// A person asked.
    Person {
        /// In their words.
        reason: String,
    },
}

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The fleet was declared.
    TopologySet { by: Actor, topology: Topology },
    /// A token was made; only its hash is known here.
    TokenIssued {
        by: Actor,
        token: TokenId,
        name: String,
        role: Role,
        hash: Digest,
    },
    /// A token is void from now on.
    TokenRevoked { by: Actor, token: TokenId },
    /// One host may enrol with this token, once.
    JoinTokenIssued {
        by: Actor,
        token: TokenId,
        host: HostName,
        hash: Digest,
        expires_at: Timestamp,
    },
    /// A host's agent joined with its own key.
    HostEnrolled {
        host: HostName,
        token: TokenId,
        /// ed25519 public key, 64 hex digits.
        public_key: String,
        /// Where other agents can ask it about the control plane.
        peer_address: String,
        /// What it runs, by service: generation 0, adopted from disk.
        adopted: Vec<(ServiceName, Digest)>,
        /// The highest generation it remembers from an earlier life.
        fence: Generation,
    },
    /// Somebody proposed a change: a release begins.
    ReleaseProposed {
        release: ReleaseId,
        service: ServiceName,
        digest: Digest,
        bundle: Bundle,
        /// What the fleet's good bundle was at that time.
        base: Option<Digest>,
        author: Actor,
        message: String,
        /// What the static checks found.
        #[serde(default)]
        checked: Checked,
        /// The break-glass that it uses.
        #[serde(default)]
        break_glass: Option<u64>,
    },
    /// The release enters an environment, with its waves drawn up.
    StageStarted {
        release: ReleaseId,
        environment: EnvironmentName,
        waves: Vec<Wave>,
        /// That it passed its test; the last environment is not opened without.
        #[serde(default)]
        attestation: Option<Envelope>,
    },
    /// A host of the release probed what its documents name.
    ReferencesProbed {
        release: ReleaseId,
        host: HostName,
        /// Counts up when probes became too old and were asked for again.
        round: u32,
        probes: Vec<Probe>,
    },
    /// A test host gave broken variants to the bundle's own check.
    HostileTried {
        release: ReleaseId,
        host: HostName,
        trials: Vec<Trial>,
    },
    /// A test host is about to go back and forth again.
    RehearsalStarted { release: ReleaseId, host: HostName },
    /// A step of that ended.
    RehearsalStepped {
        release: ReleaseId,
        host: HostName,
        #[serde(flatten)]
        result: StepResult,
    },
    /// Old files on new packages and the reverse will be tried there.
    MatrixStarted {
        release: ReleaseId,
        host: HostName,
        old_files: Bundle,
        old_packages: Bundle,
    },
    /// The load of a rehearsal has ended.
    LoadMeasured {
        release: ReleaseId,
        host: HostName,
        requests: u64,
        failed: u64,
    },
    /// A host could not do what a gate needs.
    TaskBroken {
        release: ReleaseId,
        host: HostName,
        task: String,
        reason: String,
    },
    /// Everything before production was passed.
    TestPassed {
        release: ReleaseId,
        record: TestRecord,
        /// The test counts until then.
        expires_at: Timestamp,
    },
    /// Somebody other than the author agrees to a high-risk change, and with it to every way back from it.
    Approved {
        release: ReleaseId,
        by: Actor,
        /// Digest over bundle, base, plan and evidence: any change voids the approval.
        binds: Digest,
        note: String,
    },
    /// The control plane signed that the bundle passed its test.
    Attested {
        release: ReleaseId,
        envelope: Envelope,
    },
    /// Somebody whose key the control plane doesn't hold signed it as well.
    Countersigned {
        release: ReleaseId,
        /// Who brought the signature.
        by: Actor,
        signature: EnvelopeSignature,
    },
    /// Probes are too old to count; they are made again.
    RecheckStarted { release: ReleaseId, reason: String },
    /// Somebody wants to go past gates in an emergency.
    BreakGlassAsked {
        id: u64,
        by: Actor,
        service: ServiceName,
        /// What is left out. Never the static checks, health in test, or the attestation.
        gates: Vec<Gate>,
        reason: String,
        expires_at: Timestamp,
    },
    /// A second person agrees.
    BreakGlassConfirmed { id: u64, by: Actor },
    /// Somebody looked at it afterwards.
    BreakGlassReviewed { id: u64, by: Actor, words: String },
    /// The next wave begins (numbered from 0).
    WaveStarted {
        release: ReleaseId,
        environment: EnvironmentName,
        wave: u32,
    },
    /// A host is told what to run.
    HostOrdered { order: Order },
    /// A host runs what it was told, is healthy, and said so over a fresh connection.
    HostConfirmed {
        host: HostName,
        service: ServiceName,
        generation: Generation,
        digest: Digest,
    },
    /// A host did not do what it was told; what it runs instead.
    HostFailed {
        host: HostName,
        service: ServiceName,
        generation: Generation,
        phase: Phase,
        reason: String,
        running: Digest,
        /// The host's report number.
        report: u64,
    },
    /// A host can't find its way back yet.
    HostRevertFailing {
        host: HostName,
        service: ServiceName,
        generation: Generation,
        phase: Phase,
        reason: String,
        tries: u32,
        report: u64,
    },
    /// A host keeps a healthy new bundle because the control plane was gone for everybody.
    HostHeld {
        host: HostName,
        service: ServiceName,
        generation: Generation,
        report: u64,
    },
    /// A confirmed service on a host changed its health.
    HostHealthChanged {
        host: HostName,
        service: ServiceName,
        generation: Generation,
        healthy: bool,
        reason: String,
        report: u64,
    },
    /// A wave was judged, with the counts that decided.
    WaveJudged {
        release: ReleaseId,
        environment: EnvironmentName,
        wave: u32,
        verdict: Verdict,
        exposure: Exposure,
        /// How the judge came to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        explanation: Option<Box<Explanation>>,
    },
    /// A wave could not be judged in time, or must not be reverted by a machine; people are asked.
    WaveHeld {
        release: ReleaseId,
        environment: EnvironmentName,
        wave: u32,
        needs: String,
        /// How it stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        explanation: Option<Box<Explanation>>,
    },
    /// A person passed a held wave.
    WaveContinued {
        release: ReleaseId,
        environment: EnvironmentName,
        wave: u32,
        by: Actor,
        reason: String,
        exposure: Exposure,
        /// What was known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        explanation: Option<Box<Explanation>>,
    },
    /// The last bake ended: a rollback target from now on.
    ReleaseGood {
        release: ReleaseId,
        exposure: Exposure,
    },
    /// The way back begins for every host that the release reached.
    RollbackStarted {
        release: ReleaseId,
        service: ServiceName,
        by: Actor,
        #[serde(flatten)]
        cause: RollbackCause,
        /// One target for all, when a person named it; else each host goes to its own last good.
        to: Option<Digest>,
        exposure: Exposure,
    },
    /// Every reached host is back.
    RollbackCompleted { release: ReleaseId, took_ms: Millis },
    /// This content may not be proposed again until a person says so.
    DigestQuarantined {
        service: ServiceName,
        digest: Digest,
        release: ReleaseId,
    },
    /// It may.
    QuarantineLifted {
        by: Actor,
        service: ServiceName,
        digest: Digest,
        reason: String,
    },
    /// No release goes forward here.
    Frozen {
        by: Actor,
        scope: Scope,
        reason: String,
        /// It ends by itself then.
        #[serde(default)]
        until: Option<Timestamp>,
    },
    /// It may again.
    Thawed {
        by: Actor,
        scope: Scope,
        reason: String,
    },
    /// Something about alerts, incidents, on-call or pages.
    Incident(IncidentEvent),
    /// Gateways send a host no new requests of a service; what it works on goes on.
    HostDrained {
        host: HostName,
        service: ServiceName,
        #[serde(flatten)]
        cause: DrainCause,
    },
    /// They do again.
    HostUndrained {
        host: HostName,
        service: ServiceName,
        by: Actor,
        reason: String,
    },
    /// The hosts of a service are restarted, in this order.
    RestartStarted {
        restart: RestartId,
        by: Actor,
        service: ServiceName,
        environment: EnvironmentName,
        hosts: Vec<HostName>,
        /// So many at a time at most.
        parallel: u32,
        /// So many of the environment's hosts serve meanwhile at least.
        floor_permille: Permille,
        reason: String,
    },
    /// No more hosts are restarted.
    RestartStopped {
        restart: RestartId,
        by: Actor,
        reason: String,
    },
    /// All of them are back.
    RestartEnded { restart: RestartId, took_ms: Millis },
    /// A rolling release gets no more requests in any wave, and waits for people.
    TrafficShifted {
        release: ReleaseId,
        service: ServiceName,
        digest: Digest,
        by: Actor,
        reason: String,
    },
    /// It gets them again, and goes on.
    TrafficReturned {
        release: ReleaseId,
        by: Actor,
        reason: String,
    },
    /// So many tenants are let in; the others are told to come back.
    RampSet {
        service: ServiceName,
        environment: EnvironmentName,
        by: Actor,
        open: Permille,
        /// It stays so until a person says otherwise.
        #[serde(default)]
        hold: bool,
        reason: String,
    },
}

impl Event {
    /// The variant's name on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::TopologySet { .. } => "topology_set",
            Event::TokenIssued { .. } => "token_issued",
            Event::TokenRevoked { .. } => "token_revoked",
            Event::JoinTokenIssued { .. } => "join_token_issued",
            Event::HostEnrolled { .. } => "host_enrolled",
            Event::ReleaseProposed { .. } => "release_proposed",
            Event::StageStarted { .. } => "stage_started",
            Event::ReferencesProbed { .. } => "references_probed",
            Event::HostileTried { .. } => "hostile_tried",
            Event::RehearsalStarted { .. } => "rehearsal_started",
            Event::RehearsalStepped { .. } => "rehearsal_stepped",
            Event::MatrixStarted { .. } => "matrix_started",
            Event::LoadMeasured { .. } => "load_measured",
            Event::TaskBroken { .. } => "task_broken",
            Event::TestPassed { .. } => "test_passed",
            Event::Approved { .. } => "approved",
            Event::Attested { .. } => "attested",
            Event::Countersigned { .. } => "countersigned",
            Event::RecheckStarted { .. } => "recheck_started",
            Event::BreakGlassAsked { .. } => "break_glass_asked",
            Event::BreakGlassConfirmed { .. } => "break_glass_confirmed",
            Event::BreakGlassReviewed { .. } => "break_glass_reviewed",
            Event::WaveStarted { .. } => "wave_started",
            Event::HostOrdered { .. } => "host_ordered",
            Event::HostConfirmed { .. } => "host_confirmed",
            Event::HostFailed { .. } => "host_failed",
            Event::HostRevertFailing { .. } => "host_revert_failing",
            Event::HostHeld { .. } => "host_held",
            Event::HostHealthChanged { .. } => "host_health_changed",
            Event::WaveJudged { .. } => "wave_judged",
            Event::WaveHeld { .. } => "wave_held",
            Event::WaveContinued { .. } => "wave_continued",
            Event::ReleaseGood { .. } => "release_good",
            Event::RollbackStarted { .. } => "rollback_started",
            Event::RollbackCompleted { .. } => "rollback_completed",
            Event::DigestQuarantined { .. } => "digest_quarantined",
            Event::QuarantineLifted { .. } => "quarantine_lifted",
            Event::Frozen { .. } => "frozen",
            Event::Thawed { .. } => "thawed",
            Event::Incident(_) => "incident",
            Event::HostDrained { .. } => "host_drained",
            Event::HostUndrained { .. } => "host_undrained",
            Event::RestartStarted { .. } => "restart_started",
            Event::RestartStopped { .. } => "restart_stopped",
            Event::RestartEnded { .. } => "restart_ended",
            Event::TrafficShifted { .. } => "traffic_shifted",
            Event::TrafficReturned { .. } => "traffic_returned",
            Event::RampSet { .. } => "ramp_set",
        }
    }
}
