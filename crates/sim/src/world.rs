//! The world: true time, what happens next, and who is told.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use model::order::Dispatch;
use model::{Digest, Report, ServiceName, Timestamp};
use node::EffectId;

use engine::watch::Beat;

use crate::evidence::Truth;
use crate::faults::{self, Fault};
use crate::fleet::{Fleet, Made, Temper};
use crate::laws::{Key, Lawful, Laws};
use crate::machine::Machine;
use crate::people::{Deed, People};
use crate::plane::Plane;
use crate::random::Draws;
use crate::traffic::{Gateway, Post};
use crate::weather::Weather;

/// What happened in a run, by name.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// Lines about what happened; shared, so that they outlive a run that panics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(pub(crate) Option<Rc<RefCell<Vec<String>>>>);

/// What a host asks of the control plane.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Orders { tag: String },
    Confirm { id: EffectId, digest: Digest },
    Reports(Vec<Report>),
    Beat(BTreeMap<ServiceName, Beat>),
    WhoAmI { id: EffectId },
}

/// What the control plane answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Orders {
        tag: String,
        orders: Vec<Dispatch>,
    },
    Confirmed {
        id: EffectId,
        digest: Digest,
        refused: Option<String>,
    },
    Acknowledged {
        through: u64,
    },
    YouAre {
        id: EffectId,
    },
}

/// What an agent does by the clock.
#[derive(Debug, Clone)]
pub(crate) enum Chore {
    Wake,
    Poll,
    Beat,
    Report,
    /// An effect ends by itself.
    Ends(EffectId),
}

/// Something that happens at a moment.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    PlaneTurn,
    PlaneBegins,
    AtPlane {
        host: usize,
        life: u64,
        call: Call,
    },
    AtHost {
        host: usize,
        life: u64,
        reply: Reply,
    },
    Hint {
        host: usize,
    },
    Agent {
        host: usize,
        life: u64,
        chore: Chore,
    },
    AgentBegins {
        host: usize,
        life: u64,
        boot: bool,
    },
    /// A process comes to what is wrong with it.
    Process {
        host: usize,
        service: ServiceName,
        number: u64,
    },
    Respawn {
        host: usize,
        service: ServiceName,
        number: u64,
    },
    Fault(Fault),
    Person(Deed),
    Traffic,
    Posted(Post),
    /// The gateway hears which seconds it need not tell again.
    Acknowledged {
        epoch: u64,
        through: u64,
    },
    Check,
}

/// Everything there is in one run.
#[derive(Debug)]
pub(crate) struct World {
    /// True time since the beginning.
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    queued: u64,
    pub(crate) draws: Draws,
    pub(crate) fleet: Fleet,
    pub(crate) plane: Plane,
    pub(crate) machines: Vec<Machine>,
    pub(crate) gateway: Gateway,
    pub(crate) weather: Weather,
    pub(crate) people: People,
    pub(crate) laws: Laws,
    pub(crate) made: BTreeMap<Digest, Made>,
    pub(crate) counts: Counts,
    pub(crate) trace: Trace,
    /// How bad it gets; 0 is a run without faults.
    pub(crate) storm: u64,
    /// From here on nothing goes wrong any more.
    pub(crate) calm_at: u64,
    pub(crate) truth: Truth,
    /// The journal up to here was checked.
    audited: usize,
    /// What runs has changed since it was checked.
    pub(crate) stirred: bool,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace) -> Lawful<World> {
        let fleet = Fleet::new(seed);
        let mut draws = Draws::new(seed);
        let storm = draws.faults.below(4);
        let weather = Weather::new(&fleet, storm, &mut draws.network);
        let pushes = draws.people.between(2, 5);
        let mut world = World {
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            weather,
            plane: Plane::new(instant(0, 0)),
            machines: Vec::new(),
            gateway: Gateway::new(&mut draws.traffic),
            people: People::default(),
            laws: Laws::default(),
            made: BTreeMap::new(),
            counts: Counts::new(),
            trace,
            storm,
            calm_at: 60_000 + pushes * 80_000,
            truth: Truth::default(),
            audited: 0,
            stirred: true,
            draws,
            fleet,
        };
        world.found()?;
        for (at, deed) in crate::people::plan(&mut world, pushes) {
            world.at(at, Happening::Person(deed));
        }
        for (at, fault) in faults::plan(&mut world) {
            world.at(at, Happening::Fault(fault));
        }
        world.at(0, Happening::PlaneTurn);
        world.at(500, Happening::Traffic);
        world.at(1000, Happening::Check);
        Ok(world)
    }

    /// Everything until all is quiet again.
    pub(crate) fn run(&mut self) -> Lawful {
        let mut calm = false;
        let mut look_at = self.calm_at;
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            self.now = self.now.max(at);
            if !calm && self.now >= self.calm_at {
                calm = true;
                self.calm()?;
            }
            if calm && self.now >= look_at {
                match self.unsettled() {
                    None => return self.check_end(),
                    Some(why) => self.patience(&why)?,
                }
                look_at = self.now + 2_000;
            }
            self.happens(happening)?;
            self.check_step()?;
        }
        Ok(())
    }

    fn happens(&mut self, happening: Happening) -> Lawful {
        match happening {
            Happening::PlaneTurn => self.plane_turn(),
            Happening::PlaneBegins => self.plane_begins(),
            Happening::AtPlane { host, life, call } => self.at_plane(host, life, call),
            Happening::AtHost { host, life, reply } => self.at_host(host, life, reply),
            Happening::Hint { host } => {
                self.poll(host);
                Ok(())
            }
            Happening::Agent { host, life, chore } => self.chore(host, life, chore),
            Happening::AgentBegins { host, life, boot } => self.agent_begins(host, life, boot),
            Happening::Process {
                host,
                service,
                number,
            } => {
                self.process_turns(host, &service, number);
                Ok(())
            }
            Happening::Respawn {
                host,
                service,
                number,
            } => {
                self.respawn(host, &service, number);
                Ok(())
            }
            Happening::Fault(fault) => self.strike(fault),
            Happening::Person(deed) => self.person_does(deed),
            Happening::Traffic => {
                self.traffic();
                Ok(())
            }
            Happening::Posted(post) => {
                self.posted(post);
                Ok(())
            }
            Happening::Acknowledged { epoch, through } => {
                self.gateway.acknowledged(epoch, through);
                Ok(())
            }
            Happening::Check => self.check_now_and_then(),
        }
    }

    /// Laws that are looked at after every step; cheap when nothing has changed.
    pub(crate) fn check_step(&mut self) -> Lawful {
        while let Some((_, event)) = self.plane.journal.get(self.audited).cloned() {
            self.laws.take(&event)?;
            self.check_evidence(&event)?;
            self.audited += 1;
            self.stirred = true;
        }
        if std::mem::take(&mut self.stirred) {
            let (mut running, mut live) = (BTreeMap::new(), Vec::new());
            for machine in &self.machines {
                for (service, disk) in &machine.disks {
                    let key: Key = (machine.place.host.clone(), service.clone());
                    live.push((key.clone(), disk.live));
                    if let Some(process) = disk.process {
                        live.push((key.clone(), process.digest));
                        running.insert(key, process.digest);
                    }
                }
            }
            live.iter()
                .try_for_each(|(key, digest)| self.laws.may_run(key, *digest))?;
            self.laws.exposed(&running)?;
        }
        Ok(())
    }

    /// Laws that cost more, at moments nobody knows beforehand.
    fn check_now_and_then(&mut self) -> Lawful {
        let now = self.plane_clock();
        self.plane.check_way_back(now)?;
        if self.draws.checks.chance(120) {
            let cut = self.draws.checks.index(self.plane.journal.len() + 1);
            self.plane.check_fold(cut)?;
        }
        let next = self.now + self.draws.checks.between(3_000, 20_000);
        self.at(next, Happening::Check);
        Ok(())
    }

    pub(crate) fn at(&mut self, at: u64, happening: Happening) {
        self.queued += 1;
        self.queue
            .insert((at.max(self.now), self.queued), happening);
    }

    pub(crate) fn after(&mut self, span: u64, happening: Happening) {
        self.at(self.now + span, happening);
    }

    pub(crate) fn stormy(&self) -> bool {
        self.storm > 0 && self.now < self.calm_at
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A line of the trace; made only if somebody reads it.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        if let Trace(Some(lines)) = &self.trace {
            let (s, ms) = (self.now / 1000, self.now % 1000);
            lines
                .borrow_mut()
                .push(format!("{s:>5}.{ms:03} {}", line()));
        }
    }

    pub(crate) fn plane_clock(&mut self) -> Timestamp {
        let wall = instant(self.now, self.plane.offset_ms);
        self.plane.clock(wall)
    }

    pub(crate) fn host_clock(&self, host: usize) -> Timestamp {
        instant(self.now, self.machines[host].offset_ms)
    }

    /// What is wrong with a tree on a host.
    pub(crate) fn temper(&self, host: usize, tree: Digest) -> Temper {
        let made = self.made.get(&tree);
        made.map_or(Temper::Good, |made| {
            made.temper(self.machines[host].place.serving)
        })
    }
}

/// The wall time that a clock shows which is `offset_ms` wrong.
pub(crate) fn instant(now: u64, offset_ms: i64) -> Timestamp {
    /// 2026-01-01T00:00:00Z
    const BEGINNING_MS: i64 = 1_767_225_600_000;
    let since = i64::try_from(now).unwrap_or(i64::MAX / 4);
    Timestamp::from_millisecond(BEGINNING_MS + since + offset_ms).unwrap_or(Timestamp::MAX)
}
