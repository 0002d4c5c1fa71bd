//! Weights, stickiness, and routes that change while requests run.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fleet::{Client, Control, Gateway, Host, before, config, pool, table, until};

const TENANTS: usize = 2_000;

/// Which tenants the new bundle answers, asked for with real requests.
async fn on_new(client: &mut Client) -> BTreeSet<usize> {
    let mut met = BTreeSet::new();
    for n in 0..TENANTS {
        let answer = client.get(&format!("tenant-{n}")).await;
        assert_eq!(answer.status, 200);
        if answer.text() == "new" {
            met.insert(n);
        }
    }
    met
}

#[tokio::test]
async fn weights_hold_tenants_stay_and_changes_are_live() {
    let (old, new) = (Host::named("old").await, Host::named("new").await);
    let split = |version, share| {
        let pools = vec![
            pool("old", 1000 - share, &[old.address]),
            pool("new", share, &[new.address]),
        ];
        table(version, pools)
    };
    let control = Control::start(split(1, 0)).await;
    let gateway = Gateway::ready(config(control.address)).await;
    // One connection throughout: a change reaches connections that are open.
    let mut client = Client::to(gateway.address).await;
    let mut before = on_new(&mut client).await;
    assert!(before.is_empty());
    let mut requests_on_new = 0;
    for (version, share) in [(2, 10), (3, 250), (4, 1000)] {
        control.set(split(version, share));
        let line = format!("plimsoll_gateway_routes_version {version}\n");
        for _ in 0..200 {
            if gateway.metrics().await.contains(&line) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let met = on_new(&mut client).await;
        let wanted = f64::from(share) / 1000.0 * 2000.0;
        let spread = 4.0 * (wanted * (1.0 - f64::from(share) / 1000.0)).sqrt();
        let off = (f64::from(u32::try_from(met.len()).unwrap()) - wanted).abs();
        assert!(off <= spread, "share {share}: {} of {TENANTS}", met.len());
        assert!(met.is_superset(&before), "a tenant left the new bundle");
        requests_on_new += met.len() as u64;
        before = met;
    }
    gateway.stop().await;
    // The labels outlive the tables: every request stands under the bundle that answered.
    let known = control.known.lock().unwrap();
    let on = |name: &str| -> u64 {
        let digest = crate::fleet::digest(name);
        let rows = known
            .rows
            .iter()
            .filter(|((bundle, _), _)| *bundle == digest);
        rows.map(|(_, counts)| counts.requests).sum()
    };
    assert_eq!(on("new"), requests_on_new);
    assert_eq!(on("old") + on("new"), 4 * TENANTS as u64);
    assert!(known.rows_max <= 2_000);
}

#[tokio::test]
async fn hosts_take_turns_and_a_removed_one_gets_no_more() {
    let (a, b) = (Host::named("a").await, Host::named("b").await);
    let (control, gateway) = before(&[a.address, b.address]).await;
    let mut client = Client::to(gateway.address).await;
    let mut met = Vec::new();
    for _ in 0..10 {
        met.push(client.get("acme").await.text());
    }
    assert_eq!(met.iter().filter(|name| *name == "a").count(), 5);
    control.set(table(2, vec![pool("old", 1000, &[b.address])]));
    until_only(&mut client, "b").await;
    gateway.stop().await;
}

async fn until_only(client: &mut Client, name: &str) {
    for _ in 0..200 {
        let first = client.get("acme").await.text();
        if first == name && client.get("acme").await.text() == name {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("others than {name} still answer");
}

#[tokio::test]
async fn without_routes_or_hosts_the_gateway_refuses_and_blames_no_bundle() {
    let control = Control::start(table(1, vec![])).await;
    let gateway = Gateway::ready(config(control.address)).await;
    let mut client = Client::to(gateway.address).await;
    let answer = client.get("acme").await;
    assert_eq!((answer.status, answer.reason()), (503, "no_host"));
    assert_eq!(answer.header("retry-after"), "1");
    let mut without = table(2, vec![]);
    without.services.clear();
    control.set(without);
    let mut reason = String::new();
    for _ in 0..200 {
        reason = client.get("acme").await.reason().to_owned();
        if reason == "no_routes" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(reason, "no_routes");
    gateway.stop().await;
    assert_eq!(control.total().requests, 0);
    until("no rows", || control.known.lock().unwrap().rows.is_empty()).await;
}
