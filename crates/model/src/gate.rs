//! What a change must pass before production, and what was found on the way.
//!
//! Invariant: what is demanded ([`CheckSet`]) is declared with the topology by
//! operators, never by the author of a change; its digest is part of what an
//! attestation says, so a test under other rules counts for nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    BundlePath, Digest, EnvironmentName, HostName, Millis, Permille, Timestamp, canonical,
};

/// Most bytes of all schemas and policies of one service: they travel in one event.
pub const CHECK_SET_BYTES_MAX: usize = 1 << 20;
/// Most findings that are told at once; the rest is counted.
pub const FINDINGS_MAX: usize = 200;

/// Everything that is demanded of a service's changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckSet {
    /// JSON Schemas (draft 2020-12, as JSON text) by the path pattern of the files they hold for.
    pub schemas: BTreeMap<String, String>,
    /// Rules over the new and the old document.
    pub policies: Vec<Policy>,
    /// Limits of size and change.
    pub guards: Vec<Guard>,
    /// Where documents name other services (beside `x-plimsoll-reference` in schemas).
    pub references: Vec<ReferenceRule>,
    /// Options that need a second person (beside `x-plimsoll-risk` in schemas).
    pub risks: Vec<RiskRule>,
    /// Where probes may go: `host`, `*.domain`, `address/bits`, each with `:port` or without. Absent: anywhere but link-local.
    pub egress: Option<Vec<String>>,
    /// Pointer patterns at which a literal may look like a secret.
    pub literals: Vec<String>,
    /// Apply, revert, apply in the last environment before production.
    pub rehearsal: RehearsalPlan,
    /// Broken variants of the documents are given to the bundle's own check.
    pub hostile: bool,
    /// Old files on new packages and the reverse, when both change.
    pub matrix: Demand,
    /// So many people other than the author approve a high-risk change.
    pub approvals: u32,
    /// A test result counts for so long.
    pub attestation_valid_ms: Millis,
}

impl Default for CheckSet {
    fn default() -> Self {
        CheckSet {
            schemas: BTreeMap::new(),
            policies: Vec::new(),
            guards: Vec::new(),
            references: Vec::new(),
            risks: Vec::new(),
            egress: None,
            literals: Vec::new(),
            rehearsal: RehearsalPlan::default(),
            hostile: true,
            matrix: Demand::Tell,
            approvals: 1,
            attestation_valid_ms: Millis::seconds(24 * 3600),
        }
    }
}

impl CheckSet {
    /// The rules' identity: BLAKE3 over their canonical encoding.
    pub fn digest(&self) -> Digest {
        canonical::digest(self).unwrap_or_else(|error| unreachable!("check set encodes: {error}"))
    }
}

/// What a policy or a mixed test leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// Not done at all.
    Off,
    /// Shown, and nothing else.
    Tell,
    /// Stops the change.
    Require,
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Shown.
    Warn,
    /// The change needs other people's approval.
    Risk,
    /// The change is refused.
    Deny,
}

/// A rule in CEL. When `when` is true, it bites.
///
/// Variables: `new` and `old` (the document as a map; `old` is null when there
/// is none), `file` (its path), `service`, `packages` and `old_packages` (name to version).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name, unique within the service.
    pub name: String,
    /// Path pattern of the documents it looks at; absent: once for the whole bundle, without `new` and `old`.
    #[serde(default)]
    pub file: Option<String>,
    /// The CEL expression, of type bool.
    pub when: String,
    /// What follows.
    pub severity: Severity,
    /// What to tell people.
    pub message: String,
}

/// Limits for files against the bundle that is good now. What is absent is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Path pattern.
    pub file: String,
    /// Most bytes.
    pub size_bytes_max: Option<u64>,
    /// Most that the file may shrink, in thousandths of its old size.
    pub shrink_permille_max: Option<Permille>,
    /// Most that the file may grow, in percent of its old size (200: to three times).
    pub growth_percent_max: Option<u64>,
    /// Pointer pattern of a list or map whose entries are counted; for CSV and other line files leave it out: lines count.
    pub rows_at: Option<String>,
    /// Fewest rows.
    pub rows_min: Option<u64>,
    /// Most rows.
    pub rows_max: Option<u64>,
    /// Most that the number of rows may shrink, in thousandths.
    pub rows_shrink_permille_max: Option<Permille>,
    /// Pointer patterns of fields that may neither vanish nor become empty once they were not.
    pub keep: Vec<String>,
}

/// What kind of thing a reference points to, and so what a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReferenceKind {
    /// A connection is accepted.
    Tcp,
    /// A TLS handshake with a certificate that is valid, trusted and of that name.
    Tls,
    /// The name resolves.
    Dns,
    /// A GET is answered, with the expected status if one is named.
    Http,
    /// A PostgreSQL server answers the start of a session.
    Postgres,
    /// A file on the host can be read.
    File,
}

impl std::fmt::Display for ReferenceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            ReferenceKind::Tcp => "tcp",
            ReferenceKind::Tls => "tls",
            ReferenceKind::Dns => "dns",
            ReferenceKind::Http => "http",
            ReferenceKind::Postgres => "postgres",
            ReferenceKind::File => "file",
        })
    }
}

/// Where documents name other services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceRule {
    /// Path pattern of the documents.
    pub file: String,
    /// Pointer pattern of the fields: `/auth/*/address`.
    pub at: String,
    /// What is there.
    pub kind: ReferenceKind,
    /// From which environments it is used; empty: all. `*` is the pointer's first `*`.
    #[serde(default)]
    pub from: Vec<String>,
    /// For `http`: what is asked, when the field holds only `host:port` or a base URL.
    #[serde(default)]
    pub path: Option<String>,
    /// For `http`: the one good status; absent: any below 500.
    #[serde(default)]
    pub status: Option<u16>,
    /// Each probe gives up after this long.
    #[serde(default = "probe_deadline")]
    pub deadline_ms: Millis,
}

/// Longer than any healthy neighbour takes, shorter than a person's patience.
pub fn probe_deadline() -> Millis {
    Millis::seconds(3)
}

/// Options that need a second person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiskRule {
    /// Path pattern of the documents.
    pub file: String,
    /// Pointer pattern of the options; everything below counts.
    pub at: String,
    /// Why, for people.
    pub why: String,
}

/// How the way back is tried before production depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RehearsalPlan {
    /// It is not done.
    pub off: bool,
    /// Requests that the test host gets meanwhile.
    pub load: Option<LoadPlan>,
    /// Going back may take at most this long; absent: as long as the order allows.
    pub revert_within_ms: Option<Millis>,
}

/// Requests at a steady rate, whether or not they are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPlan {
    /// `http://${address}/…`, with the texts of [`crate::HealthProbe`].
    pub url: String,
    /// Requests each second.
    pub rate_per_s: u32,
}

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
