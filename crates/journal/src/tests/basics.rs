//! Append, read, wait, conflict, close, lock and limits.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use model::{Event, Seq};

use super::*;
use crate::lock::Lock;
use crate::sqlite::Store;
use crate::{AppendError, EVENTS_PER_APPEND_MAX, OpenError, ReadError, StoreErrorKind};

#[tokio::test]
async fn what_was_appended_is_read() {
    let place = Place::new();
    let journal = place.open();
    assert_eq!(journal.position(), Seq(0));
    assert!(journal.read(Seq(0), 10).await.unwrap().is_empty());

    let first = journal
        .append(Seq(0), at(1), vec![event("a"), event("b")])
        .await
        .unwrap();
    assert_eq!((first, journal.position()), (Seq(2), Seq(2)));
    assert_eq!(append(&journal, vec![event("c")]).await, Seq(3));

    let records = journal.read(Seq(1), 10).await.unwrap();
    let read: Vec<_> = records.iter().map(|r| (r.seq, r.event.clone())).collect();
    assert_eq!(read, [(Seq(2), event("b")), (Seq(3), event("c"))]);
    assert_eq!(journal.read(Seq(0), 1).await.unwrap().len(), 1);
    assert!(journal.read(Seq(3), 10).await.unwrap().is_empty());
    assert!(journal.read(Seq(u64::MAX), 10).await.unwrap().is_empty());

    let before = read_all(&journal).await;
    journal.close().await;
    let journal = place.open();
    assert_eq!(journal.position(), Seq(3));
    assert_eq!(read_all(&journal).await, before);
}

#[tokio::test]
async fn an_append_at_another_position_is_a_conflict() {
    let place = Place::new();
    let journal = place.open();
    append(&journal, vec![event("a"), event("b")]).await;
    for expected in [0, 1, 3, u64::MAX] {
        let answer = journal.append(Seq(expected), at(0), vec![event("x")]).await;
        let Err(AppendError::Conflict {
            expected: e,
            actual,
        }) = answer
        else {
            panic!("{answer:?}");
        };
        assert_eq!((e, actual), (Seq(expected), Seq(2)));
    }
    assert_eq!(read_all(&journal).await.len(), 2);
    // Nothing to append is still a question about the position.
    assert_eq!(journal.append(Seq(2), at(0), vec![]).await.unwrap(), Seq(2));
    assert!(journal.append(Seq(1), at(0), vec![]).await.is_err());
}

#[tokio::test]
async fn queued_appends_follow_one_another() {
    let place = Place::new();
    let journal = place.open();
    let one = |seq, text| journal.append(Seq(seq), at(0), vec![event(text)]);
    let (a, b, late, c) = tokio::join!(one(0, "a"), one(1, "b"), one(1, "late"), one(2, "c"));
    assert_eq!(
        (a.unwrap(), b.unwrap(), c.unwrap()),
        (Seq(1), Seq(2), Seq(3))
    );
    assert!(matches!(
        late,
        Err(AppendError::Conflict { actual: Seq(2), .. })
    ));
    assert_eq!(journal.verify().await.unwrap().events, 3);
}

#[tokio::test]
async fn racing_writers_lose_nothing() {
    let place = Place::new();
    let journal = place.open();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let journal = journal.clone();
        tasks.spawn(async move {
            let mut kept = Vec::new();
            while kept.len() < 10 {
                let expected = journal.position();
                let event = event(&format!("{task}/{}", kept.len()));
                match journal.append(expected, at(0), vec![event.clone()]).await {
                    Ok(seq) => kept.push((seq, event)),
                    Err(AppendError::Conflict { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
            kept
        });
    }
    let mut kept: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    kept.sort_by_key(|(seq, _)| *seq);
    let read: Vec<_> = read_all(&journal)
        .await
        .into_iter()
        .map(|record| (record.seq, record.event))
        .collect();
    assert_eq!(kept, read);
}

#[tokio::test]
async fn waiting_ends_with_the_next_event_or_the_close() {
    let place = Place::new();
    let journal = place.open();
    journal
        .append(Seq(0), at(0), vec![event("a")])
        .await
        .unwrap();
    journal.wait_beyond(Seq(0)).await;

    let waiting = tokio::time::timeout(Duration::from_millis(20), journal.wait_beyond(Seq(1)));
    assert!(waiting.await.is_err(), "there is nothing beyond yet");
    let (_, appended) = tokio::join!(
        journal.wait_beyond(Seq(1)),
        journal.append(Seq(1), at(0), vec![event("b")])
    );
    appended.unwrap();

    let other = journal.clone();
    tokio::join!(other.wait_beyond(Seq(2)), journal.close());
    assert!(matches!(
        other.read(Seq(0), 1).await,
        Err(ReadError::Closed)
    ));
    let answer = other.append(Seq(2), at(0), vec![event("c")]).await;
    assert!(matches!(answer, Err(AppendError::Closed)));
    other.close().await;
}

#[tokio::test]
async fn time_never_goes_back() {
    let place = Place::new();
    let journal = place.open();
    for (seq, second) in [5, 3, 4, 6].into_iter().enumerate() {
        let expected = Seq(u64::try_from(seq).unwrap());
        journal
            .append(expected, at(second), vec![event("x")])
            .await
            .unwrap();
    }
    journal.close().await;
    let journal = place.open();
    journal
        .append(Seq(4), at(1), vec![event("x")])
        .await
        .unwrap();
    let times: Vec<_> = read_all(&journal).await.iter().map(|r| r.at).collect();
    assert_eq!(times, [5, 5, 5, 6, 6].map(at));
}

#[tokio::test]
async fn one_process_at_a_time() {
    let place = Place::new();
    let journal = place.open();
    let Err(error) = Journal::open(&place.path()) else {
        panic!("opened twice");
    };
    let OpenError::InUse { pid, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*pid, Some(std::process::id()));
    assert!(error.to_string().contains("in use by pid"), "{error}");

    let link = place.folder.path().join("other-name.db");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    assert!(matches!(Journal::open(&link), Err(OpenError::InUse { .. })));

    drop(journal);
    place.open();
}

#[tokio::test]
async fn a_dropped_journal_keeps_what_it_acknowledged() {
    let place = Place::new();
    for round in 0..5 {
        let journal = place.open();
        assert_eq!(journal.position(), Seq(round));
        append(&journal, vec![event("x")]).await;
    }
    assert_eq!(place.open().verify().await.unwrap().events, 5);
}

#[tokio::test]
async fn limits_are_kept() {
    let place = Place::new();
    let journal = place.open();
    let many = vec![event("x"); EVENTS_PER_APPEND_MAX + 1];
    let answer = journal.append(Seq(0), at(0), many).await;
    assert!(matches!(
        answer,
        Err(AppendError::TooManyEvents { count: 10_001 })
    ));

    let large = |bytes| event(&"x".repeat(bytes));
    let answer = journal.append(Seq(0), at(0), vec![large(8 << 20)]).await;
    assert!(matches!(
        answer,
        Err(AppendError::EventTooLarge { kind: "frozen", .. })
    ));

    let answer = journal
        .append(Seq(0), at(0), vec![large(8_000_000); 9])
        .await;
    assert!(matches!(answer, Err(AppendError::TooLarge { .. })));
    assert_eq!(journal.position(), Seq(0));

    // Two reads, because one would be too many bytes.
    append(&journal, vec![large(8_000_000); 8]).await;
    append(&journal, vec![large(8_000_000); 8]).await;
    assert_eq!(journal.read(Seq(0), 100).await.unwrap().len(), 9);
    assert_eq!(journal.read(Seq(9), 100).await.unwrap().len(), 7);
    assert_eq!(
        append(&journal, vec![event("x"); EVENTS_PER_APPEND_MAX]).await,
        Seq(10_016)
    );
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_nothing_is_half_appended() {
    let place = Place::new();
    let lock = Lock::take(&place.path()).unwrap();
    let store = Store::open(&place.path()).unwrap();
    store
        .connection
        .pragma_update(None, "max_page_count", 64)
        .unwrap();
    let journal = Journal::start(store, lock).unwrap();
    append(&journal, vec![event("fits")]).await;

    let fat = event(&"x".repeat(100_000));
    let answer = journal
        .append(
            Seq(1),
            at(0),
            vec![event("half"), fat.clone(), fat.clone(), fat.clone()],
        )
        .await;
    let Err(AppendError::Store(error)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(error.kind, StoreErrorKind::Full);
    assert!(error.to_string().contains("disk is full"), "{error}");
    assert_eq!(journal.position(), Seq(1));

    // Queued together, the one that is too large doesn't take the others with it.
    let (small, large, next) = tokio::join!(
        journal.append(Seq(1), at(0), vec![event("small")]),
        journal.append(Seq(2), at(0), vec![fat.clone(), fat.clone(), fat]),
        journal.append(Seq(2), at(0), vec![event("next")])
    );
    assert_eq!(small.unwrap(), Seq(2));
    assert!(matches!(large, Err(AppendError::Store(_))), "{large:?}");
    // Whether it still followed depends on what it was queued with; a conflict is never a guess.
    match next {
        Ok(seq) => assert_eq!(seq, Seq(3)),
        Err(AppendError::Conflict { actual, .. }) => panic!("conflict with uncommitted {actual}"),
        Err(error) => panic!("{error}"),
    }
    let events: Vec<Event> = read_all(&journal)
        .await
        .into_iter()
        .map(|r| r.event)
        .collect();
    assert_eq!(events, [event("fits"), event("small"), event("next")]);
    assert_eq!(journal.verify().await.unwrap().events, 3);
}

#[tokio::test]
async fn only_the_owner_may_read_it() {
    let place = Place::new();
    let journal = place.open();
    append(&journal, vec![event("x")]).await;
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let path = place.folder.path().join(format!("journal.db{suffix}"));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn a_missing_folder_is_named() {
    let place = Place::new();
    let path = place.folder.path().join("nowhere/journal.db");
    let error = Journal::open(&path).unwrap_err();
    assert!(error.to_string().contains("nowhere/journal.db"), "{error}");
}
