//! Which customer each request belongs to: drawn from a seed, so that a drill can be repeated.

/// Most customers of one load; their names have four digits or more.
pub(super) const TENANTS_MAX: u32 = 1_000_000;

/// How requests spread over customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// All alike.
    Uniform,
    /// As in life: the n-th largest customer asks 1/n as often as the largest.
    Skewed,
}

/// Draws customers.
#[derive(Debug)]
pub(super) struct TenantDraw {
    chance: Chance,
    tenants: u32,
    // Running sums of the shares, ending at their total; empty when uniform.
    sums: Vec<f64>,
}

impl TenantDraw {
    pub(super) fn new(tenants: u32, spread: Spread, seed: u64) -> TenantDraw {
        let sums = match spread {
            Spread::Uniform => Vec::new(),
            Spread::Skewed => (1..=tenants)
                .scan(0.0, |sum, rank| {
                    *sum += 1.0 / f64::from(rank);
                    Some(*sum)
                })
                .collect(),
        };
        TenantDraw {
            chance: Chance(seed),
            tenants,
            sums,
        }
    }

    /// The next request's customer, below the number of tenants.
    pub(super) fn next(&mut self) -> u32 {
        let draw = self.chance.unit();
        let Some(total) = self.sums.last() else {
            // Below `tenants`, because the draw is below one.
            return (draw * f64::from(self.tenants)) as u32;
        };
        let at = draw * total;
        let index = self.sums.partition_point(|sum| *sum <= at);
        u32::try_from(index).map_or(0, |index| index.min(self.tenants - 1))
    }
}

/// Numbers that look like chance, and are the same for the same seed.
#[derive(Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    /// Evenly from 0 to below 1. SplitMix64 (Steele, Lea and Flood, 2014): three
    /// lines are enough where nobody plays against the generator.
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A customer's key.
pub(super) fn tenant_key(tenant: u32) -> String {
    format!("tenant-{tenant:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(spread: Spread, seed: u64) -> Vec<u32> {
        let mut draw = TenantDraw::new(10, spread, seed);
        (0..10_000).map(|_| draw.next()).collect()
    }

    fn share(draws: &[u32], tenant: u32) -> usize {
        draws.iter().filter(|draw| **draw == tenant).count()
    }

    #[test]
    fn a_seed_repeats_and_stays_in_range() {
        for spread in [Spread::Uniform, Spread::Skewed] {
            assert_eq!(draws(spread, 7), draws(spread, 7));
            assert_ne!(draws(spread, 7), draws(spread, 8));
            assert!(draws(spread, 7).iter().all(|tenant| *tenant < 10));
        }
    }

    #[test]
    fn spreads_have_their_shapes() {
        let even = draws(Spread::Uniform, 1);
        assert!((0..10).all(|tenant| (850..1150).contains(&share(&even, tenant))));
        // Harmonic: the first of ten has 1 / 2.929 of all, the tenth a tenth of that.
        let skewed = draws(Spread::Skewed, 1);
        assert!((3250..3600).contains(&share(&skewed, 0)));
        assert!((280..410).contains(&share(&skewed, 9)));
    }
}
