//! What a host's agent asks and tells.
//!
//! Invariant: everything that a host acts on comes in a signed envelope.

use std::collections::BTreeMap;

use model::{Digest, Envelope, Generation, HostName, Report, ServiceName, TaskResult, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/agents/HOST/results`: what came of tasks; repeats allowed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultsRequest {
    /// In any order.
    #[schema(value_type = Vec<Object>)]
    pub results: Vec<TaskResult>,
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
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
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
    /// How full the host is, in thousandths of each limit: `cpu`, `memory`, `disk`.
    #[serde(default)]
    pub gauges: BTreeMap<String, u16>,
    /// Of which machine that is: a digest that hosts on one kernel share, so that what
    /// one of them does is not held against another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub machine: Option<Digest>,
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
