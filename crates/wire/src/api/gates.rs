//! What a change must pass: checks, approvals, attestations, break-glass.
//!
//! Invariant: no request here can carry a result; results come from the control
//! plane's own checks and from hosts that were asked.

use model::gate::{Reference, Risk, TestRecord};
use model::{Bundle, Digest, Envelope, Finding, Gate, GateLook, ReleaseId, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PlanView;

/// `POST /v1/checks`: everything that can be said of a change before any host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// The bundle's manifest; its blobs were uploaded before.
    #[schema(value_type = Object)]
    pub bundle: Bundle,
}

/// The answer: findings of every severity; nothing was proposed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckAnswer {
    /// The bundle.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// What it was compared with.
    #[schema(value_type = Option<String>)]
    pub base: Option<Digest>,
    /// The rules that the control plane holds.
    #[schema(value_type = String)]
    pub check_set: Digest,
    /// What was found: schema, policies, guards, secrets, compatibility.
    #[schema(value_type = Vec<Object>)]
    pub findings: Vec<Finding>,
    /// What would be probed, and from where.
    #[schema(value_type = Vec<Object>)]
    pub references: Vec<Reference>,
    /// High-risk options that it touches.
    #[schema(value_type = Vec<Object>)]
    pub risks: Vec<Risk>,
    /// The gates as far as they can be told.
    #[schema(value_type = Vec<Object>)]
    pub gates: Vec<GateLook>,
    /// People other than the author who must agree.
    pub approvals_needed: u32,
    /// What its plan can see, from the service's own traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanView>,
}

/// `POST /v1/releases/ID/countersignatures`: a signature over the attestation by a key that the rules name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CountersignRequest {
    /// The public key, 64 hex digits.
    pub keyid: String,
    /// 128 hex digits, over the envelope's payload in DSSE's pre-authentication encoding.
    pub sig: String,
}

/// `POST /v1/approvals`: somebody other than the author agrees to a high-risk change.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// Which release.
    #[schema(value_type = u64)]
    pub release: ReleaseId,
    /// What was looked at ([`super::ReleaseView::binds`]); refused if it is another by now.
    #[schema(value_type = String)]
    pub binds: Digest,
    /// In their words.
    #[serde(default)]
    pub note: String,
}

/// One approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalView {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// In their words.
    pub note: String,
}

/// `GET /v1/releases/ID/attestation`: the signed fact, and what is needed to check it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttestationAnswer {
    /// DSSE around an in-toto statement.
    #[schema(value_type = Object)]
    pub envelope: Envelope,
    /// The control plane's key, 64 hex digits. Compare it with the one that your hosts pinned.
    pub control_key: String,
    /// The evidence; its digest is in the statement.
    #[schema(value_type = Object)]
    pub record: TestRecord,
    /// Why it counts no longer; absent: it does.
    pub void: Option<String>,
}

/// `POST /v1/break-glass`: asks to go past gates in an emergency. A second person must agree.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassRequest {
    /// For this service alone.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Which gates are left out: rehearsal, matrix, hostile, references, approval, freeze.
    #[schema(value_type = Vec<String>)]
    pub gates: Vec<Gate>,
    /// Why.
    pub reason: String,
    /// Void after this long; at most a day.
    #[serde(default = "default_break_glass_s")]
    pub valid_s: u64,
}

fn default_break_glass_s() -> u64 {
    3600
}

/// `POST /v1/break-glass/ID/review`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewRequest {
    /// What was found when somebody looked at it afterwards.
    pub words: String,
}

/// A break-glass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BreakGlassView {
    /// Its number.
    pub id: u64,
    /// For which service.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Which gates.
    #[schema(value_type = Vec<String>)]
    pub gates: Vec<Gate>,
    /// Why.
    pub reason: String,
    /// Who asked.
    pub asked_by: String,
    /// Who agreed.
    pub confirmed_by: Option<String>,
    /// Void from then on.
    pub expires_at: Timestamp,
    /// Releases that used it.
    #[schema(value_type = Vec<u64>)]
    pub used_by: Vec<ReleaseId>,
    /// Who looked at it afterwards.
    pub reviewed_by: Option<String>,
}
