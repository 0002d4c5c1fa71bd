//! Events into state: total, so any event on any state gives a state.

use std::collections::BTreeSet;

use model::{
    Digest, DrainCause, Event, Generation, HostName, Order, ReleaseId, ServiceName, Timestamp,
};
use release::{Release, Status, hosts_that_decide};

use super::{
    Drain, Freeze, Good, HOMES_KEPT_MAX, HostState, Join, RELEASES_KEPT_MAX, Slot, SlotStatus,
    State, Token, scope_key,
};
use super::{gates, traffic};

/// Takes in one event; total.
pub fn evolve(state: &mut State, event: &Event, at: Timestamp) {
    match event {
        Event::TopologySet { topology, .. } => state.topology = topology.clone(),
        Event::TokenIssued {
            token,
            name,
            role,
            hash,
            ..
        } => {
            let token = Token {
                id: token.clone(),
                name: name.clone(),
                role: *role,
            };
            state.tokens.insert(*hash, token);
        }
        Event::TokenRevoked { token, .. } => state.tokens.retain(|_, known| known.id != *token),
        Event::JoinTokenIssued {
            token,
            host,
            hash,
            expires_at,
            ..
        } => {
            // An older token for the host is void: it may be the reason why a new one was asked for.
            state
                .joins
                .retain(|_, join| join.host != *host && join.expires_at > at);
            let join = Join {
                id: token.clone(),
                host: host.clone(),
                expires_at: *expires_at,
            };
            state.joins.insert(*hash, join);
        }
        Event::HostEnrolled { .. } => enrolled(state, event),
        Event::ReleaseProposed {
            release,
            service,
            digest,
            bundle,
            break_glass,
            ..
        } => {
            let glass = break_glass.and_then(|id| state.break_glasses.get_mut(&id));
            if let Some(glass) = glass {
                glass.used_by.push(*release);
            }
            state.releases_given = state.releases_given.max(release.0);
            state.bundles.insert(*digest, bundle.clone());
            state.services.entry(service.clone()).or_default().active = Some(*release);
            if let Some(new) = Release::from_event(event, at) {
                state.releases.insert(*release, new);
            }
        }
        Event::HostOrdered { order } => ordered(state, order, at),
        Event::HostConfirmed { .. } => confirmed(state, event, at),
        Event::HostFailed {
            host,
            service,
            generation,
            phase,
            reason,
            running,
            report,
        } => {
            state.reported(host, *report);
            if let Some(slot) = state.slot_mut(host, service, *generation) {
                slot.status = SlotStatus::Failed {
                    phase: *phase,
                    reason: reason.clone(),
                };
                slot.running = *running;
            }
            state.update_baking(service, at);
        }
        Event::HostRevertFailing {
            host,
            service,
            generation,
            phase,
            reason,
            report,
            ..
        } => {
            state.reported(host, *report);
            if let Some(slot) = state.slot_mut(host, service, *generation) {
                slot.status = SlotStatus::RevertFailing {
                    phase: *phase,
                    reason: reason.clone(),
                };
            }
            state.update_baking(service, at);
        }
        Event::HostHeld {
            host,
            service,
            generation,
            report,
        } => {
            state.reported(host, *report);
            if let Some(slot) = state.slot_mut(host, service, *generation)
                && let SlotStatus::Ordered { since } = slot.status
            {
                slot.status = SlotStatus::Holding { since };
            }
        }
        Event::HostHealthChanged {
            host,
            service,
            generation,
            healthy,
            reason,
            report,
        } => {
            state.reported(host, *report);
            if let Some(slot) = state.slot_mut(host, service, *generation) {
                slot.unhealthy = (!healthy).then(|| reason.clone());
            }
        }
        Event::StageStarted { release, .. }
        | Event::WaveStarted { release, .. }
        | Event::WaveJudged { release, .. }
        | Event::WaveHeld { release, .. }
        | Event::WaveContinued { release, .. } => of_release(state, *release, event, at),
        Event::ReleaseGood { release, .. } => good(state, *release, event, at),
        Event::RollbackStarted { release, to, .. } => turned_back(state, *release, *to, event, at),
        Event::RollbackCompleted { release, .. } => {
            let Some(known) = state.releases.get_mut(release) else {
                return;
            };
            known.evolve(event, at);
            let service = state.services.entry(known.service.clone()).or_default();
            if service.active == Some(*release) {
                service.active = None;
            }
            state.forget_the_old();
        }
        Event::DigestQuarantined {
            service,
            digest,
            release,
        } => {
            let service = state.services.entry(service.clone()).or_default();
            service.quarantined.insert(*digest, *release);
        }
        Event::QuarantineLifted {
            service, digest, ..
        } => {
            if let Some(service) = state.services.get_mut(service) {
                service.quarantined.remove(digest);
            }
        }
        Event::Frozen {
            by,
            scope,
            reason,
            until,
        } => {
            let freeze = Freeze {
                scope: scope.clone(),
                by: by.clone(),
                reason: reason.clone(),
                since: at,
                until: *until,
            };
            state.freezes.insert(scope_key(scope), freeze);
        }
        Event::BreakGlassAsked { .. }
        | Event::BreakGlassConfirmed { .. }
        | Event::BreakGlassReviewed { .. }
        | Event::MatrixStarted { .. }
        | Event::Attested { .. }
        | Event::Countersigned { .. }
        | Event::ReferencesProbed { .. }
        | Event::HostileTried { .. }
        | Event::RehearsalStarted { .. }
        | Event::RehearsalStepped { .. }
        | Event::LoadMeasured { .. }
        | Event::TaskBroken { .. }
        | Event::TestPassed { .. }
        | Event::Approved { .. }
        | Event::RecheckStarted { .. } => {
            gates::evolve(state, event, at);
        }
        Event::Thawed { scope, .. } => {
            state.freezes.remove(&scope_key(scope));
        }
        Event::Incident(event) => state.incidents.evolve(event, at),
        Event::TrafficShifted { release, .. } | Event::TrafficReturned { release, .. } => {
            of_release(state, *release, event, at);
        }
        Event::HostDrained { .. }
        | Event::HostUndrained { .. }
        | Event::RestartStarted { .. }
        | Event::RestartStopped { .. }
        | Event::RestartEnded { .. }
        | Event::RampSet { .. } => traffic::evolve(state, event, at),
    }
}

pub(super) fn of_release(state: &mut State, id: ReleaseId, event: &Event, at: Timestamp) {
    if let Some(release) = state.releases.get_mut(&id) {
        release.evolve(event, at);
    }
}

fn enrolled(state: &mut State, event: &Event) {
    let Event::HostEnrolled {
        host,
        token,
        public_key,
        peer_address,
        adopted,
        fence,
    } = event
    else {
        return;
    };
    state.joins.retain(|_, join| join.id != *token);
    let known = state.hosts.remove(host);
    let generation = known
        .as_ref()
        .map_or(*fence, |known| known.generation.max(*fence));
    let mut slots = known.map(|known| known.slots).unwrap_or_default();
    for (service, digest) in adopted {
        state.services.entry(service.clone()).or_default();
        match slots.get_mut(service) {
            // A host that comes back keeps its homes: the bundles are in the control plane's store.
            Some(slot) => {
                slot.running = *digest;
                slot.unhealthy = None;
            }
            None => {
                slots.insert(service.clone(), Slot::adopted(*digest));
            }
        }
    }
    let host_state = HostState {
        public_key: public_key.clone(),
        peer_address: peer_address.clone(),
        generation,
        reports_through: 0,
        slots,
    };
    state.hosts.insert(host.clone(), host_state);
}

fn confirmed(state: &mut State, event: &Event, at: Timestamp) {
    let Event::HostConfirmed {
        host,
        service,
        generation,
        digest,
    } = event
    else {
        return;
    };
    let goods = state.services.get(service).map(|it| it.goods.clone());
    if let Some(slot) = state.slot_mut(host, service, *generation) {
        slot.status = SlotStatus::Confirmed { since: at };
        slot.running = *digest;
        slot.unhealthy = None;
        // It comes late to a release that became good without it.
        let mut goods = goods.into_iter().flatten();
        if goods.any(|good| good.digest == *digest && slot.confirmed(good.release)) {
            slot.add_home(*digest);
        }
    }
    state.restarted(host, service);
    state.update_baking(service, at);
}

fn ordered(state: &mut State, order: &Order, at: Timestamp) {
    if let Some(host) = state.hosts.get_mut(&order.host) {
        host.generation = host.generation.max(order.generation);
        if let Some(slot) = host.slots.get_mut(&order.service) {
            slot.order = Some(order.clone());
            // Out of the routes by its order now; what a person wants outlasts it.
            let person = |it: &Drain| matches!(it.cause, DrainCause::Person { .. });
            slot.drain = slot.drain.take().filter(person);
            slot.status = SlotStatus::Ordered { since: at };
            slot.unhealthy = None;
        }
    }
    state.update_baking(&order.service, at);
}

fn good(state: &mut State, id: ReleaseId, event: &Event, at: Timestamp) {
    let Some(release) = state.releases.get_mut(&id) else {
        return;
    };
    release.evolve(event, at);
    let (digest, name) = (release.digest, release.service.clone());
    let reached: Vec<HostName> = release.reached().map(|(_, host)| host.clone()).collect();
    for host in reached {
        let slots = state.hosts.get_mut(&host).map(|host| &mut host.slots);
        let slot = slots.and_then(|slots| slots.get_mut(&name));
        // A host that the release went on without has not shown that it can live with it.
        if let Some(slot) = slot.filter(|slot| slot.confirmed(id)) {
            slot.add_home(digest);
        }
    }
    let service = state.services.entry(name).or_default();
    if service.active == Some(id) {
        service.active = None;
    }
    service.goods.retain(|good| good.digest != digest);
    service.goods.push(Good {
        digest,
        release: id,
    });
    let surplus = service.goods.len().saturating_sub(HOMES_KEPT_MAX);
    service.goods.drain(..surplus);
    state.forget_the_old();
}

fn turned_back(state: &mut State, id: ReleaseId, to: Option<Digest>, event: &Event, at: Timestamp) {
    let Some(release) = state.releases.get_mut(&id) else {
        return;
    };
    release.evolve(event, at);
    debug_assert!(matches!(release.status, Status::RollingBack(_)));
    let (digest, name) = (release.digest, release.service.clone());
    let service = state.services.entry(name.clone()).or_default();
    service.active = Some(id);
    if to != Some(digest) {
        service.goods.retain(|good| good.digest != digest);
    }
    if let Some(to) = to
        && let Some(at) = service.goods.iter().position(|good| good.digest == to)
    {
        service.goods.truncate(at + 1);
    }
    state.let_in(&name, &DrainCause::Release { release: id });
    for host in state.hosts.values_mut() {
        if let Some(slot) = host.slots.get_mut(&name) {
            if to != Some(digest) {
                slot.drop_home(digest);
            }
            if let Some(to) = to {
                slot.add_home(to);
            }
        }
    }
}

impl State {
    fn slot_mut(
        &mut self,
        host: &HostName,
        service: &ServiceName,
        generation: Generation,
    ) -> Option<&mut Slot> {
        let slot = self.hosts.get_mut(host)?.slots.get_mut(service)?;
        let current = slot
            .order
            .as_ref()
            .map_or(Generation(0), |order| order.generation);
        (current == generation).then_some(slot)
    }

    pub(super) fn any_slot_mut(
        &mut self,
        host: &HostName,
        service: &ServiceName,
    ) -> Option<&mut Slot> {
        self.hosts.get_mut(host)?.slots.get_mut(service)
    }

    fn reported(&mut self, host: &HostName, report: u64) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.reports_through = host.reports_through.max(report);
        }
    }

    /// Tells the release that owns the slot's order whether its newest wave is complete.
    fn update_baking(&mut self, service: &ServiceName, at: Timestamp) {
        let Some(id) = self
            .services
            .get(service)
            .and_then(|service| service.active)
        else {
            return;
        };
        let Some(release) = self.releases.get(&id) else {
            return;
        };
        let Some(stage) = release.stage() else { return };
        let newest = stage
            .begun
            .checked_sub(1)
            .and_then(|index| stage.waves.get(index));
        let slot = |host| self.slot(host, service);
        let done = |host| slot(host).is_some_and(|slot| slot.confirmed(id));
        let back = |host| slot(host).is_some_and(|slot| slot.went_back(id));
        let left_out = stage.waves.iter().take(stage.begun);
        let left_out = left_out.flat_map(|wave| &wave.hosts).filter(|it| back(it));
        // Where customers are, a few hosts that went back by themselves keep nobody waiting.
        let last = self.topology.environments.last();
        let serves = last.is_some_and(|last| last.name == stage.environment);
        let allowed = match serves {
            true => hosts_that_decide(stage.hosts_reached()) - 1,
            false => 0,
        };
        let without = left_out.count() <= allowed;
        let complete = newest.is_some_and(|wave| {
            let mut hosts = wave.hosts.iter();
            hosts.all(|host| done(host) || without && back(host)) && wave.hosts.iter().any(done)
        });
        if let Some(release) = self.releases.get_mut(&id) {
            release.set_baking(complete, at);
        }
    }

    fn forget_the_old(&mut self) {
        let ended: Vec<ReleaseId> = self
            .releases
            .values()
            .filter(|release| !release.is_active())
            .map(|r| r.id)
            .collect();
        let surplus = ended.len().saturating_sub(RELEASES_KEPT_MAX);
        for id in ended.into_iter().take(surplus) {
            self.releases.remove(&id);
        }
        let mut needed: BTreeSet<Digest> = self.releases.values().map(|r| r.digest).collect();
        needed.extend(
            self.services
                .values()
                .flat_map(|s| s.goods.iter().map(|g| g.digest)),
        );
        for slot in self.hosts.values().flat_map(|host| host.slots.values()) {
            needed.extend(&slot.homes);
            needed.extend(slot.order.as_ref().map(|order| order.digest));
            needed.insert(slot.running);
        }
        let mixed = self.releases.values().filter(|release| release.is_active());
        for (files, packages) in mixed.filter_map(|r| r.seen.rehearsal.as_ref()?.mixed) {
            needed.extend([files, packages]);
        }
        self.bundles.retain(|digest, _| needed.contains(digest));
        self.attestations
            .retain(|digest, _| needed.contains(digest));
    }
}
