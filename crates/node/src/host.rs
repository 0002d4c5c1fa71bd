//! The state of one host: what is kept on disk, whole, before anything is done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use model::order::Dispatch;
use model::{
    Bundle, Commands, Digest, EnvironmentName, Generation, HealthCheck, HostName, Millis,
    PackageName, Phase, Report, ServiceName, Timestamp, ZoneName,
};

use crate::timer::Timer;

/// So many of the newest distinct good digests stay on disk, besides generation
/// 0, which nobody else has. Older ones can be fetched again.
pub const KEPT_MAX: usize = 4;

/// One host: all its services and what it has still to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name; orders for any other are refused.
    pub name: HostName,
    /// The number of the next report.
    pub next_report: u64,
    /// Reports that the control plane has not acknowledged, oldest first.
    pub outbox: VecDeque<Report>,
    /// By service.
    pub slots: BTreeMap<ServiceName, Slot>,
    /// Orders for services that this host doesn't run, so that each is declined once.
    pub strangers: BTreeMap<ServiceName, Generation>,
    /// Nothing runs here that was neither good here nor attested. Once set, nothing unsets it.
    #[serde(default)]
    pub gated: bool,
}

impl Host {
    /// A host that runs nothing yet; services come by [`crate::Input::Adopted`].
    pub fn new(name: HostName) -> Host {
        Host {
            name,
            next_report: 1,
            outbox: VecDeque::new(),
            slots: BTreeMap::new(),
            strangers: BTreeMap::new(),
            gated: false,
        }
    }

    /// The highest generation seen for any service.
    pub fn fence(&self) -> Generation {
        let fences = self.slots.values().map(|slot| slot.fence);
        fences.max().unwrap_or_default()
    }
}

/// One service on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Which service.
    pub service: ServiceName,
    /// The highest generation seen: nothing at or below it is obeyed again.
    pub fence: Generation,
    /// Generation 0: what was on disk.
    pub origin: Digest,
    /// Whether generation 0 was nothing at all, so that no health can be asked of it.
    pub origin_empty: bool,
    /// Home: where the host goes back to by itself.
    pub good: Digest,
    /// What the programs read.
    pub running: Digest,
    /// The order that put it there.
    pub running_since: Generation,
    /// Whether `running` was confirmed, or is home.
    pub settled: bool,
    /// Good digests, newest first.
    pub kept: Vec<Digest>,
    /// The newest digests that were good here, bytes or not: a way back to these needs no test result.
    #[serde(default)]
    pub proven: Vec<Digest>,
    /// How to put each digest in use, so that going back needs no control plane.
    pub known: BTreeMap<Digest, Recipe>,
    /// Where the host stands, as the newest order said.
    pub place: Option<Place>,
    /// The newest order taken up.
    pub dispatch: Option<Dispatch>,
    /// A forward order that waits until the host is home.
    pub next: Option<Dispatch>,
    /// A person took this host back here; only a new order moves it again.
    pub held_local: bool,
    /// What the health check says of `running`; unknown before enough looks, or without one.
    pub healthy: Option<bool>,
    /// What the last bad look said.
    pub unhealthy_reason: String,
    /// The looks so far.
    pub looks: Looks,
    /// Counts up with everything that is tried, so that each try has an id of its own.
    pub attempts: u64,
    /// What is going on.
    pub work: Work,
}

/// What is needed to put a tree in use without its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recipe {
    /// How to apply it.
    pub commands: Commands,
    /// How to know that it works.
    pub health: Option<HealthCheck>,
    /// Its packages: a change of these restarts the service.
    pub packages: BTreeMap<PackageName, Digest>,
    /// Taken from the bundle that was left, because generation 0 brings none of its own.
    pub borrowed: bool,
}

impl Recipe {
    /// From a manifest.
    pub fn of(bundle: &Bundle) -> Recipe {
        let packages = bundle.packages.iter();
        Recipe {
            commands: bundle.commands.clone(),
            health: bundle.health.clone(),
            packages: packages.map(|(name, p)| (name.clone(), p.digest)).collect(),
            borrowed: false,
        }
    }

    /// For generation 0, when `self` is left for it.
    pub(crate) fn lend(&self) -> Recipe {
        Recipe {
            packages: BTreeMap::new(),
            borrowed: true,
            ..self.clone()
        }
    }
}

/// Where a host stands, for commands and health texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its zone.
    pub zone: ZoneName,
    /// Where the service listens.
    pub address: String,
}

/// Health looks in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    /// Good ones since the last bad one.
    pub good: u32,
    /// Bad ones since the last good one.
    pub bad: u32,
    /// When looking began: grace counts from here.
    pub since: Timestamp,
    /// The next look.
    pub next: Pending,
}

/// Something to do once its timer is over, with an id that no other try has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its number.
    pub attempt: u64,
    /// Not before this is over.
    pub timer: Timer,
}

/// What is going on with a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "lowercase")]
pub enum Work {
    /// It runs what it should, and is watched.
    Watch(Watch),
    /// An order is prepared; nothing has changed yet.
    Prepare(Prepare),
    /// The new tree is put in use; without confirmation the host goes home.
    Armed(Armed),
    /// The host goes back.
    Back(Back),
}

/// At rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// A rollback that the control plane has not heard of yet.
    pub confirm: Option<Confirm>,
    /// Trees that may go.
    pub prune: Option<Pending>,
}

/// Telling the control plane that an order is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// How often it failed.
    pub tries: u32,
    /// The next try.
    pub next: Pending,
}

/// Before anything changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// How far.
    pub step: PrepareStep,
    /// The step's try.
    pub act: Pending,
    /// A way back that did not succeed, to be taken up again if this order fails too.
    pub resume: Option<Back>,
}

/// Steps before anything changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrepareStep {
    /// Blobs, tree, sync.
    Stage,
    /// The bundle's own check.
    Check,
    /// Name, connection, login.
    WayHome,
}

impl PrepareStep {
    /// As reported.
    pub fn phase(self) -> Phase {
        match self {
            PrepareStep::Stage => Phase::Stage,
            PrepareStep::Check => Phase::Check,
            PrepareStep::WayHome => Phase::WayHome,
        }
    }
}

/// Changed and not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// How far.
    pub step: ArmedStep,
    /// The step's try.
    pub act: Pending,
    /// How often confirming failed.
    pub tries: u32,
    /// When the host goes home by itself.
    pub deadline: Timer,
    /// Whether the deadline has passed, and what peers say.
    pub asking: Asking,
    /// The service worked before, so a reload is enough where one would be.
    pub gentle: bool,
}

/// Steps from the change to its confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArmedStep {
    /// The directory link.
    Swap,
    /// Reload or restart.
    Restart,
    /// Local health.
    Health,
    /// Answer over a fresh connection.
    Confirm,
}

impl ArmedStep {
    /// As reported.
    pub fn phase(self) -> Phase {
        match self {
            ArmedStep::Swap => Phase::Swap,
            ArmedStep::Restart => Phase::Restart,
            ArmedStep::Health => Phase::Health,
            ArmedStep::Confirm => Phase::Confirm,
        }
    }
}

/// Whether the control plane is gone for others too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "asking", rename_all = "lowercase")]
pub enum Asking {
    /// The deadline has not passed.
    No,
    /// It has; peers are being asked.
    Peers {
        /// The question.
        next: Pending,
    },
    /// It is gone for them too: the healthy new bundle stays.
    Holding {
        /// The next question.
        next: Pending,
        /// So many times in a row a peer reached the control plane while this host did not.
        reached: u32,
    },
}

/// On the way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// Where to.
    pub target: Digest,
    /// What is left.
    pub from: Digest,
    /// On whose word.
    pub cause: Cause,
    /// How far the order had come.
    pub phase: Phase,
    /// Why.
    pub reason: String,
    /// How far the way back is.
    pub step: BackStep,
    /// The step's try.
    pub act: Pending,
    /// How often the way back failed.
    pub tries: u32,
    /// The service works at this moment, so a reload is enough where one would be.
    pub gentle: bool,
}

/// Who wants the host back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The host itself.
    Own,
    /// The control plane, by a rollback order.
    Ordered,
    /// A person, on the host.
    Person,
    /// The control plane, by a restart order: it stays where it is.
    Restart,
}

/// Steps on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackStep {
    /// The target's bytes are verified, and fetched again if they are damaged or missing.
    Stage,
    /// The directory link.
    Swap,
    /// Reload or restart.
    Restart,
    /// Local health.
    Health,
}

impl BackStep {
    /// As reported.
    pub fn phase(self) -> Phase {
        match self {
            BackStep::Stage => Phase::Stage,
            BackStep::Swap => Phase::Swap,
            BackStep::Restart => Phase::Restart,
            BackStep::Health => Phase::Health,
        }
    }
}

impl Slot {
    /// Generation 0.
    pub(crate) fn adopted(
        service: ServiceName,
        digest: Digest,
        empty: bool,
        at: Timestamp,
    ) -> Slot {
        let pending = |attempt| Pending {
            attempt,
            timer: Timer::none(at),
        };
        Slot {
            service,
            fence: Generation(0),
            origin: digest,
            origin_empty: empty,
            good: digest,
            running: digest,
            running_since: Generation(0),
            settled: true,
            kept: vec![digest],
            proven: vec![digest],
            known: BTreeMap::new(),
            place: None,
            dispatch: None,
            next: None,
            held_local: false,
            healthy: None,
            unhealthy_reason: String::new(),
            looks: Looks {
                good: 0,
                bad: 0,
                since: at,
                next: pending(1),
            },
            attempts: 1,
            work: Work::Watch(Watch {
                confirm: None,
                prune: None,
            }),
        }
    }

    /// The phase that is going on.
    pub fn phase(&self) -> Phase {
        match &self.work {
            Work::Watch(_) => Phase::Watch,
            Work::Prepare(prepare) => prepare.step.phase(),
            Work::Armed(armed) => armed.step.phase(),
            Work::Back(back) => back.step.phase(),
        }
    }

    /// Whether nothing is under way.
    pub fn is_at_rest(&self) -> bool {
        matches!(&self.work, Work::Watch(watch) if watch.confirm.is_none())
    }

    /// What may be live at this moment, or become so.
    pub fn subject(&self) -> Digest {
        match &self.work {
            Work::Armed(_) => self.ordered().unwrap_or(self.running),
            Work::Back(back) => back.from,
            Work::Watch(_) | Work::Prepare(_) => self.running,
        }
    }

    /// The newest order's generation; 0 before the first.
    pub fn generation(&self) -> Generation {
        let dispatch = self.dispatch.as_ref();
        dispatch.map_or(Generation(0), |d| d.order.generation)
    }

    /// The newest order's digest.
    pub fn ordered(&self) -> Option<Digest> {
        self.dispatch.as_ref().map(|d| d.order.digest)
    }

    /// What `digest` is put in use with.
    pub fn recipe(&self, digest: Digest) -> Option<&Recipe> {
        self.known.get(&digest)
    }

    /// The health check that applies to `digest`; where nothing was, nothing is asked.
    pub fn health_of(&self, digest: Digest) -> Option<&HealthCheck> {
        if self.is_nothing(digest) {
            return None;
        }
        self.recipe(digest)?.health.as_ref()
    }

    /// Whether `digest` is generation 0 and nothing was there.
    pub(crate) fn is_nothing(&self, digest: Digest) -> bool {
        self.origin_empty && digest == self.origin
    }

    /// Everything that must stay on disk.
    pub fn keep(&self) -> BTreeSet<Digest> {
        let mut keep: BTreeSet<Digest> = self.kept.iter().take(KEPT_MAX).copied().collect();
        keep.extend([self.origin, self.good, self.running, self.subject()]);
        keep.extend(self.ordered());
        keep.extend(self.next.as_ref().map(|d| d.order.digest));
        if let Work::Back(back) = &self.work {
            keep.insert(back.target);
        }
        if let Work::Prepare(Prepare {
            resume: Some(back), ..
        }) = &self.work
        {
            keep.insert(back.target);
        }
        keep
    }

    /// The span in which looks may be bad.
    pub(crate) fn grace(&self, digest: Digest) -> Millis {
        self.health_of(digest).map_or(Millis(0), |h| h.grace_ms)
    }
}
