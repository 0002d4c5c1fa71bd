//! Where a service's bundle goes, with what is declared to be deployed there.
//!
//! Invariant: places differ by environment and class of hosts alone, so that a
//! fleet of thousands of hosts is a handful of places.

use std::collections::BTreeMap;

use model::{Bundle, PackageFacts, PackageName, ServiceName, Topology};

use super::{Deployed, Place};

/// Environments by class of hosts that run `service`, with all that is deployed there
/// besides: the class's packages, and those of the other services' bundles.
pub fn places<'a>(
    topology: &Topology,
    service: &ServiceName,
    bundle_of: impl Fn(&ServiceName) -> Option<&'a Bundle>,
) -> Vec<Place> {
    let mut places: BTreeMap<String, BTreeMap<PackageName, Deployed>> = BTreeMap::new();
    for environment in &topology.environments {
        for host in topology.hosts_of(&environment.name, service) {
            let label = match &host.class {
                Some(class) => format!("{} (class {class})", environment.name),
                None => environment.name.to_string(),
            };
            let deployed = places.entry(label).or_default();
            let class = host.class.iter().filter_map(|name| {
                let class = topology.classes.get(name)?;
                Some((format!("class {name}"), class))
            });
            for (origin, class) in class {
                for (name, facts) in &class.packages {
                    add(deployed, name, || (facts.clone(), origin.clone()));
                }
            }
            for other in host.services.keys().filter(|other| *other != service) {
                for (name, entry) in bundle_of(other).iter().flat_map(|it| &it.packages) {
                    add(deployed, name, || {
                        let facts = PackageFacts {
                            version: entry.version.clone(),
                            requires: entry.requires.clone(),
                            conflicts: entry.conflicts.clone(),
                            provides: entry.provides.clone(),
                        };
                        (facts, format!("service {other}"))
                    });
                }
            }
        }
    }
    places
        .into_iter()
        .map(|(label, deployed)| Place {
            label,
            deployed: deployed.into_values().collect(),
        })
        .collect()
}

/// The first one counts: hosts of one class have the same packages.
fn add(
    deployed: &mut BTreeMap<PackageName, Deployed>,
    name: &PackageName,
    facts: impl FnOnce() -> (PackageFacts, String),
) {
    deployed.entry(name.clone()).or_insert_with(|| {
        let (facts, origin) = facts();
        Deployed {
            name: name.clone(),
            facts,
            origin,
        }
    });
}
