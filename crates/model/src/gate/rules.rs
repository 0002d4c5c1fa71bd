//! What operators demand of a service's changes.
//!
//! Invariant: two check sets of one digest demand the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Millis, Permille, canonical};

/// Most bytes of all schemas and policies of one service: they travel in one event.
pub const CHECK_SET_BYTES_MAX: usize = 1 << 20;
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
    /// ed25519 public keys, 64 hex digits each: one of them must have signed a
    /// test result besides the control plane; none: the control plane's signature is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub countersigners: Vec<String>,
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
            countersigners: Vec::new(),
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
