//! What agents and gateways wait for: the newest orders of each host, the
//! newest routes of each environment.
//!
//! Level-triggered: a board holds the newest value and its tag; waiting is for
//! "another tag than mine", so nothing is lost by whoever comes late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use engine::due;
use engine::{Effect, State};
use model::{EnvironmentName, Event, HostName, RouteTable, Seq};
use tokio::sync::watch;
use wire::sign::ORDER_TYPE;
use wire::{Envelope, SecretKey};

use crate::access::Access;

/// One host's signed orders.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostOrders {
    pub(crate) tag: String,
    pub(crate) orders: Arc<Vec<Envelope>>,
}

/// What may have to be told anew. What is told follows from the state alone;
/// this only saves looking at every host of a large fleet after each event.
#[derive(Debug)]
pub(crate) struct News {
    access: bool,
    /// Absent: every host.
    hosts: Option<BTreeSet<HostName>>,
}

impl News {
    pub(crate) fn everything() -> News {
        News {
            access: true,
            hosts: None,
        }
    }

    pub(crate) fn of(events: &[Event]) -> News {
        let mut hosts = BTreeSet::new();
        let mut access = false;
        for event in events {
            match event {
                Event::TokenIssued { .. } | Event::TokenRevoked { .. } => access = true,
                Event::HostEnrolled { host, .. } => {
                    access = true;
                    hosts.insert(host.clone());
                }
                Event::HostOrdered { order } => {
                    hosts.insert(order.host.clone());
                }
                _ => {}
            }
        }
        News {
            access,
            hosts: Some(hosts),
        }
    }
}

/// Everything that is waited for.
pub(crate) struct Boards {
    key: SecretKey,
    hosts: Mutex<BTreeMap<HostName, watch::Sender<HostOrders>>>,
    routes: Mutex<BTreeMap<EnvironmentName, watch::Sender<Arc<RouteTable>>>>,
    access: watch::Sender<Arc<Access>>,
    position: watch::Sender<Seq>,
}

impl Boards {
    pub(crate) fn new(key: SecretKey) -> Boards {
        Boards {
            key,
            hosts: Mutex::default(),
            routes: Mutex::default(),
            access: watch::Sender::new(Arc::default()),
            position: watch::Sender::new(Seq(0)),
        }
    }

    /// Takes over everything that follows from `state` as of `position`.
    pub(crate) fn publish(&self, state: &State, position: Seq, news: &News) {
        if news.access {
            self.access.send_replace(Access::of(state));
        }
        match &news.hosts {
            Some(hosts) => hosts.iter().for_each(|host| self.publish_host(state, host)),
            None => state
                .hosts
                .keys()
                .for_each(|host| self.publish_host(state, host)),
        }
        for effect in due::routes_due(state) {
            if let Effect::Routes {
                environment,
                services,
            } = effect
            {
                let table = RouteTable {
                    version: position.0,
                    environment,
                    services,
                };
                self.publish_routes(table);
            }
        }
        self.position.send_replace(position);
    }

    fn publish_host(&self, state: &State, host: &HostName) {
        let tag = due::orders_tag(state, host);
        let sender = self.host_sender(host);
        if sender.borrow().tag == tag {
            return;
        }
        // Signing and copying manifests is done only for hosts with news.
        let dispatches = due::dispatches(state, host);
        let sign = |dispatch| self.key.seal(ORDER_TYPE, dispatch);
        let orders = Arc::new(dispatches.iter().map(sign).collect());
        sender.send_replace(HostOrders { tag, orders });
    }

    fn publish_routes(&self, table: RouteTable) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        match routes.get(&table.environment) {
            Some(sender) if sender.borrow().services == table.services => {}
            Some(sender) => drop(sender.send_replace(Arc::new(table))),
            None => {
                routes.insert(
                    table.environment.clone(),
                    watch::Sender::new(Arc::new(table)),
                );
            }
        }
    }

    fn host_sender(&self, host: &HostName) -> watch::Sender<HostOrders> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts
            .entry(host.clone())
            .or_insert_with(|| watch::Sender::new(HostOrders::default()))
            .clone()
    }

    /// The orders of a host that has joined.
    pub(crate) fn orders(&self, host: &HostName) -> watch::Receiver<HostOrders> {
        self.host_sender(host).subscribe()
    }

    /// The routes of an environment, if there is one of that name.
    pub(crate) fn routes(
        &self,
        environment: &EnvironmentName,
    ) -> Option<watch::Receiver<Arc<RouteTable>>> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.get(environment).map(watch::Sender::subscribe)
    }

    pub(crate) fn access(&self) -> Arc<Access> {
        self.access.borrow().clone()
    }

    /// The position up to which everything here is published.
    pub(crate) fn position(&self) -> watch::Receiver<Seq> {
        self.position.subscribe()
    }
}
