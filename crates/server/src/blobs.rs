//! Files and archives by their digest.
//!
//! Invariant: a file of that name holds exactly those bytes. A blob is written
//! aside, hashed on the way, synced, and only then given its name.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::Digest;
use model::bundle::BUNDLE_BYTES_MAX;
use tokio::io::AsyncWriteExt;

/// A folder of blobs.
#[derive(Debug)]
pub(crate) struct Blobs {
    folder: PathBuf,
}

/// Why a blob was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    #[error("the bytes have digest {found}, not {wanted}")]
    Digest { wanted: Digest, found: Digest },
    #[error("more than {BUNDLE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the upload broke off")]
    BrokeOff,
    #[error("blob store: {0}")]
    Io(#[from] io::Error),
}

impl Blobs {
    pub(crate) fn open(folder: &Path) -> io::Result<Blobs> {
        std::fs::create_dir_all(folder.join("aside"))?;
        // What a crash left aside belongs to nobody.
        for entry in std::fs::read_dir(folder.join("aside"))? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(Blobs {
            folder: folder.to_owned(),
        })
    }

    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    pub(crate) async fn has(&self, digest: Digest) -> bool {
        tokio::fs::try_exists(self.path(digest))
            .await
            .unwrap_or(false)
    }

    /// Stores what `body` brings, if it is what `wanted` says.
    pub(crate) async fn put<S, E>(&self, wanted: Digest, mut body: S) -> Result<(), BlobError>
    where
        S: futures_util::Stream<Item = Result<Bytes, E>> + Unpin,
    {
        use futures_util::StreamExt;
        if self.has(wanted).await {
            // Read to its end none the less: an answer in the middle would look like a broken connection.
            let mut size: u64 = 0;
            while let Some(chunk) = body.next().await {
                size += chunk.map_err(|_| BlobError::BrokeOff)?.len() as u64;
                if size > BUNDLE_BYTES_MAX {
                    return Err(BlobError::TooLarge);
                }
            }
            return Ok(());
        }
        let draw = getrandom::u64().map_err(io::Error::other)?;
        let aside = self
            .folder
            .join("aside")
            .join(format!("{wanted}-{draw:016x}"));
        let mut guard = RemoveOnDrop(Some(aside.clone()));
        let mut file = tokio::fs::File::create_new(&aside).await?;
        let mut hasher = blake3::Hasher::new();
        let mut size: u64 = 0;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|_| BlobError::BrokeOff)?;
            size += chunk.len() as u64;
            if size > BUNDLE_BYTES_MAX {
                return Err(BlobError::TooLarge);
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await?;
        }
        let found = Digest::from_bytes(*hasher.finalize().as_bytes());
        if found != wanted {
            return Err(BlobError::Digest { wanted, found });
        }
        file.flush().await?;
        file.sync_all().await?;
        tokio::fs::rename(&aside, self.path(wanted)).await?;
        guard.0 = None;
        let folder = self.folder.clone();
        // The name itself must survive a power cut, or a journaled release would lack its bytes.
        let synced = tokio::task::spawn_blocking(move || std::fs::File::open(folder)?.sync_all());
        synced.await.map_err(io::Error::other)??;
        Ok(())
    }
}

/// An upload that fails or whose client goes away leaves nothing behind.
struct RemoveOnDrop(Option<PathBuf>);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
