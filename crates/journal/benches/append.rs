//! How fast the journal appends, beside bare SQLite with the same settings and the same bytes, and
//! how long a journal of 100,000 events takes to open.
//!
//! Both sides run in turn within each round, because the disk's speed changes from second to second;
//! only their ratio within a round means anything on another machine.
//!
//! `cargo bench -p journal --bench append [-- --json]`

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use journal::Journal;
use model::{Digest, Event, Generation, Seq, Timestamp, canonical};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Odd, so that the median is a round that happened.
const ROUNDS: usize = 7;
/// Batch size, and appends for each round: some tenths of a second each.
const BATCHES: [(usize, usize); 3] = [(1, 200), (10, 100), (100, 50)];
const OPEN_EVENTS: usize = 100_000;
/// A folded state of a large fleet.
const SNAPSHOT_BYTES: usize = 4 << 20;

fn main() -> Outcome {
    let as_json = std::env::args().any(|argument| argument == "--json");
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let appends = BATCHES
        .iter()
        .map(|&(batch, appends)| compare(&runtime, batch, appends))
        .collect::<Outcome<Vec<_>>>()?;
    let open = open(&runtime)?;
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", json!({"append": appends, "open": open}))?;
        return Ok(());
    }
    writeln!(out, "{ROUNDS} rounds: median (min to max)\n")?;
    for row in &appends {
        writeln!(
            out,
            "append {:>3} at once: journal {} events/s, bare SQLite {} events/s, ratio {}",
            row["batch"],
            text(&row["journal_events_per_s"], 0),
            text(&row["sqlite_events_per_s"], 0),
            text(&row["ratio"], 2),
        )?;
    }
    writeln!(out)?;
    for (name, words) in [
        ("open_ms", "open and load snapshot"),
        ("replay_ms", "open and read all events"),
        ("verify_ms", "verify"),
    ] {
        writeln!(
            out,
            "{OPEN_EVENTS} events: {words}: {} ms",
            text(&open[name], 1)
        )?;
    }
    Ok(())
}

fn compare(runtime: &Runtime, batch: usize, appends: usize) -> Outcome<Value> {
    let folder = tempfile::tempdir()?;
    let journal = Journal::open(&folder.path().join("journal.db"))?;
    let mut bare = bare(&folder.path().join("bare.db"))?;
    let events = events(batch);
    let bodies = events
        .iter()
        .map(canonical::encode)
        .collect::<Result<Vec<_>, _>>()?;
    let (mut ours, mut theirs, mut ratios) = (vec![], vec![], vec![]);
    let count = (batch * appends) as f64;
    for round in 0..=ROUNDS {
        let mut rates = [0.0, 0.0];
        // Who is first changes, so that neither always gets the disk that the other has busied.
        for side in [round % 2, (round + 1) % 2] {
            let start = Instant::now();
            if side == 0 {
                runtime.block_on(append(&journal, &events, appends))?;
            } else {
                append_bare(&mut bare, &bodies, appends)?;
            }
            rates[side] = count / start.elapsed().as_secs_f64();
        }
        // The first round warms up files and caches.
        if round > 0 {
            ours.push(rates[0]);
            theirs.push(rates[1]);
            ratios.push(rates[0] / rates[1]);
        }
    }
    runtime.block_on(journal.close());
    Ok(json!({
        "batch": batch,
        "rounds": ROUNDS,
        "event_bytes": bodies[0].len(),
        "journal_events_per_s": spread(ours),
        "sqlite_events_per_s": spread(theirs),
        "ratio": spread(ratios),
    }))
}

async fn append(journal: &Journal, events: &[Event], appends: usize) -> Outcome {
    let mut position = journal.position();
    for _ in 0..appends {
        position = journal
            .append(position, Timestamp::now(), events.to_vec())
            .await?;
    }
    Ok(())
}

/// The same settings as the journal's, and the least table that keeps bytes in order.
fn bare(path: &Path) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE event (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)")?;
    Ok(connection)
}

fn append_bare(connection: &mut Connection, bodies: &[Vec<u8>], appends: usize) -> Outcome {
    for _ in 0..appends {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO event (body) VALUES (?1)")?;
            for body in bodies {
                insert.execute([body])?;
            }
        }
        transaction.commit()?;
    }
    Ok(())
}

fn open(runtime: &Runtime) -> Outcome<Value> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal.db");
    runtime.block_on(async {
        let journal = Journal::open(&path)?;
        append(&journal, &events(1000), OPEN_EVENTS / 1000).await?;
        let state = vec![b'x'; SNAPSHOT_BYTES];
        journal.save_snapshot(journal.position(), 1, state).await?;
        journal.close().await;
        Outcome::Ok(())
    })?;
    let (mut opens, mut replays, mut verifies) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let journal = Journal::open(&path)?;
        let snapshot = runtime.block_on(journal.load_snapshot(1))?;
        opens.push(start.elapsed().as_secs_f64() * 1000.0);
        assert!(snapshot.is_some_and(|snapshot| snapshot.seq == journal.position()));
        drop(journal);

        let start = Instant::now();
        let journal = Journal::open(&path)?;
        let read = runtime.block_on(read_all(&journal))?;
        replays.push(start.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(read, OPEN_EVENTS);
        drop(journal);

        let start = Instant::now();
        journal::verify_file(&path)?;
        verifies.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(json!({
        "events": OPEN_EVENTS,
        "snapshot_bytes": SNAPSHOT_BYTES,
        "rounds": ROUNDS,
        "open_ms": spread(opens),
        "replay_ms": spread(replays),
        "verify_ms": spread(verifies),
    }))
}

async fn read_all(journal: &Journal) -> Outcome<usize> {
    let (mut after, mut count) = (Seq(0), 0);
    loop {
        let records = journal.read(after, 1000).await?;
        let Some(last) = records.last() else {
            return Ok(count);
        };
        after = last.seq;
        count += records.len();
    }
}

/// The commonest event of a release: a host runs what it was told.
fn events(count: usize) -> Vec<Event> {
    let event = |number: usize| {
        Some(Event::HostConfirmed {
            host: format!("host-{number}").parse().ok()?,
            service: "api".parse().ok()?,
            generation: Generation(number as u64),
            digest: Digest::of(&number.to_le_bytes()),
        })
    };
    (0..count).filter_map(event).collect()
}

fn spread(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    json!({
        "median": values[values.len() / 2],
        "min": values[0],
        "max": values[values.len() - 1],
    })
}

fn text(spread: &Value, places: usize) -> String {
    let number = |name: &str| spread[name].as_f64().unwrap_or(f64::NAN);
    format!(
        "{:.places$} ({:.places$} to {:.places$})",
        number("median"),
        number("min"),
        number("max")
    )
}
