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
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use edge::Router;
use http::HeaderName;
use model::{RouteTable, ServiceName, ServiceRoutes};
use tokio::sync::watch;

use crate::upstream::Upstream;

/// One service's route, ready for requests.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) router: Router,
    pub(crate) tenant_header: Option<HeaderName>,
    /// By [`edge::Choice::slot`].
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    routes: ServiceRoutes,
}

impl Route {
    fn new(service: &ServiceName, routes: ServiceRoutes, before: Option<&Route>) -> Route {
        let router = Router::new(service, &routes, before.map(|route| &route.router));
        let mut known: BTreeMap<&str, Arc<Upstream>> = before
            .into_iter()
            .flat_map(|route| &route.upstreams)
            .map(|upstream| (upstream.address(), upstream.clone()))
            .collect();
        // A host may stand in two pools for a moment; it has one set of connections.
        let upstreams = router
            .backends()
            .map(|backend| {
                let address = backend.address.as_str();
                known
                    .entry(address)
                    .or_insert_with(|| Upstream::new(address))
                    .clone()
            })
            .collect();
        let tenant_header = routes.tenant_header.as_deref().and_then(|name| {
            let parsed = HeaderName::try_from(name).ok();
            if parsed.is_none() {
                tracing::error!(%service, header = name, "no header's name; all requests count as one tenant");
            }
            parsed
        });
        Route {
            router,
            tenant_header,
            upstreams,
            routes,
        }
    }

    fn has(&self, address: &str) -> bool {
        self.upstreams.iter().any(|it| it.address() == address)
    }
}

/// One service's newest route.
#[derive(Debug, Default)]
pub(crate) struct Board {
    version: AtomicU64,
    route: Mutex<Option<Arc<Route>>>,
}

impl Board {
    fn route(&self) -> Option<Arc<Route>> {
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
        let after =
            routes.map(|routes| Arc::new(Route::new(service, routes.clone(), before.as_deref())));
        let mut current = self.route.lock().unwrap_or_else(PoisonError::into_inner);
        current.clone_from(&after);
        self.version.fetch_add(1, Ordering::Release);
        drop(current);
        for upstream in before.iter().flat_map(|route| &route.upstreams) {
            let kept = after
                .as_ref()
                .is_some_and(|route| route.has(upstream.address()));
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
    in_force: watch::Sender<Option<InForce>>,
}

impl Boards {
    pub(crate) fn new<'a>(services: impl Iterator<Item = &'a ServiceName>) -> Boards {
        Boards {
            boards: services
                .map(|service| (service.clone(), Arc::default()))
                .collect(),
            in_force: watch::Sender::new(None),
        }
    }

    pub(crate) fn of(&self, service: &ServiceName) -> Arc<Board> {
        self.boards.get(service).cloned().unwrap_or_default()
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
