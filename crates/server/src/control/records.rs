//! What verdicts rest on, stored before they are journaled.
//!
//! Invariant: a record that the journal names is durable in the blob store; and
//! nothing waits for a record longer than [`RECORDS_WITHIN`], least of all a way back.

use bytes::Bytes;
use engine::Watch;
use model::{Digest, Event, Explanation};

use crate::blobs::{BlobError, Blobs};
use crate::limits::RECORDS_WITHIN;

/// Why a verdict is journaled without its record.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the judge has not got it any more")]
    Gone,
    #[error("it was not on disk within {RECORDS_WITHIN:?}")]
    Late,
    #[error("it could not be stored")]
    Store(#[from] BlobError),
}

/// Stores the records of all verdicts in `events`; one that can't be stored is not named any more.
pub(super) async fn keep(blobs: &Blobs, watch: &Watch, events: &mut [Event]) {
    // Out of the watch first, so that nothing of it is held over a wait.
    let named: Vec<_> = events
        .iter_mut()
        .filter_map(explanation)
        .filter_map(|explanation| {
            let digest = explanation.record?;
            Some((explanation, digest, watch.record(&digest)))
        })
        .collect();
    let end = tokio::time::Instant::now() + RECORDS_WITHIN;
    for (explanation, digest, bytes) in named {
        let stored = match bytes {
            None => Err(Lost::Gone),
            Some(bytes) => match tokio::time::timeout_at(end, store(blobs, digest, bytes)).await {
                Err(_) => Err(Lost::Late),
                Ok(stored) => stored.map_err(Lost::Store),
            },
        };
        if let Err(error) = stored {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%digest, %error, cause, "a verdict is journaled without its record");
            explanation.record = None;
        }
    }
}

async fn store(blobs: &Blobs, digest: Digest, bytes: Vec<u8>) -> Result<(), BlobError> {
    let whole = Ok::<_, std::convert::Infallible>(Bytes::from(bytes));
    let body = futures_util::stream::once(std::future::ready(whole));
    blobs.put(digest, body).await
}

/// What a verdict's event says of how it came about.
fn explanation(event: &mut Event) -> Option<&mut Explanation> {
    match event {
        Event::WaveJudged { explanation, .. }
        | Event::WaveHeld { explanation, .. }
        | Event::WaveContinued { explanation, .. } => explanation.as_deref_mut(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(record: Option<Digest>) -> Event {
        Event::WaveHeld {
            release: model::ReleaseId(1),
            environment: "production".parse().unwrap(),
            wave: 0,
            needs: "counts".into(),
            explanation: Some(Box::new(Explanation {
                record,
                ..Explanation::default()
            })),
        }
    }

    #[tokio::test]
    async fn a_record_is_on_disk_under_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let digest = Digest::of(b"every second");
        for _ in 0..2 {
            store(&blobs, digest, b"every second".to_vec())
                .await
                .unwrap();
            assert_eq!(std::fs::read(blobs.path(digest)).unwrap(), b"every second");
        }
    }

    #[tokio::test]
    async fn a_record_that_nobody_has_is_not_named() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let watch = Watch::new(model::Timestamp::UNIX_EPOCH);
        let mut events = vec![held(Some(Digest::of(b"gone"))), held(None)];
        keep(&blobs, &watch, &mut events).await;
        assert_eq!(events, [held(None), held(None)]);
    }
}
