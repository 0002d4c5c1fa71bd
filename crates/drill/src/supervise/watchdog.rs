//! Tells the supervisor when its program no longer answers.
//!
//! Each look is a connection of its own with a deadline, so a program that
//! takes connections and stays silent is found out as surely as one that is gone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::SuperviseError;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long one look may take: a busy program answers its health check well within.
const LOOK_WITHIN: Duration = Duration::from_millis(500);
/// So many bad looks in a row make a program hung.
const FAILURES_MAX: u32 = 3;
/// Time to start before the first look.
const GRACE: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Target {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

/// Which run of the program is meant: its start's number, and when that was.
pub(super) type Run = Option<(u64, Instant)>;

impl Target {
    pub(super) fn new(url: Uri) -> Result<Target, SuperviseError> {
        match (url.scheme_str(), url.authority()) {
            (Some("http"), Some(authority)) => Ok(Target {
                // Brackets around IPv6 belong to the URL, not to the address.
                host: authority.host().trim_matches(['[', ']']).to_owned(),
                port: authority.port_u16().unwrap_or(80),
                authority: authority.to_string(),
                path: url
                    .path_and_query()
                    .map_or("/", |path| path.as_str())
                    .to_owned(),
            }),
            _ => Err(SuperviseError::WatchdogUrl(url)),
        }
    }

    /// Looks for as long as the supervisor lives; sends the number of each run that hangs.
    pub(super) async fn watch(self, runs: watch::Receiver<Run>, hung: mpsc::Sender<u64>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = (0, 0);
        loop {
            ticks.tick().await;
            let run = *runs.borrow();
            let Some((number, _)) = run.filter(|(_, started)| started.elapsed() >= GRACE) else {
                continue;
            };
            if failures.0 != number {
                failures = (number, 0);
            }
            match tokio::time::timeout(LOOK_WITHIN, self.look()).await {
                Ok(Ok(status)) if status.is_success() => failures.1 = 0,
                look => {
                    failures.1 += 1;
                    tracing::debug!(?look, failures = failures.1, "watchdog");
                }
            }
            if failures.1 >= FAILURES_MAX {
                failures.1 = 0;
                if hung.send(number).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn look(&self) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(&self.path)
            .header(HOST, &self.authority)
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let answer = async move { sender.send_request(request).await.map(|got| got.status()) };
        // Both in this task, so that giving up leaves nothing behind. The
        // answer's body is not read, which may end the connection with an error.
        let (status, _) = tokio::join!(answer, connection);
        Ok(status?)
    }
}
