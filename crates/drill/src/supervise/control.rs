//! The supervisor's socket: one JSON line asked, one JSON line answered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::SuperviseError;
use super::state::{SuperviseState, unusable};

/// Longest line either side reads.
const LINE_BYTES_MAX: u64 = 16 * 1024;
/// How long a client may take to say what it wants.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);
/// Questions that wait for the supervisor; more wait in the socket's backlog.
pub(super) const QUESTIONS_MAX: usize = 16;

/// What can be asked.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub(super) enum Request {
    Restart,
    State,
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub(super) enum Answer {
    Done { state: SuperviseState },
    Failed { reason: String },
}

/// A request with the way back to who asked.
pub(super) type Question = (Request, oneshot::Sender<Answer>);

/// Why a running supervisor gave no good answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// None listens there.
    #[error("no supervisor runs in {}", dir.display())]
    NotRunning {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It didn't answer by the deadline.
    #[error("the supervisor in {} did not answer within {deadline_ms} ms", dir.display())]
    Late {
        /// The folder.
        dir: PathBuf,
        /// How long was waited.
        deadline_ms: u64,
    },
    /// It tried, and says why it didn't work.
    #[error("the program did not start: {reason}")]
    Failed {
        /// The supervisor's words.
        reason: String,
    },
    /// The connection broke, or the answer made no sense.
    #[error("no answer from the supervisor in {}", dir.display())]
    Broken {
        /// The folder.
        dir: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
}

/// Asks the supervisor in `dir` to restart its program; its state once the new one is started.
///
/// # Errors
/// When none runs there, it doesn't answer by the deadline, or the program doesn't start.
pub async fn restart(dir: &Path, deadline: Duration) -> Result<SuperviseState, AskError> {
    let asked = tokio::time::timeout(deadline, ask(dir, Request::Restart)).await;
    match asked {
        Ok(Ok(Answer::Done { state })) => Ok(state),
        Ok(Ok(Answer::Failed { reason })) => Err(AskError::Failed { reason }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(AskError::Late {
            dir: dir.to_owned(),
            deadline_ms: crate::millis(deadline),
        }),
    }
}

async fn ask(dir: &Path, request: Request) -> Result<Answer, AskError> {
    let connected = UnixStream::connect(socket(dir)).await;
    let mut stream = connected.map_err(|source| AskError::NotRunning {
        dir: dir.to_owned(),
        source,
    })?;
    let asked: std::io::Result<Answer> = async {
        stream.write_all(&line(&request)?).await?;
        let answer = read_line(&mut stream).await?;
        Ok(serde_json::from_str(&answer)?)
    }
    .await;
    asked.map_err(|source| AskError::Broken {
        dir: dir.to_owned(),
        source,
    })
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("supervise.sock")
}

/// Takes the socket; the caller has the folder's lock, so one that is there belongs to nobody.
pub(super) fn listen(dir: &Path) -> Result<UnixListener, SuperviseError> {
    let path = socket(dir);
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(unusable(&path)(error));
    }
    UnixListener::bind(&path).map_err(unusable(&path))
}

/// Hands questions to the supervisor, until it is gone.
pub(super) async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let questions = questions.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, questions).await {
                        tracing::debug!(%error, "question not answered");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, questions: mpsc::Sender<Question>) -> std::io::Result<()> {
    let asked = tokio::time::timeout(REQUEST_WITHIN, read_line(&mut stream)).await??;
    let answer = match serde_json::from_str(&asked) {
        Ok(request) => {
            let (back, answer) = oneshot::channel();
            let ending = || std::io::Error::other("the supervisor is ending");
            questions
                .send((request, back))
                .await
                .map_err(|_| ending())?;
            answer.await.map_err(|_| ending())?
        }
        Err(error) => Answer::Failed {
            reason: format!("not understood: {error}"),
        },
    };
    stream.write_all(&line(&answer)?).await
}

fn line(message: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

async fn read_line(stream: &mut UnixStream) -> std::io::Result<String> {
    let mut text = String::new();
    let mut reader = BufReader::new(stream.take(LINE_BYTES_MAX));
    reader.read_line(&mut text).await?;
    Ok(text)
}
