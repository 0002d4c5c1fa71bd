//! Which orders are taken up.
//!
//! Invariant: a rollback order above the fence to what was good here is taken up
//! in every state. Nothing but host, service and fence is asked of it; on a
//! gated host, that a target which was never good here is attested.

use model::order::Dispatch;
use model::refusal::Code;
use model::{Generation, Order, OrderKind, Phase, Refusal, ReportKind, ServiceName};

use crate::decide::{Deciding, bounded};
use crate::gate::Proof;
use crate::host::{Cause, Slot, Work};
use crate::message::{NodeEvent, SlotEvent};

/// A way back that failed so often doesn't keep a new forward order waiting any
/// longer: home may never work again, and the order may be what mends it.
const FORWARD_PAST_TRIES: u32 = 3;
/// Longer addresses are none: a host name of 253 bytes and a port.
const ADDRESS_BYTES_MAX: usize = 260;
/// Declined services that are remembered; a control plane has no reason to send more.
const STRANGERS_MAX: usize = 64;

impl Deciding<'_> {
    pub(crate) fn ordered(&mut self, mut dispatch: Dispatch, proof: &Proof) -> Result<(), Refusal> {
        let order = &dispatch.order;
        self.addressed(order)?;
        let Some(slot) = self.host.slots.get(&order.service) else {
            return self.stranger(&dispatch);
        };
        if order.generation <= slot.fence {
            return repeated(slot, &dispatch);
        }
        let gated = self.host.gated;
        let problem = match order.kind {
            OrderKind::Rollback if gated => self.unknown_back(slot, &dispatch, proof),
            OrderKind::Rollback => None,
            OrderKind::Forward if gated => {
                malformed(&dispatch).or_else(|| self.untested(slot, &dispatch, proof))
            }
            OrderKind::Forward => malformed(&dispatch),
            OrderKind::Restart => malformed(&dispatch).or_else(|| restless(slot, order)),
        };
        if let Some(reason) = problem {
            let generation = order.generation;
            self.push(&slot.service, SlotEvent::Fenced { generation });
            self.declined(slot, generation, Phase::Accept, &reason);
            return Ok(());
        }
        match order.kind {
            OrderKind::Rollback => {
                // A manifest that isn't the target's is no reason to refuse a rollback: it is not used.
                let digest = order.digest;
                dispatch.bundle = dispatch.bundle.filter(|b| b.digest() == digest);
                // Neither is an address that is none: what was known before goes on.
                if !is_address(&dispatch.order.address) {
                    let known = slot.place.as_ref().map(|place| place.address.clone());
                    dispatch.order.address = known.unwrap_or_default();
                }
                self.rollback(slot, dispatch);
            }
            OrderKind::Forward => {
                // A host that once met an attested order demands them from then on.
                if proof.about(&dispatch).is_ok() {
                    self.gate();
                }
                self.forward(slot, dispatch);
            }
            OrderKind::Restart => self.again(slot, dispatch),
        }
        Ok(())
    }

    /// Orders are each host's own.
    pub(crate) fn addressed(&self, order: &Order) -> Result<(), Refusal> {
        if order.host == self.host.name {
            return Ok(());
        }
        Err(Refusal::new(
            Code::UnknownHost,
            format!("the order is for {}, not {}", order.host, self.host.name),
            "Give each host its own orders.",
        ))
    }

    fn rollback(&mut self, slot: &Slot, dispatch: Dispatch) {
        let target = dispatch.order.digest;
        let from = slot.subject();
        let there = slot.settled && slot.running == target;
        // Judged by the health check in force now: the order's own manifest may bring another.
        let asked = slot.health_of(target).is_some();
        let works = !asked || slot.healthy == Some(true);
        self.push(&slot.service, SlotEvent::Accepted { dispatch });
        let event = if there && works {
            SlotEvent::AlreadyThere
        } else {
            SlotEvent::TurnedBack {
                target,
                cause: Cause::Ordered,
                phase: slot.phase(),
                reason: format!("ordered back from {}", from.short()),
            }
        };
        self.push(&slot.service, event);
    }

    /// What runs begins anew. It is a way back that leads nowhere else, so that a service that
    /// doesn't come up is tried again for as long as it takes.
    fn again(&mut self, slot: &Slot, dispatch: Dispatch) {
        let target = dispatch.order.digest;
        self.push(&slot.service, SlotEvent::Accepted { dispatch });
        let event = SlotEvent::TurnedBack {
            target,
            cause: Cause::Restart,
            phase: slot.phase(),
            reason: "ordered to restart".into(),
        };
        self.push(&slot.service, event);
    }

    fn forward(&mut self, slot: &Slot, dispatch: Dispatch) {
        let queued = SlotEvent::Queued {
            dispatch: dispatch.clone(),
        };
        let accepted = SlotEvent::Accepted { dispatch };
        match &slot.work {
            Work::Watch(_) | Work::Prepare(_) => self.push(&slot.service, accepted),
            Work::Back(back) if back.tries >= FORWARD_PAST_TRIES => {
                self.push(&slot.service, accepted);
            }
            Work::Back(_) => self.push(&slot.service, queued),
            // A bundle that nobody confirmed is never left alone while another is
            // prepared, which may take minutes: home first.
            Work::Armed(armed) => {
                self.push(&slot.service, queued);
                let reason = "a newer order came before this one was confirmed";
                self.turn_back(slot, armed.step.phase(), reason);
            }
        }
    }

    fn stranger(&mut self, dispatch: &Dispatch) -> Result<(), Refusal> {
        let order = &dispatch.order;
        let seen = self.host.strangers.get(&order.service);
        let full = seen.is_none() && self.host.strangers.len() >= STRANGERS_MAX;
        if full || seen.is_some_and(|seen| *seen >= order.generation) {
            return Err(Refusal::new(
                Code::UnknownService,
                format!("this host does not run {}", order.service),
                "Add the service to the agent's configuration, or take it off the host in the topology.",
            ));
        }
        self.events.push(NodeEvent::StrangerDeclined {
            service: order.service.clone(),
            generation: order.generation,
        });
        let kind = ReportKind::Declined {
            phase: Phase::Accept,
            reason: format!(
                "the agent's configuration has no service {}: add it there, or take it off the host in the topology",
                order.service
            ),
            running: model::Digest::of(b""),
        };
        self.report(&order.service, order.generation, kind);
        Ok(())
    }

    pub(crate) fn forged(&mut self, service: &ServiceName, generation: Generation, reason: String) {
        // The claim is worth nothing: it raises no fence and stops nothing.
        if let Some(slot) = self.host.slots.get(service) {
            self.declined(slot, generation, Phase::Accept, &bounded(&reason));
        }
    }
}

/// An order at or below the fence: a repeat of what was taken up is no news, all else is refused.
fn repeated(slot: &Slot, dispatch: &Dispatch) -> Result<(), Refusal> {
    let order = &dispatch.order;
    let taken = [&slot.dispatch, &slot.next].into_iter().flatten();
    let same = taken
        .map(|d| &d.order)
        .find(|o| o.generation == order.generation);
    let fits = same.is_none_or(|o| o.digest == order.digest && o.kind == order.kind);
    if order.generation == slot.fence && fits {
        return Ok(());
    }
    Err(Refusal::new(
        Code::StaleGeneration,
        format!(
            "order {} for {} came after order {}",
            order.generation, order.service, slot.fence
        ),
        "Nothing: the newest order counts.",
    ))
}

/// Why a host does not restart what it runs.
fn restless(slot: &Slot, order: &Order) -> Option<String> {
    let at_rest = matches!(slot.work, Work::Watch(_)) && slot.settled;
    if !at_rest {
        return Some("it is still carrying out an earlier order".into());
    }
    (slot.running != order.digest).then(|| {
        format!(
            "it runs {}, not {}",
            slot.running.short(),
            order.digest.short()
        )
    })
}

/// Whether a text can stand where commands take `${address}`. No test result
/// covers it, and any other character could be a command of its own to a shell.
fn is_address(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".:-_[]".contains(&b);
    text.len() <= ADDRESS_BYTES_MAX && text.bytes().all(plain)
}

/// What is wrong with a forward order's form.
fn malformed(dispatch: &Dispatch) -> Option<String> {
    let order = &dispatch.order;
    if !is_address(&order.address) {
        return Some(format!("{:?} is not an address", order.address));
    }
    let bundle = dispatch.bundle.as_ref()?;
    if bundle.digest() != order.digest {
        return Some("the manifest is not that of the ordered digest".into());
    }
    if bundle.service != order.service {
        return Some(format!(
            "the manifest is for {}, the order for {}",
            bundle.service, order.service
        ));
    }
    let problems = bundle.problems();
    (!problems.is_empty()).then(|| problems.join("; "))
}
