//! The signed fact that a bundle passed its test: an in-toto statement in a DSSE envelope.
//!
//! Sources: in-toto Attestation Framework, Statement v1; DSSE v1.0.2. Here is
//! only their form; signing and verifying is `wire::sign`'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, ReleaseId, ServiceName, Timestamp};

/// The envelope's payload type, as in-toto names it.
pub const STATEMENT_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The statement's own type.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// What is stated: the bundle passed the test environment.
pub const PREDICATE_TYPE: &str = "https://plimsoll.dev/attestation/test/v1";

/// A signed payload, in the JSON form of DSSE (signatures in hex).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Media type of the payload.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The payload's bytes in base64.
    pub payload: String,
    /// One signature for each key.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One key's signature over an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// The public key, 64 hex digits.
    pub keyid: String,
    /// 128 hex digits.
    pub sig: String,
}

/// An in-toto statement about one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub type_: String,
    /// The bundle: the service's name and `{"blake3": digest}`.
    pub subject: Vec<Subject>,
    /// [`PREDICATE_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What was tested, against what, and how long that counts.
    pub predicate: Predicate,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The service.
    pub name: ServiceName,
    /// By algorithm.
    pub digest: BTreeMap<String, Digest>,
}

/// What was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predicate {
    /// On behalf of which release.
    pub release: ReleaseId,
    /// What was good when it was tested: it counts for hosts that run this.
    pub base: Option<Digest>,
    /// The rules' digest ([`crate::gate::CheckSet::digest`]).
    pub check_set: Digest,
    /// The test environment's fingerprint.
    pub environment: Digest,
    /// Digest of the [`crate::gate::TestRecord`] in the journal.
    pub evidence: Digest,
    /// Who approved, for a high-risk change.
    pub approved_by: Vec<String>,
    /// When the test ended.
    pub issued_at: Timestamp,
    /// No host begins to apply it after this.
    pub expires_at: Timestamp,
}

impl Statement {
    /// A statement about `digest` of `service`.
    pub fn new(service: ServiceName, digest: Digest, predicate: Predicate) -> Statement {
        Statement {
            type_: STATEMENT_TYPE.into(),
            subject: vec![Subject {
                name: service,
                digest: [("blake3".to_owned(), digest)].into(),
            }],
            predicate_type: PREDICATE_TYPE.into(),
            predicate,
        }
    }

    /// Whether it is one of ours, about `digest` of `service` and nothing else.
    pub fn is_about(&self, service: &ServiceName, digest: Digest) -> bool {
        let [subject] = self.subject.as_slice() else {
            return false;
        };
        self.type_ == STATEMENT_TYPE
            && self.predicate_type == PREDICATE_TYPE
            && subject.name == *service
            && subject.digest.get("blake3") == Some(&digest)
    }
}
