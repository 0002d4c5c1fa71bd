//! A small init system for quickstart and drills: keeps one program running.
//!
//! It restarts what exits, kills and restarts what no longer answers its
//! watchdog (the hang-restart loop of the reports), and restarts in order when
//! asked. Invariant: the child leads a process group of its own, and when the
//! child ends, for whatever reason, the whole group ends before anything else
//! is started.

mod child;
mod control;
mod keeper;
mod state;
mod watchdog;

pub use control::{AskError, restart};
pub use state::{SuperviseState, read_state};

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

/// Keep a program running, as an init system would.
///
/// Restarts the program when it exits (after 100 ms, doubling to 2 s). With
/// --watchdog-url it is also killed and restarted when it fails to answer three
/// times in a row. On SIGTERM the program gets SIGTERM, and after 3 s its whole
/// process group SIGKILL.
///
/// Program and arguments are used as written at each start: with paths through
/// a link, a restart runs what the link names then.
#[derive(Debug, Clone, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example:\n  plimsoll supervise --name api --dir /srv/api/state --watchdog-url http://127.0.0.1:9001/healthz \\\n      -- plimsoll drill-service --config /srv/api/current/api.toml --listen 127.0.0.1:9001 \\\n         --environment production --host prod-a-1\n  plimsoll supervise restart --dir /srv/api/state\n  plimsoll supervise exits --dir /srv/api/state"
)]
pub struct SuperviseArgs {
    /// Ask a running supervisor instead of being one
    #[command(subcommand)]
    pub ask: Option<Ask>,
    /// Name for log lines
    #[arg(long, required = true)]
    pub name: Option<String>,
    /// Folder for supervise.json and supervise.sock; made when it is missing
    #[arg(long, required = true, value_name = "STATE")]
    pub dir: Option<PathBuf>,
    /// Must answer with 2xx; asked every 500 ms, from one second after each start
    #[arg(long, value_name = "URL")]
    pub watchdog_url: Option<http::Uri>,
    /// Where the program runs, resolved anew at each start
    #[arg(long, value_name = "PATH")]
    pub cwd: Option<PathBuf>,
    /// Program and arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub command: Vec<String>,
}

/// What a running supervisor can be asked.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Ask {
    /// Restart the program now; exits with 0 once the new one is started
    #[command(
        after_help = "Example:\n  plimsoll supervise restart --dir /srv/api/state --deadline 5s"
    )]
    Restart {
        /// The supervisor's folder
        #[arg(long, value_name = "STATE")]
        dir: PathBuf,
        /// Give up waiting after so long
        #[arg(long, default_value = "5s", value_name = "TIME")]
        deadline: SignedDuration,
    },
    /// Print how often the program has exited unplanned, over all its supervisors
    #[command(after_help = "Example:\n  plimsoll supervise exits --dir /srv/api/state")]
    Exits {
        /// The supervisor's folder
        #[arg(long, value_name = "STATE")]
        dir: PathBuf,
    },
}

/// What can stop a supervisor from working.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// An argument that supervising needs is missing.
    #[error("{0} is needed to supervise")]
    Missing(&'static str),
    /// The watchdog can only ask plain HTTP.
    #[error("{0} is not a URL like http://127.0.0.1:9001/healthz")]
    WatchdogUrl(http::Uri),
    /// Another supervisor has this folder.
    #[error("another supervisor runs in {}", dir.display())]
    Taken {
        /// Which folder.
        dir: PathBuf,
    },
    /// A file or socket in the folder can't be used.
    #[error("{}: can't be used", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Asking a running supervisor didn't work.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The system refused something else: a signal handler, the output.
    #[error("can't supervise")]
    System(#[from] std::io::Error),
}

/// Runs `supervise` until SIGTERM or SIGINT, or asks a running one; messages go to `out`.
///
/// # Errors
/// When the folder can't be used, or the question got no good answer.
pub async fn run(args: SuperviseArgs, out: &mut (dyn Write + Send)) -> Result<(), SuperviseError> {
    match args.ask {
        Some(Ask::Restart { dir, deadline }) => {
            let deadline = Duration::try_from(deadline).unwrap_or_default();
            let state = restart(&dir, deadline).await?;
            writeln!(
                out,
                "restarted, pid {}",
                state.child_pid.unwrap_or_default()
            )?;
        }
        Some(Ask::Exits { dir }) => {
            writeln!(out, "{}", read_state(&dir)?.exits_unplanned)?;
        }
        None => {
            let watchdog = args.watchdog_url.map(watchdog::Target::new).transpose()?;
            let plan = keeper::Plan {
                name: args.name.ok_or(SuperviseError::Missing("--name"))?,
                dir: args.dir.ok_or(SuperviseError::Missing("--dir"))?,
                cwd: args.cwd,
                command: args.command,
                watchdog,
            };
            keeper::keep(plan, out).await?;
        }
    }
    out.flush()?;
    Ok(())
}
