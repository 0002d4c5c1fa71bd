//! Ways back that the control plane signed in advance: kept for the day it is gone.
//!
//! Invariant: one file for each service, whole or absent, and believed only
//! after its signature was checked, each time that it is read.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use model::order::Revert;
use model::refusal::Code;
use model::{Digest, OrderKind, Refusal, ServiceName};
use node::{Host, Input, Slot};
use wire::Envelope;

use crate::error::chain;
use crate::trust::{self, Trust};
use crate::{AgentError, disk};

/// An order and a few names; more than this is none of ours.
pub(crate) const ENVELOPE_BYTES_MAX: u64 = 32 << 10;
/// One for each service of a host; a control plane has no reason to send more.
const ENVELOPES_MAX: usize = 256;

/// Whom a person on the host speaks for, when nobody signed anything.
const PERSON: &str = "on the word of a person on this host";

fn path(state_dir: &Path, service: &ServiceName) -> PathBuf {
    state_dir.join("reverts").join(format!("{service}.json"))
}

/// Keeps what the control plane sent, the newest for each service. What can't
/// be kept is told in the log and changes nothing else.
pub(crate) fn keep(state_dir: &Path, trust: &Trust, host: &Host, sent: &[Envelope]) {
    for envelope in sent.iter().take(ENVELOPES_MAX) {
        if let Err(problem) = keep_one(state_dir, trust, host, envelope) {
            tracing::warn!(%problem, "a way back signed in advance is not kept");
        }
    }
}

fn keep_one(
    state_dir: &Path,
    trust: &Trust,
    host: &Host,
    envelope: &Envelope,
) -> Result<(), String> {
    let revert = trust.revert(envelope).map_err(|error| chain(&error))?;
    let order = &revert.order;
    if order.host != host.name {
        return Err(format!("it is for {}", order.host));
    }
    let Some(slot) = host.slots.get(&order.service) else {
        return Err(format!("this host does not run {}", order.service));
    };
    let before = read(state_dir, trust, &order.service);
    // Said again, or overtaken: no news.
    let older = |before: &Revert| *before == revert || before.order.generation > order.generation;
    if order.generation < slot.fence || before.as_ref().is_some_and(older) {
        return Ok(());
    }
    let bytes = serde_json::to_vec(envelope).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > ENVELOPE_BYTES_MAX {
        return Err(format!("it has {} bytes", bytes.len()));
    }
    let path = path(state_dir, &order.service);
    let written = fs::create_dir_all(state_dir.join("reverts"))
        .and_then(|()| disk::write(&path, &bytes, 0o600));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

/// What is kept for a service, if it is there and signed.
fn read(state_dir: &Path, trust: &Trust, service: &ServiceName) -> Option<Revert> {
    let envelope = envelope(&path(state_dir, service)).ok()?;
    trust.revert(&envelope).ok()
}

/// A signed way back from a file.
///
/// # Errors
/// When the file can't be read, or holds something else.
pub fn envelope(path: &Path) -> Result<Envelope, AgentError> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(ENVELOPE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(crate::error::at(path))?;
    serde_json::from_str(&text).map_err(|error| AgentError::Config {
        path: path.into(),
        reason: format!("this is no signed order: {error}"),
    })
}

/// What a person asks of this host.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Wish {
    pub(crate) service: ServiceName,
    /// One of the kept good digests; absent: home.
    pub(crate) to: Option<Digest>,
    /// A way back that was signed in advance and handed over.
    #[serde(default)]
    pub(crate) order: Option<Envelope>,
}

/// The input that a wish comes to, and on whose word.
pub(crate) fn choose(
    state_dir: &Path,
    host: &Host,
    wish: Wish,
) -> Result<(Input, String), Refusal> {
    let Wish { service, to, order } = wish;
    let trust = trust::pinned(state_dir).map(|key| Trust::new(key, Vec::new()));
    if let Some(envelope) = order {
        let revert = handed_over(trust, &envelope, &service)?;
        let word = node::authority(&revert);
        return Ok((Input::RevertInAdvance { revert }, word));
    }
    let kept = trust.ok().filter(|_| to.is_none());
    let kept = kept.and_then(|trust| read(state_dir, &trust, &service));
    let plain = Input::RevertLocal {
        service: service.clone(),
        to,
    };
    let Some(revert) = kept else {
        return Ok((plain, PERSON.into()));
    };
    let slot = host.slots.get(&service);
    if slot.is_some_and(|slot| nothing_to_undo(slot, &revert)) {
        return Ok((plain, PERSON.into()));
    }
    let (word, input) = (node::authority(&revert), Input::RevertInAdvance { revert });
    match node::decide(host, input.clone(), Timestamp::now()) {
        Ok(_) => Ok((input, word)),
        // Stale, mostly. Home is still home.
        Err(refusal) => Ok((plain, format!("{PERSON}; {refusal}"))),
    }
}

/// Whether the newest order is the one that it undoes, and yet isn't in use here
/// (it was declined, or left already).
fn nothing_to_undo(slot: &Slot, revert: &Revert) -> bool {
    let order = slot.dispatch.as_ref().map(|dispatch| &dispatch.order);
    let in_use = order.is_some_and(|order| {
        order.generation == revert.order.generation
            && matches!(order.kind, OrderKind::Forward | OrderKind::Restart)
            && order.digest == slot.subject()
    });
    slot.fence == revert.order.generation && !in_use
}

fn handed_over(
    trust: Result<Trust, AgentError>,
    envelope: &Envelope,
    service: &ServiceName,
) -> Result<Revert, Refusal> {
    const NEXT: &str = "Take the file as `plimsoll` wrote it, or leave it out: this host goes back to its own last good bundle.";
    let no = |code, message| Refusal::new(code, message, NEXT);
    let trust = trust.map_err(|error| {
        no(
            Code::BadSignature,
            format!("this host has no control plane's key to check the order with: {error}"),
        )
    })?;
    let revert = trust.revert(envelope).map_err(|error| {
        no(
            Code::BadSignature,
            format!("the order is not believed: {}", chain(&error)),
        )
    })?;
    if revert.order.service != *service {
        let about = &revert.order.service;
        return Err(no(
            Code::BadRequest,
            format!("the order is about {about}, not {service}"),
        ));
    }
    Ok(revert)
}
