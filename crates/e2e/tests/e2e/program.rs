//! The program under test, and the processes that come of it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

/// Every process that a test starts by itself inherits this with a value of its own.
const MARK: &str = "PLIMSOLL_E2E_MARK";

/// The program: `PLIMSOLL_E2E_PROGRAM`, else what cargo built beside this test.
pub(crate) fn path() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("PLIMSOLL_E2E_PROGRAM") {
        return Ok(named.into());
    }
    let test = std::env::current_exe().context("where is this test?")?;
    let built = test.parent().and_then(Path::parent);
    let program = built.context("target folder")?.join("plimsoll");
    ensure!(
        program.is_file(),
        "{} is missing: `cargo build -p plimsoll` first, or run `cargo xtask e2e`",
        program.display()
    );
    Ok(program)
}

/// The program in `folder`, with nothing of the caller's control plane in its surroundings.
pub(crate) fn command(folder: &Path) -> Result<Command> {
    let mut command = Command::new(path()?);
    command.current_dir(folder).stdin(Stdio::null());
    for name in ["URL", "TOKEN", "TOKEN_FILE", "CA", "LOG", "JOIN_TOKEN"] {
        command.env_remove(format!("PLIMSOLL_{name}"));
    }
    command.kill_on_drop(true);
    Ok(command)
}

/// What a finished program said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code; -1 after a signal.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn from(output: &Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Fails unless it ended with `code`.
    pub(crate) fn exits(self, code: i32) -> Result<Said> {
        ensure!(self.code == code, "exit code {code} was wanted: {self:#?}");
        Ok(self)
    }

    /// Fails unless each of these words was said.
    pub(crate) fn says(self, words: &[&str]) -> Result<Said> {
        for word in words {
            let said = self.out.contains(word) || self.err.contains(word);
            ensure!(said, "{word:?} was not said: {self:#?}");
        }
        Ok(self)
    }

    /// The last line of standard output as JSON.
    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        let line = self.out.lines().rfind(|line| !line.trim().is_empty());
        let line = line.with_context(|| format!("no JSON: {self:#?}"))?;
        serde_json::from_str(line).with_context(|| format!("no JSON: {self:#?}"))
    }
}

/// Runs to its end.
pub(crate) async fn run(command: &mut Command) -> Result<Said> {
    let output = command.stdin(Stdio::null()).output().await?;
    Ok(Said::from(&output))
}

/// Marks a command, and so all that comes of it.
pub(crate) fn mark(command: &mut Command, mark: &str) {
    command.env(MARK, mark);
}

/// A process that carries a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marked {
    /// Its id.
    pub(crate) pid: i32,
    /// Its arguments.
    pub(crate) args: Vec<String>,
}

/// Every living process with this mark.
pub(crate) fn marked(mark: &str) -> Vec<Marked> {
    let wanted = format!("{MARK}={mark}");
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let parts = |bytes: Vec<u8>| -> Vec<String> {
        let parts = bytes
            .split(|byte| *byte == 0)
            .filter(|part| !part.is_empty());
        parts
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect()
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let surroundings = parts(std::fs::read(entry.path().join("environ")).ok()?);
            // A zombie has no arguments any more: it is dead, and its parent's to bury.
            let args = parts(std::fs::read(entry.path().join("cmdline")).ok()?);
            (surroundings.contains(&wanted) && !args.is_empty()).then_some(Marked { pid, args })
        })
        .collect()
}

/// Sends a signal to one process that a test started.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("pid 0")?;
    kill_process(pid, signal).context("signal")
}

/// Tells a process of this test to read its configuration again.
pub(crate) fn hang_up(id: u32) -> Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    kill_process(pid.context("a process id")?, Signal::HUP).context("SIGHUP")
}
