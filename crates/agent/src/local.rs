//! Commands from a person on the host, over a socket in the state folder.
//!
//! Invariant: works with the control plane dead, and with the agent dead too:
//! then the command takes the state folder's lock and does the work itself.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use model::{Digest, Generation, HostName, Refusal, ServiceName};
use node::{Host, Input, Slot, Work};
use wire::Envelope;

use crate::advance;
use crate::config::AgentConfig;
use crate::core::{Core, Inbox};
use crate::disk;
use crate::error::at;
use crate::reach::Reach;
use crate::{AgentError, agent};

/// A local command is read and answered within this.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// A person waits this long for a local revert; the host goes on after it.
const REVERT_WITHIN: Duration = Duration::from_secs(300);
/// A command is one line, with at most one signed order in it.
const LINE_BYTES_MAX: u64 = advance::ENVELOPE_BYTES_MAX + 4096;
/// Longest path that a socket's address can hold.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Which host.
    pub host: HostName,
    /// Whether an agent process answered; else this is what is on disk.
    pub alive: bool,
    /// Whether the control plane was heard from lately.
    pub control_reachable: bool,
    /// Whether nothing runs here that was neither good here nor attested.
    #[serde(default)]
    pub gated: bool,
    /// Reports that it has not acknowledged.
    pub unsent_reports: usize,
    /// By service.
    pub services: Vec<ServiceStatus>,
}

/// One service on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Which.
    pub service: ServiceName,
    /// What programs read.
    pub running: Digest,
    /// Where the host goes back to.
    pub good: Digest,
    /// Good digests on disk, newest first: where a person can take the host.
    pub kept: Vec<Digest>,
    /// The newest order seen.
    pub generation: Generation,
    /// What the health check says.
    pub healthy: Option<bool>,
    /// Whether a person took the host back here.
    pub held_local: bool,
    /// Nothing is under way.
    pub at_rest: bool,
    /// What is going on, in one sentence.
    pub detail: String,
}

impl Status {
    pub(crate) fn of(host: &Host, alive: bool, control_reachable: bool) -> Status {
        let services = host.slots.values().map(|slot| ServiceStatus {
            service: slot.service.clone(),
            running: slot.running,
            good: slot.good,
            kept: slot.kept.clone(),
            generation: slot.fence,
            healthy: slot.healthy,
            held_local: slot.held_local,
            at_rest: slot.is_at_rest(),
            detail: detail(slot),
        });
        Status {
            host: host.name.clone(),
            alive,
            control_reachable,
            gated: host.gated,
            unsent_reports: host.outbox.len(),
            services: services.collect(),
        }
    }

    fn service(&self, name: &ServiceName) -> Option<&ServiceStatus> {
        self.services.iter().find(|status| status.service == *name)
    }
}

fn detail(slot: &Slot) -> String {
    match &slot.work {
        Work::Watch(watch) if watch.confirm.is_some() => {
            "back, and waits for the control plane to hear of it".into()
        }
        Work::Watch(_) => match slot.healthy {
            Some(false) => format!("unhealthy: {}", slot.unhealthy_reason),
            Some(true) => "healthy".into(),
            None => "watched".into(),
        },
        Work::Prepare(prepare) => {
            format!("order {} at {}", slot.generation(), prepare.step.phase())
        }
        Work::Armed(armed) if matches!(armed.asking, node::Asking::Holding { .. }) => {
            "holds, because the control plane is gone for peers too".into()
        }
        Work::Armed(armed) => format!(
            "order {} at {}, goes back by itself at {}",
            slot.generation(),
            armed.step.phase(),
            armed.deadline.ends()
        ),
        Work::Back(back) => format!(
            "going back to {} at {} (failed {} times): {}",
            back.target.short(),
            back.step.phase(),
            back.tries,
            back.reason
        ),
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    Status,
    Revert(advance::Wish),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Status(Status),
    /// On whose word.
    Started(String),
    Refused(Refusal),
    Unreadable(String),
}

/// Binds the socket; whoever may write the state folder may speak to it.
pub(crate) fn listen(state_dir: &Path) -> Result<UnixListener, AgentError> {
    let path = state_dir.join("agent.sock");
    // Left by a process that died; the lock says that none is alive.
    let _ = std::fs::remove_file(&path);
    let (short, _folder) = reachable(&path).map_err(at(&path))?;
    let listener = UnixListener::bind(short).map_err(at(&path))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, private).map_err(at(&path))?;
    Ok(listener)
}

/// A socket's address holds a hundred bytes; a deeper folder is reached through its open handle.
fn reachable(path: &Path) -> std::io::Result<(PathBuf, Option<OwnedFd>)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok((path.into(), None));
    };
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok((path.into(), None));
    }
    let handle = OwnedFd::from(std::fs::File::open(folder)?);
    let short = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd())).join(name);
    Ok((short, Some(handle)))
}

/// Answers local commands until dropped.
pub(crate) async fn serve(
    listener: UnixListener,
    inbox: Inbox,
    state: watch::Receiver<Arc<Host>>,
    reach: Reach,
    state_dir: PathBuf,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // One at a time: people are few, and each call is short.
        let call = answer(stream, &inbox, &state, &reach, &state_dir);
        let _ = tokio::time::timeout(CALL_WITHIN, call).await;
    }
}

async fn answer(
    mut stream: UnixStream,
    inbox: &Inbox,
    state: &watch::Receiver<Arc<Host>>,
    reach: &Reach,
    state_dir: &Path,
) -> std::io::Result<()> {
    let mut line = String::new();
    let (read, mut write) = stream.split();
    BufReader::new(read.take(LINE_BYTES_MAX))
        .read_line(&mut line)
        .await?;
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Status) => {
            let host = state.borrow().clone();
            Answer::Status(Status::of(
                &host,
                true,
                reach.within(Duration::from_secs(15)),
            ))
        }
        Ok(Request::Revert(wish)) => {
            let host = state.borrow().clone();
            match advance::choose(state_dir, &host, wish) {
                Ok((input, word)) => match inbox.ask(input).await {
                    Some(Ok(())) => Answer::Started(word),
                    Some(Err(refusal)) => Answer::Refused(refusal),
                    None => Answer::Unreadable("the agent is ending".into()),
                },
                Err(refusal) => Answer::Refused(refusal),
            }
        }
        Err(error) => Answer::Unreadable(error.to_string()),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await
}

/// Asks a living agent; `None` if there is none.
async fn call(state_dir: &Path, request: &Request) -> Option<std::io::Result<Answer>> {
    let path = state_dir.join("agent.sock");
    let (short, _folder) = reachable(&path).ok()?;
    let mut stream = UnixStream::connect(short).await.ok()?;
    let talk = async {
        let mut bytes = serde_json::to_vec(request)?;
        bytes.push(b'\n');
        stream.write_all(&bytes).await?;
        let mut line = String::new();
        BufReader::new(&mut stream).read_line(&mut line).await?;
        Ok(serde_json::from_str(&line)?)
    };
    let answered = tokio::time::timeout(CALL_WITHIN, talk).await;
    Some(answered.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())))
}

/// What the agent on this host is doing; from disk if none is alive.
///
/// # Errors
/// When there is no state, or the agent gives no sensible answer.
pub async fn status(state_dir: &Path) -> Result<Status, AgentError> {
    match call(state_dir, &Request::Status).await {
        Some(Ok(Answer::Status(status))) => Ok(status),
        Some(answer) => Err(odd(answer)),
        None => match disk::load(state_dir)? {
            Some(host) => Ok(Status::of(&host, false, false)),
            None => Err(AgentError::State {
                path: state_dir.into(),
                reason: "no agent has run here".into(),
            }),
        },
    }
}

/// A host that went back on a person's wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverted {
    /// On whose word: a person's alone, or authorised in advance and by whom.
    pub word: String,
    /// What runs now.
    #[serde(flatten)]
    pub status: ServiceStatus,
}

/// Takes a service on this host back, and waits until it is there: to `to`, as
/// `order` says (signed in advance, see [`crate::signed_order`]), as the way back
/// says that was kept with the newest order, or to the last good bundle. Needs
/// neither a control plane nor a living agent.
///
/// # Errors
/// When the target is not kept here, when `order` is forged, for another host or
/// for another order than the newest, or when the way back does not succeed in
/// time (a living agent keeps trying).
pub async fn revert_local(
    config: &AgentConfig,
    service: &ServiceName,
    to: Option<Digest>,
    order: Option<Envelope>,
) -> Result<Reverted, AgentError> {
    let wish = advance::Wish {
        service: service.clone(),
        to,
        order,
    };
    let request = Request::Revert(wish.clone());
    let (word, status) = match call(&config.state_dir, &request).await {
        Some(Ok(Answer::Started(word))) => (word, follow(&config.state_dir, service).await?),
        Some(answer) => return Err(odd(answer)),
        None => alone(config, service, wish).await?,
    };
    Ok(Reverted { word, status })
}

fn odd(answer: std::io::Result<Answer>) -> AgentError {
    match answer {
        Ok(Answer::Refused(refusal)) => AgentError::Refused(refusal),
        Ok(Answer::Unreadable(reason)) => AgentError::Unfinished(reason),
        Ok(Answer::Status(_) | Answer::Started(_)) => {
            AgentError::Unfinished("the agent answered another question".into())
        }
        Err(error) => AgentError::Unfinished(format!("the agent gave no answer: {error}")),
    }
}

/// Waits until a living agent is back.
async fn follow(state_dir: &Path, service: &ServiceName) -> Result<ServiceStatus, AgentError> {
    let mut last = String::new();
    let arrive = async {
        loop {
            let now = status(state_dir).await?;
            if let Some(found) = now.service(service) {
                if found.at_rest {
                    return Ok(found.clone());
                }
                last.clone_from(&found.detail);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    match tokio::time::timeout(REVERT_WITHIN, arrive).await {
        Ok(arrived) => arrived,
        Err(_) => Err(AgentError::Unfinished(format!("still {last}"))),
    }
}

/// Without an agent: lock, state, and the same machine, with no control plane to ask.
async fn alone(
    config: &AgentConfig,
    service: &ServiceName,
    wish: advance::Wish,
) -> Result<(String, ServiceStatus), AgentError> {
    let _lock = disk::lock(&config.state_dir)?;
    let Some(host) = disk::load(&config.state_dir)? else {
        return Err(AgentError::State {
            path: config.state_dir.clone(),
            reason: "no agent has run here, so there is nothing to go back to".into(),
        });
    };
    let (mut core, _inbox, state) = Core::new(config.state_dir.clone(), host);
    let hands = agent::hands(config, &state, None, Reach::default())?;
    // What was armed when the agent died goes home anyway; the person's word comes on top.
    core.input(Input::Started)
        .await
        .map_err(AgentError::Refused)?;
    let now = state.borrow().clone();
    let chosen = advance::choose(&config.state_dir, &now, wish);
    let (input, word) = chosen.map_err(AgentError::Refused)?;
    core.input(input).await.map_err(AgentError::Refused)?;
    let done = CancellationToken::new();
    let mut watch = state.clone();
    let arrive = async {
        let arrived = watch.wait_for(|host| host.slots.get(service).is_some_and(Slot::is_at_rest));
        let arrived = tokio::time::timeout(REVERT_WITHIN, arrived).await;
        let arrived = matches!(arrived, Ok(Ok(_)));
        done.cancel();
        arrived
    };
    let (arrived, ()) = tokio::join!(arrive, core.run(hands, done.clone()));
    let status = Status::of(&state.borrow().clone(), false, false);
    match status.service(service) {
        Some(found) if arrived => Ok((word, found.clone())),
        Some(found) => Err(AgentError::Unfinished(format!("still {}", found.detail))),
        None => Err(AgentError::Unfinished("the service is gone".into())),
    }
}
