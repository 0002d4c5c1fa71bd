//! Every request is in one second, and every second arrives or is counted as lost.

use std::collections::BTreeSet;

use model::{Backend, Digest, EndpointClass, Permille, Pool, ServiceName, ServiceRoutes};
use proptest::prelude::*;

use super::*;
use crate::Router;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn service() -> ServiceName {
    "api".parse().unwrap()
}

fn pool(name: &str, share: u16, hosts: usize) -> Pool {
    let backend = |n: usize| Backend {
        host: format!("{name}-{n}").parse().unwrap(),
        address: format!("{name}:{n}"),
    };
    Pool {
        digest: Digest::of(name.as_bytes()),
        share_permille: Permille::new(share).unwrap(),
        backends: (0..hosts).map(backend).collect(),
    }
}

fn router(hosts: usize) -> Router {
    let routes = ServiceRoutes {
        endpoints: vec![EndpointClass {
            name: "pay".to_owned(),
            methods: Vec::new(),
            paths: vec!["/pay".to_owned()],
            ..EndpointClass::default()
        }],
        pools: vec![pool("old", 500, hosts), pool("new", 500, hosts)],
        ..ServiceRoutes::default()
    };
    Router::new(&service(), &routes)
}

fn spot(router: &Router, tenant: &str, path: &str) -> Spot {
    spot_at(router, tenant, path, 0)
}

/// At the pool's backend with this number.
fn spot_at(router: &Router, tenant: &str, path: &str, backend: usize) -> Spot {
    let bucket = crate::Bucket::of(&"api".parse().unwrap(), tenant);
    let backend = router.choose(bucket).unwrap().backends.start + backend;
    let class = router.classes().of("GET", path);
    router.spot(backend, bucket, class).unwrap()
}

fn counts(taken: &[Arc<Second>], now: Duration) -> Vec<TickCounts> {
    taken.iter().map(|second| second.counts(now)).collect()
}

#[test]
fn a_second_is_told_once_it_is_over_by_host_class_and_latency() {
    let router = router(1);
    let mut ticks = Ticks::default();
    let acme = spot(&router, "acme", "/pay");
    let read = spot(&router, "acme", "/");
    ticks.settle(ms(100), &acme, Outcome::Served, Some(ms(1)));
    ticks.settle(ms(200), &acme, Outcome::Failed, Some(ms(1)));
    ticks.settle(ms(300), &acme, Outcome::Failed, None);
    ticks.settle(ms(400), &acme, Outcome::Gone, None);
    ticks.settle(ms(999), &read, Outcome::Served, Some(ms(50)));
    assert!(ticks.take(ms(999)).is_empty());
    ticks.settle(ms(1_000), &read, Outcome::Served, Some(Duration::ZERO));

    let [tick] = &counts(&ticks.take(ms(1_250)), ms(1_250))[..] else {
        panic!("one second is over");
    };
    assert_eq!((tick.seq, tick.age_ms), (1, 250));
    let told: Vec<_> = tick
        .cells
        .iter()
        .map(|cell| (cell.class.as_str(), cell.requests, cell.failed))
        .collect();
    assert_eq!(told, [("pay", 3, 2), ("read", 1, 0)]);
    let pay = &tick.cells[0];
    assert_eq!(pay.service, service());
    assert_eq!(pay.digest, Some(acme.place.label.digest));
    assert_eq!(pay.host.as_ref(), Some(&acme.place.host));
    assert_eq!(pay.latency, [(latency_bucket(1_000), 2), (31, 1)]);
    assert_eq!(
        tick.cells[1].latency,
        [(latency_bucket(50_000), 1)],
        "50 ms"
    );
    let [client] = &tick.clients[..] else {
        panic!("one group of one bundle");
    };
    assert_eq!((client.group, client.requests, client.failed), (27, 4, 2));
}

#[test]
fn seconds_without_a_request_are_told_too_and_repeated_until_acknowledged() {
    let router = router(1);
    let mut ticks = Ticks::default();
    ticks.settle(
        ms(2_100),
        &spot(&router, "acme", "/"),
        Outcome::Served,
        None,
    );
    let told = counts(&ticks.take(ms(4_050)), ms(4_050));
    let shape: Vec<_> = told
        .iter()
        .map(|tick| (tick.seq, tick.age_ms, tick.cells.len()))
        .collect();
    assert_eq!(
        shape,
        [(1, 3_050, 0), (2, 2_050, 0), (3, 1_050, 1), (4, 50, 0)]
    );
    assert_eq!(counts(&ticks.take(ms(4_050)), ms(4_050)), told);
    ticks.acknowledge(3);
    let left: Vec<u64> = ticks.take(ms(4_999)).iter().map(|it| it.seq()).collect();
    assert_eq!(left, [4]);
    // A control plane may say anything.
    ticks.acknowledge(1);
    assert_eq!(ticks.waiting(ms(4_999)), 1);
    ticks.acknowledge(u64::MAX);
    assert_eq!((ticks.waiting(ms(4_999)), ticks.dropped()), (0, 0));
}

#[test]
fn a_clock_read_before_the_last_one_changes_nothing() {
    let router = router(1);
    let mut ticks = Ticks::default();
    let spot = spot(&router, "acme", "/");
    ticks.settle(ms(1_001), &spot, Outcome::Served, None);
    ticks.settle(ms(999), &spot, Outcome::Served, None);
    let told = counts(&ticks.take(ms(2_000)), ms(2_000));
    let requests: Vec<u64> = told
        .iter()
        .map(|tick| tick.cells.iter().map(|cell| cell.requests).sum())
        .collect();
    assert_eq!(requests, [0, 2]);
}

#[test]
fn the_oldest_seconds_go_when_nobody_takes_them() {
    let router = router(1);
    let spot = spot(&router, "acme", "/");
    let mut ticks = Ticks::default();
    for second in 0..200 {
        ticks.settle(ms(second * 1_000), &spot, Outcome::Served, None);
    }
    assert_eq!(ticks.waiting(ms(200_000)), TICKS_PER_POST_MAX);
    assert_eq!(ticks.dropped(), 80);
    assert_eq!(ticks.take(ms(200_000))[0].seq(), 81);
    // The machine stood still for a year.
    let year = Duration::from_secs(31_536_000);
    assert_eq!(ticks.waiting(year), TICKS_PER_POST_MAX);
    assert_eq!(ticks.dropped(), 31_536_000 - TICKS_PER_POST_MAX as u64);
    let newest = ticks.take(year).last().map(|second| second.seq());
    assert_eq!(newest, Some(31_536_000));
}

#[test]
fn what_will_never_be_taken_is_given_up_and_counted() {
    let mut ticks = Ticks::default();
    assert_eq!(ticks.waiting(ms(5_000)), 5);
    ticks.give_up(3);
    assert_eq!((ticks.waiting(ms(5_000)), ticks.dropped()), (2, 3));
}

#[test]
fn the_last_second_is_told_though_it_is_not_over() {
    let router = router(1);
    let mut ticks = Ticks::default();
    ticks.settle(
        ms(1_200),
        &spot(&router, "acme", "/"),
        Outcome::Served,
        None,
    );
    ticks.finish(ms(1_300));
    let told = counts(&ticks.take(ms(1_400)), ms(1_400));
    let shape: Vec<_> = told
        .iter()
        .map(|tick| (tick.seq, tick.age_ms, tick.cells.len()))
        .collect();
    assert_eq!(shape, [(1, 400, 0), (2, 100, 1)]);
}

#[test]
fn hosts_without_room_are_counted_together() {
    let hosts = HOST_CELLS_MAX;
    let router = router(hosts);
    let mut ticks = Ticks::default();
    // Every host of one bundle is met twice, with one class each time.
    let tenant = "acme";
    for path in ["/", "/pay"] {
        for host in 0..hosts {
            let spot = spot_at(&router, tenant, path, host);
            ticks.settle(ms(1), &spot, Outcome::Served, None);
        }
    }
    let [tick] = &counts(&ticks.take(ms(1_000)), ms(1_000))[..] else {
        panic!("one second is over");
    };
    assert_eq!(tick.cells.len(), HOST_CELLS_MAX + 1);
    let folded: Vec<_> = tick
        .cells
        .iter()
        .filter(|cell| cell.host.is_none())
        .collect();
    let [folded] = &folded[..] else {
        panic!("one class of one bundle: {folded:?}");
    };
    assert_eq!(
        (folded.class.as_str(), folded.requests),
        ("pay", hosts as u64)
    );
    assert_eq!(ticks.folded(), hosts as u64);
}

#[test]
fn a_post_has_a_bound_and_so_has_the_queue() {
    let hosts = 3_000;
    let router = router(hosts);
    let mut ticks = Ticks::default();
    for second in 0..40 {
        for host in 0..hosts {
            let spot = spot_at(&router, "acme", "/", host);
            ticks.settle(ms(second * 1_000), &spot, Outcome::Served, None);
        }
    }
    let now = ms(40_000);
    // 3,032 entries each: one fits into a post, 21 into the queue.
    assert_eq!(ticks.take(now).len(), 1);
    assert_eq!(ticks.waiting(now), CELLS_QUEUED_MAX / 3_032);
    assert_eq!(ticks.dropped(), 40 - 21);
}

#[test]
fn a_change_of_routes_does_not_split_a_cell() {
    let (before, after) = (router(1), router(1));
    let mut ticks = Ticks::default();
    for router in [&before, &after] {
        ticks.settle(ms(1), &spot(router, "acme", "/"), Outcome::Failed, None);
    }
    let [tick] = &counts(&ticks.take(ms(1_000)), ms(1_000))[..] else {
        panic!("one second is over");
    };
    assert_eq!((tick.cells.len(), tick.clients.len()), (1, 1));
    assert_eq!((tick.cells[0].requests, tick.clients[0].failed), (2, 2));
}

#[derive(Debug, Clone)]
enum Step {
    Settle(u8, bool, Outcome),
    Pass(u64),
    Post { arrives: bool, acknowledged: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Served),
        1 => Just(Outcome::Failed),
        1 => Just(Outcome::Gone),
    ];
    prop_oneof![
        6 => (0_u8..40, any::<bool>(), outcome).prop_map(|(t, pay, o)| Step::Settle(t, pay, o)),
        3 => (0_u64..2_500).prop_map(Step::Pass),
        3 => (any::<bool>(), any::<bool>())
            .prop_map(|(arrives, acknowledged)| Step::Post { arrives, acknowledged }),
    ]
}

fn sum(ticks: &[TickCounts]) -> (u64, u64) {
    let cells = ticks.iter().flat_map(|tick| &tick.cells);
    cells.fold((0, 0), |(requests, failed), cell| {
        (requests + cell.requests, failed + cell.failed)
    })
}

proptest! {
    #[test]
    fn whatever_is_lost_each_request_is_known_once(
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let router = router(3);
        let mut ticks = Ticks::default();
        let (mut now, mut known, mut through) = (Duration::ZERO, Vec::new(), 0);
        let mut expected = (0, 0);
        for step in steps {
            match step {
                Step::Settle(tenant, pay, outcome) => {
                    let path = if pay { "/pay" } else { "/" };
                    let spot = spot(&router, &format!("t{tenant}"), path);
                    ticks.settle(now, &spot, outcome, Some(ms(u64::from(tenant))));
                    expected.0 += u64::from(outcome != Outcome::Gone);
                    expected.1 += u64::from(outcome == Outcome::Failed);
                }
                Step::Pass(millis) => now += ms(millis),
                Step::Post { arrives, acknowledged } => {
                    let posted = counts(&ticks.take(now), now);
                    if arrives {
                        let news = posted.into_iter().filter(|tick| tick.seq > through);
                        known.extend(news);
                        through = known.last().map_or(0, |tick: &TickCounts| tick.seq);
                    }
                    if arrives && acknowledged {
                        ticks.acknowledge(through);
                    }
                }
            }
        }
        prop_assume!(ticks.dropped() == 0);
        ticks.finish(now);
        let rest = counts(&ticks.take(now), now);
        known.extend(rest.into_iter().filter(|tick| tick.seq > through));
        prop_assert_eq!(sum(&known), expected);
        let seqs: BTreeSet<u64> = known.iter().map(|tick| tick.seq).collect();
        prop_assert!(seqs.into_iter().eq(1..=known.len() as u64), "without a gap");
        for tick in &known {
            let clients = tick.clients.iter();
            let groups = clients.fold((0, 0), |(requests, failed), group| {
                (requests + group.requests, failed + group.failed)
            });
            prop_assert_eq!(groups, sum(std::slice::from_ref(tick)));
            for cell in &tick.cells {
                let slow: u64 = cell.latency.iter().map(|(_, count)| count).sum();
                prop_assert_eq!(slow, cell.requests);
            }
        }
    }
}
