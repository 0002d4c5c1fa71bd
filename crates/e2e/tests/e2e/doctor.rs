//! Changes a journal behind its control plane's back, as somebody with the disk could.
//!
//! Written after docs/journal-format.md alone: nothing of the journal's own code
//! is used, so what it finds is not found with the same mistake.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use model::{Digest, canonical};
use rusqlite::{Connection, params};
use serde_json::Value;

/// A journal of a control plane that does not run.
pub(crate) struct Doctored {
    database: Connection,
    /// What would have stopped accidents; put back at the end.
    triggers: Vec<String>,
}

impl Doctored {
    pub(crate) fn open(folder: &Path) -> Result<Doctored> {
        let database = Connection::open(folder.join("data/journal.db"))?;
        let mut found =
            database.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")?;
        let rows = found.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
        let found_triggers: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
        drop(found);
        ensure!(!found_triggers.is_empty(), "nothing stops accidents");
        for (name, _) in &found_triggers {
            database.execute_batch(&format!("DROP TRIGGER {name}"))?;
        }
        let triggers = found_triggers.into_iter().map(|(_, sql)| sql).collect();
        Ok(Doctored { database, triggers })
    }

    /// The last event for which `wanted` holds.
    pub(crate) fn last(&self, wanted: impl Fn(&Value) -> bool) -> Result<(i64, Value)> {
        let mut rows = self
            .database
            .prepare("SELECT seq, body FROM event ORDER BY seq DESC")?;
        let rows = rows.query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })?;
        for row in rows {
            let (seq, body) = row?;
            let body: Value = serde_json::from_str(&body)?;
            if wanted(&body) {
                return Ok((seq, body));
            }
        }
        anyhow::bail!("no such event")
    }

    /// Puts another event in its place, under the old hash.
    pub(crate) fn replace(&self, seq: i64, body: &Value) -> Result<()> {
        let body = String::from_utf8(canonical::encode(body)?)?;
        let changed = self.database.execute(
            "UPDATE event SET body = ?2 WHERE seq = ?1",
            params![seq, body],
        )?;
        ensure!(changed == 1, "there is no event {seq}");
        Ok(())
    }

    /// One more event, at the time of the last one. It needs [`Doctored::rechain`].
    pub(crate) fn append(&self, body: &Value) -> Result<()> {
        let body = String::from_utf8(canonical::encode(body)?)?;
        self.database.execute(
            "INSERT INTO event (seq, at, body, hash) SELECT seq + 1, at, ?1, zeroblob(32) FROM event ORDER BY seq DESC LIMIT 1",
            params![body],
        )?;
        Ok(())
    }

    /// Computes every hash anew, so that the chain holds again, and takes the snapshots away.
    pub(crate) fn rechain(&self) -> Result<()> {
        let mut rows = self
            .database
            .prepare("SELECT seq, at, body FROM event ORDER BY seq")?;
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let rows: Vec<(i64, String, String)> = rows.collect::<Result<_, _>>()?;
        let mut before = Digest::of(b"plimsoll journal 1");
        for (seq, at, body) in rows {
            let hashed = format!(r#"{{"at":"{at}","event":{body},"prev":"{before}","seq":{seq}}}"#);
            before = Digest::of(hashed.as_bytes());
            self.database.execute(
                "UPDATE event SET hash = ?2 WHERE seq = ?1",
                params![seq, before.as_bytes().as_slice()],
            )?;
        }
        self.database.execute_batch("DELETE FROM snapshot")?;
        Ok(())
    }

    /// Leaves no trace.
    pub(crate) fn close(self) -> Result<()> {
        for trigger in &self.triggers {
            self.database.execute_batch(trigger)?;
        }
        self.database
            .close()
            .map_err(|(_, error)| error)
            .context("journal")
    }
}
