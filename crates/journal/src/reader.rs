//! The reading thread: batches of checked records, and snapshots that still fit the chain.

use std::ops::ControlFlow;

use model::Seq;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::chain::{Damage, Problem, Record, Row, Walker};
use crate::error::{LoadSnapshotError, ReadError, StoreError};
use crate::handle::Snapshot;
use crate::sqlite::{Store, StoredSnapshot};
use crate::{EVENTS_PER_READ_MAX, READ_BYTES_MAX};

/// What the thread can be asked for.
pub(crate) enum Command {
    Read {
        after: Seq,
        limit: usize,
        reply: oneshot::Sender<Result<Vec<Record>, ReadError>>,
    },
    LoadSnapshot {
        format: u32,
        reply: oneshot::Sender<Result<Option<Snapshot>, LoadSnapshotError>>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// Serves until told to close, or until no handle is left.
pub(crate) fn run(store: Store, mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.blocking_recv() {
        // A caller that no longer listens has no use for the answer.
        match command {
            Command::Read {
                after,
                limit,
                reply,
            } => drop(reply.send(read(&store, after, limit))),
            Command::LoadSnapshot { format, reply } => {
                drop(reply.send(load_snapshot(&store, format)));
            }
            Command::Close { reply } => {
                drop((store, commands));
                let _ = reply.send(());
                return;
            }
        }
    }
}

fn read(store: &Store, after: Seq, limit: usize) -> Result<Vec<Record>, ReadError> {
    let limit = limit.min(EVENTS_PER_READ_MAX);
    let mut records = Vec::new();
    let mut bytes = 0;
    if limit == 0 {
        return Ok(records);
    }
    let mut walker = store.hash_at(after)?.map(|hash| Walker::after(after, hash));
    store.read(after, |row| {
        let Some(walker) = &mut walker else {
            // There are events beyond it, so it is not after the end but torn out.
            let problem = Problem::Missing { found: row.seq };
            return Err(damaged(
                store,
                Damage {
                    seq: after,
                    problem,
                },
            ));
        };
        bytes += row.event.len();
        records.push(record(store, walker, &row)?);
        Ok(if records.len() >= limit || bytes >= READ_BYTES_MAX {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    Ok(records)
}

fn record(store: &Store, walker: &mut Walker, row: &Row<'_>) -> Result<Record, ReadError> {
    walker.step(row).map_err(|damage| damaged(store, damage))?;
    let tail = walker.tail();
    let event = serde_json::from_slice(row.event).map_err(|source| ReadError::UnknownEvent {
        path: store.path.clone(),
        seq: tail.seq,
        source,
    })?;
    Ok(Record {
        seq: tail.seq,
        // A walker that made a step has the time of that step.
        at: tail.at.unwrap_or_default(),
        event,
        hash: tail.hash,
        // It was parsed as JSON, so it is UTF-8.
        stored: String::from_utf8_lossy(row.event).into_owned(),
    })
}

fn damaged(store: &Store, source: Damage) -> ReadError {
    ReadError::Damaged {
        path: store.path.clone(),
        source,
    }
}

/// The newest snapshot that is whole and lies on the chain. A bad one is no
/// error: the journal is the truth, a snapshot only saves time.
fn load_snapshot(store: &Store, format: u32) -> Result<Option<Snapshot>, LoadSnapshotError> {
    let mut before = None;
    while let Some(stored) = store.snapshot_before(before, format)? {
        match flaw(store, &stored)? {
            None => {
                return Ok(Some(Snapshot {
                    seq: stored.seq,
                    state: stored.state,
                }));
            }
            Some(flaw) => warn!(
                path = %store.path.display(),
                seq = stored.seq.0,
                flaw,
                "a snapshot is not usable; falling back to an older one or to the whole journal"
            ),
        }
        before = Some(stored.seq);
    }
    Ok(None)
}

fn flaw(store: &Store, stored: &StoredSnapshot) -> Result<Option<&'static str>, StoreError> {
    let hash = model::Digest::of(&stored.state);
    if stored.state_hash != hash.as_bytes() {
        return Ok(Some("its bytes are not those that were saved"));
    }
    let chain = store.hash_at(stored.seq)?;
    let on_chain = chain.is_some_and(|chain| stored.chain == chain.as_bytes());
    Ok((!on_chain).then_some("it was not taken from this chain"))
}
