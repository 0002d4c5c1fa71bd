//! Shares and stickiness.

use std::collections::BTreeMap;

use model::{HostName, Permille, Pool};
use proptest::prelude::*;

use super::*;

fn service() -> ServiceName {
    "api".parse().unwrap()
}

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn pool(name: &str, share: u16, backends: usize) -> Pool {
    let backend = |n: usize| Backend {
        host: format!("{name}-{n}").parse::<HostName>().unwrap(),
        address: format!("{name}:{n}"),
    };
    Pool {
        digest: digest(name),
        share_permille: Permille::new(share).unwrap(),
        backends: (0..backends).map(backend).collect(),
    }
}

fn router(pools: Vec<Pool>) -> Router {
    let routes = ServiceRoutes {
        pools,
        ..ServiceRoutes::default()
    };
    Router::new(&service(), &routes)
}

fn split(share: u16) -> Router {
    router(vec![pool("old", 1000 - share, 2), pool("new", share, 1)])
}

fn bucket(tenant: &str) -> Bucket {
    Bucket::of(&service(), tenant)
}

fn is_new(router: &Router, tenant: &str) -> bool {
    router.choose(bucket(tenant)).unwrap().label.digest == digest("new")
}

#[test]
fn nobody_and_everybody_are_exact() {
    let (none, all) = (split(0), split(1000));
    for n in 0..5_000 {
        let tenant = format!("tenant-{n}");
        assert!(!is_new(&none, &tenant));
        assert!(is_new(&all, &tenant));
    }
}

#[test]
fn the_realised_share_is_the_share() {
    const TENANTS: u32 = 20_000;
    for share in [1, 10, 50, 250, 500, 900] {
        let router = split(share);
        let met = (0..TENANTS)
            .filter(|n| is_new(&router, &format!("customer {n}")))
            .count();
        let wanted = f64::from(share) / 1000.0 * f64::from(TENANTS);
        // Five standard deviations of a fair draw.
        let spread = 5.0 * (wanted * (1.0 - f64::from(share) / 1000.0)).sqrt();
        let off = (f64::from(u32::try_from(met).unwrap()) - wanted).abs();
        assert!(off <= spread, "share {share}: {met} of {TENANTS}");
    }
}

proptest! {
    #[test]
    fn a_tenant_stays_on_the_newer_bundle_while_its_share_grows(
        tenant in ".{0,40}", a in 0_u16..=1000, b in 0_u16..=1000
    ) {
        let (less, more) = (split(a.min(b)), split(a.max(b)));
        prop_assert!(!is_new(&less, &tenant) || is_new(&more, &tenant));
        // And asking again changes nothing.
        prop_assert_eq!(is_new(&less, &tenant), is_new(&less, &tenant));
    }

    #[test]
    fn a_choice_is_always_of_a_pool_with_backends(
        shares in proptest::collection::vec((0_u16..=1000, 0_usize..3), 0..5),
        tenant in ".{0,20}",
    ) {
        let pools: Vec<Pool> = shares
            .iter()
            .enumerate()
            .map(|(n, (share, backends))| pool(&format!("p{n}"), *share, *backends))
            .collect();
        let any = pools.iter().any(|pool| !pool.backends.is_empty());
        let by_digest: BTreeMap<Digest, Pool> =
            pools.iter().map(|pool| (pool.digest, pool.clone())).collect();
        let router = router(pools);
        match router.choose(bucket(&tenant)) {
            Ok(choice) => {
                let pool = &by_digest[&choice.label.digest];
                let listed: Vec<_> = router.backends().collect();
                let own = listed[choice.backends].iter().map(|(backend, _)| (*backend).clone());
                prop_assert_eq!(own.collect::<Vec<_>>(), pool.backends.clone());
            }
            Err(NoBackend) => prop_assert!(!any),
        }
    }
}

#[test]
fn a_share_without_a_host_falls_back_to_the_settled_pool() {
    let router = router(vec![pool("old", 0, 1), pool("new", 1000, 0)]);
    assert!(!is_new(&router, "acme"));
    assert_eq!(
        self::router(vec![pool("old", 500, 0), pool("new", 500, 0)])
            .choose(bucket("acme"))
            .unwrap_err(),
        NoBackend
    );
    assert_eq!(
        self::router(vec![]).choose(bucket("acme")).unwrap_err(),
        NoBackend
    );
}
