//! How many requests a backend is given at once, and who says so.
//!
//! What the backend declares comes before what is configured, and that before
//! what is estimated: on mixed requests an estimate is never as good as a
//! number that somebody knows.
//!
//! Invariant: a limit is at least 1, or the backend's recovery could not be seen.

/// More at once than any backend is given: a declared number may be nonsense,
/// and each slot costs memory.
pub const LIMIT_MAX: u32 = 16_384;

/// Where a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitSource {
    /// The backend says it.
    Declared,
    /// The configuration says it.
    Configured,
    /// It is drawn from throughput and time to answer.
    Estimated,
}

/// The limit to configure for a backend with so many workers: 1.25 for each,
/// and one more. With fewer a worker waits for the next request to arrive; each
/// one above is a request that nobody may wait for any more when it is begun.
pub const fn limit_for_workers(workers: u32) -> u32 {
    workers.saturating_add(workers / 4).saturating_add(1)
}

/// The limit and its source. `estimate` and `proven` come from the estimator,
/// `lost` is the number of workers that will not come back.
pub(super) fn limit(
    declared: Option<u32>,
    configured: Option<u32>,
    gateways: u32,
    (estimate, proven): (u32, u32),
    lost: u32,
) -> (u32, LimitSource) {
    let shared = |limit: u32| {
        let share = limit.div_ceil(gateways.max(1));
        share.saturating_sub(lost)
    };
    let (limit, source) = match (declared, configured) {
        (Some(limit), _) => (shared(limit), LimitSource::Declared),
        (None, Some(limit)) => (shared(limit), LimitSource::Configured),
        // The estimate has seen the loss by itself; what was proven has not.
        (None, None) => (
            estimate.max(proven.saturating_sub(lost)),
            LimitSource::Estimated,
        ),
    };
    (limit.clamp(1, LIMIT_MAX), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_best_says() {
        let of = |declared, configured, lost| limit(declared, configured, 1, (20, 15), lost);
        assert_eq!(of(Some(8), Some(11), 0), (8, LimitSource::Declared));
        assert_eq!(of(None, Some(11), 4), (7, LimitSource::Configured));
        assert_eq!(of(None, None, 4), (20, LimitSource::Estimated));
        assert_eq!(of(Some(0), None, 0).0, 1);
        assert_eq!(of(Some(3), None, 9).0, 1);
        assert_eq!(of(Some(u32::MAX), None, 0).0, LIMIT_MAX);
        assert_eq!(limit(None, None, 1, (3, 15), 4).0, 11);
        assert_eq!(limit(Some(11), None, 2, (1, 1), 0).0, 6);
        assert_eq!([1, 4, 8, 16].map(limit_for_workers), [2, 6, 11, 21]);
    }
}
