//! Whoever changes the file past the journal is found out.

use model::Seq;

use super::*;
use crate::{
    Damage, ExportError, OpenError, Problem, ReadError, Verified, VerifyError, export_file,
    verify_file,
};

fn damage(place: &Place) -> Damage {
    match verify_file(&place.path()) {
        Err(VerifyError::Damaged { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_change_is_found_at_its_place() {
    let missing = |found| Problem::Missing { found };
    let tail_cut = Problem::CutOff { snapshot: Seq(9) };
    let cases = [
        (
            "UPDATE event SET body = replace(body, '5', '6') WHERE seq = 5",
            5,
            Problem::Hash,
        ),
        (
            "UPDATE event SET at = '2020-01-01T00:00:00Z' WHERE seq = 5",
            5,
            Problem::Hash,
        ),
        (
            "UPDATE event SET hash = x'00' WHERE seq = 1",
            1,
            Problem::Hash,
        ),
        (
            "UPDATE event SET hash = zeroblob(32) WHERE seq = 9",
            9,
            Problem::Hash,
        ),
        ("UPDATE event SET body = '' WHERE seq = 5", 5, Problem::Hash),
        ("DELETE FROM event WHERE seq = 4", 4, missing(5)),
        ("DELETE FROM event WHERE seq = 1", 1, missing(2)),
        ("UPDATE event SET seq = 0 WHERE seq = 1", 1, missing(0)),
        (
            "INSERT INTO event SELECT -7, at, body, hash FROM event WHERE seq = 1",
            1,
            missing(-7),
        ),
        // Two neighbours change places, with everything they have.
        (
            "UPDATE event SET seq = 99 WHERE seq = 3; UPDATE event SET seq = 3 WHERE seq = 4;
             UPDATE event SET seq = 4 WHERE seq = 99",
            3,
            Problem::Hash,
        ),
        // The newest event goes; a snapshot remembers that it was there.
        (
            "INSERT INTO snapshot SELECT seq, 1, hash, hash, x'' FROM event WHERE seq = 9;
             DELETE FROM event WHERE seq = 9",
            9,
            tail_cut,
        ),
    ];
    for (sql, seq, problem) in cases {
        let place = Place::with_events(9).await;
        place.tamper(sql);
        let expected = Damage {
            seq: Seq(seq),
            problem,
        };
        assert_eq!(damage(&place), expected, "{sql}");
    }
}

#[tokio::test]
async fn a_change_is_never_read_exported_or_appended_to() {
    let place = Place::with_events(9).await;
    place.tamper("UPDATE event SET body = replace(body, '5', '6') WHERE seq = 5");
    let journal = place.open();
    assert_eq!(journal.read(Seq(0), 4).await.unwrap().len(), 4);
    let error = journal.read(Seq(0), 9).await.unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }));
    let words = chain(&error);
    assert!(
        words.contains("event 5 is not what was appended"),
        "{words}"
    );
    drop(journal);

    let mut lines = Vec::new();
    let error = export_file(&place.path(), Seq(0), &mut lines).unwrap_err();
    assert!(matches!(error, ExportError::Damaged { .. }));
    assert_eq!(String::from_utf8(lines).unwrap().lines().count(), 4);

    // A server must not build on a last event that is wrong.
    place.tamper("UPDATE event SET body = '{}' WHERE seq = 9");
    let error = Journal::open(&place.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn a_hole_is_not_an_end() {
    let place = Place::with_events(9).await;
    place.tamper("DELETE FROM event WHERE seq IN (4, 5)");
    let journal = place.open();
    for after in [3, 4, 5] {
        let error = journal.read(Seq(after), 9).await.unwrap_err();
        assert!(matches!(error, ReadError::Damaged { .. }), "after {after}");
    }
    assert_eq!(journal.read(Seq(6), 9).await.unwrap().len(), 3);
}

#[tokio::test]
async fn history_written_anew_is_seen_by_a_snapshot() {
    let place = Place::with_events(3).await;
    let journal = place.open();
    journal.save_snapshot(Seq(2), 1, vec![1]).await.unwrap();
    journal.close().await;
    // The forger computes hashes too: the same journal with another first event.
    let forged = Place::new();
    let journal = forged.open();
    for text in ["forged", "2", "3"] {
        append(&journal, vec![event(text)]).await;
    }
    journal.close().await;
    place.tamper(&format!(
        "ATTACH '{}' AS forged; DELETE FROM event; INSERT INTO event SELECT * FROM forged.event",
        forged.path().display()
    ));
    let problem = Problem::Rewritten;
    assert_eq!(
        damage(&place),
        Damage {
            seq: Seq(2),
            problem
        }
    );
    assert!(place.open().load_snapshot(1).await.unwrap().is_none());
}

#[tokio::test]
async fn the_table_itself_refuses_accidents() {
    let place = Place::with_events(3).await;
    let connection = Connection::open(place.path()).unwrap();
    for sql in ["UPDATE event SET at = ''", "DELETE FROM event"] {
        let error = connection.execute_batch(sql).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn a_file_cut_short_is_never_taken_for_whole() {
    let place = Place::with_events(300).await;
    let whole = std::fs::read(place.path()).unwrap();
    for keep in (0..whole.len()).step_by(whole.len() / 17) {
        std::fs::write(place.path(), &whole[..keep]).unwrap();
        let answer = verify_file(&place.path());
        assert!(
            answer.is_err(),
            "{keep} of {} bytes: {answer:?}",
            whole.len()
        );
        // A file of no bytes is a journal that is not made yet.
        if keep == 0 {
            continue;
        }
        // Opening looks at the ends only, so a cut inside the last page may show later.
        if let Ok(journal) = Journal::open(&place.path()) {
            let read = journal.read(Seq(0), 1000).await;
            assert!(read.is_err(), "{keep} of {} bytes", whole.len());
        }
    }
}

#[tokio::test]
async fn verify_and_export_work_beside_a_writer() {
    let place = Place::new();
    let journal = place.open();
    append(&journal, vec![event("a"), event("b")]).await;
    let Verified { events, head } = verify_file(&place.path()).unwrap();
    assert_eq!((events, head), (2, read_all(&journal).await[1].hash));
    let exported = export_file(&place.path(), Seq(1), Vec::new()).unwrap();
    assert_eq!((exported.events, exported.last), (1, Seq(2)));
    append(&journal, vec![event("c")]).await;
    assert_eq!(journal.verify().await.unwrap().events, 3);
}

#[test]
fn nothing_there_is_said() {
    let place = Place::new();
    let error = verify_file(&place.path()).unwrap_err();
    assert!(error.to_string().contains("journal.db"), "{error}");
    assert!(!place.path().exists());
}
