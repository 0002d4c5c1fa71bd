//! Requests to the service on this host, at a steady rate whether or not they are answered.
//!
//! Invariant: nothing but the service's own address is ever asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::gate::LoadPlan;
use model::{Task, TaskOutcome};
use reqwest::Url;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Span;
use crate::error::chain;

/// A request without an answer for so long has failed: longer than people wait for one.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Requests under way at the same time: a service that answers within a second
/// holds its rate of hundreds. What comes at the limit is counted as failed, not kept waiting.
const IN_FLIGHT_MAX: usize = 512;
/// A host's agent is no load generator; more than this would starve what it measures.
const RATE_PER_S_MAX: u32 = 2000;
/// An answer is read up to here, so that its connection can be used again.
const BODY_BYTES_MAX: usize = 1 << 20;
/// After a pause of this length (a stopped machine) no requests are made up for.
const LAG_MAX: Duration = Duration::from_secs(1);

/// Asks until `stop`, or the task's end, then tells the totals.
pub(super) async fn run(
    task: &Task,
    plan: &LoadPlan,
    url: &str,
    span: Span,
    stop: CancellationToken,
) -> TaskOutcome {
    let url = match own(url, &task.address) {
        Ok(url) => url,
        Err(reason) => return TaskOutcome::Broken { reason },
    };
    if plan.rate_per_s == 0 || plan.rate_per_s > RATE_PER_S_MAX {
        let rate = plan.rate_per_s;
        let reason = format!("{rate} requests each second are not between 1 and {RATE_PER_S_MAX}");
        return TaskOutcome::Broken { reason };
    }
    let client = match client() {
        Ok(client) => client,
        Err(error) => {
            let reason = chain(&error);
            return TaskOutcome::Broken { reason };
        }
    };
    let failed = Arc::new(AtomicU64::new(0));
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut under_way = JoinSet::new();
    let mut requests = 0;
    let pause = Duration::from_secs(1) / plan.rate_per_s;
    let mut beat = tokio::time::interval(pause);
    // What is late is made up for at once: the rate holds though the timer is coarse.
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = tokio::time::sleep_until(span.until);
    tokio::pin!(end);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = &mut end => break,
            due = beat.tick() => {
                if due.elapsed() > LAG_MAX {
                    beat.reset();
                }
            }
        }
        while under_way.try_join_next().is_some() {}
        requests += 1;
        let Ok(place) = places.clone().try_acquire_owned() else {
            failed.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (client, url, failed) = (client.clone(), url.clone(), failed.clone());
        under_way.spawn(async move {
            let _place = place;
            if !answers(&client, url).await {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // Each has a deadline of its own, so this ends.
    while under_way.join_next().await.is_some() {}
    let failed = failed.load(Ordering::Relaxed);
    TaskOutcome::Loaded { requests, failed }
}

/// The URL, if it leads to the service's own address.
fn own(url: &str, address: &str) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|error| format!("{url:?} is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{url} is neither http nor https"));
    }
    // The address is read as a URL's is, so that both are written the same way.
    let own = Url::parse(&format!("{}://{address}/", url.scheme()));
    let own = own.map_err(|error| format!("the address {address:?}: {error}"))?;
    let place = |url: &Url| {
        (
            url.host_str().map(str::to_owned),
            url.port_or_known_default(),
        )
    };
    match place(&url) == place(&own) {
        true => Ok(url),
        false => Err(format!("{url} is not this host's own address {address}")),
    }
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_WITHIN)
        .user_agent(concat!("plimsoll-load/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Whether there was an answer below 500, whole and in time.
async fn answers(client: &reqwest::Client, url: Url) -> bool {
    let Ok(mut answer) = client.get(url).send().await else {
        return false;
    };
    let good = !answer.status().is_server_error();
    let mut read = 0;
    while read <= BODY_BYTES_MAX {
        match answer.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) => break,
            Err(_) => return false,
        }
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_address() {
        assert!(own("http://10.0.0.1:80/x", "10.0.0.1:80").is_ok());
        assert!(own("http://10.0.0.1/x?y", "10.0.0.1:80").is_ok());
        assert!(own("http://WEB.internal:8080", "web.internal:8080").is_ok());
        for bad in [
            "http://10.0.0.2:80/",
            "http://10.0.0.1:81/",
            "http://10.0.0.1:80@elsewhere/",
            "ftp://10.0.0.1:80/",
            "${address}/x",
        ] {
            assert!(own(bad, "10.0.0.1:80").is_err(), "{bad}");
        }
    }
}
