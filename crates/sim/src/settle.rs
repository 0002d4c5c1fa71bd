//! What must come true once faults have stopped.

use model::ServiceName;
use node::Work;

use crate::fleet::serving;
use crate::laws::{Broken, Lawful, audit, law};
use crate::reference;
use crate::world::World;

/// So long after the last fault all must be quiet: the longest pauses of the
/// machines (half a minute between tries) and a few releases turned back one after another.
const PATIENCE_MS: u64 = 1_200_000;

impl World {
    pub(crate) fn patience(&self, why: &str) -> Lawful {
        law(self.now < self.calm_at + PATIENCE_MS, "liveness", || {
            format!(
                "{} s after the last fault: {why}",
                (self.now - self.calm_at) / 1000
            )
        })
    }

    /// What is still under way, if anything is.
    pub(crate) fn unsettled(&mut self) -> Option<String> {
        let now = self.plane_clock();
        if !self.plane.up {
            return Some("the control plane is down".into());
        }
        let (state, watch) = (&self.plane.state, &self.plane.watch);
        if let Some(release) = state.releases.values().find(|release| release.is_active()) {
            let waiting = engine::decide::waiting(state, watch, release, now);
            return Some(format!("release {}: {waiting:?}", release.id));
        }
        if let Some(why) = self.unserved() {
            return Some(why);
        }
        for host in 0..self.machines.len() {
            for service in &self.machines[host].place.services {
                if let Some(why) = self.slot_unsettled(host, service) {
                    return Some(format!(
                        "{} {service}: {why}",
                        self.machines[host].place.host
                    ));
                }
            }
        }
        None
    }

    fn slot_unsettled(&self, host: usize, service: &ServiceName) -> Option<String> {
        let machine = &self.machines[host];
        let Some(agent) = &machine.agent else {
            return Some("its agent is down".into());
        };
        let (Some(slot), Some(disk)) = (agent.slots.get(service), machine.disks.get(service))
        else {
            return Some("there is no such slot".into());
        };
        if !agent.outbox.is_empty() {
            return Some(format!("{} reports wait", agent.outbox.len()));
        }
        if !slot.is_at_rest() || !slot.settled || slot.next.is_some() {
            return Some(format!("its agent is at {}", slot.phase()));
        }
        if matches!(&slot.work, Work::Watch(watch) if watch.prune.is_some()) {
            return Some("trees wait to be pruned".into());
        }
        let Some(known) = self.plane.state.slot(&machine.place.host, service) else {
            return Some("the control plane doesn't know it".into());
        };
        let runs = disk.process.map(|process| process.digest);
        let same = slot.running == disk.live && known.running == disk.live;
        let nothing = disk.nothing(disk.live);
        if !same || (!nothing && runs != Some(disk.live)) {
            return Some(format!(
                "the journal says {}, the agent {}, the link {}; {runs:?} runs",
                known.running.short(),
                slot.running.short(),
                disk.live.short()
            ));
        }
        if self.sick(host, service) {
            return Some(format!("{} doesn't work", disk.live.short()));
        }
        None
    }

    /// Whether a host's service should work and doesn't.
    pub(crate) fn sick(&self, host: usize, service: &ServiceName) -> bool {
        let Some(disk) = self.machines[host].disks.get(service) else {
            return false;
        };
        !disk.nothing(disk.live) && !self.works(host, service)
    }

    /// All is quiet: the whole journal once more, and the small model's word on each host.
    pub(crate) fn check_end(&mut self) -> Lawful {
        audit(&self.plane.journal)?;
        let cut = self.draws.checks.index(self.plane.journal.len() + 1);
        self.plane.check_fold(cut)?;
        self.check_routes()?;
        let expected = reference::expected(&self.plane.journal);
        for machine in &self.machines {
            for (service, disk) in &machine.disks {
                let key = (machine.place.host.clone(), service.clone());
                let told = expected.get(&key).copied().flatten();
                if told != Some(disk.live) {
                    return Err(Broken {
                        law: "reference",
                        what: format!(
                            "{key:?} has {} live; the journal tells {told:?}",
                            disk.live.short()
                        ),
                    });
                }
            }
        }
        Ok(())
    }

    /// Every host of production works, so every one has its share of customers, counted under what it runs.
    fn check_routes(&self) -> Lawful {
        for effect in engine::due::routes_due(&self.plane.state) {
            let engine::Effect::Routes {
                environment,
                services,
            } = effect
            else {
                continue;
            };
            if environment != serving() {
                continue;
            }
            for (host, machine) in self.machines.iter().enumerate() {
                for (service, disk) in machine.disks.iter().filter(|_| machine.place.serving) {
                    let pools = services
                        .get(service)
                        .into_iter()
                        .flat_map(|routes| &routes.pools);
                    let mut pool = pools
                        .filter(|pool| pool.digest == disk.live && pool.share_permille.get() > 0);
                    let there = pool
                        .any(|pool| pool.backends.iter().any(|it| it.host == machine.place.host));
                    law(there, "routes", || {
                        format!(
                            "{} {service} (host {host}) runs {} and gets no customers",
                            machine.place.host,
                            disk.live.short()
                        )
                    })?;
                }
            }
        }
        Ok(())
    }
}
