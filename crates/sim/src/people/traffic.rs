//! People restart services, take hosts out, shift requests away, and let tenants in by quarters.

use engine::Input;
use engine::decide::Wanted;
use model::{DrainCause, Permille, ServiceName};
use release::Status;

use super::{Deed, person};
use crate::laws::Lawful;
use crate::world::World;

/// What people do with requests.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    /// Every host of a service.
    Restart {
        parallel: Option<u32>,
    },
    StopRestart,
    /// One host.
    Drain {
        host: usize,
        force: bool,
    },
    Undrain {
        host: usize,
    },
    /// The bundle that is on its way.
    Shift,
    Ramp {
        quarters: u16,
        hold: bool,
    },
}

/// When people want what.
pub(super) fn plan(world: &mut World) -> Vec<(u64, Deed)> {
    let services = world.fleet.services.clone();
    let (hosts, end) = (world.machines.len(), world.calm_at);
    let draw = &mut world.draws.wishes;
    let mut plan = Vec::new();
    for _ in 0..draw.below(10) {
        let Some(service) = draw.pick(&services).cloned() else {
            return plan;
        };
        let at = draw.between(5_000, end - 1);
        let host = draw.index(hosts);
        let wish = match draw.below(10) {
            0..4 => Wish::Restart {
                parallel: draw.chance(500).then(|| draw.below(4) as u32),
            },
            4 => Wish::StopRestart,
            5 => Wish::Shift,
            6 => Wish::Ramp {
                quarters: draw.between(1, 4) as u16,
                hold: draw.chance(300),
            },
            _ => {
                let undrain = Wish::Undrain { host };
                let then = at + draw.between(1_000, 90_000);
                plan.push((then, Deed::Wish(service.clone(), undrain)));
                Wish::Drain {
                    host,
                    force: draw.chance(300),
                }
            }
        };
        plan.push((at, Deed::Wish(service, wish)));
    }
    plan
}

impl World {
    /// Whether there was an answer.
    pub(super) fn wishes(&mut self, service: ServiceName, wish: Wish) -> Lawful<bool> {
        let by = person();
        let reason = String::from("it seems right");
        let name = |host: usize| self.machines[host].place.host.clone();
        let (input, what) = match wish {
            Wish::Restart { parallel } => {
                let wanted = Wanted {
                    service,
                    environment: None,
                    hosts: Vec::new(),
                    parallel,
                    floor: None,
                    reason,
                };
                (Input::Restart { by, wanted }, "restarts asked for")
            }
            Wish::StopRestart => {
                let input = Input::StopRestart {
                    by,
                    service,
                    reason,
                };
                (input, "restarts stopped by people")
            }
            Wish::Drain { host, force } => {
                let input = Input::Drain {
                    by,
                    service,
                    host: name(host),
                    reason,
                    force,
                };
                (input, "hosts drained by people")
            }
            Wish::Undrain { host } => {
                let input = Input::Undrain {
                    by,
                    service,
                    host: name(host),
                    reason,
                };
                (input, "hosts let in by people")
            }
            Wish::Shift => {
                let known = self.plane.state.services.get(&service);
                let active = known.and_then(|it| self.plane.state.releases.get(&it.active?));
                let Some(digest) = active.map(|release| release.digest) else {
                    return Ok(true);
                };
                let input = Input::Shift {
                    by,
                    service,
                    digest,
                    reason,
                };
                (input, "bundles shifted away from")
            }
            Wish::Ramp { quarters, hold } => {
                let input = Input::Ramp {
                    by,
                    service,
                    open: Permille::new(250 * quarters).unwrap_or(Permille::ALL),
                    hold,
                    reason,
                };
                (input, "ramps")
            }
        };
        self.person_asks(input, what)
    }

    /// When the faults stop, people take back what only they can take back.
    pub(super) fn let_all_in(&mut self) -> Lawful {
        let state = &self.plane.state;
        let mut inputs = Vec::new();
        for (host, known) in &state.hosts {
            for (service, slot) in &known.slots {
                let drain = slot.drain.as_ref();
                if drain.is_some_and(|it| matches!(it.cause, DrainCause::Person { .. })) {
                    inputs.push(Input::Undrain {
                        by: person(),
                        service: service.clone(),
                        host: host.clone(),
                        reason: "over".into(),
                    });
                }
            }
        }
        for service in state.traffic.ramps.keys() {
            inputs.push(Input::Ramp {
                by: person(),
                service: service.clone(),
                open: Permille::ALL,
                hold: false,
                reason: "over".into(),
            });
        }
        for release in state.releases.values() {
            let rolling = matches!(release.status, Status::Rolling { .. });
            if rolling && release.shifted.is_some() {
                inputs.push(Input::Continue {
                    by: person(),
                    release: release.id,
                    reason: "over".into(),
                });
            }
        }
        for input in inputs {
            self.person_asks(input, "wishes taken back")?;
        }
        Ok(())
    }

    /// What of restarts and drains is still going on.
    pub(crate) fn unserved(&self) -> Option<String> {
        let state = &self.plane.state;
        if let Some(restart) = state.restarts().next() {
            return Some(format!("restart {} goes on", restart.id));
        }
        let slots = state.hosts.iter();
        let mut slots = slots.flat_map(|(host, it)| it.slots.values().map(move |it| (host, it)));
        let drained = slots.find(|(_, slot)| slot.drain.is_some());
        drained.map(|(host, _)| format!("{host} is drained"))
    }
}
