//! What lies on disk, and what other programs get.

use model::{Digest, Seq, canonical};
use serde_json::{Value, json};

use super::*;
use crate::schema::{self, MIGRATIONS};
use crate::{OpenError, ReadError, export, export_file, genesis, verify_file};

#[tokio::test]
async fn the_hash_is_that_of_the_documented_object() {
    let place = Place::new();
    let journal = place.open();
    append(&journal, vec![event("a \"quoted\" ä\n"), event("b")]).await;
    let mut prev = genesis();
    for record in read_all(&journal).await {
        let hashed = json!({
            "prev": prev,
            "seq": record.seq,
            "at": record.at,
            "event": record.event,
        });
        prev = canonical::digest(&hashed).unwrap();
        assert_eq!(record.hash, prev);
    }
    // A constant, so that a change of the encoding can't go unseen.
    assert_eq!(
        genesis().to_string(),
        "65f82b9e0db26ca4cd52a1db400a2d410d313acb0cf28c8785135fc3d4a62ef8"
    );
    assert_eq!(
        prev.to_string(),
        "8a3f36ad9890cd21a2ab1065ec2427ed433159ba967d69ae3f38f70dd74168dc"
    );
}

#[tokio::test]
async fn an_event_of_a_later_version_verifies_and_is_exported() {
    let place = Place::with_events(2).await;
    let journal = place.open();
    let records = read_all(&journal).await;
    drop(journal);
    let body = r#"{"later":{"x":1},"type":"from_the_future"}"#;
    let at = records[1].at.to_string();
    let value: Value = serde_json::from_str(body).unwrap();
    let hash = canonical::digest(&json!({
        "at": at, "event": value, "prev": records[1].hash, "seq": 3,
    }))
    .unwrap();
    place.tamper(&format!(
        "INSERT INTO event VALUES (3, '{at}', '{body}', x'{hash}')"
    ));
    let verified = verify_file(&place.path()).unwrap();
    assert_eq!((verified.events, verified.head), (3, hash));

    let mut lines = Vec::new();
    export_file(&place.path(), Seq(2), &mut lines).unwrap();
    let line: Value = serde_json::from_slice(&lines).unwrap();
    assert_eq!(line["type"], "plimsoll.from_the_future");
    assert_eq!(line["data"], value);

    let journal = place.open();
    let error = journal.read(Seq(0), 9).await.unwrap_err();
    let ReadError::UnknownEvent { seq, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(seq, Seq(3));
}

/// An event of the first version has no `until`; it must not get one on its way out.
#[tokio::test]
async fn an_older_event_is_handed_out_as_it_was_hashed() {
    let place = Place::with_events(0).await;
    let body = r#"{"by":{"name":"ada","role":null},"reason":"fair","scope":{"scope":"everything"},"type":"frozen"}"#;
    let hash = crate::hash(&genesis(), 1, b"2026-01-01T00:00:00Z", body.as_bytes());
    place.tamper(&format!(
        "INSERT INTO event VALUES (1, '2026-01-01T00:00:00Z', '{body}', x'{hash}')"
    ));
    let records = read_all(&place.open()).await;
    assert_eq!((records[0].stored.as_str(), records[0].hash), (body, hash));
    let value: Value = serde_json::from_str(body).unwrap();
    assert_eq!(export::cloud_event(&records[0])["data"], value);
}

#[tokio::test]
async fn exports_are_cloud_events() {
    let place = Place::with_events(3).await;
    let mut from_file = Vec::new();
    let exported = export_file(&place.path(), Seq(0), &mut from_file).unwrap();
    assert_eq!((exported.events, exported.last), (3, Seq(3)));
    let records = read_all(&place.open()).await;
    let mut from_records = Vec::new();
    export::write_jsonl(&records, &mut from_records).unwrap();
    assert_eq!(from_file, from_records);

    assert_eq!(
        export::cloud_event(&records[1]),
        json!({
            "specversion": "1.0",
            "id": "2",
            "source": "plimsoll",
            "type": "plimsoll.frozen",
            "time": "2026-05-28T20:26:40Z",
            "datacontenttype": "application/json",
            "data": {
                "type": "frozen",
                "by": {"name": "plimsoll", "role": null},
                "scope": {"scope": "everything"},
                "reason": "2",
                "until": null,
            },
            "plimsollhash": records[1].hash.to_string(),
        })
    );
    // An export holds all that the chain is made of.
    let mut prev = genesis();
    for line in String::from_utf8(from_file).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let seq: u64 = line["id"].as_str().unwrap().parse().unwrap();
        prev = canonical::digest(&json!({
            "at": line["time"], "event": line["data"], "prev": prev, "seq": seq,
        }))
        .unwrap();
        assert_eq!(line["plimsollhash"], json!(prev));
    }
}

#[tokio::test]
async fn an_older_file_is_migrated_and_a_newer_one_refused() {
    let place = Place::with_events(3).await;
    let mut later = MIGRATIONS.to_vec();
    later.push("CREATE TABLE later (x INTEGER) STRICT; INSERT INTO later VALUES (7)");
    let mut connection = Connection::open(place.path()).unwrap();
    // Twice: the second time there is nothing to do.
    for _ in 0..2 {
        schema::migrate(&mut connection, &place.path(), &later).unwrap();
    }
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    assert_eq!(number("SELECT count(*) FROM event").unwrap(), 3);
    assert_eq!(number("SELECT sum(x) FROM later").unwrap(), 7);
    assert_eq!(
        number("PRAGMA user_version").unwrap(),
        i64::try_from(later.len()).unwrap()
    );

    let error = Journal::open(&place.path()).unwrap_err();
    let OpenError::TooNew { found, known, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(found, known + 1);
    assert!(verify_file(&place.path()).is_err());
}

#[tokio::test]
async fn a_failing_migration_changes_nothing() {
    let place = Place::with_events(3).await;
    let mut later = MIGRATIONS.to_vec();
    later.extend(["CREATE TABLE half (x INTEGER) STRICT", "not sql"]);
    let mut connection = Connection::open(place.path()).unwrap();
    assert!(schema::migrate(&mut connection, &place.path(), &later).is_err());
    drop(connection);
    assert_eq!(place.open().verify().await.unwrap().events, 3);
}

#[test]
fn a_strangers_file_is_left_alone() {
    for sql in [
        "CREATE TABLE mine (x)",
        "PRAGMA user_version = 1",
        "PRAGMA application_id = 5",
    ] {
        let place = Place::new();
        Connection::open(place.path())
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        let before = std::fs::read(place.path()).unwrap();
        let error = Journal::open(&place.path()).unwrap_err();
        assert!(matches!(error, OpenError::NotAJournal { .. }), "{error:?}");
        assert_eq!(std::fs::read(place.path()).unwrap(), before);
    }
    let place = Place::new();
    std::fs::write(place.path(), "not a database at all".repeat(100)).unwrap();
    assert!(Journal::open(&place.path()).is_err());
    assert_eq!(Digest::of(b"plimsoll journal 1"), genesis());
}

/// Each kind of event, and each spelling inside, as the first version wrote
/// them. From the first release on, lines are only added: journals that hold them exist.
#[tokio::test]
async fn events_once_written_are_read_for_ever() {
    let place = Place::new();
    let journal = place.open();
    let mut kinds = std::collections::BTreeSet::new();
    for line in include_str!("events-v1.jsonl").lines() {
        let event: model::Event = serde_json::from_str(line).unwrap_or_else(|error| {
            panic!("{error}: a journal may hold this, so it must stay readable: {line}")
        });
        let written: Value = serde_json::from_str(line).unwrap();
        assert_eq!(written["type"], event.kind());
        kinds.insert(event.kind());
        let seq = append(&journal, vec![event.clone()]).await;
        let record = journal.read(Seq(seq.0 - 1), 1).await.unwrap().remove(0);
        assert_eq!(record.event, event);
    }
    assert!(kinds.len() >= 48, "{kinds:?}");
}
