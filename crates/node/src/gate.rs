//! What a gated host demands before it runs anything.
//!
//! Invariant: a gated host points programs only at bytes that were good here or
//! that a signed test result is about, whoever sends the order; and it never
//! refuses a way back to what was good here.

use model::attest::Statement;
use model::order::Dispatch;
use model::{Digest, Phase};

use crate::decide::{Deciding, bounded};
use crate::host::{Prepare, Slot, Work};
use crate::message::{NodeEvent, SlotEvent};

/// So many of the newest digests that were good here are remembered, bytes or
/// not: far more than anybody goes back, in a few kilobytes of state. To go
/// back further than that, the order has to bring the old test result.
pub const PROVEN_MAX: usize = 128;

/// What was found of the test result that an order brings.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each order, never many"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It brings none.
    Absent,
    /// It brings one that is not believed.
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// Signed by whom this host trusts.
    Holds(Statement),
}

impl Proof {
    /// The statement, if it is about the ordered bundle; else what is in the way, in words.
    pub(crate) fn about(&self, dispatch: &Dispatch) -> Result<&Statement, String> {
        let order = &dispatch.order;
        let statement = match self {
            Proof::Absent => return Err("the order brings no test result".into()),
            Proof::Invalid { reason } => {
                let reason = bounded(reason);
                return Err(format!("the order's test result is not believed: {reason}"));
            }
            Proof::Holds(statement) => statement,
        };
        if statement.is_about(&order.service, order.digest) {
            return Ok(statement);
        }
        let subjects = statement.subject.iter().take(1).map(|subject| {
            let digest = subject.digest.get("blake3").map(Digest::short);
            format!("{} {}", subject.name, digest.unwrap_or_default())
        });
        Err(format!(
            "the test result is about another bundle ({}), the order about {} {}",
            subjects.collect::<String>(),
            order.service,
            order.digest.short()
        ))
    }
}

impl Slot {
    /// Whether `digest` was good on this host.
    pub fn was_good(&self, digest: Digest) -> bool {
        digest == self.origin
            || digest == self.good
            || self.settled && digest == self.running
            || self.kept.contains(&digest)
            || self.proven.contains(&digest)
    }

    /// Remembers that `digest` was good.
    pub(crate) fn prove(&mut self, digest: Digest) {
        self.proven.retain(|proven| *proven != digest);
        self.proven.insert(0, digest);
        self.proven.truncate(PROVEN_MAX);
    }

    /// What is good here as seen from a new order forward: where it starts from.
    pub fn base(&self) -> Digest {
        match &self.work {
            Work::Back(back)
            | Work::Prepare(Prepare {
                resume: Some(back), ..
            }) => back.target,
            Work::Watch(_) | Work::Prepare(_) | Work::Armed(_) if self.settled => self.running,
            Work::Watch(_) | Work::Prepare(_) | Work::Armed(_) => self.good,
        }
    }
}

impl Deciding<'_> {
    /// Why a gated host does not take up this order forward.
    pub(crate) fn untested(
        &self,
        slot: &Slot,
        dispatch: &Dispatch,
        proof: &Proof,
    ) -> Option<String> {
        let tested = match proof.about(dispatch) {
            Ok(statement) => &statement.predicate,
            Err(problem) => return Some(not_attested(&problem)),
        };
        let (order, base) = (&dispatch.order, slot.base());
        if tested.release != order.release {
            return Some(not_attested(&format!(
                "the test result is that of release {}, the order that of release {}",
                tested.release, order.release
            )));
        }
        if self.now > tested.expires_at {
            return Some(not_attested(&format!(
                "the test result counts no longer since {} (it is {} here)",
                tested.expires_at, self.now
            )));
        }
        // Generation 0 is each host's own, so nothing can have been tested against
        // it; and where the bundle is good already, nothing new begins to run.
        let fits = tested.base == Some(base) || base == slot.origin || base == order.digest;
        if fits {
            return None;
        }
        let against = tested.base.map_or_else(
            || "where no bundle was good before".to_owned(),
            |base| format!("against {} as the bundle to start from", base.short()),
        );
        Some(not_attested(&format!(
            "it was tested {against}, and this host has {}",
            base.short()
        )))
    }

    /// Why a gated host does not take up this order back.
    pub(crate) fn unknown_back(
        &self,
        slot: &Slot,
        dispatch: &Dispatch,
        proof: &Proof,
    ) -> Option<String> {
        if slot.was_good(dispatch.order.digest) {
            return None;
        }
        let problem = proof.about(dispatch).err()?;
        Some(not_attested(&format!(
            "a way back to a bundle that was never good here and never attested ({problem})"
        )))
    }

    /// From now on for good. What no test result was asked for is given up.
    pub(crate) fn gate(&mut self) {
        if self.host.gated {
            return;
        }
        self.events.push(NodeEvent::Gated);
        let reason = not_attested("it was ordered before this host came to demand a test result");
        for slot in self.host.slots.values() {
            if let Some(next) = &slot.next {
                self.declined(slot, next.order.generation, Phase::Accept, &reason);
            }
            let known = |digest| slot.was_good(digest);
            match &slot.work {
                Work::Back(back)
                | Work::Prepare(Prepare {
                    resume: Some(back), ..
                }) if !known(back.target) => self.turn_back(slot, back.phase, &reason),
                Work::Prepare(prepare) if !slot.ordered().is_some_and(known) => {
                    self.push(&slot.service, SlotEvent::Declined);
                    let phase = prepare.step.phase();
                    self.declined(slot, slot.generation(), phase, &reason);
                }
                Work::Armed(armed) if !known(slot.subject()) => {
                    self.turn_back(slot, armed.step.phase(), &reason);
                }
                Work::Watch(_) | Work::Prepare(_) | Work::Armed(_) | Work::Back(_) => {}
            }
        }
    }
}

/// The same words in front of every such no, so that people and programs find them.
fn not_attested(cause: &str) -> String {
    format!("not attested: {cause}")
}
