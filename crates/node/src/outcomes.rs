//! What outcomes of effects mean.
//!
//! Invariant: an outcome whose id is no longer pending means nothing, so late
//! and repeated ones do no harm.

use model::{Digest, Phase, ReportKind};

use crate::decide::{Deciding, bounded};
use crate::due::Doing;
use crate::host::{Armed, ArmedStep, Asking, Back, BackStep, Cause, PrepareStep, Slot, Work};
use crate::message::{EffectId, Outcome, SlotEvent};
use crate::timer::Timer;

/// While a host holds, a peer must get through so often in a row, and the host
/// itself not, before it is the host's own doing. Once could be a moment's luck.
const REACHED_MAX: u32 = 3;

impl Deciding<'_> {
    pub(crate) fn outcome(&mut self, id: &EffectId, outcome: Outcome) {
        let Some(slot) = self.host.slots.get(&id.service) else {
            return;
        };
        let Some(doing) = slot.find(id) else {
            return;
        };
        if doing == Doing::Look {
            return self.look(slot, outcome);
        }
        match &slot.work {
            Work::Watch(_) => self.watched(slot, doing, &outcome),
            Work::Prepare(prepare) => self.prepared(slot, prepare.step, outcome),
            Work::Armed(armed) => match doing {
                Doing::AskPeers => self.peers(slot, armed, &outcome),
                Doing::Swap
                | Doing::Restart
                | Doing::Confirm
                | Doing::Stage
                | Doing::Check
                | Doing::WayHome
                | Doing::Look
                | Doing::Prune => self.armed(slot, armed, outcome),
            },
            Work::Back(back) => self.back(slot, back, outcome),
        }
    }

    fn watched(&mut self, slot: &Slot, doing: Doing, outcome: &Outcome) {
        // Somebody changed it by hand since. An order to go back is an order to be there, so it is mended.
        if let (Doing::Confirm, Outcome::Astray { reason }) = (doing, outcome) {
            let event = SlotEvent::TurnedBack {
                target: slot.running,
                cause: Cause::Ordered,
                phase: Phase::Watch,
                reason: bounded(reason),
            };
            return self.push(&slot.service, event);
        }
        let done = *outcome == Outcome::Done;
        let event = match (doing, done) {
            (Doing::Prune, done) => SlotEvent::Pruned { done },
            (_, true) => SlotEvent::Confirmed,
            // The rollback is in force; that the control plane doesn't know yet changes nothing here.
            (_, false) => SlotEvent::ConfirmFailed,
        };
        self.push(&slot.service, event);
    }

    fn prepared(&mut self, slot: &Slot, step: PrepareStep, outcome: Outcome) {
        if let Some(reason) = failure(outcome) {
            self.push(&slot.service, SlotEvent::Declined);
            return self.declined(slot, slot.generation(), step.phase(), &reason);
        }
        let checked = slot.ordered().and_then(|digest| slot.recipe(digest));
        let check = checked.is_some_and(|recipe| recipe.commands.check.is_some());
        let event = match step {
            PrepareStep::Stage if check => SlotEvent::Preparing {
                step: PrepareStep::Check,
            },
            PrepareStep::Stage | PrepareStep::Check => SlotEvent::Preparing {
                step: PrepareStep::WayHome,
            },
            PrepareStep::WayHome => SlotEvent::Armed,
        };
        self.push(&slot.service, event);
    }

    fn armed(&mut self, slot: &Slot, armed: &Armed, outcome: Outcome) {
        let step = armed.step;
        let refused = matches!(outcome, Outcome::Refused { .. });
        let event = match (step, failure(outcome)) {
            (ArmedStep::Swap, None) => SlotEvent::Swapped { to: slot.subject() },
            (ArmedStep::Restart, None) => SlotEvent::Applied,
            (ArmedStep::Health, None) => SlotEvent::Healthy,
            (ArmedStep::Confirm, None) => SlotEvent::Confirmed,
            (ArmedStep::Confirm, Some(_)) if !refused => SlotEvent::ConfirmFailed,
            (
                ArmedStep::Swap | ArmedStep::Restart | ArmedStep::Health | ArmedStep::Confirm,
                Some(reason),
            ) => return self.turn_back(slot, step.phase(), &reason),
        };
        self.push(&slot.service, event);
    }

    fn peers(&mut self, slot: &Slot, armed: &Armed, outcome: &Outcome) {
        let (reach, cut_off) = match outcome {
            Outcome::Peers { reach, cut_off } => (*reach, *cut_off),
            Outcome::Done
            | Outcome::Failed { .. }
            | Outcome::Refused { .. }
            | Outcome::Astray { .. } => (0, 0),
        };
        let before = match armed.asking {
            Asking::Holding { reached, .. } => Some(reached),
            Asking::No | Asking::Peers { .. } => None,
        };
        let within = armed.deadline.pause_ms;
        let problem = match before {
            None if reach > 0 => Some(format!(
                "not confirmed within {within}, while a peer reaches the control plane"
            )),
            None if cut_off == 0 => Some(format!(
                "not confirmed within {within}, and no peer answered"
            )),
            Some(reached) if reach > 0 && reached.saturating_add(1) >= REACHED_MAX => Some(
                "held while the control plane was gone; now peers reach it and this host does not"
                    .into(),
            ),
            None | Some(_) => None,
        };
        if let Some(problem) = problem {
            return self.turn_back(slot, Phase::Confirm, &problem);
        }
        let reached = reach > 0;
        self.push(&slot.service, SlotEvent::Held { reached });
        if before.is_none() {
            let running = slot.running;
            let kind = ReportKind::Holding { running };
            self.report(&slot.service, slot.generation(), kind);
        }
    }

    fn back(&mut self, slot: &Slot, back: &Back, outcome: Outcome) {
        if let Some(reason) = failure(outcome) {
            // There is nothing to run where nothing was: its restart may well fail.
            let nothing = slot.is_nothing(back.target) && back.step == BackStep::Restart;
            if !nothing {
                return self.back_failed(slot, back, &reason);
            }
        }
        if back.step == BackStep::Swap {
            let to = back.target;
            self.push(&slot.service, SlotEvent::Swapped { to });
        }
        match after(slot, back) {
            Some(step) => self.push(&slot.service, SlotEvent::Returning { step }),
            None => self.returned(slot, back),
        }
    }

    fn returned(&mut self, slot: &Slot, back: &Back) {
        self.push(&slot.service, SlotEvent::Returned);
        match back.cause {
            // The confirmation says it.
            Cause::Ordered | Cause::Restart => {}
            Cause::Own | Cause::Person => {
                let kind = ReportKind::Reverted {
                    from: back.from,
                    to: back.target,
                    phase: back.phase,
                    reason: back.reason.clone(),
                };
                self.report(&slot.service, slot.generation(), kind);
            }
        }
    }

    fn look(&mut self, slot: &Slot, outcome: Outcome) {
        let problem = failure(outcome);
        let healthy = problem.is_none();
        let reason = bounded(&problem.unwrap_or_default());
        let event = SlotEvent::Looked {
            healthy,
            reason: reason.clone(),
        };
        self.push(&slot.service, event);
        match &slot.work {
            Work::Watch(_) | Work::Prepare(_) => self.watch_looked(slot, healthy, reason),
            Work::Armed(armed) => self.armed_looked(slot, armed, healthy, &reason),
            Work::Back(back) => match self.settling(slot, back.target, healthy) {
                Settling::Works => self.returned(slot, back),
                Settling::Broken => self.back_failed(slot, back, &reason),
                Settling::Open => {}
            },
        }
    }

    fn armed_looked(&mut self, slot: &Slot, armed: &Armed, healthy: bool, reason: &str) {
        if armed.step == ArmedStep::Confirm {
            let bad = slot.looks.bad.saturating_add(1);
            if !healthy && bad >= threshold(slot, slot.subject()) {
                let reason = format!("healthy at first, then not: {reason}");
                self.turn_back(slot, Phase::Health, &reason);
            }
            return;
        }
        match self.settling(slot, slot.subject(), healthy) {
            Settling::Works => self.push(&slot.service, SlotEvent::Healthy),
            Settling::Broken => {
                let grace = slot.grace(slot.subject());
                let reason = format!("not healthy within {grace}: {reason}");
                self.turn_back(slot, Phase::Health, &reason);
            }
            Settling::Open => {}
        }
    }

    fn watch_looked(&mut self, slot: &Slot, healthy: bool, reason: String) {
        let row = if healthy {
            slot.looks.good
        } else {
            slot.looks.bad
        };
        let enough = row.saturating_add(1) >= threshold(slot, slot.running);
        if !enough || slot.healthy == Some(healthy) {
            return;
        }
        self.push(&slot.service, SlotEvent::HealthChanged { healthy });
        // The first good look after a start is what everybody expects; only changes are news.
        if slot.healthy.is_some() || !healthy {
            let kind = ReportKind::Health {
                running: slot.running,
                healthy,
                reason,
            };
            self.report(&slot.service, slot.running_since, kind);
        }
    }

    /// What one more look says of a service that was just put in use.
    fn settling(&self, slot: &Slot, digest: Digest, healthy: bool) -> Settling {
        if healthy {
            let enough = slot.looks.good.saturating_add(1) >= threshold(slot, digest);
            return if enough {
                Settling::Works
            } else {
                Settling::Open
            };
        }
        let grace = Timer::of(slot.looks.since, slot.grace(digest));
        if grace.over(self.now) {
            Settling::Broken
        } else {
            Settling::Open
        }
    }
}

enum Settling {
    Works,
    Broken,
    Open,
}

fn threshold(slot: &Slot, digest: Digest) -> u32 {
    slot.health_of(digest).map_or(1, |h| h.threshold.max(1))
}

fn failure(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Done => None,
        Outcome::Failed { reason } | Outcome::Astray { reason } => Some(reason),
        Outcome::Refused { reason } => Some(format!("refused by the control plane: {reason}")),
        Outcome::Peers { .. } => Some("an answer to another question".into()),
    }
}

/// The step after the one that is done; none: the host is back.
fn after(slot: &Slot, back: &Back) -> Option<BackStep> {
    let to = back.target;
    let health = slot.health_of(to).map(|_| BackStep::Health);
    match back.step {
        BackStep::Stage => Some(BackStep::Swap),
        BackStep::Swap => match slot.restart(back.from, to, back.gentle) {
            Some(_) => Some(BackStep::Restart),
            None => health,
        },
        BackStep::Restart => health,
        BackStep::Health => None,
    }
}
