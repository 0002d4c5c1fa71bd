//! Tasks: what a host does without changing what runs.
//!
//! The newest list from the control plane is the truth: what is new on it is
//! begun, what left it is broken off (a load ends and tells its totals), what
//! is done and told is not done again while it stays on it. A restart of the
//! agent forgets all that; doing a task twice harms nobody.
//!
//! Invariant: nothing is begun but what the pinned key signed for this host,
//! nothing outlasts its deadline but the telling, and nothing waits for a task.

mod hostile;
mod load;
mod probe;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use model::{Digest, Envelope, Millis, Task, TaskKind, TaskOutcome, TaskResult};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use wire::api::ResultsRequest;
use wire::backoff::Backoff;
use wire::sign::TASK_TYPE;
use wire::{Client, Open, PublicKey};

use crate::config::ProbeSettings;
use crate::hands::Hands;
use crate::words::surroundings;

/// Tasks under way or waiting to be told: a host has a handful. The rest of the
/// list waits for a place.
const AT_ONCE_MAX: usize = 32;
/// More of a list is not looked at: each entry costs a signature.
const LIST_MAX: usize = 256;
/// Totals of loads that left the list and could not be told yet; the oldest is forgotten.
const LEFT_MAX: usize = 32;
/// What could not be done is tried again: soon, because people wait, and then
/// less and less often, because each try may copy a tree.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(300);
/// Forged tasks that are remembered, so that each is logged once.
const FORGED_MAX: usize = 256;

/// The span in which a task must be over.
#[derive(Debug, Clone, Copy)]
struct Span {
    until: Instant,
    /// The same, as people know it.
    within: Millis,
}

impl Span {
    fn new(within: Millis) -> Span {
        // A deadline further away than the clock reaches is as good as a day.
        let until = Instant::now().checked_add(within.duration());
        Span {
            until: until.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400)),
            within,
        }
    }

    fn left(&self) -> Millis {
        let left = self.until.saturating_duration_since(Instant::now());
        Millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What tasks are done with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) client: Client,
    pub(crate) hands: Hands,
    pub(crate) probes: ProbeSettings,
    pub(crate) retry_max: Duration,
}

/// Owns what is under way.
pub(crate) struct Worker {
    tools: Tools,
    key: PublicKey,
    listed: watch::Receiver<Vec<Envelope>>,
    /// By id, for as long as the task is on the list.
    known: HashMap<String, Known>,
    /// Loads that left the list and still tell their totals, oldest first.
    left: Vec<AbortHandle>,
    jobs: JoinSet<()>,
    forged: HashSet<Digest>,
}

struct Known {
    job: AbortHandle,
    stop: CancellationToken,
    /// It has something to tell though it left the list.
    tells_after: bool,
    /// Done, and the control plane knows it.
    told: bool,
}

impl Worker {
    /// Does what is on the newest list.
    pub(crate) fn new(
        tools: Tools,
        key: PublicKey,
        listed: watch::Receiver<Vec<Envelope>>,
    ) -> Worker {
        Worker {
            tools,
            key,
            listed,
            known: HashMap::new(),
            left: Vec::new(),
            jobs: JoinSet::new(),
            forged: HashSet::new(),
        }
    }

    /// Works until nobody can change the list any more. Dropped, everything ends.
    pub(crate) async fn run(mut self) {
        loop {
            self.reconcile();
            tokio::select! {
                changed = self.listed.changed() => if changed.is_err() {
                    return;
                },
                Some(ended) = self.jobs.join_next_with_id() => match ended {
                    Ok((id, ())) => self.ended(id),
                    Err(error) => self.ended(error.id()),
                },
            }
        }
    }

    fn ended(&mut self, id: Id) {
        self.left.retain(|job| job.id() != id);
        for known in self.known.values_mut() {
            known.told |= known.job.id() == id;
        }
    }

    fn reconcile(&mut self) {
        let list = self.listed.borrow_and_update().clone();
        let tasks = self.believed(&list);
        let ids: BTreeSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
        let left: Vec<String> = self
            .known
            .keys()
            .filter(|id| !ids.contains(id.as_str()))
            .cloned()
            .collect();
        for id in left {
            if let Some(known) = self.known.remove(&id) {
                self.leave(known);
            }
        }
        for task in tasks {
            let busy = self.known.values().filter(|known| !known.told).count();
            if busy < AT_ONCE_MAX && !self.known.contains_key(&task.id) {
                self.begin(task);
            }
        }
    }

    fn leave(&mut self, known: Known) {
        if !known.tells_after {
            known.job.abort();
            return;
        }
        known.stop.cancel();
        if !known.told {
            self.left.push(known.job);
        }
        if self.left.len() > LEFT_MAX {
            tracing::warn!("the totals of a load were never told");
            self.left.remove(0).abort();
        }
    }

    fn begin(&mut self, task: Task) {
        tracing::debug!(id = %task.id, release = %task.release, service = %task.service, "task");
        let (id, stop) = (task.id.clone(), CancellationToken::new());
        let tells_after = matches!(task.kind, TaskKind::Load { .. });
        let (tools, stopped) = (self.tools.clone(), stop.clone());
        let job = self.jobs.spawn(async move {
            let (id, release) = (task.id.clone(), task.release);
            let mut pause = AGAIN_AFTER;
            loop {
                let work = AbortOnDropHandle::new(tokio::spawn({
                    let (tools, task, stopped) = (tools.clone(), task.clone(), stopped.clone());
                    async move { tools.perform(&task, stopped).await }
                }));
                let outcome = work.await.unwrap_or_else(|error| TaskOutcome::Broken {
                    reason: format!("the agent's own work broke off: {error}"),
                });
                let broken = matches!(outcome, TaskOutcome::Broken { .. });
                let result = TaskResult {
                    id: id.clone(),
                    release,
                    outcome,
                };
                tools.tell(result).await;
                // What is in the way may pass, and a release waits for this answer.
                if !broken
                    || tokio::time::timeout(pause, stopped.cancelled())
                        .await
                        .is_ok()
                {
                    return;
                }
                pause = pause.saturating_mul(2).min(AGAIN_AFTER_MAX);
            }
        });
        let known = Known {
            job,
            stop,
            tells_after,
            told: false,
        };
        self.known.insert(id, known);
    }

    /// The tasks of a list that the pinned key signed for this host.
    fn believed(&mut self, list: &[Envelope]) -> Vec<Task> {
        if list.len() > LIST_MAX {
            tracing::warn!(
                tasks = list.len(),
                "only the first {LIST_MAX} are looked at"
            );
        }
        let mut tasks: Vec<Task> = Vec::new();
        for envelope in list.iter().take(LIST_MAX) {
            let problem = match envelope.open::<Task>(TASK_TYPE, &self.key) {
                Ok(task) if task.host == self.tools.hands.host => {
                    tasks.push(task);
                    continue;
                }
                Ok(task) => format!("it is for {}", task.host),
                Err(error) => error.to_string(),
            };
            let seen = Digest::of(&serde_json::to_vec(envelope).unwrap_or_default());
            if self.forged.len() < FORGED_MAX && self.forged.insert(seen) {
                tracing::error!(%problem, "a task that is not this host's was ignored");
            }
        }
        tasks
    }
}

impl Tools {
    async fn perform(&self, task: &Task, stop: CancellationToken) -> TaskOutcome {
        let span = Span::new(task.within_ms);
        if let Some(reason) = self.kept_from(&task.kind) {
            return TaskOutcome::Broken { reason };
        }
        match &task.kind {
            TaskKind::Probe { references, egress } => {
                probe::ask(&self.probes, references, egress.as_deref(), span).await
            }
            TaskKind::Hostile {
                bundle,
                documents,
                schemas,
            } => {
                let documents = hostile::Documents {
                    paths: documents,
                    schemas,
                };
                hostile::try_all(&self.hands, task, bundle, documents, span).await
            }
            TaskKind::Load { plan } => {
                let Some(url) = self.filled(task, &plan.url) else {
                    let reason = format!("{} does not run on this host", task.service);
                    return TaskOutcome::Broken { reason };
                };
                load::run(task, plan, &url, span, stop).await
            }
        }
    }

    /// Why a gated host doesn't do it: a trial runs a command that a task brings,
    /// and a load strains what it is pointed at. Neither needs a test result, so
    /// either would be a way around it.
    fn kept_from(&self, kind: &TaskKind) -> Option<String> {
        let what = match kind {
            TaskKind::Probe { .. } => return None,
            TaskKind::Hostile { .. } => "trials of a bundle's check",
            TaskKind::Load { .. } => "load",
        };
        let gated = self.hands.state.borrow().gated;
        gated.then(|| format!("not attested: this host demands test results, and {what} need none"))
    }

    /// A text with this host's own words in it, as in health probes; `None` if the service isn't here.
    fn filled(&self, task: &Task, text: &str) -> Option<String> {
        let state = self.hands.state.borrow().clone();
        let context = node::Context {
            tree: state.slots.get(&task.service)?.running,
            place: Some(node::Place {
                environment: task.environment.clone(),
                zone: task.zone.clone(),
                address: task.address.clone(),
            }),
        };
        let hands = &self.hands;
        let words = surroundings(&hands.store, &hands.host, &task.service, &context);
        Some(words.fill(text))
    }

    /// Posts a result until the control plane has it.
    async fn tell(&self, result: TaskResult) {
        let path = format!("/v1/agents/{}/results", self.hands.host);
        let mut backoff = Backoff::new(Duration::from_millis(200), self.retry_max);
        let request = ResultsRequest {
            results: vec![result],
        };
        loop {
            let sent = self.client.post::<_, serde_json::Value>(&path, &request);
            match sent.await {
                Ok(_) => {
                    self.hands.reach.heard();
                    return;
                }
                Err(error) => tracing::debug!(%error, "a result waits"),
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }
}
