//! The same files in a folder, for any web server: users see them with this process dead.
//!
//! Invariant: a reader sees a file as it was or as it is, never a part of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::site::{File, Site};

/// A folder that could not be written is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// Writes what changed, whenever it does.
pub(super) async fn run(folder: PathBuf, mut sites: watch::Receiver<Arc<Site>>) {
    let mut written = BTreeMap::new();
    loop {
        let site = sites.borrow_and_update().clone();
        let into = folder.clone();
        let before = written.clone();
        let done = tokio::task::spawn_blocking(move || write(&into, &site, before)).await;
        let failed = match done {
            Ok((now, failed)) => {
                written = now;
                failed
            }
            Err(error) => Some(io::Error::other(error)),
        };
        match failed {
            Some(error) => {
                tracing::error!(folder = %folder.display(), %error, "the status page could not be written");
                tokio::time::sleep(AGAIN).await;
            }
            None => {
                if sites.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

type Written = BTreeMap<String, String>;

/// Writes files that are not as in `written` (ETags by path); gives what is written now, and the first error.
fn write(folder: &Path, site: &Site, mut written: Written) -> (Written, Option<io::Error>) {
    let mut failed = None;
    for (path, file) in &site.files {
        let file = match path.as_str() {
            "/" => site.still.as_ref().unwrap_or(file),
            _ => file,
        };
        if written.get(path) == Some(&file.etag) {
            continue;
        }
        match replace(&folder.join(name(path)), file) {
            Ok(()) => drop(written.insert(path.clone(), file.etag.clone())),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    (written, failed)
}

/// What a web server gives out for a path: `/incidents/7` is a folder's `index.html`.
fn name(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let has_ending = path.rsplit('/').next().is_some_and(|it| it.contains('.'));
    match path {
        "" => "index.html".to_owned(),
        path if has_ending => path.to_owned(),
        path => format!("{path}/index.html"),
    }
}

fn replace(path: &Path, file: &File) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Beside it, because a rename over file systems is none.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, &file.body)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_a_file_that_any_web_server_finds() {
        assert_eq!(name("/"), "index.html");
        assert_eq!(name("/incidents/7"), "incidents/7/index.html");
        assert_eq!(
            name("/api/v2/incidents/unresolved.json"),
            "api/v2/incidents/unresolved.json"
        );
        assert_eq!(name("/history.atom"), "history.atom");
    }
}
