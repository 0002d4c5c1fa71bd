//! Where requests go: what the control plane tells a gateway.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, EndpointClass, EnvironmentName, HostName, Permille, ServiceName, Serving};

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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
