//! Verifying a whole journal, while it is written or not.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use model::{Digest, Seq};
use serde::Deserialize;

use crate::chain::{Damage, Problem, Row, Walker, genesis};
use crate::error::{StoreError, VerifyError};
use crate::sqlite::{Store, store_error};

/// A journal whose every event is what was appended.
///
/// The file alone can't show that its newest events were cut off. Whoever
/// noted an earlier head can: that hash must be the one at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// How many events there are.
    pub events: u64,
    /// The last event's hash, which covers all of them.
    pub head: Digest,
}

/// Walks the whole chain of the journal at `path`, checks it against its
/// snapshots, and lets SQLite check the file. Changes nothing; a running
/// server goes on meanwhile.
///
/// # Errors
/// Names the first event that is missing, changed or unreadable, and what is wrong with it.
pub fn verify_file(path: &Path) -> Result<Verified, VerifyError> {
    let store = Store::open_read_only(path)?;
    // One transaction, so that events, snapshots and file are of one moment.
    let _moment = store
        .connection
        .unchecked_transaction()
        .map_err(|source| VerifyError::Open(store_error("read", path, source).into()))?;
    let mut walker = Walker::after(Seq(0), genesis());
    if let Err(stop) = walk(&store, &mut walker) {
        let path = path.to_owned();
        return Err(match stop {
            Stop::Damage(source) => VerifyError::Damaged { path, source },
            Stop::Store(source) => unreadable(path, &walker, source),
        });
    }
    match store.file_finding() {
        Ok(None) => Ok(Verified {
            events: walker.tail().seq.0,
            head: walker.tail().hash,
        }),
        Ok(Some(finding)) => Err(VerifyError::File {
            path: path.to_owned(),
            finding,
        }),
        Err(source) => Err(unreadable(path.to_owned(), &walker, source)),
    }
}

enum Stop {
    Damage(Damage),
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Stop {
        Stop::Store(error)
    }
}

fn walk(store: &Store, walker: &mut Walker) -> Result<(), Stop> {
    let anchors = store.snapshot_anchors()?;
    let mut anchors = anchors.iter().filter(|(seq, _)| *seq > Seq(0)).peekable();
    store.read(Seq(0), |row| {
        walker.step(&row).map_err(Stop::Damage)?;
        let seq = walker.tail().seq;
        let damage = |problem| Err(Stop::Damage(Damage { seq, problem }));
        if !has_form(&row) {
            return damage(Problem::Form);
        }
        if let Some((_, chain)) = anchors.next_if(|(anchor, _)| *anchor == seq)
            && chain != walker.tail().hash.as_bytes()
        {
            return damage(Problem::Rewritten);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    match anchors.next() {
        None => Ok(()),
        Some((snapshot, _)) => Err(Stop::Damage(Damage {
            seq: Seq(walker.tail().seq.0 + 1),
            problem: Problem::CutOff {
                snapshot: *snapshot,
            },
        })),
    }
}

/// Any object with a type will do: a later version's events verify here too.
fn has_form(row: &Row<'_>) -> bool {
    #[derive(Deserialize)]
    struct Form<'a> {
        #[serde(borrow, rename = "type")]
        _kind: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Form<'_>>(row.event).is_ok()
}

fn unreadable(path: PathBuf, walker: &Walker, source: StoreError) -> VerifyError {
    VerifyError::Unreadable {
        path,
        seq: Seq(walker.tail().seq.0 + 1),
        source,
    }
}
