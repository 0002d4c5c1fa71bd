//! What a change must pass before production, and what was found on the way.
//!
//! Invariant: what is demanded ([`CheckSet`]) is declared with the topology by
//! operators, never by the author of a change; its digest is part of what an
//! attestation says, so a test under other rules counts for nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{BundlePath, Digest, EnvironmentName, HostName, Millis, Timestamp, canonical};

mod rules;

pub use rules::{
    CHECK_SET_BYTES_MAX, CheckSet, Demand, Guard, LoadPlan, Policy, ReferenceKind, ReferenceRule,
    RehearsalPlan, RiskRule, Severity, probe_deadline,
};

/// Most findings that are told at once; the rest is counted.
pub const FINDINGS_MAX: usize = 200;

/// Something that was found in a change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// Which gate found it.
    pub gate: Gate,
    /// How serious it is.
    pub severity: Severity,
    /// Path in the bundle; absent: it is about the bundle as a whole.
    #[serde(default)]
    pub file: Option<String>,
    /// From 1; 0 without a place.
    #[serde(default)]
    pub line: u32,
    /// From 1, in characters; 0 without a place.
    #[serde(default)]
    pub column: u32,
    /// What is wrong, in one line (compatibility: in several).
    pub message: String,
    /// What to do, in one line.
    #[serde(default)]
    pub help: Option<String>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if self.line > 0 {
                write!(f, "{}:{}:", self.line, self.column)?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

/// What a change passes on its way to production, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// Schema, policies, guards, secrets.
    Checks,
    /// What is deployed goes with it.
    Compatibility,
    /// Applied in the test environment, healthy, baked.
    Test,
    /// Applied, taken back and applied again.
    Rehearsal,
    /// Old files on new packages, and the reverse.
    Matrix,
    /// Broken variants are refused by the bundle's own check.
    Hostile,
    /// What it names answers, from where it will be used.
    References,
    /// Other people agree to a high-risk change.
    Approval,
    /// Releases are not frozen.
    Freeze,
    /// All of that is signed and still holds.
    Attestation,
}

impl Gate {
    /// Every gate, in order.
    pub const ALL: &'static [Gate] = &[
        Gate::Checks,
        Gate::Compatibility,
        Gate::Test,
        Gate::Rehearsal,
        Gate::Matrix,
        Gate::Hostile,
        Gate::References,
        Gate::Approval,
        Gate::Freeze,
        Gate::Attestation,
    ];

    /// As written on the wire and by people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Gate::Checks => "checks",
            Gate::Compatibility => "compatibility",
            Gate::Test => "test",
            Gate::Rehearsal => "rehearsal",
            Gate::Matrix => "matrix",
            Gate::Hostile => "hostile",
            Gate::References => "references",
            Gate::Approval => "approval",
            Gate::Freeze => "freeze",
            Gate::Attestation => "attestation",
        }
    }
}

impl std::fmt::Display for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a change stands at one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateState {
    /// Its turn has not come.
    Pending,
    /// Under way.
    Running,
    /// Waits for people, or for a time.
    Waiting,
    /// Passed.
    Passed,
    /// Not passed: the change goes no further.
    Failed,
    /// Left out by a break-glass.
    Waived,
    /// Not demanded of this service or change.
    Off,
}

impl std::fmt::Display for GateState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            GateState::Pending => "pending",
            GateState::Running => "running",
            GateState::Waiting => "waiting",
            GateState::Passed => "passed",
            GateState::Failed => "failed",
            GateState::Waived => "waived",
            GateState::Off => "off",
        })
    }
}

/// One line of a release's checklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateLook {
    /// Which gate.
    pub gate: Gate,
    /// Where the change stands at it.
    pub state: GateState,
    /// Evidence, or what is in the way, in one sentence.
    pub detail: String,
    /// When it began.
    #[serde(default)]
    pub began_at: Option<Timestamp>,
    /// When it was passed or failed.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
}

/// A place in a document that names something else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    /// Which document.
    pub file: BundlePath,
    /// JSON pointer (RFC 6901) of the field.
    pub at: String,
    /// From 1.
    pub line: u32,
    /// What is there.
    pub kind: ReferenceKind,
    /// What a probe asks: `host:port`, a name, a URL, a connection string without its password, a path.
    pub target: String,
    /// From which environments it is used; empty: all.
    pub from: Vec<EnvironmentName>,
    /// For `http`: the one good status; absent: any below 500.
    #[serde(default)]
    pub status: Option<u16>,
    /// The probe gives up after this long.
    pub deadline_ms: Millis,
}

impl Reference {
    /// Whether hosts of `environment` use it.
    pub fn used_in(&self, environment: &EnvironmentName) -> bool {
        self.from.is_empty() || self.from.contains(environment)
    }
}

/// A high-risk option that a change touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Risk {
    /// Which document; absent: a policy over the whole bundle.
    pub file: Option<BundlePath>,
    /// JSON pointer of the option; empty for a policy over the whole document.
    pub at: String,
    /// Why it is high-risk.
    pub why: String,
    /// What it was, cut short; absent when it was not there. Secrets are never literals.
    pub before: Option<String>,
    /// What it becomes.
    pub after: Option<String>,
}

/// What the static checks of a proposed change found; part of its proposal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Checked {
    /// Under which rules.
    pub check_set: Option<Digest>,
    /// Warnings only: anything worse was refused.
    pub warnings: Vec<Finding>,
    /// To be probed.
    pub references: Vec<Reference>,
    /// To be approved.
    pub risks: Vec<Risk>,
    /// Documents for which the bundle's own check must refuse broken variants.
    pub hostile: Vec<BundlePath>,
}

/// What one probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeVerdict {
    /// As it should be.
    Answers,
    /// Nobody answers within the deadline: packets vanish, or the peer says nothing.
    NoAnswer,
    /// The connection is refused: nothing listens there.
    Refused,
    /// No route, or the network said no.
    Unreachable,
    /// The name does not exist.
    NameUnknown,
    /// The certificate is another name's.
    WrongName,
    /// The certificate is expired, or not valid yet.
    CertificateExpired,
    /// The certificate's issuer is not trusted here.
    Untrusted,
    /// It answered with another status.
    WrongStatus,
    /// It answered with something else than the protocol.
    WrongProtocol,
    /// The file is missing or can't be read.
    NoFile,
    /// Outside the allow-list: it was not asked.
    NotAllowed,
    /// The target can't be understood.
    Malformed,
    /// The machine that should have asked could not: it has no sockets left.
    NotAsked,
}

/// One probe of one reference from one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Which reference, as its place in [`Checked::references`].
    pub reference: u32,
    /// What was found.
    pub verdict: ProbeVerdict,
    /// How long it took.
    pub latency_ms: Millis,
    /// In words, with the target's own.
    pub detail: String,
}

/// What became of one broken variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which document.
    pub file: BundlePath,
    /// What was done to it: "blank", "without /auth", "/limits/threads = 9007199254740993".
    pub variant: String,
    /// Whether the check did what it must: refuse a blank or incomplete one, end by itself on any.
    pub ok: bool,
    /// What it did: "refused (exit 1)", "accepted", "killed by signal 11", "no end within 10 s".
    pub detail: String,
    /// How long it took.
    pub took_ms: Millis,
}

/// One step of a rehearsal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RehearsalStep {
    /// Back to what was good, to the byte and healthy.
    Revert,
    /// To the new bundle again.
    Reapply,
    /// Old files on new packages.
    OldFiles,
    /// New files on old packages.
    OldPackages,
    /// To the new bundle after the mixed ones.
    Restore,
}

impl std::fmt::Display for RehearsalStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            RehearsalStep::Revert => "revert",
            RehearsalStep::Reapply => "apply again",
            RehearsalStep::OldFiles => "old files on new packages",
            RehearsalStep::OldPackages => "new files on old packages",
            RehearsalStep::Restore => "back to the new bundle",
        })
    }
}

/// How one step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    /// Which.
    pub step: RehearsalStep,
    /// From the order until the host had confirmed it.
    pub took_ms: Millis,
    /// Why it failed; absent: it did not.
    #[serde(default)]
    pub failure: Option<String>,
}

/// Everything that a test showed; its digest is what approvals and the attestation bind to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestRecord {
    /// The bundle's digest.
    pub digest: Digest,
    /// What was good when it was tested.
    pub base: Option<Digest>,
    /// Under which rules.
    pub check_set: Digest,
    /// The test environments as they were: hosts, zones, classes.
    pub environment: Digest,
    /// The hosts that ran it.
    pub hosts: Vec<HostName>,
    /// The rehearsal's host and steps; empty when it is off.
    pub rehearsal: Vec<StepResult>,
    /// Requests sent meanwhile, and of these failed.
    #[serde(default)]
    pub load: Option<(u64, u64)>,
    /// Broken variants.
    pub trials: Vec<Trial>,
    /// Probes, by host.
    pub probes: BTreeMap<HostName, Vec<Probe>>,
    /// Gates that a break-glass left out.
    #[serde(default)]
    pub waived: Vec<Gate>,
    /// When the test ended.
    pub ended_at: Timestamp,
}

impl TestRecord {
    /// The record's identity.
    pub fn digest(&self) -> Digest {
        canonical::digest(self).unwrap_or_else(|error| unreachable!("record encodes: {error}"))
    }

    /// What an approval binds to: bundle (with its plan), base, rules and evidence.
    pub fn binds(&self) -> Digest {
        let bound = (self.digest, self.base, self.check_set, self.digest());
        canonical::digest(&bound).unwrap_or_else(|error| unreachable!("digests encode: {error}"))
    }

    /// How long going back took when it was tried.
    pub fn revert_ms(&self) -> Option<Millis> {
        let reverts = self
            .rehearsal
            .iter()
            .filter(|step| step.step == RehearsalStep::Revert);
        reverts.map(|step| step.took_ms).max()
    }
}
