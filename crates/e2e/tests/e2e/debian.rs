//! Real programs for tests, from Debian's packages.
//!
//! Invariant: nothing is installed; without the package a test fails and says what to install.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::wait::s;

/// A slow mirror has sent the package by then.
const PACKAGE_WITHIN_S: u64 = 300;

/// A program: installed, or unpacked beside the build from Debian's package.
pub(crate) async fn program(package: &str, name: &str) -> Result<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut installed = std::env::split_paths(&paths).map(|folder| folder.join(name));
    if let Some(program) = installed.find(|program| program.is_file()) {
        return Ok(program);
    }
    let folder = folder()?;
    let program = folder.join("usr/bin").join(name);
    if !program.is_file() {
        fetched(package, &folder).await?;
    }
    ensure!(program.is_file(), "{} is missing", program.display());
    Ok(program)
}

/// Python packages, unpacked beside the build; the folder for `PYTHONPATH`.
pub(crate) async fn python(packages: &[(&str, &str)]) -> Result<PathBuf> {
    let folder = folder()?;
    let modules = folder.join("usr/lib/python3/dist-packages");
    for (package, module) in packages {
        let there = ["", ".py"]
            .iter()
            .any(|end| modules.join(format!("{module}{end}")).exists());
        if !there {
            fetched(package, &folder).await?;
        }
    }
    Ok(modules)
}

/// Beside the build, so that it is fetched once.
fn folder() -> Result<PathBuf> {
    let built = crate::program::path()?;
    Ok(built.parent().context("target folder")?.join("debian"))
}

async fn fetched(package: &str, folder: &Path) -> Result<()> {
    let missing = || format!("this test needs Debian's {package}: `apt-get install {package}`");
    tokio::time::timeout(s(PACKAGE_WITHIN_S), unpack(package, folder))
        .await
        .with_context(missing)?
        .with_context(missing)
}

/// Downloads a Debian package and unpacks it; nothing is installed.
async fn unpack(package: &str, folder: &Path) -> Result<()> {
    // Past what the test harness keeps to itself: a download is never silent.
    writeln!(
        std::io::stderr(),
        "downloading the Debian package {package} into {}",
        folder.display()
    )?;
    std::fs::create_dir_all(folder)?;
    let fresh = tempfile::tempdir_in(folder)?;
    if run("apt-get", &["download", package], fresh.path())
        .await
        .is_err()
    {
        run("apt-get", &["update"], fresh.path()).await?;
        run("apt-get", &["download", package], fresh.path()).await?;
    }
    let mut files = std::fs::read_dir(fresh.path())?;
    let file = files.next().context("no package came")??.path();
    let (file, to) = (file.display().to_string(), folder.display().to_string());
    run("dpkg-deb", &["-x", &file, &to], fresh.path()).await
}

async fn run(program: &str, args: &[&str], folder: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).kill_on_drop(true);
    let said = crate::program::run(&mut command).await;
    let said = said.with_context(|| format!("can't start {program}"))?;
    match said.code {
        0 => Ok(()),
        _ => bail!("{program} {}: {}", args.join(" "), said.err),
    }
}
