//! What the control plane believes of its own journal.
//!
//! Invariant: no order forward into the last environment is signed without an
//! attestation that this control plane's key signed over that bundle, whatever
//! the journal says: who can write the journal can't write a signature. (But can
//! write a test that never was, which is then signed: countersigners are for that.)

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use engine::State;
use model::attest::STATEMENT_PAYLOAD_TYPE;
use model::order::Dispatch;
use model::{Digest, Envelope, HostName, OrderKind, ReleaseId, ServiceName, Statement};
use wire::{Open, PublicKey};

/// Signatures that were found to hold are remembered, so many at most: one for each bundle that
/// is on its way or good somewhere. Beyond it all are checked anew.
const KNOWN_MAX: usize = 1_000;

/// Whether the host's agent takes nothing that is not attested: it stands in the
/// last environment, and there is one before it to be tested in.
pub(crate) fn gated(state: &State, host: &HostName) -> bool {
    let environments = &state.topology.environments;
    let last = environments.last().map(|last| &last.name);
    environments.len() > 1 && state.environment_of(host) == last
}

/// Checks attestations against the control plane's own key.
pub(crate) struct Trust {
    key: PublicKey,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Envelopes that hold, with what they are about.
    hold: BTreeSet<(Digest, ServiceName, Digest)>,
    /// Releases that were complained of: once each is enough for a log.
    told: BTreeSet<ReleaseId>,
}

impl Trust {
    pub(crate) fn new(key: PublicKey) -> Trust {
        Trust {
            key,
            known: Mutex::default(),
        }
    }

    /// Whether an order may be signed. Ways back always may, and restarts, which put nothing new there.
    pub(crate) fn may_be_sent(&self, state: &State, dispatch: &Dispatch) -> bool {
        let order = &dispatch.order;
        let last = state.topology.environments.last();
        let serves = last.is_some_and(|last| last.name == order.environment)
            && state.topology.environments.len() > 1;
        let new = order.kind == OrderKind::Forward;
        if !new || !(serves || gated(state, &order.host)) {
            return true;
        }
        let flaw = match &dispatch.attestation {
            None => Some("it has no attestation".to_owned()),
            Some(envelope) => self.flaw(envelope, &order.service, order.digest),
        };
        if let Some(flaw) = &flaw {
            self.complain(order.release, flaw);
        }
        flaw.is_none()
    }

    /// Looks at every attestation of a journal that was just read, and says aloud which don't hold.
    pub(crate) fn audit(&self, state: &State) {
        for release in state.releases.values() {
            let Some(envelope) = &release.attestation else {
                continue;
            };
            let flaw = self.flaw(envelope, &release.service, release.digest);
            if let Some(flaw) = flaw {
                self.complain(release.id, &flaw);
            }
        }
    }

    /// Releases that were complained of.
    pub(crate) fn told(&self) -> usize {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.told.len()
    }

    fn complain(&self, release: ReleaseId, flaw: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.told.insert(release) {
            tracing::error!(
                %release,
                flaw,
                "the journal says that this release may serve, but this control plane did not sign that: \
                 no host is ordered to it. Was the journal changed, or the control key?"
            );
        }
    }

    /// What is wrong with an attestation of `digest`.
    fn flaw(&self, envelope: &Envelope, service: &ServiceName, digest: Digest) -> Option<String> {
        let identity = match model::canonical::digest(envelope) {
            Ok(identity) => identity,
            Err(error) => return Some(error.to_string()),
        };
        let entry = (identity, service.clone(), digest);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.hold.contains(&entry) {
            return None;
        }
        match envelope.open::<Statement>(STATEMENT_PAYLOAD_TYPE, &self.key) {
            Err(error) => Some(error.to_string()),
            Ok(statement) if !statement.is_about(service, digest) => {
                Some("its attestation is about something else".into())
            }
            Ok(_) => {
                if known.hold.len() >= KNOWN_MAX {
                    known.hold.clear();
                }
                known.hold.insert(entry);
                None
            }
        }
    }
}
