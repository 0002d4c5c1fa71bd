//! Runs the bundle's commands: bounded in time, in output, and in what they leave behind.
//!
//! Invariant: when the future ends or is dropped, the command's process group
//! is dead or the command had exited by itself. A command that exits while its
//! children keep its pipes open (a restart that leaves a daemon) is done.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What is kept of a command's output: the end, where it says what went wrong.
const OUTPUT_BYTES_MAX: usize = 4096;
/// After the command's exit its last words may still be in the pipe for so long.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What a command runs with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// For `${name}` in texts, and as `PLIMSOLL_NAME` in the environment.
    pub(crate) words: BTreeMap<&'static str, String>,
}

impl Surroundings {
    /// Replaces `${name}` by the host's own. Unknown names stay, so that a mistake is seen.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for (name, value) in &self.words {
            filled = filled.replace(&format!("${{{name}}}"), value);
        }
        filled
    }
}

/// How a command ended, with the end of its output.
pub(crate) struct Ran {
    /// Absent: it had not ended at the deadline.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) said: String,
}

/// What becomes of processes that a command leaves behind when it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// A restart may have started a daemon.
    Stay,
    /// Nothing that a trial starts outlives it.
    Die,
}

/// Runs a command to its end; gives the end of its output, or why it failed.
pub(crate) async fn run(
    command: &[String],
    surroundings: &Surroundings,
    folder: &Path,
    deadline: Duration,
) -> Result<String, String> {
    let program = command.first().map(|program| surroundings.fill(program));
    let program = program.unwrap_or_default();
    let ran = execute(command, surroundings, folder, deadline, Leftovers::Stay);
    let Ran { status, said } = ran.await?;
    let Some(status) = status else {
        let deadline = model::Millis(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
        let quoted = quoted(&said);
        return Err(format!("{program} was killed after {deadline}{quoted}"));
    };
    match status.success() {
        true => Ok(said),
        false => Err(format!("{program}: {status}{}", quoted(&said))),
    }
}

/// Runs a command until it ends or the deadline kills its process group.
///
/// # Errors
/// When it can't be started or waited for.
pub(crate) async fn execute(
    command: &[String],
    surroundings: &Surroundings,
    folder: &Path,
    deadline: Duration,
    leftovers: Leftovers,
) -> Result<Ran, String> {
    let words: Vec<String> = command.iter().map(|word| surroundings.fill(word)).collect();
    let Some((program, arguments)) = words.split_first() else {
        return Err("the command is empty".into());
    };
    let mut builder = tokio::process::Command::new(program);
    builder
        .args(arguments)
        .current_dir(folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in &surroundings.words {
        builder.env(format!("PLIMSOLL_{}", name.to_uppercase()), value);
    }
    let mut child = builder
        .spawn()
        .map_err(|error| format!("{program} can't be started: {error}"))?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let output = Arc::new(Mutex::new(Vec::new()));
    let readers = [
        child.stdout.take().map(|pipe| tail(pipe, output.clone())),
        child.stderr.take().map(|pipe| tail(pipe, output.clone())),
    ];
    let exit = tokio::time::timeout(deadline, child.wait()).await;
    let status = match exit {
        Ok(Ok(status)) => {
            match leftovers {
                Leftovers::Stay => group.leave(),
                Leftovers::Die => drop(group),
            }
            Some(status)
        }
        Ok(Err(error)) => return Err(format!("{program}: {error}")),
        Err(_) => {
            drop(group);
            let _ = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
            None
        }
    };
    let last_words = async {
        for mut reader in readers.into_iter().flatten() {
            let _ = (&mut reader.0).await;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    let bytes = output.lock().unwrap_or_else(PoisonError::into_inner);
    let said = String::from_utf8_lossy(&bytes).trim().to_owned();
    Ok(Ran { status, said })
}

fn quoted(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    }
}

/// Kills the process group when dropped, unless told to leave it.
struct Group(Option<Pid>);

impl Group {
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good as killed.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// A reader that ends with the command's future, though its pipe may stay open.
struct Reader(tokio::task::JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn tail(mut pipe: impl AsyncRead + Unpin + Send + 'static, output: Arc<Mutex<Vec<u8>>>) -> Reader {
    Reader(tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
            let mut bytes = output.lock().unwrap_or_else(PoisonError::into_inner);
            bytes.extend_from_slice(&buffer[..read]);
            let extra = bytes.len().saturating_sub(OUTPUT_BYTES_MAX);
            bytes.drain(..extra);
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    async fn shell(script: &str, deadline: Duration) -> Result<String, String> {
        let surroundings = Surroundings {
            words: [("host", "web-01".to_owned())].into(),
        };
        let command = ["sh".to_owned(), "-c".into(), script.to_owned()];
        run(&command, &surroundings, Path::new("/"), deadline).await
    }

    #[tokio::test]
    async fn says_what_the_command_said() {
        let long = Duration::from_secs(20);
        let said = shell("echo ${host} $PLIMSOLL_HOST", long).await;
        assert_eq!(said.unwrap(), "web-01 web-01");
        let error = shell("echo broken >&2; exit 3", long).await.unwrap_err();
        assert!(error.contains('3') && error.contains("broken"), "{error}");
        let much = shell("yes | head -c 1000000; echo end", long)
            .await
            .unwrap();
        assert!(much.len() <= OUTPUT_BYTES_MAX && much.ends_with("end"));
        let none = run(
            &["/no/such".into()],
            &Surroundings::default(),
            Path::new("/"),
            long,
        )
        .await;
        assert!(none.unwrap_err().contains("can't be started"));
    }

    #[tokio::test]
    async fn a_daemon_that_keeps_the_pipes_holds_nobody_up() {
        let began = Instant::now();
        let said = shell("sleep 31 & echo started $!", Duration::from_secs(20)).await;
        let said = said.unwrap();
        assert!(began.elapsed() < Duration::from_secs(5));
        let pid: i32 = said.rsplit(' ').next().unwrap().parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).expect("it was left alone");
    }

    #[tokio::test]
    async fn the_whole_group_dies_at_the_deadline_and_on_cancel() {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("alive");
        let script = format!("(sleep 2; touch {}) & sleep 30", marker.display());
        let error = shell(&script, Duration::from_millis(200))
            .await
            .unwrap_err();
        assert!(error.contains("killed after 200 ms"), "{error}");
        let cancelled = tokio::spawn(async move { shell(&script, Duration::from_secs(30)).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancelled.abort();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert!(!marker.exists());
    }
}
