//! What there is: environments in their order, hosts in their zones, services.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::gate::CheckSet;
use crate::{
    ClassName, EnvironmentName, HostName, Millis, PackageName, Permille, Priority, Retry, Scope,
    ServiceName, Serving, ZoneName,
};

/// The fleet as people declared it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The pipeline, first to last; a release passes them in this order.
    pub environments: Vec<Environment>,
    /// What can be released.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// What is deployed on hosts beside the services, by class of host.
    #[serde(default)]
    pub classes: BTreeMap<ClassName, HostClass>,
    /// Versions that could be deployed: what an explanation may suggest.
    #[serde(default)]
    pub catalog: Vec<CatalogEntry>,
    /// Times in which nothing is released.
    #[serde(default)]
    pub freezes: Vec<FreezeWindow>,
}

/// What is deployed on a class of hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostClass {
    /// By package.
    pub packages: BTreeMap<PackageName, PackageFacts>,
}

/// What is known of one version of a package.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageFacts {
    /// Which version (semver).
    pub version: String,
    /// Packages and features that must be deployed beside it, with version ranges.
    #[serde(default)]
    pub requires: BTreeMap<PackageName, String>,
    /// Packages and features that must not be.
    #[serde(default)]
    pub conflicts: BTreeMap<PackageName, String>,
    /// Features that it brings, with their versions.
    #[serde(default)]
    pub provides: BTreeMap<PackageName, String>,
}

/// A version that could be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    /// Of which package.
    pub name: PackageName,
    /// What is known of it.
    pub facts: PackageFacts,
}

/// A weekly time in which nothing is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeWindow {
    /// What it covers.
    pub scope: Scope,
    /// When it begins: minutes since Monday 00:00 on the zone's clock.
    pub from_minute: u32,
    /// When it ends; smaller than `from_minute` when the week turns in between.
    pub to_minute: u32,
    /// IANA zone whose clock counts.
    pub zone: String,
    /// Why, for people.
    pub reason: String,
}

/// One step of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// `test`, `production`.
    pub name: EnvironmentName,
    /// Its hosts, in the order in which waves take them.
    pub hosts: Vec<Host>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Unique over all environments.
    pub name: HostName,
    /// What it fails together with.
    pub zone: ZoneName,
    /// What runs on it, and at which `address:port` each service listens.
    pub services: BTreeMap<ServiceName, String>,
    /// What is deployed beside the services.
    #[serde(default)]
    pub class: Option<ClassName>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// The request header that names the tenant, in lower case; absent: all requests are one tenant's.
    #[serde(default)]
    pub tenant_header: Option<String>,
    /// What is demanded of its changes.
    #[serde(default)]
    pub checks: CheckSet,
    /// How many failures customers bear; once they are spent, nothing new is released.
    #[serde(default)]
    pub error_budget: Option<ErrorBudget>,
    /// Classes of endpoints, compared each with itself; the first that fits counts.
    /// What none names is `read` (GET, HEAD, OPTIONS) or `write`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointClass>,
    /// Where counts come from when no gateway of ours carries the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSource>,
    /// How gateways carry its requests.
    #[serde(default, skip_serializing_if = "Serving::is_default")]
    pub serving: Serving,
}

/// Classes of endpoints of one service at most: with zones they are the strata that are compared.
pub const ENDPOINT_CLASSES_MAX: usize = 8;

/// Requests that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointClass {
    /// Its name.
    pub name: String,
    /// Methods in capitals; none: all.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Paths; `*` at the end stands for anything. None: all.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Who goes first when hosts can't keep up.
    #[serde(default, skip_serializing_if = "Priority::is_default")]
    pub priority: Priority,
    /// Which of them may go out a second time.
    #[serde(default, skip_serializing_if = "Retry::is_default")]
    pub retry: Retry,
}

/// Queries that count a service's requests.
///
/// Each answers with running totals, one series for each `bundle` (a bundle's
/// digest, or its first 12 digits) or `host` (a host's name), and `class` if wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrometheusSource {
    /// Base URL: `http://prometheus:9090`.
    pub url: String,
    /// All requests: `sum by (bundle, host) (http_requests_total{service="api"})`.
    pub requests: String,
    /// Those that failed.
    pub failed: String,
    /// Asked this often; not more often than Prometheus scrapes.
    pub every_ms: Millis,
    /// The environment whose traffic it is.
    pub environment: EnvironmentName,
}

/// A share of failed requests over a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorBudget {
    /// Most failed requests, in thousandths of all.
    pub failed_permille_max: Permille,
    /// Over so long, up to now.
    pub window_ms: Millis,
    /// With fewer requests than this in the window nothing is said.
    pub requests_min: u64,
}

impl Topology {
    /// Where a host stands.
    pub fn host(&self, name: &HostName) -> Option<(&Environment, &Host)> {
        self.environments.iter().find_map(|environment| {
            environment
                .hosts
                .iter()
                .find(|host| host.name == *name)
                .map(|host| (environment, host))
        })
    }

    /// The hosts of one environment that run `service`, in wave order.
    pub fn hosts_of<'a>(
        &'a self,
        environment: &'a EnvironmentName,
        service: &'a ServiceName,
    ) -> impl Iterator<Item = &'a Host> {
        self.environments
            .iter()
            .filter(move |candidate| candidate.name == *environment)
            .flat_map(|environment| &environment.hosts)
            .filter(move |host| host.services.contains_key(service))
    }

    /// Laws that types alone don't hold; each broken one as a sentence.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let (mut environments, mut hosts) = (BTreeSet::new(), BTreeSet::new());
        for environment in &self.environments {
            if !environments.insert(&environment.name) {
                problems.push(format!(
                    "environment {} is declared twice",
                    environment.name
                ));
            }
            for host in &environment.hosts {
                if !hosts.insert(&host.name) {
                    problems.push(format!("host {} is declared twice", host.name));
                }
                for service in host.services.keys() {
                    if !self.services.contains_key(service) {
                        problems.push(format!("host {} runs unknown service {service}", host.name));
                    }
                }
                if let Some(class) = &host.class
                    && !self.classes.contains_key(class)
                {
                    problems.push(format!("host {} is of unknown class {class}", host.name));
                }
            }
        }
        for (name, service) in &self.services {
            if service.serving.deadline_ms == Some(Millis(0)) {
                problems.push(format!("service {name} gives its requests no time at all"));
            }
        }
        problems
    }
}
