//! The handle that everybody holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use model::{Event, Seq, Timestamp, canonical};
use tokio::sync::{mpsc, oneshot, watch};

use crate::chain::Record;
use crate::error::{
    AppendError, LoadSnapshotError, OpenError, ReadError, SaveSnapshotError, VerifyError,
};
use crate::lock::Lock;
use crate::sqlite::Store;
use crate::verify::{Verified, verify_file};
use crate::writer::Writer;
use crate::{
    APPEND_BYTES_MAX, EVENT_BYTES_MAX, EVENTS_PER_APPEND_MAX, QUEUE_MAX, SNAPSHOT_BYTES_MAX,
    reader, writer,
};

/// A journal that is open for appending. Cheap to clone; when the last clone
/// goes, the file is closed (that waits for the commit in progress).
///
/// No method waits for anything but the disk, and for its turn; callers that
/// have a deadline put it around the call.
#[derive(Debug, Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

/// Fields drop in this order: without senders the threads end, and then they are joined.
#[derive(Debug)]
struct Inner {
    path: PathBuf,
    write: mpsc::Sender<writer::Command>,
    read: mpsc::Sender<reader::Command>,
    position: watch::Receiver<Seq>,
    _threads: Threads,
}

/// A folded state as it was at a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// All events up to this one are in it.
    pub seq: Seq,
    /// The state, in the encoding that the format number stands for.
    pub state: Vec<u8>,
}

impl Journal {
    /// Opens the journal at `path`; makes it if there is none; brings an
    /// older file to the present format. Blocks for a few disk accesses.
    ///
    /// # Errors
    /// When another process has it open, when it is not a journal, too new or visibly damaged, and
    /// when the disk fails.
    pub fn open(path: &Path) -> Result<Journal, OpenError> {
        // The lock goes by name, so two names of one file must become one.
        let path = std::fs::canonicalize(path)
            .or_else(|_| std::path::absolute(path))
            .unwrap_or_else(|_| path.to_owned());
        let lock = Lock::take(&path)?;
        Journal::start(Store::open(&path)?, lock)
    }

    /// Starts the threads on a store that is open already.
    pub(crate) fn start(store: Store, lock: Lock) -> Result<Journal, OpenError> {
        let path = store.path.clone();
        let read_store = Store::open_read_only(&path)?;
        let writer = Writer::new(store, lock)?;
        let position = writer.position();
        // Before the senders, so dropped after them: a failure below must not join a thread that waits.
        let mut threads = Threads(Vec::new());
        let (write, write_commands) = mpsc::channel(QUEUE_MAX);
        let (read, read_commands) = mpsc::channel(QUEUE_MAX);
        threads.start("journal-write", move || writer.run(write_commands))?;
        threads.start("journal-read", move || {
            reader::run(read_store, read_commands)
        })?;
        Ok(Journal {
            inner: Arc::new(Inner {
                path,
                write,
                read,
                position,
                _threads: threads,
            }),
        })
    }

    /// The journal's file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The newest committed position.
    pub fn position(&self) -> Seq {
        *self.inner.position.borrow()
    }

    /// Appends `events` directly after position `expected`: all or nothing. Returns
    /// the new position once the events are on disk.
    ///
    /// If `at` is earlier than the last event's time (the wall clock was set
    /// back), that time is used instead: time in the journal never goes back.
    ///
    /// If the caller stops waiting, the events may or may not be appended.
    ///
    /// # Errors
    /// When the journal is not at `expected`, when a limit is passed, or when the disk fails; nothing
    /// was appended then. For [`AppendError::Closed`] see there.
    pub async fn append(
        &self,
        expected: Seq,
        at: Timestamp,
        events: Vec<Event>,
    ) -> Result<Seq, AppendError> {
        // Encoded here, not on the writing thread: that one serves everybody.
        let events = encode(&events)?;
        let (reply, answer) = oneshot::channel();
        let command = writer::Command::Append(writer::Append {
            expected,
            at,
            events,
            reply,
        });
        let sent = self.inner.write.send(command).await;
        sent.map_err(|_| AppendError::Closed)?;
        answer.await.unwrap_or(Err(AppendError::Closed))
    }

    /// The events after position `after`, in order, at most `limit`. Fewer
    /// than there are may come (see [`READ_BYTES_MAX`](crate::READ_BYTES_MAX)); none only when there are none.
    ///
    /// # Errors
    /// When an event is not what was appended or not known to this version, or the disk fails.
    pub async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Record>, ReadError> {
        let (reply, answer) = oneshot::channel();
        let command = reader::Command::Read {
            after,
            limit,
            reply,
        };
        let sent = self.inner.read.send(command).await;
        sent.map_err(|_| ReadError::Closed)?;
        answer.await.unwrap_or(Err(ReadError::Closed))
    }

    /// Returns when the position is beyond `seq`, or when the journal is
    /// closed: then nothing more will come, and the next read says so.
    pub async fn wait_beyond(&self, seq: Seq) {
        let mut position = self.inner.position.clone();
        let _closed = position.wait_for(|position| *position > seq).await;
    }

    /// Saves a state as it was at position `at`, bound to the chain there by
    /// the event's hash. The newest two are kept. `format` names the state's encoding.
    ///
    /// # Errors
    /// When there is no such position, the state is too large, or the disk fails. The journal goes on.
    pub async fn save_snapshot(
        &self,
        at: Seq,
        format: u32,
        state: Vec<u8>,
    ) -> Result<(), SaveSnapshotError> {
        if state.len() > SNAPSHOT_BYTES_MAX {
            return Err(SaveSnapshotError::TooLarge { bytes: state.len() });
        }
        let (reply, answer) = oneshot::channel();
        let command = writer::Command::SaveSnapshot {
            at,
            format,
            state,
            reply,
        };
        let sent = self.inner.write.send(command).await;
        sent.map_err(|_| SaveSnapshotError::Closed)?;
        answer.await.unwrap_or(Err(SaveSnapshotError::Closed))
    }

    /// The newest snapshot of that format that is whole and lies on the chain.
    ///
    /// # Errors
    /// When the disk fails. A damaged snapshot is passed over with a warning in the log.
    pub async fn load_snapshot(&self, format: u32) -> Result<Option<Snapshot>, LoadSnapshotError> {
        let (reply, answer) = oneshot::channel();
        let command = reader::Command::LoadSnapshot { format, reply };
        let sent = self.inner.read.send(command).await;
        sent.map_err(|_| LoadSnapshotError::Closed)?;
        answer.await.unwrap_or(Err(LoadSnapshotError::Closed))
    }

    /// Checks the whole chain, on a connection of its own beside the work.
    ///
    /// # Errors
    /// As [`verify_file`].
    pub async fn verify(&self) -> Result<Verified, VerifyError> {
        let path = self.inner.path.clone();
        let check = tokio::task::spawn_blocking(move || verify_file(&path));
        check.await.unwrap_or_else(|_| {
            Err(VerifyError::Stopped {
                path: self.inner.path.clone(),
            })
        })
    }

    /// Finishes what is queued, moves the log into the main file and closes
    /// it, for all clones. Closing twice does nothing more.
    pub async fn close(self) {
        // The reader first: while it looks at the file the log can't be cut.
        let (reply, answer) = oneshot::channel();
        if self
            .inner
            .read
            .send(reader::Command::Close { reply })
            .await
            .is_ok()
        {
            let _gone = answer.await;
        }
        let (reply, answer) = oneshot::channel();
        if self
            .inner
            .write
            .send(writer::Command::Close { reply })
            .await
            .is_ok()
        {
            let _gone = answer.await;
        }
    }
}

fn encode(events: &[Event]) -> Result<Vec<Vec<u8>>, AppendError> {
    if events.len() > EVENTS_PER_APPEND_MAX {
        return Err(AppendError::TooManyEvents {
            count: events.len(),
        });
    }
    let mut bytes_sum = 0;
    let mut encoded = Vec::with_capacity(events.len());
    for event in events {
        let kind = event.kind();
        let bytes =
            canonical::encode(event).map_err(|source| AppendError::Unencodable { kind, source })?;
        if bytes.len() > EVENT_BYTES_MAX {
            let bytes = bytes.len();
            return Err(AppendError::EventTooLarge { kind, bytes });
        }
        bytes_sum += bytes.len();
        if bytes_sum > APPEND_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes: bytes_sum });
        }
        encoded.push(bytes);
    }
    Ok(encoded)
}

/// Joined when dropped, so that a dropped journal can be opened again at once.
#[derive(Debug)]
struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    fn start(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(work)
            .map_err(|source| OpenError::Thread { source })?;
        self.0.push(thread);
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // A panic there was reported where it happened, and callers saw "closed".
            let _ = thread.join();
        }
    }
}
