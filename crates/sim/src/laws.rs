//! What must hold after every event, read from the journal alone.
//!
//! This reading of the journal is written apart from the engine's own fold, so
//! that one mistake doesn't hide the other.

mod orders;
mod releases;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use model::{
    Digest, DrainCause, EnvironmentName, Event, Generation, HostName, Order, ReleaseId, RestartId,
    Scope, ServiceName, StagePlan, Timestamp, Wave,
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
    /// A person on the host took it to what was to be left.
    astray: bool,
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
    /// Only people may turn it back.
    irreversible: bool,
    /// Neither turned back nor good.
    rolling: bool,
    legs: Vec<Leg>,
    /// Hosts that had been told this content earlier, by another release.
    before: BTreeSet<HostName>,
    /// What was good when it was proposed.
    base: Option<Digest>,
    /// The test host that goes back and forth again.
    rehearses: Option<HostName>,
    /// What it tries besides: old beside new.
    mixed: BTreeSet<Digest>,
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
    /// What passed its test.
    attested: BTreeSet<(ServiceName, Digest)>,
    /// Restarts that go on.
    restarts: BTreeMap<RestartId, (ServiceName, EnvironmentName)>,
    /// Slots that get no new requests.
    drained: BTreeMap<Key, DrainCause>,
    /// Slots that said so.
    unhealthy: BTreeSet<Key>,
    /// Hosts where customers are.
    serves: BTreeSet<HostName>,
    /// Those of a service that have joined.
    serving: BTreeMap<ServiceName, BTreeSet<HostName>>,
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
            Event::ReleaseProposed {
                release,
                service,
                digest,
                bundle,
                base,
                ..
            } => self.proposed(*release, service, *digest, bundle, *base),
            Event::StageStarted {
                release,
                environment,
                waves,
                attestation,
            } => {
                let attested = attestation.is_some();
                self.stage_started(*release, environment, waves, attested)
            }
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
                running,
                ..
            } => {
                self.host_failed(host, service, *generation, *running);
                Ok(())
            }
            Event::WaveJudged {
                release,
                wave,
                verdict,
                ..
            } => self.judged(*release, *wave as usize, verdict),
            Event::WaveContinued { release, wave, .. } => {
                self.wave_passed(*release, *wave as usize)
            }
            Event::ReleaseGood { release, .. } => self.good(*release),
            Event::RollbackStarted { release, cause, .. } => self.turned_back(*release, cause),
            Event::HostDrained { .. }
            | Event::RestartStarted { .. }
            | Event::RestartStopped { .. }
            | Event::RestartEnded { .. } => self.steered(event),
            Event::RollbackCompleted { release, .. } => self.back(*release),
            Event::RehearsalStarted { release, host } => {
                let course = self.course(*release)?;
                course.rehearses = Some(host.clone());
                let service = course.service.clone();
                self.frozen(&service, format_args!("{host} begins to rehearse"))
            }
            Event::MatrixStarted {
                release,
                old_files,
                old_packages,
                ..
            } => {
                let mixed = [old_files.digest(), old_packages.digest()];
                self.course(*release)?.mixed = mixed.into();
                Ok(())
            }
            Event::TestPassed {
                release, record, ..
            } => self.tested(*release, record),
            Event::Attested { release, .. } => {
                let course = self.course(*release)?;
                let attested = (course.service.clone(), course.digest);
                self.attested.insert(attested);
                Ok(())
            }
            Event::TopologySet { .. }
            | Event::HostEnrolled { .. }
            | Event::HostHealthChanged { .. }
            | Event::HostUndrained { .. }
            | Event::DigestQuarantined { .. }
            | Event::QuarantineLifted { .. }
            | Event::Frozen { .. }
            | Event::Thawed { .. } => {
                self.remember(event);
                Ok(())
            }
            Event::TokenIssued { .. }
            | Event::ReferencesProbed { .. }
            | Event::HostileTried { .. }
            | Event::RehearsalStepped { .. }
            | Event::LoadMeasured { .. }
            | Event::TaskBroken { .. }
            | Event::Approved { .. }
            | Event::Countersigned { .. }
            | Event::RecheckStarted { .. }
            | Event::BreakGlassAsked { .. }
            | Event::BreakGlassConfirmed { .. }
            | Event::BreakGlassReviewed { .. }
            | Event::TokenRevoked { .. }
            | Event::JoinTokenIssued { .. }
            | Event::HostRevertFailing { .. }
            | Event::HostHeld { .. }
            | Event::TrafficShifted { .. }
            | Event::TrafficReturned { .. }
            | Event::RampSet { .. }
            | Event::WaveHeld { .. }
            | Event::Incident(_) => Ok(()),
        }
    }

    /// One restart of a service in an environment at a time, and none of a service on its way.
    fn steered(&mut self, event: &Event) -> Lawful {
        match event {
            Event::HostDrained {
                host,
                service,
                cause,
            } => {
                let floor = match cause {
                    DrainCause::Person { .. } => Ok(()),
                    DrainCause::Release { .. } | DrainCause::Restart { .. } => {
                        self.floor(host, service)
                    }
                };
                let key = (host.clone(), service.clone());
                self.drained.insert(key, cause.clone());
                floor
            }
            Event::RestartStarted {
                restart,
                service,
                environment,
                ..
            } => {
                let place = (service.clone(), environment.clone());
                let other = self.restarts.values().any(|known| *known == place);
                let rolling = self
                    .releases
                    .values()
                    .any(|it| it.rolling && it.service == *service);
                self.restarts.insert(*restart, place);
                law(!other && !rolling, "restarts", || {
                    format!("restart {restart} of {service} begins beside another, or a release")
                })
            }
            Event::RestartStopped { restart, .. } | Event::RestartEnded { restart, .. } => {
                let known = self.restarts.remove(restart);
                self.let_in(|cause| *cause == DrainCause::Restart { restart: *restart });
                law(known.is_some(), "restarts", || {
                    format!("restart {restart} ends and was not going on")
                })
            }
            _ => Ok(()),
        }
    }

    fn let_in(&mut self, over: impl Fn(&DrainCause) -> bool) {
        self.drained.retain(|_, cause| !over(cause));
    }

    /// Facts that break no law by themselves and that other laws ask for.
    fn remember(&mut self, event: &Event) {
        match event {
            Event::TopologySet { topology, .. } => {
                let names = topology.environments.iter().map(|it| it.name.clone());
                self.environments = names.collect();
                let last = topology.environments.last();
                let hosts = last.into_iter().flat_map(|it| &it.hosts);
                self.serves = hosts.map(|host| host.name.clone()).collect();
            }
            Event::HostHealthChanged {
                host,
                service,
                healthy,
                ..
            } => {
                let key = (host.clone(), service.clone());
                match healthy {
                    true => self.unhealthy.remove(&key),
                    false => self.unhealthy.insert(key),
                };
            }
            Event::HostUndrained { host, service, .. } => {
                self.drained.remove(&(host.clone(), service.clone()));
            }
            Event::HostEnrolled { host, adopted, .. } => {
                for (service, digest) in adopted {
                    if self.serves.contains(host) {
                        let hosts = self.serving.entry(service.clone()).or_default();
                        hosts.insert(host.clone());
                    }
                    let key = (host.clone(), service.clone());
                    self.unhealthy.remove(&key);
                    self.origins.entry(key).or_insert(*digest);
                }
            }
            Event::DigestQuarantined {
                service, digest, ..
            } => {
                self.quarantined.insert((service.clone(), *digest));
            }
            Event::QuarantineLifted {
                service, digest, ..
            } => {
                self.quarantined.remove(&(service.clone(), *digest));
            }
            Event::Frozen { scope, .. } => {
                self.frozen.insert(scope.clone());
            }
            Event::Thawed { scope, .. } => {
                self.frozen.remove(scope);
            }
            _ => {}
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
}
