//! Which addresses a message may be carried to.
//!
//! A URL that somebody typed into a form must not make the control plane ask its
//! own neighbours (server-side request forgery). So names are resolved here, and
//! what is left after the check is what is connected to: a name that answers
//! otherwise the second time gains nothing.
//!
//! Invariant: unless allowed by name, no connection goes to an address that is
//! not of the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

/// What may be reached besides the public internet.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    allowed: Arc<[String]>,
    anywhere: bool,
}

/// A name or address that nothing is sent to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{host} is at {address}, which is not of the public internet (allow it in notify.toml with `allow = [\"{host}\"]`)"
)]
pub struct NotAllowed {
    /// As the URL has it.
    pub host: String,
    /// Where that is.
    pub address: IpAddr,
}

impl Egress {
    /// The public internet, and these hosts (names or addresses, as URLs have them) wherever they are.
    pub fn public_and(hosts: impl IntoIterator<Item = String>) -> Egress {
        let allowed = hosts.into_iter().map(|host| host.to_ascii_lowercase());
        Egress {
            allowed: allowed.collect(),
            anywhere: false,
        }
    }

    /// Everything: for addresses that only operators can set.
    pub fn anywhere() -> Egress {
        Egress {
            allowed: Arc::default(),
            anywhere: true,
        }
    }

    /// # Errors
    /// `host` is known to be at `address`, and that is not allowed.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), NotAllowed> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let named = self.allowed.iter().any(|it| it.eq_ignore_ascii_case(host));
        match self.anywhere || named || is_public(address) {
            true => Ok(()),
            false => Err(NotAllowed {
                host: host.to_owned(),
                address,
            }),
        }
    }
}

/// Addresses that belong to somebody on the internet (IANA's special-purpose
/// registries of RFC 6890 leave out all others).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => public_v4(address),
        IpAddr::V6(address) => public_v6(address),
    }
}

fn public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_broadcast()
        || a >= 224
        // Shared by carriers (RFC 6598), protocol assignments, benchmarks (RFC 2544).
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Forms that carry a v4 address lead where that one leads: mapped, NAT64, 6to4.
    let carried = match segments {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] if !address.is_loopback() => Some((high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some((high, low)),
        [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    if let Some((high, low)) = carried {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        return public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Global unicast is 2000::/3, less documentation and Teredo.
    let teredo = segments[0] == 0x2001 && segments[1] == 0;
    let documentation = segments[0] == 0x2001 && segments[1] == 0xdb8;
    segments[0] & 0xe000 == 0x2000 && !teredo && !documentation
}

/// Resolves by the system's resolver, and leaves only what may be connected to.
impl Resolve for Egress {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let mut refused = None;
            let mut left: Vec<SocketAddr> = Vec::new();
            for address in found {
                match egress.check(&host, address.ip()) {
                    Ok(()) => left.push(address),
                    Err(not_allowed) => refused = Some(not_allowed),
                }
            }
            match (left.is_empty(), refused) {
                (true, Some(not_allowed)) => Err(not_allowed.into()),
                (true, None) | (false, _) => Ok(Box::new(left.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        let private = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
            "2001:db8::1",
            "2001::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
        ];
        for address in private {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        let public = [
            "1.1.1.1",
            "100.63.0.1",
            "172.32.0.1",
            "2606:4700::1",
            "64:ff9b::101:101",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_private_host_is_reached_only_by_name() {
        let egress = Egress::public_and(["Chat.Internal".to_owned(), "::1".to_owned()]);
        let private: IpAddr = "10.0.0.7".parse().unwrap();
        assert_eq!(egress.check("chat.internal", private), Ok(()));
        assert_eq!(egress.check("[::1]", "::1".parse().unwrap()), Ok(()));
        let refused = egress.check("evil.example", private).unwrap_err();
        assert!(refused.to_string().contains("10.0.0.7"), "{refused}");
        assert_eq!(Egress::anywhere().check("x", private), Ok(()));
    }
}
