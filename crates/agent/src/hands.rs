//! Does what is due, and says what came of it.
//!
//! Invariant: nothing here decides, and nothing here waits for ever. Dropping
//! the future stops the work; a swap that has begun is finished first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{RwLock, watch};

use model::refusal::Code;
use model::{Bundle, Digest, HostName, ServiceName};
use node::{Action, Effect, Host, Outcome};
use wire::api::{ConfirmRequest, WhoAmI};
use wire::{Client, ClientError};

use crate::blobs;
use crate::command;
use crate::error::chain;
use crate::health;
use crate::live;
use crate::peer;
use crate::reach::Reach;
use crate::store::{Store, StoreError};
use crate::words::surroundings;

/// Blobs fetched at the same time: enough to hide round trips, not enough to fill the line.
const FETCHES_MAX: usize = 4;
/// Tries for the way home: one lost packet is no reason to decline.
const WAY_HOME_TRIES: u32 = 3;

/// What effects are done with.
#[derive(Clone)]
pub(crate) struct Hands {
    pub(crate) host: HostName,
    pub(crate) store: Store,
    pub(crate) live: BTreeMap<ServiceName, PathBuf>,
    /// Absent when a person reverts without an agent: no control plane is asked.
    pub(crate) client: Option<Client>,
    pub(crate) reach: Reach,
    /// Staging reads, pruning writes: nothing is removed while a tree is built.
    pub(crate) building: Arc<RwLock<()>>,
    /// One swap at a time, in the order in which they were decided.
    pub(crate) swapping: Arc<Mutex<()>>,
    /// The newest state, for what must not be pruned.
    pub(crate) state: watch::Receiver<Arc<Host>>,
}

fn failed(reason: impl Into<String>) -> Outcome {
    Outcome::Failed {
        reason: reason.into(),
    }
}

fn outcome(result: Result<(), String>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(reason) => failed(reason),
    }
}

impl Hands {
    pub(crate) async fn perform(&self, effect: &Effect) -> Outcome {
        let service = &effect.id.service;
        match &effect.action {
            Action::Stage { digest, bundle } => {
                outcome(self.stage(service, *digest, bundle.as_deref()).await)
            }
            Action::Check { command, context } | Action::Restart { command, context } => {
                let words = surroundings(&self.store, &self.host, service, context);
                let folder = self.store.tree(context.tree);
                let deadline = command.deadline_ms.duration();
                let ran = command::run(&command.run, &words, &folder, deadline).await;
                outcome(ran.map(drop))
            }
            Action::WayHome => outcome(self.way_home().await),
            Action::Swap { to } => outcome(self.swap(service, *to).await),
            Action::Look { check, context } => {
                let words = surroundings(&self.store, &self.host, service, context);
                let folder = self.store.tree(context.tree);
                outcome(health::look(check, &words, &folder).await)
            }
            Action::Confirm { digest } => self.confirm(effect, *digest).await,
            Action::AskPeers { peers } => peer::ask(peers).await,
            Action::Prune { keep } => outcome(self.prune(keep.clone()).await),
        }
    }

    async fn stage(
        &self,
        service: &ServiceName,
        digest: Digest,
        bundle: Option<&Bundle>,
    ) -> Result<(), String> {
        let guard = Arc::new(self.building.clone().read_owned().await);
        let store = self.store.clone();
        let verified = blocking(move || store.verify(digest, true)).await?;
        let problem = match verified {
            Ok(_) => return Ok(()),
            Err(problem) => problem,
        };
        if !matches!(problem, StoreError::Absent { .. }) {
            tracing::warn!(%service, %problem, "staging again");
        }
        let bundle = match bundle {
            Some(bundle) => bundle.clone(),
            None => self.store.manifest(digest).map_err(|_| chain(&problem))?,
        };
        let (store, wanted) = (self.store.clone(), bundle.clone());
        let missing = blocking(move || {
            let missing = store.missing(&wanted);
            store.room(&wanted).map(|()| missing)
        });
        let missing = missing.await?.map_err(|error| chain(&error))?;
        self.fetch(service, missing)
            .await
            .map_err(|reason| format!("{reason}{}", because(&problem)))?;
        let store = self.store.clone();
        let assembled = blocking(move || {
            // Held in here, so that nothing is pruned though the order is given up meanwhile.
            let _guard = guard;
            store.assemble(&bundle)
        });
        assembled.await?.map_err(|error| chain(&error))
    }

    async fn fetch(
        &self,
        service: &ServiceName,
        missing: BTreeMap<Digest, u64>,
    ) -> Result<(), String> {
        if missing.is_empty() {
            return Ok(());
        }
        let Some(client) = &self.client else {
            return Err(format!("{} blobs are not on this disk", missing.len()));
        };
        let fetches = missing.into_iter().map(|(digest, size)| async move {
            blobs::fetch(client, &self.store, service, digest, size).await
        });
        stream::iter(fetches)
            .buffer_unordered(FETCHES_MAX)
            .try_collect::<()>()
            .await
            .map_err(|error| error.to_string())
    }

    async fn way_home(&self) -> Result<(), String> {
        let Some(client) = &self.client else {
            return Err("no control plane is configured".into());
        };
        let path = format!("/v1/agents/{}/whoami", self.host);
        let mut problem = String::new();
        for attempt in 0..WAY_HOME_TRIES {
            if attempt > 0 {
                tokio::time::sleep(wire::backoff::jitter(Duration::from_millis(600))).await;
            }
            let answer = match client.fresh() {
                Ok(fresh) => fresh.get::<WhoAmI>(&path).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(who) if who.host == self.host => {
                    self.reach.heard();
                    return Ok(());
                }
                Ok(who) => {
                    return Err(format!(
                        "the control plane takes this host for {}",
                        who.host
                    ));
                }
                Err(error) => problem = error.to_string(),
            }
        }
        Err(problem)
    }

    async fn swap(&self, service: &ServiceName, to: Digest) -> Result<(), String> {
        let Some(live) = self.live.get(service).cloned() else {
            return Err(format!(
                "the configuration no longer says where {service} lives"
            ));
        };
        let (store, service) = (self.store.clone(), service.clone());
        let swapping = self.swapping.clone();
        // A swap that nobody waits for any more must not come after a newer one.
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        let still = wanted.0.clone();
        let swapped = blocking(move || {
            let _one = swapping.lock().unwrap_or_else(PoisonError::into_inner);
            if !still.load(Ordering::SeqCst) {
                return Ok(());
            }
            live::swap(&store, &service, &live, to)
        });
        let result = swapped.await;
        drop(wanted);
        result?.map_err(|error| chain(&error))
    }

    async fn confirm(&self, effect: &Effect, digest: Digest) -> Outcome {
        let service = &effect.id.service;
        let Some(client) = &self.client else {
            return failed("no control plane is asked");
        };
        let (store, live) = (self.store.clone(), self.live.get(service).cloned());
        let name = service.clone();
        let right = blocking(move || {
            let right = live.is_some_and(|live| live::shows(&store, &name, &live, digest));
            if !right {
                return Err("the live path does not lead to the tree".to_owned());
            }
            store.verify(digest, false).map(drop).map_err(|e| chain(&e))
        });
        match right.await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Outcome::Astray { reason },
            Err(reason) => return failed(reason),
        }
        let request = ConfirmRequest {
            service: service.clone(),
            generation: effect.id.generation,
            digest,
        };
        let path = format!("/v1/agents/{}/confirm", self.host);
        let answer = match client.fresh() {
            Ok(fresh) => fresh.post::<_, serde_json::Value>(&path, &request).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(_) => {
                self.reach.heard();
                Outcome::Done
            }
            Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::StaleGeneration => {
                Outcome::Refused {
                    reason: refusal.message,
                }
            }
            Err(error) => failed(error.to_string()),
        }
    }

    async fn prune(&self, keep: BTreeSet<Digest>) -> Result<(), String> {
        let Ok(guard) = self.building.clone().try_write_owned() else {
            return Err("a tree is being built".into());
        };
        // All services share the folder, and may have moved on since this was decided.
        let mut keep = keep;
        let state = self.state.borrow().clone();
        keep.extend(state.slots.values().flat_map(node::Slot::keep));
        let store = self.store.clone();
        let pruned = blocking(move || {
            let _guard = guard;
            store.prune(&keep)
        });
        pruned.await?.map_err(|error| chain(&error))
    }
}

/// Falls when the future that waits for a swap is dropped.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

fn because(problem: &StoreError) -> String {
    match problem {
        StoreError::Absent { .. } => String::new(),
        StoreError::Io { .. }
        | StoreError::NoSpace { .. }
        | StoreError::Damaged { .. }
        | StoreError::Package { .. } => format!(" ({problem})"),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| format!("the agent's own work broke off: {error}"))
}
