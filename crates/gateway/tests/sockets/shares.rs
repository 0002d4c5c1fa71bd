//! How much of the traffic meets a new bundle, and who.
//!
//! A share is cut from the scale of buckets, and a tenant's bucket follows from its name. So a
//! tenant is always on one side, and what a share means for *requests* depends on who asks: of
//! many tenants that ask alike it is the share, but for the luck of their names (see `routing`);
//! of three tenants it is none, one, two or three thirds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use edge::{BUCKETS, Bucket};
use tokio::task::JoinSet;

use crate::fleet::{Client, Control, Gateway, Host, config, pool, service, table};
use crate::serving::until_seen;

const CLIENTS: usize = 8;
const SHARES_PERMILLE: [u16; 3] = [10, 50, 250];

struct Split {
    control: Arc<Control>,
    gateway: Gateway,
    old: Host,
    new: Host,
}

impl Split {
    async fn start() -> Split {
        let (old, new) = (Host::named("old").await, Host::named("new").await);
        let control = Control::start(table(1, vec![pool("old", 1000, &[old.address])])).await;
        let mut config = config(control.address);
        // It is the split that is looked at, not who waits.
        config.concurrency = gateway::Concurrency::Unlimited;
        let gateway = Gateway::ready(config).await;
        Split {
            control,
            gateway,
            old,
            new,
        }
    }

    async fn set(&self, version: u64, new_permille: u16) {
        self.control.set(table(
            version,
            vec![
                pool("old", 1000 - new_permille, &[self.old.address]),
                pool("new", new_permille, &[self.new.address]),
            ],
        ));
        let in_force = format!("plimsoll_gateway_routes_version {version}\n");
        until_seen(true, async || {
            self.gateway.metrics().await.contains(&in_force)
        })
        .await;
    }

    /// Each tenant asks once; who met the new bundle.
    async fn ask_all(&self, tenants: &Arc<Vec<String>>) -> BTreeSet<String> {
        let mut clients = JoinSet::new();
        for first in 0..CLIENTS {
            let (address, tenants) = (self.gateway.address, tenants.clone());
            clients.spawn(ask_part(address, tenants, first));
        }
        clients.join_all().await.into_iter().flatten().collect()
    }

    /// Sets each share in turn; who met the new bundle at each.
    async fn at_each_share(&self, tenants: Vec<String>) -> Vec<(f64, BTreeSet<String>)> {
        let tenants = Arc::new(tenants);
        let mut met = Vec::new();
        for (version, share) in (2..).zip(SHARES_PERMILLE) {
            self.set(version, share).await;
            met.push((f64::from(share) / 10.0, self.ask_all(&tenants).await));
        }
        for pair in met.windows(2) {
            assert!(
                pair[0].1.is_subset(&pair[1].1),
                "nobody goes back while it grows"
            );
        }
        let some = Arc::new(tenants.iter().step_by(10).cloned().collect());
        let again = self.ask_all(&some).await;
        let before = met.last().map(|(_, met)| met.clone()).unwrap_or_default();
        let stays = |tenant: &String| before.contains(tenant) == again.contains(tenant);
        assert!(some.iter().all(stays), "each stays on its side");
        met
    }
}

async fn ask_part(address: SocketAddr, tenants: Arc<Vec<String>>, first: usize) -> Vec<String> {
    let mut client = Client::to(address).await;
    let mut met = Vec::new();
    for tenant in tenants.iter().skip(first).step_by(CLIENTS) {
        let answer = client.get(tenant).await;
        match answer.text().as_str() {
            "new" => met.push(tenant.clone()),
            "old" => {}
            other => panic!("{} {other}", answer.status),
        }
    }
    met
}

/// One tenant for each bucket: what is left of the law of large numbers once luck is taken out.
fn one_for_each_bucket() -> Vec<String> {
    let service = service();
    let mut found = BTreeMap::new();
    for n in 0_u32.. {
        let tenant = format!("t-{n}");
        found
            .entry(Bucket::of(&service, &tenant).get())
            .or_insert(tenant);
        if found.len() == usize::from(BUCKETS) {
            break;
        }
    }
    found.into_values().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_is_realised_to_a_fifth_of_a_point() {
    let split = Split::start().await;
    let tenants = one_for_each_bucket();
    assert_eq!(tenants.len(), 10_000);
    for (share, met) in split.at_each_share(tenants).await {
        let realised = f64::from(u32::try_from(met.len()).unwrap()) / 100.0;
        println!("{share} % of 10000 requests: {realised} %");
        assert!((realised - share).abs() <= 0.2, "{share} %: {realised} %");
    }
    split.gateway.stop().await;
}

/// The split is by tenant, so few tenants can't be split finely: each is wholly on one side.
#[tokio::test]
async fn few_tenants_are_each_wholly_on_one_side() {
    let split = Split::start().await;
    split.set(2, 250).await;
    let tenants = ["acme", "bolt", "core"];
    let mut client = Client::to(split.gateway.address).await;
    for tenant in tenants {
        let is_new = Bucket::of(&service(), tenant).get() < BUCKETS / 4;
        let expected = if is_new { "new" } else { "old" };
        for _ in 0..20 {
            assert_eq!(client.get(tenant).await.text(), expected);
        }
    }
    split.gateway.stop().await;
}
