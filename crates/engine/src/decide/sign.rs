//! Signatures over test results besides the control plane's own.
//!
//! Invariant: only keys that the service's rules name are taken, each once.

use model::refusal::Code;
use model::{Actor, EnvelopeSignature, Event, Refusal, ReleaseId};

use crate::{State, gates};

/// Hosts don't look at a test result with more: each signature costs them a check.
const SIGNATURES_MAX: usize = 16;

/// Somebody whose key the control plane doesn't hold signed a test's result.
pub(super) fn countersign(
    state: &State,
    by: Actor,
    id: ReleaseId,
    signature: EnvelopeSignature,
) -> Result<Vec<Event>, Refusal> {
    let Some(release) = state.releases.get(&id) else {
        return Err(Refusal::new(
            Code::UnknownRelease,
            format!("there is no release {id}"),
            "`plimsoll releases` lists them.",
        ));
    };
    let Some(envelope) = &release.attestation else {
        return Err(Refusal::new(
            Code::NotAttested,
            format!("release {id} has no test result to sign (yet)"),
            "`plimsoll status` shows what it waits for.",
        ));
    };
    let wanted = &gates::rules(state, &release.service).countersigners;
    if !wanted.contains(&signature.keyid) {
        return Err(Refusal::new(
            Code::BadSignature,
            format!(
                "key {} is none of the {} that the rules of {} name",
                signature.keyid,
                wanted.len(),
                release.service
            ),
            "Sign with a key of `countersigners` in plimsoll.toml; `plimsoll attest key FILE` shows a key's public half.",
        ));
    }
    let known = envelope.signatures.iter();
    if known.into_iter().any(|it| it.keyid == signature.keyid) {
        return Ok(Vec::new());
    }
    if envelope.signatures.len() >= SIGNATURES_MAX {
        return Err(Refusal::new(
            Code::TooLarge,
            format!("the test result of release {id} has {SIGNATURES_MAX} signatures"),
            "One of the keys that the rules name is enough.",
        ));
    }
    Ok(vec![Event::Countersigned {
        release: id,
        by,
        signature,
    }])
}
