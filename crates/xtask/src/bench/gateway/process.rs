//! Processes of a bench: pinned to cores, ended with it, measured from `/proc`.
//!
//! Invariant: a process that was started here ends by its id when its value is
//! dropped, and with this program when that is killed.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Whatever doesn't listen by then is broken, not slow.
const START_MAX: Duration = Duration::from_secs(10);
/// Linux counts processor time for programs in hundredths of a second, whatever the kernel's own clock.
const TICKS_PER_S: u64 = 100;
/// Ahead of other programs of the machine, or all ratios shrink towards one. Without the right to it, `nice`
/// says so and goes on.
const NICENESS: &str = "-10";

/// What is measured has the first core, everything else the second.
pub(super) const MEASURED: Cores = Cores {
    list: "0",
    prompt: false,
};
pub(super) const OTHERS: Cores = Cores {
    list: "1",
    prompt: false,
};
pub(super) const BOTH: Cores = Cores {
    list: "0,1",
    prompt: false,
};

/// Where a process runs, and how it is scheduled there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cores {
    list: &'static str,
    prompt: bool,
}

impl Cores {
    /// At once, whoever else has work: for what uses little time and is judged by milliseconds.
    /// Saturating runs would leave nothing to the rest of the machine.
    pub(super) const fn prompt(self) -> Cores {
        Cores {
            prompt: true,
            ..self
        }
    }
}

/// How to be scheduled at once, if that is allowed here.
fn real_time() -> Option<&'static [&'static str]> {
    const WORDS: &[&str] = &["chrt", "--rr", "10"];
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    let allowed = ALLOWED
        .get_or_init(|| finish(Command::new(WORDS[0]).args(&WORDS[1..]).arg("true")).is_ok());
    allowed.then_some(WORDS)
}

/// A command on some cores that ends with this program.
pub(super) fn pinned(cores: Cores, program: impl AsRef<OsStr>) -> Command {
    let scheduled = real_time().filter(|_| cores.prompt);
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .args(scheduled.unwrap_or(&["nice", "-n", NICENESS]))
        .args(["taskset", "-c", cores.list])
        .arg(program)
        .stdin(Stdio::null());
    command
}

/// A running process.
pub(super) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, whose words go to a file in `folder`, and waits until it listens.
    pub(super) fn start(
        name: &str,
        mut command: Command,
        listens: SocketAddr,
        folder: &Path,
    ) -> Result<Process> {
        let log = folder.join(format!("{name}.log"));
        let file =
            File::create(&log).with_context(|| format!("could not create {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("could not start {name} by setpriv (Debian: util-linux)"))?;
        let name = name.to_owned();
        let mut process = Process { child, name, log };
        let begin = Instant::now();
        while TcpStream::connect_timeout(&listens, Duration::from_millis(200)).is_err() {
            if let Some(status) = process.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", process.name, process.said());
            }
            ensure!(
                begin.elapsed() < START_MAX,
                "{} did not listen within {START_MAX:?}:\n{}",
                process.name,
                process.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(process)
    }

    /// Processor time used so far, its own and the system's for it.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{} is gone", self.name))?;
        let ticks = cpu_ticks(&text).with_context(|| format!("{path} is odd: {text}"))?;
        Ok(Duration::from_millis(ticks * (1000 / TICKS_PER_S)))
    }

    /// Resident memory in KiB.
    pub(super) fn rss_kib(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{} is gone", self.name))?;
        status_kib(&text, "VmRSS:").with_context(|| format!("{path} has no VmRSS"))
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What can't be killed is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `utime` and `stime` of a line of `/proc/PID/stat`; the program's name before them may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn status_kib(status: &str, field: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// A port that was free a moment ago; whoever takes it meanwhile makes the bench fail, with words.
pub(super) fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Runs it to its end; what it wrote.
pub(super) fn finish(command: &mut Command) -> Result<String> {
    let output: Output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not run {}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: {}",
        output.status,
        said.trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Where a program is, if it is installed.
pub(super) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are in folders that only root's path names.
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders
        .map(|folder: PathBuf| folder.join(program))
        .find(|it| it.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let line = "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 0 0 0 250 125 0 0 20 0 3 0 99 1 2 3";
        assert_eq!(cpu_ticks(line), Some(375));
        assert_eq!(cpu_ticks("7 (nginx) S 1"), None);
    }

    #[test]
    fn memory_is_a_line_of_the_status() {
        let status = "Name:\tnginx\nVmHWM:\t  900 kB\nVmRSS:\t  812 kB\n";
        assert_eq!(status_kib(status, "VmRSS:"), Some(812));
        assert_eq!(status_kib(status, "VmSwap:"), None);
    }
}
