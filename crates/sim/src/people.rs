//! People: they push, turn back, freeze, thaw, lift, and log in to hosts.

mod traffic;

use engine::Input;
use model::{Actor, Digest, Generation, HostName, ReleaseId, Role, Scope, ServiceName, TokenId};

use release::Status;

use crate::fleet::{Made, serving};
use crate::laws::{Broken, Lawful};
use crate::machine::{Disk, Machine};
use crate::world::{Happening, World, instant};
use traffic::Wish;

/// What people do.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Push {
        service: ServiceName,
    },
    /// Something that was pushed before, whatever became of it.
    PushAgain {
        service: ServiceName,
    },
    /// What was refused, once more.
    Retry {
        digest: Digest,
    },
    RollBack {
        service: ServiceName,
        to_good: bool,
    },
    Freeze {
        scope: Scope,
    },
    Thaw {
        scope: Scope,
    },
    Lift {
        service: ServiceName,
    },
    RevertLocal {
        host: usize,
    },
    /// A wave is held, and somebody has looked at it.
    Answer {
        release: ReleaseId,
        continues: bool,
    },
    /// Something about who serves.
    Wish(ServiceName, Wish),
    /// After the faults: what hangs under a bundle that was good is turned back.
    Care,
}

/// What people remember.
#[derive(Debug, Default)]
pub(crate) struct People {
    /// How many bundles were made.
    bundles: u64,
}

/// Somebody who may do everything.
pub(crate) fn person() -> Actor {
    Actor {
        name: "ada".into(),
        role: Some(Role::Operator),
    }
}

/// When people do what.
pub(crate) fn plan(world: &mut World, pushes: u64) -> Vec<(u64, Deed)> {
    let mut plan = traffic::plan(world);
    let services = world.fleet.services.clone();
    let (hosts, end) = (world.machines.len(), world.calm_at);
    let draw = &mut world.draws.people;
    let Some(first) = services.first().cloned() else {
        return plan;
    };
    for push in 0..pushes {
        let service = draw.pick(&services).unwrap_or(&first).clone();
        let at = 5_000 + push * (end - 20_000) / pushes + draw.below(20_000);
        let again = push > 0 && draw.chance(200);
        plan.push((
            at,
            if again {
                Deed::PushAgain { service }
            } else {
                Deed::Push { service }
            },
        ));
    }
    for _ in 0..draw.below(5) {
        let service = draw.pick(&services).unwrap_or(&first).clone();
        let at = draw.between(10_000, end - 1);
        match draw.below(10) {
            0..3 => plan.push((
                at,
                Deed::RollBack {
                    service,
                    to_good: draw.chance(400),
                },
            )),
            3..6 => {
                let everything = draw.chance(400);
                let scope = if everything {
                    Scope::Everything
                } else {
                    Scope::Service(service)
                };
                plan.push((
                    at,
                    Deed::Freeze {
                        scope: scope.clone(),
                    },
                ));
                plan.push((at + draw.between(1_000, 60_000), Deed::Thaw { scope }));
            }
            6..8 => plan.push((at, Deed::Lift { service })),
            _ => plan.push((
                at,
                Deed::RevertLocal {
                    host: draw.index(hosts),
                },
            )),
        }
    }
    plan
}

impl World {
    /// The fleet is declared and every host joins, before anything goes wrong.
    pub(crate) fn found(&mut self) -> Lawful {
        let topology = self.fleet.topology.clone();
        self.must(Input::SetTopology {
            by: person(),
            topology,
        })?;
        for (at, place) in self.fleet.places.clone().into_iter().enumerate() {
            let (host, now) = (place.host.clone(), instant(0, 0));
            let join = Digest::of(host.as_str().as_bytes());
            let expires_at = model::Millis::seconds(60).after(now);
            let token = TokenId(host.to_string());
            self.must(Input::IssueJoin {
                by: person(),
                token,
                host: host.clone(),
                hash: join,
                expires_at,
            })?;
            let empty = self.fleet.empty;
            let found = |service: &ServiceName| (service.clone(), self.fleet.found(&host, service));
            let adopted: std::collections::BTreeMap<_, _> =
                place.services.iter().map(found).collect();
            let disks = adopted
                .iter()
                .map(|(service, origin)| (service.clone(), Disk::new(*origin, empty)));
            let mut agent = node::Host::new(host.clone());
            for (service, digest) in &adopted {
                let input = node::Input::Adopted {
                    service: service.clone(),
                    digest: *digest,
                    empty,
                };
                let events = node::decide(&agent, input, now).unwrap_or_default();
                events
                    .iter()
                    .for_each(|event| node::evolve(&mut agent, event));
            }
            if place.serving {
                let events = node::decide(&agent, node::Input::Gated, now).unwrap_or_default();
                events
                    .iter()
                    .for_each(|event| node::evolve(&mut agent, event));
            }
            let offset_ms = if self.storm > 0 {
                self.draws.faults.swing(2_000)
            } else {
                0
            };
            self.machines.push(Machine {
                disks: disks.collect(),
                saved: agent.clone(),
                agent: Some(agent),
                place,
                life: 1,
                offset_ms,
                flights: Default::default(),
                tag: String::new(),
                wake: None,
                fences: Default::default(),
            });
            self.enrol(host, join, adopted)?;
            self.start_chores(at);
        }
        Ok(())
    }

    fn enrol(
        &mut self,
        host: HostName,
        join: Digest,
        adopted: std::collections::BTreeMap<ServiceName, Digest>,
    ) -> Lawful {
        self.must(Input::Enrol {
            peer_address: format!("{host}:7"),
            host,
            join,
            public_key: String::new(),
            adopted,
            fence: Generation(0),
        })
    }

    /// What nothing can refuse, before the first fault.
    fn must(&mut self, input: Input) -> Lawful {
        let now = self.plane_clock();
        match self.plane.give(input, now) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(Broken {
                law: "founding",
                what: refusal.to_string(),
            }),
        }
    }

    pub(crate) fn person_does(&mut self, deed: Deed) -> Lawful {
        // Once the faults are over nothing new is begun.
        let calm = self.now >= self.calm_at;
        if calm && !matches!(deed, Deed::Care) {
            return Ok(());
        }
        let reached = match deed.clone() {
            Deed::Push { service } => {
                self.people.bundles += 1;
                let number = self.people.bundles;
                let made = Made::new(&mut self.draws.bundles, &service, number);
                return self.push(made);
            }
            Deed::PushAgain { service } => {
                let made = self
                    .made
                    .values()
                    .filter(|made| made.bundle.service == service);
                let made: Vec<Made> = made.cloned().collect();
                return match self.draws.people.pick(&made) {
                    Some(made) => self.push(made.clone()),
                    None => Ok(()),
                };
            }
            Deed::Retry { digest } => {
                return match self.made.get(&digest).cloned() {
                    Some(made) => self.push(made),
                    None => Ok(()),
                };
            }
            Deed::RollBack { service, to_good } => self.roll_back(service, to_good)?,
            Deed::Freeze { scope } => {
                let input = Input::Freeze {
                    by: person(),
                    scope,
                    reason: "a bad day".into(),
                    until: None,
                };
                self.person_asks(input, "freezes")?
            }
            Deed::Thaw { scope } => {
                let input = Input::Thaw {
                    by: person(),
                    scope,
                    reason: "better".into(),
                };
                self.person_asks(input, "thaws")?
            }
            Deed::Lift { service } => self.lift(service)?,
            Deed::Wish(service, wish) => self.wishes(service, wish)?,
            Deed::RevertLocal { host } => {
                self.revert_local(host)?;
                true
            }
            Deed::Answer { release, continues } => self.answer(release, continues)?,
            Deed::Care => {
                self.care()?;
                true
            }
        };
        if !reached {
            // Nobody answered; people try again.
            let pause = self.draws.people.between(2_000, 8_000);
            self.after(pause, Happening::Person(deed));
        }
        Ok(())
    }

    /// Whether there was an answer.
    fn person_asks(&mut self, input: Input, what: &'static str) -> Lawful<bool> {
        Ok(match self.plane_takes(input)? {
            None => false,
            Some(Ok(_)) => {
                self.count(what);
                true
            }
            Some(Err(refusal)) => {
                self.note(|| format!("refused: {refusal}"));
                true
            }
        })
    }

    fn push(&mut self, made: Made) -> Lawful {
        let digest = made.digest;
        self.note(|| format!("push {}", made.describe()));
        self.made.insert(digest, made.clone());
        let input = Input::Propose {
            by: person(),
            bundle: Box::new(made.bundle),
            base: None,
            message: "a change".into(),
            checked: Box::default(),
            break_glass: None,
        };
        match self.plane_takes(input)? {
            Some(Ok(_)) => {
                self.count("pushes");
                return Ok(());
            }
            Some(Err(refusal)) => {
                self.count("pushes refused");
                self.note(|| format!("refused: {refusal}"));
            }
            None => {}
        }
        let pause = self.draws.people.between(5_000, 30_000);
        self.after(pause, Happening::Person(Deed::Retry { digest }));
        Ok(())
    }

    fn roll_back(&mut self, service: ServiceName, to_good: bool) -> Lawful<bool> {
        let known = self.plane.state.services.get(&service);
        let goods: Vec<Digest> = known
            .into_iter()
            .flat_map(|it| it.goods.iter().map(|good| good.digest))
            .collect();
        let to = if to_good {
            self.draws.people.pick(&goods).copied()
        } else {
            None
        };
        let reason = "looks wrong".into();
        let input = Input::Rollback {
            by: person(),
            service,
            release: None,
            to,
            reason,
        };
        match self.plane_takes(input)? {
            None => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(refusal)) => Err(Broken {
                law: "way back",
                what: format!("a rollback is refused: {refusal}"),
            }),
        }
    }

    /// Whoever is asked answers after a while, if at all.
    pub(crate) fn held(&mut self, release: ReleaseId) {
        let draw = &mut self.draws.people;
        if draw.chance(600) {
            let (pause, continues) = (draw.between(2_000, 30_000), draw.chance(600));
            let deed = Deed::Answer { release, continues };
            self.after(pause, Happening::Person(deed));
        }
    }

    fn answer(&mut self, release: ReleaseId, continues: bool) -> Lawful<bool> {
        let known = self.plane.state.releases.get(&release);
        let held = known.filter(|it| matches!(it.status, Status::Rolling { held: Some(_) }));
        let Some(service) = held.map(|release| release.service.clone()) else {
            return Ok(true);
        };
        if !continues {
            return self.roll_back(service, false);
        }
        let input = Input::Continue {
            by: person(),
            release,
            reason: "looks fine".into(),
        };
        self.person_asks(input, "held waves answered")
    }

    fn lift(&mut self, service: ServiceName) -> Lawful<bool> {
        let known = self.plane.state.services.get(&service);
        let digest = known.and_then(|known| known.quarantined.keys().next().copied());
        let Some(digest) = digest else {
            return Ok(true);
        };
        let reason = "not its fault".into();
        self.person_asks(
            Input::LiftQuarantine {
                by: person(),
                service,
                digest,
                reason,
            },
            "quarantines lifted",
        )
    }

    fn revert_local(&mut self, host: usize) -> Lawful {
        let services = self.machines[host].place.services.clone();
        let Some(service) = self.draws.people.pick(&services).cloned() else {
            return Ok(());
        };
        let kept: Vec<Digest> = self.machines[host]
            .saved
            .slots
            .get(&service)
            .map_or(Vec::new(), |slot| slot.kept.clone());
        let to = if self.draws.people.chance(300) {
            self.draws.people.pick(&kept).copied()
        } else {
            None
        };
        self.count("local reverts");
        self.note(|| {
            format!(
                "{}: local revert of {service} to {to:?}",
                self.machines[host].place.host
            )
        });
        self.give(host, node::Input::RevertLocal { service, to })
    }

    /// Nothing stays frozen when the faults stop.
    pub(crate) fn thaw_all(&mut self) -> Lawful {
        let scopes: Vec<Scope> = self
            .plane
            .state
            .freezes
            .values()
            .map(|freeze| freeze.scope.clone())
            .collect();
        if !self.plane.up {
            self.plane_begins()?;
        }
        for scope in scopes {
            self.person_asks(
                Input::Thaw {
                    by: person(),
                    scope,
                    reason: "over".into(),
                },
                "thaws",
            )?;
        }
        self.let_all_in()?;
        let first = self.now + 20_000;
        self.at(first, Happening::Person(Deed::Care));
        Ok(())
    }

    /// What no verdict is about any more is for a person to see: a release that
    /// was good and came to hang later, one that is held because nobody can judge it, and
    /// one that goes no further while everything fails.
    fn care(&mut self) -> Lawful {
        self.after(20_000, Happening::Person(Deed::Care));
        for service in self.fleet.services.clone() {
            let known = self.plane.state.services.get(&service);
            let active = known.and_then(|known| known.active);
            let release = active.and_then(|id| self.plane.state.releases.get(&id));
            let watch = &self.plane.watch;
            match release.map(|release| &release.status) {
                Some(Status::Rolling { held: Some(needs) }) => {
                    self.note(|| format!("held: {needs}"));
                    self.count("held releases turned back by people");
                }
                // Somebody let it go on, or its wave began long before.
                Some(Status::Rolling { held: None })
                    if watch.fleet_fails_since(&serving(), &service).is_some() =>
                {
                    self.count("releases turned back by people while everything fails");
                }
                Some(_) => continue,
                None if (0..self.machines.len()).any(|host| self.sick(host, &service)) => {
                    self.count("good releases turned back by people");
                }
                None => continue,
            }
            self.roll_back(service, false)?;
        }
        Ok(())
    }
}
