//! The line to the control plane: joining, orders, reports, heartbeats.
//!
//! Invariant: an order is believed only once the pinned key's signature over it
//! holds; nothing here waits without a deadline.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use model::{Digest, Generation, Report, ServiceName};
use node::{Host, Input};
use tokio::sync::{Notify, watch};
use wire::api::{Heartbeat, OrdersAnswer, ReportsAnswer, ReportsRequest, ServiceBeat};
use wire::backoff::{Backoff, jitter};
use wire::client::Fetched;
use wire::{Client, Envelope};

use crate::advance;
use crate::command;
use crate::config::Timings;
use crate::core::Inbox;
use crate::gauges::{Gauges, machine};
use crate::hands::Hands;
use crate::trust::Trust;
use crate::words::surroundings;

/// A stream that says nothing for so long, not even that it is alive, is opened anew.
const HINTS_SILENCE_MAX: Duration = Duration::from_secs(90);
/// Reports sent at once: the request stays far below any body limit.
const BATCH_MAX: usize = 64;
/// Forged orders that are remembered, so that each is reported once.
const FORGED_MAX: usize = 256;
/// The count of exits is asked for at most this often, and must come this fast.
const EXITS_EVERY: Duration = Duration::from_secs(5);
const EXITS_WITHIN: Duration = Duration::from_secs(2);

/// Everything the line needs.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) trust: Trust,
    pub(crate) state_dir: PathBuf,
    pub(crate) inbox: Inbox,
    pub(crate) hands: Hands,
    pub(crate) timings: Timings,
    pub(crate) state: watch::Receiver<Arc<Host>>,
    /// Whether the stream of hints is open.
    pub(crate) hinting: Arc<AtomicBool>,
    pub(crate) hint: Arc<Notify>,
    /// The newest list of tasks, for the one who does them.
    pub(crate) tasks: watch::Sender<Vec<Envelope>>,
}

impl Link {
    fn backoff(&self) -> Backoff {
        Backoff::new(
            Duration::from_millis(200),
            self.timings.retry_max_ms.duration(),
        )
    }

    fn path(&self, what: &str) -> String {
        format!("/v1/agents/{}/{what}", self.hands.host)
    }

    /// Fetches orders: at each hint, after a while without one, and by waiting when hints don't come.
    pub(crate) async fn orders(self) {
        let (mut etag, mut backoff) = (String::new(), self.backoff());
        let mut forged = HashSet::new();
        loop {
            let hinting = self.hinting.load(Ordering::SeqCst);
            let wait = if hinting || etag.is_empty() {
                Duration::ZERO
            } else {
                self.timings.poll_ms.duration()
            };
            let began = Instant::now();
            let path = self.path("orders");
            let fetch = self.client.get_newer::<OrdersAnswer>(&path, &etag, wait);
            match fetch.await {
                Ok(answer) => {
                    self.hands.reach.heard();
                    backoff.reset();
                    if let Fetched::New(answer, tag) = answer {
                        self.keep(answer.reverts).await;
                        for envelope in answer.orders {
                            self.envelope(&envelope, &mut forged).await;
                        }
                        let _ = self.tasks.send_replace(answer.tasks);
                        etag = tag;
                    }
                    // A server that doesn't know how to wait must not be asked without a pause.
                    if self.hinting.load(Ordering::SeqCst) || began.elapsed() < wait / 2 {
                        let reconcile = self.timings.reconcile_ms.duration();
                        let pause = reconcile / 2 + jitter(reconcile / 2);
                        let pause = if hinting {
                            pause
                        } else {
                            pause.min(Duration::from_secs(1))
                        };
                        let _ = tokio::time::timeout(pause, self.hint.notified()).await;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "no orders");
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// On disk before the orders that they undo are taken up.
    async fn keep(&self, reverts: Vec<Envelope>) {
        let (state_dir, trust) = (self.state_dir.clone(), self.trust.clone());
        let host = self.state.borrow().clone();
        let keep = move || advance::keep(&state_dir, &trust, &host, &reverts);
        let _ = tokio::task::spawn_blocking(keep).await;
    }

    async fn envelope(&self, envelope: &Envelope, forged: &mut HashSet<Digest>) {
        match self.trust.order(envelope) {
            Ok(dispatch) => {
                let proof = self.trust.proof(dispatch.attestation.as_ref());
                self.inbox.send(Input::Ordered { dispatch, proof }).await;
            }
            Err(error) => {
                let seen = Digest::of(&serde_json::to_vec(envelope).unwrap_or_default());
                if forged.len() >= FORGED_MAX || !forged.insert(seen) {
                    return;
                }
                tracing::error!(%error, "an order that the control plane did not sign was ignored");
                if let Some((service, generation)) = claim(envelope) {
                    let input = Input::Forged {
                        service,
                        generation,
                        reason: format!("not believed: {error}"),
                    };
                    self.inbox.send(input).await;
                }
            }
        }
    }

    /// Listens for hints that there is news.
    pub(crate) async fn hints(self) {
        let mut backoff = self.backoff();
        loop {
            if let Ok(mut stream) = self.client.hints(&self.hands.host).await {
                self.hinting.store(true, Ordering::SeqCst);
                self.hint.notify_one();
                let mut line = Vec::new();
                while let Ok(Ok(Some(chunk))) =
                    tokio::time::timeout(HINTS_SILENCE_MAX, stream.chunk()).await
                {
                    self.hands.reach.heard();
                    backoff.reset();
                    if is_hint(&mut line, &chunk) {
                        self.hint.notify_one();
                    }
                }
                self.hinting.store(false, Ordering::SeqCst);
                // The loop that fetches may be pausing for long, trusting in hints.
                self.hint.notify_one();
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Sends reports until they are acknowledged.
    pub(crate) async fn reports(mut self) {
        let mut backoff = self.backoff();
        loop {
            let host = self.state.borrow_and_update().clone();
            if host.outbox.is_empty() {
                if self.state.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let reports: Vec<Report> = host.outbox.iter().take(BATCH_MAX).cloned().collect();
            let newest = reports.last().map_or(0, |report| report.number);
            let request = ReportsRequest { reports };
            let sent = self
                .client
                .post::<_, ReportsAnswer>(&self.path("reports"), &request)
                .await;
            match sent {
                Ok(answer) => {
                    self.hands.reach.heard();
                    self.inbox
                        .send(Input::Acknowledged {
                            through: answer.through,
                        })
                        .await;
                    if answer.through >= newest {
                        backoff.reset();
                        // The acknowledgement comes back as a change of state.
                        let _ = tokio::time::timeout(Duration::from_secs(1), self.state.changed())
                            .await;
                        continue;
                    }
                }
                Err(error) => tracing::debug!(%error, "reports wait"),
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Says how things are, oftener while something is under way.
    pub(crate) async fn heartbeats(mut self) {
        let mut exits = Exits::default();
        let mut gauges = Gauges::new(&self.state_dir);
        let machine = machine();
        loop {
            let host = self.state.borrow_and_update().clone();
            exits.count(&self.hands, &host).await;
            let services = host.slots.values().map(|slot| ServiceBeat {
                service: slot.service.clone(),
                running: slot.running,
                generation: slot.fence,
                healthy: slot.healthy,
                reason: match slot.healthy {
                    Some(false) => slot.unhealthy_reason.clone(),
                    Some(true) | None => String::new(),
                },
                exits: exits.of(&slot.service),
            });
            let beat = Heartbeat {
                services: services.collect(),
                gauges: gauges.look().await,
                machine,
            };
            let sent = self
                .client
                .post::<_, serde_json::Value>(&self.path("heartbeat"), &beat)
                .await;
            match sent {
                Ok(_) => self.hands.reach.heard(),
                Err(error) => tracing::debug!(%error, "no heartbeat"),
            }
            let busy = !host.slots.values().all(node::Slot::is_at_rest);
            let timings = &self.timings;
            let pause = if busy {
                timings.heartbeat_busy_ms
            } else {
                timings.heartbeat_idle_ms
            };
            let quick = timings.heartbeat_busy_ms.duration();
            tokio::time::sleep(quick.min(pause.duration())).await;
            let rest = pause.duration().saturating_sub(quick);
            let _ = tokio::time::timeout(rest, self.state.changed()).await;
        }
    }
}

/// How often services have exited, as their own commands count it.
#[derive(Default)]
struct Exits {
    counted: Vec<(ServiceName, u64)>,
    at: Option<Instant>,
}

impl Exits {
    fn of(&self, service: &ServiceName) -> Option<u64> {
        let found = self.counted.iter().find(|(name, _)| name == service);
        found.map(|(_, exits)| *exits)
    }

    async fn count(&mut self, hands: &Hands, host: &Host) {
        if self.at.is_some_and(|at| at.elapsed() < EXITS_EVERY) {
            return;
        }
        self.at = Some(Instant::now());
        self.counted.clear();
        for slot in host.slots.values() {
            let recipe = slot.recipe(slot.running);
            let Some(exits) = recipe.and_then(|recipe| recipe.commands.exits.as_ref()) else {
                continue;
            };
            let context = node::Context {
                tree: slot.running,
                place: slot.place.clone(),
            };
            let words = surroundings(&hands.store, &hands.host, &slot.service, &context);
            let folder = hands.store.tree(slot.running);
            let within = exits.deadline_ms.duration().min(EXITS_WITHIN);
            let said = command::run(&exits.run, &words, &folder, within).await;
            match said.map(|said| said.trim().parse()) {
                Ok(Ok(exits)) => self.counted.push((slot.service.clone(), exits)),
                Ok(Err(_)) => tracing::debug!(service = %slot.service, "exits: not a number"),
                Err(reason) => tracing::debug!(service = %slot.service, %reason, "exits"),
            }
        }
    }
}

/// What an envelope says it is about; believed for a report's address only.
fn claim(envelope: &Envelope) -> Option<(ServiceName, Generation)> {
    let engine = base64::engine::general_purpose::STANDARD;
    let payload = engine.decode(&envelope.payload).ok()?;
    let payload: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    let order = payload.get("order")?;
    let service = order.get("service")?.as_str()?.parse().ok()?;
    let generation = order.get("generation")?.as_u64()?;
    Some((service, Generation(generation)))
}

/// Whether an event began in this chunk; `line` keeps what is not yet a whole line.
fn is_hint(line: &mut Vec<u8>, chunk: &[u8]) -> bool {
    /// Longer lines are none of ours.
    const LINE_BYTES_MAX: usize = 4096;
    let mut found = false;
    for byte in chunk {
        if *byte == b'\n' || *byte == b'\r' {
            let kind = line.strip_prefix(b"event:").map(<[u8]>::trim_ascii);
            found |= kind == Some(b"orders");
            line.clear();
        } else if line.len() < LINE_BYTES_MAX {
            line.push(*byte);
        }
    }
    found
}

/// The services of a configuration that the state doesn't know yet, and the reverse.
pub(crate) fn unknown(host: &Host, configured: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
    let known = host.slots.keys().cloned().collect();
    configured.difference(&known).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_found_over_chunk_borders() {
        let mut line = Vec::new();
        assert!(!is_hint(&mut line, b": hello\n\nevent: or"));
        assert!(is_hint(&mut line, b"ders\ndata: 3\n\n"));
        assert!(!is_hint(&mut line, b"event: other\n"));
        assert!(is_hint(&mut line, b"event:orders\r\n"));
    }
}
