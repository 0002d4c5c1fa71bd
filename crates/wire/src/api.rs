//! Requests and answers of the HTTP API under `/v1`. The OpenAPI document is made from these.
//!
//! Times are RFC 3339 in UTC, spans are integers of milliseconds, shares are thousandths.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use model::gate::{Reference, Risk, TestRecord};
use model::{
    Bundle, Digest, Envelope, EnvironmentName, Finding, Gate, GateLook, Generation, HostName,
    ReleaseId, Report, Role, ServiceName, TaskResult, TenantName, Timestamp, ZoneName,
};

/// A refusal or error, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `https://plimsoll.dev/errors/CODE`-like reference: `docs/errors/CODE.md`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The code, stable for programs.
    pub code: String,
    /// HTTP status.
    pub status: u16,
    /// What happened.
    pub detail: String,
    /// What to do next.
    pub next: String,
    /// Each thing that was found, when a check says no.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub findings: Vec<Finding>,
}

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
}

/// `POST /v1/approvals`: somebody other than the author agrees to a high-risk change.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// Which release.
    #[schema(value_type = u64)]
    pub release: ReleaseId,
    /// What was looked at ([`ReleaseView::binds`]); refused if it is another by now.
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

/// `POST /v1/agents/HOST/results`: what came of tasks; repeats allowed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultsRequest {
    /// In any order.
    #[schema(value_type = Vec<Object>)]
    pub results: Vec<TaskResult>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
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

/// A plain yes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// In words.
    pub detail: String,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// The control plane's version.
    pub version: String,
    /// The journal's position.
    pub position: u64,
    /// By service.
    pub services: Vec<ServiceView>,
    /// What is frozen, by whom and why.
    pub freezes: Vec<FreezeView>,
    /// Open, or not yet looked at afterwards.
    #[serde(default)]
    pub break_glass: Vec<BreakGlassView>,
    /// Hosts enrolled, and of these heard from lately.
    pub hosts_enrolled: u32,
    /// Heard from lately.
    pub hosts_reachable: u32,
}

/// One service at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ServiceName,
    /// The good bundle, once a release has become good.
    #[schema(value_type = Option<String>)]
    pub good: Option<Digest>,
    /// The release on its way or going back.
    pub active: Option<ReleaseView>,
}

/// A freeze.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FreezeView {
    /// `everything` or a service.
    pub scope: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when; absent for a freeze that a condition made.
    pub since: Option<Timestamp>,
    /// It ends by itself then.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Made by the calendar or a condition, not by a person.
    #[serde(default)]
    pub automatic: bool,
}

/// `GET /v1/hosts`: one entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: HostName,
    /// Where it stands.
    #[schema(value_type = String)]
    pub environment: EnvironmentName,
    /// Its zone.
    #[schema(value_type = String)]
    pub zone: ZoneName,
    /// Whether an agent has joined.
    pub enrolled: bool,
    /// When it was last heard from.
    pub seen_at: Option<Timestamp>,
    /// By service.
    pub services: Vec<HostServiceView>,
}

/// One service on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostServiceView {
    /// Which.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Where it listens.
    pub address: String,
    /// What it runs, as far as is known.
    #[schema(value_type = Option<String>)]
    pub running: Option<Digest>,
    /// What it goes back to.
    #[schema(value_type = Option<String>)]
    pub good: Option<Digest>,
    /// The newest order's generation.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// `idle`, `ordered`, `confirmed`, `failed`, `reverting`.
    pub state: String,
    /// What its health check says; absent without a report.
    pub healthy: Option<bool>,
    /// What is wrong, in words.
    pub detail: Option<String>,
}

/// `POST /v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Whose it is; shown as author and actor.
    pub name: String,
    /// What it may do.
    #[schema(value_type = String)]
    pub role: Role,
}

/// `POST /v1/join-tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenRequest {
    /// The one host that may use it.
    #[schema(value_type = String)]
    pub host: HostName,
    /// It is void after this long; at most a week.
    #[serde(default = "default_join_valid_s")]
    pub valid_s: u64,
}

fn default_join_valid_s() -> u64 {
    3600
}

/// A new token: shown once, never again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenAnswer {
    /// The secret.
    pub token: String,
    /// Its public half, for the journal and for revoking it.
    pub id: String,
}

/// `POST /v1/blobs/missing`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MissingRequest {
    /// Which blobs the client has.
    #[schema(value_type = Vec<String>)]
    pub digests: Vec<Digest>,
}

/// Which of them the control plane lacks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MissingAnswer {
    /// To be uploaded with `PUT /v1/blobs/DIGEST`.
    #[schema(value_type = Vec<String>)]
    pub missing: Vec<Digest>,
}

/// `POST /v1/agents/enrol`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// Which host joins.
    #[schema(value_type = String)]
    pub host: HostName,
    /// The one-time token.
    pub join_token: String,
    /// The key that the agent made, 64 hex digits.
    pub public_key: String,
    /// Where other agents may ask this one whether the control plane is gone.
    pub peer_address: String,
    /// What runs, by service: generation 0.
    #[schema(value_type = Object)]
    pub adopted: BTreeMap<ServiceName, Digest>,
    /// The highest generation it remembers.
    #[schema(value_type = u64)]
    pub fence: Generation,
}

/// The answer to an agent that joined.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnrolAnswer {
    /// The key that orders are signed with, 64 hex digits: the agent keeps it.
    pub control_key: String,
    /// The host is of the last environment: it takes nothing that is not attested.
    #[serde(default)]
    pub gated: bool,
}

/// `GET /v1/agents/HOST/whoami`: the way home, tried before anything changes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The host that the signature proved.
    #[schema(value_type = String)]
    pub host: HostName,
    /// The control plane's clock.
    pub at: Timestamp,
}

/// `GET /v1/agents/HOST/orders`: the newest order for each service. ETag and `If-None-Match`; `wait_ms` to wait for news.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OrdersAnswer {
    /// Signed [`model::order::Dispatch`]es.
    #[schema(value_type = Vec<Object>)]
    pub orders: Vec<Envelope>,
    /// Signed in advance with each order forward: the way back from it ([`model::order::Revert`]).
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub reverts: Vec<Envelope>,
    /// Signed [`model::Task`]s.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub tasks: Vec<Envelope>,
}

/// `POST /v1/agents/HOST/confirm`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// Which service.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Which order.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// What runs, as computed from the bytes on disk.
    #[schema(value_type = String)]
    pub digest: Digest,
}

/// `POST /v1/agents/HOST/reports`: in order, repeats allowed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportsRequest {
    /// Oldest first.
    #[schema(value_type = Vec<Object>)]
    pub reports: Vec<Report>,
}

/// How far the reports are safe in the journal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReportsAnswer {
    /// Reports up to this number need not be sent again.
    pub through: u64,
}

/// `POST /v1/agents/HOST/heartbeat`: how things are; not journaled.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// By service.
    pub services: Vec<ServiceBeat>,
}

/// One service in a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceBeat {
    /// Which.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// What runs.
    #[schema(value_type = String)]
    pub running: Digest,
    /// The newest order that the host has taken.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// What the health check says; absent before the first look or without one.
    pub healthy: Option<bool>,
    /// What it said, when it is bad.
    #[serde(default)]
    pub reason: String,
    /// Unplanned exits so far, if the bundle has a command that counts them.
    pub exits: Option<u64>,
}

/// `POST /v1/gateways/NAME/counts`: totals since the gateway started, for rows that changed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CountsRequest {
    /// Whose traffic.
    #[schema(value_type = String)]
    pub environment: EnvironmentName,
    /// When the gateway process started, in Unix milliseconds: totals begin anew with it.
    pub epoch_ms: u64,
    /// Totals, not differences: a repeat or a loss changes nothing.
    pub rows: Vec<CountRow>,
}

/// The answer to counts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CountsAnswer {
    /// The control plane has not met this run of the gateway before: send every row, not only changed ones.
    #[serde(default)]
    pub send_all: bool,
}

/// Totals of one bundle and tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountRow {
    /// Which service.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Which bundle.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// Which customer.
    #[schema(value_type = String)]
    pub tenant: TenantName,
    /// First attempts handed to a host.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
}

/// `GET /v1/journal`: one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JournalRecord {
    /// Its position.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The chain's hash up to and with it.
    #[schema(value_type = String)]
    pub hash: Digest,
    /// What happened; `type` says which kind.
    #[schema(value_type = Object)]
    pub event: model::Event,
}
