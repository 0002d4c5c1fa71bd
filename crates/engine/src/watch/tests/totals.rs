//! Running totals by bundle and tenant.
//!
//! Invariant: a lost or repeated post changes nothing.

use model::{
    BundleCounts, Digest, EnvironmentName, ErrorBudget, GatewayName, Millis, ServiceName,
    TenantName, Timestamp,
};

use crate::Watch;
use crate::watch::Row;

#[test]
fn late_and_repeated_posts_change_nothing_and_a_new_run_adds() {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut watch = Watch::new(now);
    let (gate, other): (GatewayName, GatewayName) =
        ("gate".parse().unwrap(), "other".parse().unwrap());
    let production: EnvironmentName = "production".parse().unwrap();
    let service: ServiceName = "api".parse().unwrap();
    let digest = Digest::of(b"x");
    let row = |requests, failed| {
        vec![Row {
            service: service.clone(),
            digest,
            tenant: TenantName("t".into()),
            counts: BundleCounts { requests, failed },
        }]
    };
    assert!(watch.count(&gate, &production, 1, row(10, 1), now));
    assert!(!watch.count(&gate, &production, 1, row(20, 2), now));
    watch.count(&gate, &production, 1, row(10, 1), now);
    watch.count(&gate, &production, 1, row(20, 2), now);
    watch.count(&other, &production, 1, row(5, 0), now);
    let seen = |watch: &Watch| watch.exposure(&production, &service, digest).requests;
    assert_eq!(
        seen(&watch),
        BundleCounts {
            requests: 25,
            failed: 2
        }
    );
    assert!(
        watch.count(&gate, &production, 2, row(3, 0), now),
        "a new run of the gateway"
    );
    assert_eq!(
        seen(&watch),
        BundleCounts {
            requests: 28,
            failed: 2
        }
    );
}

/// One process takes over from another under the same name, and both post meanwhile.
#[test]
fn two_runs_of_a_gateway_are_counted_side_by_side() {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut watch = Watch::new(start);
    let gate: GatewayName = "gate".parse().unwrap();
    let production: EnvironmentName = "production".parse().unwrap();
    let service: ServiceName = "api".parse().unwrap();
    let digest = Digest::of(b"x");
    let post = |watch: &mut Watch, epoch_ms, requests, after_s| {
        let row = Row {
            service: service.clone(),
            digest,
            tenant: TenantName("t".into()),
            counts: BundleCounts {
                requests,
                failed: requests / 10,
            },
        };
        let now = Millis::seconds(after_s).after(start);
        let is_new = watch.count(&gate, &production, epoch_ms, vec![row], now);
        let seen = watch.exposure(&production, &service, digest);
        assert_eq!(seen.tenants, 1);
        (is_new, seen.requests.requests, seen.requests.failed)
    };
    assert_eq!(post(&mut watch, 1, 100, 0), (true, 100, 10));
    assert_eq!(post(&mut watch, 2, 30, 1), (true, 130, 13));
    // The old one ends what it has; posts come in any order and more than once.
    assert_eq!(post(&mut watch, 1, 120, 2), (false, 150, 15));
    assert_eq!(post(&mut watch, 2, 40, 2), (false, 160, 16));
    assert_eq!(post(&mut watch, 1, 110, 3), (false, 160, 16));
    assert_eq!(post(&mut watch, 1, 120, 3), (false, 160, 16));
    assert_eq!(post(&mut watch, 2, 50, 4), (false, 170, 17));
    // A third and a fourth: the first is given up, and what it still says is not counted twice.
    assert_eq!(post(&mut watch, 3, 10, 5), (true, 180, 18));
    assert_eq!(post(&mut watch, 4, 10, 6), (true, 190, 19));
    assert_eq!(post(&mut watch, 1, 130, 7), (false, 190, 19));
    assert_eq!(post(&mut watch, 2, 60, 8), (false, 200, 20));
    // Long after, whoever is gone makes room; the one that begins is new.
    assert_eq!(post(&mut watch, 5, 20, 4000), (true, 220, 22));
    assert_eq!(post(&mut watch, 2, 70, 4001), (false, 220, 22));
}

#[test]
fn what_a_gateway_counted_before_this_process_is_exposure_but_spends_no_budget() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut watch = Watch::new(now);
    let gate: GatewayName = "gate".parse().unwrap();
    let production: EnvironmentName = "production".parse().unwrap();
    let service: ServiceName = "api".parse().unwrap();
    let digest = Digest::of(b"x");
    let row = |tenant: &str, requests, failed| Row {
        service: service.clone(),
        digest,
        tenant: TenantName(tenant.into()),
        counts: BundleCounts { requests, failed },
    };
    let budget = ErrorBudget {
        failed_permille_max: model::Permille::NONE,
        window_ms: Millis::seconds(600),
        requests_min: 1,
    };
    watch.count(&gate, &production, 1, vec![row("a", 100, 50)], now);
    let exposure = watch.exposure(&production, &service, digest);
    assert_eq!(exposure.requests.requests, 100);
    assert_eq!(
        watch.budget_spent(&production, &service, &budget, now),
        None
    );
    let later = Millis::seconds(60).after(now);
    let rows = vec![row("a", 103, 51), row("b", 2, 0)];
    watch.count(&gate, &production, 1, rows, later);
    let exposure = watch.exposure(&production, &service, digest);
    assert_eq!(exposure.requests.requests, 105);
    let spent = watch.budget_spent(&production, &service, &budget, later);
    assert!(spent.is_some_and(|words| words.contains("1 of 5 requests")));
}

/// What can't be told apart or added up is said to be so, and never passed off as all there was.
#[test]
fn numbers_that_are_the_least_say_so() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut watch = Watch::new(now);
    watch.rows_max = 3;
    let gate: GatewayName = "gate".parse().unwrap();
    let production: EnvironmentName = "production".parse().unwrap();
    let service: ServiceName = "api".parse().unwrap();
    let row = |bundle: &[u8], tenant: &str, requests| Row {
        service: service.clone(),
        digest: Digest::of(bundle),
        tenant: TenantName(tenant.into()),
        counts: BundleCounts {
            requests,
            failed: 0,
        },
    };
    let seen = |watch: &Watch, bundle: &[u8]| {
        let seen = watch.exposure(&production, &service, Digest::of(bundle));
        let exact = (!seen.tenants_folded, !seen.left_out);
        (seen.requests.requests, seen.tenants, exact)
    };
    let rows = vec![row(b"x", "a", 5), row(b"y", "a", 1)];
    watch.count(&gate, &production, 1, rows, now);
    assert_eq!(seen(&watch, b"x"), (5, 1, (true, true)));
    watch.count(&gate, &production, 1, vec![row(b"x", "~other", 7)], now);
    assert_eq!(seen(&watch, b"x"), (12, 2, (false, true)));
    // No room for another row; those that are known go on.
    let rows = vec![row(b"y", "b", 100), row(b"y", "a", 2)];
    watch.count(&gate, &production, 1, rows, now);
    assert_eq!(seen(&watch, b"y"), (2, 1, (true, false)));
    assert_eq!(seen(&watch, b"x"), (12, 2, (false, true)));
}
