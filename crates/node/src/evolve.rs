//! The fold: events change the state, and can't fail.
//!
//! Invariant: total. An event that doesn't fit the state (which `decide` never
//! gives) changes nothing but counters.

use jiff::Timestamp;

use model::order::Dispatch;
use model::{Digest, HostName, Millis, Report, ReportKind};

use crate::host::{
    Armed, ArmedStep, Asking, Back, BackStep, Confirm, Host, KEPT_MAX, Looks, Pending, Place,
    Prepare, PrepareStep, Recipe, Slot, Watch, Work,
};
use crate::message::{NodeEvent, SlotEvent};
use crate::timer::{Timer, backoff};

/// So many reports wait for the control plane: some hours of a host in trouble.
/// Past it the oldest health report goes, then the oldest of any kind.
pub const OUTBOX_MAX: usize = 256;
/// Pauses between tries to confirm before the deadline: often enough to use every moment of it.
const CONFIRM_ARMED: (Millis, Millis) = (Millis(200), Millis(2000));
/// Pauses between tries to confirm a rollback: it is in force already, so there is no haste.
const CONFIRM_WATCH: (Millis, Millis) = (Millis(500), Millis(30_000));
/// Pauses between tries to go back: for ever, but not so often as to be a load of its own.
const BACK: (Millis, Millis) = (Millis(500), Millis(30_000));
/// Peers are asked again this long after the host began to hold.
const ASK_AGAIN: Millis = Millis(10_000);
/// Old trees that can't be removed are tried again after this long.
const PRUNE_AGAIN: Millis = Millis(600_000);

/// Folds one event into the state.
pub fn evolve(host: &mut Host, event: &NodeEvent) {
    match event {
        NodeEvent::Reported { report } => {
            host.next_report = host.next_report.max(report.number.saturating_add(1));
            put(host, report);
        }
        NodeEvent::Acknowledged { through } => {
            host.outbox.retain(|report| report.number > *through);
            // A host that lost its disk learns here how far its numbers had come.
            host.next_report = host.next_report.max(through.saturating_add(1));
        }
        NodeEvent::Gated => {
            host.gated = true;
            // Nobody asked what these bring.
            host.slots.values_mut().for_each(|slot| slot.next = None);
        }
        NodeEvent::StrangerDeclined {
            service,
            generation,
        } => {
            host.strangers.insert(service.clone(), *generation);
        }
        NodeEvent::Slot { service, at, event } => {
            if let SlotEvent::Adopted { digest, empty } = event {
                let slot = || Slot::adopted(service.clone(), *digest, *empty, *at);
                host.slots.entry(service.clone()).or_insert_with(slot);
            } else if let Some(slot) = host.slots.get_mut(service) {
                slot.evolve(&host.name, *at, event);
            }
        }
    }
}

/// Queues a report. News of the same kind about the same thing takes the place
/// of older news, so that a host that is cut off for days doesn't fill its disk.
fn put(host: &mut Host, report: &Report) {
    let replaces = |old: &Report| {
        old.service == report.service
            && old.generation == report.generation
            && match (&old.kind, &report.kind) {
                (ReportKind::Health { .. }, ReportKind::Health { .. })
                | (ReportKind::RevertFailing { .. }, ReportKind::RevertFailing { .. }) => true,
                (
                    ReportKind::Declined { .. }
                    | ReportKind::Reverted { .. }
                    | ReportKind::RevertFailing { .. }
                    | ReportKind::Holding { .. }
                    | ReportKind::Health { .. },
                    _,
                ) => false,
            }
    };
    host.outbox.retain(|old| !replaces(old));
    if host.outbox.len() >= OUTBOX_MAX {
        let health = |report: &Report| matches!(report.kind, ReportKind::Health { .. });
        let oldest = host.outbox.iter().position(health).unwrap_or(0);
        host.outbox.remove(oldest);
    }
    host.outbox.push_back(report.clone());
}

impl Slot {
    fn pending(&mut self, at: Timestamp, pause: Millis) -> Pending {
        self.attempts = self.attempts.saturating_add(1);
        Pending {
            attempt: self.attempts,
            timer: Timer::of(at, pause),
        }
    }

    fn pause(&self, host: &HostName, tries: u32, bounds: (Millis, Millis)) -> Millis {
        backoff(host, &self.service, self.attempts, tries, bounds)
    }

    fn fresh_looks(&mut self, at: Timestamp) {
        let next = self.pending(at, Millis(0));
        self.looks = Looks {
            good: 0,
            bad: 0,
            since: at,
            next,
        };
    }

    fn hold_good(&mut self, digest: Digest) {
        self.prove(digest);
        self.good = digest;
        self.kept.retain(|kept| *kept != digest);
        self.kept.insert(0, digest);
        self.kept.truncate(KEPT_MAX);
    }

    fn watch(&mut self, at: Timestamp, confirm: bool) {
        let confirm = confirm.then(|| Confirm {
            tries: 0,
            next: self.pending(at, Millis(0)),
        });
        let prune = Some(self.pending(at, Millis(0)));
        self.work = Work::Watch(Watch { confirm, prune });
    }

    fn take(&mut self, dispatch: &Dispatch) {
        let order = &dispatch.order;
        self.fence = self.fence.max(order.generation);
        self.next = None;
        self.held_local = false;
        self.place = Some(Place {
            environment: order.environment.clone(),
            zone: order.zone.clone(),
            address: order.address.clone(),
        });
        if let Some(bundle) = &dispatch.bundle {
            self.known.insert(order.digest, Recipe::of(bundle));
        }
        self.dispatch = Some(dispatch.clone());
    }

    fn prepare(&mut self, at: Timestamp) {
        let resume = match std::mem::replace(&mut self.work, watch_nothing()) {
            Work::Back(back) => Some(back),
            Work::Prepare(prepare) => prepare.resume,
            Work::Watch(_) | Work::Armed(_) => None,
        };
        let act = self.pending(at, Millis(0));
        self.work = Work::Prepare(Prepare {
            step: PrepareStep::Stage,
            act,
            resume,
        });
    }

    fn evolve(&mut self, host: &HostName, at: Timestamp, event: &SlotEvent) {
        match event {
            SlotEvent::Adopted { .. } => {}
            SlotEvent::Accepted { dispatch } => {
                self.take(dispatch);
                if dispatch.order.kind == model::OrderKind::Forward {
                    self.prepare(at);
                }
            }
            SlotEvent::Queued { dispatch } => {
                self.fence = self.fence.max(dispatch.order.generation);
                self.next = Some(dispatch.clone());
            }
            SlotEvent::Fenced { generation } => self.fence = self.fence.max(*generation),
            SlotEvent::Preparing { step } => {
                let act = self.pending(at, Millis(0));
                if let Work::Prepare(prepare) = &mut self.work {
                    (prepare.step, prepare.act) = (*step, act);
                }
            }
            SlotEvent::Declined => self.declined(at),
            SlotEvent::Armed => self.arm(at),
            SlotEvent::Swapped { to } => self.swapped(*to, at),
            SlotEvent::Applied => self.arm_health(at),
            SlotEvent::Healthy => {
                self.healthy = Some(true);
                self.armed_step(ArmedStep::Confirm, at);
            }
            SlotEvent::ConfirmFailed => self.confirm_failed(host, at),
            SlotEvent::Confirmed => self.confirmed(at),
            SlotEvent::PeersAsked => {
                let next = self.pending(at, Millis(0));
                self.asking(Asking::Peers { next });
            }
            SlotEvent::Held { reached } => self.held(*reached, at),
            SlotEvent::TurnedBack { .. } => self.turned_back(at, event),
            SlotEvent::AlreadyThere => {
                self.settle(self.running);
                self.watch(at, true);
            }
            SlotEvent::Returning { step } => {
                let act = self.pending(at, Millis(0));
                if *step == BackStep::Health {
                    self.fresh_looks(at);
                }
                if let Work::Back(back) = &mut self.work {
                    (back.step, back.act) = (*step, act);
                }
            }
            SlotEvent::BackFailed => self.back_failed(host, at),
            SlotEvent::Returned => self.returned(at),
            SlotEvent::Looked { healthy, reason } => self.looked(*healthy, reason, at),
            SlotEvent::HealthChanged { healthy } => self.healthy = Some(*healthy),
            SlotEvent::Restarted => self.restarted(at),
            SlotEvent::Pruned { done } => {
                let next = (!done).then(|| self.pending(at, PRUNE_AGAIN));
                if let Work::Watch(watch) = &mut self.work {
                    watch.prune = next;
                }
                if *done {
                    let keep = self.keep();
                    self.known.retain(|digest, _| keep.contains(digest));
                }
            }
        }
    }

    fn declined(&mut self, at: Timestamp) {
        let resume = match &self.work {
            Work::Prepare(prepare) => prepare.resume.clone(),
            Work::Watch(_) | Work::Armed(_) | Work::Back(_) => None,
        };
        match resume {
            Some(mut back) => {
                (back.step, back.act) = (BackStep::Stage, self.pending(at, Millis(0)));
                self.work = Work::Back(back);
            }
            None => self.watch(at, false),
        }
    }

    fn arm(&mut self, at: Timestamp) {
        let Some(dispatch) = &self.dispatch else {
            return;
        };
        let (digest, within) = (dispatch.order.digest, dispatch.order.confirm_within_ms);
        let gentle = self.settled && self.healthy != Some(false);
        let there = self.settled && self.running == digest;
        if self.settled && self.running != digest {
            self.hold_good(self.running);
        }
        let borrowed = self.known.get(&self.good).is_none_or(|r| r.borrowed);
        let lent = self.known.get(&digest).map(Recipe::lend);
        if let (true, Some(lent)) = (borrowed && self.good != digest, lent) {
            self.known.insert(self.good, lent);
        }
        let act = self.pending(at, Millis(0));
        self.work = Work::Armed(Armed {
            step: ArmedStep::Swap,
            act,
            tries: 0,
            deadline: Timer::of(at, within),
            asking: Asking::No,
            gentle,
        });
        self.settled = false;
        self.healthy = None;
        if there {
            self.arm_health(at);
        }
    }

    fn armed_step(&mut self, to: ArmedStep, at: Timestamp) {
        let act = self.pending(at, Millis(0));
        if let Work::Armed(armed) = &mut self.work {
            (armed.step, armed.act) = (to, act);
        }
    }

    /// The service has the tree: look whether it works, if there is a way to know.
    fn arm_health(&mut self, at: Timestamp) {
        if self.health_of(self.subject()).is_some() {
            self.fresh_looks(at);
            self.armed_step(ArmedStep::Health, at);
        } else {
            self.armed_step(ArmedStep::Confirm, at);
        }
    }

    fn swapped(&mut self, to: Digest, at: Timestamp) {
        self.running = to;
        self.healthy = None;
        if let Work::Armed(armed) = &self.work {
            if self.restart(self.good, to, armed.gentle).is_some() {
                self.armed_step(ArmedStep::Restart, at);
            } else {
                self.arm_health(at);
            }
        }
    }

    fn confirm_failed(&mut self, host: &HostName, at: Timestamp) {
        let (tries, bounds) = match &self.work {
            Work::Armed(armed) => (armed.tries, CONFIRM_ARMED),
            Work::Watch(watch) => (watch.confirm.map_or(0, |c| c.tries), CONFIRM_WATCH),
            Work::Prepare(_) | Work::Back(_) => return,
        };
        let pause = self.pause(host, tries, bounds);
        let next = self.pending(at, pause);
        let tries = tries.saturating_add(1);
        match &mut self.work {
            Work::Armed(armed) => (armed.tries, armed.act) = (tries, next),
            Work::Watch(watch) => watch.confirm = Some(Confirm { tries, next }),
            Work::Prepare(_) | Work::Back(_) => {}
        }
    }

    fn confirmed(&mut self, at: Timestamp) {
        match &mut self.work {
            Work::Armed(_) => {
                self.settled = true;
                self.prove(self.running);
                self.running_since = self.generation();
                self.watch(at, false);
            }
            Work::Watch(watch) => watch.confirm = None,
            Work::Prepare(_) | Work::Back(_) => {}
        }
    }

    fn asking(&mut self, asking: Asking) {
        if let Work::Armed(armed) = &mut self.work {
            armed.asking = asking;
        }
    }

    fn held(&mut self, reached: bool, at: Timestamp) {
        let next = self.pending(at, ASK_AGAIN);
        let before = match &self.work {
            Work::Armed(Armed {
                asking: Asking::Holding { reached, .. },
                ..
            }) => *reached,
            Work::Armed(_) | Work::Watch(_) | Work::Prepare(_) | Work::Back(_) => 0,
        };
        let reached = if reached { before.saturating_add(1) } else { 0 };
        self.asking(Asking::Holding { next, reached });
    }

    fn turned_back(&mut self, at: Timestamp, event: &SlotEvent) {
        let SlotEvent::TurnedBack {
            target,
            cause,
            phase,
            reason,
        } = event
        else {
            return;
        };
        let from = self.subject();
        let known = self.known.get(target).is_none_or(|r| r.borrowed);
        if let (true, Some(lent)) = (
            known && from != *target,
            self.known.get(&from).map(Recipe::lend),
        ) {
            self.known.insert(*target, lent);
        }
        if *cause == crate::Cause::Person {
            self.held_local = true;
            self.next = None;
        }
        if self.settled {
            self.prove(self.running);
        }
        let again = *cause == crate::Cause::Restart;
        let gentle = !again && self.healthy == Some(true) && self.looks.bad == 0;
        let act = self.pending(at, Millis(0));
        self.settled = false;
        self.work = Work::Back(Back {
            target: *target,
            from,
            cause: *cause,
            phase: *phase,
            reason: reason.clone(),
            // A restart moves no bytes; only one that fails has them verified.
            step: if again && self.restart(from, *target, false).is_some() {
                BackStep::Restart
            } else {
                BackStep::Stage
            },
            act,
            tries: 0,
            gentle,
        });
    }

    fn back_failed(&mut self, host: &HostName, at: Timestamp) {
        let tries = match &self.work {
            Work::Back(back) => back.tries,
            Work::Watch(_) | Work::Prepare(_) | Work::Armed(_) => return,
        };
        let pause = self.pause(host, tries, BACK);
        let act = self.pending(at, pause);
        if let Work::Back(back) = &mut self.work {
            back.tries = tries.saturating_add(1);
            (back.step, back.act, back.gentle) = (BackStep::Stage, act, false);
        }
    }

    fn settle(&mut self, digest: Digest) {
        self.running = digest;
        self.running_since = self.generation();
        self.settled = true;
        self.hold_good(digest);
    }

    fn returned(&mut self, at: Timestamp) {
        let Work::Back(back) = &self.work else {
            return;
        };
        let target = back.target;
        let (ordered, home) = match back.cause {
            crate::Cause::Ordered => (true, true),
            crate::Cause::Own | crate::Cause::Person => (false, true),
            // Where it goes back to is what it was.
            crate::Cause::Restart => (true, false),
        };
        let good = self.good;
        self.settle(target);
        if !home {
            self.good = good;
        }
        self.healthy = self.health_of(target).map(|_| true);
        self.watch(at, ordered);
        if let Some(next) = self.next.take() {
            self.take(&next);
            self.prepare(at);
        }
    }

    fn looked(&mut self, healthy: bool, reason: &str, at: Timestamp) {
        let subject = match &self.work {
            Work::Back(back) => back.target,
            Work::Watch(_) | Work::Prepare(_) | Work::Armed(_) => self.subject(),
        };
        let interval = self.health_of(subject).map(|health| health.interval_ms);
        self.looks.next = self.pending(at, interval.unwrap_or_default());
        let looks = &mut self.looks;
        if healthy {
            (looks.good, looks.bad) = (looks.good.saturating_add(1), 0);
        } else {
            (looks.good, looks.bad) = (0, looks.bad.saturating_add(1));
            reason.clone_into(&mut self.unhealthy_reason);
        }
    }

    /// What was under way may be half done: every step is made so that doing it again is right.
    fn restarted(&mut self, at: Timestamp) {
        let act = self.pending(at, Millis(0));
        let next = self.pending(at, Millis(0));
        match &mut self.work {
            Work::Prepare(prepare) => (prepare.step, prepare.act) = (PrepareStep::Stage, act),
            Work::Back(back) => (back.step, back.act, back.gentle) = (BackStep::Stage, act, false),
            Work::Watch(watch) => {
                watch.prune = Some(act);
                if let Some(confirm) = &mut watch.confirm {
                    confirm.next = next;
                }
            }
            Work::Armed(_) => {}
        }
        self.fresh_looks(at);
    }
}

/// Stands for the work while it is being replaced.
fn watch_nothing() -> Work {
    Work::Watch(Watch {
        confirm: None,
        prune: None,
    })
}
