//! A control plane alone, for what needs no hosts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use drill::process::Process;
use tempfile::TempDir;
use tokio::process::Command;

use crate::program::{self, Said};
use crate::wait::{s, until};

/// A declared fleet of two hosts that never join.
pub(crate) const PROJECT: &str = r#"[service.api]
files = "config"

[[environment]]
name = "test"

[[environment.host]]
name = "test-1"
zone = "lab"
address = "127.0.0.1:9001"

[[environment]]
name = "production"

[[environment.host]]
name = "web-1"
zone = "a"
address = "127.0.0.1:9002"
"#;

/// A running control plane with a project folder beside its data.
pub(crate) struct Plane {
    folder: TempDir,
    /// Where it answers.
    pub(crate) url: String,
    process: Option<Process>,
}

impl Plane {
    pub(crate) async fn start() -> Result<Plane> {
        Plane::start_with(None).await
    }

    /// The same, with what messages are carried with.
    pub(crate) async fn start_with(notify: Option<&str>) -> Result<Plane> {
        let folder = tempfile::Builder::new().prefix("pe-").tempdir_in("/tmp")?;
        std::fs::create_dir(folder.path().join("config"))?;
        std::fs::write(folder.path().join("config/service.toml"), "a = 1\n")?;
        std::fs::write(folder.path().join("plimsoll.toml"), PROJECT)?;
        if let Some(text) = notify {
            std::fs::write(folder.path().join("notify.toml"), text)?;
        }
        let (process, url) = serve(folder.path(), 0).await?;
        Ok(Plane {
            folder,
            url,
            process: Some(process),
        })
    }

    /// `kill -9`, and another one at once at the same address with the same data.
    pub(crate) async fn crash_and_start(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.crash().await?;
        }
        let port = self.url.rsplit_once(':').context("a port")?.1.parse()?;
        let log = self.file("server.log");
        std::fs::rename(&log, self.file("server.old.log"))?;
        let (process, _) = serve(self.folder.path(), port).await?;
        self.process = Some(process);
        Ok(())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where it listens, without the scheme.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A command of the first operator.
    pub(crate) fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = program::command(self.folder())?;
        let token = self.file("data/operator.token");
        command
            .args(args)
            .env("PLIMSOLL_URL", &self.url)
            .env("PLIMSOLL_TOKEN_FILE", token);
        Ok(command)
    }

    pub(crate) async fn plimsoll(&self, args: &[&str]) -> Result<Said> {
        program::run(&mut self.command(args)?).await
    }

    /// The journal's position: nothing happened while it stays.
    pub(crate) async fn position(&self) -> Result<u64> {
        let status = self
            .plimsoll(&["status", "--json"])
            .await?
            .exits(0)?
            .json()?;
        status["position"].as_u64().context("position")
    }

    pub(crate) async fn stop(mut self) {
        if let Some(process) = self.process.take() {
            process.end().await;
        }
    }
}

/// A control plane on this folder's data.
async fn serve(folder: &Path, port: u16) -> Result<(Process, String)> {
    let mut command = program::command(folder)?;
    let listen = format!("127.0.0.1:{port}");
    command.args(["server", "--data", "data", "--project", "plimsoll.toml"]);
    command.args(["--listen", &listen]);
    if folder.join("notify.toml").is_file() {
        command.args(["--notify", "notify.toml"]);
    }
    listening(&mut command, &folder.join("server.log")).await
}

/// Starts a program that says `listening on URL` and waits for that.
pub(crate) async fn listening(command: &mut Command, log: &Path) -> Result<(Process, String)> {
    let process = Process::start(command, log)?;
    let url = until("it listens", s(30), async || {
        let text = std::fs::read_to_string(log)?;
        let url = text
            .lines()
            .find_map(|line| line.split_once("listening on "))
            .map(|(_, url)| url.trim().to_owned());
        Ok(url)
    });
    let url = url
        .await
        .with_context(|| std::fs::read_to_string(log).unwrap_or_default())?;
    Ok((process, url))
}

/// A program that must end by itself soon, with all it said.
pub(crate) async fn ends(command: &mut Command, within: Duration) -> Result<Said> {
    let said = tokio::time::timeout(within, program::run(command)).await;
    said.with_context(|| format!("still runs after {within:?}"))?
}
