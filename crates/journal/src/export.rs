//! The journal for other programs: [CloudEvents 1.0](https://cloudevents.io) as JSON, one event a line.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use model::{Seq, Timestamp};
use serde_json::{Value, json};

use crate::Damage;
use crate::chain::{Problem, Record, Row, Walker};
use crate::error::ExportError;
use crate::sqlite::Store;

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// How many events.
    pub events: u64,
    /// The last one's position: where the next export goes on.
    pub last: Seq,
}

/// One record as a CloudEvent. `plimsollhash` is the event's hash; with
/// `time`, `id` and `data` the chain can be verified from an export alone.
pub fn cloud_event(record: &Record) -> Value {
    // As it was stored: an older version's event would get fields that were never hashed.
    // It was parsed when it was read; there is nothing to fail on.
    let data = serde_json::from_str(&record.stored).unwrap_or_default();
    envelope(
        record.seq,
        &record.at,
        record.event.kind(),
        data,
        &record.hash,
    )
}

/// Writes records as lines, each a CloudEvent.
///
/// # Errors
/// When `writer` fails.
pub fn write_jsonl<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    mut writer: impl Write,
) -> io::Result<()> {
    for record in records {
        writeln!(writer, "{}", cloud_event(record))?;
    }
    Ok(())
}

/// Writes all events after `after` of the journal at `path` as lines, each a
/// CloudEvent, holding one event in memory at a time. Changes nothing; a running server goes on
/// meanwhile. Events of kinds that only a later version knows are written too.
///
/// # Errors
/// When the journal can't be read or an event is not what was appended (all before it was written),
/// or when `writer` fails.
pub fn export_file(
    path: &Path,
    after: Seq,
    mut writer: impl Write,
) -> Result<Exported, ExportError> {
    let store = Store::open_read_only(path)?;
    let mut walker = store.hash_at(after)?.map(|hash| Walker::after(after, hash));
    let mut exported = Exported {
        events: 0,
        last: after,
    };
    store.read(after, |row| {
        let value = match &mut walker {
            Some(walker) => checked(walker, &row),
            None => Err(Damage {
                seq: after,
                problem: Problem::Missing { found: row.seq },
            }),
        };
        let value = value.map_err(|source| ExportError::Damaged {
            path: path.to_owned(),
            source,
        })?;
        writeln!(writer, "{value}").map_err(|source| ExportError::Write { source })?;
        exported.events += 1;
        exported.last = Seq(after.0 + exported.events);
        Ok::<_, ExportError>(ControlFlow::Continue(()))
    })?;
    writer
        .flush()
        .map_err(|source| ExportError::Write { source })?;
    Ok(exported)
}

fn checked(walker: &mut Walker, row: &Row<'_>) -> Result<Value, Damage> {
    walker.step(row)?;
    let tail = walker.tail();
    let data: Value = serde_json::from_slice(row.event).unwrap_or_default();
    let Some(kind) = data.get("type").and_then(Value::as_str).map(str::to_owned) else {
        let problem = Problem::Form;
        return Err(Damage {
            seq: tail.seq,
            problem,
        });
    };
    let at = tail.at.unwrap_or_default();
    Ok(envelope(tail.seq, &at, &kind, data, &tail.hash))
}

fn envelope(seq: Seq, at: &Timestamp, kind: &str, data: Value, hash: &model::Digest) -> Value {
    json!({
        "specversion": "1.0",
        "id": seq.to_string(),
        "source": "plimsoll",
        "type": format!("plimsoll.{kind}"),
        "time": at.to_string(),
        "datacontenttype": "application/json",
        "data": data,
        "plimsollhash": hash.to_string(),
    })
}
