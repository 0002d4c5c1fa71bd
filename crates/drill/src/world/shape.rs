//! What a fleet looks like, and where its parts are.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Result;
use model::HostName;

use super::package::Package;

/// The package whose version is the authentication service's.
pub const AUTH_RUNTIME: &str = "auth-runtime";

/// What the fleet looks like.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Hosts of the test environment.
    pub test_hosts: usize,
    /// Zones of production with their hosts.
    pub zones: Vec<(&'static str, usize)>,
    /// Waves of production, as in plimsoll.toml.
    pub waves: Vec<&'static str>,
    /// How long production waves bake, in seconds.
    pub bake_s: u64,
    /// Requests that a production wave needs.
    pub requests_min: u64,
    /// Restart servers that stop answering, as an orchestrator does.
    pub watchdog: bool,
    /// Every gate on: rules for the configuration, what is deployed, rehearsal.
    pub gates: bool,
    /// What hosts of the test environment have beside the service.
    pub lab: Vec<Package>,
    /// What production hosts have.
    pub web: Vec<Package>,
    /// Versions that could be deployed, for whoever explains a conflict.
    pub catalog: Vec<Package>,
    /// The `plimsoll` to start; this very program when absent.
    pub program: Option<PathBuf>,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            test_hosts: 2,
            zones: vec![("zone-a", 3), ("zone-b", 3), ("zone-c", 2)],
            waves: vec!["1 host at 1%", "zone", "each zone"],
            bake_s: 3,
            requests_min: 5,
            watchdog: false,
            gates: false,
            lab: Vec::new(),
            web: Vec::new(),
            catalog: Vec::new(),
            program: None,
        }
    }
}

impl Shape {
    /// What hosts of an environment have beside the service.
    pub(super) fn deployed(&self, environment: &str) -> &[Package] {
        if environment == "test" {
            &self.lab
        } else {
            &self.web
        }
    }

    /// Which version of its protocol an environment's authentication service
    /// speaks: that of the runtime which is deployed there, or the first.
    pub(super) fn auth_api(&self, environment: &str) -> u64 {
        let runtime = self.deployed(environment);
        let runtime = runtime.iter().find(|package| package.name == AUTH_RUNTIME);
        let major = runtime.and_then(|package| package.version.split('.').next()?.parse().ok());
        major.unwrap_or(1)
    }
}

/// One host of the fleet.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its name.
    pub name: HostName,
    /// `test` or `production`.
    pub environment: &'static str,
    /// Its zone.
    pub zone: &'static str,
    /// Where its API server listens.
    pub address: SocketAddr,
    /// Where that server tells how its threads are, on a thread that no request can take.
    pub stats: SocketAddr,
    /// Everything of it.
    pub folder: PathBuf,
}

pub(super) fn places(folder: &Path, shape: &Shape, ports: &[SocketAddr]) -> Result<Vec<Place>> {
    let mut wanted = Vec::new();
    for n in 1..=shape.test_hosts {
        wanted.push((format!("test-{n}"), "test", "lab"));
    }
    for (zone, count) in &shape.zones {
        let letter = zone.rsplit('-').next().unwrap_or(zone);
        for n in 1..=*count {
            wanted.push((format!("web-{letter}{n}"), "production", *zone));
        }
    }
    wanted
        .into_iter()
        .zip(ports.as_chunks::<2>().0)
        .map(|((name, environment, zone), [address, stats])| {
            let place = folder.join("hosts").join(&name);
            std::fs::create_dir_all(&place)?;
            Ok(Place {
                name: name.parse()?,
                environment,
                zone,
                address: *address,
                stats: *stats,
                folder: place,
            })
        })
        .collect()
}

/// Addresses on loopback that nobody uses at this moment.
pub(super) fn free_ports(count: usize) -> Result<Vec<SocketAddr>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    Ok(listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()?)
}
