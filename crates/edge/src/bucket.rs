//! Where a tenant stands on the scale that shares are cut from.
//!
//! The place is the first eight bytes (little-endian) of
//! `BLAKE3(service ‖ 0x00 ‖ tenant)`, modulo 10,000. A service's name holds no
//! zero byte, so no two pairs of service and tenant hash the same bytes.
//!
//! Invariant: the function never changes. All gateways of a fleet and every
//! later version must place a tenant alike, or a restart moves customers
//! between bundles.

use model::ticks::CLIENT_GROUPS;
use model::{Permille, ServiceName};

/// Buckets of the scale: fine enough that a thousandth is ten of them.
pub const BUCKETS: u16 = 10_000;

/// A tenant's place, `0..BUCKETS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    /// The place of `tenant` for `service`. The service is the salt: otherwise
    /// the same customers would be the first to meet every service's changes.
    pub fn of(service: &ServiceName, tenant: &str) -> Bucket {
        let mut hasher = blake3::Hasher::new();
        hasher.update(service.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(tenant.as_bytes());
        let hash = hasher.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        // 2^64 is not a multiple of 10,000; the bias is below one in 10^15.
        let place = u64::from_le_bytes(first) % u64::from(BUCKETS);
        Bucket(u16::try_from(place).unwrap_or(0))
    }

    /// The place as a number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The tenant's group, below [`CLIENT_GROUPS`]: neighbours on the scale are
    /// in different ones, so every share of it has tenants of all.
    pub fn group(self) -> u8 {
        u8::try_from(self.0 % u16::from(CLIENT_GROUPS)).unwrap_or(0)
    }
}

/// How many buckets a share has.
pub(crate) fn width(share: Permille) -> u16 {
    share.get() * (BUCKETS / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These places are a promise to fleets that run: see the module's invariant.
    #[test]
    fn places_never_change() {
        let api: ServiceName = "api".parse().unwrap();
        let web: ServiceName = "web".parse().unwrap();
        let places = ["-", "acme", "globex", "~other"].map(|tenant| Bucket::of(&api, tenant).get());
        assert_eq!(places, [2914, 1499, 600, 6013]);
        let groups = ["-", "acme", "globex", "~other"].map(|it| Bucket::of(&api, it).group());
        assert_eq!(groups, [2, 27, 24, 29]);
        assert_ne!(Bucket::of(&web, "acme"), Bucket::of(&api, "acme"));
    }
}
