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
        let folder = tempfile::Builder::new().prefix("pe-").tempdir_in("/tmp")?;
        std::fs::create_dir(folder.path().join("config"))?;
        std::fs::write(folder.path().join("config/service.toml"), "a = 1\n")?;
        std::fs::write(folder.path().join("plimsoll.toml"), PROJECT)?;
        let mut command = program::command(folder.path())?;
        command.args([
            "server",
            "--data",
            "data",
            "--listen",
            "127.0.0.1:0",
            "--project",
            "plimsoll.toml",
        ]);
        let (process, url) = listening(&mut command, &folder.path().join("server.log")).await?;
        Ok(Plane {
            folder,
            url,
            process: Some(process),
        })
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
