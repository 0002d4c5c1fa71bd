//! What can go wrong, one enum for each operation.
//!
//! Each message says what happened, where, and what to do next; the cause is
//! the source and is not repeated.

use std::io;
use std::path::PathBuf;

use model::{Seq, canonical};

use crate::chain::Damage;
use crate::{APPEND_BYTES_MAX, EVENT_BYTES_MAX, EVENTS_PER_APPEND_MAX, SNAPSHOT_BYTES_MAX};

/// The database said no.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {path}: {kind}")]
pub struct StoreError {
    /// What was being done: `append to`, `read`.
    pub action: &'static str,
    /// The journal's file.
    pub path: PathBuf,
    /// What sort of trouble, for programs.
    pub kind: StoreErrorKind,
    /// What the database said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What sort of trouble a [`StoreError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreErrorKind {
    /// No room.
    #[error("the disk is full; free some space, nothing needs a restart")]
    Full,
    /// The file is not, or no longer, a sound database.
    #[error("the file is damaged; keep a copy of it, verify it, and restore it from a backup")]
    Damaged,
    /// Another program holds it.
    #[error("another program keeps it locked; end that program (a backup, a database shell)")]
    Busy,
    /// It may be read but not written, or not even read.
    #[error("access is denied; check the owner and mode of the file and its folder")]
    Denied,
    /// Anything else.
    #[error("the database failed; check the disk and the system's log")]
    Other,
}

/// Why a journal was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or this one) has it open.
    #[error(
        "journal {path} is in use by {}; stop that process, or use another data directory",
        pid.map_or("another process".into(), |pid| format!("pid {pid}"))
    )]
    InUse {
        /// The journal's file.
        path: PathBuf,
        /// Who has it, when the lock file says.
        pid: Option<u32>,
    },
    /// The file or its lock can't be created or opened.
    #[error("could not open {path}; check that its folder exists and may be written")]
    Io {
        /// The file that it was about.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A database, but somebody else's.
    #[error("{path} is not a Plimsoll journal; nothing in it was changed: name another file")]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error(
        "journal {path} has format {found}, and this version knows formats up to {known}; run the newer version of Plimsoll that wrote it"
    )]
    TooNew {
        /// The journal's file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The last event is not what was appended.
    #[error(
        "journal {path} is damaged; keep a copy of it, verify it, and restore it from a backup"
    )]
    Damaged {
        /// The journal's file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: Damage,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No thread to be had.
    #[error("could not start a thread for the journal; check the limits on this process")]
    Thread {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Decided on a state that is no longer the newest.
    #[error("the journal is at {actual}, not at {expected}; read on and decide again")]
    Conflict {
        /// Where the events were decided.
        expected: Seq,
        /// Where the journal is.
        actual: Seq,
    },
    /// More than [`EVENTS_PER_APPEND_MAX`] events.
    #[error("{count} events in one append; at most {EVENTS_PER_APPEND_MAX}: append them in parts")]
    TooManyEvents {
        /// How many.
        count: usize,
    },
    /// More than [`EVENT_BYTES_MAX`] bytes.
    #[error("a {kind} event of {bytes} bytes; at most {EVENT_BYTES_MAX}: make its content smaller")]
    EventTooLarge {
        /// The event's kind.
        kind: &'static str,
        /// Its encoded size.
        bytes: usize,
    },
    /// More than [`APPEND_BYTES_MAX`] bytes.
    #[error("{bytes} bytes in one append; at most {APPEND_BYTES_MAX}: append them in parts")]
    TooLarge {
        /// The encoded size of all events.
        bytes: usize,
    },
    /// The event has no canonical encoding: a mistake in the program.
    #[error("a {kind} event can't be encoded; this is a bug in Plimsoll, please report it")]
    Unencodable {
        /// The event's kind.
        kind: &'static str,
        /// Why.
        #[source]
        source: canonical::CanonicalError,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal was closed. If that was while this append waited, it may
    /// or may not have been committed: the reopened journal's position tells.
    #[error("the journal is closed; open it again")]
    Closed,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What is stored is not what was appended.
    #[error(
        "journal {path} is damaged; keep a copy of it, verify it, and restore it from a backup"
    )]
    Damaged {
        /// The journal's file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: Damage,
    },
    /// The event is whole, but this version doesn't know it.
    #[error(
        "this version can't read event {seq} of journal {path}; run the newer version of Plimsoll that wrote it"
    )]
    UnknownEvent {
        /// The journal's file.
        path: PathBuf,
        /// Which event.
        seq: Seq,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal was closed.
    #[error("the journal is closed; open it again")]
    Closed,
}

/// Why a snapshot was not saved. The journal works without it.
#[derive(Debug, thiserror::Error)]
pub enum SaveSnapshotError {
    /// There is no such position yet.
    #[error(
        "a snapshot at {at}, and the journal is at {position}; save it at an appended position"
    )]
    Beyond {
        /// Where the snapshot was said to be.
        at: Seq,
        /// Where the journal is.
        position: Seq,
    },
    /// More than [`SNAPSHOT_BYTES_MAX`] bytes.
    #[error("a snapshot of {bytes} bytes; at most {SNAPSHOT_BYTES_MAX}: go on without one")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal was closed.
    #[error("the journal is closed; open it again")]
    Closed,
}

/// Why no snapshot was looked for. A damaged one is not an error, but as good as none.
#[derive(Debug, thiserror::Error)]
pub enum LoadSnapshotError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal was closed.
    #[error("the journal is closed; open it again")]
    Closed,
}

/// Why a journal did not verify.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It can't be opened for reading.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is stored is not what was appended.
    #[error(
        "journal {path} is damaged; keep a copy of it, and restore it from a backup whose end hash is known"
    )]
    Damaged {
        /// The journal's file.
        path: PathBuf,
        /// The first bad position and what is wrong there.
        #[source]
        source: Damage,
    },
    /// The database can't be read beyond some event.
    #[error("journal {path} can't be read from event {seq} on")]
    Unreadable {
        /// The journal's file.
        path: PathBuf,
        /// The first event that can't be read.
        seq: Seq,
        /// What the database said.
        #[source]
        source: StoreError,
    },
    /// All events are sound, but the file around them is not.
    #[error(
        "all events of journal {path} are sound, but the file is not ({finding}); export them, and restore the file from a backup"
    )]
    File {
        /// The journal's file.
        path: PathBuf,
        /// What the database's own check says.
        finding: String,
    },
    /// The check itself was stopped, as the process ends.
    #[error("the check of journal {path} was stopped; run it again")]
    Stopped {
        /// The journal's file.
        path: PathBuf,
    },
}

/// Why an export is not complete.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It can't be opened for reading.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is stored is not what was appended; all before it was written.
    #[error("journal {path} is damaged; the export ends before the damage: verify the journal")]
    Damaged {
        /// The journal's file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: Damage,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The export can't be written.
    #[error("could not write the export; check the disk or program that it goes to")]
    Write {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
