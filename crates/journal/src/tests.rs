//! What all tests use: a journal in a folder of its own, and events to put in.

use std::path::{Path, PathBuf};

use model::{Actor, Event, Scope, Seq, Timestamp};
use rusqlite::Connection;

use crate::Journal;

mod basics;
mod crash;
mod damage;
mod format;
mod property;
mod snapshot;

/// A journal's path in a folder that goes with it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("journal.db")
    }

    fn open(&self) -> Journal {
        Journal::open(&self.path()).unwrap()
    }

    /// A closed journal with events 1 to `count`.
    async fn with_events(count: u64) -> Place {
        let place = Place::new();
        let journal = place.open();
        for seq in 1..=count {
            append(&journal, vec![event(&seq.to_string())]).await;
        }
        journal.close().await;
        place
    }

    /// Changes the file past the journal, as somebody with a database shell would.
    fn tamper(&self, sql: &str) {
        let connection = Connection::open(self.path()).unwrap();
        connection
            .execute_batch(
                "DROP TRIGGER IF EXISTS event_is_never_changed;
                 DROP TRIGGER IF EXISTS event_is_never_deleted;",
            )
            .unwrap();
        connection.execute_batch(sql).unwrap();
    }
}

/// A small event that can be told from others.
fn event(reason: &str) -> Event {
    Event::Frozen {
        until: None,
        by: Actor::plimsoll(),
        scope: Scope::Everything,
        reason: reason.into(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + second).unwrap()
}

async fn append(journal: &Journal, events: Vec<Event>) -> Seq {
    journal
        .append(journal.position(), at(0), events)
        .await
        .unwrap()
}

/// Every event of a journal, in as many reads as it takes.
async fn read_all(journal: &Journal) -> Vec<crate::Record> {
    let mut records: Vec<crate::Record> = Vec::new();
    loop {
        let after = records.last().map_or(Seq(0), |record| record.seq);
        let more = journal.read(after, 7).await.unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// The whole chain of causes, as the one adapter that logs errors shows it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn copy(from: &Path, to: &Path) {
    if from.exists() {
        std::fs::copy(from, to).unwrap();
    }
}
