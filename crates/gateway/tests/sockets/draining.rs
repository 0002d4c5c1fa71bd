//! Hosts that leave the routes end what they have, and the gateway says when they are empty.

use std::time::Duration;

use model::{Drained, RouteTable};
use tokio::sync::watch;

use crate::fleet::{Client, Control, Gateway, Host, config, pool, service, table, until};

/// The table without a host, which is to be emptied.
fn without(version: u64, left: &Host, drained: &Host) -> RouteTable {
    let mut table = table(version, vec![pool("old", 1000, &[left.address])]);
    let routes = table.services.get_mut(&service()).unwrap();
    routes.drained = vec![Drained {
        host: "old-1".parse().unwrap(),
        address: drained.address.to_string(),
        since: "2026-01-01T00:00:00Z".parse().unwrap(),
    }];
    table
}

fn in_flight(control: &Control, version: u64) -> Option<u64> {
    let known = control.known.lock().unwrap();
    let applied = known.applied.as_ref()?;
    let drained = applied.drained.first()?;
    (applied.version == version).then_some(drained.requests)
}

/// A host that answers once it is let.
async fn slow(name: &'static str, go: watch::Receiver<bool>) -> Host {
    let answer = move || {
        let mut go = go.clone();
        async move {
            let _ = go.wait_for(|go| *go).await;
            name
        }
    };
    Host::serve(axum::Router::new().fallback(answer)).await
}

#[tokio::test]
async fn what_a_drained_host_works_on_is_counted_until_it_is_answered() {
    let (let_go, go) = watch::channel(false);
    let (_let_other, other) = watch::channel(true);
    let (a, b) = (slow("a", other).await, slow("b", go).await);
    let both = table(1, vec![pool("old", 1000, &[a.address, b.address])]);
    let control = Control::start(both).await;
    let gateway = Gateway::ready(config(control.address)).await;
    // Requests until one is at each: those at `b` hang.
    let asks = |n: usize| {
        let address = gateway.address;
        tokio::spawn(async move {
            let mut client = Client::to(address).await;
            client.get(&format!("tenant-{n}")).await
        })
    };
    let asked: Vec<_> = (0..8).map(asks).collect();
    until("some requests hang", || {
        b.connections.load(std::sync::atomic::Ordering::Relaxed) > 0
    })
    .await;
    control.set(without(2, &a, &b));
    until("the gateway says what it has there", || {
        in_flight(&control, 2).is_some_and(|requests| requests > 0)
    })
    .await;
    // New requests go to the other, and pooled connections to the drained one are not used.
    let before = b.connections.load(std::sync::atomic::Ordering::Relaxed);
    let mut client = Client::to(gateway.address).await;
    for n in 0..20 {
        assert_eq!(client.get(&format!("tenant-{n}")).await.text(), "a");
    }
    assert_eq!(
        b.connections.load(std::sync::atomic::Ordering::Relaxed),
        before
    );
    assert!(in_flight(&control, 2).is_some_and(|requests| requests > 0));
    let_go.send_replace(true);
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200, "none is cut");
    }
    until("the host is empty", || in_flight(&control, 2) == Some(0)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn tenants_who_are_not_let_in_yet_are_told_to_come_back() {
    let host = Host::named("a").await;
    let mut quarter = table(1, vec![pool("old", 1000, &[host.address])]);
    let routes = quarter.services.get_mut(&service()).unwrap();
    routes.open_permille = model::Permille::of(1, 4);
    let control = Control::start(quarter).await;
    let gateway = Gateway::ready(config(control.address)).await;
    let mut client = Client::to(gateway.address).await;
    let mut met = 0;
    for n in 0..400 {
        let answer = client.get(&format!("tenant-{n}")).await;
        // Whole tenants: the second answer is like the first.
        assert_eq!(
            client.get(&format!("tenant-{n}")).await.status,
            answer.status
        );
        match answer.status {
            200 => met += 1,
            503 => {
                assert_eq!(answer.headers["x-plimsoll-reason"], "ramping");
                assert!(answer.headers.contains_key("retry-after"));
            }
            other => panic!("{other}"),
        }
    }
    assert!((60..=140).contains(&met), "{met} of 400");
    control.set(table(2, vec![pool("old", 1000, &[host.address])]));
    tokio::time::timeout(Duration::from_secs(5), async {
        for n in 0..400 {
            while client.get(&format!("tenant-{n}")).await.status != 200 {}
        }
    })
    .await
    .unwrap();
    assert_eq!(control.total().failed, 0, "nobody's failure");
    gateway.stop().await;
}
