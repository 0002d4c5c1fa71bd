//! What a gateway keeps in memory while ten times more comes than its host can answer.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::peers::{Kit, Peer, Setting};
use super::process::{MEASURED, OTHERS, Process, free, pinned};

/// Ten times what eight workers can do in 20 ms.
const RATE_PER_S: u64 = 4_000;
/// Before the first look: what is made at the first requests is no growth.
const SETTLE: Duration = Duration::from_secs(10);

/// Resident memory of one gateway, in KiB.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Memory {
    pub(super) gateway: String,
    pub(super) minutes: f64,
    pub(super) start_kib: u64,
    pub(super) middle_kib: u64,
    pub(super) end_kib: u64,
}

/// The clients; they end with this value.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        // What can't be killed is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One gateway after another.
pub(super) fn memory(
    kit: &Kit,
    peers: &[(String, Peer)],
    tools: &Path,
    minutes: f64,
) -> Result<Vec<Memory>> {
    peers
        .iter()
        .map(|(name, peer)| one(kit, name, *peer, tools, minutes))
        .collect()
}

fn one(kit: &Kit, name: &str, peer: Peer, tools: &Path, minutes: f64) -> Result<Memory> {
    let host = free()?;
    let mut command = pinned(OTHERS, tools);
    command.args(["slots", "--listen", &host.to_string()]);
    let _host = Process::start("slots", command, host, &kit.folder)?;
    let backends = [host];
    let setting = Setting {
        backends: &backends,
        cores: MEASURED,
        tls: None,
    };
    let (gateway, to) = peer.start(name, kit, &setting)?;
    let whole = Duration::from_secs_f64(minutes * 60.0);
    ensure!(
        whole > SETTLE * 2,
        "{minutes} minutes are too short; at least {SETTLE:?} twice"
    );
    let mut command = pinned(OTHERS, tools);
    command.args(["load", "--to", &to.to_string()]);
    command.args(["--phase", &format!("{}:{RATE_PER_S}", whole.as_millis())]);
    let begin = Instant::now();
    let _load = Load(command.stdout(Stdio::null()).spawn()?);
    let look = |at: Duration| {
        std::thread::sleep(at.saturating_sub(begin.elapsed()));
        gateway.rss_kib()
    };
    Ok(Memory {
        gateway: name.to_owned(),
        minutes,
        start_kib: look(SETTLE)?,
        middle_kib: look(whole / 2)?,
        end_kib: look(whole)?,
    })
}
