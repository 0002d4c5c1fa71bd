//! Brings the counts to the control plane: totals when they changed, and each
//! second as soon as it is over, because a verdict waits for it.
//!
//! With each post goes what of the routes is in force here and what drained hosts still
//! work on; a post goes out for that alone once a second, and at once while a drained
//! host is being emptied, because its restart waits for it.
//!
//! Invariant: a row that changed, and a second that is over, is posted until a
//! post that carries it is acknowledged, whatever happens to posts in between;
//! serving never waits for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edge::{Batch, Second};
use model::{Applied, InFlight, TenantName, Timestamp};
use tokio::time::Instant;
use wire::api::{CountRow, CountsAnswer, CountsRequest};
use wire::backoff::Backoff;
use wire::{Client, ClientError};

use crate::board::Boards;
use crate::config::GatewayConfig;
use crate::ledger::Ledger;

/// Rows in one post: some 400 KB, and a copy of a fraction of a millisecond.
const ROWS_PER_POST_MAX: usize = 2_000;
/// A post without an answer for this long is given up and its rows sent again.
const POST_WITHIN: Duration = Duration::from_secs(5);
/// A second is posted this long after its end: requests that end with it have
/// read the clock before, and come to the lock a moment later.
const CLOSED_BY: Duration = Duration::from_millis(5);
/// Between tries without an answer, at first and at most. Short, because a verdict
/// takes a second that is up to two old, and one small post a second hurts nobody.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// A post at least this often, so that the control plane knows who serves: it waits for a
/// gateway that it has heard of in the last seconds.
const BEAT: Duration = Duration::from_secs(1);
/// While a drained host has requests, it is looked this often whether it still has.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Posts for one gateway.
pub(crate) struct Poster {
    client: Client,
    path: String,
    environment: model::EnvironmentName,
    epoch_ms: u64,
    ledger: Arc<Ledger>,
    boards: Arc<Boards>,
    /// What was last acknowledged of the routes, and when.
    told: Mutex<Option<(Applied, Instant)>>,
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
            self.ledger.book().counts.put_back(batch);
        }
    }
}

impl Poster {
    /// The process's epoch of counts begins here.
    pub(crate) fn new(
        config: &GatewayConfig,
        client: Client,
        ledger: Arc<Ledger>,
        boards: Arc<Boards>,
    ) -> Poster {
        let now = Timestamp::now().as_millisecond();
        Poster {
            client,
            path: format!("/v1/gateways/{}/counts", config.name),
            environment: config.environment.clone(),
            epoch_ms: u64::try_from(now).unwrap_or(0),
            ledger,
            boards,
            told: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            is_lost: AtomicBool::new(false),
        }
    }

    /// Posts each second at its end, and what changed in between every `period`,
    /// for ever; ended by its owner.
    pub(crate) async fn every(self: Arc<Self>, period: Duration) {
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        let mut routes = self.boards.in_force();
        let mut is_draining = false;
        loop {
            let period = if is_draining {
                DRAIN_LOOK.min(period)
            } else {
                period
            };
            let wake_at = next_post(self.ledger.now(), period);
            tokio::select! {
                () = tokio::time::sleep_until(self.ledger.epoch() + wake_at) => {}
                Ok(()) = routes.changed() => {}
            }
            let applied = self.boards.applied();
            let busy = |applied: &Applied| applied.drained.iter().any(|it| it.requests > 0);
            is_draining = applied.as_ref().is_some_and(busy);
            let is_news = self.is_news(applied.as_ref()) || {
                let mut book = self.ledger.book();
                book.counts.changed_len() > 0 || book.ticks.waiting(self.ledger.now()) > 0
            };
            if !is_news {
                continue;
            }
            if self.post_all().await {
                backoff.reset();
            } else {
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }

    /// Whether the control plane should hear of the routes. Of a drained host it wants to know
    /// that it is known here and that it is empty; how many requests there are in between is
    /// told with the next beat.
    fn is_news(&self, applied: Option<&Applied>) -> bool {
        let Some(applied) = applied else { return false };
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.as_ref().is_none_or(|(told, at)| {
            let empty = |it: &InFlight| (it.host.clone(), it.since, it.requests == 0);
            at.elapsed() >= BEAT
                || told.version != applied.version
                || !told
                    .drained
                    .iter()
                    .map(empty)
                    .eq(applied.drained.iter().map(empty))
        })
    }

    /// Posts all that has changed up to now, at least one post. Stops at the
    /// first that fails and says whether none did.
    pub(crate) async fn post_all(&self) -> bool {
        // Rows that change meanwhile wait for the next time, so that this ends.
        let mut rows_left = self.ledger.book().counts.changed_len();
        loop {
            let rows_max = rows_left.min(ROWS_PER_POST_MAX);
            rows_left -= rows_max;
            let is_more = match self.post(rows_max).await {
                Ok(seconds_left) => {
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    if self.is_lost.swap(false, Ordering::Relaxed) {
                        tracing::info!("counts arrive again");
                    }
                    seconds_left || rows_left > 0
                }
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    if !self.is_lost.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "counts can't be posted; they are kept and sent later");
                    }
                    return false;
                }
            };
            if !is_more {
                return true;
            }
        }
    }

    /// One post. Says whether seconds are left that it had no room for, and
    /// there is a point in sending them.
    async fn post(&self, rows_max: usize) -> Result<bool, ClientError> {
        let (batch, seconds, now) = {
            let mut book = self.ledger.book();
            let now = self.ledger.now();
            (
                book.counts.take_changed(rows_max),
                book.ticks.take(now),
                now,
            )
        };
        let last = seconds.last().map_or(0, |second| second.seq());
        let mut on_its_way = OnItsWay {
            ledger: &self.ledger,
            batch: Some(batch),
        };
        let applied = self.boards.applied();
        let sending = self.send(on_its_way.batch.as_ref(), &seconds, applied.as_ref(), now);
        let answer = sending.await;
        if let Err(error) = &answer
            && is_refused_for_good(error)
        {
            // They would be refused again, and hold up all that comes after them.
            self.ledger.book().ticks.give_up(last);
        }
        let answer = answer?;
        on_its_way.batch = None;
        let told = applied.map(|applied| (applied, Instant::now()));
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        let mut book = self.ledger.book();
        if answer.send_all {
            book.counts.change_all();
        }
        book.ticks.acknowledge(answer.ticks_through);
        let is_taken = last > 0 && answer.ticks_through >= last;
        Ok(is_taken && book.ticks.waiting(now) > 0)
    }

    async fn send(
        &self,
        batch: Option<&Batch>,
        seconds: &[Arc<Second>],
        applied: Option<&Applied>,
        now: Duration,
    ) -> Result<CountsAnswer, ClientError> {
        let rows = batch.into_iter().flat_map(|batch| &batch.rows);
        let rows = rows.map(|row| CountRow {
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
            ticks: seconds.iter().map(|second| second.counts(now)).collect(),
            applied: applied.cloned(),
        };
        let posting = self.client.post(&self.path, &request);
        let answered = tokio::time::timeout(POST_WITHIN, posting).await;
        answered.unwrap_or_else(|_| {
            Err(ClientError::Unreachable {
                url: format!("{}{}", self.client.base(), self.path),
                reason: format!("no answer within {POST_WITHIN:?}"),
            })
        })
    }
}

/// When to post next, in time since the first second began: when the second is
/// over, or a period from now if that is before.
fn next_post(now: Duration, period: Duration) -> Duration {
    let is_over = Duration::from_secs(now.as_secs().saturating_add(1));
    is_over
        .saturating_add(CLOSED_BY)
        .min(now.saturating_add(period))
}

/// Whether the control plane would say the same to the same post again.
fn is_refused_for_good(error: &ClientError) -> bool {
    match error {
        // Not well-formed, too large, not acceptable: it is what was sent.
        ClientError::Refused { status, .. } => matches!(status, 400 | 413 | 422),
        ClientError::Unreachable { .. } | ClientError::Protocol { .. } | ClientError::Setup(_) => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_follows_each_second_and_each_period() {
        let ms = Duration::from_millis;
        let half = ms(500);
        assert_eq!(next_post(ms(0), half), ms(500));
        assert_eq!(next_post(ms(501), half), ms(1_001));
        assert_eq!(next_post(ms(700), half), ms(1_005));
        assert_eq!(next_post(ms(1_005), half), ms(1_505));
        assert_eq!(next_post(ms(10), Duration::MAX), ms(1_005));
        assert_eq!(next_post(ms(10), ms(50)), ms(60));
    }
}
