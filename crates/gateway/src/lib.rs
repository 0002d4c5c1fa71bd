//! The gateway's shell: a reverse proxy that counts by bundle and tenant.
//!
//! HTTP/1.1 in, HTTP/1.1 out, bodies streamed both ways. Which backend answers
//! is decided by [`edge::Router`]; this crate owns sockets, deadlines and files.
//! The way of a request: `listen` → `proxy` → `upstream` → `body`, which
//! settles the request's `ticket` in the `ledger`. Beside it run `follow`
//! (routes from the control plane), `post` (counts to it) and `admin`.
//!
//! Invariant: nothing waits without a deadline, and no request waits for the
//! control plane: without it the gateway serves on by the last routes it had.

mod admin;
mod answer;
mod board;
mod body;
mod config;
mod follow;
mod headers;
mod ledger;
mod listen;
mod post;
mod proxy;
mod saved;
mod upstream;
mod vitals;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::ServiceName;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::{Client, Identity};

pub use config::{GatewayConfig, GatewayError, Limits};

use board::Boards;
use ledger::Ledger;

/// Connections to backends that were closed or unused for long are dropped this often.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// The last counts get this long to arrive once serving has ended.
const LAST_POST_WITHIN: Duration = Duration::from_secs(5);

/// Where a started gateway really listens.
#[derive(Debug, Clone)]
pub struct Started {
    /// By service.
    pub services: BTreeMap<ServiceName, SocketAddr>,
    /// The admin listener, if there is one.
    pub admin: Option<SocketAddr>,
}

/// Runs a gateway until `stop` turns true, then finishes what is in flight and
/// posts the last counts. `started` hears where it listens once it does.
///
/// # Errors
/// When it can't start; see [`GatewayError`].
pub async fn run(
    config: GatewayConfig,
    mut stop: watch::Receiver<bool>,
    started: impl FnOnce(Started) + Send,
) -> Result<(), GatewayError> {
    let identity = match config.token.clone() {
        Some(token) => Identity::Bearer(token),
        None => Identity::Nobody,
    };
    let client = Client::new(&config.control, identity, config.ca.clone())?;
    listen::raise_open_files();
    let boards = Arc::new(Boards::new(config.listeners.keys()));
    let saved = match &config.state_dir {
        Some(folder) => Some(saved::Saved::open(folder)?),
        None => None,
    };
    if let Some(table) = saved.as_ref().and_then(|saved| saved.load(&config)) {
        boards.apply(table, true);
    }
    let ledger = Arc::new(Ledger::new());
    let admin = match config.admin {
        Some(address) => Some(admin::bind(address).await?),
        None => None,
    };
    let front = Arc::new(proxy::Front::new(config.limits.clone(), ledger.clone()));
    let mut listeners = Vec::new();
    for (service, address) in &config.listeners {
        listeners.push(listen::bind(service, *address).await?);
    }
    started(Started {
        services: listeners
            .iter()
            .map(|listener| (listener.service().clone(), listener.address()))
            .collect(),
        admin: admin.as_ref().map(admin::Admin::address),
    });

    // These end with the process's need for them, not with `stop`: routes and counts matter while draining.
    let mut helpers = JoinSet::new();
    let poster = Arc::new(post::Poster::new(&config, client.clone(), ledger.clone()));
    helpers.spawn(follow::follow(config.clone(), client, boards.clone()));
    if let Some(saved) = saved {
        helpers.spawn(saved.keep(boards.in_force()));
    }
    helpers.spawn(poster.clone().every(config.post_every));
    helpers.spawn(sweep(boards.clone()));
    if let Some(admin) = admin {
        helpers.spawn(admin.serve(boards.clone(), front.clone(), poster.clone()));
    }

    let mut serving = JoinSet::new();
    for listener in listeners {
        let board = boards.of(listener.service());
        serving.spawn(listener.serve(front.clone(), board, stop.clone(), config.limits.drain));
    }
    // A starter that is gone can't ask to stop, so its end is taken for the wish.
    let _ = stop.wait_for(|stop| *stop).await;
    while serving.join_next().await.is_some() {}
    helpers.shutdown().await;
    ledger.book().ticks.finish(ledger.now());
    if tokio::time::timeout(LAST_POST_WITHIN, poster.post_all())
        .await
        .is_err()
    {
        tracing::warn!("the last counts did not arrive in time");
    }
    tracing::info!("stopped");
    Ok(())
}

async fn sweep(boards: Arc<Boards>) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    loop {
        tick.tick().await;
        boards.sweep();
    }
}
