//! The control plane's shell: the journal loop, the HTTP API, the blob store.
//!
//! [`run`] opens the data folder, folds the journal, makes the first operator
//! token if there is none, and serves until it is told to stop.
//!
//! Invariant: only [`control`] appends to the journal, and nobody is answered
//! "done" before the append that makes it so is durable.

mod access;
mod api;
mod blobs;
mod boards;
mod checks;
mod control;
mod foreseen;
mod limits;
mod listen;
mod metrics;
mod pages;
mod plan;
mod sealed;
mod sources;
mod status_page;
mod ticks;
mod trust;
mod verdicts;
mod views;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::Input;
use journal::Journal;
use model::{Actor, Role, Timestamp, Topology};
use tokio::sync::watch;
use wire::SecretKey;
use wire::sign::{SignError, new_token, token_hash};

pub use api::openapi;
pub use status_page::StatusPage;

/// How the control plane is run.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Journal, blobs, keys and the first token live here.
    pub data: PathBuf,
    /// Where to listen; port 0 picks one.
    pub listen: SocketAddr,
    /// Certificate chain and key, both PEM; absent: plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The fleet, if it should be declared at start.
    pub topology: Option<Topology>,
    /// In-flight requests get this long after the signal to stop.
    pub drain: Duration,
    /// What messages to people are carried with, as text, and the folder that its
    /// paths are meant from; absent: every message is refused, and says so.
    pub notify: Option<(String, PathBuf)>,
    /// How users are told; absent: not at all.
    pub status: Option<StatusPage>,
}

/// Why the control plane could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data folder can't be made or used.
    #[error("data folder {path}: {source}")]
    Data {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The journal can't be opened.
    #[error("{0}")]
    Journal(#[from] journal::OpenError),
    /// The journal can't be folded.
    #[error("the journal can't be read back: {0}")]
    Fold(String),
    /// A key can't be made or read.
    #[error(transparent)]
    Key(#[from] SignError),
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}; is another process using it? (`ss -ltnp`)")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate or its key can't be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The topology was refused.
    #[error("{0}")]
    Refused(#[from] model::Refusal),
    /// What messages are carried with can't be used.
    #[error("what messages are carried with can't be used:\n{}", pages::lines(.0))]
    Notify(Vec<notify::Problem>),
    /// The threads that carry messages could not be started.
    #[error("the threads that carry messages could not be started: {0}")]
    Threads(std::io::Error),
    /// The store of subscribers can't be used.
    #[error("{}", words(.0))]
    Subscribers(#[from] subscribers::StoreError),
}

/// What a started control plane tells its starter.
#[derive(Debug, Clone)]
pub struct Started {
    /// Where it really listens.
    pub address: SocketAddr,
    /// Where it serves the status page.
    pub status: Option<SocketAddr>,
    /// The file with the first operator token.
    pub token_file: PathBuf,
    /// The key that orders are signed with, 64 hex digits.
    pub control_key: String,
}

/// Runs the control plane until `stop` turns true, then drains and closes.
/// `started` hears where it listens once it does.
///
/// # Errors
/// When it can't start; see [`ServerError`].
pub async fn run(
    config: ServerConfig,
    stop: watch::Receiver<bool>,
    started: impl FnOnce(Started) + Send,
) -> Result<(), ServerError> {
    let in_data = |source| ServerError::Data {
        path: config.data.clone(),
        source,
    };
    // Bound first: a port in use must not leave a half-made data folder behind.
    let listener = listen::bind(config.listen, config.tls.as_ref()).await?;
    std::fs::create_dir_all(&config.data).map_err(in_data)?;
    limits::raise_open_files();
    let journal = Journal::open(&config.data.join("journal.db"))?;
    let key = SecretKey::load_or_create(&config.data.join("control.key"))?;
    let blobs = Arc::new(blobs::Blobs::open(&config.data.join("blobs")).map_err(in_data)?);
    let boards = Arc::new(boards::Boards::new(key.clone()));
    let (control, worker) =
        control::start(journal.clone(), boards.clone(), blobs.clone(), key.clone()).await?;
    let tickets = pages::Tickets::new(&key);
    let pages = pages::start(
        config.notify.clone(),
        tickets.clone(),
        control.clone(),
        boards.messages(),
        stop.clone(),
    )?;
    let status = status_page::start(&config, boards.page(), stop.clone()).await?;
    let token_file = config.data.join("operator.token");
    first_token(&control, &token_file).await?;
    declare(&control, config.topology.clone()).await?;
    let sources = sources::Sources::default();
    let asking = tokio::spawn(sources::run(
        control.clone(),
        sources.clone(),
        boards.position(),
        stop.clone(),
    ));
    let app = api::App {
        control: control.clone(),
        boards,
        checks: checks::Checks::new(blobs.clone()),
        blobs,
        journal: journal.clone(),
        control_key: key.public().to_string(),
        stop: stop.clone(),
        requests: metrics::Requests::default(),
        sources,
        tickets,
    };
    started(Started {
        address: listener.address(),
        status: status.address(),
        token_file,
        control_key: key.public().to_string(),
    });
    listener.serve(api::router(app), stop, config.drain).await;
    // It ends with `stop`, and lets go of the loop that way.
    if let Err(error) = asking.await {
        tracing::error!(%error, "asking for counts ended badly");
    }
    pages.finish().await;
    status.finish().await;
    drop(control);
    worker.finish().await;
    journal.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// An error with its causes.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

/// Declares the fleet as the file has it, if there is one.
async fn declare(
    control: &control::Control,
    topology: Option<Topology>,
) -> Result<(), ServerError> {
    let Some(topology) = topology else {
        return Ok(());
    };
    checks::usable(&topology).await?;
    let by = Actor {
        name: "plimsoll.toml".into(),
        role: None,
    };
    control
        .decide(Input::SetTopology { by, topology })
        .await
        .map_err(|error| match error {
            control::ControlError::Refused(refusal) => ServerError::Refused(refusal),
            error @ (control::ControlError::Busy
            | control::ControlError::Moved
            | control::ControlError::Failed(_)) => ServerError::Fold(error.to_string()),
        })?;
    Ok(())
}

/// Somebody must be able to begin: a journal without tokens gets one for an
/// operator, kept in a file that only the owner can read.
async fn first_token(
    control: &control::Control,
    file: &std::path::Path,
) -> Result<(), ServerError> {
    use std::io::Write;
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let known = control.read(|state, _, _| !state.tokens.is_empty()).await;
    if known {
        return Ok(());
    }
    let token = new_token()?;
    let hash = token_hash(&token);
    let in_file = |source| ServerError::Data {
        path: file.to_owned(),
        source,
    };
    // The file first: a token in the journal that nobody knows would lock everybody out.
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut opened = options.open(file).map_err(in_file)?;
    // A file that lay there before keeps its mode; only a new one has the owner's alone.
    let owner_only = std::fs::Permissions::from_mode(0o600);
    opened.set_permissions(owner_only).map_err(in_file)?;
    opened.write_all(token.as_bytes()).map_err(in_file)?;
    opened.sync_all().map_err(in_file)?;
    let input = Input::IssueToken {
        by: Actor::plimsoll(),
        token: access::token_id(hash),
        name: "first operator".into(),
        role: Role::Operator,
        hash,
    };
    control
        .decide(input)
        .await
        .map_err(|error| ServerError::Fold(error.to_string()))?;
    tracing::info!(file = %file.display(), at = %Timestamp::now(), "made the first operator token");
    Ok(())
}
