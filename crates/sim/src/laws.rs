//! What must hold after every event, read from the journal alone.
//!
//! This reading of the journal is written apart from the engine's own fold, so
//! that one mistake doesn't hide the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use model::{
    Bundle, Digest, EnvironmentName, Event, Generation, HostName, Order, OrderKind, ReleaseId,
    Scope, ServiceName, StagePlan, Timestamp, Verdict, Wave,
};

/// A law that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) law: &'static str,
    pub(crate) what: String,
}

/// What is fine, or the law that it breaks.
pub(crate) type Lawful<T = ()> = Result<T, Broken>;

/// Fails with the law's name unless `holds`.
pub(crate) fn law(holds: bool, law: &'static str, what: impl FnOnce() -> String) -> Lawful {
    if holds {
        Ok(())
    } else {
        Err(Broken { law, what: what() })
    }
}

/// One service on one host.
pub(crate) type Key = (HostName, ServiceName);

/// The newest order of a slot.
#[derive(Debug, Clone)]
struct Newest {
    order: Order,
    /// Nobody knows yet what became of it.
    open: bool,
    /// The host did it, and has not gone back since.
    done: bool,
}

/// One environment of a release's way.
#[derive(Debug, Clone)]
struct Leg {
    environment: EnvironmentName,
    waves: Vec<Wave>,
    begun: usize,
    passed: usize,
}

/// A release, as far as laws ask.
#[derive(Debug, Clone)]
struct Course {
    service: ServiceName,
    digest: Digest,
    plan: BTreeMap<EnvironmentName, StagePlan>,
    /// Neither turned back nor good.
    rolling: bool,
    legs: Vec<Leg>,
    /// Hosts that had been told this content earlier, by another release.
    before: BTreeSet<HostName>,
}

impl Course {
    fn reached(&self) -> BTreeSet<&HostName> {
        let begun = self
            .legs
            .iter()
            .flat_map(|leg| leg.waves.iter().take(leg.begun));
        begun.flat_map(|wave| &wave.hosts).collect()
    }
}

/// The journal so far, as laws see it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Laws {
    environments: Vec<EnvironmentName>,
    origins: BTreeMap<Key, Digest>,
    told: BTreeMap<Key, BTreeSet<Digest>>,
    newest: BTreeMap<Key, Newest>,
    generations: BTreeMap<HostName, Generation>,
    goods: BTreeSet<(ServiceName, Digest)>,
    quarantined: BTreeSet<(ServiceName, Digest)>,
    frozen: BTreeSet<Scope>,
    releases: BTreeMap<ReleaseId, Course>,
    confirmed: BTreeSet<(HostName, ServiceName, Generation, Digest)>,
}

/// Checks a whole journal.
pub(crate) fn audit(journal: &[(Timestamp, Event)]) -> Lawful {
    let mut laws = Laws::default();
    journal.iter().try_for_each(|(_, event)| laws.take(event))
}

impl Laws {
    /// Takes in the next event.
    pub(crate) fn take(&mut self, event: &Event) -> Lawful {
        match event {
            Event::TopologySet { topology, .. } => {
                let names = topology.environments.iter().map(|it| it.name.clone());
                self.environments = names.collect();
                Ok(())
            }
            Event::HostEnrolled { host, adopted, .. } => {
                for (service, digest) in adopted {
                    let key = (host.clone(), service.clone());
                    self.origins.entry(key).or_insert(*digest);
                }
                Ok(())
            }
            Event::ReleaseProposed {
                release,
                service,
                digest,
                bundle,
                ..
            } => self.proposed(*release, service, *digest, bundle),
            Event::StageStarted {
                release,
                environment,
                waves,
            } => self.stage_started(*release, environment, waves),
            Event::WaveStarted {
                release,
                environment,
                wave,
            } => self.wave_started(*release, environment, *wave as usize),
            Event::HostOrdered { order } => self.ordered(order),
            Event::HostConfirmed {
                host,
                service,
                generation,
                digest,
            } => self.host_confirmed(host, service, *generation, *digest),
            Event::HostFailed {
                host,
                service,
                generation,
                ..
            } => {
                if let Some(newest) = self.newest.get_mut(&(host.clone(), service.clone()))
                    && newest.order.generation == *generation
                {
                    newest.done = false;
                    newest.open &= newest.order.kind == OrderKind::Rollback;
                }
                Ok(())
            }
            Event::WaveJudged {
                release,
                wave,
                verdict,
                ..
            } => self.judged(*release, *wave as usize, verdict),
            Event::ReleaseGood { release, .. } => self.good(*release),
            Event::RollbackStarted { release, .. } => {
                let course = self.course(*release)?;
                course.rolling = false;
                Ok(())
            }
            Event::RollbackCompleted { release, .. } => self.back(*release),
            Event::DigestQuarantined {
                service, digest, ..
            } => {
                self.quarantined.insert((service.clone(), *digest));
                Ok(())
            }
            Event::QuarantineLifted {
                service, digest, ..
            } => {
                self.quarantined.remove(&(service.clone(), *digest));
                Ok(())
            }
            Event::Frozen { scope, .. } => {
                self.frozen.insert(scope.clone());
                Ok(())
            }
            Event::Thawed { scope, .. } => {
                self.frozen.remove(scope);
                Ok(())
            }
            Event::TokenIssued { .. }
            | Event::TokenRevoked { .. }
            | Event::JoinTokenIssued { .. }
            | Event::HostRevertFailing { .. }
            | Event::HostHeld { .. }
            | Event::HostHealthChanged { .. }
            | Event::WaveHeld { .. } => Ok(()),
        }
    }

    /// What programs on a host may be pointed at.
    pub(crate) fn may_run(&self, key: &Key, digest: Digest) -> Lawful {
        let told = self
            .told
            .get(key)
            .is_some_and(|told| told.contains(&digest));
        law(
            told || self.origins.get(key) == Some(&digest),
            "approved",
            || {
                format!(
                    "{} {} has {} live, which no order named",
                    key.0,
                    key.1,
                    digest.short()
                )
            },
        )
    }

    /// Which hosts run which bundle of a service, against the waves that have begun.
    pub(crate) fn exposed(&self, running: &BTreeMap<Key, Digest>) -> Lawful {
        for (id, course) in self.releases.iter().filter(|(_, course)| course.rolling) {
            let reached = course.reached();
            let new: Vec<&HostName> = running
                .iter()
                .filter(|((_, service), digest)| {
                    *service == course.service && **digest == course.digest
                })
                .map(|((host, _), _)| host)
                .filter(|host| !course.before.contains(*host))
                .collect();
            let stray = new.iter().find(|host| !reached.contains(*host));
            law(
                stray.is_none() && new.len() <= reached.len(),
                "waves",
                || format!("release {id} runs on {new:?}; its waves reached {reached:?}"),
            )?;
        }
        Ok(())
    }

    /// Whether the journal has a host's confirmation.
    pub(crate) fn knows(
        &self,
        host: &HostName,
        service: &ServiceName,
        generation: Generation,
        digest: Digest,
    ) -> Lawful {
        let fact = (host.clone(), service.clone(), generation, digest);
        law(self.confirmed.contains(&fact), "confirmed", || {
            format!(
                "{host} was told that {service} generation {generation} is confirmed; the journal doesn't know"
            )
        })
    }

    fn course(&mut self, release: ReleaseId) -> Lawful<&mut Course> {
        self.releases.get_mut(&release).ok_or_else(|| Broken {
            law: "sense",
            what: format!("release {release} was never proposed"),
        })
    }

    fn frozen(&self, service: &ServiceName, what: impl Display) -> Lawful {
        let scope = Scope::Service(service.clone());
        let frozen = self.frozen.contains(&Scope::Everything) || self.frozen.contains(&scope);
        law(!frozen, "freeze", || {
            format!("{what} while {service} is frozen")
        })
    }

    fn proposed(
        &mut self,
        release: ReleaseId,
        service: &ServiceName,
        digest: Digest,
        bundle: &Bundle,
    ) -> Lawful {
        self.frozen(service, "a release was proposed")?;
        law(bundle.digest() == digest, "sense", || {
            "a bundle under another's digest".into()
        })?;
        let rolling = self
            .releases
            .values()
            .any(|other| other.rolling && other.service == *service);
        law(!rolling, "one release", || {
            format!("release {release} beside another")
        })?;
        let told = self
            .told
            .iter()
            .filter(|((_, of), told)| of == service && told.contains(&digest));
        let course = Course {
            service: service.clone(),
            digest,
            plan: bundle.plan.stages.clone(),
            rolling: true,
            legs: Vec::new(),
            before: told.map(|((host, _), _)| host.clone()).collect(),
        };
        self.releases.insert(release, course);
        Ok(())
    }

    fn stage_started(
        &mut self,
        release: ReleaseId,
        environment: &EnvironmentName,
        waves: &[Wave],
    ) -> Lawful {
        let legs = self.course(release)?.legs.len();
        let expected = self.environments.get(legs).cloned();
        let course = self.course(release)?;
        let through = course.legs.iter().all(|leg| leg.passed == leg.waves.len());
        let fits = course.rolling && through && expected.as_ref() == Some(environment);
        course.legs.push(Leg {
            environment: environment.clone(),
            waves: waves.to_vec(),
            begun: 0,
            passed: 0,
        });
        let service = course.service.clone();
        law(fits, "waves", || {
            format!("release {release} enters {environment} out of turn")
        })?;
        self.frozen(
            &service,
            format_args!("release {release} enters {environment}"),
        )
    }

    fn wave_started(
        &mut self,
        release: ReleaseId,
        environment: &EnvironmentName,
        wave: usize,
    ) -> Lawful {
        let course = self.course(release)?;
        let (rolling, service) = (course.rolling, course.service.clone());
        let leg = course
            .legs
            .last_mut()
            .filter(|leg| leg.environment == *environment);
        let fits = leg.is_some_and(|leg| {
            let next = leg.begun == wave && leg.passed == wave && wave < leg.waves.len();
            leg.begun = wave + 1;
            next
        });
        law(rolling && fits, "waves", || {
            format!("release {release}: wave {wave} of {environment} begins out of turn")
        })?;
        self.frozen(
            &service,
            format_args!("wave {wave} of release {release} begins"),
        )
    }

    fn judged(&mut self, release: ReleaseId, wave: usize, verdict: &Verdict) -> Lawful {
        let course = self.course(release)?;
        let Some(leg) = course.legs.last_mut() else {
            return Ok(());
        };
        if !matches!(verdict, Verdict::Pass { .. }) {
            return Ok(());
        }
        let fits = leg.begun == wave + 1 && leg.passed == wave;
        leg.passed = wave + 1;
        let (service, hosts) = (
            course.service.clone(),
            leg.waves.get(wave).map(|it| it.hosts.clone()),
        );
        law(fits, "waves", || {
            format!("release {release}: wave {wave} passes out of turn")
        })?;
        for host in hosts.into_iter().flatten() {
            let newest = self.newest.get(&(host.clone(), service.clone()));
            let done = newest.is_some_and(|it| it.done && it.order.release == release);
            law(done, "waves", || {
                format!("release {release}: wave {wave} passes without a word from {host}")
            })?;
        }
        Ok(())
    }

    fn good(&mut self, release: ReleaseId) -> Lawful {
        let environments = self.environments.len();
        let course = self.course(release)?;
        let through = course.legs.iter().all(|leg| leg.passed == leg.waves.len());
        let fits = course.rolling && through && course.legs.len() == environments;
        course.rolling = false;
        let good = (course.service.clone(), course.digest);
        self.goods.insert(good);
        law(fits, "waves", || {
            format!("release {release} is good before its last wave passed")
        })
    }

    fn back(&mut self, release: ReleaseId) -> Lawful {
        let left = self.newest.iter().find(|(_, newest)| {
            newest.order.release == release
                && (newest.order.kind == OrderKind::Forward || newest.open)
        });
        law(left.is_none(), "way back", || {
            format!(
                "release {release} is called back; {:?} is not",
                left.map(|(key, _)| key)
            )
        })
    }

    fn ordered(&mut self, order: &Order) -> Lawful {
        let key = (order.host.clone(), order.service.clone());
        let before = self
            .generations
            .insert(order.host.clone(), order.generation);
        law(before < Some(order.generation), "generations", || {
            format!(
                "{} is given {} after {before:?}",
                order.host, order.generation
            )
        })?;
        match order.kind {
            OrderKind::Forward => self.ordered_forward(order)?,
            OrderKind::Rollback => self.ordered_back(order)?,
        }
        self.told
            .entry(key.clone())
            .or_default()
            .insert(order.digest);
        self.newest.insert(
            key,
            Newest {
                order: order.clone(),
                open: true,
                done: false,
            },
        );
        Ok(())
    }

    fn ordered_forward(&mut self, order: &Order) -> Lawful {
        let Order {
            host,
            service,
            release,
            digest,
            ..
        } = order;
        self.frozen(service, format_args!("{host} is ordered forward"))?;
        let quarantined = self.quarantined.contains(&(service.clone(), *digest));
        law(!quarantined, "quarantine", || {
            format!(
                "{host} is ordered forward to {}, which is quarantined",
                digest.short()
            )
        })?;
        let busy = self
            .newest
            .iter()
            .find(|((of, _), newest)| of == host && newest.open);
        law(busy.is_none(), "lease", || {
            format!("{host} is ordered forward for {service} while {busy:?} is open")
        })?;
        let changing = self.newest.values().filter(|newest| {
            newest.open
                && newest.order.release == *release
                && newest.order.kind == OrderKind::Forward
        });
        let changing = changing.count();
        let course = self.course(*release)?;
        let fits = course.rolling && course.service == *service && course.digest == *digest;
        law(fits && course.reached().contains(host), "waves", || {
            format!("{host} is ordered forward outside the waves of release {release}")
        })?;
        let plan = course
            .legs
            .last()
            .and_then(|leg| course.plan.get(&leg.environment));
        let parallel = plan.map_or(StagePlan::default().parallel, |plan| plan.parallel) as usize;
        law(changing < parallel.max(1), "parallel", || {
            format!("{host} is ordered forward while {changing} others change; at most {parallel}")
        })
    }

    fn ordered_back(&mut self, order: &Order) -> Lawful {
        let Order {
            host,
            service,
            release,
            digest,
            ..
        } = order;
        let origin = self.origins.values().any(|origin| origin == digest);
        let good = self.goods.contains(&(service.clone(), *digest));
        law(good || origin, "way back", || {
            format!(
                "{host} is ordered back to {}, which was never good",
                digest.short()
            )
        })?;
        let rolling = self.course(*release)?.rolling;
        law(!rolling, "way back", || {
            format!("{host} is ordered back for release {release}, which goes forward")
        })
    }

    fn host_confirmed(
        &mut self,
        host: &HostName,
        service: &ServiceName,
        generation: Generation,
        digest: Digest,
    ) -> Lawful {
        let newest = self.newest.get_mut(&(host.clone(), service.clone()));
        let fits = newest.is_some_and(|newest| {
            (newest.open, newest.done) = (false, true);
            newest.order.generation == generation && newest.order.digest == digest
        });
        self.confirmed
            .insert((host.clone(), service.clone(), generation, digest));
        law(fits, "sense", || {
            format!("{host} confirmed an order that it didn't have")
        })
    }
}
