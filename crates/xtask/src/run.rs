//! Runs a command, shows what it says, and counts the tests in it.
//!
//! Invariant: a command that ended is never waited for longer than
//! [`DRAIN_MAX`], whatever processes it left behind.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::AddAssign;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long to read on after a command ended. A process that it left behind can
/// hold the pipe open for ever; what the command itself wrote is in the pipe
/// already and takes far less than this to read.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Tests, counted from the lines that the test harness ends with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) counts: Counts,
}

/// A command as people would type it, in the workspace's root.
#[derive(Debug)]
pub(crate) struct Run {
    program: OsString,
    shown: String,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

/// A call of the same cargo that started this program.
pub(crate) fn cargo<const N: usize>(args: [&str; N]) -> Run {
    let run = Run {
        program: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        shown: "cargo".to_owned(),
        args: Vec::new(),
        env: Vec::new(),
    };
    args.into_iter().fold(run, Run::arg)
}

impl Run {
    pub(crate) fn arg(mut self, arg: impl ToString) -> Run {
        self.args.push(arg.to_string());
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl ToString) -> Run {
        self.env.push((name, value.to_string()));
        self
    }

    /// Runs it; fails if it fails.
    pub(crate) fn check(&self) -> Result<()> {
        let status = self
            .command()
            .status()
            .with_context(|| format!("can't start `{self}`"))?;
        if !status.success() {
            bail!("`{self}` failed: {status}");
        }
        Ok(())
    }

    /// Runs it, shows its output as it comes, and counts the tests in it.
    pub(crate) fn count(&self) -> Result<Outcome> {
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start `{self}`"))?;
        let pipe = child.stdout.take().context("the pipe was asked for")?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (ended, end) = mpsc::channel();
        let ear = Arc::clone(&heard);
        std::thread::spawn(move || {
            tee(pipe, &ear);
            // Nobody listens any more when the drain took too long.
            let _ = ended.send(());
        });
        let status = child
            .wait()
            .with_context(|| format!("can't wait for `{self}`"))?;
        if end.recv_timeout(DRAIN_MAX).is_err() {
            eprintln!("note: `{self}` left a process behind that still holds its output open");
        }
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.closed = true;
        Ok(Outcome {
            success: status.success(),
            counts: heard.counts,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(root());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            // Half-built state is never reused there, and costs disk and time to write.
            command.env("CARGO_INCREMENTAL", "0");
        }
        command
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={value} ")?;
        }
        f.write_str(&self.shown)?;
        for arg in &self.args {
            write!(f, " {arg}")?;
        }
        Ok(())
    }
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    // Set by cargo at run time, so that a moved checkout needs no rebuild.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let up = manifest.ancestors().nth(2).unwrap_or(&manifest);
    up.to_path_buf()
}

/// What a reader passed on so far.
#[derive(Debug, Default)]
struct Heard {
    counts: Counts,
    /// The command's turn is over; nothing more is shown.
    closed: bool,
}

fn tee(pipe: impl Read, heard: &Mutex<Heard>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match pipe.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.closed {
            return;
        }
        let mut out = std::io::stdout().lock();
        // Somebody closed our output, as `| head` does; the count still goes on.
        let _ = out.write_all(&line).and_then(|()| out.flush());
        if let Some(more) = test_result(&String::from_utf8_lossy(&line)) {
            heard.counts += more;
        }
    }
}

/// Reads `test result: ok. 12 passed; 0 failed; ...`, with or without colours.
fn test_result(line: &str) -> Option<Counts> {
    let rest = line.trim_start().strip_prefix("test result: ")?;
    Some(Counts {
        passed: number_before(rest, " passed")?,
        failed: number_before(rest, " failed")?,
    })
}

fn number_before(text: &str, word: &str) -> Option<u64> {
    let before = &text[..text.find(word)?];
    let digits = before.rfind(|c: char| !c.is_ascii_digit())?;
    before[digits + 1..].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_counted() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out\n";
        let expected = Counts {
            passed: 12,
            failed: 0,
        };
        assert_eq!(test_result(line), Some(expected));
    }

    #[test]
    fn a_coloured_result_line_is_counted() {
        let line = "test result: \u{1b}[31mFAILED\u{1b}[m. 3 passed; 2 failed; 0 ignored";
        let expected = Counts {
            passed: 3,
            failed: 2,
        };
        assert_eq!(test_result(line), Some(expected));
    }

    #[test]
    fn other_lines_are_not_counted() {
        assert_eq!(test_result("test engine::folds ... ok"), None);
        assert_eq!(test_result("12 passed; 0 failed"), None);
    }

    #[test]
    fn a_command_is_shown_as_typed() {
        let run = cargo(["test", "-p"]).arg("model").env("UPDATE_EXPECT", "1");
        assert_eq!(run.to_string(), "UPDATE_EXPECT=1 cargo test -p model");
    }
}
