//! Gateways: who serves, by which routes, and what drained hosts still work on there.
//!
//! Invariant: a host counts as empty only when every gateway that was heard of lately has
//! said so of this very drain.

use std::collections::BTreeMap;

use model::{Applied, EnvironmentName, GatewayName, HostName, Millis, ServiceName, Timestamp};

use super::Watch;

/// A gateway posts each second. One that has missed five is gone, or so far gone that nothing
/// waits for it.
pub const GATEWAY_GONE: Millis = Millis::seconds(5);
/// More gateways than any fleet has; the one that was silent longest makes room.
const EDGES_MAX: usize = 1000;

/// By name and run: an old process that ends its last requests is a gateway of its own.
pub(super) type Edges = BTreeMap<(GatewayName, u64), Edge>;

/// One process of a gateway.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    environment: EnvironmentName,
    at: Timestamp,
    version: u64,
    drained: BTreeMap<(ServiceName, HostName), (Timestamp, u64)>,
}

/// A gateway, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeView {
    /// Its name.
    pub gateway: GatewayName,
    /// The routes that it has applied.
    pub version: u64,
}

impl Watch {
    /// What a gateway says of its routes.
    pub fn applied(
        &mut self,
        gateway: &GatewayName,
        epoch_ms: u64,
        environment: &EnvironmentName,
        applied: Applied,
        now: Timestamp,
    ) {
        let key = (gateway.clone(), epoch_ms);
        if !self.edges.contains_key(&key) && self.edges.len() >= EDGES_MAX {
            let oldest = self.edges.iter().min_by_key(|(_, edge)| edge.at);
            let oldest = oldest.map(|(key, _)| key.clone());
            self.edges.retain(|key, _| Some(key) != oldest.as_ref());
        }
        let drained = applied.drained.into_iter();
        let drained = drained.map(|it| ((it.service, it.host), (it.since, it.requests)));
        let edge = Edge {
            environment: environment.clone(),
            at: now,
            version: applied.version,
            drained: drained.collect(),
        };
        self.edges.insert(key, edge);
    }

    fn live<'a>(
        &'a self,
        environment: &'a EnvironmentName,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'a GatewayName, &'a Edge)> {
        let heard = move |edge: &Edge| Millis::between(edge.at, now) < GATEWAY_GONE;
        let edges = self.edges.iter();
        edges
            .filter(move |(_, edge)| edge.environment == *environment && heard(edge))
            .map(|((gateway, _), edge)| (gateway, edge))
    }

    /// Gateways of an environment that were heard of lately.
    pub fn gateways(&self, environment: &EnvironmentName, now: Timestamp) -> Vec<EdgeView> {
        let live = self.live(environment, now);
        live.map(|(gateway, edge)| EdgeView {
            gateway: gateway.clone(),
            version: edge.version,
        })
        .collect()
    }

    /// Whether a gateway of an environment was heard of lately.
    pub(crate) fn has_gateway(&self, environment: &EnvironmentName, now: Timestamp) -> bool {
        self.live(environment, now).next().is_some()
    }

    /// Whether this process has listened for so short a time that it may not have heard of
    /// gateways that there are.
    pub(crate) fn is_deaf(&self, now: Timestamp) -> bool {
        Millis::between(self.since(), now) < GATEWAY_GONE
    }

    /// Requests that a drained host still works on; `None` while a gateway has not said.
    pub fn in_flight(
        &self,
        environment: &EnvironmentName,
        (service, host): (&ServiceName, &HostName),
        since: Timestamp,
        now: Timestamp,
    ) -> Option<u64> {
        let key = (service.clone(), host.clone());
        let told = self.live(environment, now).map(|(_, edge)| {
            let told = edge.drained.get(&key);
            told.filter(|(drain, _)| *drain == since).map(|it| it.1)
        });
        told.sum()
    }

    /// What a drained host's restart waits for, in words; `None` once it is empty.
    pub(crate) fn not_empty(
        &self,
        environment: &EnvironmentName,
        (service, host): (&ServiceName, &HostName),
        since: Timestamp,
        now: Timestamp,
    ) -> Option<String> {
        let key = (service.clone(), host.clone());
        let mut live = self.live(environment, now).peekable();
        if live.peek().is_none() && self.is_deaf(now) {
            return Some(format!("gateways to say what {host} still works on"));
        }
        live.find_map(|(gateway, edge)| match edge.drained.get(&key) {
            Some((drain, requests)) if *drain == since => {
                let s = if *requests == 1 { "" } else { "s" };
                (*requests > 0)
                    .then(|| format!("{requests} request{s} of {gateway} to end at {host}"))
            }
            Some(_) | None => Some(format!("{gateway} to take {host} out of its routes")),
        })
    }
}
