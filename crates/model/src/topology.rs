//! What there is: environments in their order, hosts in their zones, services.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{EnvironmentName, HostName, ServiceName, ZoneName};

/// The fleet as people declared it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The pipeline, first to last; a release passes them in this order.
    pub environments: Vec<Environment>,
    /// What can be released.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
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
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// The request header that names the tenant, in lower case; absent: all requests are one tenant's.
    #[serde(default)]
    pub tenant_header: Option<String>,
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
            }
        }
        problems
    }
}
