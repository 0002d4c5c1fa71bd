//! The writing thread: takes commands in order, commits, and only then answers.
//!
//! Invariant: the position that others see, and every answer, speaks of
//! committed events only.

use model::{Digest, Seq, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use crate::chain::Tail;
use crate::error::{AppendError, OpenError, SaveSnapshotError, StoreError, StoreErrorKind};
use crate::lock::Lock;
use crate::sqlite::Store;

/// Appends that may share one transaction: as many as can wait.
const GROUP_MAX: usize = crate::QUEUE_MAX;

/// What the thread can be asked for.
pub(crate) enum Command {
    Append(Append),
    SaveSnapshot {
        at: Seq,
        format: u32,
        state: Vec<u8>,
        reply: oneshot::Sender<Result<(), SaveSnapshotError>>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// Events to append at a position, already encoded by the caller.
pub(crate) struct Append {
    pub(crate) expected: Seq,
    pub(crate) at: Timestamp,
    pub(crate) events: Vec<Vec<u8>>,
    pub(crate) reply: oneshot::Sender<Result<Seq, AppendError>>,
}

/// The thread's state. Fields drop in this order: the database is closed before the lock is given up.
pub(crate) struct Writer {
    store: Store,
    /// Absent after a failed commit, until it was read from the database again.
    tail: Option<Tail>,
    position: watch::Sender<Seq>,
    _lock: Lock,
}

impl Writer {
    pub(crate) fn new(store: Store, lock: Lock) -> Result<Writer, OpenError> {
        let tail = store.tail()?.map_err(|source| OpenError::Damaged {
            path: store.path.clone(),
            source,
        })?;
        Ok(Writer {
            position: watch::Sender::new(tail.seq),
            store,
            tail: Some(tail),
            _lock: lock,
        })
    }

    pub(crate) fn position(&self) -> watch::Receiver<Seq> {
        self.position.subscribe()
    }

    /// Serves until told to close, or until no handle is left.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut next = commands.blocking_recv();
        while let Some(command) = next.take() {
            match command {
                Command::Append(first) => {
                    let mut group = vec![first];
                    while group.len() < GROUP_MAX {
                        match commands.try_recv() {
                            Ok(Command::Append(append)) => group.push(append),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(group);
                }
                Command::SaveSnapshot {
                    at,
                    format,
                    state,
                    reply,
                } => {
                    // A caller that no longer listens has no use for the answer; so below too.
                    let _ = reply.send(self.save_snapshot(at, format, &state));
                }
                Command::Close { reply } => {
                    // Nothing is lost without it: the log is read at the next opening.
                    if let Err(error) = self.store.checkpoint() {
                        warn!(%error, "the journal was closed without a checkpoint");
                    }
                    drop(self);
                    drop(commands);
                    let _ = reply.send(());
                    return;
                }
            }
            if next.is_none() {
                next = commands.blocking_recv();
            }
        }
    }

    /// Commits all appends of the group that follow one another, in one transaction.
    fn commit(&mut self, group: Vec<Append>) {
        match self.try_commit(&group) {
            Ok(answers) => {
                if let Some(tail) = &self.tail {
                    self.position.send_replace(tail.seq);
                }
                for (append, answer) in group.into_iter().zip(answers) {
                    let _ = append.reply.send(answer);
                }
            }
            Err(error) => match <[Append; 1]>::try_from(group) {
                Ok([append]) => {
                    let _ = append.reply.send(Err(error.into()));
                }
                // One of them may be to blame (too large for the disk); the others need not suffer.
                Err(group) => group
                    .into_iter()
                    .for_each(|append| self.commit(vec![append])),
            },
        }
    }

    fn try_commit(
        &mut self,
        group: &[Append],
    ) -> Result<Vec<Result<Seq, AppendError>>, StoreError> {
        let mut tail = self.take_tail()?;
        let mut links = Vec::new();
        let mut answers = Vec::new();
        for append in group {
            if append.expected == tail.seq {
                if !append.events.is_empty() {
                    let at = tail.pass(append.at);
                    links.extend(append.events.iter().map(|event| tail.link(&at, event)));
                }
                answers.push(Ok(tail.seq));
            } else {
                answers.push(Err(AppendError::Conflict {
                    expected: append.expected,
                    actual: tail.seq,
                }));
            }
        }
        if !links.is_empty() {
            self.store.append(&links)?;
        }
        self.tail = Some(tail);
        Ok(answers)
    }

    /// The known tail, or the database's: after a failure only that one counts.
    fn take_tail(&mut self) -> Result<Tail, StoreError> {
        if let Some(tail) = self.tail.take() {
            return Ok(tail);
        }
        let tail = self.store.tail()?.map_err(|damage| StoreError {
            action: "append to",
            path: self.store.path.clone(),
            kind: StoreErrorKind::Damaged,
            source: Box::new(damage),
        })?;
        self.position.send_replace(tail.seq);
        Ok(tail)
    }

    fn save_snapshot(
        &mut self,
        at: Seq,
        format: u32,
        state: &[u8],
    ) -> Result<(), SaveSnapshotError> {
        let chain: Option<Digest> = self.store.hash_at(at)?;
        let Some(chain) = chain else {
            return Err(SaveSnapshotError::Beyond {
                at,
                position: *self.position.borrow(),
            });
        };
        Ok(self.store.save_snapshot(at, format, &chain, state)?)
    }
}
