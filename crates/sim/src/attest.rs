//! Signatures of the simulated world: whoever calls [`seal`] holds the control
//! plane's key.
//!
//! Invariant: [`open`] believes exactly what [`seal`] made.

use model::attest::STATEMENT_PAYLOAD_TYPE;
use model::{Digest, Envelope, EnvelopeSignature, Statement};
use node::Proof;

const KEY: &str = "control plane";

/// A statement under the control plane's signature.
pub(crate) fn seal(statement: &Statement) -> Envelope {
    let payload = serde_json::to_string(statement).unwrap_or_default();
    let signature = EnvelopeSignature {
        keyid: KEY.into(),
        sig: Digest::of(payload.as_bytes()).to_string(),
    };
    Envelope {
        payload_type: STATEMENT_PAYLOAD_TYPE.into(),
        payload,
        signatures: vec![signature],
    }
}

/// What an agent makes of it.
pub(crate) fn open(envelope: Option<&Envelope>) -> Proof {
    let Some(envelope) = envelope else {
        return Proof::Absent;
    };
    let wanted = Digest::of(envelope.payload.as_bytes()).to_string();
    let signed = envelope
        .signatures
        .iter()
        .any(|it| it.keyid == KEY && it.sig == wanted);
    match serde_json::from_str(&envelope.payload) {
        Ok(statement) if signed => Proof::Holds(statement),
        Ok(_) | Err(_) => Proof::Invalid {
            reason: "the signature does not hold".into(),
        },
    }
}
