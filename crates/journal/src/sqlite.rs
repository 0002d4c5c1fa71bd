//! The store on SQLite: rows in, rows out, each append one transaction.
//!
//! Invariant: what `append` returned `Ok` for is on the disk (write-ahead log
//! with `synchronous = FULL`); what it returned an error for is not in the
//! database, unless the disk itself lied.

use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Digest, Seq};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::SNAPSHOTS_KEPT;
use crate::chain::{Damage, Link, Row, Tail, Walker, genesis};
use crate::error::{OpenError, StoreError, StoreErrorKind};
use crate::schema;

/// How long a statement waits for a lock that another program holds. There is
/// no second writer of ours, so only a stranger (a backup, a shell) is waited
/// for; after this the operation fails and says so.
const BUSY_MAX: Duration = Duration::from_secs(2);

/// The log is cut back to this after a large transaction, so that one big snapshot doesn't occupy
/// the disk twice for ever.
const LOG_BYTES_KEPT: i64 = 16 << 20;

/// One connection to a journal's file.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
}

/// One snapshot as stored, not yet believed.
pub(crate) struct StoredSnapshot {
    pub(crate) seq: Seq,
    pub(crate) chain: Vec<u8>,
    pub(crate) state_hash: Vec<u8>,
    pub(crate) state: Vec<u8>,
}

impl Store {
    /// Opens for writing; creates and migrates.
    pub(crate) fn open(path: &Path) -> Result<Store, OpenError> {
        create(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = connect(path, flags)?;
        let failed = |source| store_error("open", path, source);
        // Before the first write: a stranger's file must stay as it was.
        schema::check(&connection, path, schema::MIGRATIONS)?;
        set_durable(&connection).map_err(failed)?;
        schema::migrate(&mut connection, path, schema::MIGRATIONS)?;
        Ok(Store {
            connection,
            path: path.to_owned(),
        })
    }

    /// Opens for reading what another connection or process may be writing.
    pub(crate) fn open_read_only(path: &Path) -> Result<Store, OpenError> {
        // Only asked about, not opened: closing a descriptor of ours would drop the locks that
        // SQLite's connections in this process hold on the same file.
        if let Err(source) = path.metadata() {
            return Err(OpenError::Io {
                path: path.to_owned(),
                source,
            });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = connect(path, flags)?;
        if schema::check(&connection, path, schema::MIGRATIONS)? == 0 {
            return Err(OpenError::NotAJournal {
                path: path.to_owned(),
            });
        }
        Ok(Store {
            connection,
            path: path.to_owned(),
        })
    }

    /// Stores `links` in one transaction: all of them, or none.
    pub(crate) fn append(&mut self, links: &[Link<'_>]) -> Result<(), StoreError> {
        let failed = |source| store_error("append to", &self.path, source);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO event (seq, at, body, hash) VALUES (?1, ?2, ?3, ?4)")
                .map_err(failed)?;
            for link in links {
                // Canonical encodings are JSON, so this is text; if it were not, nothing is stored.
                let body = std::str::from_utf8(link.event)
                    .map_err(|error| failed(rusqlite::Error::Utf8Error(0, error)))?;
                insert
                    .execute(params![
                        row_id(link.seq),
                        &*link.at,
                        body,
                        link.hash.as_bytes()
                    ])
                    .map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    /// Shows every row after `after` in order, until `visit` breaks off.
    pub(crate) fn read<E: From<StoreError>>(
        &self,
        after: Seq,
        mut visit: impl FnMut(Row<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let failed = |source| store_error("read", &self.path, source);
        // Position 0 means all rows, even such as have a position below 1, which must be noticed.
        let after = if after == Seq(0) {
            i64::MIN
        } else {
            row_id(after)
        };
        let mut select = self
            .connection
            .prepare_cached("SELECT seq, at, body, hash FROM event WHERE seq > ?1 ORDER BY seq")
            .map_err(failed)?;
        let mut rows = select.query([after]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            // A value of a wrong kind reads as empty, and then its hash is wrong.
            let bytes = |column| {
                row.get_ref(column)
                    .map(|value| value.as_bytes().unwrap_or_default())
            };
            let row = Row {
                seq: row.get(0).map_err(failed)?,
                at: bytes(1).map_err(failed)?,
                event: bytes(2).map_err(failed)?,
                hash: bytes(3).map_err(failed)?,
            };
            if visit(row)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The stored hash of the event at `seq`; the chain's beginning for 0.
    pub(crate) fn hash_at(&self, seq: Seq) -> Result<Option<Digest>, StoreError> {
        if seq == Seq(0) {
            return Ok(Some(genesis()));
        }
        let bytes: Option<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT hash FROM event WHERE seq = ?1")
            .and_then(|mut select| select.query_row([row_id(seq)], |row| row.get(0)).optional())
            .map_err(|source| store_error("read", &self.path, source))?;
        Ok(bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Digest::from_bytes))
    }

    /// The end of the chain. Its last event is checked; the damage is the inner error.
    pub(crate) fn tail(&self) -> Result<Result<Tail, Damage>, StoreError> {
        let last: Option<i64> = self
            .connection
            .query_row("SELECT max(seq) FROM event", [], |row| row.get(0))
            .map_err(|source| store_error("read", &self.path, source))?;
        let Some(last) = last else {
            return Ok(Ok(Tail::empty()));
        };
        let before = Seq(u64::try_from(last).unwrap_or(0).saturating_sub(1));
        let Some(hash) = self.hash_at(before)? else {
            let problem = crate::Problem::Missing { found: last };
            return Ok(Err(Damage {
                seq: before,
                problem,
            }));
        };
        let mut walker = Walker::after(before, hash);
        let mut walked = Ok(());
        self.read(before, |row| {
            walked = walker.step(&row);
            Ok::<_, StoreError>(ControlFlow::Break(()))
        })?;
        Ok(walked.map(|()| walker.tail().clone()))
    }

    /// Stores a snapshot and drops all but the newest.
    pub(crate) fn save_snapshot(
        &mut self,
        seq: Seq,
        format: u32,
        chain: &Digest,
        state: &[u8],
    ) -> Result<(), StoreError> {
        let failed = |source| store_error("save a snapshot in", &self.path, source);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        transaction
            .execute(
                "INSERT OR REPLACE INTO snapshot (seq, format, chain, state_hash, state)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    row_id(seq),
                    format,
                    chain.as_bytes(),
                    Digest::of(state).as_bytes(),
                    state
                ],
            )
            .map_err(failed)?;
        transaction
            .execute(
                "DELETE FROM snapshot WHERE seq NOT IN
                 (SELECT seq FROM snapshot ORDER BY seq DESC LIMIT ?1)",
                [SNAPSHOTS_KEPT as i64],
            )
            .map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    /// The newest snapshot of a format below a position, to be checked by the caller.
    pub(crate) fn snapshot_before(
        &self,
        before: Option<Seq>,
        format: u32,
    ) -> Result<Option<StoredSnapshot>, StoreError> {
        self.connection
            .query_row(
                "SELECT seq, chain, state_hash, state FROM snapshot
                 WHERE format = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT 1",
                params![format, before.map_or(i64::MAX, row_id)],
                |row| {
                    Ok(StoredSnapshot {
                        seq: Seq(u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0)),
                        chain: row.get(1)?,
                        state_hash: row.get(2)?,
                        state: row.get(3)?,
                    })
                },
            )
            .optional()
            .map_err(|source| store_error("load a snapshot from", &self.path, source))
    }

    /// Where snapshots were taken, and the chain's hash that each saw there.
    pub(crate) fn snapshot_anchors(&self) -> Result<Vec<(Seq, Vec<u8>)>, StoreError> {
        self.connection
            .prepare("SELECT seq, chain FROM snapshot ORDER BY seq")
            .and_then(|mut select| {
                select
                    .query_map([], |row| {
                        let seq = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
                        Ok((Seq(seq), row.get(1)?))
                    })?
                    .collect()
            })
            .map_err(|source| store_error("read", &self.path, source))
    }

    /// SQLite's own check of the file: what it finds first, if anything.
    pub(crate) fn file_finding(&self) -> Result<Option<String>, StoreError> {
        let finding: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|source| store_error("check", &self.path, source))?;
        Ok((finding != "ok").then_some(finding))
    }

    /// Moves everything from the log into the main file, as far as readers allow.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|source| store_error("checkpoint", &self.path, source))
    }
}

/// The settings that acknowledged writes rest on. The bench sets the same for the bare database it compares with.
pub(crate) fn set_durable(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)
}

/// A database's error with its place, and its sort told from SQLite's code.
pub(crate) fn store_error(
    action: &'static str,
    path: &Path,
    source: rusqlite::Error,
) -> StoreError {
    let kind = match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreErrorKind::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreErrorKind::Damaged,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreErrorKind::Busy,
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            StoreErrorKind::Denied
        }
        _ => StoreErrorKind::Other,
    };
    StoreError {
        action,
        path: path.to_owned(),
        kind,
        source: Box::new(source),
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let failed = |source| store_error("open", path, source);
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_MAX).map_err(failed)?;
    // The file may come from anywhere: no functions from its schema, no unchecked cells.
    connection
        .pragma_update(None, "trusted_schema", false)
        .and_then(|()| connection.pragma_update(None, "cell_size_check", true))
        .map_err(failed)?;
    Ok(connection)
}

/// Makes the file if there is none, readable by its owner only: it names
/// people, hosts and token hashes. SQLite gives the log the same mode.
/// An existing file is not touched (see [`Store::open_read_only`] for why).
fn create(path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        made => made.map_err(failed)?,
    };
    // The new name must survive a power cut as surely as the first event.
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

/// Positions beyond SQLite's are never reached; they read as "after everything".
fn row_id(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}
