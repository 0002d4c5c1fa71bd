//! ed25519 keys, signed orders, and the signature that an agent puts on each request.
//!
//! Source: RFC 8032 for the signature; the envelope follows DSSE (Dead Simple
//! Signing Envelope, v1.0.2): what is signed is the payload's type and bytes in
//! the pre-authentication encoding, never a re-serialisation of parsed JSON.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::Serialize;
use serde::de::DeserializeOwned;

use model::{Digest, Envelope, EnvelopeSignature};

/// Payload type of a signed [`model::order::Dispatch`].
pub const ORDER_TYPE: &str = "application/vnd.plimsoll.order+json";
/// Payload type of a [`model::order::Revert`], signed in advance.
pub const REVERT_TYPE: &str = "application/vnd.plimsoll.revert+json";
/// Payload type of a signed [`model::Task`].
pub const TASK_TYPE: &str = "application/vnd.plimsoll.task+json";
/// Payload type of the seal on a snapshot of the control plane's state.
pub const SNAPSHOT_TYPE: &str = "application/vnd.plimsoll.snapshot+json";
/// An agent's request is refused when its time differs by more than this from the control plane's.
pub const REQUEST_SKEW_MS_MAX: i64 = 120_000;

/// A signature or key that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Not 64 hex digits, or not a point on the curve.
    #[error("not an ed25519 key in hex")]
    Key,
    /// The signature is not this key's over these bytes.
    #[error("the signature does not fit the bytes and the key {key}")]
    Signature {
        /// Whose signature was wanted.
        key: String,
    },
    /// The envelope holds something else.
    #[error("the envelope holds {found}, not {wanted}")]
    Type {
        /// The type that came.
        found: String,
        /// The type that was wanted.
        wanted: &'static str,
    },
    /// The payload is not base64 or not the JSON that its type says.
    #[error("the payload can't be read: {0}")]
    Payload(String),
    /// The key file can't be read or written.
    #[error("key file {path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no random bytes.
    #[error("no randomness from the system: {0}")]
    Randomness(getrandom::Error),
}

/// The secret half; only ever on the machine that made it.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

/// The public half, 64 hex digits as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl SecretKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<SecretKey, SignError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(SignError::Randomness)?;
        Ok(SecretKey(SigningKey::from_bytes(&seed)))
    }

    /// The key in `path`; makes one, readable by the owner alone, if there is none.
    ///
    /// # Errors
    /// When the file can't be read or written, or holds no key.
    pub fn load_or_create(path: &Path) -> Result<SecretKey, SignError> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let file_error = |source| SignError::File {
            path: path.display().to_string(),
            source,
        };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let seed = text.trim().parse::<Digest>().map_err(|_| SignError::Key)?;
                Ok(SecretKey(SigningKey::from_bytes(seed.as_bytes())))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = SecretKey::generate()?;
                let text = Digest::from_bytes(key.0.to_bytes()).to_string();
                // Written aside and renamed, so that a crash leaves no half key behind.
                let aside = path.with_extension("new");
                let _ = std::fs::remove_file(&aside);
                let mut options = std::fs::OpenOptions::new();
                options.write(true).create_new(true).mode(0o600);
                let mut file = options.open(&aside).map_err(file_error)?;
                file.write_all(text.as_bytes()).map_err(file_error)?;
                file.sync_all().map_err(file_error)?;
                std::fs::rename(&aside, path).map_err(file_error)?;
                Ok(key)
            }
            Err(error) => Err(file_error(error)),
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// A secret of its own for one purpose, from which this key can't be found.
    pub fn subkey(&self, purpose: &'static str) -> Digest {
        let seed = self.0.to_bytes();
        Digest::of(&[seed.as_slice(), purpose.as_bytes()].concat())
    }

    fn sign(&self, message: &[u8]) -> String {
        hex(&self.0.sign(message).to_bytes())
    }

    /// Wraps `value` in a signed envelope.
    pub fn seal<T: Serialize>(&self, payload_type: &'static str, value: &T) -> Envelope {
        let payload = serde_json::to_vec(value).unwrap_or_default();
        let signature = self.sign(&pre_authentication_encoding(payload_type, &payload));
        Envelope {
            payload_type: payload_type.to_owned(),
            payload: STANDARD.encode(&payload),
            signatures: vec![EnvelopeSignature {
                keyid: self.public().to_string(),
                sig: signature,
            }],
        }
    }

    /// A further signature over what an envelope already holds.
    ///
    /// # Errors
    /// When the payload is not base64.
    pub fn countersign(&self, envelope: &Envelope) -> Result<EnvelopeSignature, SignError> {
        Ok(EnvelopeSignature {
            keyid: self.public().to_string(),
            sig: self.sign(&signed_bytes(envelope)?),
        })
    }

    /// The value of the `Authorization` header for an agent's request.
    pub fn authorize(
        &self,
        host: &str,
        method: &str,
        path: &str,
        at_ms: i64,
        body: &[u8],
    ) -> String {
        let signature = self.sign(&request_text(host, method, path, at_ms, body));
        format!("Plimsoll-Agent {host} {at_ms} {signature}")
    }
}

impl PublicKey {
    /// From 64 hex digits.
    ///
    /// # Errors
    /// When it isn't a key.
    pub fn parse(text: &str) -> Result<PublicKey, SignError> {
        let bytes = text.parse::<Digest>().map_err(|_| SignError::Key)?;
        VerifyingKey::from_bytes(bytes.as_bytes())
            .map(PublicKey)
            .map_err(|_| SignError::Key)
    }

    fn verify(&self, message: &[u8], signature: &str) -> Result<(), SignError> {
        let wrong = || SignError::Signature {
            key: self.to_string(),
        };
        let bytes = unhex(signature).ok_or_else(wrong)?;
        let signature = Signature::from_slice(&bytes).map_err(|_| wrong())?;
        // Strict: one message and key have one signature, so a forged twin can't pass as a repeat.
        self.0
            .verify_strict(message, &signature)
            .map_err(|_| wrong())
    }

    /// Checks one signature over what an envelope holds, wherever that came from.
    ///
    /// # Errors
    /// When it isn't this key's over these bytes, or the payload is not base64.
    pub fn check(&self, envelope: &Envelope, signature: &str) -> Result<(), SignError> {
        self.verify(&signed_bytes(envelope)?, signature)
    }

    /// Checks an agent's request; gives the reason when it isn't one of this key's.
    ///
    /// # Errors
    /// When the signature doesn't fit.
    pub fn check_request(
        &self,
        claim: &AgentClaim,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<(), SignError> {
        let text = request_text(&claim.host, method, path, claim.at_ms, body);
        self.verify(&text, &claim.signature)
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(self.0.as_bytes()))
    }
}

/// Who an agent's request says it is from; to be checked with [`PublicKey::check_request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentClaim {
    /// The host's name, as it came.
    pub host: String,
    /// When it was signed, in Unix milliseconds.
    pub at_ms: i64,
    /// 128 hex digits.
    pub signature: String,
}

impl AgentClaim {
    /// Reads the `Authorization` header; `None` if it is of another kind.
    pub fn parse(header: &str) -> Option<AgentClaim> {
        let mut parts = header.strip_prefix("Plimsoll-Agent ")?.split(' ');
        let claim = AgentClaim {
            host: parts.next()?.to_owned(),
            at_ms: parts.next()?.parse().ok()?,
            signature: parts.next()?.to_owned(),
        };
        parts.next().is_none().then_some(claim)
    }
}

/// What can be asked of an [`Envelope`].
pub trait Open {
    /// The payload, once `key`'s signature over it was found to hold.
    ///
    /// # Errors
    /// When no signature holds, the type is another, or the payload can't be read.
    fn open<T: DeserializeOwned>(
        &self,
        wanted: &'static str,
        key: &PublicKey,
    ) -> Result<T, SignError>;
}

impl Open for Envelope {
    fn open<T: DeserializeOwned>(
        &self,
        wanted: &'static str,
        key: &PublicKey,
    ) -> Result<T, SignError> {
        let payload = STANDARD
            .decode(&self.payload)
            .map_err(|error| SignError::Payload(error.to_string()))?;
        let message = pre_authentication_encoding(&self.payload_type, &payload);
        let holds = self
            .signatures
            .iter()
            .any(|entry| key.verify(&message, &entry.sig).is_ok());
        if !holds {
            return Err(SignError::Signature {
                key: key.to_string(),
            });
        }
        if self.payload_type != wanted {
            return Err(SignError::Type {
                found: self.payload_type.clone(),
                wanted,
            });
        }
        serde_json::from_slice(&payload).map_err(|error| SignError::Payload(error.to_string()))
    }
}

fn signed_bytes(envelope: &Envelope) -> Result<Vec<u8>, SignError> {
    let payload = STANDARD
        .decode(&envelope.payload)
        .map_err(|error| SignError::Payload(error.to_string()))?;
    Ok(pre_authentication_encoding(
        &envelope.payload_type,
        &payload,
    ))
}

/// DSSE's PAE: lengths before texts, so that no two pairs of type and payload give the same bytes.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

fn request_text(host: &str, method: &str, path: &str, at_ms: i64, body: &[u8]) -> Vec<u8> {
    let body = Digest::of(body);
    format!("plimsoll-agent-v1\n{host}\n{method}\n{path}\n{at_ms}\n{body}").into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

/// A new bearer token: `pls_` and 64 hex digits. Only [`token_hash`] of it is ever stored.
///
/// # Errors
/// When the system gives no randomness.
pub fn new_token() -> Result<String, SignError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(SignError::Randomness)?;
    Ok(format!("pls_{}", hex(&secret)))
}

/// What is stored of a token. A plain hash is enough: the token is 256 random
/// bits, so there is nothing to guess that a slow hash would have to protect.
pub fn token_hash(token: &str) -> Digest {
    Digest::of(token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_for_its_own_key_and_bytes_only() {
        let (key, other) = (
            SecretKey::generate().unwrap(),
            SecretKey::generate().unwrap(),
        );
        let envelope = key.seal(ORDER_TYPE, &vec![1, 2, 3]);
        assert_eq!(
            envelope.open::<Vec<u8>>(ORDER_TYPE, &key.public()).unwrap(),
            [1, 2, 3]
        );
        assert!(
            envelope
                .open::<Vec<u8>>(ORDER_TYPE, &other.public())
                .is_err()
        );
        assert!(matches!(
            envelope.open::<Vec<u8>>("text/plain", &key.public()),
            Err(SignError::Type { .. })
        ));
        let mut forged = envelope.clone();
        forged.payload = STANDARD.encode(b"[9]");
        assert!(forged.open::<Vec<u8>>(ORDER_TYPE, &key.public()).is_err());
        let mut relabelled = envelope;
        relabelled.payload_type = "text/plain".into();
        assert!(
            relabelled
                .open::<Vec<u8>>("text/plain", &key.public())
                .is_err()
        );
    }

    #[test]
    fn a_second_signature_stands_beside_the_first() {
        let (control, ci) = (
            SecretKey::generate().unwrap(),
            SecretKey::generate().unwrap(),
        );
        let mut envelope = control.seal(ORDER_TYPE, &vec![1, 2, 3]);
        let second = ci.countersign(&envelope).unwrap();
        assert!(ci.public().check(&envelope, &second.sig).is_ok());
        assert!(control.public().check(&envelope, &second.sig).is_err());
        envelope.signatures.push(second.clone());
        for key in [control.public(), ci.public()] {
            assert!(envelope.open::<Vec<u8>>(ORDER_TYPE, &key).is_ok());
        }
        let other = control.seal(ORDER_TYPE, &vec![4]);
        assert!(ci.public().check(&other, &second.sig).is_err());
    }

    #[test]
    fn a_request_is_bound_to_host_method_path_time_and_body() {
        let key = SecretKey::generate().unwrap();
        let header = key.authorize("web-01", "POST", "/v1/x?y=1", 17, b"body");
        let claim = AgentClaim::parse(&header).unwrap();
        let public = key.public();
        assert!(
            public
                .check_request(&claim, "POST", "/v1/x?y=1", b"body")
                .is_ok()
        );
        assert!(
            public
                .check_request(&claim, "GET", "/v1/x?y=1", b"body")
                .is_err()
        );
        assert!(
            public
                .check_request(&claim, "POST", "/v1/x", b"body")
                .is_err()
        );
        assert!(
            public
                .check_request(&claim, "POST", "/v1/x?y=1", b"tody")
                .is_err()
        );
        let other = AgentClaim {
            host: "web-02".into(),
            ..claim.clone()
        };
        assert!(
            public
                .check_request(&other, "POST", "/v1/x?y=1", b"body")
                .is_err()
        );
        let later = AgentClaim { at_ms: 18, ..claim };
        assert!(
            public
                .check_request(&later, "POST", "/v1/x?y=1", b"body")
                .is_err()
        );
        assert_eq!(AgentClaim::parse("Bearer x"), None);
        assert_eq!(AgentClaim::parse("Plimsoll-Agent a 1 b c"), None);
    }

    #[test]
    fn a_key_file_is_made_once_and_kept_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let first = SecretKey::load_or_create(&path).unwrap();
        let second = SecretKey::load_or_create(&path).unwrap();
        assert_eq!(first.public(), second.public());
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            PublicKey::parse(&first.public().to_string()).unwrap(),
            first.public()
        );
        std::fs::write(&path, "nonsense").unwrap();
        assert!(matches!(
            SecretKey::load_or_create(&path),
            Err(SignError::Key)
        ));
    }

    #[test]
    fn odd_hex_is_refused_without_panic() {
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
        assert_eq!(unhex("ää"), None);
        assert_eq!(unhex("00ff"), Some(vec![0, 255]));
    }
}
