//! Where a service's bundle goes, with what is deployed there.
//!
//! Invariant: places differ by environment and class of hosts alone, so that a
//! fleet of thousands of hosts is a handful of places.

use std::collections::BTreeMap;

use model::{Bundle, PackageFacts, PackageName, ServiceName, Topology};

use super::{Deployed, Place};

/// Environments by class of hosts that run `service`, with all that is deployed
/// there: the class's packages, and those of every service's bundle. What
/// `service` itself runs now is among them: without it nobody would know that a
/// change takes away what others need.
pub fn places<'a>(
    topology: &Topology,
    service: &ServiceName,
    bundle_of: impl Fn(&ServiceName) -> Option<&'a Bundle>,
) -> Vec<Place> {
    let mut places: BTreeMap<String, BTreeMap<(PackageName, String), PackageFacts>> =
        BTreeMap::new();
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
                    let key = (name.clone(), origin.clone());
                    deployed.entry(key).or_insert_with(|| facts.clone());
                }
            }
            for service in host.services.keys() {
                for (name, entry) in bundle_of(service).iter().flat_map(|it| &it.packages) {
                    let key = (name.clone(), format!("service {service}"));
                    deployed.entry(key).or_insert_with(|| PackageFacts {
                        version: entry.version.clone(),
                        requires: entry.requires.clone(),
                        conflicts: entry.conflicts.clone(),
                        provides: entry.provides.clone(),
                    });
                }
            }
        }
    }
    let places = places.into_iter();
    places
        .map(|(label, deployed)| Place {
            label,
            deployed: deployed
                .into_iter()
                .map(|((name, origin), facts)| Deployed {
                    name,
                    facts,
                    origin,
                })
                .collect(),
        })
        .collect()
}
