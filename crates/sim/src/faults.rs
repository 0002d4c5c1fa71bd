//! What goes wrong, and when.

use model::ZoneName;

use crate::laws::Lawful;
use crate::world::{Happening, World};

/// Clocks are this wrong at most.
const CLOCK_MS_MAX: u64 = 30_000;

/// One fault.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    CutHost { host: usize, ms: u64 },
    CutZone { zone: ZoneName, ms: u64 },
    CutPlane { ms: u64 },
    CutGateway { ms: u64 },
    AgentDies { host: usize },
    HostReboots { host: usize },
    PlaneDies,
    HostClock { host: usize },
    PlaneClock,
    DamageTrees,
    ProcessExits { host: usize },
    GatewayRestarts,
    Night { ms: u64 },
}

/// The run's faults, with their times.
pub(crate) fn plan(world: &mut World) -> Vec<(u64, Fault)> {
    let seconds = world.calm_at / 1000;
    let most = seconds * world.storm / 14;
    let hosts = world.machines.len();
    let zones: Vec<ZoneName> = world
        .fleet
        .places
        .iter()
        .map(|place| place.zone.clone())
        .collect();
    let draw = &mut world.draws.faults;
    let mut plan = Vec::new();
    for _ in 0..draw.between(most / 4, most) {
        let at = draw.below(world.calm_at);
        let host = draw.index(hosts);
        let long = draw.chance(250);
        let ms = draw.between(500, if long { 90_000 } else { 12_000 });
        let fault = match draw.below(100) {
            0..14 => Fault::CutHost { host, ms },
            14..20 => match draw.pick(&zones) {
                Some(zone) => Fault::CutZone {
                    zone: zone.clone(),
                    ms,
                },
                None => continue,
            },
            20..27 => Fault::CutPlane { ms },
            27..32 => Fault::CutGateway { ms },
            32..46 => Fault::AgentDies { host },
            46..56 => Fault::HostReboots { host },
            56..62 => Fault::PlaneDies,
            62..74 => Fault::HostClock { host },
            74..78 => Fault::PlaneClock,
            78..86 => Fault::DamageTrees,
            86..92 => Fault::ProcessExits { host },
            92..95 => Fault::GatewayRestarts,
            _ => Fault::Night { ms: ms * 2 },
        };
        plan.push((at, fault));
    }
    plan
}

impl World {
    pub(crate) fn strike(&mut self, fault: Fault) -> Lawful {
        self.note(|| format!("fault: {fault:?}"));
        let now = self.now;
        match fault {
            Fault::CutHost { host, ms } => {
                self.count("links cut: host");
                self.weather.cut_host(host, now + ms);
            }
            Fault::CutZone { zone, ms } => {
                self.count("links cut: zone");
                self.weather.cut_zone(zone, now + ms);
            }
            Fault::CutPlane { ms } => {
                self.count("links cut: control plane");
                self.weather.cut_plane(now + ms);
            }
            Fault::CutGateway { ms } => {
                self.count("links cut: gateway");
                self.weather.cut_gateway(now + ms);
            }
            Fault::AgentDies { host } => {
                self.count("agent crashes");
                self.agent_dies(host)?;
            }
            Fault::HostReboots { host } => self.reboot(host)?,
            Fault::PlaneDies => self.plane_dies(),
            Fault::HostClock { host } => {
                self.count("host clocks set");
                let offset = self.draws.faults.swing(CLOCK_MS_MAX);
                self.machines[host].offset_ms = offset;
            }
            Fault::PlaneClock => {
                self.count("control plane clocks set");
                self.plane.offset_ms = self.draws.faults.swing(CLOCK_MS_MAX);
            }
            Fault::DamageTrees => self.damage(),
            Fault::ProcessExits { host } => {
                let services = self.machines[host].place.services.clone();
                services
                    .iter()
                    .for_each(|service| self.exits(host, service));
            }
            Fault::GatewayRestarts => {
                self.count("gateway restarts");
                self.gateway.restart(now);
            }
            Fault::Night { ms } => {
                self.count("traffic stops");
                self.gateway.night_until = now + ms;
            }
        }
        Ok(())
    }

    fn reboot(&mut self, host: usize) -> Lawful {
        if self.machines[host].agent.is_some() {
            self.count("host crashes");
            self.agent_down(host, true)?;
            for disk in self.machines[host].disks.values_mut() {
                disk.process = None;
                // A supervisor that was about to start it is gone too.
                disk.started += 1;
            }
            self.stirred = true;
        }
        Ok(())
    }

    /// Bytes rot, on every host, in trees that are not in use. Generation 0, which nobody else has, is spared.
    fn damage(&mut self) {
        let draw = &mut self.draws.faults;
        let mut damaged = 0;
        for disk in self
            .machines
            .iter_mut()
            .flat_map(|it| it.disks.values_mut())
        {
            let (live, origin) = (disk.live, disk.origin);
            for (tree, whole) in &mut disk.trees {
                if *tree != live && *tree != origin && *whole && draw.chance(700) {
                    *whole = false;
                    damaged += 1;
                }
            }
        }
        *self.counts.entry("trees damaged").or_default() += damaged;
    }

    /// Faults stop: links heal, what is down comes up, nothing is frozen, customers call.
    pub(crate) fn calm(&mut self) -> Lawful {
        self.note(|| "all is calm".into());
        self.weather.clear();
        self.gateway.night_until = 0;
        self.thaw_all()?;
        if !self.plane.up {
            self.after(100, Happening::PlaneBegins);
        }
        Ok(())
    }
}
