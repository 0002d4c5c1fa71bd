//! Where requests go: what the control plane tells a gateway.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, EndpointClass, EnvironmentName, HostName, Permille, ServiceName, Serving, Timestamp,
};

/// Everything one gateway needs to route one environment's traffic.
///
/// Level-triggered: a gateway takes the newest version whole and forgets the
/// one before; it keeps the last one on disk and serves on without the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Grows with each change.
    pub version: u64,
    /// Whose traffic this is.
    pub environment: EnvironmentName,
    /// By service.
    pub services: BTreeMap<ServiceName, ServiceRoutes>,
}

/// How one service's requests are split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRoutes {
    /// The request header that names the tenant, in lower case.
    #[serde(default)]
    pub tenant_header: Option<String>,
    /// Classes of endpoints under which requests are counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointClass>,
    /// How requests are carried.
    #[serde(default, skip_serializing_if = "Serving::is_default")]
    pub serving: Serving,
    /// The settled bundle's pool first, then newer ones. Shares add up to 1000
    /// unless there is no host at all.
    pub pools: Vec<Pool>,
    /// Hosts that were taken out of the pools to be emptied: gateways tell when they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drained: Vec<Drained>,
    /// Of all tenants, so many are let in; the others are told to come back.
    #[serde(default = "all", skip_serializing_if = "Permille::is_all")]
    pub open_permille: Permille,
}

impl Default for ServiceRoutes {
    fn default() -> ServiceRoutes {
        ServiceRoutes {
            tenant_header: None,
            endpoints: Vec::new(),
            serving: Serving::default(),
            pools: Vec::new(),
            drained: Vec::new(),
            open_permille: Permille::ALL,
        }
    }
}

fn all() -> Permille {
    Permille::ALL
}

/// A host that gets no new requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Drained {
    /// Which.
    pub host: HostName,
    /// `address:port`.
    pub address: String,
    /// Since when: tells this drain from the host's next one.
    pub since: Timestamp,
}

/// What a gateway says of the routes that it has applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// The table's.
    pub version: u64,
    /// The table's drained hosts, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drained: Vec<InFlight>,
}

/// What a drained host still works on for one gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InFlight {
    /// Which service.
    pub service: ServiceName,
    /// Which host.
    pub host: HostName,
    /// As the table has it.
    pub since: Timestamp,
    /// Requests that are not over, streams, tunnels, and those that hang.
    pub requests: u64,
}

/// The hosts that run (or are being moved to) one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The label under which requests are counted.
    pub digest: Digest,
    /// Share of tenants.
    pub share_permille: Permille,
    /// Who answers.
    pub backends: Vec<Backend>,
}

/// One host's copy of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Backend {
    /// Its name.
    pub host: HostName,
    /// `address:port`.
    pub address: String,
}
