//! The last good routing on disk, to serve from when the control plane is gone
//! at start.
//!
//! Invariant: the file is whole at any time; a crash leaves the former one.

use std::io::Write;
use std::path::{Path, PathBuf};

use model::RouteTable;
use tokio::sync::watch;

use crate::board::InForce;
use crate::config::{GatewayConfig, GatewayError};

const FILE: &str = "routes.json";

/// Where routes are kept.
#[derive(Debug)]
pub(crate) struct Saved {
    file: PathBuf,
}

impl Saved {
    /// Makes the folder if there is none.
    pub(crate) fn open(folder: &Path) -> Result<Saved, GatewayError> {
        std::fs::create_dir_all(folder).map_err(|source| GatewayError::State {
            path: folder.to_owned(),
            source,
        })?;
        Ok(Saved {
            file: folder.join(FILE),
        })
    }

    /// What was kept last. A file that can't be used is no reason not to start:
    /// the control plane is asked anyway.
    pub(crate) fn load(&self, config: &GatewayConfig) -> Option<RouteTable> {
        let path = self.file.display();
        let text = match std::fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%path, %error, "the saved routes can't be read");
                return None;
            }
        };
        match serde_json::from_slice::<RouteTable>(&text) {
            Ok(table) if table.environment == config.environment => Some(table),
            Ok(table) => {
                tracing::warn!(%path, environment = %table.environment, "the saved routes are of another environment");
                None
            }
            Err(error) => {
                tracing::warn!(%path, %error, "the saved routes can't be used");
                None
            }
        }
    }

    /// Writes each table that comes from the control plane. A task of its own:
    /// a disk that hangs must not keep new routes from being followed.
    pub(crate) async fn keep(
        self: std::sync::Arc<Self>,
        mut in_force: watch::Receiver<Option<InForce>>,
    ) {
        loop {
            let newest = in_force.borrow_and_update().clone();
            if let Some(InForce {
                table,
                saved: false,
            }) = newest
            {
                let file = self.file.clone();
                let writing = tokio::task::spawn_blocking(move || write(&file, &table));
                if let Ok(Err(error)) = writing.await {
                    tracing::error!(path = %self.file.display(), %error, "the routes can't be saved");
                }
            }
            if in_force.changed().await.is_err() {
                return;
            }
        }
    }
}

fn write(file: &Path, table: &RouteTable) -> std::io::Result<()> {
    let aside = file.with_extension("new");
    let mut opened = std::fs::File::create(&aside)?;
    opened.write_all(&serde_json::to_vec(table)?)?;
    opened.sync_all()?;
    std::fs::rename(&aside, file)?;
    // The new name must outlive a power cut as well.
    match file.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
