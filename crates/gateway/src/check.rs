//! Looks at a configuration before anybody depends on it.
//!
//! Invariant: all that is wrong is said at once, and what passes here is wrong
//! at the start only if the machine has changed in between.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use wire::{Client, Identity};

use crate::config::{GatewayConfig, GatewayError, Limits};
use crate::{admin, listen, saved, tls, upstream};

/// hyper can't work with less (its smallest buffer).
const HEADER_BYTES_LEAST: usize = 8 << 10;

/// All that would keep this gateway from starting. Opens every file and, for a
/// moment, every port; a gateway that runs with the same configuration is none
/// of the problems.
pub fn check(config: &GatewayConfig) -> Vec<GatewayError> {
    let mut problems = settings(config);
    let identity = config
        .token
        .clone()
        .map_or(Identity::Nobody, Identity::Bearer);
    if let Err(error) = Client::new(&config.control, identity, config.ca.clone()) {
        problems.push(error.into());
    }
    if let Some(files) = &config.tls {
        problems.extend(tls::check(files).into_iter().map(GatewayError::from));
    }
    let upstream_tls = upstream::check_secure(&config.upstream_tls);
    problems.extend(upstream_tls.into_iter().map(GatewayError::from));
    if let Some(folder) = &config.state_dir {
        problems.extend(saved::Saved::open(folder).err());
    }
    for (what, address) in doors(config) {
        problems.extend(listen::bind(what, address).err());
    }
    problems
}

/// What is wrong with the settings alone, whatever machine they are for.
pub(crate) fn settings(config: &GatewayConfig) -> Vec<GatewayError> {
    let mut problems = Vec::new();
    if config.listeners.is_empty() && config.tls_listeners.is_empty() {
        problems.push(GatewayError::NoListener);
    }
    if config.tls.is_none() && !config.tls_listeners.is_empty() {
        problems.push(GatewayError::NoCertificate);
    }
    if let Some(address) = config.admin
        && !admin::is_allowed(address)
    {
        problems.push(GatewayError::AdminNotLoopback(address));
    }
    let mut taken = BTreeMap::new();
    for (what, address) in doors(config).filter(|(_, address)| address.port() != 0) {
        if let Some(other) = taken.insert(address, what.clone()) {
            problems.push(GatewayError::Twice {
                address,
                what,
                other,
            });
        }
    }
    for protocol in &config.upgrades {
        if protocol.eq_ignore_ascii_case("h2c") {
            problems.push(GatewayError::HiddenRequests);
        }
    }
    problems.extend(limits(&config.limits));
    problems
}

fn limits(limits: &Limits) -> Vec<GatewayError> {
    let spans = [
        ("request_deadline", limits.request_deadline),
        ("connect_deadline", limits.connect_deadline),
        ("head_deadline", limits.head_deadline),
        ("handshake_deadline", limits.handshake_deadline),
        ("client_idle", limits.client_idle),
        ("body_rate_window", limits.body_rate_window),
        ("ping_every", limits.ping_every),
        ("ping_deadline", limits.ping_deadline),
        ("tunnel_idle", limits.tunnel_idle),
    ];
    let spans = spans
        .into_iter()
        .filter(|(_, span)| *span == Duration::ZERO)
        .map(|(name, _)| GatewayError::Limit {
            name,
            least: "a time above 0",
        });
    let counts = [
        ("connections_max", limits.connections_max, 1, "1"),
        ("header_count_max", limits.header_count_max, 1, "1"),
        ("streams_max", limits.streams_max as usize, 1, "1"),
        (
            "header_bytes_max",
            limits.header_bytes_max,
            HEADER_BYTES_LEAST,
            "8 KiB",
        ),
    ];
    let counts = counts
        .into_iter()
        .filter(|(_, count, least, _)| count < least)
        .map(|(name, _, _, least)| GatewayError::Limit { name, least });
    spans.chain(counts).collect()
}

/// Every port with what it is for.
fn doors(config: &GatewayConfig) -> impl Iterator<Item = (String, SocketAddr)> {
    let services = config.listeners.iter().chain(&config.tls_listeners);
    let services = services.map(|(service, address)| (format!("service {service}"), *address));
    let admin = config
        .admin
        .map(|address| (admin::WHAT.to_owned(), address));
    services.chain(admin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GatewayConfig {
        let name = "edge-1".parse().unwrap();
        let environment = "production".parse().unwrap();
        GatewayConfig::new("http://127.0.0.1:7600".to_owned(), name, environment)
    }

    #[test]
    fn all_problems_are_said_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let mut config = config();
        config.control = "nowhere".to_owned();
        config.listeners.insert("api".parse().unwrap(), address);
        config.tls_listeners.insert("web".parse().unwrap(), address);
        config.admin = Some("0.0.0.0:0".parse().unwrap());
        config.state_dir = Some(file.clone());
        config.upgrades.push("H2C".to_owned());
        config.limits.streams_max = 0;
        config.limits.tunnel_idle = Duration::ZERO;
        let problems = check(&config);
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let words = words.join("\n");
        for word in [
            "nowhere",
            "service api",
            "service web",
            "used twice",
            "no certificate",
            "not a loopback",
            "state folder",
            "h2c",
            "streams_max",
            "tunnel_idle",
        ] {
            assert!(words.contains(word), "{word} in {words}");
        }
    }

    #[test]
    fn a_proper_one_has_none() {
        wire::install_crypto();
        let mut config = config();
        assert!(matches!(check(&config)[..], [GatewayError::NoListener]));
        let any = "127.0.0.1:0".parse().unwrap();
        config.listeners.insert("api".parse().unwrap(), any);
        config.listeners.insert("web".parse().unwrap(), any);
        assert!(check(&config).is_empty());
    }

    #[test]
    fn each_bad_file_is_named() {
        wire::install_crypto();
        let mut config = config();
        let any = "127.0.0.1:0".parse().unwrap();
        config.tls_listeners.insert("api".parse().unwrap(), any);
        let folder = tempfile::tempdir().unwrap();
        config.tls = Some(crate::TlsFiles {
            certificates: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        });
        let words: Vec<String> = check(&config).iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), 2, "{words:?}");
        assert!(words[0].contains("cert.pem") && words[1].contains("key.pem"));
    }
}
