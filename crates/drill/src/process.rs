//! A started program, and the promise that it ends with its owner.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// A program that was told to end gets this long before its group is killed.
const END_WITHIN: Duration = Duration::from_secs(4);

/// One real process in a group of its own.
pub struct Process {
    child: Child,
    group: Option<Pid>,
}

impl Process {
    /// Starts `command`; what it prints goes to `log`.
    ///
    /// # Errors
    /// When the log can't be written or the program can't be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Process> {
        let open = || {
            let mut options = File::options();
            let file = options.create(true).append(true).open(log);
            file.with_context(|| format!("log {}", log.display()))
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't start {:?}", command.as_std().get_program()))?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Ok(Process { child, group })
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// `kill -9`, as a crash would; nothing else of its group is touched.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn crash(mut self) -> Result<()> {
        self.group = None;
        self.child.kill().await.context("kill -9")
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, waits, kills what is left of its group.
    pub async fn end(mut self) {
        self.signal(Signal::TERM);
        let _ = tokio::time::timeout(END_WITHIN, self.child.wait()).await;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may be gone already; then there is nothing to tell.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
