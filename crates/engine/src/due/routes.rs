//! Where requests go: each host's place in the pools, and the pools' shares.
//!
//! Invariant: a host that is drained, being changed, or on the bundle that is being left gets
//! no new requests, as long as another one is there to get them.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Backend, Digest, Drained, Environment, EnvironmentName, HostName, OrderKind, Permille, Pool,
    ServiceName, ServiceRoutes,
};
use release::Status;

use crate::decide::tick::active_of;
use crate::state::Slot;
use crate::{SlotStatus, State};

pub(super) fn routes(
    state: &State,
    environment: &Environment,
) -> BTreeMap<ServiceName, ServiceRoutes> {
    let services = state.topology.services.iter();
    services
        .map(|(service, spec)| {
            let pools = pools(state, environment, service);
            (
                service.clone(),
                ServiceRoutes {
                    tenant_header: spec.tenant_header.clone(),
                    endpoints: spec.endpoints.clone(),
                    serving: spec.serving.clone(),
                    drained: drained(state, environment, service, &pools),
                    pools,
                    open_permille: open(state, environment, service),
                },
            )
        })
        .collect()
}

/// Hosts that are to be emptied: those that a drain has taken out of the pools.
fn drained(
    state: &State,
    environment: &Environment,
    service: &ServiceName,
    pools: &[Pool],
) -> Vec<Drained> {
    let routed: BTreeSet<&HostName> = pools
        .iter()
        .flat_map(|pool| pool.backends.iter().map(|backend| &backend.host))
        .collect();
    let hosts = environment.hosts.iter();
    hosts
        .filter(|host| !routed.contains(&host.name))
        .filter_map(|host| {
            let drain = state.slot(&host.name, service)?.drain.as_ref()?;
            Some(Drained {
                host: host.name.clone(),
                address: host.services.get(service)?.clone(),
                since: drain.since,
            })
        })
        .collect()
}

/// Of all tenants, how many a service lets in here.
fn open(state: &State, environment: &Environment, service: &ServiceName) -> Permille {
    let ramp = state.traffic.ramps.get(service);
    ramp.filter(|ramp| ramp.environment == environment.name)
        .map_or(Permille::ALL, |ramp| ramp.open)
}

/// How one slot takes part in routing.
struct Part {
    label: Digest,
    backend: Backend,
    /// Not while it is being changed, or runs what is being left.
    serves: bool,
}

fn pools(state: &State, environment: &Environment, service: &ServiceName) -> Vec<Pool> {
    let parts: Vec<Part> = environment
        .hosts
        .iter()
        .filter_map(|host| {
            let address = host.services.get(service)?;
            let slot = state.slot(&host.name, service)?;
            let backend = Backend {
                host: host.name.clone(),
                address: address.clone(),
            };
            let (label, serves) = label(state, slot);
            let serves = serves && slot.drain.is_none();
            Some(Part {
                label,
                backend,
                serves,
            })
        })
        .collect();
    // With every host in change or on the bundle that is being left, a bad answer is better than none.
    let nobody = !parts.iter().any(|part| part.serves);
    let mut pools: BTreeMap<Digest, Vec<Backend>> = BTreeMap::new();
    for part in parts.into_iter().filter(|part| part.serves || nobody) {
        pools.entry(part.label).or_default().push(part.backend);
    }
    let canary = canary(state, &environment.name, service);
    let total: usize = pools.values().map(Vec::len).sum();
    let (newer, settled): (Vec<_>, Vec<_>) = pools
        .into_iter()
        .partition(|(digest, _)| canary.is_some_and(|(c, _)| c == *digest));
    let newer_hosts: usize = newer.iter().map(|(_, backends)| backends.len()).sum();
    let canary_share = match canary {
        Some(_) if newer.is_empty() => Permille::NONE,
        Some(_) if settled.is_empty() => Permille::ALL,
        Some((_, shares)) => shares.over(newer_hosts, total),
        None => Permille::NONE,
    };
    let settled_hosts = total - newer_hosts;
    let mut left = 1000 - canary_share.get();
    let mut hosts_left = settled_hosts;
    let mut split: Vec<Pool> = Vec::new();
    for (digest, backends) in settled {
        // The last pool takes what rounding left over.
        let share = u64::from(left) * backends.len() as u64 / hosts_left.max(1) as u64;
        let share = u16::try_from(share).unwrap_or(left).min(left);
        hosts_left -= backends.len();
        left -= share;
        let share_permille = Permille::new(share).unwrap_or(Permille::NONE);
        split.push(Pool {
            digest,
            share_permille,
            backends,
        });
    }
    split.extend(newer.into_iter().map(|(digest, backends)| Pool {
        digest,
        share_permille: canary_share,
        backends,
    }));
    split
}

/// Whether a host gets requests of a service.
pub(crate) fn is_routed(state: &State, slot: &Slot) -> bool {
    slot.drain.is_none() && label(state, slot).1
}

/// Under which bundle a slot's requests count, and whether it should get any.
fn label(state: &State, slot: &Slot) -> (Digest, bool) {
    let Some(order) = &slot.order else {
        return (slot.running, true);
    };
    match (&slot.status, order.kind) {
        (SlotStatus::Confirmed { .. } | SlotStatus::Idle, _) => (slot.running, true),
        (SlotStatus::Failed { .. }, OrderKind::Forward | OrderKind::Restart) => {
            (slot.running, true)
        }
        (SlotStatus::Ordered { .. } | SlotStatus::Holding { .. }, OrderKind::Forward) => {
            (order.digest, false)
        }
        (SlotStatus::RevertFailing { .. }, _)
        | (SlotStatus::Ordered { .. } | SlotStatus::Holding { .. }, OrderKind::Restart) => {
            (slot.running, false)
        }
        (SlotStatus::Failed { .. }, OrderKind::Rollback) => {
            let left = left(state, slot);
            (slot.running, left != Some(slot.running))
        }
        (SlotStatus::Ordered { .. } | SlotStatus::Holding { .. }, OrderKind::Rollback) => {
            // Until it confirms, what it runs is what it was told before: the bundle being left.
            (left(state, slot).unwrap_or(slot.running), false)
        }
    }
}

/// The bundle that the slot's newest order leads away from, while it does.
fn left(state: &State, slot: &Slot) -> Option<Digest> {
    let release = active_of(state, slot).and_then(|id| state.releases.get(&id))?;
    Some(release.digest)
}

/// Between which bounds a new bundle's share is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// What the waves that baked have.
    least: Permille,
    /// What the wave that began may have.
    pub(crate) most: Permille,
}

impl Shares {
    const NONE: Shares = Shares::just(Permille::NONE);

    const fn just(share: Permille) -> Shares {
        Shares {
            least: share,
            most: share,
        }
    }

    /// While a wave's hosts change one by one, requests move with them: otherwise the last
    /// hosts of the old bundle would carry nearly all.
    fn over(self, newer: usize, all: usize) -> Permille {
        Permille::of(newer as u64, all as u64)
            .max(self.least)
            .min(self.most)
    }
}

/// The bundle on its way here, and its share of traffic once it has hosts.
pub(crate) fn canary(
    state: &State,
    environment: &EnvironmentName,
    service: &ServiceName,
) -> Option<(Digest, Shares)> {
    let release = state.releases.get(&state.services.get(service)?.active?)?;
    match &release.status {
        Status::Rolling { .. } if release.shifted.is_some() => Some((release.digest, Shares::NONE)),
        Status::Rolling { .. } => {
            let stage = release
                .stages
                .iter()
                .find(|stage| stage.environment == *environment)?;
            let share = |begun: usize| {
                let wave = begun.checked_sub(1).and_then(|wave| stage.waves.get(wave));
                wave.map_or(Permille::NONE, |wave| wave.traffic_permille)
            };
            let (before, now) = (share(stage.begun.saturating_sub(1)), share(stage.begun));
            let shares = match stage.baking_since {
                Some(_) => Shares::just(now),
                None => Shares {
                    least: before.min(now),
                    most: now.max(before),
                },
            };
            Some((release.digest, shares))
        }
        Status::RollingBack(_) => Some((release.digest, Shares::NONE)),
        Status::Good | Status::RolledBack(_) => None,
    }
}
