//! A load balancer that is none of ours: it spreads requests over hosts and counts them.
//!
//! Invariant: what it counts are answers of real servers; a connection that a
//! host does not take is tried at the next one, as balancers do, and is nobody's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use drill::load::{SESSION_HEADER, SessionDraw};
use drill::world::Place;
use model::HostName;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Customers wait so long for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Requests that a host has answered since the balancer began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) requests: u64,
    /// Of these with 5xx, or without an answer in time.
    pub(crate) failed: u64,
}

/// Running totals by host.
pub(crate) type Totals = BTreeMap<HostName, Counted>;

/// A running balancer with its customers; it ends when it is dropped.
pub(crate) struct Balancer {
    totals: Arc<Mutex<Totals>>,
    task: JoinHandle<()>,
}

impl Balancer {
    pub(crate) fn start(hosts: Vec<Place>, rate_per_s: u32, seed: u64) -> Result<Balancer> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .pool_max_idle_per_host(0)
            .timeout(ANSWER_WITHIN)
            .build()?;
        let totals: Arc<Mutex<Totals>> = Arc::default();
        let task = tokio::spawn(spread(
            client,
            hosts.into(),
            Duration::from_secs(1) / rate_per_s,
            SessionDraw::new(seed),
            Arc::clone(&totals),
        ));
        Ok(Balancer { totals, task })
    }

    /// As they stand.
    pub(crate) fn totals(&self) -> Arc<Mutex<Totals>> {
        Arc::clone(&self.totals)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A copy of the totals at this moment.
pub(crate) fn now(totals: &Mutex<Totals>) -> Totals {
    // Nothing panics half way through a change.
    let totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
    totals.clone()
}

/// One request after the other, each to the next host; none waits for another.
async fn spread(
    client: reqwest::Client,
    hosts: Arc<[Place]>,
    every: Duration,
    mut sessions: SessionDraw,
    totals: Arc<Mutex<Totals>>,
) {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for first in 0.. {
        interval.tick().await;
        let (client, hosts, totals) = (client.clone(), Arc::clone(&hosts), Arc::clone(&totals));
        let session = sessions.draw();
        tokio::spawn(async move {
            for step in 0..hosts.len() {
                let place = &hosts[(first + step) % hosts.len()];
                let request = client
                    .get(format!("http://{}/v1/orders", place.address))
                    .header("x-api-key", "tenant-0001")
                    .header(SESSION_HEADER, session.clone());
                let failed = match request.send().await {
                    Ok(answer) => answer.status().is_server_error(),
                    Err(error) if error.is_connect() => continue,
                    Err(_) => true,
                };
                let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                let counted = totals.entry(place.name.clone()).or_default();
                counted.requests += 1;
                counted.failed += u64::from(failed);
                return;
            }
        });
    }
}
