//! The fleet at a glance: services, hosts, tokens, and what gateways count.
//!
//! Invariant: a token's secret is in one answer, when it is made, and in none after.

use model::{
    Applied, Digest, EnvironmentName, Generation, HostName, Role, ServiceName, TenantName,
    TickCounts, Timestamp, ZoneName,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BreakGlassView, ReleaseView};

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
    /// Where counts are asked for that no gateway tells.
    #[serde(default)]
    pub sources: Vec<SourceView>,
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

/// A Prometheus that is asked for a service's counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceView {
    /// Whose counts.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Of which traffic.
    #[schema(value_type = String)]
    pub environment: EnvironmentName,
    /// Whether it gave counts when last asked; absent before the first answer.
    pub answers: Option<bool>,
    /// Since when that is so.
    pub since: Timestamp,
    /// What is wrong with it.
    pub detail: Option<String>,
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
    /// Seconds that are over and not yet acknowledged, oldest first; at most
    /// [`model::ticks::TICKS_PER_POST_MAX`].
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub ticks: Vec<TickCounts>,
    /// The routes that it has applied, and what drained hosts still work on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub applied: Option<Applied>,
}

/// `POST /v1/sources/NAME/ticks`: what a program counts that is no gateway of ours.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TicksRequest {
    /// Whose traffic.
    #[schema(value_type = String)]
    pub environment: EnvironmentName,
    /// When the source started, in Unix milliseconds: `seq` begins anew with it.
    pub epoch_ms: u64,
    /// Seconds that are over and not yet acknowledged, oldest first; at most
    /// [`model::ticks::TICKS_PER_POST_MAX`].
    #[schema(value_type = Vec<Object>)]
    pub ticks: Vec<TickCounts>,
}

/// The answer to ticks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TicksAnswer {
    /// Ticks up to this `seq` need not be sent again.
    pub through: u64,
    /// Of this post's, so many came too late to be judged.
    pub late: u64,
}

/// The answer to counts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CountsAnswer {
    /// The control plane has not met this run of the gateway before: send every row, not only changed ones.
    #[serde(default)]
    pub send_all: bool,
    /// Ticks up to this `seq` need not be sent again.
    #[serde(default)]
    pub ticks_through: u64,
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
