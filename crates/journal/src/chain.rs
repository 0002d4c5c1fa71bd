//! The hash chain: what is hashed, and walking along it.
//!
//! Invariant: a hash is taken over stored bytes, never over a value encoded
//! again, so an event that this version can't decode still verifies.

use std::fmt;
use std::io::Write;
use std::rc::Rc;

use model::{Digest, Event, Seq, Timestamp};

/// One event with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its position.
    pub seq: Seq,
    /// When it was appended; never earlier than the one before.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
    /// Covers this event and, through the one before, all earlier ones.
    pub hash: Digest,
    /// The event's bytes as they were appended: what is hashed. An older
    /// version's event has fewer fields here than [`Record::event`] would be
    /// written with today.
    pub stored: String,
}

/// The hash that event 1 follows: BLAKE3 of the text `plimsoll journal 1`.
pub fn genesis() -> Digest {
    Digest::of(b"plimsoll journal 1")
}

/// The end of the chain, where the next event goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) seq: Seq,
    /// The last event's time, below which no later one goes; absent in an empty journal.
    pub(crate) at: Option<Timestamp>,
    pub(crate) hash: Digest,
}

impl Tail {
    pub(crate) fn empty() -> Tail {
        Tail {
            seq: Seq(0),
            at: None,
            hash: genesis(),
        }
    }

    /// Moves to a time and returns it as it is hashed and stored. Time stands still where the clock went back.
    pub(crate) fn pass(&mut self, at: Timestamp) -> Rc<str> {
        let at = self.at.map_or(at, |last| last.max(at));
        self.at = Some(at);
        at.to_string().into()
    }

    /// Moves over one more event and returns its link.
    pub(crate) fn link<'a>(&mut self, at: &Rc<str>, event: &'a [u8]) -> Link<'a> {
        self.seq = Seq(self.seq.0 + 1);
        self.hash = hash(&self.hash, self.seq.0, at.as_bytes(), event);
        Link {
            seq: self.seq,
            at: Rc::clone(at),
            event,
            hash: self.hash,
        }
    }
}

/// One event ready to be stored.
pub(crate) struct Link<'a> {
    pub(crate) seq: Seq,
    /// Shared by all events of one append.
    pub(crate) at: Rc<str>,
    pub(crate) event: &'a [u8],
    pub(crate) hash: Digest,
}

/// One event as stored, not yet believed.
pub(crate) struct Row<'a> {
    pub(crate) seq: i64,
    pub(crate) at: &'a [u8],
    pub(crate) event: &'a [u8],
    pub(crate) hash: &'a [u8],
}

/// Where the stored chain is not what was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} {problem}")]
pub struct Damage {
    /// The first bad position.
    pub seq: Seq,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// No such event, though there are others at the far side.
    Missing {
        /// The position that was found instead.
        found: i64,
    },
    /// No such event, though a snapshot was taken after it: the journal's end is cut off.
    CutOff {
        /// Where the snapshot was taken.
        snapshot: Seq,
    },
    /// The stored hash is not that of the stored event after the one before.
    Hash,
    /// The hash fits, but a snapshot taken here saw another: history was written anew.
    Rewritten,
    /// The hash fits, but the time can't be read, or is earlier than the one before.
    Time,
    /// The hash fits, but the event is not a JSON object with a `type`.
    Form,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Missing { found } => {
                write!(f, "is missing: event {found} is in its place")
            }
            Problem::CutOff { snapshot } => write!(
                f,
                "is missing: the journal ends before it, and a snapshot was taken at event {snapshot}"
            ),
            Problem::Hash => {
                f.write_str("is not what was appended: its hash differs from the stored one")
            }
            Problem::Rewritten => {
                f.write_str("is not what was appended: a snapshot taken there saw another hash")
            }
            Problem::Time => f.write_str("has a time that can't be read or goes back"),
            Problem::Form => f.write_str("is not a JSON object with a type"),
        }
    }
}

/// Walks along stored rows and checks that each follows the one before.
pub(crate) struct Walker {
    tail: Tail,
}

impl Walker {
    /// Begins after a position whose hash is known.
    pub(crate) fn after(seq: Seq, hash: Digest) -> Walker {
        Walker {
            tail: Tail {
                seq,
                at: None,
                hash,
            },
        }
    }

    /// Where it stands.
    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// One row further.
    pub(crate) fn step(&mut self, row: &Row<'_>) -> Result<(), Damage> {
        let seq = Seq(self.tail.seq.0 + 1);
        let damage = |problem| Err(Damage { seq, problem });
        if u64::try_from(row.seq) != Ok(seq.0) {
            return damage(Problem::Missing { found: row.seq });
        }
        let hash = hash(&self.tail.hash, seq.0, row.at, row.event);
        if row.hash != hash.as_bytes() {
            return damage(Problem::Hash);
        }
        let at = std::str::from_utf8(row.at)
            .ok()
            .and_then(|at| at.parse().ok());
        let Some(at) = at.filter(|at| self.tail.at.is_none_or(|last| last <= *at)) else {
            return damage(Problem::Time);
        };
        self.tail = Tail {
            seq,
            at: Some(at),
            hash,
        };
        Ok(())
    }
}

/// The hash of one event: BLAKE3 over the canonical encoding of
/// `{"at": …, "event": …, "prev": …, "seq": …}`. Who has the events of a journal
/// from elsewhere walks the chain with this, beginning at [`genesis`].
///
/// The event's canonical bytes are put in as they are, which gives the same
/// bytes as encoding the whole anew, for any event of any version.
pub fn hash(prev: &Digest, seq: u64, at: &[u8], event: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"{\"at\":\"");
    hasher.update(at);
    hasher.update(b"\",\"event\":");
    hasher.update(event);
    hasher.update(b",\"prev\":\"");
    hasher.update(
        blake3::Hash::from_bytes(*prev.as_bytes())
            .to_hex()
            .as_bytes(),
    );
    // Writing to a hasher can't fail.
    let _ = write!(hasher, "\",\"seq\":{seq}}}");
    Digest::from_bytes(*hasher.finalize().as_bytes())
}
