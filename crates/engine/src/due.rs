//! What the world should be told, from state alone.
//!
//! Effects are levels, not edges: the same state gives the same effects, so
//! after a crash the shell asks again and tells again; receivers drop what
//! they know by its generation or version.

mod routes;

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use model::order::{Dispatch, Revert};
use model::{
    Digest, Envelope, Environment, EnvironmentName, HostName, Millis, Order, OrderKind, ReleaseId,
    ServiceName, ServiceRoutes, Statement, Task, TaskKind, Timestamp,
};
use release::gates::Probing;
use release::{Release, Status};

use crate::{State, Watch, gates, incidents};

pub(crate) use routes::{canary, is_routed};

/// A host asks this many others whether the control plane is gone for them too.
const PEERS: usize = 3;
/// An active release is looked at this often even without news.
const TICK_EVERY: Millis = Millis(250);

/// All probes of a host together.
const PROBES_WITHIN: Millis = Millis::seconds(30);
/// All broken variants together: some dozens of runs of the bundle's own check.
const TRIALS_WITHIN: Millis = Millis::seconds(300);
/// A load that was never taken off the list ends by itself.
const LOAD_WITHIN: Millis = Millis::seconds(900);

/// Something the world should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A host should have these orders, one for each service.
    Orders {
        /// Which host.
        host: HostName,
        /// Newest order of each service, complete.
        dispatches: Vec<Dispatch>,
    },
    /// Gateways of an environment should route so.
    Routes {
        /// Which environment.
        environment: EnvironmentName,
        /// By service.
        services: BTreeMap<ServiceName, ServiceRoutes>,
    },
}

/// Everything that follows from `state`.
pub fn due(state: &State) -> Vec<Effect> {
    let orders = state.hosts.keys().map(|host| Effect::Orders {
        host: host.clone(),
        dispatches: dispatches(state, host),
    });
    orders.chain(routes_due(state)).collect()
}

/// The part of [`due`] that gateways should know.
pub fn routes_due(state: &State) -> impl Iterator<Item = Effect> {
    state
        .topology
        .environments
        .iter()
        .map(|environment| Effect::Routes {
            environment: environment.name.clone(),
            services: routes::routes(state, environment),
        })
}

/// Differs whenever a host's orders differ, and costs little to know: each
/// order has a generation of its own. Empty while there are none.
pub fn orders_tag(state: &State, host: &HostName) -> String {
    let slots = state
        .hosts
        .get(host)
        .into_iter()
        .flat_map(|host| host.slots.values());
    let orders = slots.filter_map(|slot| slot.order.as_ref());
    let mut tags: Vec<String> = orders
        .map(|order| format!("{}.{}", order.generation, order.issued_at.as_millisecond()))
        .collect();
    tags.extend(tasks(state, host).into_iter().map(|task| task.id));
    tags.join("-")
}

/// What is to be signed now: test results of releases that passed everything before production.
pub fn attestations(state: &State) -> Vec<(ReleaseId, Statement)> {
    let releases = state.releases.values();
    releases
        .filter_map(|release| Some((release.id, gates::statement(state, release)?)))
        .collect()
}

/// The way back from each order forward of a host, to be signed in advance with it.
pub fn reverts(state: &State, host: &HostName) -> Vec<Revert> {
    let slots = state.hosts.get(host).into_iter();
    slots
        .flat_map(|host| host.slots.values())
        .filter_map(|slot| {
            let forward = slot.order.as_ref()?;
            // A restart takes the place of the order that put the bundle there, with its way back.
            if forward.kind == OrderKind::Rollback {
                return None;
            }
            let order = Order {
                kind: OrderKind::Rollback,
                digest: slot.home_from(&[forward.digest]),
                ..forward.clone()
            };
            let release = state.releases.get(&forward.release);
            let approved_by = release.map_or_else(Vec::new, gates::approved_by);
            Some(Revert { order, approved_by })
        })
        .collect()
}

/// What a host should do for gates, without changing anything.
pub fn tasks(state: &State, host: &HostName) -> Vec<Task> {
    rolling(state)
        .flat_map(|release| {
            let probing = LazyCell::new(|| gates::probing(state, release));
            tasks_of(state, release, host, &probing)
        })
        .collect()
}

/// Active releases that go forward.
fn rolling(state: &State) -> impl Iterator<Item = &Release> {
    let active = state.services.values().filter_map(|service| service.active);
    let releases = active.filter_map(|id| state.releases.get(&id));
    releases.filter(|release| matches!(release.status, Status::Rolling { .. }))
}

/// Who probes, found out once for all hosts of a release and only when it is asked.
type Probers<F> = LazyCell<Vec<Probing>, F>;

/// Hosts that have tasks: a handful, however large the fleet is.
pub fn tasked(state: &State) -> BTreeSet<HostName> {
    rolling(state)
        .flat_map(|release| {
            let probing = LazyCell::new(|| gates::probing(state, release));
            let probers = probing.iter().flat_map(|group| group.hosts.iter().cloned());
            let chosen = gates::rehearsal_host(state, release).cloned();
            let rehearses = release.seen.rehearsal.as_ref().map(|it| it.host.clone());
            let hosts: Vec<HostName> = probers.chain(chosen).chain(rehearses).collect();
            hosts
                .into_iter()
                .filter(|host| !tasks_of(state, release, host, &probing).is_empty())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn tasks_of<F: FnOnce() -> Vec<Probing>>(
    state: &State,
    release: &Release,
    host: &HostName,
    probing: &Probers<F>,
) -> Vec<Task> {
    let Some((environment, declared)) = state.topology.host(host) else {
        return Vec::new();
    };
    let Some(address) = declared.services.get(&release.service) else {
        return Vec::new();
    };
    let kinds = [
        (
            PROBES_WITHIN,
            "probe",
            probe(state, release, host, environment, probing),
        ),
        (TRIALS_WITHIN, "hostile", hostile(state, release, host)),
        (LOAD_WITHIN, "load", load(state, release, host)),
    ];
    let wanted = kinds
        .into_iter()
        .filter_map(|(within, name, kind)| Some((within, name, kind?)));
    wanted
        .map(|(within_ms, name, kind)| Task {
            id: match &kind {
                TaskKind::Probe { .. } => gates::task_id(release.id, name, release.seen.round),
                TaskKind::Hostile { .. } | TaskKind::Load { .. } => {
                    gates::task_id(release.id, name, 0)
                }
            },
            host: host.clone(),
            release: release.id,
            service: release.service.clone(),
            environment: environment.name.clone(),
            zone: declared.zone.clone(),
            address: address.clone(),
            within_ms,
            kind,
        })
        .collect()
}

/// References are probed from the moment of the proposal, so that a bad one is known before the bake ends.
fn probe<F: FnOnce() -> Vec<Probing>>(
    state: &State,
    release: &Release,
    host: &HostName,
    environment: &Environment,
    probing: &Probers<F>,
) -> Option<TaskKind> {
    if release.seen.probes.contains_key(host) || gates::serving(state, release) {
        return None;
    }
    probing.iter().find(|group| group.hosts.contains(host))?;
    let references = release.checked.references.iter().enumerate();
    let used = references.filter(|(_, reference)| reference.used_in(&environment.name));
    let references =
        used.filter_map(|(at, reference)| Some((u32::try_from(at).ok()?, reference.clone())));
    let rules = gates::rules(state, &release.service);
    Some(TaskKind::Probe {
        references: references.collect(),
        egress: rules.egress.clone(),
    })
}

/// Broken variants are tried where the tree is, and before that host goes back and forth.
fn hostile(state: &State, release: &Release, host: &HostName) -> Option<TaskKind> {
    let rules = gates::rules(state, &release.service);
    let chosen = gates::rehearsal_host(state, release) == Some(host);
    let done = release.seen.trials.contains_key(host) || release.tested.is_some();
    let wanted = rules.hostile && !release.checked.hostile.is_empty();
    let slot = state.slot(host, &release.service)?;
    let there = slot.running == release.digest && slot.forward_of(release.id).is_some();
    let bundle = state.bundles.get(&release.digest)?;
    if !chosen || done || !wanted || !there || bundle.commands.check.is_none() {
        return None;
    }
    Some(TaskKind::Hostile {
        bundle: bundle.clone(),
        documents: release.checked.hostile.clone(),
        schemas: rules.schemas.clone(),
    })
}

/// Requests for the host that rehearses, from the first step to the last.
fn load(state: &State, release: &Release, host: &HostName) -> Option<TaskKind> {
    let rehearsal = release.seen.rehearsal.as_ref()?;
    let under_way = rehearsal.host == *host && rehearsal.current().is_some();
    let plan = gates::rules(state, &release.service)
        .rehearsal
        .load
        .clone()?;
    under_way.then_some(TaskKind::Load { plan })
}

/// When to tick although nothing happened; `None` while nothing is declared.
pub fn wake_at(state: &State, watch: &Watch, now: Timestamp) -> Option<Timestamp> {
    let active = state
        .services
        .values()
        .any(|service| service.active.is_some());
    let under_way = active || state.restarts().next().is_some() || !state.traffic.ramps.is_empty();
    let by_tick = under_way.then(|| TICK_EVERY.after(now));
    by_tick
        .into_iter()
        .chain(incidents::wake_at(state, watch, now))
        .min()
}

/// What one host should have been told.
pub fn dispatches(state: &State, host: &HostName) -> Vec<Dispatch> {
    let Some(known) = state.hosts.get(host) else {
        return Vec::new();
    };
    known
        .slots
        .values()
        .filter_map(|slot| {
            let order = slot.order.clone()?;
            let bundle = state.bundles.get(&order.digest).cloned();
            let peers = peers(state, host, order.release);
            let attestation = attestation(state, &order);
            Some(Dispatch {
                order,
                bundle,
                peers,
                attestation,
            })
        })
        .collect()
}

/// A host that takes up an attested order demands such orders for ever, so test
/// hosts never get one: they are there to run what nobody has attested yet.
fn attestation(state: &State, order: &Order) -> Option<Envelope> {
    let last = state.topology.environments.last()?;
    let serves = state.environment_of(&order.host) == Some(&last.name);
    let wanted = serves || order.kind == OrderKind::Rollback;
    wanted.then(|| state.attestations.get(&order.digest).cloned())?
}

/// Hosts that the release has not reached answer best: they run what is known to work.
fn peers(state: &State, host: &HostName, release: ReleaseId) -> BTreeMap<HostName, String> {
    let others = state.hosts.iter().filter(|(name, _)| *name != host);
    let (mut settled, mut reached): (Vec<_>, Vec<_>) = others.partition(|(_, other)| {
        other
            .slots
            .values()
            .all(|slot| slot.forward_of(release).is_none())
    });
    // Each host begins at another place of the ring, so that no single peer is asked by all.
    let start = usize::from(Digest::of(host.as_str().as_bytes()).as_bytes()[0]);
    for side in [&mut settled, &mut reached] {
        if !side.is_empty() {
            let turn = start % side.len();
            side.rotate_left(turn);
        }
    }
    let chosen = settled.into_iter().chain(reached).take(PEERS);
    chosen
        .map(|(name, other)| (name.clone(), other.peer_address.clone()))
        .collect()
}
