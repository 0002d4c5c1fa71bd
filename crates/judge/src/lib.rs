//! Decides from counts whether a bundle does harm.
//!
//! [`assess`] compares the canary with a failure budget and with the rest of
//! the fleet. It answers with one of three [`Verdict`]s; no data never passes
//! and never fails.
//!
//! Invariant: a bundle whose true failure share is at most the budget is
//! failed by any one look with a probability of well under one in a hundred
//! (three standard deviations and two whole failures above the mean of a
//! Poisson count). Looks are repeated, so this is no bound over a whole
//! release; callers that need one replace this function behind the same types.

use model::verdict::Evidence;
use model::{BundleCounts, Permille, Rule, Verdict};

/// Failures that are never held against a bundle, however few requests there
/// were: two can be a client's broken connection.
const FAILURES_FREE: u64 = 2;
/// The rest of the fleet is compared with only from this many requests on.
const CONTROL_REQUESTS_MIN: u64 = 20;

/// What a wave must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Requests on the new bundle without which nothing passes.
    pub requests_min: u64,
    /// Share of them that may fail.
    pub failure_budget: Permille,
}

/// Judges `recent` (since the wave began: what a pass needs) and `whole` (since
/// the release reached this environment: what a fail may use).
pub fn assess(recent: &Evidence, whole: &Evidence, policy: &Policy) -> Verdict {
    for evidence in [recent, whole] {
        let harmful = exceeds(evidence.canary, policy.failure_budget);
        if harmful && stands_out(evidence) {
            let BundleCounts { requests, failed } = evidence.canary;
            return Verdict::Fail {
                rule: Rule::FailureBudget,
                reason: format!(
                    "{failed} of {requests} requests failed ({}); the budget is {}, the rest of the fleet has {} of {}",
                    Permille::of(failed, requests),
                    policy.failure_budget,
                    evidence.control.failed,
                    evidence.control.requests,
                ),
                evidence: *evidence,
            };
        }
        if harmful {
            let needs = "the rest of the fleet to recover: it fails as much as the new bundle, which points to another cause";
            return Verdict::Insufficient {
                needs: needs.into(),
            };
        }
    }
    let BundleCounts { requests, failed } = recent.canary;
    if requests < policy.requests_min {
        let more = policy.requests_min - requests;
        let s = if more == 1 { "" } else { "s" };
        return Verdict::Insufficient {
            needs: format!("{more} more request{s} on the new bundle"),
        };
    }
    if failed * 1000 > requests * u64::from(policy.failure_budget.get()) {
        let needs = format!(
            "fewer failures: {failed} of {requests} is over the budget of {}, but too few to blame the bundle",
            policy.failure_budget
        );
        return Verdict::Insufficient { needs };
    }
    Verdict::Pass { evidence: *recent }
}

/// Whether the failures are more than chance gives a bundle that just meets the
/// budget: `failed - 2 > mean + 3 * sqrt(mean)`, in whole numbers so that it
/// replays the same everywhere.
fn exceeds(canary: BundleCounts, budget: Permille) -> bool {
    let failed = u128::from(canary.failed.saturating_sub(FAILURES_FREE)) * 1000;
    let mean = u128::from(canary.requests) * u128::from(budget.get());
    // (failed - mean)^2 > 9 * mean, with both sides in thousandths.
    failed > mean && (failed - mean).pow(2) > 9 * mean * 1000
}

/// Whether the canary fails at least twice as often as the rest of the fleet.
fn stands_out(evidence: &Evidence) -> bool {
    let Evidence { canary, control } = evidence;
    if control.requests < CONTROL_REQUESTS_MIN {
        return true;
    }
    u128::from(canary.failed) * u128::from(control.requests)
        >= 2 * u128::from(control.failed) * u128::from(canary.requests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: Policy = Policy {
        requests_min: 100,
        failure_budget: Permille::new(10).unwrap(),
    };

    fn judge(canary: (u64, u64), control: (u64, u64)) -> Verdict {
        let counts = |(requests, failed)| BundleCounts { requests, failed };
        let evidence = Evidence {
            canary: counts(canary),
            control: counts(control),
        };
        assess(&evidence, &evidence, &POLICY)
    }

    fn word(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Pass { .. } => "pass",
            Verdict::Fail { .. } => "fail",
            Verdict::Insufficient { .. } => "insufficient",
        }
    }

    #[test]
    fn the_cases_people_ask_about() {
        for (canary, control, expected) in [
            ((0, 0), (0, 0), "insufficient"),
            ((0, 0), (10_000, 0), "insufficient"),
            ((2, 2), (1000, 0), "insufficient"),
            ((3, 3), (1000, 0), "fail"),
            ((3, 3), (0, 0), "fail"),
            ((99, 0), (1000, 0), "insufficient"),
            ((100, 0), (1000, 0), "pass"),
            ((100, 1), (1000, 0), "pass"),
            ((100, 4), (1000, 0), "insufficient"),
            ((100, 20), (1000, 0), "fail"),
            // An outage that hits everybody is not this bundle's.
            ((100, 90), (1000, 900), "insufficient"),
        ] {
            let verdict = judge(canary, control);
            assert_eq!(
                word(&verdict),
                expected,
                "{canary:?} {control:?} {verdict:?}"
            );
        }
    }

    #[test]
    fn a_zero_budget_still_forgives_two() {
        let policy = Policy {
            requests_min: 1,
            failure_budget: Permille::NONE,
        };
        let evidence = |failed| Evidence {
            canary: BundleCounts {
                requests: 1000,
                failed,
            },
            control: BundleCounts::default(),
        };
        assert_eq!(
            word(&assess(&evidence(2), &evidence(2), &policy)),
            "insufficient"
        );
        assert_eq!(word(&assess(&evidence(3), &evidence(3), &policy)), "fail");
    }

    proptest! {
        #[test]
        fn silence_never_decides(requests in 0_u64..100, control in 0_u64..1_000_000) {
            prop_assert_eq!(word(&judge((requests, 0), (control, 0))), "insufficient");
        }

        #[test]
        fn more_failures_never_look_better(requests in 1_u64..10_000, failed in 0_u64..10_000, control in 0_u64..10_000) {
            let failed = failed.min(requests - 1);
            let rank = |verdict: &Verdict| match word(verdict) { "pass" => 0, "insufficient" => 1, _ => 2 };
            let one = judge((requests, failed), (control, 0));
            let two = judge((requests, failed + 1), (control, 0));
            prop_assert!(rank(&one) <= rank(&two));
        }

        #[test]
        fn totals_of_any_size_are_fine(a in any::<u64>(), b in any::<u64>(), c in any::<u64>(), d in any::<u64>()) {
            let half = |value: u64| value / 2_000;
            let _ = judge((half(a), half(b)), (half(c), half(d)));
        }
    }
}
