//! The database's shape: who owns the file, which version it has, and how it got there.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::error::OpenError;
use crate::sqlite::store_error;

/// Marks a database as a Plimsoll journal: "Plim" in ASCII.
pub(crate) const APPLICATION_ID: i32 = 0x506c_696d;

/// Each entry takes the schema one version further; version N is the first N entries.
/// An entry that was released is never changed, because files made by it exist.
pub(crate) const MIGRATIONS: &[&str] = &[
    // 1: events and snapshots. The body is TEXT so that a database shell shows it
    // and its JSON functions work. The triggers stop accidents, not attackers:
    // those are found by the hashes.
    "CREATE TABLE event (
        seq  INTEGER PRIMARY KEY,
        at   TEXT NOT NULL,
        body TEXT NOT NULL,
        hash BLOB NOT NULL
    ) STRICT;
    CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
    CREATE TRIGGER event_is_never_deleted BEFORE DELETE ON event
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
    CREATE TABLE snapshot (
        seq        INTEGER PRIMARY KEY,
        format     INTEGER NOT NULL,
        chain      BLOB NOT NULL,
        state_hash BLOB NOT NULL,
        state      BLOB NOT NULL
    ) STRICT;",
];

/// Refuses a file that is not ours or too new, without changing it. Returns its version.
pub(crate) fn check(
    connection: &Connection,
    path: &Path,
    migrations: &[&str],
) -> Result<usize, OpenError> {
    let failed = |source| store_error("read", path, source);
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
    let application = number("PRAGMA application_id").map_err(failed)?;
    let version = number("PRAGMA user_version").map_err(failed)?;
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(failed)?;
    let unborn = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION_ID && !unborn {
        return Err(OpenError::NotAJournal {
            path: path.to_owned(),
        });
    }
    match usize::try_from(version) {
        Ok(version) if version <= migrations.len() => Ok(version),
        _ => Err(OpenError::TooNew {
            path: path.to_owned(),
            found: u32::try_from(version).unwrap_or(u32::MAX),
            known: u32::try_from(migrations.len()).unwrap_or(u32::MAX),
        }),
    }
}

/// Brings the file to the newest version, in one transaction.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[&str],
) -> Result<(), OpenError> {
    let version = check(connection, path, migrations)?;
    if version == migrations.len() {
        return Ok(());
    }
    let failed = |source| store_error("migrate", path, source);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    for migration in &migrations[version..] {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .and_then(|()| transaction.pragma_update(None, "user_version", migrations.len() as i64))
        .map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(())
}
