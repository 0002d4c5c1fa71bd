//! What agents and gateways wait for: the newest orders of each host, the
//! newest routes of each environment.
//!
//! Level-triggered: a board holds the newest value and its tag; waiting is for
//! "another tag than mine", so nothing is lost by whoever comes late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::due;
use engine::{Effect, State, Watch};
use incident::Message;
use incident::status::View;
use model::{EnvironmentName, Event, HostName, RouteTable, Seq, Timestamp};
use tokio::sync::watch;
use wire::SecretKey;
use wire::api::OrdersAnswer;
use wire::sign::{ORDER_TYPE, REVERT_TYPE, TASK_TYPE};

use crate::access::Access;
use crate::trust::Trust;

/// The status page's view is made at most this often: users don't notice a second.
const PAGE_EVERY: Duration = Duration::from_secs(1);

/// One host's signed orders, ways back and tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostOrders {
    pub(crate) tag: String,
    pub(crate) answer: Arc<OrdersAnswer>,
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
    trust: Trust,
    /// Hosts that had tasks when last told: they are told when they have none any more.
    tasked: Mutex<BTreeSet<HostName>>,
    hosts: Mutex<BTreeMap<HostName, watch::Sender<HostOrders>>>,
    routes: Mutex<BTreeMap<EnvironmentName, watch::Sender<Arc<RouteTable>>>>,
    access: watch::Sender<Arc<Access>>,
    position: watch::Sender<Seq>,
    messages: watch::Sender<Arc<Vec<Message>>>,
    page: watch::Sender<Option<Arc<View>>>,
    paged_at: Mutex<Option<Instant>>,
}

impl Boards {
    pub(crate) fn new(key: SecretKey) -> Boards {
        Boards {
            trust: Trust::new(key.public()),
            tasked: Mutex::default(),
            key,
            hosts: Mutex::default(),
            routes: Mutex::default(),
            access: watch::Sender::new(Arc::default()),
            position: watch::Sender::new(Seq(0)),
            messages: watch::Sender::new(Arc::default()),
            page: watch::Sender::new(None),
            paged_at: Mutex::default(),
        }
    }

    /// What people and users are to be told now. It changes with time, too.
    pub(crate) fn tell(&self, state: &State, watch: &Watch, now: Timestamp) {
        self.show(state, watch, now);
        let messages = engine::incidents::messages(state, now);
        self.messages.send_if_modified(|known| {
            let news = **known != messages;
            if news {
                *known = Arc::new(messages);
            }
            news
        });
    }

    pub(crate) fn messages(&self) -> watch::Receiver<Arc<Vec<Message>>> {
        self.messages.subscribe()
    }

    /// Says aloud what the journal claims that this control plane never signed.
    pub(crate) fn audit(&self, state: &State) {
        self.trust.audit(state);
    }

    /// Releases that the journal says may serve, and that were never signed.
    pub(crate) fn distrusted(&self) -> usize {
        self.trust.told()
    }

    /// The status page, if anybody shows it. Its view looks at ninety days, so it is not made each turn.
    fn show(&self, state: &State, watch: &Watch, now: Timestamp) {
        let mut at = self.paged_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = at.is_none();
        let is_due = at.is_none_or(|at| at.elapsed() >= PAGE_EVERY);
        if is_first || (is_due && self.page.receiver_count() > 0) {
            *at = Some(Instant::now());
            let view = engine::incidents::page(state, watch, now);
            self.page.send_replace(Some(Arc::new(view)));
        }
    }

    /// What users are told, from the first turn on.
    pub(crate) fn page(&self) -> watch::Receiver<Option<Arc<View>>> {
        self.page.subscribe()
    }

    /// Takes over everything that follows from `state` as of `position`.
    pub(crate) fn publish(&self, state: &State, position: Seq, news: &News) {
        if news.access {
            self.access.send_replace(Access::of(state));
        }
        let tasked = due::tasked(state);
        let before = {
            let mut known = self.tasked.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, tasked.clone())
        };
        match &news.hosts {
            Some(hosts) => {
                let hosts = hosts.iter().chain(&tasked).chain(&before);
                let hosts: BTreeSet<_> = hosts.collect();
                hosts
                    .into_iter()
                    .for_each(|host| self.publish_host(state, host));
            }
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
        let trusted = dispatches
            .iter()
            .filter(|dispatch| self.trust.may_be_sent(state, dispatch));
        let answer = OrdersAnswer {
            orders: trusted.map(|it| self.key.seal(ORDER_TYPE, it)).collect(),
            reverts: due::reverts(state, host)
                .iter()
                .map(|revert| self.key.seal(REVERT_TYPE, revert))
                .collect(),
            tasks: due::tasks(state, host)
                .iter()
                .map(|task| self.key.seal(TASK_TYPE, task))
                .collect(),
        };
        let answer = Arc::new(answer);
        sender.send_replace(HostOrders { tag, answer });
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
