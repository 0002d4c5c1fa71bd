//! The gateway's shell: a reverse proxy that counts by bundle and tenant.
//!
//! HTTP/1.1 and HTTP/2 in and out, with or without TLS, bodies streamed both ways. Which backend answers is decided by [`edge::Router`]; this crate
//! owns sockets, deadlines and files. The way of a request: `listen` → `serve`
//! (`sentry` and `framing` read HTTP/1 strictly) → `proxy` → `desk`, where it gets
//! a slot at a backend → `exchange` → `upstream` → `body`,
//! which settles the request's `ticket` in the `ledger`. Beside it run `follow`
//! (routes from the control plane), `post` (counts to it) and `admin`.
//!
//! Invariant: nothing waits without a deadline, and no request waits for the
//! control plane: without it the gateway serves on by the last routes it had.

mod admin;
mod alarm;
mod answer;
mod aside;
mod board;
mod body;
mod check;
mod config;
mod customer;
mod desk;
mod drains;
mod exchange;
mod follow;
mod framing;
mod headers;
mod ledger;
mod listen;
mod post;
mod proxy;
mod rewound;
mod saved;
mod sentry;
mod serve;
mod tallies;
mod tls;
mod tunnel;
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

pub use check::check;
pub use config::{Concurrency, GatewayConfig, GatewayError, Limits};
pub use tls::{TlsError, TlsFiles};
pub use upstream::UpstreamTls;

use board::Boards;
use ledger::Ledger;
use listen::{Bound, Listener};

/// Connections to backends that were closed or unused for long are dropped this often.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// A process that knows no routes waits for them for so long before it listens:
/// another that it takes over from can serve meanwhile. Beyond it: 503.
const ROUTES_WITHIN: Duration = Duration::from_secs(2);
/// The last counts get this long to arrive once serving has ended.
const LAST_POST_WITHIN: Duration = Duration::from_secs(5);

/// Where a started gateway really listens.
#[derive(Debug, Clone)]
pub struct Started {
    /// By service, without TLS.
    pub services: BTreeMap<ServiceName, SocketAddr>,
    /// By service, with TLS.
    pub tls: BTreeMap<ServiceName, SocketAddr>,
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
    let parts = Parts::prepare(&config)?;
    let admin = config.admin.map(admin::bind).transpose()?;
    let doors = Doors::bind(&config)?;
    let here = Started {
        admin: admin.as_ref().map(admin::Admin::address),
        ..doors.addresses()
    };
    let mut helpers = parts.spawn_helpers(&config, admin);
    let Parts {
        boards,
        ledger,
        certificates,
        front,
        poster,
        ..
    } = parts;

    let mut in_force = boards.in_force();
    tokio::select! {
        _ = tokio::time::timeout(ROUTES_WITHIN, in_force.wait_for(Option::is_some)) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let mut serving = JoinSet::new();
    for (listener, is_secured) in doors.open()? {
        let with = listen::Serving {
            front: front.clone(),
            board: boards.of(&listener.service),
            tls: certificates.clone().filter(|_| is_secured),
            stop: stop.clone(),
        };
        serving.spawn(listener.serve(with));
    }
    started(here);
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

/// What a gateway is made of, before anybody can reach it.
struct Parts {
    client: Client,
    boards: Arc<Boards>,
    saved: Option<Arc<saved::Saved>>,
    ledger: Arc<Ledger>,
    certificates: Option<Arc<tls::Certificates>>,
    front: Arc<proxy::Front>,
    poster: Arc<post::Poster>,
}

impl Parts {
    fn prepare(config: &GatewayConfig) -> Result<Parts, GatewayError> {
        if let Some(problem) = check::settings(config).into_iter().next() {
            return Err(problem);
        }
        let identity = config
            .token
            .clone()
            .map_or(Identity::Nobody, Identity::Bearer);
        let client = Client::new(&config.control, identity, config.ca.clone())?;
        listen::raise_open_files();
        let certificates = match &config.tls {
            Some(files) => Some(tls::Certificates::load(files)?),
            None => None,
        };
        let secure = upstream::Secure::load(&config.upstream_tls)?;
        if config.upstream_tls.is_unverified {
            tracing::warn!("certificates of hosts are not verified");
        }
        let services = config.listeners.keys().chain(config.tls_listeners.keys());
        let boards = Arc::new(Boards::new(services, config.concurrency, secure));
        let saved = match &config.state_dir {
            Some(folder) => Some(Arc::new(saved::Saved::open(folder)?)),
            None => None,
        };
        if let Some(table) = saved.as_ref().and_then(|saved| saved.load(config)) {
            boards.apply(table, true);
        }
        let ledger = Arc::new(Ledger::new());
        Ok(Parts {
            front: Arc::new(proxy::Front::new(config, ledger.clone())),
            poster: Arc::new(post::Poster::new(
                config,
                client.clone(),
                ledger.clone(),
                boards.clone(),
            )),
            client,
            boards,
            saved,
            ledger,
            certificates,
        })
    }

    /// What runs beside the serving. These end with the process's need for them,
    /// not with the wish to stop: routes and counts matter while draining.
    fn spawn_helpers(&self, config: &GatewayConfig, admin: Option<admin::Admin>) -> JoinSet<()> {
        let (boards, poster) = (&self.boards, &self.poster);
        let mut helpers = JoinSet::new();
        helpers.spawn(follow::follow(
            config.clone(),
            self.client.clone(),
            boards.clone(),
        ));
        if let Some(saved) = self.saved.clone() {
            helpers.spawn(saved.keep(boards.in_force()));
        }
        helpers.spawn(poster.clone().every(config.post_every));
        helpers.spawn(sweep(boards.clone()));
        for (_, board) in boards.boards() {
            helpers.spawn(board.desk().clone().keep_time());
        }
        if let Some(certificates) = self.certificates.clone() {
            let (look, tallies) = (config.reload.clone(), self.front.tallies.clone());
            helpers.spawn(certificates.keep(look, tallies));
        }
        if let Some(admin) = admin {
            helpers.spawn(admin.serve(boards.clone(), self.front.clone(), poster.clone()));
        }
        helpers
    }
}

/// All ports of a gateway, bound. Nobody is turned away there yet, because the
/// process that is taken over from listens on.
struct Doors {
    /// With whether TLS is spoken there.
    bound: Vec<(ServiceName, Bound, bool)>,
}

impl Doors {
    fn bind(config: &GatewayConfig) -> Result<Doors, GatewayError> {
        let plain = config.listeners.iter().map(|it| (it, false));
        let secured = config.tls_listeners.iter().map(|it| (it, true));
        let bound = plain
            .chain(secured)
            .map(|((service, address), is_secured)| {
                let bound = listen::bind(format!("service {service}"), *address)?;
                Ok((service.clone(), bound, is_secured))
            });
        Ok(Doors {
            bound: bound.collect::<Result<_, GatewayError>>()?,
        })
    }

    fn addresses(&self) -> Started {
        let mut started = Started {
            services: BTreeMap::new(),
            tls: BTreeMap::new(),
            admin: None,
        };
        for (service, bound, is_secured) in &self.bound {
            let addresses = match is_secured {
                true => &mut started.tls,
                false => &mut started.services,
            };
            addresses.insert(service.clone(), bound.address());
        }
        started
    }

    fn open(self) -> Result<Vec<(Listener, bool)>, GatewayError> {
        let opened = self.bound.into_iter().map(|(service, bound, is_secured)| {
            let tcp = bound.open()?;
            Ok((Listener { service, tcp }, is_secured))
        });
        opened.collect()
    }
}

async fn sweep(boards: Arc<Boards>) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    loop {
        tick.tick().await;
        boards.sweep();
    }
}
