//! Who serves whom: restarts, drains, shifts and ramps.

use model::{
    Digest, EnvironmentName, GatewayName, HostName, Permille, RestartId, ServiceName, Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/restarts`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// Of what.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Where; absent: in the last environment.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
    /// These; none: all.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub hosts: Vec<HostName>,
    /// So many at a time; absent: as many as the floor allows.
    #[serde(default)]
    pub parallel: Option<u32>,
    /// Thousandths of the hosts that serve meanwhile at least; absent: 750.
    #[serde(default)]
    #[schema(value_type = Option<u16>)]
    pub floor_permille: Option<Permille>,
    /// Why.
    pub reason: String,
}

/// `POST /v1/restarts/stop`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Of what.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestartView {
    /// Its number.
    #[schema(value_type = u64)]
    pub id: RestartId,
    /// Of what.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Where.
    #[schema(value_type = String)]
    pub environment: EnvironmentName,
    /// Who wants it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// So many at a time.
    pub parallel: u32,
    /// Thousandths of the hosts that serve meanwhile.
    #[schema(value_type = u16)]
    pub floor_permille: Permille,
    /// In their order.
    pub hosts: Vec<RestartHostView>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// By whom and why it was ended before all were back.
    pub stopped: Option<String>,
    /// What it waits for.
    pub waiting: Option<String>,
}

/// One host of a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestartHostView {
    /// Which.
    #[schema(value_type = String)]
    pub host: HostName,
    /// How far it is.
    pub state: RestartState,
}

/// How far a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RestartState {
    /// Its turn has not come.
    Waiting,
    /// It gets no new requests.
    Draining,
    /// It was told.
    Restarting,
    /// It serves again.
    Back,
}

/// `GET /v1/traffic`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoutingView {
    /// Each service in each environment where it has hosts.
    pub services: Vec<ServiceTraffic>,
}

/// A service in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceTraffic {
    /// Which.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Where.
    #[schema(value_type = String)]
    pub environment: EnvironmentName,
    /// Bundles that get requests.
    pub bundles: Vec<BundleTraffic>,
    /// Hosts, in the topology's order.
    pub hosts: Vec<HostTraffic>,
    /// Thousandths of the tenants that are let in.
    #[schema(value_type = u16)]
    pub open_permille: Permille,
    /// Why not all are, and what the next step waits for.
    pub ramp: Option<String>,
    /// The version of these routes.
    pub version: u64,
    /// Gateways that were heard of in the last seconds.
    pub gateways: Vec<GatewayTraffic>,
    /// The restart that goes on.
    pub restart: Option<RestartView>,
}

/// A bundle that gets requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleTraffic {
    /// Which.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// Thousandths of the tenants.
    #[schema(value_type = u16)]
    pub share_permille: Permille,
    /// Hosts that answer.
    pub hosts: u32,
}

/// A host as gateways are to see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostTraffic {
    /// Which.
    #[schema(value_type = String)]
    pub host: HostName,
    /// Whether it gets requests.
    pub state: HostTrafficState,
    /// Why not.
    pub detail: Option<String>,
    /// What a drained host still works on; absent while a gateway has not said.
    pub in_flight: Option<u64>,
}

/// Whether a host gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostTrafficState {
    /// It does.
    Serving,
    /// No new ones; it still has some.
    Draining,
    /// It has none left.
    Drained,
    /// It is being changed, or runs what is being left.
    Out,
}

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayTraffic {
    /// Which.
    #[schema(value_type = String)]
    pub gateway: GatewayName,
    /// The routes that it has applied.
    pub version: u64,
}

/// `POST /v1/traffic/drain` and `/v1/traffic/undrain`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Of what.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Where.
    #[schema(value_type = String)]
    pub host: HostName,
    /// Why.
    pub reason: String,
    /// Also when too few hosts are left; undrain doesn't ask.
    #[serde(default)]
    pub force: bool,
}

/// `POST /v1/traffic/shift`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShiftRequest {
    /// Of what.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// The bundle that gets no more requests.
    #[schema(value_type = String)]
    pub away_from: Digest,
    /// Why.
    pub reason: String,
}

/// `POST /v1/traffic/ramp`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RampRequest {
    /// Of what.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Thousandths of the tenants that are let in: 250, 500, 750 or 1000.
    #[schema(value_type = u16)]
    pub open_permille: Permille,
    /// It stays so, however good the answers are.
    #[serde(default)]
    pub hold: bool,
    /// Why.
    pub reason: String,
}
