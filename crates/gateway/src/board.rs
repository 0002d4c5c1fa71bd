//! The routes in force, swapped whole while requests go on.
//!
//! A connection keeps its own `Arc` of its service's route and looks, with one
//! atomic load for each request, whether there is a newer one; only then does it
//! take the lock. Chosen over `watch::Receiver::borrow`, whose reader count is
//! one cache line that every core writes for every request, and over another
//! dependency, because per-connection state costs nothing here.
//!
//! Invariant: a request sees one route from beginning to end; the next request
//! on the same connection sees the newest.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edge::Router;
use edge::admission::{BackendKey, BackendSpec, PoolKey, limit_for_workers};
use http::HeaderName;
use model::serving::Protocol;
use model::{
    Applied, Backend, Digest, Drained, InFlight, RouteTable, ServiceName, ServiceRoutes, Workers,
};
use tokio::sync::watch;

use crate::config::Concurrency;
use crate::desk::Desk;
use crate::drains::Leaving;
use crate::upstream::{Secure, Upstream};

/// One service's route, ready for requests.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) router: Router,
    pub(crate) tenant_header: Option<HeaderName>,
    pub(crate) priority_header: Option<HeaderName>,
    /// For a whole request, if the service has one of its own.
    pub(crate) deadline: Option<Duration>,
    /// Backends are given whatever comes.
    is_open: bool,
    /// In the router's order.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    specs: Vec<BackendSpec>,
    /// What each backend has said of its workers since this route is in force, 0 for nothing.
    workers: Vec<AtomicU32>,
    by_key: BTreeMap<BackendKey, usize>,
    routes: ServiceRoutes,
    /// Drained hosts, and what they still work on.
    leaving: Vec<Leaving>,
}

impl Route {
    fn new(
        service: &ServiceName,
        routes: ServiceRoutes,
        (concurrency, secure): (Concurrency, &Secure),
        before: Option<&Route>,
    ) -> Route {
        let router = Router::new(service, &routes);
        let how = &routes.serving.upstream;
        let mut known: BTreeMap<&str, Arc<Upstream>> = before
            .into_iter()
            .flat_map(|route| &route.upstreams)
            .filter(|upstream| upstream.is_reached_by(how))
            .map(|upstream| (upstream.address(), upstream.clone()))
            .collect();
        // A host may stand in two pools for a moment; it has one set of connections.
        let upstreams = router
            .backends()
            .map(|(backend, _)| {
                let address = backend.address.as_str();
                known
                    .entry(address)
                    .or_insert_with(|| Upstream::new(address, how, secure))
                    .clone()
            })
            .collect();
        let header = |name: Option<&str>, without: &str| {
            let parsed = HeaderName::try_from(name?).ok();
            if parsed.is_none() {
                tracing::error!(%service, header = name, "no header's name; {without}");
            }
            parsed
        };
        let tenant = routes.tenant_header.as_deref();
        let tenant_header = header(tenant, "all requests count as one tenant");
        let priority = routes.serving.priority_header.as_deref();
        let priority_header = header(priority, "no request says its priority");
        let concurrency = in_force(routes.serving.workers, concurrency);
        let specs = router.backends().map(|it| spec(it, concurrency));
        let specs: Vec<BackendSpec> = specs.collect();
        let leaving = routes.drained.iter();
        let leaving = leaving.map(|it| leave(it, before)).collect();
        Route {
            workers: specs.iter().map(|_| AtomicU32::default()).collect(),
            leaving,
            by_key: (0..).zip(&specs).map(|(at, spec)| (spec.key, at)).collect(),
            specs,
            router,
            tenant_header,
            priority_header,
            deadline: deadline(&routes),
            is_open: concurrency == Concurrency::Unlimited,
            upstreams,
            routes,
        }
    }

    /// The pool of the backend at an index.
    pub(crate) fn pool(&self, backend: usize) -> Option<PoolKey> {
        Some(self.specs.get(backend)?.pool)
    }

    /// The index of a backend that admission chose.
    pub(crate) fn backend(&self, key: BackendKey) -> Option<usize> {
        self.by_key.get(&key).copied()
    }

    /// Whether hosts are spoken to over HTTP/2, and if so whether with TLS.
    pub(crate) fn http2(&self) -> Option<bool> {
        let spec = &self.routes.serving.upstream;
        (spec.protocol == Protocol::Http2).then_some(spec.tls)
    }

    /// Whether a backend says another number of workers than in its last answer: what has not
    /// changed need not be told to admission, which is behind a lock.
    pub(crate) fn is_new(&self, backend: usize, workers: u32) -> bool {
        let before = self.workers.get(backend);
        before.is_some_and(|it| {
            it.load(Ordering::Relaxed) != workers && it.swap(workers, Ordering::Relaxed) != workers
        })
    }

    fn has(&self, upstream: &Arc<Upstream>) -> bool {
        self.upstreams.iter().any(|it| Arc::ptr_eq(it, upstream))
    }
}

/// What the routes say; where they are silent, what this gateway was told.
fn in_force(said: Option<Workers>, own: Concurrency) -> Concurrency {
    match said {
        None => own,
        Some(Workers::Auto) => Concurrency::Found,
        Some(Workers::Off) => Concurrency::Unlimited,
        Some(Workers::Number(workers)) => Concurrency::Workers(workers),
    }
}

fn deadline(routes: &ServiceRoutes) -> Option<Duration> {
    routes.serving.deadline_ms.map(|it| it.duration())
}

/// What `before` knows of a host that is drained in the next table.
fn leave(told: &Drained, before: Option<&Route>) -> Leaving {
    let mut leaving = Leaving {
        told: told.clone(),
        keys: BTreeSet::new(),
        upstreams: Vec::new(),
    };
    let Some(before) = before else {
        return leaving;
    };
    if let Some(known) = before.leaving.iter().find(|it| it.told == *told) {
        leaving = known.clone();
    }
    for (at, (backend, _)) in before.router.backends().enumerate() {
        if backend.address == told.address {
            leaving.keys.insert(before.specs[at].key);
            let upstream = &before.upstreams[at];
            if !leaving.upstreams.iter().any(|it| Arc::ptr_eq(it, upstream)) {
                leaving.upstreams.push(upstream.clone());
            }
        }
    }
    leaving
}

/// How admission calls the pool of a bundle.
pub(crate) fn pool_key(digest: Digest) -> PoolKey {
    let mut hasher = DefaultHasher::new();
    digest.hash(&mut hasher);
    PoolKey(hasher.finish())
}

/// One bundle at one address. Two of a service's few hundred are the same by
/// chance once in 10^14 tables.
fn spec((backend, digest): (&Backend, Digest), concurrency: Concurrency) -> BackendSpec {
    let mut hasher = DefaultHasher::new();
    (digest, &backend.address).hash(&mut hasher);
    BackendSpec {
        key: BackendKey(hasher.finish()),
        pool: pool_key(digest),
        declared: None,
        configured: match concurrency {
            Concurrency::Found | Concurrency::Unlimited => None,
            Concurrency::Workers(workers) => Some(limit_for_workers(workers)),
        },
        // A process that ends closes its connections, which ends what it was sent.
        epoch: 0,
    }
}

/// One service's newest route, and who is let through.
#[derive(Debug)]
pub(crate) struct Board {
    version: AtomicU64,
    route: Mutex<Option<Arc<Route>>>,
    desk: Arc<Desk>,
    /// The service's own deadline, 0 for none.
    deadline_ms: AtomicU64,
    concurrency: Concurrency,
    secure: Secure,
}

impl Board {
    fn new(concurrency: Concurrency, secure: Secure) -> Board {
        Board {
            concurrency,
            secure,
            version: AtomicU64::default(),
            route: Mutex::default(),
            desk: Desk::new(),
            deadline_ms: AtomicU64::default(),
        }
    }

    /// How long a request may take now, `own` if the routes don't say it. For what outlives
    /// single requests; a request goes by its own route.
    pub(crate) fn deadline(&self, own: Duration) -> Duration {
        match self.deadline_ms.load(Ordering::Relaxed) {
            0 => own,
            millis => Duration::from_millis(millis),
        }
    }

    pub(crate) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    pub(crate) fn route(&self) -> Option<Arc<Route>> {
        self.route
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn swap(&self, service: &ServiceName, routes: Option<&ServiceRoutes>) {
        let before = self.route();
        if before.as_ref().map(|route| &route.routes) == routes {
            return;
        }
        let after = routes.map(|routes| {
            Arc::new(Route::new(
                service,
                routes.clone(),
                (self.concurrency, &self.secure),
                before.as_deref(),
            ))
        });
        let mut current = self.route.lock().unwrap_or_else(PoisonError::into_inner);
        // Under one lock, so that whoever asks for the newest route finds its backends admitted.
        let specs = after.as_ref().map_or(&[][..], |route| &route.specs);
        self.desk
            .set_backends(specs, after.as_ref().is_some_and(|it| it.is_open));
        let deadline = after.as_ref().and_then(|route| route.deadline);
        let deadline_ms =
            deadline.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        self.deadline_ms.store(deadline_ms, Ordering::Relaxed);
        current.clone_from(&after);
        self.version.fetch_add(1, Ordering::Release);
        drop(current);
        for upstream in before.iter().flat_map(|route| &route.upstreams) {
            let kept = after.as_ref().is_some_and(|route| route.has(upstream));
            if !kept {
                upstream.close();
            }
        }
    }
}

/// One connection's view of a [`Board`].
#[derive(Debug)]
pub(crate) struct Reader {
    board: Arc<Board>,
    version: Cell<u64>,
    route: RefCell<Option<Arc<Route>>>,
}

impl Reader {
    pub(crate) fn new(board: Arc<Board>) -> Reader {
        Reader {
            board,
            // No board is at this version, so the first look fetches.
            version: Cell::new(u64::MAX),
            route: RefCell::new(None),
        }
    }

    pub(crate) fn current(&self) -> Option<Arc<Route>> {
        let version = self.board.version.load(Ordering::Acquire);
        if version != self.version.get() {
            // A swap in between gives a newer route under the older version: fetched once more, no harm.
            self.route.replace(self.board.route());
            self.version.set(version);
        }
        self.route.borrow().clone()
    }
}

/// The table in force, and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct InForce {
    pub(crate) table: Arc<RouteTable>,
    /// Read from disk; the control plane has not been heard yet.
    pub(crate) saved: bool,
}

/// All services' boards.
#[derive(Debug)]
pub(crate) struct Boards {
    boards: BTreeMap<ServiceName, Arc<Board>>,
    /// For a board that nobody announced.
    with: (Concurrency, Secure),
    in_force: watch::Sender<Option<InForce>>,
}

impl Boards {
    pub(crate) fn new<'a>(
        services: impl Iterator<Item = &'a ServiceName>,
        concurrency: Concurrency,
        secure: Secure,
    ) -> Boards {
        let board = || Arc::new(Board::new(concurrency, secure.clone()));
        Boards {
            boards: services.map(|service| (service.clone(), board())).collect(),
            with: (concurrency, secure),
            in_force: watch::Sender::new(None),
        }
    }

    pub(crate) fn of(&self, service: &ServiceName) -> Arc<Board> {
        let board = self.boards.get(service).cloned();
        board.unwrap_or_else(|| Arc::new(Board::new(self.with.0, self.with.1.clone())))
    }

    /// Takes the table whole. Called by one task only.
    pub(crate) fn apply(&self, table: RouteTable, saved: bool) {
        for (service, board) in &self.boards {
            let routes = table.services.get(service);
            if routes.is_none() {
                tracing::warn!(%service, version = table.version, "the routes don't have this service");
            }
            board.swap(service, routes);
        }
        tracing::info!(version = table.version, saved, "routes taken");
        self.in_force.send_replace(Some(InForce {
            table: Arc::new(table),
            saved,
        }));
    }

    /// What the control plane should know of the table in force.
    pub(crate) fn applied(&self) -> Option<Applied> {
        let version = self.in_force.borrow().as_ref()?.table.version;
        let mut drained = Vec::new();
        for (service, board) in &self.boards {
            let Some(route) = board.route().filter(|it| !it.leaving.is_empty()) else {
                continue;
            };
            let (desk, _) = board.desk.view();
            drained.extend(route.leaving.iter().map(|leaving| InFlight {
                service: service.clone(),
                host: leaving.told.host.clone(),
                since: leaving.told.since,
                requests: leaving.in_flight(&desk),
            }));
        }
        Some(Applied { version, drained })
    }

    /// By service.
    pub(crate) fn boards(&self) -> impl Iterator<Item = (&ServiceName, &Arc<Board>)> {
        self.boards.iter()
    }

    pub(crate) fn in_force(&self) -> watch::Receiver<Option<InForce>> {
        self.in_force.subscribe()
    }

    /// Drops connections to backends that are of no use any more.
    pub(crate) fn sweep(&self) {
        for board in self.boards.values() {
            for upstream in board.route().iter().flat_map(|route| &route.upstreams) {
                upstream.sweep();
            }
        }
    }
}
