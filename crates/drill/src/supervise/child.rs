//! One run of the supervised program: its process and its process group.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};

use super::state::SuperviseState;

/// SIGKILL works at once, but orphans must also be collected by the system's
/// first process, which in a container may never do so.
const GROUP_ENDS_WITHIN: Duration = Duration::from_millis(200);

/// A running program.
#[derive(Debug)]
pub(super) struct Running {
    process: Child,
    pub(super) pid: u32,
    pub(super) start_ticks: Option<u64>,
    pub(super) started: Instant,
}

impl Running {
    /// Starts the program as the leader of a new process group. Paths are
    /// resolved now: through a link, to what it names now.
    pub(super) fn start(command: &[String], cwd: Option<&Path>) -> std::io::Result<Running> {
        let [program, arguments @ ..] = command else {
            return Err(std::io::Error::other("no program was given"));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(cwd) = cwd {
            command.current_dir(cwd);
        }
        let process = command.spawn()?;
        // Known until it is waited for, which nobody has done yet.
        let pid = process.id().unwrap_or_default();
        Ok(Running {
            process,
            pid,
            start_ticks: start_ticks(pid),
            started: Instant::now(),
        })
    }

    /// Waits for the program to end by itself; then its group is ended too.
    pub(super) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.process.wait().await?;
        self.end_group().await;
        Ok(status)
    }

    /// SIGTERM to the program, and after `grace` SIGKILL to its whole group.
    pub(super) async fn stop(mut self, grace: Duration) {
        signal(self.pid, |pid| kill_process(pid, Signal::TERM));
        if tokio::time::timeout(grace, self.process.wait())
            .await
            .is_err()
        {
            tracing::warn!(pid = self.pid, "still runs after SIGTERM; killing it");
        }
        self.kill().await;
    }

    /// SIGKILL to the whole group, at once.
    pub(super) async fn kill(mut self) {
        kill_group(self.pid);
        if let Err(error) = self.process.wait().await {
            tracing::warn!(pid = self.pid, %error, "can't wait for the program");
        }
        self.end_group().await;
    }

    /// Ends what the program left behind in its group, so that the next run
    /// finds addresses and files free. The leader's end was seen before, and the
    /// kernel gives its number to nobody while the group has members.
    async fn end_group(&self) {
        kill_group(self.pid);
        let until = Instant::now() + GROUP_ENDS_WITHIN;
        while group_exists(self.pid) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn kill_group(pid: u32) {
    signal(pid, |pid| kill_process_group(pid, Signal::KILL));
}

fn group_exists(pid: u32) -> bool {
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    group.is_some_and(|group| test_kill_process_group(group).is_ok())
}

fn signal(pid: u32, send: impl FnOnce(Pid) -> rustix::io::Result<()>) {
    let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    match send(target) {
        // Nobody left to tell: what was wanted.
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => tracing::warn!(pid, %error, "can't send a signal"),
    }
}

/// Ends what a supervisor that was killed left running, so that its successor
/// finds addresses and files free. Nothing happens unless it is the same process.
pub(super) fn end_leftover(state: &SuperviseState) {
    let (Some(pid), Some(ticks)) = (state.child_pid, state.child_start_ticks) else {
        return;
    };
    if start_ticks(pid) == Some(ticks) {
        tracing::warn!(pid, "ending what the last supervisor left running");
        kill_group(pid);
    }
}

/// When the kernel started that process: field 22 of its `stat`.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse().ok()
}
