//! Snapshots save time and are never believed blindly.

use model::Seq;

use super::*;
use crate::{SNAPSHOT_BYTES_MAX, SaveSnapshotError, Snapshot};

async fn load(place: &Place, format: u32) -> Option<(u64, Vec<u8>)> {
    let snapshot = place.open().load_snapshot(format).await.unwrap();
    snapshot.map(|Snapshot { seq, state }| (seq.0, state))
}

/// Nine events and snapshots at 3, 5 and 7, of which the newest two are kept.
async fn place() -> Place {
    let place = Place::with_events(9).await;
    let journal = place.open();
    for seq in [3, 5, 7] {
        let state = vec![u8::try_from(seq).unwrap(); 10_000];
        journal.save_snapshot(Seq(seq), 1, state).await.unwrap();
    }
    journal.close().await;
    place
}

#[tokio::test]
async fn the_newest_comes_back() {
    let place = place().await;
    assert_eq!(load(&place, 1).await, Some((7, vec![7; 10_000])));
    assert_eq!(load(&place, 2).await, None);
    assert_eq!(load(&Place::with_events(1).await, 1).await, None);
    // Saved again at the same position: the later one counts.
    let journal = place.open();
    journal.save_snapshot(Seq(7), 1, vec![8]).await.unwrap();
    drop(journal);
    assert_eq!(load(&place, 1).await, Some((7, vec![8])));
}

#[tokio::test]
async fn a_bad_one_falls_back_to_the_older() {
    for sql in [
        "UPDATE snapshot SET state = x'00' WHERE seq = 7",
        "UPDATE snapshot SET state_hash = x'00' WHERE seq = 7",
        "UPDATE snapshot SET chain = zeroblob(32) WHERE seq = 7",
        "UPDATE snapshot SET seq = 8 WHERE seq = 7",
        "UPDATE snapshot SET seq = 99 WHERE seq = 7",
    ] {
        let place = place().await;
        place.tamper(sql);
        assert_eq!(load(&place, 1).await, Some((5, vec![5; 10_000])), "{sql}");
        place.tamper("UPDATE snapshot SET state = x'00' WHERE seq = 5");
        assert_eq!(load(&place, 1).await, None, "{sql}");
    }
}

#[tokio::test]
async fn only_at_positions_that_exist() {
    let place = Place::with_events(2).await;
    let journal = place.open();
    let error = journal.save_snapshot(Seq(3), 1, vec![]).await.unwrap_err();
    let SaveSnapshotError::Beyond { at, position } = error else {
        panic!("{error:?}");
    };
    assert_eq!((at, position), (Seq(3), Seq(2)));
    let huge = vec![0; SNAPSHOT_BYTES_MAX + 1];
    let error = journal.save_snapshot(Seq(2), 1, huge).await.unwrap_err();
    assert!(matches!(error, SaveSnapshotError::TooLarge { .. }));
    journal.save_snapshot(Seq(2), 1, vec![]).await.unwrap();
    assert_eq!(journal.verify().await.unwrap().events, 2);
}
