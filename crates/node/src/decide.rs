//! What an input means, given the state.

use jiff::Timestamp;

use model::order::Revert;
use model::refusal::Code;
use model::{Digest, Generation, OrderKind, Phase, Refusal, Report, ReportKind, ServiceName};

use crate::host::{Armed, ArmedStep, Asking, Back, Cause, Host, Slot, Work};
use crate::message::{Input, NodeEvent, SlotEvent};

/// Reasons come from commands and servers; more of them than this helps nobody.
const REASON_BYTES_MAX: usize = 8192;

/// What `input` means: events to be folded with [`crate::evolve`], in their order.
///
/// # Errors
/// An order that is stale or for somebody else; a local revert to what is not
/// kept; a way back signed in advance for an order that is not the newest here.
pub fn decide(host: &Host, input: Input, now: Timestamp) -> Result<Vec<NodeEvent>, Refusal> {
    let mut deciding = Deciding {
        host,
        now,
        next_report: host.next_report,
        events: Vec::new(),
    };
    match input {
        Input::Started => host.slots.values().for_each(|slot| deciding.started(slot)),
        Input::Tick => host.slots.values().for_each(|slot| deciding.tick(slot)),
        Input::Adopted {
            service,
            digest,
            empty,
        } => {
            if !host.slots.contains_key(&service) {
                deciding.push(&service, SlotEvent::Adopted { digest, empty });
            }
        }
        Input::Ordered { dispatch, proof } => deciding.ordered(dispatch, &proof)?,
        Input::Gated => deciding.gate(),
        Input::Forged {
            service,
            generation,
            reason,
        } => deciding.forged(&service, generation, reason),
        Input::Outcome { id, outcome } => deciding.outcome(&id, outcome),
        Input::RevertLocal { service, to } => deciding.revert_local(&service, to)?,
        Input::RevertInAdvance { revert } => deciding.revert_in_advance(&revert)?,
        Input::Acknowledged { through } => {
            deciding.events.push(NodeEvent::Acknowledged { through });
        }
    }
    Ok(deciding.events)
}

/// The events so far.
pub(crate) struct Deciding<'a> {
    pub(crate) host: &'a Host,
    pub(crate) now: Timestamp,
    next_report: u64,
    pub(crate) events: Vec<NodeEvent>,
}

impl<'a> Deciding<'a> {
    pub(crate) fn push(&mut self, service: &ServiceName, event: SlotEvent) {
        self.events.push(NodeEvent::Slot {
            service: service.clone(),
            at: self.now,
            event,
        });
    }

    pub(crate) fn report(
        &mut self,
        service: &ServiceName,
        generation: Generation,
        kind: ReportKind,
    ) {
        let report = Report {
            number: self.next_report,
            service: service.clone(),
            generation,
            at: self.now,
            kind,
        };
        self.next_report = self.next_report.saturating_add(1);
        self.events.push(NodeEvent::Reported { report });
    }

    /// Home, because the order that was armed did not work out.
    pub(crate) fn turn_back(&mut self, slot: &Slot, phase: Phase, reason: &str) {
        let event = SlotEvent::TurnedBack {
            target: slot.good,
            cause: Cause::Own,
            phase,
            reason: bounded(reason),
        };
        self.push(&slot.service, event);
    }

    pub(crate) fn declined(
        &mut self,
        slot: &Slot,
        generation: Generation,
        phase: Phase,
        reason: &str,
    ) {
        let kind = ReportKind::Declined {
            phase,
            reason: bounded(reason),
            running: slot.running,
        };
        self.report(&slot.service, generation, kind);
    }

    fn started(&mut self, slot: &Slot) {
        match &slot.work {
            Work::Armed(armed) => {
                let reason = "the agent began anew (crash, kill or reboot) before the control plane had confirmed";
                self.turn_back(slot, armed.step.phase(), reason);
            }
            Work::Watch(_) | Work::Prepare(_) | Work::Back(_) => {
                self.push(&slot.service, SlotEvent::Restarted);
            }
        }
    }

    fn tick(&mut self, slot: &Slot) {
        let Work::Armed(armed) = &slot.work else {
            return;
        };
        if armed.asking != Asking::No || !armed.deadline.over(self.now) {
            return;
        }
        let reason = overdue(slot, armed);
        let works = slot.healthy != Some(false) && slot.looks.bad == 0;
        if armed.step == ArmedStep::Confirm && works && !slot.peers().is_empty() {
            self.push(&slot.service, SlotEvent::PeersAsked);
        } else {
            self.turn_back(slot, armed.step.phase(), &reason);
        }
    }

    fn slot_of(&self, service: &ServiceName) -> Result<&'a Slot, Refusal> {
        let host = self.host;
        host.slots.get(service).ok_or_else(|| {
            let known: Vec<&str> = host.slots.keys().map(ServiceName::as_str).collect();
            Refusal::new(
                Code::UnknownService,
                format!("this host does not run {service}"),
                format!("It runs: {}.", known.join(", ")),
            )
        })
    }

    fn revert_local(&mut self, service: &ServiceName, to: Option<Digest>) -> Result<(), Refusal> {
        let slot = self.slot_of(service)?;
        let target = to.unwrap_or(slot.good);
        if !slot.kept.contains(&target) && target != slot.origin {
            return Err(not_kept(slot, target));
        }
        self.by_person(slot, target, "local revert by a person");
        Ok(())
    }

    /// It counts only while the order that it undoes is the newest here, so that
    /// it can't be kept and replayed as a downgrade.
    fn revert_in_advance(&mut self, revert: &Revert) -> Result<(), Refusal> {
        let order = &revert.order;
        self.addressed(order)?;
        let slot = self.slot_of(&order.service)?;
        if order.kind != OrderKind::Rollback {
            return Err(Refusal::new(
                Code::BadRequest,
                "what was signed in advance is no way back",
                "Hand over the way back that was signed with the order.",
            ));
        }
        let (undoes, newest) = (order.generation, slot.fence);
        if undoes != newest {
            let moved = if undoes < newest {
                format!("order {newest} came since")
            } else {
                format!("the newest here is order {newest}")
            };
            return Err(Refusal::new(
                Code::RevertMoved,
                format!("the way back signed in advance undoes order {undoes}, and {moved}"),
                "Take the way back of the newest order, or none: `plimsoll agent revert --local` goes to the last good bundle of this host.",
            ));
        }
        // Whoever may be gone, these bytes are here.
        let target = order.digest;
        if !(slot.was_good(target) && slot.keep().contains(&target)) {
            return Err(not_kept(slot, target));
        }
        self.by_person(slot, target, &authority(revert));
        Ok(())
    }

    fn by_person(&mut self, slot: &Slot, target: Digest, reason: &str) {
        if let Some(next) = &slot.next {
            self.declined(slot, next.order.generation, Phase::Accept, reason);
        }
        let event = SlotEvent::TurnedBack {
            target,
            cause: Cause::Person,
            phase: slot.phase(),
            reason: bounded(reason),
        };
        self.push(&slot.service, event);
    }

    /// Another failed try: reported at the first, second, fourth and so on.
    pub(crate) fn back_failed(&mut self, slot: &Slot, back: &Back, reason: &str) {
        self.push(&slot.service, SlotEvent::BackFailed);
        let tries = back.tries.saturating_add(1);
        if tries.is_power_of_two() {
            let kind = ReportKind::RevertFailing {
                to: back.target,
                phase: back.step.phase(),
                reason: bounded(reason),
                tries,
            };
            self.report(&slot.service, slot.generation(), kind);
        }
    }
}

/// On whose word a way back was signed in advance, for people.
pub fn authority(revert: &Revert) -> String {
    let release = revert.order.release;
    let approved = match revert.approved_by.as_slice() {
        [] => String::new(),
        [one] => format!(", approved by {one}"),
        [others @ .., last] => format!(", approved by {} and {last}", others.join(", ")),
    };
    format!("authorised in advance with release {release}{approved}")
}

fn not_kept(slot: &Slot, target: Digest) -> Refusal {
    let kept: Vec<String> = slot.kept.iter().map(Digest::to_string).collect();
    Refusal::new(
        Code::TargetNeverGood,
        format!("{} is not among the good bundles kept here", target.short()),
        format!("Name one of: {}.", kept.join(", ")),
    )
}

/// Why the deadline was missed, in words.
fn overdue(slot: &Slot, armed: &Armed) -> String {
    let within = armed.deadline.pause_ms;
    match armed.step {
        ArmedStep::Swap | ArmedStep::Restart | ArmedStep::Health => format!(
            "not confirmed within {within}: still at {}{}",
            armed.step.phase(),
            if slot.looks.bad > 0 {
                format!(" ({})", slot.unhealthy_reason)
            } else {
                String::new()
            }
        ),
        ArmedStep::Confirm => format!(
            "not confirmed within {within}: the control plane gave no answer in {} tries",
            armed.tries
        ),
    }
}

/// A reason fit to be kept and sent: its end, where commands say what went wrong.
pub(crate) fn bounded(reason: &str) -> String {
    let mut start = reason.len().saturating_sub(REASON_BYTES_MAX);
    while !reason.is_char_boundary(start) {
        start += 1;
    }
    reason[start..].to_owned()
}
