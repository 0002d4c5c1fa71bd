//! What is known of drains, restarts and ramps.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Actor, DrainCause, EnvironmentName, Event, HostName, OrderKind, Permille, RestartId,
    ServiceName, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::State;

/// Ended restarts that are remembered: more than may begin within an hour, for many services.
const RESTARTS_KEPT_MAX: usize = 200;

/// Drains are in the slots; this is the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// By number; the newest of those that are over, and all that are not.
    pub restarts: BTreeMap<RestartId, Restart>,
    /// The highest number given.
    pub restarts_given: u64,
    /// Services that are not open to all their tenants.
    pub ramps: BTreeMap<ServiceName, Ramp>,
}

/// A host that gets no new requests of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Since when: tells this drain from the next one.
    pub since: Timestamp,
    /// For what.
    #[serde(flatten)]
    pub cause: DrainCause,
}

/// The hosts of a service begin anew, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Its number.
    pub id: RestartId,
    /// Who wants it.
    pub by: Actor,
    /// Of what.
    pub service: ServiceName,
    /// Where.
    pub environment: EnvironmentName,
    /// In this order.
    pub hosts: Vec<HostName>,
    /// So many at a time.
    pub parallel: u32,
    /// So many of the environment's hosts serve meanwhile.
    pub floor: Permille,
    /// Why.
    pub reason: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Hosts that are back.
    pub done: BTreeSet<HostName>,
    /// How it ended.
    pub end: Option<RestartEnd>,
}

/// How a restart ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartEnd {
    /// When.
    pub at: Timestamp,
    /// By whom and why, if it did not come to its end.
    pub stopped: Option<(Actor, String)>,
}

/// A service lets in a part of its tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ramp {
    /// Where.
    pub environment: EnvironmentName,
    /// How many.
    pub open: Permille,
    /// It stays so until a person says otherwise.
    pub hold: bool,
    /// When this step began.
    pub since: Timestamp,
    /// How often it was closed again because requests failed.
    pub falls: u32,
    /// Who began it.
    pub by: Actor,
    /// Why.
    pub reason: String,
}

impl State {
    /// The restart that goes on for a service in an environment.
    pub fn restarting(
        &self,
        service: &ServiceName,
        environment: &EnvironmentName,
    ) -> Option<&Restart> {
        self.restarts()
            .find(|it| it.service == *service && it.environment == *environment)
    }

    /// Restarts that go on.
    pub fn restarts(&self) -> impl Iterator<Item = &Restart> {
        self.traffic.restarts.values().filter(|it| it.end.is_none())
    }
}

/// Takes in what is about hosts and requests; total.
pub(super) fn evolve(state: &mut State, event: &Event, at: Timestamp) {
    match event {
        Event::HostDrained {
            host,
            service,
            cause,
        } => {
            if let Some(slot) = state.any_slot_mut(host, service) {
                slot.drain = Some(Drain {
                    since: at,
                    cause: cause.clone(),
                });
            }
        }
        Event::HostUndrained { host, service, .. } => {
            if let Some(slot) = state.any_slot_mut(host, service) {
                slot.drain = None;
            }
        }
        Event::RestartStarted { .. } => started(state, event, at),
        Event::RestartStopped {
            restart,
            by,
            reason,
        } => ended(state, *restart, at, Some((by.clone(), reason.clone()))),
        Event::RestartEnded { restart, .. } => ended(state, *restart, at, None),
        Event::RampSet { .. } => ramp_set(state, event, at),
        // Everything else is the caller's.
        _ => {}
    }
}

fn started(state: &mut State, event: &Event, at: Timestamp) {
    let Event::RestartStarted {
        restart,
        by,
        service,
        environment,
        hosts,
        parallel,
        floor_permille,
        reason,
    } = event
    else {
        return;
    };
    let traffic = &mut state.traffic;
    traffic.restarts_given = traffic.restarts_given.max(restart.0);
    let new = Restart {
        id: *restart,
        by: by.clone(),
        service: service.clone(),
        environment: environment.clone(),
        hosts: hosts.clone(),
        parallel: *parallel,
        floor: *floor_permille,
        reason: reason.clone(),
        started_at: at,
        done: BTreeSet::new(),
        end: None,
    };
    traffic.restarts.insert(*restart, new);
}

fn ramp_set(state: &mut State, event: &Event, at: Timestamp) {
    let Event::RampSet {
        service,
        environment,
        by,
        open,
        hold,
        reason,
    } = event
    else {
        return;
    };
    if open.is_all() {
        state.traffic.ramps.remove(service);
        return;
    }
    let before = state.traffic.ramps.get(service);
    let machine = *by == Actor::plimsoll();
    let falls = before.filter(|_| machine).map_or(0, |ramp| {
        ramp.falls.saturating_add(u32::from(*open <= ramp.open))
    });
    let (by, reason) = match before.filter(|_| machine) {
        Some(ramp) => (ramp.by.clone(), ramp.reason.clone()),
        None => (by.clone(), reason.clone()),
    };
    let ramp = Ramp {
        environment: environment.clone(),
        open: *open,
        hold: *hold,
        since: at,
        falls,
        by,
        reason,
    };
    state.traffic.ramps.insert(service.clone(), ramp);
}

fn ended(state: &mut State, id: RestartId, at: Timestamp, stopped: Option<(Actor, String)>) {
    let Some(restart) = state.traffic.restarts.get_mut(&id) else {
        return;
    };
    restart.end = Some(RestartEnd { at, stopped });
    let service = restart.service.clone();
    state.let_in(&service, &DrainCause::Restart { restart: id });
    let over = state
        .traffic
        .restarts
        .values()
        .filter(|it| it.end.is_some());
    let over: Vec<RestartId> = over.map(|it| it.id).collect();
    let surplus = over.len().saturating_sub(RESTARTS_KEPT_MAX);
    for id in over.into_iter().take(surplus) {
        state.traffic.restarts.remove(&id);
    }
}

impl State {
    /// Hosts that were drained for what is over serve again.
    pub(super) fn let_in(&mut self, service: &ServiceName, cause: &DrainCause) {
        for host in self.hosts.values_mut() {
            if let Some(slot) = host.slots.get_mut(service)
                && slot
                    .drain
                    .as_ref()
                    .is_some_and(|drain| drain.cause == *cause)
            {
                slot.drain = None;
            }
        }
    }

    /// A host that was told to restart is back.
    pub(super) fn restarted(&mut self, host: &HostName, service: &ServiceName) {
        let order = self
            .slot(host, service)
            .and_then(|slot| slot.order.as_ref());
        let Some(issued_at) = order
            .filter(|order| order.kind == OrderKind::Restart)
            .map(|order| order.issued_at)
        else {
            return;
        };
        for restart in self.traffic.restarts.values_mut() {
            let ours = restart.end.is_none()
                && restart.service == *service
                && restart.started_at <= issued_at
                && restart.hosts.contains(host);
            if ours {
                restart.done.insert(host.clone());
            }
        }
    }
}
