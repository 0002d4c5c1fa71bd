//! What a fleet looks like, and where its parts are.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};
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
    /// Beyond what fails on the old bundle, a wave must be shown to stay within this.
    pub failure_budget: &'static str,
    /// Whether the gateway gives hosts no more than they can answer.
    pub protected: bool,
    /// The limit of sessions that hosts are born with; none when absent.
    pub session_bytes_max: Option<u32>,
    /// A gateway brings customers' requests; without one somebody else does, and counts.
    pub gateway: bool,
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
            // Coarse, because waves bake for seconds here: to show so much takes some
            // fifteen requests on the new bundle. `plimsoll plan` says what a plan can see.
            failure_budget: "20%",
            protected: true,
            session_bytes_max: None,
            gateway: true,
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

/// Lowest port that a fleet takes; below are those of well-known services.
const PORT_MIN: u16 = 10_000;
/// Ports from one fleet's first to the next one's: more than any fleet has.
const PORT_BLOCK: u32 = 128;

/// Addresses on loopback that nobody uses at this moment, nor takes by chance
/// before the fleet does: they lie below those that the system gives to
/// whoever asks for any port. Fleets of other processes begin elsewhere.
pub(super) fn free_ports(count: usize) -> Result<Vec<SocketAddr>> {
    static FLEETS: AtomicU32 = AtomicU32::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first_given = range
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse::<u16>().ok())
        // Where nearly every port is given by chance, there is no better place.
        .filter(|first| *first > PORT_MIN + 1_000);
    let width = u32::from(first_given.unwrap_or(32_768).saturating_sub(PORT_MIN));
    // Consecutive fleets of one process are far apart, and so are those of neighbours.
    let fleet = FLEETS.fetch_add(1, Ordering::Relaxed).wrapping_mul(31);
    let begin = std::process::id()
        .wrapping_add(fleet)
        .wrapping_mul(PORT_BLOCK);
    let ports = (0..width).filter_map(|step| {
        let offset = begin.wrapping_add(step) % width;
        let port = PORT_MIN.checked_add(u16::try_from(offset).ok()?)?;
        // Bound and let go: the parts bind it themselves.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        listener.local_addr().ok()
    });
    let found: Vec<SocketAddr> = ports.take(count).collect();
    if found.len() < count {
        bail!(
            "only {} of {count} ports are free from {PORT_MIN} on",
            found.len()
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fleets_take_ports_far_from_each_other() {
        let (one, other) = (free_ports(40).unwrap(), free_ports(40).unwrap());
        for address in &one {
            assert!(address.port() >= PORT_MIN, "{address}");
            assert!(!other.contains(address), "{address}");
        }
        assert!(free_ports(100_000).is_err());
    }
}
