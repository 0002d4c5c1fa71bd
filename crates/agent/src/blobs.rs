//! Fetches blobs, resuming by range where an earlier try broke off.
//!
//! Invariant: a blob has its name only once its bytes fit it.

use std::path::Path;
use std::time::Duration;

use model::{Digest, ServiceName};
use tokio::io::AsyncWriteExt;
use wire::{Client, ClientError};

use crate::files::digest_file;
use crate::store::{Store, StoreError, io};

/// Tries for one blob; each goes on where the one before broke off.
const TRIES_MAX: u32 = 6;
/// A download that brings nothing for so long is broken off and begun again.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Why a blob is not here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("blob {digest} broke off: {reason}")]
    Broken { digest: String, reason: String },
    #[error("blob {digest} is not what it is called: {reason}")]
    Wrong { digest: String, reason: String },
}

/// Fetches one blob of known size.
pub(crate) async fn fetch(
    client: &Client,
    store: &Store,
    service: &ServiceName,
    digest: Digest,
    size_bytes: u64,
) -> Result<(), BlobError> {
    let blob = store.blob(digest);
    // One part for each service, so that two downloads of one blob don't write into each other.
    let part = blob.with_file_name(format!("{digest}.{service}.part"));
    let mut backoff =
        wire::backoff::Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
    let mut tries = 0;
    loop {
        tries += 1;
        let result = attempt(client, &part, digest, size_bytes).await;
        match result {
            Ok(()) => {
                tokio::fs::rename(&part, &blob).await.map_err(io(&blob))?;
                return Ok(());
            }
            Err(BlobError::Store(error)) => {
                // A full disk needs the room back.
                let _ = tokio::fs::remove_file(&part).await;
                return Err(error
                    .sized(&format!("blobs/{}", digest.short()), size_bytes)
                    .into());
            }
            Err(error) if tries >= TRIES_MAX => return Err(error),
            Err(error @ BlobError::Client(ClientError::Refused { .. })) => return Err(error),
            Err(error) => {
                tracing::debug!(digest = %digest.short(), %error, tries, "fetching again");
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}

async fn attempt(
    client: &Client,
    part: &Path,
    digest: Digest,
    size_bytes: u64,
) -> Result<(), BlobError> {
    let mut have = tokio::fs::metadata(part).await.map_or(0, |m| m.len());
    if have > size_bytes {
        let _ = tokio::fs::remove_file(part).await;
        have = 0;
    }
    let mut options = tokio::fs::OpenOptions::new();
    options.create(true).append(true);
    let mut file = options.open(part).await.map_err(io(part))?;
    if have < size_bytes {
        let mut answer = client.blob_from(digest, have).await?;
        let broken = |reason: String| BlobError::Broken {
            digest: digest.short(),
            reason,
        };
        loop {
            let chunk = match tokio::time::timeout(SILENCE_MAX, answer.chunk()).await {
                Err(_) => break file.flush().await.map_err(io(part))?,
                Ok(Ok(None)) => break,
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Err(error)) => {
                    // What came is kept: the next try goes on from there.
                    file.flush().await.map_err(io(part))?;
                    return Err(broken(error.without_url().to_string()));
                }
            };
            have += chunk.len() as u64;
            if have > size_bytes {
                let _ = tokio::fs::remove_file(part).await;
                return Err(BlobError::Wrong {
                    digest: digest.short(),
                    reason: format!("more than {size_bytes} bytes"),
                });
            }
            file.write_all(&chunk).await.map_err(io(part))?;
        }
        file.flush().await.map_err(io(part))?;
        if have < size_bytes {
            return Err(broken(format!("{have} of {size_bytes} bytes came")));
        }
    }
    file.sync_all().await.map_err(io(part))?;
    let path = part.to_owned();
    let found = tokio::task::spawn_blocking(move || digest_file(&path)).await;
    match found {
        Ok(Ok(found)) if found == digest => Ok(()),
        Ok(Ok(found)) => {
            let _ = tokio::fs::remove_file(part).await;
            let reason = format!("its digest is {}", found.short());
            let digest = digest.short();
            Err(BlobError::Wrong { digest, reason })
        }
        Ok(Err(error)) => Err(io(part)(error).into()),
        Err(error) => Err(BlobError::Broken {
            digest: digest.short(),
            reason: error.to_string(),
        }),
    }
}
