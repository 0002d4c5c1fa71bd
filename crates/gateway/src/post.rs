//! Brings the counts to the control plane.
//!
//! Invariant: a row that changed is posted until a post that carries it is
//! acknowledged, whatever happens to posts in between; serving never waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use edge::Batch;
use model::{TenantName, Timestamp};
use tokio::time::{Instant, MissedTickBehavior};
use wire::api::{CountRow, CountsAnswer, CountsRequest};
use wire::backoff::Backoff;
use wire::{Client, ClientError};

use crate::config::GatewayConfig;
use crate::ledger::Ledger;

/// Rows in one post: some 400 KB, and a copy of a fraction of a millisecond.
const ROWS_PER_POST_MAX: usize = 2_000;
/// A post without an answer for this long is given up and its rows sent again.
const POST_WITHIN: Duration = Duration::from_secs(5);
/// An empty post goes out after this long without news: a control plane that
/// has restarted answers that it wants all rows.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// Between tries without an answer, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));

/// Posts for one gateway.
pub(crate) struct Poster {
    client: Client,
    path: String,
    environment: model::EnvironmentName,
    epoch_ms: u64,
    ledger: Arc<Ledger>,
    /// Posts acknowledged, and posts that failed.
    pub(crate) acknowledged: AtomicU64,
    pub(crate) failed: AtomicU64,
    is_lost: AtomicBool,
}

/// A batch on its way. Dropped before it is acknowledged, even by the end of
/// the task that posts, its rows are news again.
struct OnItsWay<'a> {
    ledger: &'a Ledger,
    batch: Option<Batch>,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.ledger.counts().put_back(batch);
        }
    }
}

impl Poster {
    /// The process's epoch of counts begins here.
    pub(crate) fn new(config: &GatewayConfig, client: Client, ledger: Arc<Ledger>) -> Poster {
        let now = Timestamp::now().as_millisecond();
        Poster {
            client,
            path: format!("/v1/gateways/{}/counts", config.name),
            environment: config.environment.clone(),
            epoch_ms: u64::try_from(now).unwrap_or(0),
            ledger,
            acknowledged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            is_lost: AtomicBool::new(false),
        }
    }

    /// Posts what changed, every `period`, for ever; ended by its owner.
    pub(crate) async fn every(self: Arc<Self>, period: Duration) {
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        let mut posted_at = Instant::now();
        loop {
            tick.tick().await;
            let is_news = self.ledger.counts().changed_len() > 0;
            if !is_news && posted_at.elapsed() < BEAT_EVERY {
                continue;
            }
            if self.post_all().await {
                backoff.reset();
            } else {
                tokio::time::sleep(backoff.pause()).await;
            }
            posted_at = Instant::now();
        }
    }

    /// Posts all that has changed up to now, at least one post. Stops at the
    /// first that fails and says whether none did.
    pub(crate) async fn post_all(&self) -> bool {
        // Rows that change meanwhile wait for the next time, so that this ends.
        let mut rows_left = self.ledger.counts().changed_len();
        loop {
            let rows_max = rows_left.min(ROWS_PER_POST_MAX);
            rows_left -= rows_max;
            match self.post(rows_max).await {
                Ok(()) => {
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    if self.is_lost.swap(false, Ordering::Relaxed) {
                        tracing::info!("counts arrive again");
                    }
                }
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    if !self.is_lost.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "counts can't be posted; they are kept and sent later");
                    }
                    return false;
                }
            }
            if rows_left == 0 {
                return true;
            }
        }
    }

    async fn post(&self, rows_max: usize) -> Result<(), ClientError> {
        let batch = self.ledger.counts().take_changed(rows_max);
        let rows = batch.rows.iter().map(|row| CountRow {
            service: row.label.service.clone(),
            digest: row.label.digest,
            tenant: TenantName(row.tenant.to_string()),
            requests: row.counts.requests,
            failed: row.counts.failed,
        });
        let request = CountsRequest {
            environment: self.environment.clone(),
            epoch_ms: self.epoch_ms,
            rows: rows.collect(),
            ticks: Vec::new(),
        };
        let mut on_its_way = OnItsWay {
            ledger: &self.ledger,
            batch: Some(batch),
        };
        let posting = self.client.post(&self.path, &request);
        let answered = tokio::time::timeout(POST_WITHIN, posting).await;
        let answer: CountsAnswer = answered.unwrap_or_else(|_| {
            Err(ClientError::Unreachable {
                url: format!("{}{}", self.client.base(), self.path),
                reason: format!("no answer within {POST_WITHIN:?}"),
            })
        })?;
        on_its_way.batch = None;
        if answer.send_all {
            self.ledger.counts().change_all();
        }
        Ok(())
    }
}
