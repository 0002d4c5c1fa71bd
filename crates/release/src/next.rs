//! What a release may do now.
//!
//! [`next`] looks at the newest wave: harm first, then hosts that can go, then
//! the bake. Harm counts on every host that the release reached, in every
//! environment, also while releases are frozen; going forward does not.

use std::collections::BTreeMap;

use model::{HostName, Millis, Rule, StagePlan, Timestamp, Verdict};

use crate::gates::{self, Act, Demands, Gating, RehearsalHost};
use crate::harm::{self, Harm};
use crate::{Release, Stage, Status};

/// How one host that the release reached looks from the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostLooks {
    /// Can be ordered.
    Ready,
    /// Can't be ordered now, and why: no agent, not heard from, or changing for another service.
    Blocked(String),
    /// Gets no new requests, and will be ordered once it has none left.
    Draining {
        /// What that waits for, in words.
        reason: String,
    },
    /// Has none left: can be ordered, and is the next to be.
    Drained,
    /// Ordered, and still has time to confirm.
    Ordered,
    /// Runs the bundle and is healthy as far as is known.
    Confirmed,
    /// Runs the bundle, but has not been heard from for a while: not healthy, not failed.
    Silent {
        /// In words.
        reason: String,
    },
    /// Goes back and forth on purpose; the rehearsal looks at it.
    Rehearsing,
    /// Did not take the bundle, and runs what it ran before.
    Back {
        /// In words.
        reason: String,
    },
    /// Does harm, or may.
    Failed {
        /// Which rule says so.
        rule: Rule,
        /// In words.
        reason: String,
    },
}

/// What [`next`] looks at.
#[derive(Debug, Clone)]
pub struct Outlook<'a> {
    /// How hosts look that the release reached, or is about to reach.
    pub hosts: BTreeMap<HostName, HostLooks>,
    /// What the judge says of the newest wave.
    pub verdict: Verdict,
    /// What is said of the release because the whole fleet fails since it went on.
    pub fleet: Option<Verdict>,
    /// Hosts of the environment that don't run the bundle: how many exit again and again, and of how many.
    pub control_looping: (usize, usize),
    /// Why nothing goes forward in the current environment, if it is frozen.
    pub frozen: Option<String>,
    /// Why nothing enters the next one.
    pub frozen_next: Option<String>,
    /// How the bundle travels through the current environment.
    pub plan: &'a StagePlan,
    /// Going back would do more harm than waiting: only people send it back.
    pub irreversible: bool,
    /// A wave that can't be judged in time passes: the plan says so, requests were
    /// counted, nothing speaks against it, and the change is not of high risk.
    pub passes_undecided: bool,
    /// What is still between the release and the last environment; absent once it is there.
    pub gates: Option<GatesAhead>,
}

/// Gates that a release has not left behind.
#[derive(Debug, Clone)]
pub struct GatesAhead {
    /// What they demand.
    pub demands: Demands,
    /// How the rehearsing host looks.
    pub rehearsing: Option<RehearsalHost>,
    /// The next environment is the last.
    pub next_is_last: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet, and why, in one sentence.
    Wait(String),
    /// Order these hosts to the bundle.
    Order(Vec<HostName>),
    /// Begin the stage's next wave (also its first).
    StartWave(u32),
    /// The newest wave passed.
    Pass(Verdict),
    /// It passed without enough evidence, because the plan says so; what was still needed.
    PassUndecided(String),
    /// Go to the next environment, or be good.
    Advance,
    /// Something that a gate wants.
    Gate(Gating),
    /// People must be asked: the wave can't be judged.
    Hold(String),
    /// People must be asked: it does harm, and only they may send it back.
    Stop(Verdict),
    /// Turn back.
    RollBack(Verdict),
}

/// The next step of a release that is rolling; [`Step::Wait`] for any other.
pub fn next(release: &Release, outlook: &Outlook<'_>, now: Timestamp) -> Step {
    let Status::Rolling { held } = &release.status else {
        return Step::Wait(format!("release {} is over", release.id));
    };
    let harm = harm::harm(release, outlook, now);
    // No stage yet: the release enters its first environment, and there is nothing that going back could hurt.
    let Some(stage) = release.stage() else {
        return match harm {
            Some(harm) => Step::RollBack(harm.verdict),
            None => advance(release, outlook, now),
        };
    };
    let place = place(stage);
    let turn_back = |harm: Harm| match outlook.irreversible {
        false => Step::RollBack(harm.verdict),
        true => stop(stage, held.as_deref(), harm, &place),
    };
    if let Some(harm) = harm {
        return turn_back(harm);
    }
    if let Some(reason) = &release.shifted {
        return Step::Wait(format!(
            "{place} is held: {reason}; continue it or send it back"
        ));
    }
    let reached = stage.waves.iter().take(stage.begun);
    let reached: Vec<&HostName> = reached.flat_map(|wave| &wave.hosts).collect();
    let Some(wave) = stage.open_wave() else {
        // Of a wave that a person passed some hosts may not have been ordered yet.
        if let Some(step) = order(&reached, outlook, &place) {
            return step;
        }
        if stage.begun == stage.waves.len() {
            return match advance(release, outlook, now) {
                Step::RollBack(verdict) => Harm::of(verdict).map_or(Step::Advance, turn_back),
                step => step,
            };
        }
        let wave = u32::try_from(stage.begun).unwrap_or(u32::MAX);
        return frozen_or(outlook, Step::StartWave(wave));
    };
    if let Some(step) = order(&reached, outlook, &place) {
        return step;
    }
    if let Some(reason) = blocked(&wave.hosts, outlook) {
        return Step::Wait(format!("{place} waits: {reason}"));
    }
    bake(stage, held.as_deref(), outlook, &place, now)
}

fn place(stage: &Stage) -> String {
    format!(
        "{} wave {} of {}",
        stage.environment,
        stage.begun,
        stage.waves.len()
    )
}

/// Harm that no machine may answer by going back: people are asked, once for each wave.
fn stop(stage: &Stage, held: Option<&str>, harm: Harm, place: &str) -> Step {
    // Held without a verdict before, people don't know yet that there is harm.
    match held.filter(|_| stage.failed || stage.begun == 0) {
        // As they were asked, with what they can do about it.
        Some(needs) => Step::Wait(format!("{place} is held: it waits for {needs}")),
        None => Step::Stop(harm.verdict),
    }
}

/// Into the next environment: the last one only through every gate.
fn advance(release: &Release, outlook: &Outlook<'_>, now: Timestamp) -> Step {
    let open = match &outlook.frozen_next {
        Some(reason) => Step::Wait(reason.clone()),
        None => Step::Advance,
    };
    let Some(ahead) = outlook.gates.as_ref().filter(|ahead| ahead.next_is_last) else {
        return open;
    };
    if release.stages.is_empty() {
        return Step::Wait("there is no environment before the last one to test it in".into());
    }
    match gates::step(release, &ahead.demands, ahead.rehearsing.as_ref(), now) {
        Gating::Wait(reason) => Step::Wait(reason),
        Gating::Fail(verdict) => Step::RollBack(verdict),
        Gating::Open => open,
        // A freeze holds what would send a host forward; going back and writing down go on.
        wants @ (Gating::Rehearse(_) | Gating::Mix | Gating::Act(Act::Forward(..))) => {
            frozen_or(outlook, Step::Gate(wants))
        }
        wants @ (Gating::Act(Act::Back(..) | Act::Ended(..))
        | Gating::Seal
        | Gating::Recheck(_)) => Step::Gate(wants),
    }
}

fn frozen_or(outlook: &Outlook<'_>, step: Step) -> Step {
    match &outlook.frozen {
        Some(reason) => Step::Wait(reason.clone()),
        None => step,
    }
}

/// Orders what can be ordered, and waits for hosts that carry it out; `None` once there are none.
fn order(hosts: &[&HostName], outlook: &Outlook<'_>, place: &str) -> Option<Step> {
    let looks = |host: &HostName| outlook.hosts.get(host);
    let that = |wanted: fn(&HostLooks) -> bool| {
        let hosts = hosts.iter().copied();
        hosts.filter(move |host| looks(host).is_some_and(wanted))
    };
    let changing = that(|it| matches!(it, HostLooks::Ordered)).count();
    let drains = |it: &HostLooks| matches!(it, HostLooks::Draining { .. } | HostLooks::Drained);
    let room = outlook.plan.parallel.max(1) as usize;
    let room = room.saturating_sub(changing + that(drains).count());
    // Whoever was taken out of the routes is not left there for another's sake.
    let drained = that(|it| matches!(it, HostLooks::Drained));
    let ready = that(|it| matches!(it, HostLooks::Ready)).take(room);
    let next: Vec<HostName> = drained.chain(ready).cloned().collect();
    if !next.is_empty() {
        return Some(frozen_or(outlook, Step::Order(next)));
    }
    let draining = hosts.iter().find_map(|host| match looks(host) {
        Some(HostLooks::Draining { reason }) => Some(reason),
        _ => None,
    });
    if let Some(reason) = draining {
        return Some(Step::Wait(format!("{place} waits for {reason}")));
    }
    match changing {
        0 => None,
        1 => Some(Step::Wait(format!("{place}: 1 host applies it"))),
        _ => Some(Step::Wait(format!("{place}: {changing} hosts apply it"))),
    }
}

/// Why a host of the wave can't be ordered.
fn blocked(hosts: &[HostName], outlook: &Outlook<'_>) -> Option<String> {
    hosts.iter().find_map(|host| match outlook.hosts.get(host) {
        Some(HostLooks::Blocked(reason)) => Some(reason.clone()),
        Some(
            HostLooks::Ready
            | HostLooks::Draining { .. }
            | HostLooks::Drained
            | HostLooks::Ordered
            | HostLooks::Confirmed
            | HostLooks::Rehearsing
            | HostLooks::Silent { .. }
            | HostLooks::Back { .. }
            | HostLooks::Failed { .. },
        ) => None,
        None => Some(format!("{host} is not in the topology any more")),
    })
}

fn bake(
    stage: &Stage,
    held: Option<&str>,
    outlook: &Outlook<'_>,
    place: &str,
    now: Timestamp,
) -> Step {
    let bake_max = outlook.plan.bake_max_ms.max(outlook.plan.bake_ms);
    let unclear = harm::unclear(stage, outlook);
    let left_out = harm::left_out(stage, outlook);
    let Some(since) = stage.baking_since else {
        let none = left_out.map(|_| "one host at least that takes the bundle".to_owned());
        let needs = unclear
            .or(none)
            .unwrap_or_else(|| "its hosts to confirm".into());
        let overdue = Millis::between(stage.wave_began_at, now) >= bake_max;
        return hold_or_wait(overdue, held, needs, place);
    };
    let and = left_out.map_or(String::new(), |left_out| format!("; {left_out}"));
    let baked = Millis::between(since, now);
    let left = Millis(outlook.plan.bake_ms.0.saturating_sub(baked.0));
    let overdue = baked >= bake_max;
    let needs = match (outlook.verdict.clone(), unclear) {
        (_, Some(reason)) => reason,
        (Verdict::Insufficient { needs }, None) if overdue && outlook.passes_undecided => {
            return Step::PassUndecided(needs);
        }
        (Verdict::Insufficient { needs }, None) => needs,
        (verdict @ Verdict::Pass { .. }, None) if left == Millis(0) => {
            return Step::Pass(verdict);
        }
        (Verdict::Pass { .. }, None) => {
            return Step::Wait(format!("{place} bakes for {left} more{and}"));
        }
        // Harm that a person has seen; what the wave adds to it they are told at its end.
        (Verdict::Fail { reason, .. }, None) => {
            return Step::Wait(format!("{place} bakes for {left} more; {reason}"));
        }
    };
    hold_or_wait(overdue, held, format!("{needs}{and}"), place)
}

/// People are asked once, when it takes too long.
fn hold_or_wait(overdue: bool, held: Option<&str>, needs: String, place: &str) -> Step {
    match held {
        None if overdue => Step::Hold(needs),
        None => Step::Wait(format!("{place} waits for {needs}")),
        Some(_) => Step::Wait(format!("{place} is held: it waits for {needs}")),
    }
}
