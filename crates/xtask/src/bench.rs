//! `cargo xtask bench journal`: how fast the journal is, and what an idle server costs.

mod check;
mod gateway;
mod judge;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

pub use check::check;
pub use gateway::{Options as GatewayOptions, gateway};
pub use judge::judge;

/// Odd, so that the median is a start that happened.
const STARTS: usize = 5;
/// A server that doesn't answer by then is broken, not slow.
const START_MAX: Duration = Duration::from_secs(10);
/// Idle memory is looked at this long after the first answer.
const SETTLE: Duration = Duration::from_secs(3);

/// Runs the journal's bench, then starts the released server a few times in
/// an empty folder and measures start-to-serving time and idle memory.
pub fn journal(json: bool) -> anyhow::Result<()> {
    let mut report = appends(json)?;
    let server = server()?;
    let mut out = std::io::stdout().lock();
    match &mut report {
        Some(report) => {
            report["server"] = server;
            writeln!(out, "{report}")?;
        }
        None => {
            for (name, words, unit) in [
                ("start_ms", "start to serving", "ms"),
                ("idle_rss_kib", "idle resident memory", "KiB"),
                ("idle_rss_max_kib", "peak resident memory", "KiB"),
            ] {
                let spread = &server[name];
                writeln!(
                    out,
                    "server: {words}: {} ({} to {}) {unit}",
                    spread["median"], spread["min"], spread["max"]
                )?;
            }
        }
    }
    Ok(())
}

/// The journal's own bench. As JSON it comes back; else it writes to the terminal itself.
fn appends(json: bool) -> anyhow::Result<Option<Value>> {
    let mut bench = cargo();
    bench.args(["bench", "--quiet", "--locked", "--package", "journal"]);
    bench.args(["--bench", "append"]);
    if !json {
        let status = bench.status().context("could not run cargo bench")?;
        ensure!(status.success(), "the journal's bench failed: {status}");
        return Ok(None);
    }
    let output = bench
        .args(["--", "--json"])
        .stderr(Stdio::inherit())
        .output()
        .context("could not run cargo bench")?;
    ensure!(
        output.status.success(),
        "the journal's bench failed: {}",
        output.status
    );
    let report =
        serde_json::from_slice(&output.stdout).context("the journal's bench did not write JSON")?;
    Ok(Some(report))
}

fn server() -> anyhow::Result<Value> {
    let status = cargo()
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--package", "plimsoll"])
        .status()
        .context("could not run cargo build")?;
    ensure!(status.success(), "the release build failed: {status}");
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    let binary = metadata.target_directory.join("release/plimsoll");

    let folder = Folder::new()?;
    let (mut starts, mut idle, mut peak) = (vec![], vec![], vec![]);
    for _ in 0..STARTS {
        let (server, took) = Server::start(binary.as_std_path(), &folder.0)?;
        starts.push(u64::try_from(took.as_millis())?);
        std::thread::sleep(SETTLE);
        idle.push(server.memory_kib("VmRSS:")?);
        peak.push(server.memory_kib("VmHWM:")?);
    }
    Ok(json!({
        "starts": STARTS,
        "start_ms": spread(starts),
        "idle_rss_kib": spread(idle),
        "idle_rss_max_kib": spread(peak),
    }))
}

/// The cargo that runs this program, so that the toolchain is the same.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Cores and model of the processor.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |rest| {
        rest.trim_start_matches([' ', '\t', ':'])
    });
    format!("{cores} cores, {model}")
}

/// The mean number of running programs in the last minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.unwrap_or("unknown").to_owned()
}

/// A running server; it ends with this value.
struct Server {
    process: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it, and says how long it took to answer.
    fn start(binary: &Path, folder: &Path) -> anyhow::Result<(Server, Duration)> {
        // Free a moment ago; if somebody else takes it meanwhile, the server says so and the bench fails.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = folder.join("server.log");
        let log_file = File::create(&log)?;
        let begin = Instant::now();
        let process = Command::new(binary)
            .arg("server")
            .arg("--data")
            .arg(folder.join("data"))
            .arg("--listen")
            .arg(address.to_string())
            .stdin(Stdio::null())
            .stdout(log_file.try_clone()?)
            .stderr(log_file)
            .spawn()
            .with_context(|| format!("could not start {}", binary.display()))?;
        let mut server = Server { process, log };
        while !healthy(address) {
            if let Some(status) = server.process.try_wait()? {
                bail!("the server ended with {status}:\n{}", server.said());
            }
            ensure!(
                begin.elapsed() < START_MAX,
                "the server at {address} did not answer GET /healthz with 200 within {START_MAX:?}:\n{}",
                server.said()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok((server, begin.elapsed()))
    }

    /// A line of `/proc/PID/status`, such as `VmRSS:     12345 kB`.
    fn memory_kib(&self, field: &str) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(&path)
            .with_context(|| format!("could not read {path}: is this Linux?"))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.split_whitespace().next())
            .with_context(|| format!("{path} has no {field}"))?
            .parse()
            .with_context(|| format!("{path} has an odd {field}"))
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it can't be killed it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether `GET /healthz` answers 200. By hand, so that no client library is part of the time.
fn healthy(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(200))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.set_write_timeout(Some(Duration::from_millis(500)))?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

/// A folder that goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Folder> {
        let path = std::env::temp_dir().join(format!("plimsoll-bench-{}", std::process::id()));
        std::fs::create_dir(&path)
            .with_context(|| format!("could not create {}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spread(mut values: Vec<u64>) -> Value {
    values.sort_unstable();
    json!({
        "median": values[values.len() / 2],
        "min": values.first(),
        "max": values.last(),
    })
}
