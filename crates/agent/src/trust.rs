//! Whom this host believes: the pinned control plane, and those who attest.
//!
//! Invariant: keys come from this host's own disk, never with what they sign.

use std::path::Path;
use std::sync::Arc;

use model::attest::{STATEMENT_PAYLOAD_TYPE, Statement};
use model::order::{Dispatch, Revert};
use node::Proof;
use wire::sign::{ORDER_TYPE, REVERT_TYPE, SignError};
use wire::{Envelope, Open, PublicKey};

use crate::AgentError;
use crate::error::{at, chain};

/// A test result with more signatures than this is not looked at: a control
/// plane and a handful of attesters sign, and each signature costs a check.
const SIGNATURES_MAX: usize = 16;

/// The keys.
#[derive(Clone)]
pub(crate) struct Trust {
    control: PublicKey,
    /// One of these must have signed a test result too; none: the control plane's word is enough.
    attesters: Arc<[PublicKey]>,
}

impl Trust {
    pub(crate) fn new(control: PublicKey, attesters: Vec<PublicKey>) -> Trust {
        Trust {
            control,
            attesters: attesters.into(),
        }
    }

    /// An order, if the control plane signed it.
    pub(crate) fn order(&self, envelope: &Envelope) -> Result<Dispatch, SignError> {
        envelope.open(ORDER_TYPE, &self.control)
    }

    /// A way back signed in advance, if the control plane signed it.
    pub(crate) fn revert(&self, envelope: &Envelope) -> Result<Revert, SignError> {
        envelope.open(REVERT_TYPE, &self.control)
    }

    /// What there is to say for an order's test result.
    pub(crate) fn proof(&self, attestation: Option<&Envelope>) -> Proof {
        let Some(envelope) = attestation else {
            return Proof::Absent;
        };
        let invalid = |reason| Proof::Invalid { reason };
        if envelope.signatures.len() > SIGNATURES_MAX {
            return invalid(format!("it has more than {SIGNATURES_MAX} signatures"));
        }
        let opened = |key| envelope.open::<Statement>(STATEMENT_PAYLOAD_TYPE, key);
        let statement = match opened(&self.control) {
            Ok(statement) => statement,
            Err(error) => return invalid(chain(&error)),
        };
        let seconded = |key| opened(key).is_ok();
        if self.attesters.is_empty() || self.attesters.iter().any(seconded) {
            return Proof::Holds(statement);
        }
        invalid("none of the attesters in this host's agent.toml has signed it".into())
    }
}

/// Where the control plane's key is pinned.
pub(crate) fn control_key_path(state_dir: &Path) -> std::path::PathBuf {
    state_dir.join("control.key")
}

/// The control plane's key, as it was pinned when this host joined.
pub(crate) fn pinned(state_dir: &Path) -> Result<PublicKey, AgentError> {
    let path = control_key_path(state_dir);
    let text = std::fs::read_to_string(&path).map_err(at(path))?;
    PublicKey::parse(text.trim()).map_err(AgentError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::attest::Predicate;
    use model::{Digest, EnvelopeSignature, ReleaseId};
    use wire::SecretKey;

    fn statement() -> Statement {
        let predicate = Predicate {
            release: ReleaseId(1),
            base: None,
            check_set: Digest::of(b"rules"),
            environment: Digest::of(b"test"),
            evidence: Digest::of(b"evidence"),
            approved_by: Vec::new(),
            issued_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            expires_at: "2026-01-02T00:00:00Z".parse().unwrap(),
        };
        Statement::new("api".parse().unwrap(), Digest::of(b"bundle"), predicate)
    }

    /// The same envelope with the signatures of all these keys.
    fn signed(keys: &[&SecretKey]) -> Envelope {
        let seal = |key: &&SecretKey| key.seal(STATEMENT_PAYLOAD_TYPE, &statement());
        let mut envelopes = keys.iter().map(seal);
        let mut first = envelopes.next().unwrap();
        first
            .signatures
            .extend(envelopes.flat_map(|envelope| envelope.signatures));
        first
    }

    fn reason(proof: Proof) -> String {
        match proof {
            Proof::Invalid { reason } => reason,
            Proof::Absent | Proof::Holds(_) => panic!("{proof:?}"),
        }
    }

    #[test]
    fn a_test_result_counts_with_the_signatures_that_this_host_asks_for() {
        let [control, ci, thief] = [(); 3].map(|()| SecretKey::generate().unwrap());
        let holds = Proof::Holds(statement());

        let alone = Trust::new(control.public(), Vec::new());
        assert_eq!(alone.proof(None), Proof::Absent);
        assert_eq!(alone.proof(Some(&signed(&[&control]))), holds);
        let forged = reason(alone.proof(Some(&signed(&[&thief]))));
        assert!(forged.contains("does not fit"), "{forged}");

        let seconded = Trust::new(control.public(), vec![ci.public()]);
        assert_eq!(seconded.proof(Some(&signed(&[&control, &ci]))), holds);
        assert_eq!(seconded.proof(Some(&signed(&[&ci, &control]))), holds);
        let theirs = reason(seconded.proof(Some(&signed(&[&control, &thief]))));
        assert!(theirs.contains("none of the attesters"), "{theirs}");
        let twice = reason(seconded.proof(Some(&signed(&[&control, &control]))));
        assert!(twice.contains("none of the attesters"), "{twice}");
        let without = reason(seconded.proof(Some(&signed(&[&ci]))));
        assert!(without.contains("does not fit"), "{without}");
    }

    #[test]
    fn another_kind_of_payload_is_no_test_result() {
        let control = SecretKey::generate().unwrap();
        let trust = Trust::new(control.public(), Vec::new());
        let order = control.seal(ORDER_TYPE, &statement());
        let odd = reason(trust.proof(Some(&order)));
        assert!(
            odd.contains("holds application/vnd.plimsoll.order"),
            "{odd}"
        );
        let mut many = signed(&[&control]);
        let one: EnvelopeSignature = many.signatures[0].clone();
        many.signatures = vec![one; SIGNATURES_MAX + 1];
        assert!(reason(trust.proof(Some(&many))).contains("more than 16"));
    }
}
