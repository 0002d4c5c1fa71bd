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
