//! Proposing, following and turning back releases.
//!
//! Times are RFC 3339 in UTC, spans are integers of milliseconds, shares are thousandths.

use std::collections::BTreeMap;

use model::gate::Risk;
use model::{
    Bundle, Digest, EnvironmentName, Finding, GateLook, HostName, ReleaseId, ServiceName, Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApprovalView;

/// `POST /v1/releases`: proposes a change.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposeRequest {
    /// The bundle's manifest; its blobs were uploaded before.
    #[schema(value_type = Object)]
    pub bundle: Bundle,
    /// Why, in the author's words.
    pub message: String,
    /// The good bundle that the author saw; refused if another is good by now. Absent: not checked.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub base: Option<Digest>,
    /// The break-glass to use, one that two people agreed to.
    #[serde(default)]
    pub break_glass: Option<u64>,
}

/// Where a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// On its way through environments and waves.
    Rolling,
    /// On its way, but a person is asked: it could not be judged in time.
    Held,
    /// Through; a rollback target.
    Good,
    /// On its way back.
    RollingBack,
    /// Back everywhere it had been.
    RolledBack,
}

impl std::fmt::Display for ReleaseState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            ReleaseState::Rolling => "rolling",
            ReleaseState::Held => "held",
            ReleaseState::Good => "good",
            ReleaseState::RollingBack => "rolling back",
            ReleaseState::RolledBack => "rolled back",
        })
    }
}

/// One release, as people and programs see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseView {
    /// Its number.
    #[schema(value_type = u64)]
    pub id: ReleaseId,
    /// Of which service.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Of which bundle.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// What was good before it.
    #[schema(value_type = Option<String>)]
    pub base: Option<Digest>,
    /// Who proposed it.
    pub author: String,
    /// Why.
    pub message: String,
    /// Where it stands.
    pub state: ReleaseState,
    /// When it was proposed.
    pub proposed_at: Timestamp,
    /// When it became good or was back everywhere.
    pub ended_at: Option<Timestamp>,
    /// The environments it passes, in order.
    pub stages: Vec<StageView>,
    /// Whom it met.
    pub exposure: ExposureView,
    /// Why it doesn't go on at this moment, in one sentence.
    pub waiting: Option<String>,
    /// Why it was rolled back.
    pub rollback: Option<RollbackView>,
    /// What it passes on its way to production, in order.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub gates: Vec<GateLook>,
    /// High-risk options that it touches.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub risks: Vec<Risk>,
    /// What the checks warned of.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub warnings: Vec<Finding>,
    /// Who agreed.
    #[serde(default)]
    pub approvals: Vec<ApprovalView>,
    /// So many must.
    #[serde(default)]
    pub approvals_needed: u32,
    /// What an approval binds to, once the test has passed.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub binds: Option<Digest>,
    /// How long going back took when it was rehearsed.
    #[serde(default)]
    pub expected_rollback_ms: Option<u64>,
    /// The break-glass that it uses.
    #[serde(default)]
    pub break_glass: Option<u64>,
    /// The journal's position behind this view; changes when anything did.
    pub version: u64,
}

/// One environment on a release's way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StageView {
    /// Which.
    #[schema(value_type = String)]
    pub environment: EnvironmentName,
    /// Its waves.
    pub waves: Vec<WaveView>,
}

/// Where a wave stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaveState {
    /// Not begun.
    Pending,
    /// Its hosts are being changed.
    Applying,
    /// Its hosts run the bundle and are watched.
    Baking,
    /// Judged good.
    Passed,
    /// Judged bad.
    Failed,
}

/// One wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaveView {
    /// Where it stands.
    pub state: WaveState,
    /// The hosts that join.
    pub hosts: Vec<WaveHostView>,
    /// The new bundle's share of traffic, in thousandths.
    pub traffic_permille: u16,
    /// Since when it bakes.
    pub baking_since: Option<Timestamp>,
    /// How long it bakes at least.
    pub bake_ms: u64,
}

/// One host in a wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaveHostView {
    /// Which.
    #[schema(value_type = String)]
    pub host: HostName,
    /// `pending`, `ordered`, `confirmed`, `failed`, `reverting` or `reverted`.
    pub state: String,
}

/// Whom a release met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExposureView {
    /// Hosts that were ordered to it in the last environment (production).
    pub hosts: u32,
    /// Hosts of that environment.
    pub hosts_total: u32,
    /// Requests it answered there.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Customers who met it there.
    pub tenants: u64,
    /// Customers who had a request fail.
    pub tenants_hit: u64,
    /// Whether the numbers of customers are exact, else the least that there were: each
    /// gateway tells 100,000 of a bundle apart.
    #[serde(default = "yes")]
    pub tenants_exact: bool,
    /// Whether the numbers of requests are exact, else the least that there were: the control
    /// plane keeps a million pairs of gateway, bundle and customer.
    #[serde(default = "yes")]
    pub requests_exact: bool,
}

impl Default for ExposureView {
    fn default() -> ExposureView {
        ExposureView {
            hosts: 0,
            hosts_total: 0,
            requests: 0,
            failed: 0,
            tenants: 0,
            tenants_hit: 0,
            tenants_exact: true,
            requests_exact: true,
        }
    }
}

/// What an older control plane, which does not say it, takes for granted.
fn yes() -> bool {
    true
}

/// A rollback, under way or done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RollbackView {
    /// By whom.
    pub by: String,
    /// Why, in words.
    pub reason: String,
    /// The rule that decided, when no person did.
    pub rule: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, once every host was back.
    pub took_ms: Option<u64>,
    /// Hosts that are not back yet, and what is in the way.
    pub outstanding: BTreeMap<String, String>,
}

/// `POST /v1/rollbacks`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Of which service.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Which release to undo; absent: the one on its way, else the newest good one.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub release: Option<ReleaseId>,
    /// Which bundle to go to, one that was good; absent: each host's own last good.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub to: Option<Digest>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// The answer to a rollback.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RollbackAnswer {
    /// What it is about; absent when nothing had to be done.
    #[schema(value_type = Option<u64>)]
    pub release: Option<ReleaseId>,
    /// Hosts that were told to go back.
    pub hosts: u32,
    /// In words.
    pub detail: String,
}

/// `POST /v1/freezes` and `POST /v1/thaws`. With neither service nor environment: everything.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    /// This service alone.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub service: Option<ServiceName>,
    /// This environment alone: nothing new enters it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
    /// A freeze ends by itself then.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

/// `POST /v1/quarantine/lift`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LiftRequest {
    /// Of which service.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Which bundle.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// Why.
    pub reason: String,
}
