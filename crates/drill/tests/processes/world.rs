//! What the tests share: processes that end with their test, a plain HTTP GET, and patience.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process_group};

/// Far beyond what anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A program that is killed with its test.
pub(crate) struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn start<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Program {
        let mut child = command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Program { child, out }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The address at the end of the next line.
    pub(crate) fn address(&mut self) -> SocketAddr {
        let line = self.line();
        let word = line.rsplit(' ').next().unwrap();
        word.parse().unwrap_or_else(|_| panic!("{line:?}"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// SIGTERM; whether it exited with 0.
    pub(crate) fn end(mut self) -> bool {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> bool {
        let status = until("an exit", || self.child.try_wait().unwrap());
        status.success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A supervisor must get the chance to end its child.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            for _ in 0..500 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

pub(crate) fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(PROGRAMS);
    command.args(arguments).stderr(Stdio::piped());
    command
}

pub(crate) const PROGRAMS: &str = env!("CARGO_BIN_EXE_drill-programs");

/// Tries until there is something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Status and JSON body, or the error of a silent or absent server.
pub(crate) fn get(
    address: SocketAddr,
    path: &str,
    within: Duration,
) -> std::io::Result<(u16, serde_json::Value)> {
    let mut stream = ask(address, path)?;
    stream.set_read_timeout(Some(within))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| std::io::Error::other(answer.clone()))?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, serde_json::from_str(body).unwrap()))
}

/// Sends a request and waits for nothing.
pub(crate) fn ask(address: SocketAddr, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

/// An address where nobody listens.
pub(crate) fn unused() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

pub(crate) fn group_is_gone(pid: u32) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    test_kill_process_group(pid) == Err(rustix::io::Errno::SRCH)
}

/// A service's configuration file; `more` comes before its tables.
pub(crate) fn configure(dir: &Path, auth: SocketAddr, more: &str) -> String {
    let path = dir.join("api.toml");
    let text = format!(
        "version = \"v7\"\n{more}\n[auth.production]\naddress = \"{auth}\"\n[limits]\nqueue = 3\n"
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
