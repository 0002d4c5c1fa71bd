//! What a release may do now.
//!
//! [`next`] looks at the newest wave: harm first, then hosts that can go, then
//! the bake. Harm counts on every host that the release reached, in every
//! environment, also while releases are frozen; going forward does not.

use std::collections::BTreeMap;

use model::verdict::Evidence;
use model::{HostName, Millis, Rule, StagePlan, Timestamp, Verdict};

use crate::gates::{self, Act, Demands, Gating, RehearsalHost};
use crate::{Release, Status};

/// How one host that the release reached looks from the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostLooks {
    /// Can be ordered.
    Ready,
    /// Can't be ordered now, and why: no agent, not heard from, or changing for another service.
    Blocked(String),
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
    /// Does harm, or went back.
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
    /// Why nothing goes forward in the current environment, if it is frozen.
    pub frozen: Option<String>,
    /// Why nothing enters the next one.
    pub frozen_next: Option<String>,
    /// How the bundle travels through the current environment.
    pub plan: &'a StagePlan,
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
    /// Go to the next environment, or be good.
    Advance,
    /// Something that a gate wants.
    Gate(Gating),
    /// People must be asked: the wave can't be judged.
    Hold(String),
    /// Turn back.
    RollBack(Verdict),
}

/// The next step of a release that is rolling; [`Step::Wait`] for any other.
pub fn next(release: &Release, outlook: &Outlook<'_>, now: Timestamp) -> Step {
    let Status::Rolling { held } = &release.status else {
        return Step::Wait(format!("release {} is over", release.id));
    };
    // No stage yet: the release enters its first environment.
    let Some(stage) = release.stage() else {
        return match harm(release, outlook) {
            Some(verdict) => Step::RollBack(verdict),
            None => advance(release, outlook, now),
        };
    };
    if let Some(verdict) = harm(release, outlook) {
        return Step::RollBack(verdict);
    }
    if stage.begun == stage.passed {
        if stage.begun == stage.waves.len() {
            return advance(release, outlook, now);
        }
        let wave = u32::try_from(stage.begun).unwrap_or(u32::MAX);
        return frozen_or(outlook, Step::StartWave(wave));
    }
    let wave = &stage.waves[stage.begun - 1];
    let place = format!(
        "{} wave {} of {}",
        stage.environment,
        stage.begun,
        stage.waves.len()
    );
    if let Some(step) = apply(&wave.hosts, outlook, &place) {
        return step;
    }
    bake(stage.baking_since, held.as_deref(), outlook, &place, now)
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

/// Hard rules first, the judge's word after.
fn harm(release: &Release, outlook: &Outlook<'_>) -> Option<Verdict> {
    let failed = release
        .reached()
        .find_map(|(_, host)| match outlook.hosts.get(host) {
            Some(HostLooks::Failed { rule, reason }) => Some(Verdict::Fail {
                rule: *rule,
                reason: format!("{host}: {reason}"),
                evidence: Evidence::default(),
            }),
            Some(
                HostLooks::Ready
                | HostLooks::Blocked(_)
                | HostLooks::Ordered
                | HostLooks::Confirmed
                | HostLooks::Rehearsing
                | HostLooks::Silent { .. },
            )
            | None => None,
        });
    let judged = || match &outlook.verdict {
        verdict @ Verdict::Fail { .. } => Some(verdict.clone()),
        Verdict::Pass { .. } | Verdict::Insufficient { .. } => None,
    };
    let ahead = outlook.gates.as_ref();
    failed
        .or_else(judged)
        .or_else(|| gates::failure(release, &ahead?.demands))
}

/// Orders what can be ordered; `None` once every host of the wave is confirmed.
fn apply(hosts: &[HostName], outlook: &Outlook<'_>, place: &str) -> Option<Step> {
    let looks = |host: &HostName| outlook.hosts.get(host);
    let changing = hosts
        .iter()
        .filter(|host| matches!(looks(host), Some(HostLooks::Ordered)))
        .count();
    let room = (outlook.plan.parallel.max(1) as usize).saturating_sub(changing);
    let ready: Vec<HostName> = hosts
        .iter()
        .filter(|host| matches!(looks(host), Some(HostLooks::Ready)))
        .take(room)
        .cloned()
        .collect();
    if !ready.is_empty() {
        return Some(frozen_or(outlook, Step::Order(ready)));
    }
    let blocked = hosts.iter().find_map(|host| match looks(host) {
        Some(HostLooks::Blocked(reason)) => Some(reason.clone()),
        Some(
            HostLooks::Ready
            | HostLooks::Ordered
            | HostLooks::Confirmed
            | HostLooks::Rehearsing
            | HostLooks::Silent { .. }
            | HostLooks::Failed { .. },
        ) => None,
        None => Some(format!("{host} is not in the topology any more")),
    });
    if changing > 0 {
        let hosts = if changing == 1 {
            "1 host applies"
        } else {
            &*format!("{changing} hosts apply")
        };
        let wait = format!("{place}: {hosts} it");
        return Some(Step::Wait(wait));
    }
    blocked.map(|reason| Step::Wait(format!("{place} waits: {reason}")))
}

fn bake(
    since: Option<Timestamp>,
    held: Option<&str>,
    outlook: &Outlook<'_>,
    place: &str,
    now: Timestamp,
) -> Step {
    let silent = outlook.hosts.values().find_map(|looks| match looks {
        HostLooks::Silent { reason } => Some(reason.clone()),
        HostLooks::Ready
        | HostLooks::Blocked(_)
        | HostLooks::Ordered
        | HostLooks::Confirmed
        | HostLooks::Rehearsing
        | HostLooks::Failed { .. } => None,
    });
    let Some(since) = since else {
        return Step::Wait(format!("{place}: its hosts are confirming"));
    };
    let baked = Millis::between(since, now);
    let left = Millis(outlook.plan.bake_ms.0.saturating_sub(baked.0));
    let needs = match (&outlook.verdict, silent) {
        (_, Some(reason)) => reason,
        (Verdict::Insufficient { needs }, None) => needs.clone(),
        (verdict, None) if left == Millis(0) => return Step::Pass(verdict.clone()),
        (_, None) => {
            return Step::Wait(format!("{place} bakes for {left} more"));
        }
    };
    if held.is_none() && baked >= outlook.plan.bake_max_ms.max(outlook.plan.bake_ms) {
        return Step::Hold(needs);
    }
    match held {
        Some(_) => Step::Wait(format!("{place} is held: it waits for {needs}")),
        None => Step::Wait(format!("{place} waits for {needs}")),
    }
}
