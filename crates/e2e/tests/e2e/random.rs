//! Random moments that can be had again.

/// `SplitMix64`: small, and the same on every machine.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// From `PLIMSOLL_SEED`, else a new seed; it is printed, so that a failure can be replayed.
    pub(crate) fn seeded(test: &str) -> Random {
        let given = std::env::var("PLIMSOLL_SEED");
        let seed = given.ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            let now = jiff::Timestamp::now().as_nanosecond();
            u64::try_from(now).unwrap_or(1) ^ u64::from(std::process::id())
        });
        println!("{test}: PLIMSOLL_SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }
}
