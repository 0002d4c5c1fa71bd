//! Where probes may go.
//!
//! A list that is there allows what it names and nothing else. An entry is a
//! name, `*.domain`, an address or a network `address/bits`, each with `:port`
//! or without (`[address]:port` for IPv6). Without a list everything is allowed
//! but link-local addresses, behind which clouds keep the credentials of hosts,
//! and the few others where some clouds keep them.
//!
//! Invariant: a name on the list does not open such an address behind it, unless
//! a network on the list names that address itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a probe may connect to `ip` (the resolved address of `host`, or
/// `None` before it is resolved) at `port`.
pub fn allows(list: Option<&[String]>, host: &str, ip: Option<IpAddr>, port: u16) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.trim_end_matches('.');
    let ip = ip.or_else(|| host.parse().ok()).map(|ip| ip.to_canonical());
    let entries = || {
        list.into_iter()
            .flatten()
            .filter_map(|text| Entry::parse(text).ok())
    };
    if ip.is_some_and(is_kept) {
        return entries().any(|entry| entry.fits_address(ip, port));
    }
    match list {
        None => true,
        Some(_) => {
            entries().any(|entry| entry.fits_address(ip, port) || entry.fits_name(host, port))
        }
    }
}

/// What is wrong with an entry of the list; `None`: nothing.
pub(crate) fn flaw(entry: &str) -> Option<&'static str> {
    Entry::parse(entry).err()
}

/// Whether the list could allow `host` once it is resolved: names can be checked
/// against names, but whether a name leads into an allowed network is known only
/// to who resolves it.
pub fn may_allow(list: Option<&[String]>, host: &str, port: u16) -> bool {
    if allows(list, host, None, port) {
        return true;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_err()
        && list
            .into_iter()
            .flatten()
            .filter_map(|text| Entry::parse(text).ok())
            .any(|entry| {
                matches!(entry.place, Place::Network(..)) && entry.port.is_none_or(|it| it == port)
            })
}

/// Whether the list could allow anything behind `host`, whatever the port: a
/// name that is only resolved has none.
pub(crate) fn may_resolve(list: Option<&[String]>, host: &str) -> bool {
    let Some(list) = list else {
        return true;
    };
    let entries = list.iter().filter_map(|text| Entry::parse(text).ok());
    let mut ports = entries.map(|entry| entry.port.unwrap_or(0));
    ports.any(|port| may_allow(Some(list), host, port))
}

/// Where clouds answer a host with its own credentials though the address is not
/// link-local: AWS and Google over IPv6, Alibaba, Oracle.
const CREDENTIALS: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Whether it is open only to a list that names it by address: link-local, or
/// one that stands for such an address.
fn is_kept(ip: IpAddr) -> bool {
    let behind = match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => translated(ip).map(IpAddr::V4),
    };
    [Some(ip), behind].into_iter().flatten().any(|ip| {
        let link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        link_local || CREDENTIALS.contains(&ip)
    })
}

/// The IPv4 address that a network leads to from an IPv6 one: translation
/// (RFC 6052, the well-known prefix) and 6to4 (RFC 3056).
fn translated(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match parts {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

struct Entry {
    place: Place,
    port: Option<u16>,
}

enum Place {
    Name(String),
    /// Without its `*`: `.domain`.
    Below(String),
    Network(IpAddr, u8),
}

impl Entry {
    fn parse(text: &str) -> Result<Entry, &'static str> {
        let (place, port) = split_port(text)?;
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(0) | Err(_)) => return Err("the port must be a number from 1 to 65535"),
            Some(Ok(port)) => Some(port),
        };
        Ok(Entry {
            place: Place::parse(place)?,
            port,
        })
    }

    fn fits_address(&self, ip: Option<IpAddr>, port: u16) -> bool {
        let Place::Network(network, bits) = self.place else {
            return false;
        };
        self.fits_port(port) && ip.is_some_and(|ip| within(ip, network, bits))
    }

    fn fits_name(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        self.fits_port(port)
            && match &self.place {
                Place::Name(name) => *name == host,
                Place::Below(domain) => host.len() > domain.len() && host.ends_with(domain),
                Place::Network(..) => false,
            }
    }

    fn fits_port(&self, port: u16) -> bool {
        self.port.is_none_or(|it| it == port)
    }
}

fn split_port(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inside, after)) = rest.split_once(']') else {
            return Err("`[` is not closed");
        };
        return match after.strip_prefix(':') {
            Some(port) => Ok((inside, Some(port))),
            None if after.is_empty() => Ok((inside, None)),
            None => Err("after `]` only `:port` may follow"),
        };
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address or network without a port.
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((place, port)) => Ok((place, Some(port))),
        None => Ok((text, None)),
    }
}

impl Place {
    fn parse(text: &str) -> Result<Place, &'static str> {
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address
                .parse()
                .map_err(|_| "before `/` must be an IP address")?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            return match bits.parse() {
                Ok(bits) if bits <= most => Ok(Place::Network(address, bits)),
                _ => Err("after `/` must be a number of bits: at most 32, for IPv6 128"),
            };
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            return Ok(Place::Network(address, bits));
        }
        match text.strip_prefix('*') {
            Some(domain) if domain.starts_with('.') && is_name(&domain[1..]) => {
                Ok(Place::Below(domain.to_ascii_lowercase()))
            }
            None if is_name(text) => Ok(Place::Name(text.to_ascii_lowercase())),
            Some(_) | None => Err("write a host name, `*.domain`, an address or `address/bits`"),
        }
    }
}

/// Whether it could be a host's name (RFC 1123, and underscores as they occur).
pub(crate) fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && text.split('.').all(label)
}

fn within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    // Mapped addresses (`::ffff:10.0.0.1`) are those that they map to.
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => same_bits(
            u128::from(ip.to_bits()) << 96,
            u128::from(network.to_bits()) << 96,
            bits,
        ),
        (IpAddr::V6(ip), IpAddr::V6(network)) => same_bits(v6(ip), v6(network), bits),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn v6(ip: Ipv6Addr) -> u128 {
    ip.to_bits()
}

fn same_bits(a: u128, b: u128, bits: u8) -> bool {
    match 128_u32.checked_sub(u32::from(bits)) {
        Some(128) => true,
        Some(rest) => (a ^ b) >> rest == 0,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(list: &[&str], host: &str, ip: Option<&str>, port: u16) -> bool {
        let list: Vec<String> = list.iter().map(|it| (*it).to_owned()).collect();
        for entry in &list {
            assert_eq!(flaw(entry), None, "{entry}");
        }
        allows(Some(&list), host, ip.map(|ip| ip.parse().unwrap()), port)
    }

    #[test]
    fn names_and_networks() {
        let list = [
            "10.0.0.0/8",
            "*.internal:443",
            "db.example.com",
            "[fd00::]:5432",
            "fd01::/16",
        ];
        assert!(may(&list, "anything", Some("10.1.2.3"), 80));
        assert!(may(&list, "10.1.2.3", None, 80));
        assert!(!may(&list, "11.1.2.3", None, 80));
        assert!(may(&list, "a.internal", None, 443));
        assert!(may(&list, "A.B.Internal.", Some("192.168.0.1"), 443));
        assert!(!may(&list, "a.internal", None, 80));
        assert!(!may(&list, "internal", None, 443));
        assert!(!may(&list, "evil-internal", None, 443));
        assert!(may(&list, "DB.example.com", None, 1));
        assert!(!may(&list, "xdb.example.com", None, 1));
        assert!(may(&list, "[fd00::]", None, 5432));
        assert!(!may(&list, "fd00::", None, 5433));
        assert!(may(&list, "fd01::7", None, 1));
        assert!(may(&list, "::ffff:10.0.0.1", None, 1));
        assert!(!may(&[], "a", None, 1));
        assert!(may(&["0.0.0.0/0"], "a", Some("8.8.8.8"), 53));
        assert!(!may(&["0.0.0.0/0"], "a", Some("::1"), 53));
    }

    #[test]
    fn link_local_only_by_its_own_network() {
        for host in ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"] {
            assert!(!allows(None, host, None, 80), "{host}");
        }
        for host in [
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "::ffff:192.0.0.192",
        ] {
            assert!(!allows(None, host, None, 80), "{host}");
            assert!(!may(&["*.example"], "x.example", Some(host), 80), "{host}");
        }
        assert!(may(&["fd00:ec2::254"], "fd00:ec2::254", None, 80));
        assert!(allows(None, "64:ff9b::10.0.0.1", None, 80));
        let metadata = "169.254.169.254".parse().ok();
        assert!(!allows(None, "metadata.example", metadata, 80));
        assert!(!may(
            &["*.example"],
            "metadata.example",
            Some("169.254.169.254"),
            80
        ));
        assert!(may(&["169.254.0.0/16"], "x", Some("169.254.169.254"), 80));
        assert!(allows(None, "10.0.0.1", None, 80));
    }

    #[test]
    fn a_name_may_lead_into_an_allowed_network() {
        let list = Some(["10.0.0.0/8:443".to_owned()]);
        let list = list.as_ref().map(<[String; 1]>::as_slice);
        assert!(!allows(list, "db", None, 443));
        assert!(may_allow(list, "db", 443));
        assert!(!may_allow(list, "db", 80));
        assert!(!may_allow(list, "11.0.0.1", 443));
        assert!(may_resolve(list, "db"));
        assert!(may_resolve(None, "db"));
        assert!(!may_resolve(Some(&["x".to_owned()]), "db"));
        assert!(may_resolve(Some(&["*.x:1".to_owned()]), "db.x"));
    }

    #[test]
    fn flaws() {
        for bad in [
            "",
            "*",
            "*x",
            "10.0.0.0/33",
            "x/8",
            "a b",
            "a:0",
            "a:x",
            "[::1",
            "a:70000",
            "::/129",
            "*.",
        ] {
            assert!(flaw(bad).is_some(), "{bad}");
        }
    }
}
