//! Follows the control plane's routes by long poll.
//!
//! Invariant: without the control plane the routes in force stay in force.

use std::sync::Arc;
use std::time::Duration;

use model::RouteTable;
use tokio::time::Instant;
use wire::Client;
use wire::backoff::{Backoff, jitter};
use wire::client::Fetched;

use crate::board::Boards;
use crate::config::GatewayConfig;

/// How long one poll waits for news.
const POLL_WAIT: Duration = Duration::from_secs(20);
/// Between tries without an answer, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// An answer that didn't wait is followed by a rest up to this, whatever the
/// control plane's idea of a long poll.
const REST: Duration = Duration::from_secs(1);
/// A table older than ours comes from a control-plane node that lags, which
/// passes. If nothing newer comes for this long, the journal was restored to an
/// earlier day, and it is right.
const OLDER_FOR: Duration = Duration::from_secs(30);

/// Asks for ever; ended by its owner.
pub(crate) async fn follow(config: GatewayConfig, client: Client, boards: Arc<Boards>) {
    let mut etag = String::new();
    let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
    let mut newest = Newest {
        version: boards
            .in_force()
            .borrow()
            .as_ref()
            .map(|it| it.table.version),
        older_since: None,
    };
    let mut lost = false;
    loop {
        let asked = Instant::now();
        let asking = client.routes(&config.name, &config.environment, &etag, POLL_WAIT);
        let fetched = asking.await;
        if fetched.is_ok() {
            backoff.reset();
            if std::mem::take(&mut lost) {
                tracing::info!("the control plane answers again");
            }
        }
        match fetched {
            Ok(Fetched::New(table, tag)) if table.environment == config.environment => {
                if newest.takes(&table, asked) {
                    etag = tag;
                    boards.apply(table, false);
                    continue;
                }
                tracing::warn!(
                    version = table.version,
                    "the routes are older than those in force"
                );
            }
            Ok(Fetched::New(table, _)) => {
                tracing::error!(environment = %table.environment, "routes of another environment came; ignored");
            }
            Ok(Fetched::Unchanged) => {
                newest.older_since = None;
                if asked.elapsed() >= REST {
                    continue;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut lost, true) {
                    tracing::warn!(%error, "no routes from the control plane; serving on by the last ones");
                }
                tokio::time::sleep(backoff.pause()).await;
                continue;
            }
        }
        tokio::time::sleep(jitter(REST)).await;
    }
}

/// Keeps a lagging answer from undoing a newer one.
struct Newest {
    version: Option<u64>,
    older_since: Option<Instant>,
}

impl Newest {
    fn takes(&mut self, table: &RouteTable, now: Instant) -> bool {
        let is_older = self.version.is_some_and(|known| table.version < known);
        let since = *self.older_since.get_or_insert(now);
        if is_older && now.duration_since(since) < OLDER_FOR {
            return false;
        }
        self.version = Some(table.version);
        self.older_since = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn table(version: u64) -> RouteTable {
        RouteTable {
            version,
            environment: "production".parse().unwrap(),
            services: BTreeMap::new(),
        }
    }

    #[test]
    fn an_older_table_is_taken_only_when_it_stays() {
        let mut newest = Newest {
            version: Some(5),
            older_since: None,
        };
        let start = Instant::now();
        assert!(!newest.takes(&table(4), start));
        assert!(newest.takes(&table(6), start + Duration::from_secs(1)));
        assert!(!newest.takes(&table(5), start + Duration::from_secs(40)));
        assert!(!newest.takes(&table(5), start + Duration::from_secs(60)));
        assert!(newest.takes(&table(5), start + Duration::from_secs(70)));
        assert!(newest.takes(&table(5), start + Duration::from_secs(71)));
    }
}
