//! Snapshots of the state that nobody but this control plane can have written.
//!
//! Invariant: a state that this control plane's key did not seal, at this very
//! position, is never believed. The journal's own check of a snapshot stops
//! damage; whoever can write the database could make that check fit.

use model::{Digest, Seq};
use serde::{Deserialize, Serialize};
use wire::sign::SNAPSHOT_TYPE;
use wire::{Envelope, Open, SecretKey};

/// What is signed: the state's bytes at a position.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sealed {
    seq: Seq,
    state: Digest,
}

/// The bytes to store: an envelope in one line, then the state.
pub(crate) fn seal(key: &SecretKey, seq: Seq, state: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let sealed = Sealed {
        seq,
        state: Digest::of(state),
    };
    let mut bytes = serde_json::to_vec(&key.seal(SNAPSHOT_TYPE, &sealed))?;
    bytes.push(b'\n');
    bytes.extend_from_slice(state);
    Ok(bytes)
}

/// The state in stored bytes; else what is wrong with its seal.
pub(crate) fn open<'a>(key: &SecretKey, seq: Seq, stored: &'a [u8]) -> Result<&'a [u8], String> {
    let end = stored.iter().position(|byte| *byte == b'\n');
    let (line, state) = end
        .and_then(|end| Some((stored.get(..end)?, stored.get(end + 1..)?)))
        .ok_or("it has no seal")?;
    let envelope: Envelope =
        serde_json::from_slice(line).map_err(|error| format!("it has no seal: {error}"))?;
    let sealed: Sealed = envelope
        .open(SNAPSHOT_TYPE, &key.public())
        .map_err(|error| error.to_string())?;
    let wanted = Sealed {
        seq,
        state: Digest::of(state),
    };
    if sealed == wanted {
        Ok(state)
    } else {
        Err("its seal is another state's".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_key_sealed_at_this_position_is_believed() {
        let key = SecretKey::generate().unwrap();
        let state = br#"{"tokens":{}}"#;
        let stored = seal(&key, Seq(7), state).unwrap();
        assert_eq!(open(&key, Seq(7), &stored), Ok(state.as_slice()));

        let line = stored.iter().position(|byte| *byte == b'\n').unwrap();
        let mut forged = stored[..=line].to_vec();
        forged.extend(br#"{"tokens":{"0":"mine"}}"#);
        let stranger = seal(&SecretKey::generate().unwrap(), Seq(7), state).unwrap();
        for (seq, bytes, flaw) in [
            (Seq(7), forged.as_slice(), "another state's"),
            (Seq(8), &stored, "another state's"),
            (Seq(7), &stranger, "does not fit"),
            (Seq(7), state, "no seal"),
            (Seq(7), b"{}\n{}", "no seal"),
            (Seq(7), b"", "no seal"),
        ] {
            let said = open(&key, seq, bytes).unwrap_err();
            assert!(said.contains(flaw), "{said}");
        }
    }
}
