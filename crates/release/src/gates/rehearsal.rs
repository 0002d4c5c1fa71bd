//! A test host goes back and forth again, before production depends on the way back.
//!
//! Each step is an ordinary order, so what is rehearsed is the real thing:
//! signed, fenced, staged to the byte, restarted, healthy, confirmed.

use model::gate::{Demand, RehearsalStep, StepResult};
use model::{Digest, Gate, HostName, Millis, Rule, Timestamp};

use super::{Demands, Gating, LOAD_WITHIN, no};
use crate::Release;
use crate::state::Rehearsal;

/// How the rehearsing host looks: its newest order, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RehearsalHost {
    /// What the newest order named.
    pub ordered: Digest,
    /// When it was given.
    pub ordered_at: Timestamp,
    /// What became of it.
    pub state: Came,
    /// Where this host goes back to from the release.
    pub home: Digest,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// Not known yet.
    Open,
    /// Confirmed and healthy.
    Done {
        /// When.
        at: Timestamp,
    },
    /// Failed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What a rehearsal wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// An order back to this bundle.
    Back(HostName, Digest),
    /// An order forward to this bundle.
    Forward(HostName, Digest),
    /// A step ended.
    Ended(HostName, StepResult),
}

/// The steps of a rehearsal.
pub fn program(matrix: bool) -> &'static [RehearsalStep] {
    const PLAIN: &[RehearsalStep] = &[RehearsalStep::Revert, RehearsalStep::Reapply];
    const MIXED: &[RehearsalStep] = &[
        RehearsalStep::Revert,
        RehearsalStep::Reapply,
        RehearsalStep::OldFiles,
        RehearsalStep::OldPackages,
        RehearsalStep::Restore,
    ];
    if matrix { MIXED } else { PLAIN }
}

impl Demands {
    /// Whether mixed bundles are tried.
    pub(super) fn mixes(&self) -> bool {
        self.matrix != Demand::Off && self.mixed.is_some() && !self.waived.contains(&Gate::Matrix)
    }
}

impl Rehearsal {
    /// The step under way; `None` once all are done.
    pub fn current(&self) -> Option<RehearsalStep> {
        program(self.mixed.is_some()).get(self.steps.len()).copied()
    }
}

/// The next step; `None` once the rehearsal is over, or not demanded.
pub(super) fn step(
    release: &Release,
    demands: &Demands,
    host: Option<&RehearsalHost>,
    now: Timestamp,
) -> Option<Gating> {
    let chosen = demands.rehearsal.as_ref()?;
    if demands.waived.contains(&Gate::Rehearsal) {
        return None;
    }
    let Some(rehearsal) = &release.seen.rehearsal else {
        return Some(Gating::Rehearse(chosen.clone()));
    };
    if let Some(verdict) = failed(rehearsal, demands) {
        return Some(Gating::Fail(verdict));
    }
    let Some(step) = rehearsal.current() else {
        if demands.mixes() && rehearsal.mixed.is_none() {
            return Some(Gating::Mix);
        }
        return load(rehearsal, demands, now);
    };
    let name = &rehearsal.host;
    let Some(host) = host else {
        let wait = format!("rehearsal: {name} is not there any more");
        return Some(Gating::Wait(wait));
    };
    let target = match (step, rehearsal.mixed) {
        (RehearsalStep::Revert, _) => host.home,
        (RehearsalStep::OldFiles, Some((old_files, _))) => old_files,
        (RehearsalStep::OldPackages, Some((_, old_packages))) => old_packages,
        (RehearsalStep::Reapply | RehearsalStep::Restore, _)
        | (RehearsalStep::OldFiles | RehearsalStep::OldPackages, None) => release.digest,
    };
    let begun = host.ordered == target && host.ordered_at >= rehearsal.stepped_at;
    if !begun {
        let act = match step {
            RehearsalStep::Revert => Act::Back(name.clone(), target),
            RehearsalStep::Reapply
            | RehearsalStep::OldFiles
            | RehearsalStep::OldPackages
            | RehearsalStep::Restore => Act::Forward(name.clone(), target),
        };
        return Some(Gating::Act(act));
    }
    let ended = |took_ms, failure| {
        let result = StepResult {
            step,
            took_ms,
            failure,
        };
        Some(Gating::Act(Act::Ended(name.clone(), result)))
    };
    match &host.state {
        Came::Open => Some(Gating::Wait(format!("rehearsal on {name}: {step}"))),
        Came::Done { at } => ended(Millis::between(host.ordered_at, *at), None),
        Came::Failed { reason } => {
            ended(Millis::between(host.ordered_at, now), Some(reason.clone()))
        }
    }
}

/// A step that failed, if that stops the release.
fn failed(rehearsal: &Rehearsal, demands: &Demands) -> Option<model::Verdict> {
    rehearsal.steps.iter().find_map(|result| {
        let host = &rehearsal.host;
        let late = demands
            .revert_within
            .filter(|within| result.step == RehearsalStep::Revert && result.took_ms > *within);
        let reason = match (&result.failure, late) {
            (Some(failure), _) => format!("{host}, {}: {failure}", result.step),
            (None, Some(within)) => format!(
                "{host} took {} to go back; at most {within} is allowed",
                result.took_ms
            ),
            (None, None) => return None,
        };
        match result.step {
            RehearsalStep::Revert | RehearsalStep::Reapply | RehearsalStep::Restore => {
                Some(no(Rule::Rehearsal, reason))
            }
            RehearsalStep::OldFiles | RehearsalStep::OldPackages => {
                (demands.matrix == Demand::Require).then(|| no(Rule::Matrix, reason))
            }
        }
    })
}

/// Totals of the load are waited for a while; without them the rehearsal counts all the same.
fn load(rehearsal: &Rehearsal, demands: &Demands, now: Timestamp) -> Option<Gating> {
    let waited = Millis::between(rehearsal.stepped_at, now);
    let wanted = demands.load && rehearsal.load.is_none() && waited < LOAD_WITHIN;
    wanted.then(|| Gating::Wait("rehearsal: its load is being added up".into()))
}
