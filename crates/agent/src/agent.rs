//! Puts the parts together: lock, state, generation 0, the loop, the line.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use node::{Host, Input};
use wire::api::{EnrolAnswer, EnrolRequest};
use wire::backoff::Backoff;
use wire::{Client, ClientError, Identity, PublicKey, SecretKey};

use crate::config::{AgentConfig, Attestation};
use crate::core::{Core, Inbox};
use crate::error::at;
use crate::hands::Hands;
use crate::link::{self, Link};
use crate::reach::Reach;
use crate::store::Store;
use crate::trust::{self, Trust};
use crate::{AgentError, disk, live, local, peer, tasks};

/// Runs a host's agent until `shutdown`. What is under way then is broken off;
/// the state on disk says how the next start goes on.
///
/// # Errors
/// When it can't start: the state folder is in use, what is live can't be taken
/// over, the host can't join. Once it runs, nothing but `shutdown` ends it.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), AgentError> {
    // A child: that this agent ends is no reason to end others.
    let shutdown = shutdown.child_token();
    let _lock = disk::lock(&config.state_dir)?;
    let host = match disk::load(&config.state_dir)? {
        Some(host) if host.name != config.host => {
            return Err(AgentError::State {
                path: config.state_dir.clone(),
                reason: format!("it is the state of {}, not of {}", host.name, config.host),
            });
        }
        Some(host) => host,
        None => Host::new(config.host.clone()),
    };
    let key_path = config.state_dir.join("key");
    let key = SecretKey::load_or_create(&key_path).map_err(AgentError::Key)?;
    let identity = Identity::Host(config.host.clone(), Box::new(key.clone()));
    let client = Client::new(&config.control, identity, config.ca.clone());
    let client = client.map_err(AgentError::Client)?;
    let attesters = config.attesters()?;
    let reach = Reach::default();

    let (mut core, inbox, state) = Core::new(config.state_dir.clone(), host);
    let hands = hands(&config, &state, Some(client.clone()), reach.clone())?;
    begin(&config, &mut core, &hands, &state).await?;

    let listener = listen(&config).await?;
    let bound = listener.local_addr().map_err(at(&config.peer_listen))?;
    let peer_address = config.peer_address.clone();
    let peer_address = peer_address.unwrap_or_else(|| bound.to_string());
    let socket = local::listen(&config.state_dir)?;

    // Dropped at the end, with everything in it.
    let mut tasks = JoinSet::new();
    let knowledge = peer::Knowledge {
        host: config.host.clone(),
        control: config.control.clone(),
        ca: config.ca.clone(),
        reach: reach.clone(),
    };
    tasks.spawn(async move {
        if let Err(error) = peer::serve(listener, knowledge).await {
            tracing::error!(%error, "peers can't ask this host any more");
        }
    });
    tasks.spawn(local::serve(
        socket,
        inbox.clone(),
        state.clone(),
        reach,
        config.state_dir.clone(),
    ));

    let line = Line {
        config: &config,
        client,
        key,
        attesters,
        peer_address,
        state,
        inbox,
        hands: hands.clone(),
    };
    // The host is looked after (a way back finished, health watched) before and without joining.
    let (turning, line) = (core.run(hands, shutdown.clone()), line.hold());
    tokio::pin!(turning, line);
    let ended = tokio::select! {
        () = &mut turning => return Ok(()),
        ended = &mut line => ended,
    };
    match ended {
        Ok(()) => {
            turning.await;
            Ok(())
        }
        Err(error) => {
            shutdown.cancel();
            turning.await;
            Err(error)
        }
    }
}

/// Makes the folders and gathers what effects are done with.
pub(crate) fn hands(
    config: &AgentConfig,
    state: &watch::Receiver<Arc<Host>>,
    client: Option<Client>,
    reach: Reach,
) -> Result<Hands, AgentError> {
    let store = Store::open(&config.state_dir).map_err(at(&config.state_dir))?;
    let services = config.services.iter();
    Ok(Hands {
        host: config.host.clone(),
        store,
        live: services
            .map(|(service, config)| (service.clone(), config.live.clone()))
            .collect(),
        client,
        reach,
        building: Arc::default(),
        swapping: Arc::default(),
        state: state.clone(),
    })
}

/// What was under way, what this host demands, and what is new on it.
async fn begin(
    config: &AgentConfig,
    core: &mut Core,
    hands: &Hands,
    state: &watch::Receiver<Arc<Host>>,
) -> Result<(), AgentError> {
    let begins = core.input(Input::Started).await;
    begins.map_err(AgentError::Refused)?;
    match config.attestation {
        Attestation::OnceMet => {}
        Attestation::Required => core
            .input(Input::Gated)
            .await
            .map_err(AgentError::Refused)?,
    }
    adopt(config, core, hands, state).await
}

/// Takes over the services that are new in the configuration.
async fn adopt(
    config: &AgentConfig,
    core: &mut Core,
    hands: &Hands,
    state: &watch::Receiver<Arc<Host>>,
) -> Result<(), AgentError> {
    let configured: BTreeSet<_> = config.services.keys().cloned().collect();
    let new = link::unknown(&state.borrow().clone(), &configured);
    for service in new {
        let Some(live) = hands.live.get(&service).cloned() else {
            continue;
        };
        let (store, name) = (hands.store.clone(), service.clone());
        let found = tokio::task::spawn_blocking(move || live::adopt(&store, &name, &live)).await;
        let found = match found {
            Ok(found) => found?,
            Err(error) => {
                return Err(AgentError::Adopt {
                    path: config.state_dir.clone(),
                    reason: error.to_string(),
                    service,
                });
            }
        };
        let input = Input::Adopted {
            service,
            digest: found.digest,
            empty: found.empty,
        };
        core.input(input).await.map_err(AgentError::Refused)?;
    }
    Ok(())
}

/// Binds the peer endpoint. A port that the system chose is kept over restarts,
/// because the control plane has told it to other hosts.
async fn listen(config: &AgentConfig) -> Result<TcpListener, AgentError> {
    let path = config.state_dir.join("peer.addr");
    let chosen = config.peer_listen.ends_with(":0");
    if chosen && let Ok(before) = std::fs::read_to_string(&path) {
        match TcpListener::bind(before.trim()).await {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                tracing::warn!(address = %before.trim(), %error, "peers know this address, and it is taken")
            }
        }
    }
    let listener = TcpListener::bind(&config.peer_listen).await;
    let listener = listener.map_err(at(&config.peer_listen))?;
    if let (true, Ok(address)) = (chosen, listener.local_addr()) {
        let written = disk::write(&path, address.to_string().as_bytes(), 0o600);
        written.map_err(at(&path))?;
    }
    Ok(listener)
}

/// What the line to the control plane is held with.
struct Line<'a> {
    config: &'a AgentConfig,
    client: Client,
    key: SecretKey,
    attesters: Vec<PublicKey>,
    peer_address: String,
    state: watch::Receiver<Arc<Host>>,
    inbox: Inbox,
    hands: Hands,
}

impl Line<'_> {
    /// Joins, and then talks until dropped.
    async fn hold(self) -> Result<(), AgentError> {
        let control_key = self.join().await?;
        let (tasks, listed) = watch::channel(Vec::new());
        let tools = tasks::Tools {
            client: self.client.clone(),
            hands: self.hands.clone(),
            probes: self.config.probes.clone(),
            retry_max: self.config.retry_max(),
        };
        let worker = tasks::Worker::new(tools, control_key.clone(), listed);
        let link = Link {
            client: self.client,
            state_dir: self.config.state_dir.clone(),
            trust: Trust::new(control_key, self.attesters),
            inbox: self.inbox,
            hands: self.hands,
            timings: self.config.timings,
            state: self.state,
            hinting: Arc::default(),
            hint: Arc::default(),
            tasks,
        };
        tokio::join!(
            worker.run(),
            link.clone().orders(),
            link.clone().hints(),
            link.clone().reports(),
            link.heartbeats()
        );
        Ok(())
    }

    /// The control plane's key: from disk, or by joining.
    async fn join(&self) -> Result<PublicKey, AgentError> {
        let config = self.config;
        let path = trust::control_key_path(&config.state_dir);
        if path.exists() {
            return trust::pinned(&config.state_dir);
        }
        let Some(join_token) = config.token()? else {
            return Err(AgentError::NoJoinToken);
        };
        let client = self.client.as_identity(Identity::Nobody);
        let mut backoff = Backoff::new(Duration::from_millis(200), config.retry_max());
        loop {
            let host = self.state.borrow().clone();
            let request = EnrolRequest {
                host: config.host.clone(),
                join_token: join_token.clone(),
                public_key: self.key.public().to_string(),
                peer_address: self.peer_address.clone(),
                adopted: host
                    .slots
                    .values()
                    .map(|slot| (slot.service.clone(), slot.running))
                    .collect(),
                fence: host.fence(),
            };
            let answer = client.post::<_, EnrolAnswer>("/v1/agents/enrol", &request);
            match answer.await {
                Ok(answer) => {
                    let control = PublicKey::parse(&answer.control_key).map_err(AgentError::Key)?;
                    // First of all: once the key is there, nobody asks again.
                    if answer.gated {
                        self.inbox.ask(Input::Gated).await;
                    }
                    let text = control.to_string();
                    disk::write(&path, text.as_bytes(), 0o600).map_err(at(&path))?;
                    tracing::info!(key = %control, "joined");
                    return Ok(control);
                }
                Err(ClientError::Refused { refusal, status })
                    if (400..500).contains(&status) && status != 429 =>
                {
                    return Err(AgentError::JoinRefused(refusal));
                }
                Err(error) => {
                    tracing::warn!(%error, "joining waits");
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }
}
