//! The loop that owns the host's state: input, decision, disk, effects.
//!
//! Invariant: an effect is begun only after the state that wants it is on disk.
//! If the disk refuses, nothing is armed; but a way back is never held up by it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use model::{Refusal, ServiceName};
use node::{EffectId, Host, Input, NodeEvent, Outcome, SlotEvent};

use crate::disk;
use crate::hands::Hands;

/// Inputs that wait for the loop: outcomes and orders of one host are few; senders wait.
const INPUTS_MAX: usize = 256;
/// With nothing due the loop looks at the clock this often all the same.
const TURN_MAX: Duration = Duration::from_secs(30);
/// State that could not be written is tried again this often.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

/// Something for the loop, and where its refusal goes.
pub(crate) struct Message {
    pub(crate) input: Input,
    pub(crate) answer: Option<oneshot::Sender<Result<(), Refusal>>>,
}

/// Sends inputs to the loop.
#[derive(Clone)]
pub(crate) struct Inbox(mpsc::Sender<Message>);

impl Inbox {
    /// An input that needs no answer.
    pub(crate) async fn send(&self, input: Input) {
        // The loop is gone only when everything ends.
        let _ = self
            .0
            .send(Message {
                input,
                answer: None,
            })
            .await;
    }

    /// An input, and what was said to it.
    pub(crate) async fn ask(&self, input: Input) -> Option<Result<(), Refusal>> {
        let (answer, said) = oneshot::channel();
        let message = Message {
            input,
            answer: Some(answer),
        };
        self.0.send(message).await.ok()?;
        said.await.ok()
    }
}

/// The owner of the state.
pub(crate) struct Core {
    state_dir: PathBuf,
    host: Arc<Host>,
    publish: watch::Sender<Arc<Host>>,
    inbox: mpsc::Receiver<Message>,
    outcomes: Inbox,
    clock: Clock,
    /// Whether the state on disk is older than the one in memory.
    unsaved: bool,
    running: BTreeMap<EffectId, JoinHandle<()>>,
    /// Cancelled work that may not have ended yet, by service: the next effect waits for it.
    ending: BTreeMap<ServiceName, Vec<JoinHandle<()>>>,
}

impl Core {
    pub(crate) fn new(state_dir: PathBuf, host: Host) -> (Core, Inbox, watch::Receiver<Arc<Host>>) {
        let (send, inbox) = mpsc::channel(INPUTS_MAX);
        let host = Arc::new(host);
        let (publish, published) = watch::channel(host.clone());
        let core = Core {
            state_dir,
            host,
            publish,
            inbox,
            outcomes: Inbox(send.clone()),
            clock: Clock::new(),
            unsaved: false,
            running: BTreeMap::new(),
            ending: BTreeMap::new(),
        };
        (core, Inbox(send), published)
    }

    /// Turns until told to stop. The state on disk says how to go on.
    pub(crate) async fn run(mut self, hands: Hands, shutdown: CancellationToken) {
        loop {
            if shutdown.is_cancelled() {
                break;
            }
            self.perform(&hands);
            let now = self.now();
            let pause = node::wake_at(&self.host, now).map_or(TURN_MAX, |at| {
                model::Millis::between(now, at).duration() + Duration::from_millis(1)
            });
            let most = if self.unsaved { SAVE_AGAIN } else { TURN_MAX };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message).await,
                    None => break,
                },
                () = tokio::time::sleep(pause.min(most)) => {}
            }
            let _ = self.input(Input::Tick).await;
            if self.unsaved {
                self.save(&self.host.clone()).await;
            }
        }
        for (_, work) in std::mem::take(&mut self.running) {
            work.abort();
        }
    }

    async fn take(&mut self, message: Message) {
        let said = self.input(message.input).await;
        if let Err(refusal) = &said {
            tracing::debug!(code = %refusal.code, %refusal, "refused");
        }
        if let Some(answer) = message.answer {
            let _ = answer.send(said);
        }
    }

    fn now(&mut self) -> Timestamp {
        let at_rest = self.host.slots.values().all(node::Slot::is_at_rest);
        self.clock.now(at_rest)
    }

    /// Decides, folds, and writes before anybody acts on it.
    pub(crate) async fn input(&mut self, input: Input) -> Result<(), Refusal> {
        let now = self.now();
        let from = match &input {
            Input::Outcome { id, .. } => {
                self.running.remove(id);
                Some(id.clone())
            }
            _ => None,
        };
        let events = node::decide(&self.host, input, now)?;
        if events.is_empty() {
            return Ok(());
        }
        let next = Arc::new(self.folded(&events));
        let saved = self.save(&next).await;
        if let (Some(id), false, true) = (from, saved, arms(&events)) {
            // Armed must be on disk before anything changes. It can't be, so nothing changes.
            let reason = "the agent's state can't be written to disk".to_owned();
            let outcome = Outcome::Failed { reason };
            let events = node::decide(&self.host, Input::Outcome { id, outcome }, now)?;
            let next = Arc::new(self.folded(&events));
            self.save(&next).await;
            self.adopt(next, &events);
            return Ok(());
        }
        self.adopt(next, &events);
        Ok(())
    }

    fn folded(&self, events: &[NodeEvent]) -> Host {
        let mut next = Host::clone(&self.host);
        for event in events {
            node::evolve(&mut next, event);
        }
        next
    }

    fn adopt(&mut self, next: Arc<Host>, events: &[NodeEvent]) {
        self.host = next;
        let _ = self.publish.send_replace(self.host.clone());
        events.iter().for_each(tell);
    }

    async fn save(&mut self, host: &Arc<Host>) -> bool {
        let (state_dir, host) = (self.state_dir.clone(), host.clone());
        let saved = tokio::task::spawn_blocking(move || disk::save(&state_dir, &host)).await;
        let problem = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let (Some(problem), false) = (&problem, self.unsaved) {
            tracing::error!(%problem, "the state can't be written; trying again");
        }
        self.unsaved = problem.is_some();
        problem.is_none()
    }

    /// Stops what is no longer wanted and begins what is due.
    fn perform(&mut self, hands: &Hands) {
        let host = self.host.clone();
        let stale: Vec<EffectId> = self.running.keys().cloned().collect();
        for id in stale.into_iter().filter(|id| !node::is_pending(&host, id)) {
            if let Some(work) = self.running.remove(&id) {
                work.abort();
                self.ending.entry(id.service).or_default().push(work);
            }
        }
        let now = self.now();
        for effect in node::due(&host, now) {
            if self.running.contains_key(&effect.id) {
                continue;
            }
            let ending = self.ending.remove(&effect.id.service).unwrap_or_default();
            let (hands, inbox) = (hands.clone(), self.outcomes.clone());
            let id = effect.id.clone();
            tracing::debug!(service = %id.service, phase = %id.phase, attempt = id.attempt, "begins");
            let work = tokio::spawn(async move {
                for work in ending {
                    // Killed groups and broken-off downloads end at once; a disk that hangs must not hold up the way back.
                    let _ = tokio::time::timeout(Duration::from_secs(2), work).await;
                }
                let outcome = hands.perform(&effect).await;
                let id = effect.id;
                inbox.send(Input::Outcome { id, outcome }).await;
            });
            self.running.insert(id, work);
        }
    }
}

fn arms(events: &[NodeEvent]) -> bool {
    events.iter().any(|event| {
        matches!(
            event,
            NodeEvent::Slot {
                event: SlotEvent::Armed,
                ..
            }
        )
    })
}

fn tell(event: &NodeEvent) {
    match event {
        NodeEvent::Reported { report } => {
            let what = node::describe(&report.kind);
            tracing::warn!(service = %report.service, generation = %report.generation, "{what}");
        }
        NodeEvent::Slot { service, event, .. } => match event {
            SlotEvent::Accepted { dispatch } | SlotEvent::Queued { dispatch } => {
                let order = &dispatch.order;
                tracing::info!(%service, generation = %order.generation, kind = ?order.kind, digest = %order.digest.short(), "ordered");
            }
            SlotEvent::Confirmed => tracing::info!(%service, "confirmed"),
            SlotEvent::Swapped { to } => tracing::info!(%service, to = %to.short(), "swapped"),
            SlotEvent::Adopted { digest, .. } => {
                tracing::info!(%service, digest = %digest.short(), "taken over as generation 0");
            }
            SlotEvent::TurnedBack { target, reason, .. } => {
                tracing::warn!(%service, to = %target.short(), %reason, "turning back");
            }
            _ => {}
        },
        NodeEvent::Gated => tracing::info!("from now on nothing runs here that is not attested"),
        NodeEvent::Acknowledged { .. } | NodeEvent::StrangerDeclined { .. } => {}
    }
}

/// Wall time that does not jump while something is under way: it is read once
/// and then follows the monotonic clock, until the host is at rest again.
struct Clock {
    wall: Timestamp,
    since: Instant,
}

impl Clock {
    fn new() -> Clock {
        Clock {
            wall: Timestamp::now(),
            since: Instant::now(),
        }
    }

    fn now(&mut self, at_rest: bool) -> Timestamp {
        if at_rest {
            *self = Clock::new();
            return self.wall;
        }
        let passed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        model::Millis(passed).after(self.wall)
    }
}
